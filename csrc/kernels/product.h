/* Whole products over the tiles of gemm.h: which tile for how many rows, in which order the panels, in which pieces k.
 *
 * SPDX-License-Identifier: BSD-3-Clause */
#ifndef FASTLSTM_PRODUCT_H
#define FASTLSTM_PRODUCT_H

/* panels that `rows` rows take side by side */
#define SIDE_BY_SIDE(rows) \
  ((rows) * 4 * PANEL_VECTORS <= ACCUMULATORS ? 4 : (rows) * 2 * PANEL_VECTORS <= ACCUMULATORS ? 2 : 1)

/* rows that are few: those of whom a whole panel fits in the registers, and one in any case */
#define FEW(rows) ((rows) == 1 || ((rows) <= TILE_ROWS && (rows) * PANEL_VECTORS <= ACCUMULATORS))
enum { MOST_FEW = 4 };

/* A few rows against `panels` panels of one operand, from the first up or from the last down; z_at reals into z's rows. */
INLINE void few_rows_product(const size_t rows, const void *const *row, size_t k, const weight *w, size_t w_panel,
                             size_t panels, int down, const real *start, void *const *z, size_t z_at, size_t z_panel,
                             size_t k0, int add) {
  /* four streams while they fit in half of L1 or there are rows to share them; else two */
  const int four = SIDE_BY_SIDE(rows) == 4 && (rows > 1 || 4 * k * FL_PANEL * sizeof(weight) <= 16384);
  for (size_t done = 0; done < panels;) {
    size_t n = panels - done;
    n = four && n >= 4 ? 4 : SIDE_BY_SIDE(rows) >= 2 && n >= 2 ? 2 : 1;
    const size_t p = down ? panels - done - n : done;
    const real *const from = start ? start + p * FL_PANEL : NULL;
#define PANELS(count) tile_panels(rows, count, row, k, w + p * w_panel, w_panel, from, z, z_at + p * z_panel, z_panel, k0, add)
    if (SIDE_BY_SIDE(rows) >= 4 && n == 4)
      PANELS(4);
    else if (SIDE_BY_SIDE(rows) >= 2 && n == 2)
      PANELS(2);
    else
      PANELS(1);
#undef PANELS
    done += n;
  }
}

/* SIZES(X): X(rows) for every number of rows that a tile may have, and more, which `count <= TILE_ROWS` leaves out */
#define SIZES(X) X(1) X(2) X(3) X(4) X(5) X(6) X(7) X(8) X(9) X(10) X(11) X(12)
_Static_assert(TILE_ROWS >= 1 && TILE_ROWS <= 12, "SIZES ends at 12");
_Static_assert(PANEL_VECTORS % TILE_VECTORS == 0, "tiles have to cover a panel");
_Static_assert(FL_UNITS % VL == 0 || VL == 2 * FL_UNITS, "a vector holds units of one cell, or of two");

/* `m` rows in balanced tiles (32 rows as 6,6,5,5,5,5, not 6,6,6,6,6,2) against one slice of a panel, k <= K_BLOCK */
INLINE void rows_product(const int add, const void *const *row, size_t m, size_t k0, size_t k, const weight *w,
                         const real *start, void *const *z, size_t z_at, const weight *next) {
  const size_t tiles = (m + TILE_ROWS - 1) / TILE_ROWS;
  const size_t rows = m / tiles;
  size_t longer = m % tiles;
  for (size_t r = 0; r < m;) {
    const size_t n = rows + (longer > 0);
    if (longer) longer--;
#define TILE(count)                                                                \
  case count:                                                                      \
    if (count > TILE_ROWS) break;                                                  \
    if (next)                                                                      \
      tile(count, TILE_VECTORS, row + r, k0, k, w, start, z + r, z_at, add, next); \
    else                                                                           \
      tile(count, TILE_VECTORS, row + r, k0, k, w, start, z + r, z_at, add, NULL); \
    break;
    switch (n) { SIZES(TILE) }
#undef TILE
    next = NULL;
    r += n;
  }
}

/* Apart from each other: a test at run time of which it is cost 4-8 % of a batch. */
static NOINLINE void rows_chains(const void *const *row, size_t m, size_t k0, size_t k, const weight *w,
                                 const real *start, void *const *z, size_t z_at, const weight *next) {
  rows_product(0, row, m, k0, k, w, start, z, z_at, next);
}

static NOINLINE void rows_pieces(const void *const *row, size_t m, size_t k0, size_t k, const weight *w,
                                 const real *start, void *const *z, size_t z_at, const weight *next) {
  rows_product(1, row, m, k0, k, w, start, z, z_at, next);
}

/* Panels first..last into z (panel `first` z_at reals into its rows), up or down; `after` is where the weights go on when this
 * is done. */
INLINE void panels_product(const int pieces, const fl_product *a, size_t first, size_t last, size_t z_at,
                           const weight *after) {
  const size_t panels = last - first, m = a->m;
  const real *start = a->start ? (const real *)a->start + first * FL_PANEL : NULL;
  const weight *w = (const weight *)a->weights + first * a->weights_panel;
  for (size_t j = 0; j < 2 && a->operand[j].k; j++) {
    const void *const *const row = a->operand[j].rows;
    const size_t k = a->operand[j].k, piece = pieces ? FL_PIECE : k, block = pieces ? FL_PIECE : K_BLOCK;
#define ROWS(count)                                                                                                   \
  case count:                                                                                                         \
    if (FEW(count))                                                                                                   \
      for (size_t k0 = 0; k0 < k; k0 += piece)                                                                        \
        few_rows_product(count, row, k - k0 < piece ? k - k0 : piece, w + k0 * FL_PANEL, a->weights_panel, panels,    \
                         a->down, start, a->z, z_at, a->z_panel, k0, pieces);                                         \
    break;
    switch (m <= MOST_FEW && FEW(m) ? m : 0) {
      ROWS(1)
      ROWS(2)
      ROWS(3)
      ROWS(4)
      default:
        for (size_t done = 0; done < panels; done++) {
          const size_t p = a->down ? panels - 1 - done : done;
          const weight *const wp = w + p * a->weights_panel;
          const weight *const next_panel =
              done + 1 < panels ? (a->down ? wp - a->weights_panel : wp + a->weights_panel) : after;
          const real *from = start ? start + p * FL_PANEL : NULL;
          for (size_t k0 = 0; k0 < k; k0 += block) {
            const size_t n = k - k0 < block ? k - k0 : block;
            const weight *const next = k0 + block < k ? wp + (k0 + block) * FL_PANEL : next_panel;
            for (size_t v = 0; v < PANEL_VECTORS; v += TILE_VECTORS)
              (pieces ? rows_pieces : rows_chains)(row, m, k0, n, wp + k0 * FL_PANEL + v * VL,
                                                   from ? from + v * VL : NULL, a->z, z_at + p * a->z_panel + v * VL,
                                                   next ? next + v * VL : NULL);
            from = NULL;
          }
        }
    }
#undef ROWS
    start = NULL;
    w += k * FL_PANEL;
  }
}

/* panels first.. of the recurrent product of one row, with work ahead in its shadow */
INLINE void row_product_ahead(const fl_step *s, size_t first, size_t panels, size_t z_at) {
#if AHEAD_ROWS
  const fl_product *const a = &s->product;
  const weight *const w = (const weight *)a->weights + first * a->weights_panel;
  const size_t k = a->operand[0].k, w_panel = a->weights_panel;
  for (size_t done = 0, n; done < panels; done += n) {
    n = panels - done < AHEAD_PANELS ? 1 : AHEAD_PANELS;
    const size_t p = a->down ? panels - done - n : done, at = z_at + p * a->z_panel;
    if (n == AHEAD_PANELS)
      tile_panels_ahead(a->operand[0].rows[0], k, w + p * w_panel, w_panel, (real *)a->z[0] + at, a->z_panel, s->ahead);
    else
      tile_panels(1, 1, a->operand[0].rows, k, w + p * w_panel, 0, NULL, a->z, at, 0, 0, 0);
  }
#else
  (void)s, (void)first, (void)panels, (void)z_at;
#endif
}

/* n reals of each of a panel's rows, side by side; `next` are where those of the next block begin, for the caches */
INLINE void turn_rows(const real *const *row, size_t n, const real *const *next, real *to) {
  enum { LINE = 64 / sizeof(real) };
  for (size_t lane = 0; lane < FL_PANEL; lane += VL) {
    size_t k = 0;
    for (; k + LANE <= n; k += LANE) {
      V a[LANE];
      UNROLL
      for (size_t j = 0; j < LANE; j++) a[j] = v_load_rows(row + lane + j, k);
      /* a line of each row for every line's worth of reals */
      for (size_t j = k * VL / LINE; j < (k + LANE) * VL / LINE; j++) PREFETCH_L2(next[lane + j % VL] + j / VL * LINE);
      v_turn(a);
      UNROLL
      for (size_t j = 0; j < LANE; j++) v_store(to + (k + j) * FL_PANEL + lane, a[j]);
    }
    for (; k < n; k++)
      for (size_t j = lane; j < lane + VL; j++) to[k * FL_PANEL + j] = row[j][k];
  }
}

/* where the rows of panel p begin, k0 reals into them; the lanes past the last unit take another's: nobody looks at them */
INLINE void rows_of_panel(const real *matrix, size_t k, size_t units, size_t p, size_t k0, const real **row) {
  for (size_t lane = 0; lane < FL_PANEL; lane++) {
    const size_t unit = p * FL_UNITS + lane % FL_UNITS;
    row[lane] = matrix + (lane / FL_UNITS * units + (unit < units ? unit : units - 1)) * k + k0;
  }
}

/* Panels first..last of matrices that are not packed: packed here into L1, a block at a time, and used at once. The same
 * chains, hence the same bits. */
static NOINLINE void unpacked_product(const fl_product *a, size_t units, size_t first, size_t last, size_t z_at) {
  enum { BLOCK = 16384 / (FL_PANEL * sizeof(real)) };
  _Alignas(64) real block[BLOCK * FL_PANEL];
  const real *rows[2][FL_PANEL];
  const int operands = a->operand[1].k ? 2 : 1;
  size_t turn = 0;
  rows_of_panel(a->unpacked[0], a->operand[0].k, units, first, 0, rows[0]);
  for (size_t p = first; p < last; p++, z_at += a->z_panel) {
    const real *from = (const real *)a->start + p * FL_PANEL;
    for (int j = 0; j < operands; j++) {
      const size_t k = a->operand[j].k;
      for (size_t k0 = 0; k0 < k; k0 += BLOCK, turn++) {
        const size_t n = k - k0 < BLOCK ? k - k0 : BLOCK;
        const int go_on = k0 + BLOCK < k, i = go_on ? j : (j + 1) % operands;
        rows_of_panel(a->unpacked[i], a->operand[i].k, units, go_on || i > j ? p : p + 1, go_on ? k0 + BLOCK : 0,
                      rows[(turn + 1) % 2]);
        turn_rows(rows[turn % 2], n, rows[(turn + 1) % 2], block);
        for (size_t v = 0; v < PANEL_VECTORS; v += TILE_VECTORS)
          rows_chains(a->operand[j].rows, a->m, k0, n, block + v * VL, from ? from + v * VL : NULL, a->z, z_at + v * VL,
                      NULL);
        from = NULL;
      }
    }
  }
}

#endif
