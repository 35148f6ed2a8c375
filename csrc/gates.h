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

/* One vector of units. z points at the i gate, the next gate is `gate` reals on. Leaves the ratio of o in z[0], z[gate]. */
INLINE void cell_pass(real *z, size_t gate, const real *c, real *c_next) {
  const ratio i = sigmoid_ratio(v_load(z));
  const ratio f = sigmoid_ratio(v_load(z + gate));
  const ratio g = tanh_ratio(v_load(z + 2 * gate));
  const ratio o = sigmoid_ratio(v_load(z + 3 * gate));
  const V update = v_div(v_mul(i.num, g.num), v_mul(i.den, g.den));
  v_store(c_next, v_fma(v_div(f.num, f.den), v_load(c), update));
  v_store(z, o.num);
  v_store(z + gate, o.den);
}

INLINE void output_pass(const real *z, size_t gate, const real *c, real *h) {
  const ratio y = tanh_ratio(v_load(c));
  v_store(h, v_div(v_mul(v_load(z), y.num), v_mul(v_load(z + gate), y.den)));
}

/* The same for the last `n` < VL units of a row: through copies, so that nothing past them is touched. Padding is zero,
 * which the activations take without raising anything. */
INLINE void copy_lanes(real *to, const real *from, size_t n) {
  for (size_t l = 0; l < n; l++) to[l] = from[l];
}

INLINE void cell_pass_tail(real *z, size_t gate, const real *c, real *c_next, size_t n) {
  real lanes[5 * VL] = {0};
  for (size_t j = 0; j < 4; j++) copy_lanes(lanes + j * VL, z + j * gate, n);
  copy_lanes(lanes + 4 * VL, c, n);
  cell_pass(lanes, VL, lanes + 4 * VL, lanes + 4 * VL);
  copy_lanes(c_next, lanes + 4 * VL, n);
  copy_lanes(z, lanes, n);
  copy_lanes(z + gate, lanes + VL, n);
}

INLINE void output_pass_tail(const real *z, size_t gate, const real *c, real *h, size_t n) {
  real lanes[4 * VL] = {0};
  for (size_t l = n; l < VL; l++) lanes[VL + l] = 1; /* no 0/0 in the padding */
  copy_lanes(lanes, z, n);
  copy_lanes(lanes + VL, z + gate, n);
  copy_lanes(lanes + 2 * VL, c, n);
  output_pass(lanes, VL, lanes + 2 * VL, lanes + 3 * VL);
  copy_lanes(h, lanes + 3 * VL, n);
}

/* Both passes over `count` panels starting at `first`, all rows. z is [panel][row][FL_PANEL], panel `first` at z. */
INLINE void gates_of_panels(const fl_step *s, size_t first, size_t count, real *z, size_t z_panel) {
  const size_t m = s->product.m;
  for (size_t pass = 0; pass < 2; pass++) {
    for (size_t p = 0; p < count; p++) {
      const size_t u0 = (first + p) * FL_UNITS;
      const size_t n = s->units - u0 < FL_UNITS ? s->units - u0 : FL_UNITS;
      for (size_t r = 0; r < m; r++) {
        real *const zr = z + p * z_panel + r * FL_PANEL;
        real *const c = (real *)s->c[r] + u0;
        real *const h = (real *)s->h[r] + u0;
        size_t u = 0;
        for (; u + VL <= n; u += VL) {
          if (pass == 0)
            cell_pass(zr + u, FL_UNITS, c + u, c + u);
          else
            output_pass(zr + u, FL_UNITS, c + u, h + u);
        }
        if (u < n) {
          if (pass == 0)
            cell_pass_tail(zr + u, FL_UNITS, c + u, c + u, n - u);
          else
            output_pass_tail(zr + u, FL_UNITS, c + u, h + u, n - u);
        }
      }
    }
  }
}

#endif
