/* The packed product, from one row (GEMV) to many (GEMM).
 *
 * Every output is one chain of fused multiply-adds, k ascending; lanes run over outputs, never over k. Tiles, row
 * splits, K blocks (partial sums stored and reloaded, which is exact) and threads therefore cannot change a bit.
 *
 *   a few rows     whole panels, several side by side, so that there are enough chains to cover the latency and enough
 *                  streams for the hardware's prefetchers. Software prefetch cost up to 40 % here.
 *   many rows      TILE_ROWS x TILE_VECTORS tiles over part of a panel, K_BLOCK deep: 16 KiB of weights stay in L1
 *                  while the rows pass; the first row tile prefetches the next 16 KiB to L2 (57 -> 85 % of peak at
 *                  H=1024).
 *
 * Time steps may take the panels up and down in turn: what the end of one step left in a cache, the next begins with.
 * That is 8-25 % of a batch-1 step where the weights are up to twice a cache (H=64, H=256).
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

/* What a tile works on: m rows of one operand, k steps from k0 on, against panels of weights. A chain begins at
 * `start`, or where that is NULL, goes on from z. */
typedef struct {
  const void *const *row; /* [m] */
  size_t k0, k;
  const weight *w; /* the first panel's, of k0 */
  size_t w_panel;  /* from a panel to the next */
  const real *start;
  void *const *z;       /* [m] */
  size_t z_at, z_panel; /* where in z's rows the first panel is; from a panel to the next */
} slice;

/* where row r of panel p begins; a piece: from zero, to be added to z */
INLINE const real *chain_start(const slice *s, const int piece, size_t r, size_t p) {
  return piece ? NOTHING_YET : s->start ? s->start + p * FL_PANEL : (const real *)s->z[r] + s->z_at + p * s->z_panel;
}

/* rows x vectors of the first panel. `next`, if given, is prefetched: as many bytes per k as are used. rows, vectors
 * and piece are constants. */
INLINE void tile(const size_t rows, const size_t vectors, const int piece, const slice *s, const weight *next) {
  V acc[TILE_ROWS][PANEL_VECTORS];
  const real *x[TILE_ROWS];
  UNROLL
  for (size_t r = 0; r < rows; r++) {
    const real *const from = chain_start(s, piece, r, 0);
    x[r] = (const real *)s->row[r] + s->k0;
    UNROLL
    for (size_t v = 0; v < vectors; v++) acc[r][v] = v_load(from + v * VL);
  }
  for (size_t k = 0; k < s->k; k++) {
    V w[PANEL_VECTORS];
    if (next) {
      UNROLL
      for (size_t v = 0; v < vectors * VL * sizeof(weight); v += 64)
        PREFETCH_L2((const char *)(next + k * FL_PANEL) + v);
    }
    UNROLL
    for (size_t v = 0; v < vectors; v++) w[v] = v_weights(s->w + k * FL_PANEL + v * VL);
    UNROLL
    for (size_t r = 0; r < rows; r++) {
      const V all = v_set1(x[r][k]);
      UNROLL
      for (size_t v = 0; v < vectors; v++) acc[r][v] = v_fma(all, w[v], acc[r][v]);
    }
  }
  UNROLL
  for (size_t r = 0; r < rows; r++) {
    UNROLL
    for (size_t v = 0; v < vectors; v++) {
      real *const to = (real *)s->z[r] + s->z_at + v * VL;
      v_store(to, piece ? v_add(v_load(to), acc[r][v]) : acc[r][v]);
    }
  }
}

/* rows x panels whole panels side by side; rows and panels are constants */
INLINE void tile_panels(const size_t rows, const size_t panels, const int piece, const slice *s) {
  V acc[ACCUMULATORS > PANEL_VECTORS ? ACCUMULATORS : PANEL_VECTORS]; /* constant sizes, so registers */
  const real *x[TILE_ROWS];
#define ACC(r, p, v) acc[((r) * panels + (p)) * PANEL_VECTORS + (v)]
  UNROLL
  for (size_t r = 0; r < rows; r++) {
    x[r] = (const real *)s->row[r] + s->k0;
    UNROLL
    for (size_t p = 0; p < panels; p++) {
      const real *const from = chain_start(s, piece, r, p);
      UNROLL
      for (size_t v = 0; v < PANEL_VECTORS; v++) ACC(r, p, v) = v_load(from + v * VL);
    }
  }
  for (size_t k = 0; k < s->k; k++) {
    UNROLL
    for (size_t p = 0; p < panels; p++) {
      UNROLL
      for (size_t v = 0; v < PANEL_VECTORS; v++) {
        const V w = v_weights(s->w + p * s->w_panel + k * FL_PANEL + v * VL);
        UNROLL
        for (size_t r = 0; r < rows; r++) ACC(r, p, v) = v_fma(v_set1(x[r][k]), w, ACC(r, p, v));
      }
    }
  }
  UNROLL
  for (size_t r = 0; r < rows; r++) {
    UNROLL
    for (size_t p = 0; p < panels; p++) {
      UNROLL
      for (size_t v = 0; v < PANEL_VECTORS; v++) {
        real *const to = (real *)s->z[r] + s->z_at + p * s->z_panel + v * VL;
        v_store(to, piece ? v_add(v_load(to), ACC(r, p, v)) : ACC(r, p, v));
      }
    }
  }
#undef ACC
}

#endif
