/* The packed product, from one row (GEMV) to many (GEMM).
 *
 * Every output is one chain of fused multiply-adds, k ascending; lanes run over outputs, never over k. Tiles, row splits, K
 * blocks (partial sums stored and reloaded, which is exact) and threads therefore cannot change a bit.
 *
 *   one row        all 4 gates of a panel at once; two panels when the tile has registers for 8 chains. No prefetch: it
 *                  cost up to 40 %, the hardware follows the single stream by itself.
 *   a few rows     whole panels, so that the weights stream once
 *   many rows      TILE_ROWS x TILE_VECTORS tiles over part of a panel, K_BLOCK deep: 16 KiB of weights stay in L1 while
 *                  the rows pass; the first row tile prefetches the next 16 KiB to L2 (57 -> 85 % of peak at H=1024).
 *
 * SPDX-License-Identifier: BSD-3-Clause */
#ifndef FASTLSTM_GEMM_H
#define FASTLSTM_GEMM_H

enum {
  PANEL_VECTORS = FL_PANEL / VL,
  K_BLOCK = 256, /* 128 loses 3-10 %, 512 overflows L1 */
};

/* rows x vectors of z, k steps. `next`, if given, is prefetched a panel row per k. All sizes but k are constants. */
INLINE void tile(const size_t rows, const size_t vectors, const void *const *row, size_t k0, size_t k, const real *w,
                 const real *start, size_t start_row, real *z, const real *next) {
  V acc[TILE_ROWS][PANEL_VECTORS];
  const real *a[TILE_ROWS];
  UNROLL
  for (size_t r = 0; r < rows; r++) {
    a[r] = (const real *)row[r] + k0;
    UNROLL
    for (size_t v = 0; v < vectors; v++) acc[r][v] = v_load(start + r * start_row + v * VL);
  }
  for (size_t kk = 0; kk < k; kk++) {
    V b[PANEL_VECTORS];
    if (next) PREFETCH_L2(next + kk * FL_PANEL);
    UNROLL
    for (size_t v = 0; v < vectors; v++) b[v] = v_load(w + kk * FL_PANEL + v * VL);
    UNROLL
    for (size_t r = 0; r < rows; r++) {
      const V x = v_set1(a[r][kk]);
      UNROLL
      for (size_t v = 0; v < vectors; v++) acc[r][v] = v_fma(x, b[v], acc[r][v]);
    }
  }
  UNROLL
  for (size_t r = 0; r < rows; r++) {
    UNROLL
    for (size_t v = 0; v < vectors; v++) v_store(z + r * FL_PANEL + v * VL, acc[r][v]);
  }
}

/* one row, `panels` panels side by side */
INLINE void tile_row(const size_t panels, const real *a, size_t k, const real *w, size_t w_panel, const real *start,
                     size_t start_panel, real *z, size_t z_panel) {
  V acc[GEMV_PANELS][PANEL_VECTORS];
  UNROLL
  for (size_t p = 0; p < panels; p++) {
    UNROLL
    for (size_t v = 0; v < PANEL_VECTORS; v++) acc[p][v] = v_load(start + p * start_panel + v * VL);
  }
  for (size_t kk = 0; kk < k; kk++) {
    const V x = v_set1(a[kk]);
    UNROLL
    for (size_t p = 0; p < panels; p++) {
      UNROLL
      for (size_t v = 0; v < PANEL_VECTORS; v++)
        acc[p][v] = v_fma(x, v_load(w + p * w_panel + kk * FL_PANEL + v * VL), acc[p][v]);
    }
  }
  UNROLL
  for (size_t p = 0; p < panels; p++) {
    UNROLL
    for (size_t v = 0; v < PANEL_VECTORS; v++) v_store(z + p * z_panel + v * VL, acc[p][v]);
  }
}

#endif
