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

#include "activations.h"
#include "gemm.h"
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
      for (; u + VL <= n; u += VL) cell_pass(z + u, BLOCK, c + u, c_next + u);
      if (u < n) cell_pass_tail(z + u, BLOCK, c + u, c_next + u, n - u);
      for (u = 0; u + VL <= n; u += VL) output_pass(z + u, BLOCK, c_next + u, h + u);
      if (u < n) output_pass_tail(z + u, BLOCK, c_next + u, h + u, n - u);
    }
  }
}

/* ---- packed product --------------------------------------------------------------------------------------------- */

/* one row against panels first..last of one operand */
static void row_product(const void *row, size_t k, const real *w, size_t w_panel, size_t panels, const real *start,
                        size_t start_panel, real *z, size_t z_panel) {
  const real *const a = row;
  size_t p = 0;
  /* two streams only while they fit in L1: beyond, a single stream is 0-15 % faster */
  if (GEMV_PANELS > 1 && k * panels * FL_PANEL * sizeof(real) <= 32768) {
    for (; p + GEMV_PANELS <= panels; p += GEMV_PANELS)
      tile_row(GEMV_PANELS, a, k, w + p * w_panel, w_panel, start + p * start_panel, start_panel, z + p * z_panel, z_panel);
  }
  for (; p < panels; p++) tile_row(1, a, k, w + p * w_panel, w_panel, start + p * start_panel, start_panel, z + p * z_panel, z_panel);
}

/* `m` rows in balanced tiles (32 rows as 6,6,5,5,5,5, not 6,6,6,6,6,2) against one slice of a panel, k <= K_BLOCK */
INLINE void rows_product(const size_t tile_rows, const size_t vectors, const void *const *row, size_t m, size_t k0, size_t k,
                         const real *w, const real *start, size_t start_row, real *z, const real *next) {
  const size_t tiles = (m + tile_rows - 1) / tile_rows;
  const size_t rows = m / tiles;
  size_t longer = m % tiles;
  for (size_t r = 0; r < m;) {
    const size_t n = rows + (longer > 0);
    if (longer) longer--;
#define TILE(count)                                                                                                   \
  case count:                                                                                                         \
    if (count <= tile_rows) {                                                                                         \
      if (next)                                                                                                       \
        tile(count, vectors, row + r, k0, k, w, start + r * start_row, start_row, z + r * FL_PANEL, next);            \
      else                                                                                                            \
        tile(count, vectors, row + r, k0, k, w, start + r * start_row, start_row, z + r * FL_PANEL, NULL);            \
    }                                                                                                                 \
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

/* panels first..last into z (panel `first` at z) */
static void panels_product(const fl_product *a, size_t first, size_t last, real *z) {
  const real *start = a->start ? (const real *)a->start + first * FL_PANEL : z;
  size_t start_panel = a->start ? FL_PANEL : a->z_panel;
  size_t start_row = a->start ? 0 : FL_PANEL;
  const real *w = (const real *)a->weights + first * a->weights_panel;
  for (size_t j = 0; j < 2; j++) {
    const fl_operand *const operand = &a->operand[j];
    if (!operand->k) break;
    if (a->m == 1) {
      row_product(operand->rows[0], operand->k, w, a->weights_panel, last - first, start, start_panel, z, a->z_panel);
    } else {
      for (size_t p = 0; p < last - first; p++) {
        const real *from = start + p * start_panel;
        size_t from_row = start_row;
        real *const zp = z + p * a->z_panel;
        for (size_t k0 = 0; k0 < operand->k; k0 += K_BLOCK) {
          const size_t k = operand->k - k0 < K_BLOCK ? operand->k - k0 : K_BLOCK;
          const real *const wk = w + p * a->weights_panel + k0 * FL_PANEL;
          if (2 * a->m <= TILE_ROWS && 2 * TILE_VECTORS <= PANEL_VECTORS) {
            for (size_t v = 0; v < PANEL_VECTORS; v += 2 * TILE_VECTORS)
              rows_product(TILE_ROWS / 2, 2 * TILE_VECTORS, operand->rows, a->m, k0, k, wk + v * VL, from + v * VL, from_row, zp + v * VL, NULL);
          } else {
            for (size_t v = 0; v < PANEL_VECTORS; v += TILE_VECTORS) {
              const real *const next = v + TILE_VECTORS < PANEL_VECTORS ? NULL : wk + K_BLOCK * FL_PANEL;
              rows_product(TILE_ROWS, TILE_VECTORS, operand->rows, a->m, k0, k, wk + v * VL, from + v * VL, from_row, zp + v * VL, next);
            }
          }
          from = zp;
          from_row = FL_PANEL;
        }
      }
    }
    start = z;
    start_panel = a->z_panel;
    start_row = FL_PANEL;
    w += operand->k * FL_PANEL;
  }
}

static void kernel_product(const fl_product *a) {
  panels_product(a, a->first, a->last, (real *)a->z + a->first * a->z_panel);
}

/* ---- one time step ---------------------------------------------------------------------------------------------- */

static void kernel_step(const fl_step *s) {
  const fl_product *const a = &s->product;
  /* as many panels at once as make the two passes of the gates worth while */
  const size_t group = a->m < FL_GROUP_ROWS ? FL_GROUP_ROWS / a->m : 1;
  for (size_t p = a->first; p < a->last; p += group) {
    const size_t end = a->last - p < group ? a->last : p + group;
    real *const z = a->start ? (real *)a->z : (real *)a->z + p * a->z_panel;
    panels_product(a, p, end, z);
    gates_of_panels(s, p, end - p, z, a->z_panel);
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
};
