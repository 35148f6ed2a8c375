/* Rows with many zeros, as lists of what is not zero: the weights that a zero would meet are not read. With
 * 75 % of zeros a product is 1.5 to 2.7 times faster.
 *
 * The bits are those of all k, where the weights are finite. A link of a chain with x = 0 adds +0 or -0 to the sum s:
 * that is s, but for s = -0, and to -0 a chain from +0 comes by underflow alone. A chain may so end at the other zero.
 * Nobody sees it: what it is added to began at b + 0 or at +0, a sum is -0 only where both terms are, so this sum never
 * is, and takes +0 as it takes -0. (The backward pass's way, FL_ADD, has no such beginning, and the panels of a
 * projection skip nothing.)
 *
 * SPDX-License-Identifier: BSD-3-Clause */
#ifndef FASTLSTM_SPARSE_H
#define FASTLSTM_SPARSE_H

enum {
  LISTED_NUMBERS = 4096, /* that are kept at once, */
  LISTED_ROWS = 64,      /* of so many rows at most, */
  LISTED_LEAST = 16,     /* and so many at least, or all: the rest of a step wants rows to be many */
  LISTED_K = 1 << 24,    /* where weights are has 32 bits */
  LISTED_WORK = 256,     /* numbers times panels */
  /* of numbers in rows, up to which it was measured to pay: with one row, with many, with weights beyond an L2 */
  ONE_SIXTEENTHS = 12,
  WIDE = VL * sizeof(real) == 64,
  MANY_SIXTEENTHS = VL == 1 ? 12 : 6 - WIDE,
  LARGE_SIXTEENTHS = WIDE ? 3 : MANY_SIXTEENTHS,
  LOOKS = VL < 4 ? 8 : 2, /* vectors of a row */
};

/* rows of a product, some of them listed */
typedef struct {
  size_t m, listed; /* rows; of them listed, the others are dense */
  row_list row[LISTED_ROWS];
  void *z[LISTED_ROWS];
  const void *dense[LISTED_ROWS];
  void *dense_z[LISTED_ROWS];
  real x[LISTED_NUMBERS + LISTED_ROWS];
  uint32_t at[LISTED_NUMBERS + LISTED_ROWS]; /* weights from the panel's first; an end after each row */
} row_lists;

/* Is there a zero at a few places? Most rows that are dense have none at all, and need no more than this look. */
INLINE int shows_zeros(const real *x, size_t k) {
  unsigned numbers = v_numbers(v_load(x));
  for (size_t j = 1; j < LOOKS; j++) numbers &= v_numbers(v_load(x + j * (k / LOOKS)));
  return numbers != (1u << VL) - 1;
}

INLINE size_t count_numbers(const real *x, size_t k) {
  unsigned n = 0;
  for (size_t j = 0; j < k; j++) n += x[j] != 0;
  return n;
}

INLINE size_t numbers_in(const real *x, size_t k) {
  return shows_zeros(x, k) ? count_numbers(x, k) : k;
}

/* As many numbers a row as are worth a list. One row is read at the speed of its weights, many at that of
 * multiply-adds, or once more at that of weights from beyond an L2. */
INLINE size_t most_listed(const fl_product *product) {
  const size_t m = product->m, k = product->operand[0].k;
  const int large = k * (product->last - product->first) * FL_PANEL * sizeof(weight) > (size_t)3 << 19;
  const size_t worth = k * (m == 1 ? ONE_SIXTEENTHS : large ? LARGE_SIXTEENTHS : MANY_SIXTEENTHS) / 16;
  const size_t room = LISTED_NUMBERS / (m < LISTED_LEAST ? m : LISTED_LEAST);
  return worth < room ? worth : room;
}

/* As many numbers as a row may have to be listed, 0: none is. Rows that one tile takes are listed together or not at
 * all, since a tile of fewer is hardly faster. `dense` rows at the beginning show no zeros. */
static NOINLINE size_t limit_of_lists(const fl_product *product, size_t dense) {
  const fl_operand *const input = &product->operand[0];
  const size_t m = product->m, k = input->k, most = most_listed(product);
  const int one_tile = m <= TILE_ROWS;
  size_t numbers = dense * k;
  for (size_t r = dense; r < m; r++) {
    const size_t n = numbers_in(input->rows[r], k);
    if (!one_tile && n <= most) return most;
    numbers += n;
  }
  return one_tile && numbers <= m * most ? k : 0;
}

/* The same. Few numbers that meet few panels are not looked at. */
INLINE size_t sparse_limit(const fl_product *product) {
  const fl_operand *const input = &product->operand[0];
  const size_t k = input->k;
  size_t r = 0;
  if (k < LOOKS * VL || k > LISTED_K || k * (product->last - product->first) < LISTED_WORK) return 0;
  while (r < product->m && !shows_zeros(input->rows[r], k)) r++;
  return RARELY(r < product->m) ? limit_of_lists(product, r) : 0;
}

/* n <= 64 reals: a bit for each that is not zero */
INLINE uint64_t numbers_of(const real *x, size_t n) {
  uint64_t numbers = 0;
  size_t j = 0;
  for (; j + VL <= n; j += VL) numbers |= (uint64_t)v_numbers(v_load(x + j)) << j;
  for (; j < n; j++) numbers |= (uint64_t)(x[j] != 0) << j;
  return numbers;
}

/* What is not zero of a row, and an end; how many there are, without the end. They have been counted, but somebody may
 * have written to x since: no more than there is room for. */
INLINE size_t list_row(const real *x, size_t k, size_t room, real *to, uint32_t *at) {
  size_t n = 0;
  for (size_t j = 0; j < k; j += 64)
    for (uint64_t left = numbers_of(x + j, k - j < 64 ? k - j : 64); left && n < room; left &= left - 1, n++) {
      const size_t i = j + (size_t)__builtin_ctzll(left);
      to[n] = x[i];
      at[n] = (uint32_t)(i * FL_PANEL);
    }
  at[n] = UINT32_MAX;
  return n;
}

/* The first rows of a product, as many as there is room for: at least LISTED_LEAST, or all. */
static NOINLINE void list_rows(row_lists *lists, const fl_product *product, size_t most) {
  const fl_operand *const input = &product->operand[0];
  size_t used = 0, dense = 0;
  lists->listed = 0;
  for (lists->m = 0; lists->m < product->m && lists->m < LISTED_ROWS; lists->m++) {
    const real *const x = input->rows[lists->m];
    if (most < input->k && numbers_in(x, input->k) > most) {
      lists->dense[dense] = x;
      lists->dense_z[dense++] = product->z[lists->m];
      continue;
    }
    if (most < input->k && used + most > LISTED_NUMBERS + lists->listed) break;
    const size_t room = LISTED_NUMBERS + lists->listed - used;
    lists->row[lists->listed] = (row_list){lists->x + used, lists->at + used};
    lists->z[lists->listed++] = product->z[lists->m];
    used += list_row(x, input->k, room, lists->x + used, lists->at + used) + 1;
  }
}

/* the listed rows against n panels side by side */
INLINE void listed_rows(const row_lists *lists, const slice *panels, size_t n) {
  slice s = *panels;
  for (size_t r = 0; r < lists->listed; r++) {
    row_list list = lists->row[r];
    s.z = &lists->z[r];
    side_by_side(1, n, &s, &list);
  }
}

/* panels_product of the first rows of a product, as they are listed */
static NOINLINE void sparse_product(const fl_product *product, const row_lists *lists, size_t first, size_t last,
                                    size_t z_at, const weight *after) {
  const slice s = slice_of(product, first, z_at);
  fl_product part = *product;
  for (size_t done = 0, n; done < last - first; done += n) {
    n = panels_at_once(1, 1, last - first - done);
    const slice at = panel_of(s, product->down ? last - first - done - n : done);
    listed_rows(lists, &at, n);
  }
  part.operand[1].k = 0;
  if (lists->m > lists->listed) {
    part.m = lists->m - lists->listed;
    part.operand[0].rows = lists->dense;
    part.z = lists->dense_z;
    product_of_panels(&part, first, last, z_at, after);
  }
  if (product->operand[1].k) {
    part.m = lists->m;
    part.operand[0] = product->operand[1];
    part.z = product->z;
    part.weights = (const weight *)product->weights + product->operand[0].k * FL_PANEL;
    part.start = NULL;
    part.into = FL_MEET;
    product_of_panels(&part, first, last, z_at, after);
  }
}

#endif
