/* The gates: from pre-activations to c and h.
 *
 *   i, f, o = sigmoid(z)    how much is written, kept, shown: three filters, 0..1
 *   g       = tanh(z)       what is written: a signed update, -1..1
 *   c       = f * c + i * g the cell recurrence: no matrix, no squashing
 *   h       = o * tanh(c)
 *
 * Products of two activations share a division: i * g = (num_i num_g) / (den_i den_g), likewise h; 3 divisions instead
 * of 5.
 *
 * Two sweeps over a tile, cell_sweep then output_sweep, with the ratio of o parked in between: one is a chain of ~120
 * cycles that the out-of-order window cannot hide (6.3 cycles a unit against 5.05 for two sweeps; in training, 1.19
 * times).
 *
 * SPDX-License-Identifier: BSD-3-Clause */
#ifndef FASTLSTM_GATES_H
#define FASTLSTM_GATES_H

/* Units of one panel fill a vector of up to FL_UNITS lanes; a wider one takes the units of two cells (a cell: one panel
 * of one row), at p and q. */
INLINE V load_units(const real *p, const real *q) {
#if VL_WIDE
  return v_load2(p, q);
#else
  (void)q;
  return v_load(p);
#endif
}

INLINE void store_units(real *p, real *q, V units) {
#if VL_WIDE
  v_store2(p, q, units);
#else
  (void)q;
  v_store(p, units);
#endif
}

/* A vector of units, u on, of cells *a and *b: `what` is a member of theirs, `at` a distance from it. */
#define LOAD(what, at) load_units(a->what + (at) + u, b->what + (at) + u)
#define STORE(what, at, value) store_units(a->what + (at) + u, b->what + (at) + u, value)

/* Where one cell is. */
typedef struct {
  real *z; /* the i gate; the next gate is `gate` reals on */
  const real *c;
  real *c_next, *h;
  const real *peephole; /* of i; those of the next gate are `p_gate` reals on; NULL without */
} forward_cell;

/* the ratios of i, f, o, g, in this order */
INLINE void gate_ratios(const forward_cell *a, const forward_cell *b, size_t gate, size_t u, ratio *y) {
  const V z[4] = {LOAD(z, 0), LOAD(z, gate), LOAD(z, 3 * gate), LOAD(z, 2 * gate)};
  ratios(4, 3, z, y);
}

/* leaves the ratio of o in z[0], z[gate] */
INLINE void cell_sweep(const forward_cell *a, const forward_cell *b, size_t gate, size_t u) {
  ratio y[4];
  gate_ratios(a, b, gate, u, y);
  const ratio i = y[0], f = y[1], o = y[2], g = y[3];
  const V update = v_div(v_mul(i.num, g.num), v_mul(i.den, g.den));
  STORE(c_next, 0, v_fma(v_div(f.num, f.den), LOAD(c, 0), update));
  STORE(z, 0, o.num);
  STORE(z, gate, o.den);
}

INLINE void output_sweep(const forward_cell *a, const forward_cell *b, size_t gate, size_t u) {
  const ratio y = tanh_ratio(LOAD(c_next, 0));
  const V num = v_mul(LOAD(z, 0), y.num), den = v_mul(LOAD(z, gate), y.den);
  STORE(h, 0, v_div(num, den));
}

/* For the backward pass, which wants i, f, g, o in z: leaves the ratio of o in h and in o's place. */
INLINE void train_sweep(const forward_cell *a, const forward_cell *b, size_t gate, size_t u) {
  ratio y[4];
  gate_ratios(a, b, gate, u, y);
  const ratio i = y[0], f = y[1], o = y[2], g = y[3];
  const V update = v_div(v_mul(i.num, g.num), v_mul(i.den, g.den)), keep = v_div(f.num, f.den);
  STORE(c_next, 0, v_fma(keep, LOAD(c, 0), update));
  STORE(h, 0, o.num);
  STORE(z, 0, v_div(i.num, i.den));
  STORE(z, gate, keep);
  STORE(z, 2 * gate, v_div(g.num, g.den));
  STORE(z, 3 * gate, o.den);
}

INLINE void train_output_sweep(const forward_cell *a, const forward_cell *b, size_t gate, size_t u) {
  const ratio o = {LOAD(h, 0), LOAD(z, 3 * gate)}, y = tanh_ratio(LOAD(c_next, 0));
  STORE(h, 0, v_div(v_mul(o.num, y.num), v_mul(o.den, y.den)));
  STORE(z, 3 * gate, v_div(o.num, o.den));
}

/* Any other form, for inference and for training: one sweep, each activation by itself. */
INLINE void form_sweep(const fl_form *form, const forward_cell *a, const forward_cell *b, size_t gate, size_t p_gate,
                       size_t u) {
  const int clip_gates = form->clip_at == FL_CLIP_ACTIVATIONS || form->clip_at == FL_CLIP_GATES;
  const real limit = (real)form->clip;
  const V old = LOAD(c, 0);
  V z[4];
  for (size_t j = 0; j < 4; j++) z[j] = LOAD(z, j * gate);
  for (size_t j = 0; a->peephole && j < 2; j++) z[j] = v_fma(LOAD(peephole, j * p_gate), old, z[j]);
  for (size_t j = 0; clip_gates && j < 3; j++) z[j] = v_clip(z[j], limit);
  const V i = activate(&form->gate, z[0]), f = form->coupled ? v_sub(v_set1(1), i) : activate(&form->gate, z[1]);
  const V g = activate(&form->candidate, z[2]);
  V c = v_fma(f, old, form->summed ? v_add(i, g) : v_mul(i, g));
  if (form->clip_at == FL_CLIP_STATE) c = v_clip(c, limit);
  if (a->peephole) z[3] = v_fma(LOAD(peephole, 2 * p_gate), c, z[3]);
  const V o = activate(&form->gate, clip_gates ? v_clip(z[3], limit) : z[3]);
  const V y = activate(&form->cell, form->clip_at == FL_CLIP_ACTIVATIONS ? v_clip(c, limit) : c);
  STORE(c_next, 0, c);
  STORE(h, 0, v_mul(o, y));
  STORE(z, 0, i);
  STORE(z, gate, f);
  STORE(z, 2 * gate, g);
  STORE(z, 3 * gate, o);
}

enum { CELL_SWEEP, OUTPUT_SWEEP, TRAIN_SWEEP, TRAIN_OUTPUT_SWEEP, FORM_SWEEP };

/* one vector of units; kind is a constant */
INLINE void sweep(const int kind, const fl_form *form, const forward_cell *a, const forward_cell *b, size_t gate,
                  size_t p_gate, size_t u) {
  if (kind == CELL_SWEEP) cell_sweep(a, b, gate, u);
  if (kind == OUTPUT_SWEEP) output_sweep(a, b, gate, u);
  if (kind == TRAIN_SWEEP) train_sweep(a, b, gate, u);
  if (kind == TRAIN_OUTPUT_SWEEP) train_output_sweep(a, b, gate, u);
  if (kind == FORM_SWEEP) form_sweep(form, a, b, gate, p_gate, u);
}

INLINE void copy_lanes(real *to, const real *from, size_t n) {
  for (size_t lane = 0; lane < n; lane++) to[lane] = from[lane];
}

enum { HALF = VL / 2 }; /* where the second cell of a copied vector begins */

/* The same for the last `n` < VL units of a row: through copies, so that nothing past them is touched. */
INLINE void sweep_tail(const int kind, const fl_form *form, const forward_cell *a, size_t gate, size_t p_gate, size_t u,
                       size_t n) {
  const int outputs = kind == OUTPUT_SWEEP || kind == TRAIN_OUTPUT_SWEEP, peepholes = kind == FORM_SWEEP && a->peephole;
  const size_t gates_in = kind == OUTPUT_SWEEP ? 2 : 4, gates_out = kind == OUTPUT_SWEEP ? 0
                                                                    : kind == CELL_SWEEP ? 2
                                                                                         : 4;
  real z[4 * VL], c[VL] = {0}, h[VL] = {0}, peephole[3 * VL];
  for (size_t lane = 0; lane < 4 * VL; lane++) z[lane] = 1; /* no 0/0 in the padding */
  if (peepholes) memset(peephole, 0, sizeof peephole);
  for (size_t j = 0; j < gates_in; j++) copy_lanes(z + j * VL, a->z + j * gate + u, n);
  for (size_t j = 0; peepholes && j < 3; j++) copy_lanes(peephole + j * VL, a->peephole + j * p_gate + u, n);
  copy_lanes(c, (outputs ? a->c_next : a->c) + u, n);
  if (kind == TRAIN_OUTPUT_SWEEP) copy_lanes(h, a->h + u, n);
  const forward_cell low = {z, c, c, h, peepholes ? peephole : NULL};
  const forward_cell high = {z + HALF, c + HALF, c + HALF, h + HALF, peephole + HALF};
  sweep(kind, form, &low, &high, VL, VL, 0);
  for (size_t j = 0; j < gates_out; j++) copy_lanes(a->z + j * gate + u, z + j * VL, n);
  if (!outputs) copy_lanes(a->c_next + u, c, n);
  if (kind != CELL_SWEEP) copy_lanes(a->h + u, h, n);
}

/* n units of a row, side by side; in a form at most FL_UNITS */
INLINE void sweep_units(const int kind, const fl_form *form, const forward_cell *a, size_t gate, size_t p_gate,
                        size_t n) {
  const forward_cell b = {a->z + HALF, a->c + HALF, a->c_next + HALF, a->h + HALF, NULL};
  size_t u = 0;
  for (; u + VL <= n; u += VL) sweep(kind, form, a, &b, gate, p_gate, u);
  if (u < n) sweep_tail(kind, form, a, gate, p_gate, u, n - u);
}

/* not inlined: one of each kind is enough where not even a panel is whole */
static NOINLINE void sweep_row(int kind, const fl_form *form, const forward_cell *a, size_t gate, size_t p_gate,
                               size_t n) {
  switch (kind) {
    case CELL_SWEEP: sweep_units(CELL_SWEEP, NULL, a, gate, p_gate, n); break;
    case OUTPUT_SWEEP: sweep_units(OUTPUT_SWEEP, NULL, a, gate, p_gate, n); break;
    case TRAIN_SWEEP: sweep_units(TRAIN_SWEEP, NULL, a, gate, p_gate, n); break;
    case TRAIN_OUTPUT_SWEEP: sweep_units(TRAIN_OUTPUT_SWEEP, NULL, a, gate, p_gate, n); break;
    default: sweep_units(FORM_SWEEP, form, a, gate, p_gate, n);
  }
}

/* Where the rows of a step are, by value: a vector that is stored may lie anywhere, for all the compiler knows, also
 * where the step does. */
typedef struct {
  size_t m, units, z_panel;
  void *const *z;
  const void *const *c_prev;
  void *const *c, *const *h;
  const real *peephole;
} forward_rows;

/* the cell of row r from unit u on, whose z is z_at reals into z's row */
INLINE forward_cell forward_cell_at(forward_rows rows, size_t r, size_t u, size_t z_at) {
  return (forward_cell){(real *)rows.z[r] + z_at, (const real *)rows.c_prev[r] + u, (real *)rows.c[r] + u,
                        (real *)rows.h[r] + u, rows.peephole ? rows.peephole + u : NULL};
}

/* two whole cells where vectors are wide, else *a alone */
INLINE void sweep_cells(const int kind, const fl_form *form, const forward_cell *a, const forward_cell *b,
                        size_t p_gate) {
  for (size_t u = 0; u < FL_UNITS; u += VL) sweep(kind, form, a, b, FL_UNITS, p_gate, u);
}

INLINE void sweep_panels(const int kind, const fl_step *step, size_t first, size_t count, size_t z_at) {
  const forward_rows rows = {.m = step->product.m,
                             .units = step->units,
                             .z_panel = step->product.z_panel,
                             .z = step->product.z,
                             .c_prev = step->c_prev,
                             .c = step->c,
                             .h = step->h,
                             .peephole = step->peephole};
  const fl_form *const form = step->form;
  const size_t end = (first + count) * FL_UNITS, whole = rows.units - rows.units % FL_UNITS;
  const size_t last = end < whole ? end : whole;
  size_t u = first * FL_UNITS;
  for (; rows.m == 1 && u < last; u += FL_UNITS, z_at += rows.z_panel) {
    const forward_cell a = forward_cell_at(rows, 0, u, z_at);
    if (VL_WIDE && u + FL_UNITS < last) u += FL_UNITS, z_at += rows.z_panel;
    const forward_cell b = forward_cell_at(rows, 0, u, z_at); /* an odd one out pairs with itself: the same twice */
    sweep_cells(kind, form, &a, &b, rows.units);
  }
  for (; u < last; u += FL_UNITS, z_at += rows.z_panel)
    for (size_t r = 0; r < rows.m; r += 1 + VL_WIDE) {
      const forward_cell a = forward_cell_at(rows, r, u, z_at);
      const forward_cell b = forward_cell_at(rows, VL_WIDE && r + 1 < rows.m ? r + 1 : r, u, z_at);
      sweep_cells(kind, form, &a, &b, rows.units);
    }
  for (size_t r = 0; r < rows.m && RARELY(u < end); r++) { /* the last panel, where it is not a whole one */
    const forward_cell a = forward_cell_at(rows, r, u, z_at);
    sweep_row(kind, form, &a, FL_UNITS, rows.units, rows.units - u);
  }
}

/* not inlined: the standard cell's code stays as it is without */
static NOINLINE void form_of_panels(const fl_step *step, size_t first, size_t count, size_t z_at) {
  sweep_panels(FORM_SWEEP, step, first, count, z_at);
}

/* The gates of `count` panels from `first` on, all rows; panel `first` is z_at reals into z's rows. */
INLINE void gates_of_panels(const fl_step *step, size_t first, size_t count, size_t z_at) {
  if (step->form) {
    form_of_panels(step, first, count, z_at);
  } else if (step->train) {
    sweep_panels(TRAIN_SWEEP, step, first, count, z_at);
    sweep_panels(TRAIN_OUTPUT_SWEEP, step, first, count, z_at);
  } else {
    sweep_panels(CELL_SWEEP, step, first, count, z_at);
    sweep_panels(OUTPUT_SWEEP, step, first, count, z_at);
  }
}

#endif
