/* The kernels, written once. Compiled once per instruction set and real type with
 *   FASTLSTM_ISA        a header of simd/, without its ending
 *   REAL_BITS           32 or 64
 * into one table, fl_kernels_<isa>_f<bits>. -ffp-contract=off: every fused multiply-add is written as one.
 *
 * SPDX-License-Identifier: BSD-3-Clause */
#include <stddef.h>
#include "compiler.h"
#include "kernels.h"

#if REAL_BITS == 32
typedef float real;
enum { MANTISSA_BITS = 23 };
#else
typedef double real;
enum { MANTISSA_BITS = 52 };
#endif

#define STRINGIZE_(x) #x
#define STRINGIZE(x) STRINGIZE_(x)
#include STRINGIZE(simd/FASTLSTM_ISA.h)

#define VL_WIDE (VL > FL_UNITS)
#include "activations.h"
#include "gemm.h"
#include "ahead.h"
#include "gates.h"

/* ---- activations ------------------------------------------------------------------------------------------------ */

#define MAP(function)                                    \
  const real *const x = x_;                              \
  real *const y = y_;                                    \
  size_t j = 0;                                          \
  for (; j + VL <= n; j += VL) v_store(y + j, function(v_load(x + j))); \
  if (j < n) {                                           \
    real lanes[VL] = {0};                                \
    copy_lanes(lanes, x + j, n - j);                     \
    v_store(lanes, function(v_load(lanes)));             \
    copy_lanes(y + j, lanes, n - j);                     \
  }

static void kernel_sigmoid(const void *x_, void *y_, size_t n) {
  MAP(v_sigmoid)
}

static void kernel_tanh(const void *x_, void *y_, size_t n) {
  MAP(v_tanh)
}

/* ---- gates alone ------------------------------------------------------------------------------------------------ */

static void kernel_gates_forward(const fl_gates *g) {
  enum { BLOCK = 16 * VL };
  real z[4 * BLOCK]; /* a copy: the passes park the ratio of o in z, and the caller's z is read only */
  const size_t units = g->units;
  for (size_t r = 0; r < g->rows; r++) {
    for (size_t u0 = 0; u0 < units; u0 += BLOCK) {
      const size_t n = units - u0 < BLOCK ? units - u0 : BLOCK;
      const real *const c = (const real *)g->c + r * units + u0;
      real *const c_next = (real *)g->c_next + r * units + u0;
      real *const h = (real *)g->h + r * units + u0;
      for (size_t j = 0; j < 4; j++) copy_lanes(z + j * BLOCK, (const real *)g->z + (4 * r + j) * units + u0, n);
      size_t u = 0;
      for (; u + VL <= n; u += VL) cell_pass(z + u, z + u + HALF, BLOCK, c + u, c + u + HALF, c_next + u, c_next + u + HALF);
      if (u < n) cell_pass_tail(z + u, BLOCK, c + u, c_next + u, n - u);
      for (u = 0; u + VL <= n; u += VL)
        output_pass(z + u, z + u + HALF, BLOCK, c_next + u, c_next + u + HALF, h + u, h + u + HALF);
      if (u < n) output_pass_tail(z + u, BLOCK, c_next + u, h + u, n - u);
    }
  }
}

/* ---- packed product --------------------------------------------------------------------------------------------- */

/* panels that `rows` rows take side by side */
#define SIDE_BY_SIDE(rows) \
  ((rows) * 4 * PANEL_VECTORS <= ACCUMULATORS ? 4 : (rows) * 2 * PANEL_VECTORS <= ACCUMULATORS ? 2 : 1)

/* rows that are few: those of whom a whole panel fits in the registers, and one in any case */
#define FEW(rows) ((rows) == 1 || (rows) * PANEL_VECTORS <= ACCUMULATORS)
enum { MOST_FEW = 4 };

/* a few rows against `panels` panels of one operand, from the first up or from the last down */
INLINE void few_rows_product(const size_t rows, const void *const *row, size_t k, const real *w, size_t w_panel, size_t panels,
                             int down, const real *start, size_t start_panel, size_t start_row, real *z, size_t z_panel) {
  /* four streams while they fit in half of L1 or there are rows to share them; else two */
  const int four = SIDE_BY_SIDE(rows) == 4 && (rows > 1 || 4 * k * FL_PANEL * sizeof(real) <= 16384);
  for (size_t done = 0; done < panels;) {
    size_t n = panels - done;
    n = four && n >= 4 ? 4 : SIDE_BY_SIDE(rows) >= 2 && n >= 2 ? 2 : 1;
    const size_t p = down ? panels - done - n : done;
#define PANELS(count) \
  tile_panels(rows, count, row, k, w + p * w_panel, w_panel, start + p * start_panel, start_panel, start_row, z + p * z_panel, z_panel)
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

/* `m` rows in balanced tiles (32 rows as 6,6,5,5,5,5, not 6,6,6,6,6,2) against one slice of a panel, k <= K_BLOCK */
static void rows_product(const void *const *row, size_t m, size_t k0, size_t k, const real *w, const real *start,
                         size_t start_row, real *z, const real *next) {
  const size_t tiles = (m + TILE_ROWS - 1) / TILE_ROWS;
  const size_t rows = m / tiles;
  size_t longer = m % tiles;
  for (size_t r = 0; r < m;) {
    const size_t n = rows + (longer > 0);
    if (longer) longer--;
#define TILE(count)                                                                                            \
  case count:                                                                                                  \
    if (next)                                                                                                  \
      tile(count, TILE_VECTORS, row + r, k0, k, w, start + r * start_row, start_row, z + r * FL_PANEL, next);  \
    else                                                                                                       \
      tile(count, TILE_VECTORS, row + r, k0, k, w, start + r * start_row, start_row, z + r * FL_PANEL, NULL);  \
    break;
    switch (n) {
      TILE(1)
#if TILE_ROWS >= 2
      TILE(2)
#endif
#if TILE_ROWS >= 6
      TILE(3)
      TILE(4)
      TILE(5)
      TILE(6)
#endif
#if TILE_ROWS >= 12
      TILE(7)
      TILE(8)
      TILE(9)
      TILE(10)
      TILE(11)
      TILE(12)
#endif
    }
#undef TILE
    next = NULL;
    r += n;
  }
}

/* Panels first..last into z (panel `first` at z), up or down; `after` is where the weights go on when this is done. */
static void panels_product(const fl_product *a, size_t first, size_t last, real *z, const real *after) {
  const size_t panels = last - first, m = a->m;
  const real *start = a->start ? (const real *)a->start + first * FL_PANEL : z;
  size_t start_panel = a->start ? FL_PANEL : a->z_panel;
  size_t start_row = a->start ? 0 : FL_PANEL;
  const real *w = (const real *)a->weights + first * a->weights_panel;
  for (size_t j = 0; j < 2 && a->operand[j].k; j++) {
    const void *const *const row = a->operand[j].rows;
    const size_t k = a->operand[j].k;
#define ROWS(count)                                                                                                          \
  case count:                                                                                                                \
    if (FEW(count))                                                                                                          \
      few_rows_product(count, row, k, w, a->weights_panel, panels, a->down, start, start_panel, start_row, z, a->z_panel);   \
    break;
    switch (m <= MOST_FEW && FEW(m) ? m : 0) {
      ROWS(1)
      ROWS(2)
      ROWS(3)
      ROWS(4)
      default:
        for (size_t done = 0; done < panels; done++) {
          const size_t p = a->down ? panels - 1 - done : done;
          const real *const wp = w + p * a->weights_panel;
          const real *const next_panel = done + 1 < panels ? (a->down ? wp - a->weights_panel : wp + a->weights_panel) : after;
          real *const zp = z + p * a->z_panel;
          const real *from = start + p * start_panel;
          size_t from_row = start_row;
          for (size_t k0 = 0; k0 < k; k0 += K_BLOCK) {
            const size_t n = k - k0 < K_BLOCK ? k - k0 : K_BLOCK;
            const real *const next = k0 + K_BLOCK < k ? wp + (k0 + K_BLOCK) * FL_PANEL : next_panel;
            for (size_t v = 0; v < PANEL_VECTORS; v += TILE_VECTORS)
              rows_product(row, m, k0, n, wp + k0 * FL_PANEL + v * VL, from + v * VL, from_row, zp + v * VL,
                           next ? next + v * VL : NULL);
            from = zp;
            from_row = FL_PANEL;
          }
        }
    }
#undef ROWS
    start = z;
    start_panel = a->z_panel;
    start_row = FL_PANEL;
    w += k * FL_PANEL;
  }
}

static void kernel_product(const fl_product *a) {
  panels_product(a, a->first, a->last, (real *)a->z + a->first * a->z_panel, NULL);
}

/* ---- one time step ---------------------------------------------------------------------------------------------- */

/* panels first.. of the recurrent product of one row, with work ahead in its shadow */
INLINE void row_product_ahead(const fl_step *s, size_t first, size_t panels, real *z) {
#if AHEAD_ROWS
  const fl_product *const a = &s->product;
  const real *const row = a->operand[0].rows[0], *const w = (const real *)a->weights + first * a->weights_panel;
  const size_t k = a->operand[0].k;
  for (size_t done = 0, n; done < panels; done += n) {
    n = panels - done < AHEAD_PANELS ? 1 : AHEAD_PANELS;
    const size_t p = a->down ? panels - done - n : done;
    if (n == AHEAD_PANELS)
      tile_panels_ahead(row, k, w + p * a->weights_panel, a->weights_panel, z + p * a->z_panel, a->z_panel, s->ahead);
    else
      tile_panels(1, 1, a->operand[0].rows, k, w + p * a->weights_panel, 0, z + p * a->z_panel, 0, 0, z + p * a->z_panel, 0);
  }
#else
  (void)s, (void)first, (void)panels, (void)z;
#endif
}

static void kernel_finish_ahead(fl_ahead *work) {
#if AHEAD_ROWS
  for (size_t n; (n = ahead_left(work, work->k)) > 0;) AHEAD_TILE(work, n, (void)0);
#else
  (void)work;
#endif
}

static void kernel_step(const fl_step *s) {
  const fl_product *const a = &s->product;
  /* as many panels at once as make the two passes of the gates worth while */
  const size_t group = a->m < FL_GROUP_ROWS ? FL_GROUP_ROWS / a->m : 1;
  const size_t panels = a->last - a->first;
  for (size_t done = 0; done < panels; done += group) {
    const size_t n = panels - done < group ? panels - done : group;
    const size_t p = a->down ? a->last - done - n : a->first + done;
    const real *const w = a->weights;
    const real *const after = done + n == panels ? NULL : w + (a->down ? p - 1 : p + n) * a->weights_panel;
    real *const z = a->start ? (real *)a->z : (real *)a->z + p * a->z_panel;
    if (s->ahead)
      row_product_ahead(s, p, n, z);
    else
      panels_product(a, p, p + n, z, after);
    gates_of_panels(s, p, n, z, a->z_panel);
  }
}

#define TABLE__(isa, bits) fl_kernels_##isa##_f##bits
#define TABLE_(isa, bits) TABLE__(isa, bits)
#define TABLE TABLE_(FASTLSTM_ISA, REAL_BITS)
extern const fl_kernels TABLE;
const fl_kernels TABLE = {
#define FL_ENTRY(name, arguments) .name = kernel_##name,
    FL_KERNEL_LIST(FL_ENTRY)
#undef FL_ENTRY
    .ahead_rows = AHEAD_ROWS,
};
