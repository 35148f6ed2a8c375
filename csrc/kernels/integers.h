/* Products with weights of 8 bits: exact sums of integers, then float32 in one written order.
 *
 *   a row of x or h   scale = largest |x| / LIMIT, q = x * (LIMIT / largest) to the nearest, ties to even. Below
 *                     FL_LEAST_ROW: zeros. With a NaN or an infinity: the scale is NaN, and so is every unit.
 *   a block           256 k: sum_k (w - offset) q, an int32 without overflow, whatever the weights: 255 * 32639 * 256
 *   an operand        z = fma(s * scale of x, scale of the unit's weights, start), s the blocks' sums as float32, added
 *                     in order
 *
 * LIMIT: 32639 in the accurate form, whose q is two signed bytes (256 hi + lo) where an instruction multiplies bytes;
 * 64 in the fast one: 255 * 64 * 2 is below 2^15, so that AVX2's sums of two products never saturate.
 *
 * One division a row, and a multiplication for each number: dividing each costs 10 % of a step at H=128.
 *
 * Weights: [lane] scales, [lane] offsets, then [k / 4][lane][4] bytes.
 *
 * SPDX-License-Identifier: BSD-3-Clause */
#ifndef FASTLSTM_INTEGERS_H
#define FASTLSTM_INTEGERS_H

#include "quantise.h"
#include INTEGER_WORDS
#ifndef TILES
#define TILES 0
#endif

enum {
  PANEL_VECTORS = FL_PANEL / VL,
  BLOCK = 256, /* k in a sum of integers */
  BLOCK_GROUPS = BLOCK / GROUP,
  GROUP_BYTES = GROUP * FL_PANEL, /* weights of a group */
};

/* Of a form, in constants: bytes of rounded numbers a group; bytes of weights in a vector; vectors a panel; sums a
 * vector, one for each plane of bytes */
enum { BY_PLANES = 2 }; /* in the place of `fast`: the accurate form, one plane after the other */
#define Q_BYTES(fast) ((size_t)((fast) == 1 ? GROUP : 2 * GROUP))
#define W_BYTES(fast) ((size_t)((fast) || PLANES ? I_BYTES : I_BYTES / 2))
#define COLUMNS(fast) ((size_t)GROUP_BYTES / W_BYTES(fast))
#define SUMS(fast) ((size_t)((fast) || !PLANES ? 1 : 2))

/* A rounded row: its groups, then for each block its sum. */
typedef struct {
  float scale;
  const int32_t *totals; /* [blocks] */
  const int8_t *q;       /* [groups][Q_BYTES] */
} rounded_row;

INLINE size_t groups_of(size_t k) {
  return (k + GROUP - 1) / GROUP;
}
INLINE size_t blocks_of(size_t k) {
  return (k + BLOCK - 1) / BLOCK;
}

/* k up to which a row has numbers, and zeros; whole lines where it is laid out for tiles (integer_tiles.h) */
INLINE size_t padded_to(int tiled, size_t k) {
  return tiled ? (k + 63) / 64 * 64 : groups_of(k) * GROUP;
}

/* bytes that a rounded row of k takes */
INLINE size_t rounded_bytes(const int fast, int tiled, size_t k) {
  const size_t unit = tiled ? 64 : 16, bytes = padded_to(tiled, k) / GROUP * Q_BYTES(fast);
  return k ? (blocks_of(k) * sizeof(int32_t) + bytes + unit - 1) / unit * unit : 0;
}

/* ---- rows ------------------------------------------------------------------------------------------------------- */

/* the largest |x|; *not_finite: NaN where one is, else 0 */
INLINE real largest_of(const real *x, size_t k, real *not_finite) {
  real lanes[VL], tail[VL] = {0};
  V most = v_set1(0), bad = v_set1(0);
  size_t j = 0;
  for (; j + VL <= k; j += VL) {
    most = v_max(v_abs(v_load(x + j)), most);
    bad = v_fma(v_load(x + j), v_set1(0), bad);
  }
  if (j < k) {
    copy_lanes(tail, x + j, k - j);
    most = v_max(v_abs(v_load(tail)), most);
    bad = v_fma(v_load(tail), v_set1(0), bad);
  }
  real largest = 0;
  v_store(lanes, most);
  for (j = 0; j < VL; j++)
    if (lanes[j] > largest) largest = lanes[j];
  v_store(lanes, bad);
  for (*not_finite = 0, j = 0; j < VL; j++)
    if (!(lanes[j] == 0)) *not_finite = lanes[j];
  return largest;
}

/* n whole numbers of 16 bits as two planes of bytes, `plane` of each, then of the other */
INLINE void split_planes(const int32_t *whole, size_t n, const size_t plane, int8_t *q) {
  for (size_t g = 0; g < n; g += plane)
    for (size_t l = 0; l < plane; l++) {
      const int32_t hi = (whole[g + l] + 128) >> 8;
      q[2 * g + l] = (int8_t)hi;
      q[2 * g + plane + l] = (int8_t)(whole[g + l] - 256 * hi);
    }
}

/* n numbers, at most a block, rounded; zeros up to a whole group, or line */
INLINE void round_block(const int fast, int tiled, const real *x, size_t n, real factor, int32_t *total, int8_t *q) {
  _Alignas(64) int32_t whole[BLOCK];
  uint32_t sum = 0;
  size_t j = 0;
  for (; j + VL <= n; j += VL) i_round(whole + j, v_mul(v_load(x + j), v_set1(factor)));
  if (j < n) {
    real tail[VL] = {0};
    copy_lanes(tail, x + j, n - j);
    int32_t last[VL];
    i_round(last, v_mul(v_load(tail), v_set1(factor)));
    for (size_t l = 0; j + l < n; l++) whole[j + l] = last[l];
  }
  const size_t padded = padded_to(tiled, n);
  for (j = n; j < padded; j++) whole[j] = 0;
  for (j = 0; j < padded; j++) sum += (uint32_t)whole[j];
  memcpy(total, &sum, sizeof sum);
  if (fast) {
    for (j = 0; j < padded; j++) q[j] = (int8_t)whole[j];
  } else if (tiled) {
    split_planes(whole, padded, 64, q);
  } else if (PLANES) {
    split_planes(whole, padded, GROUP, q);
  } else {
    int16_t words[BLOCK];
    for (j = 0; j < padded; j++) words[j] = (int16_t)whole[j];
    memcpy(q, words, padded * sizeof words[0]);
  }
}

/* k numbers into `memory`, aligned to 16, rounded_bytes of it */
INLINE rounded_row round_row(const int fast, int tiled, const real *x, size_t k, void *memory) {
  const real limit = fast ? 64 : 32639;
  real bad;
  const real largest = largest_of(x, k, &bad);
  const int zeros = largest < FL_LEAST_ROW || bad != 0;
  const real factor = zeros ? 0 : limit / largest;
  int8_t *const q = memory;
  int32_t *const totals = (int32_t *)(void *)(q + padded_to(tiled, k) / GROUP * Q_BYTES(fast));
  if (bad != 0) {
    memset(memory, 0, rounded_bytes(fast, tiled, k));
    return (rounded_row){bad, totals, q};
  }
  for (size_t at = 0; at < k; at += BLOCK)
    round_block(fast, tiled, x + at, k - at < BLOCK ? k - at : BLOCK, factor, totals + at / BLOCK,
                q + at / GROUP * Q_BYTES(fast));
  return (rounded_row){zeros ? 0 : largest / limit, totals, q};
}

/* ---- sums of integers ------------------------------------------------------------------------------------------- */

/* What a tile works on: rows of one operand against panels. */
typedef struct {
  const rounded_row *row; /* [rows] */
  const weight *w;        /* the operand's in the first panel */
  size_t w_panel;         /* from a panel to the next */
  size_t row_bytes;       /* from a row's numbers to the next row's */
  size_t k;
} integer_slice;

/* s[row][columns of the tile as lanes], one block; rows and columns, which are columns of whole panels or of a part of
 * one from `column` on, are constants */
INLINE void block_sums(const int fast, const size_t rows, const size_t columns, const integer_slice *slice,
                       size_t block, size_t column, size_t plane, int32_t *s) {
  IV sum[I_ACCUMULATORS];
  const size_t first = block * BLOCK_GROUPS, all = groups_of(slice->k);
  const size_t groups = all - first < BLOCK_GROUPS ? all - first : BLOCK_GROUPS;
  const uint8_t *w = slice->w + HEADER_ROWS * FL_PANEL + first * GROUP_BYTES + column * W_BYTES(fast);
  const int8_t *q[I_ACCUMULATORS];
  UNROLL
  for (size_t r = 0; r < rows; r++) q[r] = slice->row[r].q + first * Q_BYTES(fast) + plane * GROUP;
  UNROLL
  for (size_t j = 0; j < I_ACCUMULATORS; j++)
    if (j < rows * columns * SUMS(fast)) sum[j] = i_zero();
  for (size_t g = 0; g < groups; g++, w += GROUP_BYTES) {
    UNROLL
    for (size_t c = 0; c < columns; c++) {
      const uint8_t *const at = w + c / COLUMNS(fast) * slice->w_panel + c % COLUMNS(fast) * W_BYTES(fast);
      const IV weights = fast || PLANES ? i_bytes(at) : i_words(at);
      UNROLL
      for (size_t r = 0; r < rows; r++) {
        const int8_t *const numbers = q[r] + g * Q_BYTES(fast);
        IV *const to = sum + (r * columns + c) * SUMS(fast);
        to[0] = fast || PLANES ? i_dot(to[0], weights, i_every(numbers))
                               : i_dot_words(to[0], weights, i_every_words(numbers));
        if (SUMS(fast) == 2) to[1] = i_dot(to[1], weights, i_every(numbers + GROUP));
      }
    }
  }
  const size_t lanes = columns * W_BYTES(fast) / GROUP;
  UNROLL
  for (size_t r = 0; r < rows; r++) {
    UNROLL
    for (size_t c = 0; c < columns; c++) {
      const IV *const from = sum + (r * columns + c) * SUMS(fast);
      if (fast)
        i_store(s + r * lanes + c * (I_BYTES / 4), from[0]);
      else if (PLANES)
        i_store(s + r * lanes + c * (I_BYTES / 4), i_planes(from[0], from[1]));
      else if (c % 2 == 0)
        i_store(s + r * lanes + c / 2 * (I_BYTES / 4), i_join(from[0], from[1]));
    }
  }
}

/* where the sums go */
typedef struct {
  const real *start; /* of the first panel, or NULL */
  void *const *z;    /* [rows] */
  size_t z_at, z_panel;
  int meets;
} integer_result;

/* `lanes` of a panel from `lane` on: what block `block` of row r adds, and, after the last, z */
INLINE void take_sums(const integer_slice *slice, const integer_result *to, size_t r, size_t p, size_t lane,
                      size_t lanes, const int32_t *s, size_t block, real *part) {
  const weight *const header = slice->w + p * slice->w_panel;
  const rounded_row row = slice->row[r];
  const size_t blocks = blocks_of(slice->k);
  UNROLL
  for (size_t v = 0; v < lanes; v += VL) {
    V sum = i_reals(s + v, header + (FL_PANEL + lane + v) * 4, row.totals[block]);
    if (blocks > 1) sum = v_add(v_load(part + v), sum);
    if (block + 1 == blocks) {
      real *const z = (real *)to->z[r] + to->z_at + p * to->z_panel + lane + v;
      const V start = to->start ? v_load(to->start + p * FL_PANEL + lane + v) : v_set1(0);
      const V scale = v_load((const real *)(const void *)header + lane + v);
      const V all = v_fma(v_mul(sum, v_set1(row.scale)), scale, start);
      v_store(z, to->meets ? v_add(v_load(z), all) : all);
    } else {
      v_store(part + v, sum);
    }
  }
}

/* n sums of both planes: 256 hi + lo, in the place of hi */
INLINE void join_planes(int32_t *hi, const int32_t *lo, size_t n) {
  for (size_t j = 0; j < n; j++) hi[j] = (int32_t)((uint32_t)hi[j] * 256 + (uint32_t)lo[j]);
}

/* rows x columns of whole panels, or of a part of one from `column` on; constants */
INLINE void integer_tile(const int fast, const size_t rows, const size_t columns, const integer_slice *slice,
                         const integer_result *to, size_t column) {
  enum { MOST = I_ACCUMULATORS * I_BYTES / 4 };
  _Alignas(64) int32_t s[MOST], low[MOST];
  _Alignas(64) real part[MOST];
  const size_t lanes = columns * W_BYTES(fast) / GROUP, panels = (lanes + FL_PANEL - 1) / FL_PANEL;
  const size_t each = lanes / panels, lane = column * W_BYTES(fast) / GROUP;
  const size_t blocks = blocks_of(slice->k);
  if (blocks > 1) memset(part, 0, rows * lanes * sizeof(real));
  for (size_t block = 0; block < blocks; block++) {
    block_sums(fast, rows, columns, slice, block, column, 0, s);
    if (fast == BY_PLANES) {
      block_sums(fast, rows, columns, slice, block, column, 1, low);
      join_planes(s, low, rows * lanes);
    }
    ROLLED
    for (size_t r = 0; r < rows; r++) {
      UNROLL
      for (size_t p = 0; p < panels; p++)
        take_sums(slice, to, r, p, lane, each, s + r * lanes + p * each, block, part + r * lanes + p * each);
    }
  }
}

/* ---- tiles of a product ----------------------------------------------------------------------------------------- */

/* panels side by side of a few rows, 0: not even one fits */
#define PANELS_OF(fast, rows)                                            \
  ((rows) * 4 * COLUMNS(fast) * SUMS(fast) <= I_ACCUMULATORS     ? 4 : \
   (rows) * 2 * COLUMNS(fast) * SUMS(fast) <= I_ACCUMULATORS     ? 2 : \
   (rows) * 1 * COLUMNS(fast) * SUMS(fast) <= I_ACCUMULATORS     ? 1 : 0)
/* With both planes at once weights are read once, which counts for few rows; beyond them GCC (12) would keep half of a
 * tile's sums in memory, and one after the other is 1.3 times faster. */
enum { TILE_COLUMNS = 2, MOST_FEW_ROWS = 3 };
#define ARE_FEW(fast, rows) ((rows) <= MOST_FEW_ROWS && PANELS_OF(fast, rows))
#define MOST_ROWS(fast) (I_ACCUMULATORS / (TILE_COLUMNS * SUMS(fast)))

INLINE integer_slice integers_from(integer_slice slice, size_t p) {
  slice.w += p * slice.w_panel;
  return slice;
}
INLINE integer_result result_from(integer_result to, size_t p) {
  if (to.start) to.start += p * FL_PANEL;
  to.z_at += p * to.z_panel;
  return to;
}

/* a few rows, a constant, against `panels` panels */
INLINE void few_integer_rows(const int fast, const size_t rows, const integer_slice *slice, const integer_result *to,
                             size_t panels) {
  const size_t side = PANELS_OF(fast, rows);
  size_t p = 0;
  for (; side && p + side <= panels; p += side) {
    const integer_slice at = integers_from(*slice, p);
    const integer_result there = result_from(*to, p);
    integer_tile(fast, rows, side * COLUMNS(fast), &at, &there, 0);
  }
  for (; side && p < panels; p++) {
    const integer_slice at = integers_from(*slice, p);
    const integer_result there = result_from(*to, p);
    integer_tile(fast, rows, COLUMNS(fast), &at, &there, 0);
  }
}

_Static_assert(I_ACCUMULATORS / TILE_COLUMNS <= 12, "SIZES ends at 12");

/* many rows against one panel, in balanced tiles */
INLINE void many_integer_rows(const int fast, size_t m, const integer_slice *slice, const integer_result *to) {
  const size_t tiles = (m + MOST_ROWS(fast) - 1) / MOST_ROWS(fast);
  for (size_t column = 0; column < COLUMNS(fast); column += TILE_COLUMNS) {
    integer_slice at = *slice;
    integer_result there = *to;
    for (size_t t = 0, n; t < tiles; t++, at.row += n, there.z += n) {
      n = m / tiles + (t < m % tiles);
#define TILE(rows)                                                                                              \
  case rows:                                                                                                   \
    if (rows <= MOST_ROWS(fast)) integer_tile(fast, rows, TILE_COLUMNS, &at, &there, column); \
    break;
      switch (n) { SIZES(TILE) }
#undef TILE
    }
  }
}

/* m rounded rows against `panels` panels; those that are not few by tiles where there are any, or by planes */
INLINE void integer_panels(const int fast, size_t m, const integer_slice *slice, const integer_result *to,
                           size_t panels) {
#define FEW(rows)                                                                              \
  case rows:                                                                                   \
    if (fast != BY_PLANES && ARE_FEW(fast, rows)) {                                            \
      few_integer_rows(fast, rows, slice, to, panels);                                         \
      return;                                                                                  \
    }                                                                                          \
    break;
  switch (m) { FEW(1) FEW(2) FEW(3) default : break; }
#undef FEW
  for (size_t p = 0; (fast || !PLANES) && !TILES && p < panels; p++) {
    const integer_slice at = integers_from(*slice, p);
    const integer_result there = result_from(*to, p);
    many_integer_rows(fast, m, &at, &there);
  }
}

#if TILES
#include "integer_tiles.h"
#else
static void begin_tiles(size_t m) {
  (void)m;
}
static void end_tiles(void) {
}
static void tiled_panels(const int fast, size_t m, const integer_slice *slice, const integer_result *to,
                         size_t panels) {
  (void)fast, (void)m, (void)slice, (void)to, (void)panels;
}
#endif

/* ---- kernels ---------------------------------------------------------------------------------------------------- */

/* rounded rows of both operands, on the stack: at least one, of the longest */
enum {
  MOST_LINES = 128,
  LINES_BYTES = 2 * (FL_LONGEST_INT8 * sizeof(int16_t) + FL_LONGEST_INT8 / BLOCK * sizeof(int32_t)),
};
_Static_assert(FL_LONGEST_INT8 % BLOCK == 0 && LINES_BYTES % 64 == 0, "whole blocks and lines");
typedef struct {
  size_t m;
  int tiled;
  rounded_row row[2][MOST_LINES];
  _Alignas(64) int8_t memory[LINES_BYTES];
} rounded_rows;

/* as many rows of a product, from the first, as there is room for; all where there is nothing to round */
static NOINLINE void round_rows(const int fast, const fl_product *product, rounded_rows *rounded) {
  const int tiled = rounded->tiled = TILES && product->m > MOST_FEW_ROWS;
  const size_t bytes[2] = {rounded_bytes(fast, tiled, product->operand[0].k),
                           rounded_bytes(fast, tiled, product->operand[1].k)},
               each = bytes[0] + bytes[1];
  size_t fit = each ? LINES_BYTES / each : product->m, left = product->m, used = 0;
  if (each && fit > MOST_LINES) fit = MOST_LINES;
  rounded->m = left <= fit ? left : left <= 2 * fit ? (left + 1) / 2 : fit; /* no small rest */
  for (size_t j = 0; j < 2 && product->operand[j].k; j++)
    for (size_t n = 0; n < rounded->m; n++, used += bytes[j])
      rounded->row[j][n] =
          round_row(fast, tiled, product->operand[j].rows[n], product->operand[j].k, rounded->memory + used);
  if (tiled) begin_tiles(rounded->m);
}

/* a function of its own: beside it GCC makes the code for one row 10 % slower */
static NOINLINE void panels_by_planes(size_t m, const integer_slice *slice, const integer_result *to, size_t panels) {
  integer_panels(BY_PLANES, m, slice, to, panels);
}

/* panels first..last of the rows that have been rounded, into z, whose panel `first` is at z_at */
static NOINLINE void rounded_product(const int fast, const fl_product *product, const rounded_rows *rounded,
                                     size_t first, size_t last, size_t z_at) {
  integer_slice slice = {.w = (const weight *)product->weights + first * product->weights_panel,
                         .w_panel = product->weights_panel};
  integer_result to = {.start = product->start ? (const real *)product->start + first * FL_PANEL : NULL,
                       .z = product->z,
                       .z_at = z_at,
                       .z_panel = product->z_panel,
                       .meets = product->into == FL_MEET};
  for (size_t j = 0; j < 2 && product->operand[j].k; j++) {
    slice.row = rounded->row[j];
    slice.k = product->operand[j].k;
    slice.row_bytes = rounded_bytes(fast, rounded->tiled, slice.k);
    if (rounded->tiled)
      tiled_panels(fast, rounded->m, &slice, &to, last - first);
    else if (fast)
      integer_panels(1, rounded->m, &slice, &to, last - first);
    else if (PLANES && !TILES && !ARE_FEW(0, rounded->m))
      panels_by_planes(rounded->m, &slice, &to, last - first);
    else
      integer_panels(0, rounded->m, &slice, &to, last - first);
    slice.w += WEIGHT_ROWS(slice.k) * FL_PANEL;
    to.start = NULL;
    to.meets = 1;
  }
}

#endif
