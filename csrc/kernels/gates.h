/* The gates: from pre-activations to c and h.
 *
 *   i, f, o = sigmoid(z)    how much is written, kept, shown: three filters, 0..1
 *   g       = tanh(z)       what is written: a signed update, -1..1
 *   c       = f * c + i * g the cell recurrence: no matrix, no squashing
 *   h       = o * tanh(c)
 *
 * Products of two activations share a division: i * g = (num_i num_g) / (den_i den_g), likewise h; 3 divisions instead of 5.
 *
 * Two passes over a tile, cell_pass then output_pass, with the ratio of o parked in z in between: one pass is a chain of
 * ~120 cycles that the out-of-order window cannot hide (6.3 cycles a unit against 5.05 for two passes).
 *
 * SPDX-License-Identifier: BSD-3-Clause */
#ifndef FASTLSTM_GATES_H
#define FASTLSTM_GATES_H

/* Units of one panel fill a vector of up to FL_UNITS lanes; a wider one takes the units of two cells (a cell: one panel of
 * one row), at p and q. */
#if VL_WIDE
#define load_units(p, q) v_load2(p, q)
#define store_units(p, q, a) v_store2(p, q, a)
#else
#define load_units(p, q) ((void)(q), v_load(p))
#define store_units(p, q, a) ((void)(q), v_store(p, a))
#endif

/* One vector of units. z points at the i gate, the next gate is `gate` reals on. Leaves the ratio of o in z[0], z[gate].
 * Pointers named 2 are those of the second cell. */
INLINE void cell_pass(real *z, real *z2, size_t gate, const real *c, const real *c2, real *c_next, real *c_next2) {
  const ratio i = sigmoid_ratio(load_units(z, z2));
  const ratio f = sigmoid_ratio(load_units(z + gate, z2 + gate));
  const ratio g = tanh_ratio(load_units(z + 2 * gate, z2 + 2 * gate));
  const ratio o = sigmoid_ratio(load_units(z + 3 * gate, z2 + 3 * gate));
  const V update = v_div(v_mul(i.num, g.num), v_mul(i.den, g.den));
  store_units(c_next, c_next2, v_fma(v_div(f.num, f.den), load_units(c, c2), update));
  store_units(z, z2, o.num);
  store_units(z + gate, z2 + gate, o.den);
}

INLINE void output_pass(const real *z, const real *z2, size_t gate, const real *c, const real *c2, real *h, real *h2) {
  const ratio y = tanh_ratio(load_units(c, c2));
  const V num = v_mul(load_units(z, z2), y.num), den = v_mul(load_units(z + gate, z2 + gate), y.den);
  store_units(h, h2, v_div(num, den));
}

/* The same for the last `n` < VL units of a row: through copies, so that nothing past them is touched. */
INLINE void copy_lanes(real *to, const real *from, size_t n) {
  for (size_t l = 0; l < n; l++) to[l] = from[l];
}

enum { HALF = VL / 2 }; /* where the second cell of a copied vector begins */

INLINE void cell_pass_tail(real *z, size_t gate, const real *c, real *c_next, size_t n) {
  real lanes[5 * VL] = {0};
  real *const cell = lanes + 4 * VL;
  for (size_t j = 0; j < 4; j++) copy_lanes(lanes + j * VL, z + j * gate, n);
  copy_lanes(cell, c, n);
  cell_pass(lanes, lanes + HALF, VL, cell, cell + HALF, cell, cell + HALF);
  copy_lanes(c_next, cell, n);
  copy_lanes(z, lanes, n);
  copy_lanes(z + gate, lanes + VL, n);
}

INLINE void output_pass_tail(const real *z, size_t gate, const real *c, real *h, size_t n) {
  real lanes[4 * VL] = {0};
  for (size_t l = n; l < VL; l++) lanes[VL + l] = 1; /* no 0/0 in the padding */
  copy_lanes(lanes, z, n);
  copy_lanes(lanes + VL, z + gate, n);
  copy_lanes(lanes + 2 * VL, c, n);
  output_pass(lanes, lanes + HALF, VL, lanes + 2 * VL, lanes + 2 * VL + HALF, lanes + 3 * VL, lanes + 3 * VL + HALF);
  copy_lanes(h, lanes + 3 * VL, n);
}

/* For the backward pass: leaves i, f, g, o in z. One pass, since z has no room to park the ratio of o. */
INLINE void train_pass(real *z, real *z2, size_t gate, const real *c, const real *c2, real *c_next, real *c_next2,
                       real *h, real *h2) {
  const ratio i = sigmoid_ratio(load_units(z, z2));
  const ratio f = sigmoid_ratio(load_units(z + gate, z2 + gate));
  const ratio g = tanh_ratio(load_units(z + 2 * gate, z2 + 2 * gate));
  const ratio o = sigmoid_ratio(load_units(z + 3 * gate, z2 + 3 * gate));
  const V update = v_div(v_mul(i.num, g.num), v_mul(i.den, g.den)), keep = v_div(f.num, f.den);
  const V cell = v_fma(keep, load_units(c, c2), update);
  const ratio y = tanh_ratio(cell);
  store_units(c_next, c_next2, cell);
  store_units(h, h2, v_div(v_mul(o.num, y.num), v_mul(o.den, y.den)));
  store_units(z, z2, v_div(i.num, i.den));
  store_units(z + gate, z2 + gate, keep);
  store_units(z + 2 * gate, z2 + 2 * gate, v_div(g.num, g.den));
  store_units(z + 3 * gate, z2 + 3 * gate, v_div(o.num, o.den));
}

INLINE void train_pass_tail(real *z, size_t gate, const real *c, real *c_next, real *h, size_t n) {
  real lanes[6 * VL] = {0};
  real *const cell = lanes + 4 * VL, *const out = lanes + 5 * VL;
  for (size_t j = 0; j < 4; j++) copy_lanes(lanes + j * VL, z + j * gate, n);
  copy_lanes(cell, c, n);
  train_pass(lanes, lanes + HALF, VL, cell, cell + HALF, cell, cell + HALF, out, out + HALF);
  for (size_t j = 0; j < 4; j++) copy_lanes(z + j * gate, lanes + j * VL, n);
  copy_lanes(c_next, cell, n);
  copy_lanes(h, out, n);
}

/* Any other form, for inference and for training: one pass, each activation by itself. p points at the peepholes of i, those of
 * the next gate are `p_gate` reals on; NULL without. */
INLINE void form_pass(const fl_form *f, real *z, real *z2, size_t gate, const real *c, const real *c2, real *c_next,
                      real *c_next2, real *h, real *h2, const real *p, const real *p2, size_t p_gate) {
  const int clip_gates = f->clip_at == FL_CLIP_ACTIVATIONS || f->clip_at == FL_CLIP_GATES;
  const real limit = (real)f->clip;
  const V old = load_units(c, c2);
  V x[4];
  for (size_t j = 0; j < 4; j++) x[j] = load_units(z + j * gate, z2 + j * gate);
  for (size_t j = 0; p && j < 2; j++) x[j] = v_fma(load_units(p + j * p_gate, p2 + j * p_gate), old, x[j]);
  for (size_t j = 0; clip_gates && j < 3; j++) x[j] = v_clip(x[j], limit);
  const V i = activate(&f->gate, x[0]), keep = f->coupled ? v_sub(v_set1(1), i) : activate(&f->gate, x[1]);
  const V g = activate(&f->candidate, x[2]);
  V cell = v_fma(keep, old, v_mul(i, g));
  if (f->clip_at == FL_CLIP_STATE) cell = v_clip(cell, limit);
  if (p) x[3] = v_fma(load_units(p + 2 * p_gate, p2 + 2 * p_gate), cell, x[3]);
  const V o = activate(&f->gate, clip_gates ? v_clip(x[3], limit) : x[3]);
  const V y = activate(&f->cell, f->clip_at == FL_CLIP_ACTIVATIONS ? v_clip(cell, limit) : cell);
  store_units(c_next, c_next2, cell);
  store_units(h, h2, v_mul(o, y));
  store_units(z, z2, i);
  store_units(z + gate, z2 + gate, keep);
  store_units(z + 2 * gate, z2 + 2 * gate, g);
  store_units(z + 3 * gate, z2 + 3 * gate, o);
}

INLINE void form_pass_tail(const fl_form *f, real *z, size_t gate, const real *c, real *c_next, real *h, const real *p,
                           size_t p_gate, size_t n) {
  real lanes[9 * VL] = {0};
  real *const cell = lanes + 4 * VL, *const out = lanes + 5 * VL, *const weights = lanes + 6 * VL;
  for (size_t j = 0; j < 4; j++) copy_lanes(lanes + j * VL, z + j * gate, n);
  for (size_t j = 0; p && j < 3; j++) copy_lanes(weights + j * VL, p + j * p_gate, n);
  copy_lanes(cell, c, n);
  form_pass(f, lanes, lanes + HALF, VL, cell, cell + HALF, cell, cell + HALF, out, out + HALF, p ? weights : NULL,
            weights + HALF, VL);
  for (size_t j = 0; j < 4; j++) copy_lanes(z + j * gate, lanes + j * VL, n);
  copy_lanes(c_next, cell, n);
  copy_lanes(h, out, n);
}

enum { CELL_PASS, OUTPUT_PASS, TRAIN_PASS, FORM_PASS };

/* One pass over the units of one cell, or of two whole ones where vectors are wide: rows r and r2, panels p and p2. */
INLINE void pass_over(const int kind, const fl_step *s, size_t z_at, size_t r, size_t r2, size_t p, size_t p2,
                      size_t first, size_t n) {
  const size_t u1 = (first + p) * FL_UNITS, u2 = (first + p2) * FL_UNITS, z_panel = s->product.z_panel;
  real *const z = (real *)s->product.z[r] + z_at + p * z_panel, *const z2 =
                                                                    (real *)s->product.z[r2] + z_at + p2 * z_panel;
  const real *const old = (const real *)s->c_prev[r] + u1, *const old2 = (const real *)s->c_prev[r2] + u2;
  real *const c = (real *)s->c[r] + u1, *const c2 = (real *)s->c[r2] + u2;
  real *const h = (real *)s->h[r] + u1, *const h2 = (real *)s->h[r2] + u2;
  const real *const ph = kind == FORM_PASS && s->peephole ? (const real *)s->peephole + u1 : NULL;
  const real *const ph2 = ph ? ph + (u2 - u1) : NULL;
  size_t u = 0;
  for (; u + (VL_WIDE ? FL_UNITS : VL) <= n; u += VL) {
    if (kind == CELL_PASS) cell_pass(z + u, z2 + u, FL_UNITS, old + u, old2 + u, c + u, c2 + u);
    if (kind == OUTPUT_PASS) output_pass(z + u, z2 + u, FL_UNITS, c + u, c2 + u, h + u, h2 + u);
    if (kind == TRAIN_PASS) train_pass(z + u, z2 + u, FL_UNITS, old + u, old2 + u, c + u, c2 + u, h + u, h2 + u);
    if (kind == FORM_PASS)
      form_pass(s->form, z + u, z2 + u, FL_UNITS, old + u, old2 + u, c + u, c2 + u, h + u, h2 + u, ph ? ph + u : NULL,
                ph ? ph2 + u : NULL, s->units);
  }
  if (u < n) {
    if (kind == CELL_PASS) cell_pass_tail(z + u, FL_UNITS, old + u, c + u, n - u);
    if (kind == OUTPUT_PASS) output_pass_tail(z + u, FL_UNITS, c + u, h + u, n - u);
    if (kind == TRAIN_PASS) train_pass_tail(z + u, FL_UNITS, old + u, c + u, h + u, n - u);
    if (kind == FORM_PASS)
      form_pass_tail(s->form, z + u, FL_UNITS, old + u, c + u, h + u, ph ? ph + u : NULL, s->units, n - u);
  }
}

INLINE void pass_over_panels(const int kind, const fl_step *s, size_t first, size_t count, size_t z_at) {
  const size_t m = s->product.m;
  const int pair_panels = VL_WIDE && m == 1, pair_rows = VL_WIDE && m > 1;
  for (size_t p = 0; p < count; p++) {
    const size_t left = s->units - (first + p) * FL_UNITS, n = left < FL_UNITS ? left : FL_UNITS;
    if (pair_panels && p + 1 < count && left >= 2 * FL_UNITS) {
      pass_over(kind, s, z_at, 0, 0, p, p + 1, first, FL_UNITS);
      p++;
    } else {
      for (size_t r = 0; r < m; r++) {
        /* an odd row out pairs with itself: both halves compute and store the same */
        const size_t r2 = pair_rows && n == FL_UNITS && r + 1 < m ? r + 1 : r;
        pass_over(kind, s, z_at, r, r2, p, p, first, n);
        r = r2;
      }
    }
  }
}

/* not inlined: the standard cell's code stays as it is without */
static NOINLINE void form_of_panels(const fl_step *s, size_t first, size_t count, size_t z_at) {
  pass_over_panels(FORM_PASS, s, first, count, z_at);
}

/* The gates of `count` panels from `first` on, all rows; panel `first` is z_at reals into z's rows. */
INLINE void gates_of_panels(const fl_step *s, size_t first, size_t count, size_t z_at) {
  if (s->form) {
    form_of_panels(s, first, count, z_at);
  } else if (s->train) {
    pass_over_panels(TRAIN_PASS, s, first, count, z_at);
  } else {
    pass_over_panels(CELL_PASS, s, first, count, z_at);
    pass_over_panels(OUTPUT_PASS, s, first, count, z_at);
  }
}

#endif
