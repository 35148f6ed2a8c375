/* An audio host, as far as a callback sees one: a thread that calls it again and again, under guard, and a clock.
 *
 *     realtime [CALLBACKS [OFFENCE]]
 *
 * CALLBACKS   how many: 1000000
 * OFFENCE     what one callback does beyond its work, so that it is found: malloc, lock, c11_lock, system, clock,
 *             fault, library
 *
 * Callbacks come back to back, not every 1.33 ms, so that 10^7 take minutes. The thread has the priority of audio
 * threads, where it may, and rests now and then, as the system would make it do, too. Ends with 1 if anything was
 * found, if a page was touched for the first time, if the bits are not those of the whole sequence, or if the kernel
 * has no filter, so that system calls were not seen.
 *
 * SPDX-License-Identifier: BSD-3-Clause */
#define _GNU_SOURCE
#include <fastlstm.h>
#include <pthread.h>
#include <sched.h>
#include <stdatomic.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/resource.h>
#include <threads.h>
#include <time.h>
#include <unistd.h>
#include "guard.h"
#include "plugin.h"

enum { WARM_UP = 1000, KEPT = 500, PAGE = 4096, FRESH = 64, PRIORITY = 10, AT_ONCE = 200 };

typedef struct {
  plugin *plugin;
  const char *offence;
  size_t callbacks;
  uint32_t *took, *between; /* [callbacks] ns, of the callback and of what comes after it */
  float in[CHANNELS][BLOCK], out[CHANNELS][BLOCK];
  float (*kept_in)[BLOCK], (*kept_out)[BLOCK]; /* [KEPT] the first blocks of channel 0 */
  volatile char *fresh;                        /* pages that nobody has touched */
  size_t blocks;
  uint32_t noise;
  mtx_t lock;
  int filtered, locked, first; /* what the system allowed */
  _Atomic int stage, leave;
} host;

enum { STARTING, WARM, RUNNING, DONE };

static uint64_t now(void) {
  struct timespec t;
  clock_gettime(CLOCK_MONOTONIC, &t);
  return (uint64_t)t.tv_sec * 1000000000u + (uint64_t)t.tv_nsec;
}

static void next_input(host *h) {
  for (size_t k = 0; k < CHANNELS; k++)
    for (size_t j = 0; j < BLOCK; j++) {
      h->noise = h->noise * 1664525u + 1013904223u;
      h->in[k][j] = (float)(h->noise >> 8) / 8388608.0f - 1.0f;
    }
}

/* what a callback must not do */
static void offend(host *h) {
  static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;
  if (!strcmp(h->offence, "malloc")) {
    void *volatile made = malloc(100);
    free(made);
  } else if (!strcmp(h->offence, "lock")) {
    pthread_mutex_lock(&lock);
    pthread_mutex_unlock(&lock);
  } else if (!strcmp(h->offence, "c11_lock")) {
    mtx_lock(&h->lock);
    mtx_unlock(&h->lock);
  } else if (!strcmp(h->offence, "system")) {
    getppid();
  } else if (!strcmp(h->offence, "clock")) {
    now();
  } else if (!strcmp(h->offence, "fault")) {
    for (size_t k = 0; h->fresh != MAP_FAILED && k < FRESH; k++) h->fresh[k * PAGE] = 1;
  } else if (!strcmp(h->offence, "library")) { /* what of the library may not be called here */
    fl_pool *pool = NULL;
    if (fl_pool_create(&pool, 2) == FL_OK) fl_pool_destroy(pool);
  }
}

static void call_back(host *h, uint32_t *took, uint32_t *between) {
  const float *const in[CHANNELS] = {h->in[0], h->in[1]};
  float *const out[CHANNELS] = {h->out[0], h->out[1]};
  next_input(h);
  const uint64_t begin = now();
  guard_enter();
  plugin_process(h->plugin, in, out);
  guard_leave();
  const uint64_t answered = now();
  guard_enter();
  plugin_between(h->plugin);
  guard_leave();
  const uint64_t end = now();
  *took = (uint32_t)(answered - begin);
  *between = (uint32_t)(end - answered);
  if (h->blocks < KEPT) {
    memcpy(h->kept_in[h->blocks], h->in[0], sizeof h->in[0]);
    memcpy(h->kept_out[h->blocks], h->out[0], sizeof h->out[0]);
  }
  h->blocks++;
}

static void *audio_thread(void *argument) {
  host *const h = argument;
  const struct timespec rest = {0, 200000};
  uint32_t unused;
  for (size_t k = 0; k < WARM_UP; k++) call_back(h, &unused, &unused);
  const struct sched_param priority = {PRIORITY};
  h->first = pthread_setschedparam(pthread_self(), SCHED_FIFO, &priority) == 0;
  h->locked = mlockall(MCL_CURRENT) == 0;
  h->fresh = mmap(NULL, FRESH * PAGE, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
  h->filtered = guard_system_calls();
  atomic_store(&h->stage, WARM);
  while (atomic_load(&h->stage) < RUNNING) nanosleep(&rest, NULL);
  for (size_t k = 0; k < h->callbacks; k++) {
    call_back(h, &h->took[k], &h->between[k]);
    if (k == h->callbacks / 2) {
      guard_enter();
      offend(h);
      guard_leave();
    }
    if (h->first && k % AT_ONCE == 0) nanosleep(&rest, NULL);
  }
  atomic_store(&h->stage, DONE);
  while (!atomic_load(&h->leave)) nanosleep(&rest, NULL); /* its end is not what is measured */
  guard_exit();
}

/* ---- what came of it -------------------------------------------------------------------------------------------- */

static int by_size(const void *a, const void *b) {
  const uint32_t x = *(const uint32_t *)a, y = *(const uint32_t *)b;
  return (x > y) - (x < y);
}

/* the time that so large a share of all keep within */
static void print_time(const char *name, const uint32_t *sorted, size_t n, double share) {
  size_t at = (size_t)(share * (double)n + 0.5);
  at = at ? at - 1 : 0;
  const double us = sorted[at < n ? at : n - 1] / 1e3;
  printf("  %-9s %9.2f us  %7.3f %%\n", name, us, 100 * us * RATE / (1e6 * BLOCK));
}

static void print_times(const char *what, uint32_t *times, size_t n) {
  qsort(times, n, sizeof *times, by_size);
  printf("%s: time, and share of a block's %.2f us\n", what, 1e6 * BLOCK / RATE);
  print_time("p50", times, n, 0.5);
  print_time("p99", times, n, 0.99);
  print_time("p99.99", times, n, 0.9999);
  print_time("p99.9999", times, n, 0.999999);
  print_time("max", times, n, 1);
}

static int same_bits(const host *h) {
  static float offline[KEPT][BLOCK];
  const size_t n = h->blocks < KEPT ? h->blocks : KEPT;
  return plugin_offline(h->plugin, n, h->kept_in[0], offline[0]) == 0 &&
         !memcmp(offline, h->kept_out, n * sizeof offline[0]);
}

static void *written(size_t bytes) {
  void *const made = malloc(bytes);
  if (!made) {
    fprintf(stderr, "realtime: there is not enough memory\n");
    exit(2);
  }
  memset(made, 1, bytes);
  return made;
}

static int report(host *h, const struct rusage *before, const struct rusage *after) {
  const long faults = after->ru_minflt - before->ru_minflt + after->ru_majflt - before->ru_majflt;
  const int same = same_bits(h);
  printf("%zu callbacks of %d frames at %d Hz, %d channels\n", h->callbacks, BLOCK, RATE, CHANNELS);
  print_times("callback", h->took, h->callbacks);
  print_times("advance, after it", h->between, h->callbacks);
  printf("no allocation, no lock; %s\n", h->filtered ? "no system call" : "SYSTEM CALLS NOT WATCHED: no seccomp here");
  printf("page faults of the process: %ld%s\n", faults, h->locked ? "" : " (memory could not be locked)");
  printf("%s priority, taken off the CPU %ld times\n", h->first ? "real-time" : "ordinary",
         after->ru_nivcsw - before->ru_nivcsw);
  printf("%s\n", same ? "the bits of the whole sequence" : "NOT the bits of the whole sequence");
  return faults > 0 || !same || !h->filtered;
}

int main(int count, char **arguments) {
  host h = {.noise = 1, .offence = count > 2 ? arguments[2] : "", .callbacks = 1000000};
  const char *const offences[] = {"", "malloc", "lock", "c11_lock", "system", "clock", "fault", "library"};
  int known = 0;
  for (size_t k = 0; k < sizeof offences / sizeof offences[0]; k++) known |= !strcmp(h.offence, offences[k]);
  if (count > 1) h.callbacks = (size_t)strtoull(arguments[1], NULL, 10);
  if (!known || count > 3 || h.callbacks < 1 || h.callbacks > 1000000000) {
    fprintf(stderr, "usage: realtime [CALLBACKS [malloc|lock|c11_lock|system|clock|fault|library]]\n");
    return 2;
  }
  h.took = written(h.callbacks * sizeof *h.took);
  h.between = written(h.callbacks * sizeof *h.between);
  h.kept_in = written(KEPT * sizeof *h.kept_in);
  h.kept_out = written(KEPT * sizeof *h.kept_out);
  h.plugin = plugin_create();
  pthread_t thread;
  if (!h.plugin || mtx_init(&h.lock, mtx_plain) != thrd_success ||
      pthread_create(&thread, NULL, audio_thread, &h) != 0) {
    fprintf(stderr, "realtime: there is not enough memory\n");
    return 2;
  }
  const struct timespec tick = {0, 1000000};
  struct rusage before, after;
  while (atomic_load(&h.stage) < WARM) nanosleep(&tick, NULL);
  getrusage(RUSAGE_SELF, &after); /* once for the pages that it needs itself */
  getrusage(RUSAGE_SELF, &before);
  atomic_store(&h.stage, RUNNING);
  while (atomic_load(&h.stage) < DONE && !guard_found()) nanosleep(&tick, NULL);
  getrusage(RUSAGE_SELF, &after);
  atomic_store(&h.leave, 1);
  pthread_join(thread, NULL);
  if (guard_found()) {
    printf("FOUND in a callback: %s\n", guard_found());
    return 1;
  }
  const int wrong = report(&h, &before, &after);
  plugin_destroy(h.plugin);
  return wrong;
}
