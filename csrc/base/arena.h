/* Memory of the caller's, handed out piece by piece. The same code measures (at = NULL) and lays out.
 *
 * SPDX-License-Identifier: BSD-3-Clause */
#ifndef FASTLSTM_ARENA_H
#define FASTLSTM_ARENA_H

#include "memory.h"

typedef struct {
  char *at; /* NULL to measure only */
  size_t used;
  int overflow;
} fl_arena;

/* a product b into *out; 0 on overflow */
static inline int fl_multiply(size_t a, size_t b, size_t *out) {
  if (b != 0 && a > (size_t)PTRDIFF_MAX / b) return 0;
  *out = a * b;
  return 1;
}

/* count elements of size bytes, on a line of their own; NULL when measuring */
static inline void *fl_carve(fl_arena *arena, size_t count, size_t size) {
  size_t bytes;
  if (!fl_multiply(count, size, &bytes) || bytes > (size_t)PTRDIFF_MAX / 4 || arena->used > (size_t)PTRDIFF_MAX / 4) {
    arena->overflow = 1;
    return NULL;
  }
  void *const got = arena->at ? arena->at + arena->used : NULL;
  arena->used += fl_align(bytes);
  return got;
}

#endif
