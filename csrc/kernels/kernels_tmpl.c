/* The kernels, written once. Compiled once per instruction set and real type with
 *   FASTLSTM_ISA        a header of simd/, without its ending
 *   REAL_BITS           32 or 64
 *   WEIGHT_FLOAT16, WEIGHT_BFLOAT16, WEIGHT_INT8  or none (real.h); with one of them only what reads weights
 * into a table, fl_kernels_<isa>_<types>, for weights of 8 bits one for each form. -ffp-contract=off: every fused
 * multiply-add is written as one.
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
/* SIZES(X): X(rows) for every number of rows that a tile may have, and more, which a constant condition leaves out */
#define SIZES(X) X(1) X(2) X(3) X(4) X(5) X(6) X(7) X(8) X(9) X(10) X(11) X(12)
#include "activations.h"
#ifndef WEIGHT_INT8
#include "gemm.h"
#include "product.h"
#include "sparse.h"
#endif
#include "forms.h"
#include "gates.h"
#ifdef WEIGHT_INT8
#include "integers.h"
#endif
#include "preconditions.h"
#if WEIGHTS_ARE_REALS
#include "gates_gradient.h"
#include "outer.h"

/* ---- activations ------------------------------------------------------------------------------------------------ */

/* kind: a constant, FL_SIGMOID or FL_TANH; of any other activation a number that is neither */
INLINE V value_of(const int kind, const fl_activation *activation, V x) {
  return kind == FL_SIGMOID ? v_sigmoid(x) : kind == FL_TANH ? v_tanh(x) : activate(activation, x);
}

INLINE void activate_all(const int kind, const fl_activation *activation, const real *x, real *y, size_t n) {
  size_t j = 0;
  for (; j + VL <= n; j += VL) v_store(y + j, value_of(kind, activation, v_load(x + j)));
  if (j < n) {
    real lanes[VL] = {0};
    copy_lanes(lanes, x + j, n - j);
    v_store(lanes, value_of(kind, activation, v_load(lanes)));
    copy_lanes(y + j, lanes, n - j);
  }
}

static void kernel_activate(const fl_activation *activation, const void *x, void *y, size_t n) {
  if (activation->kind == FL_SIGMOID)
    activate_all(FL_SIGMOID, activation, x, y, n);
  else if (activation->kind == FL_TANH)
    activate_all(FL_TANH, activation, x, y, n);
  else
    activate_all(-1, activation, x, y, n);
}

/* ---- gates alone ------------------------------------------------------------------------------------------------ */

static void kernel_gates_forward(const fl_gates *gates) {
  EXPECT(gates, gates);
  enum { BLOCK = 16 * VL };
  real z[4 * BLOCK]; /* a copy: the sweeps park the ratio of o in z, and the caller's z is read only */
  const size_t units = gates->units;
  for (size_t r = 0; r < gates->rows; r++) {
    for (size_t u0 = 0; u0 < units; u0 += BLOCK) {
      const size_t n = units - u0 < BLOCK ? units - u0 : BLOCK, at = r * units + u0;
      const forward_cell a = {z, (const real *)gates->c + at, (real *)gates->c_next + at, (real *)gates->h + at, NULL};
      for (size_t j = 0; j < 4; j++) copy_lanes(z + j * BLOCK, (const real *)gates->z + (4 * r + j) * units + u0, n);
      sweep_row(CELL_SWEEP, NULL, &a, BLOCK, 0, n);
      sweep_row(OUTPUT_SWEEP, NULL, &a, BLOCK, 0, n);
    }
  }
}

static void kernel_gates_train(const fl_gates *gates, void *out) {
  EXPECT(gates, gates);
  const size_t units = gates->units;
  for (size_t r = 0; r < gates->rows; r++) {
    const size_t at = r * units;
    const forward_cell a = {(real *)out + 4 * at, (const real *)gates->c + at, (real *)gates->c_next + at,
                            (real *)gates->h + at, NULL};
    copy_lanes(a.z, (const real *)gates->z + 4 * at, 4 * units);
    sweep_row(TRAIN_SWEEP, NULL, &a, units, 0, units);
    sweep_row(TRAIN_OUTPUT_SWEEP, NULL, &a, units, 0, units);
  }
}

static void kernel_gates_backward(const fl_gates_gradient *call) {
  EXPECT(gates_gradient, call);
  const size_t units = call->units;
  for (size_t r = 0; r < call->rows; r++) {
    const gradient_cell a = {(const real *)call->gates + 4 * r * units,
                             (const real *)call->c_prev + r * units,
                             (const real *)call->c + r * units,
                             (const real *)call->dh + r * units,
                             (real *)call->dz + 4 * r * units,
                             (real *)call->dc + r * units,
                             NULL,
                             NULL};
    gradient_row(NULL, &a, units, 0, units);
  }
}

#endif

/* ---- packed product --------------------------------------------------------------------------------------------- */

/* the rows of a product from r on */
INLINE fl_product rows_from(fl_product product, size_t r) {
  product.m -= r;
  for (size_t j = 0; j < 2 && product.operand[j].k; j++) product.operand[j].rows += r;
  product.z += r;
  return product;
}

/* the same of a step, whose scratch is that of all */
INLINE fl_step step_from(fl_step step, size_t r) {
  step.product = rows_from(step.product, r);
  if (step.given) step.given += r;
  step.c_prev += r;
  step.c += r;
  step.h += r;
  return step;
}

#ifndef WEIGHT_INT8
/* with the lists of its rows, so many at once */
static NOINLINE void product_of_lists(const fl_product *call, size_t most) {
  row_lists lists;
  for (size_t r = 0; r < call->m; r += lists.m) {
    const fl_product rest = rows_from(*call, r);
    list_rows(&lists, &rest, most);
    sparse_product(&rest, &lists, call->first, call->last, call->first * call->z_panel, NULL);
  }
}

static void kernel_product(const fl_product *call) {
  EXPECT(product, call);
  const size_t most = call->skip_zeros ? sparse_limit(call) : 0;
  if (RARELY(most))
    product_of_lists(call, most);
  else
    panels_product(call, call->first, call->last, call->first * call->z_panel, NULL);
}
#else

static void integer_product(const int fast, const fl_product *call) {
  rounded_rows rounded;
  for (size_t r = 0; r < call->m; r += rounded.m) {
    const fl_product rest = rows_from(*call, r);
    round_rows(fast, &rest, &rounded);
    rounded_product(fast, &rest, &rounded, call->first, call->last, call->first * call->z_panel);
    if (rounded.tiled) end_tiles();
  }
}
#endif

/* ---- one time step ---------------------------------------------------------------------------------------------- */

/* What is given for panels first..first + n of each row comes into z, or meets what is there. */
static void take_given(const fl_step *step, size_t first, size_t n, size_t z_at) {
  const fl_product *const product = &step->product;
  const int meets = !product->operand[0].k;
  for (size_t r = 0; r < product->m; r++)
    for (size_t p = 0; p < n; p++) {
      const real *const from = (const real *)step->given[r] + (first + p) * FL_PANEL;
      real *const to = (real *)product->z[r] + z_at + p * product->z_panel;
      UNROLL
      for (size_t v = 0; v < FL_PANEL; v += VL)
        v_store(to + v, meets ? v_add(v_load(from + v), v_load(to + v)) : v_load(from + v));
    }
}

/* as many panels at once as make the two sweeps over the gates worth while */
INLINE size_t group_of(size_t m) {
  return m < FL_GROUP_ROWS ? FL_GROUP_ROWS / m : 1;
}

/* is z scratch, of the panels at hand? */
INLINE int has_scratch(const fl_step *step) {
  return step->product.into == FL_NEW || (step->given && step->product.operand[0].k);
}

#ifndef WEIGHT_INT8
/* a step, `group` panels at once; with lists, of their rows alone */
static NOINLINE void step_in_groups(const fl_step *step, size_t group, const row_lists *lists) {
  const fl_product *const product = &step->product;
  const size_t panels = product->last - product->first;
  for (size_t done = 0; done < panels; done += group) {
    const size_t n = panels - done < group ? panels - done : group;
    const size_t p = product->down ? product->last - done - n : product->first + done;
    const weight *const w = product->weights;
    const weight *const after =
        done + n == panels ? NULL : w + (product->down ? p - 1 : p + n) * product->weights_panel;
    const size_t z_at = has_scratch(step) ? 0 : p * product->z_panel;
    if (step->given) take_given(step, p, n, z_at);
    if (lists)
      sparse_product(product, lists, p, p + n, z_at, after);
    else if (product->unpacked[0])
      unpacked_product(product, step->units, p, p + n, z_at);
    else
      panels_product(product, p, p + n, z_at, after);
    gates_of_panels(step, p, n, z_at);
  }
}

static NOINLINE void step_of_lists(const fl_step *call, size_t group, size_t most) {
  row_lists lists;
  for (size_t r = 0; r < call->product.m; r += lists.m) {
    fl_step step = step_from(*call, r);
    list_rows(&lists, &step.product, most);
    step.product.m = lists.m;
    step_in_groups(&step, group, &lists);
  }
}

static void kernel_step(const fl_step *step) {
  EXPECT(step, step);
  const size_t group = group_of(step->product.m);
  const size_t most = step->product.skip_zeros ? sparse_limit(&step->product) : 0;
  if (RARELY(most))
    step_of_lists(step, group, most);
  else
    step_in_groups(step, group, NULL);
}
#else

/* ---- weights of 8 bits, in two forms ---------------------------------------------------------------------------- */

/* Once for all panels: rounding a row takes as long as two panels. */
static void integer_step(const int fast, const fl_step *call) {
  const fl_product *const product = &call->product;
  const size_t panels = product->last - product->first, group = group_of(product->m);
  rounded_rows rounded;
  for (size_t r = 0; r < product->m; r += rounded.m) {
    fl_step step = step_from(*call, r);
    round_rows(fast, &step.product, &rounded);
    step.product.m = rounded.m;
    for (size_t done = 0; done < panels; done += group) {
      const size_t n = panels - done < group ? panels - done : group;
      const size_t p = product->down ? product->last - done - n : product->first + done;
      const size_t z_at = has_scratch(call) ? 0 : p * product->z_panel;
      if (step.given) take_given(&step, p, n, z_at);
      rounded_product(fast, &step.product, &rounded, p, p + n, z_at);
      gates_of_panels(&step, p, n, z_at);
    }
    if (rounded.tiled) end_tiles();
  }
}

#define INTEGER_KERNELS(form, fast)                               \
  static void kernel_product_##form(const fl_product *product) { \
    EXPECT(product, product);                                     \
    integer_product(fast, product);                               \
  }                                                               \
  static void kernel_step_##form(const fl_step *step) {          \
    EXPECT(step, step);                                           \
    integer_step(fast, step);                                     \
  }
INTEGER_KERNELS(int8, 0)
INTEGER_KERNELS(int8_fast, 1)
#endif

#if WEIGHTS_ARE_REALS
/* ---- backward --------------------------------------------------------------------------------------------------- */

static void kernel_gradient_step(const fl_gradient_step *step) {
  EXPECT(gradient_step, step);
  if (step->form)
    form_gradient_of_panels(step);
  else
    gradient_of_panels(NULL, step);
}

/* n rows of a, `rows` columns of each, side by side */
INLINE void pack_columns(const size_t rows, size_t n, const real *a, size_t a_row, real *packed) {
  for (size_t k = 0; k < n; k++) {
    UNROLL
    for (size_t r = 0; r < rows; r++) packed[k * rows + r] = a[k * a_row + r];
  }
}

/* the columns of n rows of a, in balanced tiles */
static NOINLINE void pack_a(const fl_outer *outer, size_t n0, size_t n, real *packed) {
  const size_t rows = outer->last - outer->first, tiles = (rows + TILE_ROWS - 1) / TILE_ROWS;
  const real *const a = (const real *)outer->a + n0 * outer->a_row + outer->first;
  for (size_t t = 0, r = 0, count; t < tiles; t++, r += count) {
    count = rows / tiles + (t < rows % tiles);
#define PACK(rows) \
  case rows: if (rows <= TILE_ROWS) pack_columns(rows, n, a + r, outer->a_row, packed + r * n); break;
    switch (count) { SIZES(PACK) }
#undef PACK
  }
}

/* `width` columns of n rows of b, from column i on; zeros up to a panel */
static void pack_b(const void *const *rows, size_t n, size_t i, size_t width, real *packed) {
  for (size_t k = 0; k < n; k++, packed += FL_PANEL) {
    const real *const b = (const real *)rows[k] + i;
    if (width >= FL_PANEL) {
      for (size_t v = 0; v < FL_PANEL; v += VL) v_store(packed + v, v_load(b + v));
    } else {
      for (size_t l = 0; l < FL_PANEL; l++) packed[l] = l < width ? b[l] : 0;
    }
  }
}

/* all columns of a, packed, against a panel of b, packed */
static NOINLINE void outer_panel(size_t rows, size_t n, const real *a, const real *b, real *out, size_t out_row) {
  const size_t tiles = (rows + TILE_ROWS - 1) / TILE_ROWS;
  for (size_t t = 0, r = 0, count; t < tiles; t++, r += count) {
    count = rows / tiles + (t < rows % tiles);
    for (size_t v = 0; v < PANEL_VECTORS; v += TILE_VECTORS) {
#define TILE(rows) \
  case rows: \
    if (rows <= TILE_ROWS) \
      tile_outer(rows, TILE_VECTORS, n, a + r * n, b + v * VL, out + r * out_row + v * VL, out_row); \
    break;
      switch (count) { SIZES(TILE) }
#undef TILE
    }
  }
}

/* Both operands are packed: rows of a are some kilobytes apart, and a tile of it would take a line, and a page, for
 * every 12 numbers, more than L1 has beside b. a once for both parts: packing it is 14 % of one at H=64. */
static void kernel_outer(const fl_outer *outer) {
  EXPECT(outer, outer);
  real *const b = outer->scratch, *const a = b + FL_SUM_BLOCK * FL_PANEL;
  for (size_t n0 = 0; n0 < outer->n; n0 += FL_SUM_BLOCK) {
    const size_t n = outer->n - n0 < FL_SUM_BLOCK ? outer->n - n0 : FL_SUM_BLOCK;
    pack_a(outer, n0, n, a);
    for (const fl_outer_part *part = outer->part; part < outer->part + 2; part++)
      for (size_t i = 0; i < part->columns; i += FL_PANEL) {
        pack_b(part->b + n0, n, i, part->columns - i, b);
        outer_panel(outer->last - outer->first, n, a, b, (real *)part->out + i, part->out_row);
      }
  }
}

static void kernel_sum_rows(const fl_outer *outer) {
  EXPECT(sum_rows, outer);
  real *const out = outer->part[0].out;
  for (size_t n0 = 0; n0 < outer->n; n0 += FL_SUM_BLOCK) {
    const size_t n = outer->n - n0 < FL_SUM_BLOCK ? outer->n - n0 : FL_SUM_BLOCK;
    for (size_t j = outer->first; j < outer->last; j += FL_PANEL) { /* a has whole panels of columns */
      V acc[PANEL_VECTORS];
      UNROLL
      for (size_t v = 0; v < PANEL_VECTORS; v++) acc[v] = v_set1(0);
      for (size_t k = 0; k < n; k++) {
        const real *const a = (const real *)outer->a + (n0 + k) * outer->a_row + j;
        UNROLL
        for (size_t v = 0; v < PANEL_VECTORS; v++) acc[v] = v_add(acc[v], v_load(a + v * VL));
      }
      for (size_t v = 0; v < PANEL_VECTORS; v++) {
        real *const to = out + j - outer->first + v * VL;
        v_store(to, v_add(v_load(to), acc[v]));
      }
    }
  }
}

/* n units of one gate, from unit u on */
INLINE void peephole_sum(const fl_peephole_sums *sums, size_t gate, size_t u, size_t n) {
  const real *const dz =
      (const real *)sums->dz + u / FL_UNITS * FL_PANEL + (gate == 2 ? 3 : gate) * FL_UNITS + u % FL_UNITS;
  real lanes[2 * VL] = {0};
  V sum = v_set1(0);
  for (size_t n0 = 0; n0 < sums->n; n0 += FL_SUM_BLOCK) {
    V acc = v_set1(0);
    for (size_t k = n0; k < sums->n && k < n0 + FL_SUM_BLOCK; k++) {
      const real *const c = gate == 2 ? (const real *)sums->c + k * sums->c_row : (const real *)sums->c_prev[k];
      copy_lanes(lanes, dz + k * sums->dz_row, n);
      copy_lanes(lanes + VL, c + u, n);
      acc = v_fma(v_load(lanes), v_load(lanes + VL), acc);
    }
    sum = v_add(sum, acc);
  }
  if (gate == 1 && sums->coupled) sum = v_set1(0);
  v_store(lanes, sum);
  copy_lanes((real *)sums->out + gate * sums->units + u, lanes, n);
}

/* 3 H sums beside the 4 H (I + R) of the weights: copies of lanes do. */
static void kernel_peephole_sums(const fl_peephole_sums *sums) {
  EXPECT(peephole_sums, sums);
  enum { LANES = VL < FL_UNITS ? VL : FL_UNITS };
  const size_t last = sums->last * FL_UNITS < sums->units ? sums->last * FL_UNITS : sums->units;
  for (size_t u = sums->first * FL_UNITS; u < last; u += LANES)
    for (size_t gate = 0; gate < 3; gate++) /* i, f, o */
      peephole_sum(sums, gate, u, last - u < LANES ? last - u : LANES);
}

/* ---- sums of memory --------------------------------------------------------------------------------------------- */

/* The compiler makes vectors of it. Of either real type there is the same. shift: a constant; not 0: the registers are
 * shifted before a word goes in. */
INLINE void sum_words(const int shift, const void *data, size_t lines, uint64_t *sums) {
  const char *const from = data;
  uint64_t sum[FL_DIGEST_LANES];
  memcpy(sum, sums, sizeof sum);
  for (size_t line = 0; line < lines; line++)
    for (size_t j = 0; j < FL_DIGEST_LANES; j++) {
      uint64_t s = sum[j], word;
      memcpy(&word, from + (line * FL_DIGEST_LANES + j) * sizeof word, sizeof word); /* aligned or not */
      if (shift) {
        s ^= s << 13;
        s ^= s >> 7;
        s ^= s << 17;
      }
      sum[j] = s ^ word;
    }
  memcpy(sums, sum, sizeof sum);
}

static void kernel_digest(const void *data, size_t lines, uint64_t *sums) {
  sum_words(1, data, lines, sums);
}

/* ---- limits of the machine -------------------------------------------------------------------------------------- */

static void kernel_read_all(const void *data, size_t lines, uint64_t *sums) {
  sum_words(0, data, lines, sums);
}

static void kernel_multiply_add(void *x, size_t n) {
  enum { CHAINS = TILE_ROWS * TILE_VECTORS };
  const V half = v_set1((real)0.5), quarter = v_set1((real)0.25);
  for (real *at = x; at < (real *)x + FL_CHAINS; at += CHAINS * VL) {
    V chain[CHAINS];
    UNROLL
    for (size_t k = 0; k < CHAINS; k++) chain[k] = v_load(at + k * VL);
    for (size_t step = 0; step < n; step++) {
      UNROLL
      for (size_t k = 0; k < CHAINS; k++) chain[k] = v_fma(chain[k], half, quarter);
    }
    UNROLL
    for (size_t k = 0; k < CHAINS; k++) v_store(at + k * VL, chain[k]);
  }
}

#endif

#define TABLE__(isa, types) fl_kernels_##isa##_##types
#define TABLE_(isa, types) TABLE__(isa, types)
#define TABLE TABLE_(FASTLSTM_ISA, TYPES)
#define FL_ENTRY(name, arguments) .name = kernel_##name,
#if WEIGHTS_ARE_REALS
extern const fl_kernels TABLE;
const fl_kernels TABLE = {FL_KERNEL_LIST(FL_ENTRY)};
#elif defined(WEIGHT_INT8)
#define FAST_TABLE TABLE_(FASTLSTM_ISA, f32_int8_fast)
extern const fl_weight_kernels TABLE, FAST_TABLE;
const fl_weight_kernels TABLE = {kernel_product_int8, kernel_step_int8};
const fl_weight_kernels FAST_TABLE = {kernel_product_int8_fast, kernel_step_int8_fast};
#else
extern const fl_weight_kernels TABLE;
const fl_weight_kernels TABLE = {FL_WEIGHT_KERNEL_LIST(FL_ENTRY)};
#endif
