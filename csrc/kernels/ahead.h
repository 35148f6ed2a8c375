/* Work ahead: the input product of the next chunk of steps, done in the shadow of the recurrent product of this one.
 *
 * With one row, a step waits for its weights: U comes from L2 or beyond at ~30 bytes a cycle, and the multipliers idle half
 * of the time. The input product is the opposite, all multiplication on data in L1. So every AHEAD_EVERY steps of k, the
 * recurrent loop does one step of k of an AHEAD_ROWS x 1 tile of the next chunk's input product: as many multiply-adds as
 * its own, most of them for nothing. T=100, B=1, one thread: 1.2 times faster at H=256, 1.15 at H=512; H=64 gains nothing.
 * Tried, did not help: mixing the two loops multiply-add by multiply-add.
 *
 * The chains are the same; partial sums rest in z between two pieces, which is exact.
 *
 * SPDX-License-Identifier: BSD-3-Clause */
#ifndef FASTLSTM_AHEAD_H
#define FASTLSTM_AHEAD_H

#if AHEAD_ROWS

enum { AHEAD_EVERY = AHEAD_ROWS / (AHEAD_PANELS * PANEL_VECTORS) };
_Static_assert(AHEAD_EVERY >= 1, "AHEAD_ROWS are fewer than the vectors of the panels beside them");

/* `n` steps of k of the tile at hand; `between` is what the caller does before each. Moves on when a tile is full. */
#define AHEAD_TILE(work, n, between)                                                                              \
  do {                                                                                                            \
    const size_t panel_ = (work)->first + (work)->done / PANEL_VECTORS, column_ = (work)->done % PANEL_VECTORS * VL;           \
    const weight *const b_ = (const weight *)(work)->weights + panel_ * (work)->weights_panel + column_;              \
    const real *const a_ = (const real *)(work)->a;                                                               \
    real *const z_ = (real *)(work)->z + panel_ * (work)->z_panel + column_;                                      \
    V side_[AHEAD_ROWS];                                                                                          \
    if ((work)->at == 0) {                                                                                        \
      UNROLL                                                                                                      \
      for (size_t r = 0; r < AHEAD_ROWS; r++)                                                                     \
        side_[r] = v_load((const real *)(work)->start + panel_ * FL_PANEL + column_);                             \
    } else {                                                                                                      \
      UNROLL                                                                                                      \
      for (size_t r = 0; r < AHEAD_ROWS; r++) side_[r] = v_load(z_ + r * (work)->z_row);                               \
    }                                                                                                             \
    for (size_t k_ = (work)->at, end_ = k_ + (n); k_ < end_; k_++) {                                              \
      between;                                                                                                    \
      const V w_ = v_weights(b_ + k_ * FL_PANEL);                                                                    \
      UNROLL                                                                                                      \
      for (size_t r = 0; r < AHEAD_ROWS; r++) side_[r] = v_fma(v_set1(a_[k_ * AHEAD_ROWS + r]), w_, side_[r]);    \
    }                                                                                                             \
    UNROLL                                                                                                        \
    for (size_t r = 0; r < AHEAD_ROWS; r++) v_store(z_ + r * (work)->z_row, side_[r]);                                 \
    (work)->at += (n);                                                                                            \
    if ((work)->at == (work)->k) {                                                                                \
      (work)->at = 0;                                                                                             \
      (work)->done++;                                                                                             \
    }                                                                                                             \
  } while (0)

INLINE size_t ahead_left(const fl_ahead *work, size_t most) {
  if (work->done == (work->last - work->first) * PANEL_VECTORS) return 0;
  return work->k - work->at < most ? work->k - work->at : most;
}

/* tile_panels for one row and AHEAD_PANELS panels, z in place, with the work ahead in between */
static void tile_panels_ahead(const real *a, size_t k, const weight *w, size_t w_panel, real *z, size_t z_panel,
                              fl_ahead *work) {
  V acc[AHEAD_PANELS * PANEL_VECTORS];
  UNROLL
  for (size_t j = 0; j < AHEAD_PANELS * PANEL_VECTORS; j++)
    acc[j] = v_load(z + j / PANEL_VECTORS * z_panel + j % PANEL_VECTORS * VL);
  size_t kk = 0;
#define STEP_OF_K(kk)                                                                            \
  do {                                                                                           \
    const V x = v_set1(a[kk]);                                                                   \
    UNROLL                                                                                       \
    for (size_t j = 0; j < AHEAD_PANELS * PANEL_VECTORS; j++)                                    \
      acc[j] = v_fma(x, v_weights(w + j / PANEL_VECTORS * w_panel + (kk)*FL_PANEL + j % PANEL_VECTORS * VL), acc[j]); \
  } while (0)
  for (size_t n; (n = ahead_left(work, (k - kk) / AHEAD_EVERY)) > 0;) {
    AHEAD_TILE(work, n, {
      UNROLL
      for (size_t e = 0; e < AHEAD_EVERY; e++) STEP_OF_K(kk + e);
      kk += AHEAD_EVERY;
    });
  }
  for (; kk < k; kk++) STEP_OF_K(kk);
#undef STEP_OF_K
  UNROLL
  for (size_t j = 0; j < AHEAD_PANELS * PANEL_VECTORS; j++)
    v_store(z + j / PANEL_VECTORS * z_panel + j % PANEL_VECTORS * VL, acc[j]);
}

#endif
#endif
