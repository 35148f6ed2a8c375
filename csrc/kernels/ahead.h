/* Work ahead: the input product of the next chunk of steps, done in the shadow of the recurrent product of this one.
 *
 * With one row, a step waits for its weights: U comes from L2 or beyond at ~30 bytes a cycle, and the multipliers idle
 * half of the time. The input product is the opposite, all multiplication on data in L1. So every AHEAD_EVERY steps of
 * k, the recurrent loop does one step of k of an AHEAD_ROWS x 1 tile of the next chunk's input product: as many
 * multiply-adds as its own, most of them for nothing. AVX-512, T=100, B=1, one thread: 1.2 times faster at H=256, 1.15
 * at H=512; H=64 gains nothing. Tried, did not help: mixing the two loops multiply-add by multiply-add.
 *
 * The chains are the same: one that is not done rests between two steps, which is exact.
 *
 * SPDX-License-Identifier: BSD-3-Clause */
#ifndef FASTLSTM_AHEAD_H
#define FASTLSTM_AHEAD_H

#if AHEAD_ROWS

enum { AHEAD_EVERY = AHEAD_ROWS / (AHEAD_PANELS * PANEL_VECTORS) };
_Static_assert(AHEAD_EVERY >= 1, "AHEAD_ROWS are fewer than the vectors of the panels beside them");

/* steps of k that are left of the piece at hand, `most` at most; 0: all is done */
INLINE size_t ahead_left(const fl_ahead *work, size_t most) {
  if (work->done == (work->last - work->first) * PANEL_VECTORS) return 0;
  const size_t piece = FL_PIECE - work->at % FL_PIECE, left = work->k - work->at < piece ? work->k - work->at : piece;
  return left < most ? left : most;
}

/* The tile at hand: one vector of a panel, of AHEAD_ROWS rows. */
typedef struct {
  const real *a, *start;
  const weight *w;
  real *z;
} ahead_tile;

INLINE ahead_tile ahead_at(const fl_ahead *work) {
  const size_t panel = work->first + work->done / PANEL_VECTORS, column = work->done % PANEL_VECTORS * VL;
  return (ahead_tile){work->a, (const real *)work->start + panel * FL_PANEL + column,
                      (const weight *)work->weights + panel * work->weights_panel + column,
                      (real *)work->z + panel * work->z_panel + column};
}

/* its chains: from zero, or from where they rested */
INLINE void load_ahead(const fl_ahead *work, V *acc) {
  const int resting = work->at % FL_PIECE != 0;
  UNROLL
  for (size_t r = 0; r < AHEAD_ROWS; r++) acc[r] = resting ? v_load((const real *)work->rest + r * VL) : v_set1(0);
}

INLINE void step_ahead(const ahead_tile *tile, size_t k, V *acc) {
  const V w = v_weights(tile->w + k * FL_PANEL);
  UNROLL
  for (size_t r = 0; r < AHEAD_ROWS; r++) acc[r] = v_fma(v_set1(tile->a[k * AHEAD_ROWS + r]), w, acc[r]);
}

/* n steps on: to rest, or where a piece ends, to what it is added to; to the next tile when this one is full */
INLINE void store_ahead(fl_ahead *work, const ahead_tile *tile, size_t n, const V *acc) {
  const int first = work->at < FL_PIECE;
  work->at += n;
  if (work->at % FL_PIECE && work->at < work->k) {
    UNROLL
    for (size_t r = 0; r < AHEAD_ROWS; r++) v_store((real *)work->rest + r * VL, acc[r]);
    return;
  }
  UNROLL
  for (size_t r = 0; r < AHEAD_ROWS; r++) {
    real *const z = tile->z + r * work->z_row;
    v_store(z, v_add(v_load(first ? tile->start : z), acc[r]));
  }
  if (work->at == work->k) {
    work->at = 0;
    work->done++;
  }
}

/* all that is left */
INLINE void finish_ahead(fl_ahead *work) {
  for (size_t n; (n = ahead_left(work, work->k)) > 0;) {
    const ahead_tile tile = ahead_at(work);
    V acc[AHEAD_ROWS];
    load_ahead(work, acc);
    for (size_t k = work->at, end = k + n; k < end; k++) step_ahead(&tile, k, acc);
    store_ahead(work, &tile, n, acc);
  }
}

/* one step of k of AHEAD_PANELS panels */
INLINE void step_of_panels(real x, const weight *w, size_t w_panel, V *acc) {
  const V all = v_set1(x);
  UNROLL
  for (size_t j = 0; j < AHEAD_PANELS * PANEL_VECTORS; j++)
    acc[j] = v_fma(all, v_weights(w + j / PANEL_VECTORS * w_panel + j % PANEL_VECTORS * VL), acc[j]);
}

/* the chains of one piece of one row and AHEAD_PANELS panels, with the work ahead in between */
INLINE void chains_ahead(const slice *s, V *acc, fl_ahead *work) {
  const real *const x = (const real *)s->row[0] + s->k0;
  size_t done = 0;
  UNROLL
  for (size_t j = 0; j < AHEAD_PANELS * PANEL_VECTORS; j++) acc[j] = v_set1(0);
  for (size_t n; (n = ahead_left(work, (s->k - done) / AHEAD_EVERY)) > 0;) {
    const ahead_tile tile = ahead_at(work);
    V side[AHEAD_ROWS];
    load_ahead(work, side);
    for (size_t j = work->at, end = j + n; j < end; j++, done += AHEAD_EVERY) {
      UNROLL
      for (size_t e = 0; e < AHEAD_EVERY; e++)
        step_of_panels(x[done + e], s->w + (done + e) * FL_PANEL, s->w_panel, acc);
      step_ahead(&tile, j, side);
    }
    store_ahead(work, &tile, n, side);
  }
  for (; done < s->k; done++) step_of_panels(x[done], s->w + done * FL_PANEL, s->w_panel, acc);
}

/* tile_panels for one row and AHEAD_PANELS panels that meet z, with the work ahead in between */
static void tile_panels_ahead(const slice *all, fl_ahead *work) {
  V acc[AHEAD_PANELS * PANEL_VECTORS], sum[AHEAD_PANELS * PANEL_VECTORS];
  slice s = *all;
  UNROLL
  for (size_t j = 0; j < AHEAD_PANELS * PANEL_VECTORS; j++) sum[j] = v_set1(0);
  for (size_t left = s.k; left; left -= s.k, s.k0 += s.k, s.w += s.k * FL_PANEL) {
    s.k = left < FL_PIECE ? left : FL_PIECE;
    chains_ahead(&s, acc, work);
    UNROLL
    for (size_t j = 0; j < AHEAD_PANELS * PANEL_VECTORS; j++) sum[j] = v_add(sum[j], acc[j]);
  }
  UNROLL
  for (size_t j = 0; j < AHEAD_PANELS * PANEL_VECTORS; j++) {
    real *const to = (real *)s.z[0] + s.z_at + j / PANEL_VECTORS * s.z_panel + j % PANEL_VECTORS * VL;
    v_store(to, v_add(v_load(to), sum[j]));
  }
}

#endif
#endif
