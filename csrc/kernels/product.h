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

/* the same for panel p */
INLINE slice panel_of(slice s, size_t p) {
  s.w += p * s.w_panel;
  if (s.start) s.start += p * FL_PANEL;
  s.z_at += p * s.z_panel;
  return s;
}

/* One piece that meets z alone is added to it, the same number where z is not -0, which it never is: 4 % of a small
 * layer with many rows. For few it cost as much. */
INLINE fl_into into_of(fl_into into, const real *start, size_t k) {
  return into == FL_MEET && !start && k <= FL_PIECE ? FL_ADD : into;
}

/* of `left` panels, so many side by side; four: if it can be */
INLINE size_t panels_at_once(const size_t rows, int four, size_t left) {
  return SIDE_BY_SIDE(rows) >= 4 && four && left >= 4 ? 4 : SIDE_BY_SIDE(rows) >= 2 && left >= 2 ? 2 : 1;
}

/* n panels side by side, as panels_at_once says, of rows, a constant, or of one that is listed: its list is used up */
INLINE void side_by_side(const size_t rows, size_t n, const slice *s, row_list *list) {
  if (SIDE_BY_SIDE(rows) >= 4 && n == 4)
    tile_panels(rows, 4, s, list);
  else if (SIDE_BY_SIDE(rows) >= 2 && n == 2)
    tile_panels(rows, 2, s, list);
  else
    tile_panels(rows, 1, s, list);
}

/* A few rows against `panels` panels, from the first up or from the last down. rows is a constant. */
INLINE void few_rows_product(const size_t rows, slice s, size_t panels, int down) {
  /* four streams while a piece of them fits in half of L1 or there are rows to share them; else two */
  const size_t deep = s.k < FL_PIECE ? s.k : FL_PIECE;
  const int four = rows > 1 || 4 * deep * FL_PANEL * sizeof(weight) <= 16384;
  for (size_t done = 0, n; done < panels; done += n) {
    n = panels_at_once(rows, four, panels - done);
    const slice at = panel_of(s, down ? panels - done - n : done);
    side_by_side(rows, n, &at, NULL);
  }
}

_Static_assert(TILE_ROWS >= 1 && TILE_ROWS <= 12, "SIZES ends at 12");
_Static_assert(PANEL_VECTORS % TILE_VECTORS == 0, "tiles have to cover a panel");
_Static_assert(FL_UNITS % VL == 0 || VL == 2 * FL_UNITS, "a vector holds units of one cell, or of two");

/* One piece of m rows in balanced tiles (32 rows as 6,6,5,5,5,5, not 6,6,6,6,6,2) against one slice of a panel. Not
 * inlined: it is called once for tens of rows. */
static NOINLINE void rows_piece(size_t m, const slice *piece, const weight *next) {
  slice s = *piece;
  const size_t tiles = (m + TILE_ROWS - 1) / TILE_ROWS;
  const size_t rows = m / tiles;
  size_t longer = m % tiles;
  for (size_t r = 0; r < m;) {
    const size_t n = rows + (longer > 0);
    if (longer) longer--;
#define TILE(count) \
  case count: \
    if (count <= TILE_ROWS) tile(count, TILE_VECTORS, &s, next); \
    break;
    switch (n) { SIZES(TILE) }
#undef TILE
    next = NULL;
    r += n;
    s.row += n;
    s.z += n;
    s.sum += n * FL_PANEL;
  }
}

/* one piece of m rows against one panel; `next` is where the weights go on */
INLINE void panel_piece(size_t m, const slice *s, const weight *next) {
  for (size_t v = 0; v < FL_PANEL; v += TILE_VECTORS * VL) {
    slice part = *s;
    part.vector = v / VL;
    if (part.start) part.start += v;
    part.z_at += v;
    part.sum += v;
    rows_piece(m, &part, next ? next + v : NULL);
  }
}

/* rows whose sums wait apart for their last piece: half of an L1 */
enum { APART_ROWS = 128 * 4 / sizeof(real) };

/* many rows against one panel; `next_panel` is where the weights go on */
INLINE void many_rows_product(size_t m, slice s, const weight *next_panel) {
  _Alignas(64) real sum[APART_ROWS * FL_PANEL];
  const size_t k = s.k, most = s.into == FL_MEET && k > FL_PIECE ? APART_ROWS : m;
  const weight *const w = s.w;
  s.sum = sum;
  s.into = into_of(s.into, s.start, k);
  for (size_t n; m; m -= n, s.row += n, s.z += n) {
    n = m < most ? m : most;
    for (s.k0 = 0; s.k0 < k; s.k0 += s.k) {
      s.k = k - s.k0 < FL_PIECE ? k - s.k0 : FL_PIECE;
      s.w = w + s.k0 * FL_PANEL;
      s.first = s.k0 == 0;
      s.last = s.k0 + s.k == k;
      panel_piece(n, &s, !s.last ? s.w + s.k * FL_PANEL : n == m ? next_panel : NULL);
    }
  }
}

/* operand[0] against panel `first`, which is z_at reals into z's rows */
INLINE slice slice_of(const fl_product *product, size_t first, size_t z_at) {
  return (slice){.row = product->operand[0].rows,
                 .k = product->operand[0].k,
                 .w = (const weight *)product->weights + first * product->weights_panel,
                 .w_panel = product->weights_panel,
                 .start = product->start ? (const real *)product->start + first * FL_PANEL : NULL,
                 .z = product->z,
                 .z_at = z_at,
                 .z_panel = product->z_panel,
                 .into = product->into};
}

/* Panels first..last into z (panel `first` z_at reals into its rows), up or down; `after` is where the weights go on
 * when this is done. */
static NOINLINE void panels_product(const fl_product *product, size_t first, size_t last, size_t z_at,
                                    const weight *after) {
  const size_t panels = last - first, m = product->m, w_panel = product->weights_panel;
  slice s = slice_of(product, first, z_at);
  for (size_t j = 0; j < 2 && product->operand[j].k; j++) {
    s.row = product->operand[j].rows;
    s.k = product->operand[j].k;
#define ROWS(count)                                                       \
  case count:                                                             \
    if (FEW(count)) few_rows_product(count, s, panels, product->down); \
    break;
    switch (m <= MOST_FEW && FEW(m) ? m : 0) {
      ROWS(1)
      ROWS(2)
      ROWS(3)
      ROWS(4)
      default:
        for (size_t done = 0; done < panels; done++) {
          const slice at = panel_of(s, product->down ? panels - 1 - done : done);
          const weight *const next = product->down ? at.w - w_panel : at.w + w_panel;
          many_rows_product(m, at, done + 1 < panels ? next : after);
        }
    }
#undef ROWS
    s.w += s.k * FL_PANEL;
    s.start = NULL;
    s.into = FL_MEET;
  }
}

/* A function of its own, for whoever is not at its hottest. */
static NOINLINE void product_of_panels(const fl_product *product, size_t first, size_t last, size_t z_at,
                                       const weight *after) {
  panels_product(product, first, last, z_at, after);
}

#if WEIGHTS_ARE_REALS
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

/* where the rows of panel p begin, k0 reals into them; the lanes past the last unit take another's: nobody looks at
 * them */
INLINE void rows_of_panel(const real *matrix, size_t k, size_t units, size_t p, size_t k0, const real **row) {
  for (size_t lane = 0; lane < FL_PANEL; lane++) {
    const size_t unit = p * FL_UNITS + lane % FL_UNITS;
    row[lane] = matrix + (lane / FL_UNITS * units + (unit < units ? unit : units - 1)) * k + k0;
  }
}

/* Panels first..last of matrices that are not packed, of as many rows as sums wait apart: a piece at a time is packed
 * here, into L1, and used at once. */
INLINE void unpacked_rows(const fl_product *product, size_t units, size_t first, size_t last, size_t r0, size_t m,
                          size_t z_at) {
  _Alignas(64) real block[FL_PIECE * FL_PANEL], sum[APART_ROWS * FL_PANEL];
  const real *rows[2][FL_PANEL];
  const int operands = product->operand[1].k ? 2 : 1;
  size_t turn = 0;
  rows_of_panel(product->unpacked[0], product->operand[0].k, units, first, 0, rows[0]);
  for (size_t p = first; p < last; p++, z_at += product->z_panel)
    for (int j = 0; j < operands; j++) {
      const size_t k = product->operand[j].k;
      slice s = {.row = product->operand[j].rows + r0, .w = block, .z = product->z + r0, .z_at = z_at, .sum = sum};
      s.start = j ? NULL : (const real *)product->start + p * FL_PANEL;
      s.into = j ? into_of(FL_MEET, NULL, k) : FL_NEW;
      for (; s.k0 < k; s.k0 += s.k, turn++) {
        s.k = k - s.k0 < FL_PIECE ? k - s.k0 : FL_PIECE;
        s.first = s.k0 == 0;
        s.last = s.k0 + s.k == k;
        const size_t next = s.k0 + s.k < k ? s.k0 + s.k : 0;
        const int i = next ? j : (j + 1) % operands;
        rows_of_panel(product->unpacked[i], product->operand[i].k, units, next || i > j ? p : p + 1, next,
                      rows[(turn + 1) % 2]);
        turn_rows(rows[turn % 2], s.k, rows[(turn + 1) % 2], block);
        panel_piece(m, &s, NULL);
      }
    }
}

static NOINLINE void unpacked_product(const fl_product *product, size_t units, size_t first, size_t last, size_t z_at) {
  for (size_t r = 0; r < product->m; r += APART_ROWS)
    unpacked_rows(product, units, first, last, r, product->m - r < APART_ROWS ? product->m - r : APART_ROWS, z_at);
}

#else
static void unpacked_product(const fl_product *product, size_t units, size_t first, size_t last, size_t z_at) {
  (void)product, (void)units, (void)first, (void)last, (void)z_at; /* fl_unpacked_fits says no */
}
#endif

#endif
