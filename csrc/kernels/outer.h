/* Weight gradients: sums of outer products over all rows of all steps, out[j][i] += sum_n a[n][j] * b[n][i].
 *
 * Rows are summed in blocks of FL_SUM_BLOCK, each a chain of fused multiply-adds from zero, the blocks added in order:
 * as fast as one chain over all rows, a third of its rounding error, and independent of who computes which tile.
 *
 * SPDX-License-Identifier: BSD-3-Clause */
#ifndef FASTLSTM_OUTER_H
#define FASTLSTM_OUTER_H

/* rows of out x vectors, over n rows of a (packed, `rows` apart) and of b (packed, FL_PANEL apart) */
INLINE void tile_outer(const size_t rows, const size_t vectors, size_t n, const real *a, const real *b, real *out,
                       size_t out_row) {
  V acc[TILE_ROWS][PANEL_VECTORS];
  UNROLL
  for (size_t r = 0; r < rows; r++) {
    UNROLL
    for (size_t v = 0; v < vectors; v++) {
      acc[r][v] = v_set1(0);
      PREFETCH_L2(out + r * out_row + v * VL); /* needed at the end: gradients are larger than L2, and come from afar */
    }
  }
  for (size_t k = 0; k < n; k++) {
    V x[PANEL_VECTORS];
    UNROLL
    for (size_t v = 0; v < vectors; v++) x[v] = v_load(b + k * FL_PANEL + v * VL);
    UNROLL
    for (size_t r = 0; r < rows; r++) {
      const V w = v_set1(a[k * rows + r]);
      UNROLL
      for (size_t v = 0; v < vectors; v++) acc[r][v] = v_fma(w, x[v], acc[r][v]);
    }
  }
  UNROLL
  for (size_t r = 0; r < rows; r++) {
    UNROLL
    for (size_t v = 0; v < vectors; v++) {
      real *const to = out + r * out_row + v * VL;
      v_store(to, v_add(v_load(to), acc[r][v]));
    }
  }
}

#endif
