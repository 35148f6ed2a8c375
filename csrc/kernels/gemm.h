/* The packed product, from one row (GEMV) to many (GEMM).
 *
 * Every output is a sum of pieces. A piece is one chain of fused multiply-adds from zero over FL_PIECE k (the last one
 * over what is left), k ascending; pieces are added in order. Lanes run over outputs, never over k, so that tiles, row
 * splits and threads cannot change a bit. Two operands meet in one addition: either may come first.
 *
 *   a few rows     whole panels, several side by side, so that there are enough chains to cover the latency and enough
 *                  streams for the hardware's prefetchers. Software prefetch cost up to 40 % here.
 *   many rows      TILE_ROWS x TILE_VECTORS tiles over part of a panel, a piece deep: 8 to 16 KiB of weights stay in L1
 *                  while the rows pass; the first row tile prefetches the next ones to L2 (57 -> 85 % of peak at
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
};

static const real NOTHING_YET[FL_PANEL] = {0};

/* What a tile works on: m rows of one operand, k of its reals from k0 on, against panels of weights. */
typedef struct {
  const void *const *row; /* [m] */
  size_t k0, k;
  const weight *w; /* the first panel's, of k0 */
  size_t w_panel;  /* from a panel to the next */
  size_t vector;   /* of the panel's, where a tile begins */
  const real *start;
  void *const *z;       /* [m] */
  size_t z_at, z_panel; /* where in z's rows the first panel is; from a panel to the next */
  fl_into into;
  /* for tile(), which does one piece */
  int first, last; /* is it? */
  real *sum;       /* [m][FL_PANEL]: what meets z with the last piece */
} slice;

INLINE const real *start_of(const slice *s, size_t p) {
  return s->start ? s->start + p * FL_PANEL : NOTHING_YET;
}

INLINE void end_piece(const size_t rows, const size_t vectors, const slice *s, V acc[TILE_ROWS][PANEL_VECTORS]) {
  const int meets = s->into == FL_MEET;
  UNROLL
  for (size_t r = 0; r < rows; r++) {
    real *const z = (real *)s->z[r] + s->z_at, *const so_far = meets ? s->sum + r * FL_PANEL : z;
    const real *const from = s->first && s->into != FL_ADD ? start_of(s, 0) : so_far;
    real *const to = s->last ? z : so_far;
    UNROLL
    for (size_t v = 0; v < vectors; v++) acc[r][v] = v_add(v_load(from + v * VL), acc[r][v]);
    if (meets && s->last) {
      UNROLL
      for (size_t v = 0; v < vectors; v++) acc[r][v] = v_add(v_load(z + v * VL), acc[r][v]);
    }
    UNROLL
    for (size_t v = 0; v < vectors; v++) v_store(to + v * VL, acc[r][v]);
  }
}

/* The chains of one piece. `next`, if given, is prefetched: as many bytes per k as are used. */
INLINE void tile_chains(const size_t rows, const size_t vectors, const slice *s, const weight *next,
                        V acc[TILE_ROWS][PANEL_VECTORS]) {
  const real *x[TILE_ROWS];
  UNROLL
  for (size_t r = 0; r < rows; r++) {
    x[r] = (const real *)s->row[r] + s->k0;
    UNROLL
    for (size_t v = 0; v < vectors; v++) acc[r][v] = v_set1(0);
  }
  for (size_t k = 0; k < s->k; k++) {
    V w[PANEL_VECTORS];
    if (next) {
      UNROLL
      for (size_t v = 0; v < vectors * VL * sizeof(weight); v += 64)
        PREFETCH_L2((const char *)(next + k * FL_PANEL) + v);
    }
    UNROLL
    for (size_t v = 0; v < vectors; v++) w[v] = v_weights(s->w + k * FL_PANEL, s->vector + v);
    UNROLL
    for (size_t r = 0; r < rows; r++) {
      const V all = v_every(x[r] + k);
      UNROLL
      for (size_t v = 0; v < vectors; v++) acc[r][v] = v_fma(all, w[v], acc[r][v]);
    }
  }
}

/* one piece of rows x vectors of the first panel; rows and vectors are constants */
INLINE void tile(const size_t rows, const size_t vectors, const slice *s, const weight *next) {
  V acc[TILE_ROWS][PANEL_VECTORS];
  if (next)
    tile_chains(rows, vectors, s, next, acc);
  else
    tile_chains(rows, vectors, s, NULL, acc);
  end_piece(rows, vectors, s, acc);
}

/* constant sizes, so registers */
enum { FEW_VECTORS = ACCUMULATORS > PANEL_VECTORS ? ACCUMULATORS : PANEL_VECTORS };

/* The chains of one piece of rows x panels whole panels side by side; rows and panels are constants. A loop of one
 * iteration, which `r < rows` is with one row, would leave Clang (14) with accumulators in memory. */
INLINE void panel_chains(const size_t rows, const size_t panels, const slice *s, V acc[FEW_VECTORS]) {
  const real *x[TILE_ROWS];
  UNROLL
  for (size_t r = 0; r < TILE_ROWS; r++)
    if (r < rows) x[r] = (const real *)s->row[r] + s->k0;
  UNROLL
  for (size_t j = 0; j < rows * panels * PANEL_VECTORS; j++) acc[j] = v_set1(0);
  for (size_t k = 0; k < s->k; k++) {
    V all[TILE_ROWS];
    UNROLL
    for (size_t r = 0; r < TILE_ROWS; r++)
      if (r < rows) all[r] = v_every(x[r] + k);
    UNROLL
    for (size_t j = 0; j < panels * PANEL_VECTORS; j++) {
      const V w = v_weights(s->w + j / PANEL_VECTORS * s->w_panel + k * FL_PANEL, j % PANEL_VECTORS);
      UNROLL
      for (size_t r = 0; r < TILE_ROWS; r++)
        if (r < rows) {
          V *const sum = &acc[r * panels * PANEL_VECTORS + j];
          *sum = v_fma(all[r], w, *sum);
        }
    }
  }
}

/* a row without its zeros (sparse.h): the numbers, and where their weights are; the last one's neighbour is past all */
typedef struct {
  const real *x;
  const uint32_t *at;
} row_list;

/* the same of a listed row, of what is before `end`; the list goes on from there */
INLINE void listed_chains(const size_t panels, const slice *all, row_list *list, size_t end, V acc[FEW_VECTORS]) {
  UNROLL
  for (size_t j = 0; j < panels * PANEL_VECTORS; j++) acc[j] = v_set1(0);
  for (; *list->at < end; list->at++, list->x++) {
    const weight *const w = all->w + *list->at;
    const V x = v_every(list->x);
    UNROLL
    for (size_t j = 0; j < panels * PANEL_VECTORS; j++)
      acc[j] = v_fma(x, v_weights(w + j / PANEL_VECTORS * all->w_panel, j % PANEL_VECTORS), acc[j]);
  }
}

/* rows x panels whole panels side by side, all k of them, or with a list (of one row) those in it; rows and panels are
 * constants */
INLINE void tile_panels(const size_t rows, const size_t panels, const slice *all, row_list *list) {
  V acc[FEW_VECTORS], sum[FEW_VECTORS];
  slice s = *all;
#define Z(j) ((real *)s.z[(j) / PANEL_VECTORS / panels] + s.z_at + (j) / PANEL_VECTORS % panels * s.z_panel)
#define AT(j) ((j) % PANEL_VECTORS * VL)
  UNROLL
  for (size_t j = 0; j < rows * panels * PANEL_VECTORS; j++)
    sum[j] = v_load((s.into == FL_ADD ? Z(j) : start_of(&s, j / PANEL_VECTORS % panels)) + AT(j));
  for (size_t left = s.k; left; left -= s.k, s.k0 += s.k, s.w += s.k * FL_PANEL) {
    s.k = left < FL_PIECE ? left : FL_PIECE;
    if (list)
      listed_chains(panels, all, list, (s.k0 + s.k) * FL_PANEL, acc);
    else
      panel_chains(rows, panels, &s, acc);
    UNROLL
    for (size_t j = 0; j < rows * panels * PANEL_VECTORS; j++) sum[j] = v_add(sum[j], acc[j]);
  }
  UNROLL
  for (size_t j = 0; j < rows * panels * PANEL_VECTORS; j++) {
    real *const to = Z(j) + AT(j);
    v_store(to, s.into == FL_MEET ? v_add(v_load(to), sum[j]) : sum[j]);
  }
#undef Z
#undef AT
}

#endif
