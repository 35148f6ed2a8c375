/* Memory on a cache line's boundary; large blocks on large pages where the system has them.
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
void *fl_allocate(size_t bytes);

/* NULL is fine */
void fl_free(void *made);

#endif
