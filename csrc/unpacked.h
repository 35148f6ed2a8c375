/* One step from weights as torch keeps them: they are read once, where looking whether they have changed and reading a
 * packed copy would be two. The same bits as with the packed copy.
 *
 * SPDX-License-Identifier: BSD-3-Clause */
#ifndef FASTLSTM_UNPACKED_H
#define FASTLSTM_UNPACKED_H

#include <stddef.h>
#include "fastlstm.h"

typedef struct {
  const fl_weights *weights; /* [L] */
  size_t B;
  const void *x; /* [B] rows of I reals, x_b bytes apart */
  ptrdiff_t x_b;
  const void *h_0, *c_0; /* [L, B, H]; NULL for zeros */
  void *h_n, *c_n;       /* [L, B, H]: written; h_n may not alias h_0 or x, c_n may be c_0 */
} fl_unpacked;

/* Can a plan's steps be taken so? One direction, no projection, weights stored as the numbers are. */
int fl_unpacked_fits(const fl_plan *plan);

/* bytes of workspace; SIZE_MAX on overflow */
size_t fl_unpacked_size(const fl_plan *plan, size_t B, size_t threads);

/* `plan` is of these sizes and this form; its own weights are not read. The workspace is 64-byte aligned. */
void fl_unpacked_step(const fl_plan *plan, const fl_unpacked *step, fl_pool *pool, void *workspace);

#endif
