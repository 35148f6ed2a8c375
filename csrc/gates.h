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

/* One pass over the units of one cell, or of two whole ones where vectors are wide: z and z2, rows r and r2, unit u0 on. */
INLINE void pass_over(const int output, const fl_step *s, real *z, real *z2, size_t r, size_t r2, size_t u0, size_t u02, size_t n) {
  real *const c = (real *)s->c[r] + u0, *const c2 = (real *)s->c[r2] + u02;
  real *const h = (real *)s->h[r] + u0, *const h2 = (real *)s->h[r2] + u02;
  size_t u = 0;
  for (; u + (VL_WIDE ? FL_UNITS : VL) <= n; u += VL) {
    if (output)
      output_pass(z + u, z2 + u, FL_UNITS, c + u, c2 + u, h + u, h2 + u);
    else
      cell_pass(z + u, z2 + u, FL_UNITS, c + u, c2 + u, c + u, c2 + u);
  }
  if (u < n) {
    if (output)
      output_pass_tail(z + u, FL_UNITS, c + u, h + u, n - u);
    else
      cell_pass_tail(z + u, FL_UNITS, c + u, c + u, n - u);
  }
}

INLINE void pass_over_panels(const int output, const fl_step *s, size_t first, size_t count, real *z, size_t z_panel) {
  const size_t m = s->product.m;
  const int pair_panels = VL_WIDE && m == 1, pair_rows = VL_WIDE && m > 1;
  for (size_t p = 0; p < count; p++) {
    const size_t u0 = (first + p) * FL_UNITS;
    const size_t n = s->units - u0 < FL_UNITS ? s->units - u0 : FL_UNITS;
    real *const zp = z + p * z_panel;
    if (pair_panels && p + 1 < count && s->units - u0 >= 2 * FL_UNITS) {
      pass_over(output, s, zp, zp + z_panel, 0, 0, u0, u0 + FL_UNITS, FL_UNITS);
      p++;
    } else {
      for (size_t r = 0; r < m; r++) {
        /* an odd row out pairs with itself: both halves compute and store the same */
        const size_t r2 = pair_rows && n == FL_UNITS && r + 1 < m ? r + 1 : r;
        pass_over(output, s, zp + r * FL_PANEL, zp + r2 * FL_PANEL, r, r2, u0, u0, n);
        r = r2;
      }
    }
  }
}

/* Both passes over `count` panels starting at `first`, all rows. z is [panel][row][FL_PANEL], panel `first` at z. */
INLINE void gates_of_panels(const fl_step *s, size_t first, size_t count, real *z, size_t z_panel) {
  pass_over_panels(0, s, first, count, z, z_panel);
  pass_over_panels(1, s, first, count, z, z_panel);
}

#endif
