/* When a long call looks for signals: every 100 ms, since looking takes the GIL, which may take as long as other
 * threads hold it.
 *
 * SPDX-License-Identifier: BSD-3-Clause */
#ifndef FASTLSTM_SIGNALS_H
#define FASTLSTM_SIGNALS_H

#include <stdint.h>
#ifdef _WIN32
#include <windows.h>
#else
#include <time.h>
#endif

/* of one call; zeroed to begin with */
typedef struct {
  int64_t next; /* milliseconds, of a clock that only goes forward; 0: not asked yet */
  int deaf;     /* not the main thread, which alone hears signals */
} listener;

static inline int64_t listener_clock(void) {
#ifdef _WIN32
  return (int64_t)GetTickCount64();
#else
  struct timespec now;
  clock_gettime(CLOCK_MONOTONIC, &now);
  return (int64_t)now.tv_sec * 1000 + now.tv_nsec / 1000000;
#endif
}

/* Is it time to look? Never at once: most calls are over before. */
static inline int listener_due(listener *l) {
  if (l->deaf) return 0;
  const int64_t now = listener_clock();
  const int due = l->next && now >= l->next;
  if (due || !l->next) l->next = now + 100;
  return due;
}

#endif
