/* The panel order: weights into it, gradients out of it.
 *
 * SPDX-License-Identifier: BSD-3-Clause */
#ifndef FASTLSTM_PACK_H
#define FASTLSTM_PACK_H

#include "plan.h"

/* panels of FL_PANEL columns */
static inline size_t fl_panels_of(size_t n) {
  return (n + FL_PANEL - 1) / FL_PANEL;
}

/* bias[panels][FL_PANEL] = b_ih + b_hh; lanes past the last unit are left as they are */
void TYPED(pack_bias)(const fl_plan *plan, const fl_weights *weights, real *bias);

/* From [panel][panel_k][32], k0 on, to [k / 32][panel * 32 + lane][32]: columns become rows, one panel of the old; k
 * columns, out_k rows of a new panel. */
typedef struct {
  const weight *packed;
  size_t panel_k, k0, k;
  weight *out;
  size_t out_k;
} fl_transposed;
void TYPED(transpose)(const fl_transposed *matrix, size_t panel);

/* weight_hr, packed [p / 32][H][32], to [u / 32][P][32] */
void TYPED(transpose_projection)(const fl_plan *plan, const weight *packed, weight *out);

/* columns first..last of the packed gradient, packed_row apart, to the rows of `out`, `columns` long: the natural
 * order */
void TYPED(unpack)(const fl_plan *plan, const real *packed, size_t packed_row, size_t first, size_t last,
                   size_t columns, real *out);

/* the units of one gate, 0..3, out of a row of panels */
void TYPED(unpack_gate)(const fl_plan *plan, const real *row, size_t gate, real *out);

#endif
