/* The gates, backwards: from gradients of h and c to gradients of the pre-activations and of the cell before.
 *
 *   dc   = dc + dh o (1 - tanh(c)^2)        what reaches the cell: from later steps, and through this step's output
 *   dz_o = dh tanh(c) o (1 - o)
 *   dz_i = dc g i (1 - i)
 *   dz_f = dc c_prev f (1 - f)
 *   dz_g = dc i (1 - g^2)
 *   dc_prev = dc f                          the cell recurrence: multiplied by f alone
 *
 * Other forms have other slopes, and with peepholes more ways for a gradient to reach the cell:
 *
 *   dc      = dc + p_o dz_o                 before it goes on to i, f, g
 *   dc_prev = dc f + p_i dz_i + p_f dz_f
 *
 * SPDX-License-Identifier: BSD-3-Clause */
#ifndef FASTLSTM_GATES_GRADIENT_H
#define FASTLSTM_GATES_GRADIENT_H

/* Where one cell is: a panel of a row. */
typedef struct {
  const real *z, *c_prev, *c, *dh;
  real *dz, *dc, *hidden; /* hidden: o tanh(c), or NULL */
  const real *peephole;   /* of i, then of f, of o; NULL without */
} gradient_cell;

/* One vector of units of a cell, or of two whole cells where vectors are wide. z holds i, f, g, o, `gate` reals apart;
 * dz gets their gradients; dc is updated. */
INLINE void standard_gradient(const gradient_cell *a, const gradient_cell *b, size_t gate, size_t u) {
  const V one = v_set1(1);
  const V i = LOAD(z, 0), f = LOAD(z, gate), g = LOAD(z, 2 * gate), o = LOAD(z, 3 * gate), dh = LOAD(dh, 0);
  const V y = v_tanh(LOAD(c, 0));
  const V dc = v_fma(v_mul(dh, o), v_fnma(y, y, one), LOAD(dc, 0));
  const V dz_i = v_mul(v_mul(v_mul(dc, g), i), v_sub(one, i));
  const V dz_f = v_mul(v_mul(v_mul(dc, LOAD(c_prev, 0)), f), v_sub(one, f));
  const V dz_g = v_mul(v_mul(dc, i), v_fnma(g, g, one));
  const V dz_o = v_mul(v_mul(v_mul(dh, y), o), v_sub(one, o));
  const V dc_prev = v_mul(dc, f);
  if (a->hidden) {
    const V hidden = v_mul(o, y);
    STORE(hidden, 0, hidden);
  }
  STORE(dz, 0, dz_i);
  STORE(dz, gate, dz_f);
  STORE(dz, 2 * gate, dz_g);
  STORE(dz, 3 * gate, dz_o);
  STORE(dc, 0, dc_prev);
}

/* the same for any other form; peepholes are `p_gate` reals apart */
INLINE void form_gradient(const fl_form *form, size_t p_gate, const gradient_cell *a, const gradient_cell *b,
                          size_t gate, size_t u) {
  const V i = LOAD(z, 0), f = LOAD(z, gate), g = LOAD(z, 2 * gate), o = LOAD(z, 3 * gate), dh = LOAD(dh, 0);
  const V y = activate(&form->cell, LOAD(c, 0));
  const V dz_o = v_mul(v_mul(dh, y), slope(&form->gate, o));
  V dc = v_fma(v_mul(dh, o), slope(&form->cell, y), LOAD(dc, 0));
  if (a->peephole) dc = v_fma(LOAD(peephole, 2 * p_gate), dz_o, dc);
  const V di = form->summed ? dc : v_mul(dc, g), dg = form->summed ? dc : v_mul(dc, i);
  const V df = v_mul(dc, LOAD(c_prev, 0)); /* coupled: f = 1 - i */
  const V dz_i = v_mul(form->coupled ? v_sub(di, df) : di, slope(&form->gate, i));
  const V dz_f = form->coupled ? v_set1(0) : v_mul(df, slope(&form->gate, f));
  const V dz_g = v_mul(dg, slope(&form->candidate, g));
  V dc_prev = v_mul(dc, f);
  if (a->peephole) {
    dc_prev = v_fma(LOAD(peephole, 0), dz_i, dc_prev);
    dc_prev = v_fma(LOAD(peephole, p_gate), dz_f, dc_prev);
  }
  if (a->hidden) {
    const V hidden = v_mul(o, y);
    STORE(hidden, 0, hidden);
  }
  STORE(dz, 0, dz_i);
  STORE(dz, gate, dz_f);
  STORE(dz, 2 * gate, dz_g);
  STORE(dz, 3 * gate, dz_o);
  STORE(dc, 0, dc_prev);
}

/* form: NULL for the standard cell, a constant wherever this is used */
INLINE void gradient_sweep(const fl_form *form, size_t p_gate, const gradient_cell *a, const gradient_cell *b,
                           size_t gate, size_t u) {
  if (form)
    form_gradient(form, p_gate, a, b, gate, u);
  else
    standard_gradient(a, b, gate, u);
}

/* The same for `n` < VL units, through copies. */
INLINE void gradient_sweep_tail(const fl_form *form, size_t p_gate, const gradient_cell *a, size_t gate, size_t u,
                                size_t n) {
  real lanes[9 * VL] = {0}, peephole[3 * VL];
  const int peepholes = form && a->peephole;
  if (peepholes) {
    memset(peephole, 0, sizeof peephole);
    for (size_t j = 0; j < 3; j++) copy_lanes(peephole + j * VL, a->peephole + j * p_gate + u, n);
  }
  const gradient_cell low = {lanes, lanes + 4 * VL, lanes + 5 * VL, lanes + 6 * VL,
                             lanes, lanes + 7 * VL, lanes + 8 * VL, peepholes ? peephole : NULL};
  const gradient_cell high = {low.z + HALF,  low.c_prev + HALF, low.c + HALF,      low.dh + HALF,
                              low.dz + HALF, low.dc + HALF,     low.hidden + HALF, peephole + HALF};
  for (size_t j = 0; j < 4; j++) copy_lanes(lanes + j * VL, a->z + j * gate + u, n);
  copy_lanes(lanes + 4 * VL, a->c_prev + u, n);
  copy_lanes(lanes + 5 * VL, a->c + u, n);
  copy_lanes(lanes + 6 * VL, a->dh + u, n);
  copy_lanes(lanes + 7 * VL, a->dc + u, n);
  gradient_sweep(form, VL, &low, &high, VL, 0);
  for (size_t j = 0; j < 4; j++) copy_lanes(a->dz + j * gate + u, lanes + j * VL, n);
  copy_lanes(a->dc + u, lanes + 7 * VL, n);
  if (a->hidden) copy_lanes(a->hidden + u, lanes + 8 * VL, n);
}

/* n units of a row, side by side; in a form or with `hidden` at most FL_UNITS */
INLINE void gradient_units(const fl_form *form, const gradient_cell *a, size_t gate, size_t p_gate, size_t n) {
  const gradient_cell b = {a->z + HALF,  a->c_prev + HALF, a->c + HALF, a->dh + HALF,
                           a->dz + HALF, a->dc + HALF,     NULL,        NULL};
  size_t u = 0;
  for (; u + VL <= n; u += VL) gradient_sweep(form, p_gate, a, &b, gate, u);
  if (u < n) gradient_sweep_tail(form, p_gate, a, gate, u, n - u);
}

/* not inlined: one of each kind is enough where not even a panel is whole */
static NOINLINE void gradient_row(const fl_form *form, const gradient_cell *a, size_t gate, size_t p_gate, size_t n) {
  if (form)
    gradient_units(form, a, gate, p_gate, n);
  else
    gradient_units(NULL, a, gate, p_gate, n);
}

/* Where the rows of a step are, by value, as in gates.h. */
typedef struct {
  void *const *z;
  const void *const *c_prev, *const *c, *const *dh;
  void *const *dc, *const *hidden;
  const real *peephole;
} gradient_rows;

/* the cell of row r, panel p */
INLINE gradient_cell gradient_cell_at(gradient_rows rows, size_t r, size_t p) {
  real *const z = (real *)rows.z[r] + p * FL_PANEL;
  const size_t u = p * FL_UNITS;
  return (gradient_cell){z,
                         (const real *)rows.c_prev[r] + u,
                         (const real *)rows.c[r] + u,
                         (const real *)rows.dh[r] + u,
                         z,
                         (real *)rows.dc[r] + u,
                         rows.hidden ? (real *)rows.hidden[r] + u : NULL,
                         rows.peephole ? rows.peephole + u : NULL};
}

/* two whole cells where vectors are wide, else *a alone */
INLINE void gradient_cells(const fl_form *form, size_t p_gate, const gradient_cell *a, const gradient_cell *b) {
  for (size_t u = 0; u < FL_UNITS; u += VL) gradient_sweep(form, p_gate, a, b, FL_UNITS, u);
}

/* Panels first <= p < last of all rows; wide vectors take two rows, or of one row two panels, at once. An odd one out
 * pairs with itself: the same twice. */
INLINE void gradient_of_panels(const fl_form *form, const fl_gradient_step *step) {
  const gradient_rows rows = {.z = step->z,
                              .c_prev = step->c_prev,
                              .c = step->c,
                              .dh = step->dh,
                              .dc = step->dc,
                              .hidden = step->hidden,
                              .peephole = step->peephole};
  const size_t m = step->m, units = step->units, whole = units / FL_UNITS;
  const size_t last = step->last < whole ? step->last : whole;
  size_t p = step->first;
  for (; m == 1 && p < last; p++) {
    const gradient_cell a = gradient_cell_at(rows, 0, p);
    if (VL_WIDE && p + 1 < last) p++;
    const gradient_cell b = gradient_cell_at(rows, 0, p);
    gradient_cells(form, units, &a, &b);
  }
  for (; p < last; p++)
    for (size_t r = 0; r < m; r += 1 + VL_WIDE) {
      const gradient_cell a = gradient_cell_at(rows, r, p);
      const gradient_cell b = gradient_cell_at(rows, VL_WIDE && r + 1 < m ? r + 1 : r, p);
      gradient_cells(form, units, &a, &b);
    }
  for (size_t r = 0; r < m && p < step->last; r++) { /* the last panel, where it is not a whole one */
    const gradient_cell a = gradient_cell_at(rows, r, p);
    gradient_row(form, &a, FL_UNITS, units, units - p * FL_UNITS);
  }
}

/* not inlined: the standard cell's code stays as it is without */
static NOINLINE void form_gradient_of_panels(const fl_gradient_step *step) {
  gradient_of_panels(step->form, step);
}

#endif
