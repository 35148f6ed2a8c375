/* The activations that forms of the cell have beside sigmoid and tanh, and the slopes of all of them, once, over the
 * vector words: the same bits from every instruction set.
 *
 * Which one it is, is decided vector by vector: five decisions beside five activations. There are no masks among the
 * words; where a formula has two sides, both are computed such that the wrong one is exactly 0, or 1.
 *
 * Bounds, sampled, float32 and float64: scaled_tanh 3.5 ULP, softplus 2.75, elu 2.25, softsign 1.6; hard_sigmoid and
 * affine have one rounding, the others at most that of alpha x. softplus is 0 below -87.68 (-708.75 in float64), where
 * it is subnormal. NaN stays NaN.
 *
 *   e^x - 1       s + s q - 1 with s (1 + q) = e^x as in activations.h; s - 1 is exact where it counts
 *   log(1 + e^x)  max(0, x) + log1p(u), u = e^-|x|; log1p(u) = 2 atanh(u / (2 + u)), a series in w^2 <= 1/9
 *
 * SPDX-License-Identifier: BSD-3-Clause */
#ifndef FASTLSTM_FORMS_H
#define FASTLSTM_FORMS_H

#include <float.h>

#define SERIES(n) ((real)1 / (n))
#if REAL_BITS == 32
#define REAL_LARGEST FLT_MAX
/* atanh w = w + w^3/3 + w^5/5 + ...: what is left out is below 2^-29 of it */
static const real ATANH[] = {SERIES(3), SERIES(5), SERIES(7), SERIES(9), SERIES(11), SERIES(13), SERIES(15)};
#else
#define REAL_LARGEST DBL_MAX
static const real ATANH[] = {SERIES(3),  SERIES(5),  SERIES(7),  SERIES(9),  SERIES(11), SERIES(13),
                             SERIES(15), SERIES(17), SERIES(19), SERIES(21), SERIES(23), SERIES(25),
                             SERIES(27), SERIES(29), SERIES(31), SERIES(33)};
#endif
#undef SERIES
enum { ATANH_TERMS = sizeof ATANH / sizeof ATANH[0] };

/* the order of operands lets NaN through, here and below */
INLINE V v_clip(V x, real limit) {
  return v_min(v_set1(limit), v_max(v_set1(-limit), x));
}

/* 1 where x > a, 0 elsewhere, NaN where either is */
INLINE V v_above(V x, V a) {
  const V half = v_set1((real)0.5), below = v_clip(v_sub(a, x), 1); /* clipped: 0 times infinity would be NaN */
  return v_fma(v_set1(0), below, v_sub(half, v_signed(half, below)));
}

/* e^x = s (1 + q) for x <= 0 that is not below `low` */
INLINE ratio exponential(V x, real low) {
  x = v_max(v_set1(low), x);
  const V t = v_fma(x, v_set1(LOG2E), v_set1(ROUNDER));
  const V n = v_sub(t, v_set1(ROUNDER));
  const V r = v_fnma(n, v_set1(LN2_LOW), v_fnma(n, v_set1(LN2_HIGH), x));
  V q;
  expm1_reduced(1, &r, &q);
  return (ratio){v_exponent(t), q};
}

/* e^x - 1 for x <= 0 */
INLINE V v_expm1(V x) {
  const ratio e = exponential(x, -TANH_HIGH);
  return v_fma(e.num, e.den, v_sub(e.num, v_set1(1)));
}

INLINE V v_softplus(V x) {
  const ratio e = exponential(v_sub(v_set1(0), v_abs(x)), SIGMOID_LOW);
  const V u = v_fma(e.num, e.den, e.num);
  const V w = v_div(u, v_add(v_set1(2), u)), w2 = v_mul(w, w), twice = v_add(w, w);
  V p = v_set1(ATANH[ATANH_TERMS - 1]);
  UNROLL
  for (int j = ATANH_TERMS - 2; j >= 0; j--) p = v_fma(p, w2, v_set1(ATANH[j]));
  return v_add(v_max(v_set1(0), x), v_fma(v_mul(twice, w2), p, twice));
}

INLINE V v_softsign(V x) {
  x = v_clip(x, REAL_LARGEST); /* so that infinity gives 1 */
  return v_div(x, v_add(v_set1(1), v_abs(x)));
}

/* not inlined: a cell has five */
static NOINLINE V activate(const fl_activation *f, V x) {
  const V zero = v_set1(0), one = v_set1(1), alpha = v_set1((real)f->alpha), beta = v_set1((real)f->beta);
  switch (f->kind) {
    case FL_SIGMOID: return v_sigmoid(x);
    case FL_TANH: return v_tanh(x);
    case FL_RELU: return v_max(zero, x);
    case FL_HARD_SIGMOID: return v_min(one, v_max(zero, v_fma(alpha, x, beta)));
    case FL_AFFINE: return v_fma(alpha, x, beta);
    case FL_LEAKY_RELU: return v_fma(alpha, v_min(zero, x), v_max(zero, x));
    case FL_THRESHOLDED_RELU: return v_fma(v_max(v_set1(-REAL_LARGEST), x), v_above(x, alpha), zero);
    case FL_SCALED_TANH: return v_mul(alpha, v_tanh(v_mul(beta, x)));
    case FL_ELU: return v_fma(alpha, v_expm1(v_min(zero, x)), v_max(zero, x));
    case FL_SOFTSIGN: return v_softsign(x);
    case FL_SOFTPLUS: break;
  }
  return v_softplus(x);
}

/* The derivative, told from the value y. At a kink: that of the left side. */
static NOINLINE UNUSED V slope(const fl_activation *f, V y) {
  const V zero = v_set1(0), one = v_set1(1), alpha = v_set1((real)f->alpha), beta = v_set1((real)f->beta);
  const V above = v_above(y, zero), rest = v_sub(one, above);
  switch (f->kind) {
    case FL_SIGMOID: return v_mul(y, v_sub(one, y));
    case FL_TANH: return v_fnma(y, y, one);
    case FL_RELU: return above;
    case FL_HARD_SIGMOID: return v_mul(alpha, v_mul(above, v_above(one, y)));
    case FL_AFFINE: return alpha;
    case FL_LEAKY_RELU: return v_fma(rest, alpha, above);
    case FL_THRESHOLDED_RELU: return v_above(v_abs(y), zero);
    case FL_SCALED_TANH: return f->alpha == 0 ? v_mul(zero, y) : v_mul(beta, v_fnma(y, v_div(y, alpha), alpha));
    case FL_ELU: return v_fma(rest, v_add(v_min(zero, y), alpha), above);
    case FL_SOFTSIGN: return v_mul(v_sub(one, v_abs(y)), v_sub(one, v_abs(y)));
    case FL_SOFTPLUS: break;
  }
  return v_sub(zero, v_expm1(v_sub(zero, y)));
}

#endif
