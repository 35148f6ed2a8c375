/* The gates, backwards: from gradients of h and c to gradients of the pre-activations and of the cell before.
 *
 *   dc   = dc + dh o (1 - tanh(c)^2)        what reaches the cell: from later steps, and through this step's output
 *   dz_o = dh tanh(c) o (1 - o)
 *   dz_i = dc g i (1 - i)
 *   dz_f = dc c_prev f (1 - f)
 *   dz_g = dc i (1 - g^2)
 *   dc_prev = dc f                          the cell recurrence: multiplied by f alone
 *
 * SPDX-License-Identifier: BSD-3-Clause */
#ifndef FASTLSTM_GATES_GRADIENT_H
#define FASTLSTM_GATES_GRADIENT_H

/* One vector of units. z holds i, f, g, o, `gate` reals apart, and gets their gradients; dc is updated; hidden gets
 * o tanh(c) if it is not NULL. */
INLINE void gradient_pass(const real *z, real *dz, size_t gate, const real *c_prev, const real *c, const real *dh, real *dc,
                          real *hidden) {
  const V one = v_set1(1);
  const V i = v_load(z), f = v_load(z + gate), g = v_load(z + 2 * gate), o = v_load(z + 3 * gate);
  const V y = v_tanh(v_load(c)), from_h = v_load(dh);
  const V cell = v_fma(v_mul(from_h, o), v_fnma(y, y, one), v_load(dc));
  if (hidden) v_store(hidden, v_mul(o, y));
  v_store(dz, v_mul(v_mul(v_mul(cell, g), i), v_sub(one, i)));
  v_store(dz + gate, v_mul(v_mul(v_mul(cell, v_load(c_prev)), f), v_sub(one, f)));
  v_store(dz + 2 * gate, v_mul(v_mul(cell, i), v_fnma(g, g, one)));
  v_store(dz + 3 * gate, v_mul(v_mul(v_mul(from_h, y), o), v_sub(one, o)));
  v_store(dc, v_mul(cell, f));
}

/* The same for `n` < VL units, through copies. */
INLINE void gradient_pass_tail(const real *z, real *dz, size_t gate, const real *c_prev, const real *c, const real *dh, real *dc,
                               real *hidden, size_t n) {
  real lanes[9 * VL] = {0};
  for (size_t j = 0; j < 4; j++) copy_lanes(lanes + j * VL, z + j * gate, n);
  copy_lanes(lanes + 4 * VL, c_prev, n);
  copy_lanes(lanes + 5 * VL, c, n);
  copy_lanes(lanes + 6 * VL, dh, n);
  copy_lanes(lanes + 7 * VL, dc, n);
  gradient_pass(lanes, lanes, VL, lanes + 4 * VL, lanes + 5 * VL, lanes + 6 * VL, lanes + 7 * VL, lanes + 8 * VL);
  for (size_t j = 0; j < 4; j++) copy_lanes(dz + j * gate, lanes + j * VL, n);
  copy_lanes(dc, lanes + 7 * VL, n);
  if (hidden) copy_lanes(hidden, lanes + 8 * VL, n);
}

/* One panel of one row. Vectors wider than a panel go through copies: 8 units at a time. */
INLINE void gradient_of_panel(const fl_gradient_step *s, size_t r, size_t p) {
  const size_t u0 = p * FL_UNITS, n = s->units - u0 < FL_UNITS ? s->units - u0 : FL_UNITS;
  real *const z = (real *)s->z[r] + p * FL_PANEL;
  const real *const c_prev = (const real *)s->c_prev[r] + u0, *const c = (const real *)s->c[r] + u0;
  const real *const dh = (const real *)s->dh[r] + u0;
  real *const dc = (real *)s->dc[r] + u0, *const hidden = s->hidden ? (real *)s->hidden[r] + u0 : NULL;
  size_t u = 0;
  for (; u + VL <= n; u += VL)
    gradient_pass(z + u, z + u, FL_UNITS, c_prev + u, c + u, dh + u, dc + u, hidden ? hidden + u : NULL);
  if (u < n)
    gradient_pass_tail(z + u, z + u, FL_UNITS, c_prev + u, c + u, dh + u, dc + u, hidden ? hidden + u : NULL, n - u);
}

#endif
