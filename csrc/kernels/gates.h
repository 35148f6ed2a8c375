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
 * Two sweeps over a tile, cell_sweep then output_sweep, with the ratio of o parked in z in between: one is a chain of
 * ~120 cycles that the out-of-order window cannot hide (6.3 cycles a unit against 5.05 for two sweeps).
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

/* leaves the ratio of o in z[0], z[gate] */
INLINE void cell_sweep(const forward_cell *a, const forward_cell *b, size_t gate, size_t u) {
  const ratio i = sigmoid_ratio(LOAD(z, 0));
  const ratio f = sigmoid_ratio(LOAD(z, gate));
  const ratio g = tanh_ratio(LOAD(z, 2 * gate));
  const ratio o = sigmoid_ratio(LOAD(z, 3 * gate));
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

/* For the backward pass: leaves i, f, g, o in z. One sweep, since z has no room to park the ratio of o. */
INLINE void train_sweep(const forward_cell *a, const forward_cell *b, size_t gate, size_t u) {
  const ratio i = sigmoid_ratio(LOAD(z, 0));
  const ratio f = sigmoid_ratio(LOAD(z, gate));
  const ratio g = tanh_ratio(LOAD(z, 2 * gate));
  const ratio o = sigmoid_ratio(LOAD(z, 3 * gate));
  const V update = v_div(v_mul(i.num, g.num), v_mul(i.den, g.den)), keep = v_div(f.num, f.den);
  const V c = v_fma(keep, LOAD(c, 0), update);
  const ratio y = tanh_ratio(c);
  STORE(c_next, 0, c);
  STORE(h, 0, v_div(v_mul(o.num, y.num), v_mul(o.den, y.den)));
  STORE(z, 0, v_div(i.num, i.den));
  STORE(z, gate, keep);
  STORE(z, 2 * gate, v_div(g.num, g.den));
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
  V c = v_fma(f, old, v_mul(i, g));
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

enum { CELL_SWEEP, OUTPUT_SWEEP, TRAIN_SWEEP, FORM_SWEEP };

/* one vector of units; kind is a constant */
INLINE void sweep(const int kind, const fl_form *form, const forward_cell *a, const forward_cell *b, size_t gate,
                  size_t p_gate, size_t u) {
  if (kind == CELL_SWEEP) cell_sweep(a, b, gate, u);
  if (kind == OUTPUT_SWEEP) output_sweep(a, b, gate, u);
  if (kind == TRAIN_SWEEP) train_sweep(a, b, gate, u);
  if (kind == FORM_SWEEP) form_sweep(form, a, b, gate, p_gate, u);
}

INLINE void copy_lanes(real *to, const real *from, size_t n) {
  for (size_t lane = 0; lane < n; lane++) to[lane] = from[lane];
}

enum { HALF = VL / 2 }; /* where the second cell of a copied vector begins */

/* The same for the last `n` < VL units of a row: through copies, so that nothing past them is touched. */
INLINE void sweep_tail(const int kind, const fl_form *form, const forward_cell *a, size_t gate, size_t p_gate, size_t u,
                       size_t n) {
  const size_t gates_in = kind == OUTPUT_SWEEP ? 2 : 4, gates_out = kind == OUTPUT_SWEEP ? 0
                                                                    : kind == CELL_SWEEP ? 2
                                                                                         : 4;
  const int peepholes = kind == FORM_SWEEP && a->peephole;
  real z[4 * VL] = {0}, c[VL] = {0}, h[VL] = {0}, peephole[3 * VL];
  if (peepholes) memset(peephole, 0, sizeof peephole);
  for (size_t lane = n; kind == OUTPUT_SWEEP && lane < VL; lane++) z[VL + lane] = 1; /* no 0/0 in the padding */
  for (size_t j = 0; j < gates_in; j++) copy_lanes(z + j * VL, a->z + j * gate + u, n);
  for (size_t j = 0; peepholes && j < 3; j++) copy_lanes(peephole + j * VL, a->peephole + j * p_gate + u, n);
  copy_lanes(c, (kind == OUTPUT_SWEEP ? a->c_next : a->c) + u, n);
  const forward_cell low = {z, c, c, h, peepholes ? peephole : NULL};
  const forward_cell high = {z + HALF, c + HALF, c + HALF, h + HALF, peephole + HALF};
  sweep(kind, form, &low, &high, VL, VL, 0);
  for (size_t j = 0; j < gates_out; j++) copy_lanes(a->z + j * gate + u, z + j * VL, n);
  if (kind != OUTPUT_SWEEP) copy_lanes(a->c_next + u, c, n);
  if (kind != CELL_SWEEP) copy_lanes(a->h + u, h, n);
}

/* panel `first + p` of row r, whose z is z_at reals into z's row and on */
INLINE forward_cell forward_cell_at(const fl_step *step, size_t r, size_t first, size_t p, size_t z_at) {
  const size_t u = (first + p) * FL_UNITS;
  return (forward_cell){(real *)step->product.z[r] + z_at + p * step->product.z_panel,
                        (const real *)step->c_prev[r] + u, (real *)step->c[r] + u, (real *)step->h[r] + u,
                        step->peephole ? (const real *)step->peephole + u : NULL};
}

/* one sweep over the n units of one cell, or of two whole ones where vectors are wide */
INLINE void sweep_units(const int kind, const fl_step *step, const forward_cell *a, const forward_cell *b, size_t n) {
  size_t u = 0;
  for (; u + (VL_WIDE ? FL_UNITS : VL) <= n; u += VL) sweep(kind, step->form, a, b, FL_UNITS, step->units, u);
  if (RARELY(u < n)) sweep_tail(kind, step->form, a, FL_UNITS, step->units, u, n - u);
}

INLINE void sweep_panels(const int kind, const fl_step *step, size_t first, size_t count, size_t z_at) {
  const size_t m = step->product.m;
  const int pair_panels = VL_WIDE && m == 1, pair_rows = VL_WIDE && m > 1;
  for (size_t p = 0; p < count; p++) {
    const size_t left = step->units - (first + p) * FL_UNITS, n = left < FL_UNITS ? left : FL_UNITS;
    if (pair_panels && p + 1 < count && left >= 2 * FL_UNITS) { /* by itself: with n a constant, 5 % of a small step */
      const forward_cell a = forward_cell_at(step, 0, first, p, z_at), b = forward_cell_at(step, 0, first, ++p, z_at);
      sweep_units(kind, step, &a, &b, FL_UNITS);
      continue;
    }
    for (size_t r = 0; r < m; r++) {
      /* an odd row out pairs with itself: both halves compute and store the same */
      const size_t r2 = pair_rows && n == FL_UNITS && r + 1 < m ? r + 1 : r;
      const forward_cell a = forward_cell_at(step, r, first, p, z_at), b = forward_cell_at(step, r2, first, p, z_at);
      sweep_units(kind, step, &a, &b, n);
      r = r2;
    }
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
  } else {
    sweep_panels(CELL_SWEEP, step, first, count, z_at);
    sweep_panels(OUTPUT_SWEEP, step, first, count, z_at);
  }
}

#endif
