/* Memory on a cache line's boundary. aligned_alloc is not everywhere, so by hand.
 *
 * SPDX-License-Identifier: BSD-3-Clause */
#ifndef FASTLSTM_MEMORY_H
#define FASTLSTM_MEMORY_H

#include <stdint.h>
#include <stdlib.h>

enum { FL_LINE = 64 };

static inline size_t fl_align(size_t bytes) {
  return (bytes + FL_LINE - 1) & ~(size_t)(FL_LINE - 1);
}

/* zeroed; NULL when there is none */
static inline void *fl_allocate(size_t bytes) {
  if (bytes > (size_t)PTRDIFF_MAX - 2 * FL_LINE) return NULL;
  char *const raw = calloc(1, bytes + 2 * FL_LINE);
  if (!raw) return NULL;
  char *const aligned = (char *)fl_align((uintptr_t)(raw + sizeof(void *)));
  ((void **)aligned)[-1] = raw;
  return aligned;
}

static inline void fl_free(void *aligned) {
  if (aligned) free(((void **)aligned)[-1]);
}

#endif
