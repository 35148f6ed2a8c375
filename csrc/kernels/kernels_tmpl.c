/* The kernels, written once. Compiled once per instruction set and real type with
 *   FASTLSTM_ISA        a header of simd/, without its ending
 *   REAL_BITS           32 or 64
 * into one table, fl_kernels_<isa>_f<bits>. -ffp-contract=off: every fused multiply-add is written as one.
 *
 * SPDX-License-Identifier: BSD-3-Clause */
#include <stddef.h>
#include <string.h>
#include "base/compiler.h"
#include "kernels.h"
#include "real.h"

#define STRINGIZE_(x) #x
#define STRINGIZE(x) STRINGIZE_(x)
#include STRINGIZE(simd/FASTLSTM_ISA.h)

#define VL_WIDE (VL > FL_UNITS)
#include "activations.h"
#include "gemm.h"
#include "ahead.h"
#include "product.h"
#include "forms.h"
#include "gates.h"
#include "gates_gradient.h"
#include "outer.h"
#include "preconditions.h"

/* ---- activations ------------------------------------------------------------------------------------------------ */

/* kind: a constant, FL_SIGMOID or FL_TANH; of any other activation a number that is neither */
INLINE V value_of(const int kind, const fl_activation *f, V x) {
  return kind == FL_SIGMOID ? v_sigmoid(x) : kind == FL_TANH ? v_tanh(x) : activate(f, x);
}

INLINE void activate_all(const int kind, const fl_activation *f, const real *x, real *y, size_t n) {
  size_t j = 0;
  for (; j + VL <= n; j += VL) v_store(y + j, value_of(kind, f, v_load(x + j)));
  if (j < n) {
    real lanes[VL] = {0};
    copy_lanes(lanes, x + j, n - j);
    v_store(lanes, value_of(kind, f, v_load(lanes)));
    copy_lanes(y + j, lanes, n - j);
  }
}

static void kernel_activate(const fl_activation *f, const void *x, void *y, size_t n) {
  if (f->kind == FL_SIGMOID)
    activate_all(FL_SIGMOID, f, x, y, n);
  else if (f->kind == FL_TANH)
    activate_all(FL_TANH, f, x, y, n);
  else
    activate_all(-1, f, x, y, n);
}

/* ---- gates alone ------------------------------------------------------------------------------------------------ */

static void kernel_gates_forward(const fl_gates *g) {
  EXPECT(gates, g);
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
      for (; u + VL <= n; u += VL)
        cell_pass(z + u, z + u + HALF, BLOCK, c + u, c + u + HALF, c_next + u, c_next + u + HALF);
      if (u < n) cell_pass_tail(z + u, BLOCK, c + u, c_next + u, n - u);
      for (u = 0; u + VL <= n; u += VL)
        output_pass(z + u, z + u + HALF, BLOCK, c_next + u, c_next + u + HALF, h + u, h + u + HALF);
      if (u < n) output_pass_tail(z + u, BLOCK, c_next + u, h + u, n - u);
    }
  }
}

static void kernel_gates_train(const fl_gates *g, void *out) {
  EXPECT(gates, g);
  const size_t units = g->units;
  for (size_t r = 0; r < g->rows; r++) {
    const real *const c = (const real *)g->c + r * units;
    real *const z = (real *)out + 4 * r * units, *const c_next = (real *)g->c_next + r * units,
                *const h = (real *)g->h + r * units;
    copy_lanes(z, (const real *)g->z + 4 * r * units, 4 * units);
    size_t u = 0;
    for (; u + VL <= units; u += VL)
      train_pass(z + u, z + u + HALF, units, c + u, c + u + HALF, c_next + u, c_next + u + HALF, h + u, h + u + HALF);
    if (u < units) train_pass_tail(z + u, units, c + u, c_next + u, h + u, units - u);
  }
}

static void kernel_gates_backward(const fl_gates_gradient *g) {
  EXPECT(gates_gradient, g);
  const size_t units = g->units;
  for (size_t r = 0; r < g->rows; r++) {
    const gradient_cell a = {(const real *)g->gates + 4 * r * units,
                             (const real *)g->c_prev + r * units,
                             (const real *)g->c + r * units,
                             (const real *)g->dh + r * units,
                             (real *)g->dz + 4 * r * units,
                             (real *)g->dc + r * units,
                             NULL,
                             NULL};
    const gradient_cell b = {a.z + HALF,  a.c_prev + HALF, a.c + HALF, a.dh + HALF,
                             a.dz + HALF, a.dc + HALF,     NULL,       NULL};
    size_t u = 0;
    for (; u + VL <= units; u += VL) gradient_pass(NULL, 0, &a, &b, units, u);
    if (u < units) gradient_pass_tail(NULL, 0, &a, units, u, units - u);
  }
}

/* ---- packed product --------------------------------------------------------------------------------------------- */

static void kernel_product(const fl_product *a) {
  EXPECT(product, a);
  if (a->pieces)
    panels_product(1, a, a->first, a->last, a->first * a->z_panel, NULL);
  else
    panels_product(0, a, a->first, a->last, a->first * a->z_panel, NULL);
}

/* ---- one time step ---------------------------------------------------------------------------------------------- */

static void kernel_finish_ahead(fl_ahead *work) {
#if AHEAD_ROWS
  EXPECT(ahead, work);
  for (size_t n; (n = ahead_left(work, work->k)) > 0;) AHEAD_TILE(work, n, (void)0);
#else
  (void)work;
#endif
}

static void kernel_step(const fl_step *s) {
  EXPECT(step, s);
  const fl_product *const a = &s->product;
  /* as many panels at once as make the two passes of the gates worth while */
  const size_t group = a->m < FL_GROUP_ROWS ? FL_GROUP_ROWS / a->m : 1;
  const size_t panels = a->last - a->first;
  for (size_t done = 0; done < panels; done += group) {
    const size_t n = panels - done < group ? panels - done : group;
    const size_t p = a->down ? a->last - done - n : a->first + done;
    const weight *const w = a->weights;
    const weight *const after = done + n == panels ? NULL : w + (a->down ? p - 1 : p + n) * a->weights_panel;
    const size_t z_at = a->start ? 0 : p * a->z_panel;
    if (s->ahead)
      row_product_ahead(s, p, n, z_at);
    else if (a->unpacked[0])
      unpacked_product(a, s->units, p, p + n, z_at);
    else
      panels_product(0, a, p, p + n, z_at, after);
    gates_of_panels(s, p, n, z_at);
  }
}

/* ---- backward --------------------------------------------------------------------------------------------------- */

static void kernel_gradient_step(const fl_gradient_step *s) {
  EXPECT(gradient_step, s);
  if (s->form)
    form_gradient_of_panels(s);
  else
    gradient_of_panels(NULL, s);
}

/* n rows of a, `rows` columns of each, side by side */
INLINE void pack_columns(const size_t rows, size_t n, const real *a, size_t a_row, real *packed) {
  for (size_t k = 0; k < n; k++) {
    UNROLL
    for (size_t r = 0; r < rows; r++) packed[k * rows + r] = a[k * a_row + r];
  }
}

/* Both operands are packed: rows of a are some kilobytes apart, and a tile of it would take a line, and a page, for every 12
 * numbers, more than L1 has beside b. */
static void kernel_outer(const fl_outer *o) {
  EXPECT(outer, o);
  const size_t rows = o->last - o->first, tiles = (rows + TILE_ROWS - 1) / TILE_ROWS;
  const size_t least = rows / tiles, longer = rows % tiles; /* balanced tiles */
  real *const b_packed = o->scratch, *const a_packed = b_packed + FL_SUM_BLOCK * FL_PANEL;
  for (size_t n0 = 0; n0 < o->n; n0 += FL_SUM_BLOCK) {
    const size_t n = o->n - n0 < FL_SUM_BLOCK ? o->n - n0 : FL_SUM_BLOCK;
    const real *const a = (const real *)o->a + n0 * o->a_row + o->first;
    for (size_t t = 0, r = 0, count; t < tiles; t++, r += count) {
      count = least + (t < longer);
#define PACK(rows) \
  case rows: if (rows <= TILE_ROWS) pack_columns(rows, n, a + r, o->a_row, a_packed + r * n); break;
      switch (count) { SIZES(PACK) }
#undef PACK
    }
    for (size_t i = 0; i < o->columns; i += FL_PANEL) {
      const size_t width = o->columns - i < FL_PANEL ? o->columns - i : FL_PANEL;
      for (size_t k = 0; k < n; k++) {
        const real *const b = (const real *)o->b[n0 + k] + i;
        if (width == FL_PANEL) {
          for (size_t v = 0; v < FL_PANEL; v += VL) v_store(b_packed + k * FL_PANEL + v, v_load(b + v));
        } else {
          for (size_t l = 0; l < FL_PANEL; l++) b_packed[k * FL_PANEL + l] = l < width ? b[l] : 0;
        }
      }
      for (size_t t = 0, r = 0, count; t < tiles; t++, r += count) {
        real *const out = (real *)o->out + r * o->out_row + i;
        count = least + (t < longer);
        for (size_t v = 0; v < PANEL_VECTORS; v += TILE_VECTORS) {
#define TILE(rows) \
  case rows:                                                                                                     \
    if (rows <= TILE_ROWS)                                                                                       \
      tile_outer(rows, TILE_VECTORS, n, a_packed + r * n, b_packed + v * VL, out + v * VL, o->out_row);          \
    break;
          switch (count) { SIZES(TILE) }
#undef TILE
        }
      }
    }
  }
}

static void kernel_sum_rows(const fl_outer *o) {
  EXPECT(sum_rows, o);
  real *const out = o->out;
  for (size_t n0 = 0; n0 < o->n; n0 += FL_SUM_BLOCK) {
    const size_t n = o->n - n0 < FL_SUM_BLOCK ? o->n - n0 : FL_SUM_BLOCK;
    for (size_t j = o->first; j < o->last; j += FL_PANEL) { /* a has whole panels of columns */
      V acc[PANEL_VECTORS];
      UNROLL
      for (size_t v = 0; v < PANEL_VECTORS; v++) acc[v] = v_set1(0);
      for (size_t k = 0; k < n; k++) {
        const real *const a = (const real *)o->a + (n0 + k) * o->a_row + j;
        UNROLL
        for (size_t v = 0; v < PANEL_VECTORS; v++) acc[v] = v_add(acc[v], v_load(a + v * VL));
      }
      for (size_t v = 0; v < PANEL_VECTORS; v++) {
        real *const to = out + j - o->first + v * VL;
        v_store(to, v_add(v_load(to), acc[v]));
      }
    }
  }
}

/* n units of one gate, from unit u on */
INLINE void peephole_sum(const fl_peephole_sums *s, size_t gate, size_t u, size_t n) {
  const real *const dz =
      (const real *)s->dz + u / FL_UNITS * FL_PANEL + (gate == 2 ? 3 : gate) * FL_UNITS + u % FL_UNITS;
  real lanes[2 * VL] = {0};
  V sum = v_set1(0);
  for (size_t n0 = 0; n0 < s->n; n0 += FL_SUM_BLOCK) {
    V acc = v_set1(0);
    for (size_t k = n0; k < s->n && k < n0 + FL_SUM_BLOCK; k++) {
      const real *const c = gate == 2 ? (const real *)s->c + k * s->c_row : (const real *)s->c_prev[k];
      copy_lanes(lanes, dz + k * s->dz_row, n);
      copy_lanes(lanes + VL, c + u, n);
      acc = v_fma(v_load(lanes), v_load(lanes + VL), acc);
    }
    sum = v_add(sum, acc);
  }
  if (gate == 1 && s->coupled) sum = v_set1(0);
  v_store(lanes, sum);
  copy_lanes((real *)s->out + gate * s->units + u, lanes, n);
}

/* 3 H sums beside the 4 H (I + R) of the weights: copies of lanes do. */
static void kernel_peephole_sums(const fl_peephole_sums *s) {
  EXPECT(peephole_sums, s);
  enum { LANES = VL < FL_UNITS ? VL : FL_UNITS };
  const size_t last = s->last * FL_UNITS < s->units ? s->last * FL_UNITS : s->units;
  for (size_t u = s->first * FL_UNITS; u < last; u += LANES)
    for (size_t gate = 0; gate < 3; gate++) /* i, f, o */
      peephole_sum(s, gate, u, last - u < LANES ? last - u : LANES);
}

/* ---- sums of memory --------------------------------------------------------------------------------------------- */

/* The compiler makes vectors of it. Of either real type there is the same. */
static void kernel_digest(const void *data, size_t lines, uint64_t *sums) {
  const char *const from = data;
  uint64_t sum[FL_DIGEST_LANES];
  memcpy(sum, sums, sizeof sum);
  for (size_t line = 0; line < lines; line++)
    for (size_t j = 0; j < FL_DIGEST_LANES; j++) {
      uint64_t s = sum[j], word;
      memcpy(&word, from + (line * FL_DIGEST_LANES + j) * sizeof word, sizeof word); /* aligned or not */
      s ^= s << 13;
      s ^= s >> 7;
      sum[j] = s ^ s << 17 ^ word;
    }
  memcpy(sums, sum, sizeof sum);
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
