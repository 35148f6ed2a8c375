/* The packed product, from one row (GEMV) to many (GEMM).
 *
 * Every output is one chain of fused multiply-adds, k ascending; lanes run over outputs, never over k. Tiles, row splits, K
 * blocks (partial sums stored and reloaded, which is exact) and threads therefore cannot change a bit.
 *
 *   a few rows     whole panels, several side by side, so that there are enough chains to cover the latency and enough
 *                  streams for the hardware's prefetchers. Software prefetch cost up to 40 % here.
 *   many rows      TILE_ROWS x TILE_VECTORS tiles over part of a panel, K_BLOCK deep: 16 KiB of weights stay in L1 while
 *                  the rows pass; the first row tile prefetches the next 16 KiB to L2 (57 -> 85 % of peak at H=1024).
 *
 * Time steps may take the panels up and down in turn: what the end of one step left in a cache, the next begins with. That
 * is 8-25 % of a batch-1 step where the weights are up to twice a cache (H=64, H=256).
 *
 * SPDX-License-Identifier: BSD-3-Clause */
#ifndef FASTLSTM_GEMM_H
#define FASTLSTM_GEMM_H

enum {
  PANEL_VECTORS = FL_PANEL / VL,
  ACCUMULATORS = TILE_ROWS * TILE_VECTORS,
  K_BLOCK = 16384 / (TILE_VECTORS * VL * (int)sizeof(weight)), /* half of it loses 3-10 %, twice overflows L1 */
};

_Static_assert(K_BLOCK >= FL_PIECE, "a piece is a block");
static const real NOTHING_YET[FL_PANEL] = {0}; /* where a piece starts */

/* rows x vectors of z, `z_at` reals into each row, k steps; from `start`, or where that is NULL on from z; with `add`, from
 * zero, added to z. `next`, if given, is prefetched: as many bytes per k as are used. All sizes but k are constants. */
INLINE void tile(const size_t rows, const size_t vectors, const void *const *row, size_t k0, size_t k, const weight *w,
                 const real *start, void *const *z, size_t z_at, const int add, const weight *next) {
  V acc[TILE_ROWS][PANEL_VECTORS];
  const real *a[TILE_ROWS];
  UNROLL
  for (size_t r = 0; r < rows; r++) {
    const real *const from = add ? NOTHING_YET : start ? start : (const real *)z[r] + z_at;
    a[r] = (const real *)row[r] + k0;
    UNROLL
    for (size_t v = 0; v < vectors; v++) acc[r][v] = v_load(from + v * VL);
  }
  for (size_t kk = 0; kk < k; kk++) {
    V b[PANEL_VECTORS];
    if (next) {
      UNROLL
      for (size_t v = 0; v < vectors * VL * sizeof(weight); v += 64)
        PREFETCH_L2((const char *)(next + kk * FL_PANEL) + v);
    }
    UNROLL
    for (size_t v = 0; v < vectors; v++) b[v] = v_weights(w + kk * FL_PANEL + v * VL);
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
    for (size_t v = 0; v < vectors; v++) {
      real *const to = (real *)z[r] + z_at + v * VL;
      v_store(to, add ? v_add(v_load(to), acc[r][v]) : acc[r][v]);
    }
  }
}

/* rows x panels whole panels side by side, k steps; rows and panels are constants */
INLINE void tile_panels(const size_t rows, const size_t panels, const void *const *row, size_t k, const weight *w,
                        size_t w_panel, const real *start, void *const *z, size_t z_at, size_t z_panel, size_t k0,
                        int add) {
  V acc[ACCUMULATORS > PANEL_VECTORS ? ACCUMULATORS : PANEL_VECTORS]; /* constant sizes, so registers */
  const real *a[TILE_ROWS];
#define ACC(r, p, v) acc[((r) * panels + (p)) * PANEL_VECTORS + (v)]
  UNROLL
  for (size_t r = 0; r < rows; r++) {
    a[r] = (const real *)row[r] + k0;
    UNROLL
    for (size_t p = 0; p < panels; p++) {
      const real *const from = add     ? NOTHING_YET
                               : start ? start + p * FL_PANEL
                                       : (const real *)z[r] + z_at + p * z_panel;
      UNROLL
      for (size_t v = 0; v < PANEL_VECTORS; v++) ACC(r, p, v) = v_load(from + v * VL);
    }
  }
  for (size_t kk = 0; kk < k; kk++) {
    UNROLL
    for (size_t p = 0; p < panels; p++) {
      UNROLL
      for (size_t v = 0; v < PANEL_VECTORS; v++) {
        const V b = v_weights(w + p * w_panel + kk * FL_PANEL + v * VL);
        UNROLL
        for (size_t r = 0; r < rows; r++) ACC(r, p, v) = v_fma(v_set1(a[r][kk]), b, ACC(r, p, v));
      }
    }
  }
  UNROLL
  for (size_t r = 0; r < rows; r++) {
    UNROLL
    for (size_t p = 0; p < panels; p++) {
      UNROLL
      for (size_t v = 0; v < PANEL_VECTORS; v++) {
        real *const to = (real *)z[r] + z_at + p * z_panel + v * VL;
        v_store(to, add ? v_add(v_load(to), ACC(r, p, v)) : ACC(r, p, v));
      }
    }
  }
#undef ACC
}

#endif
