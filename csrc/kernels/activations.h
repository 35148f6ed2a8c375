/* sigmoid and tanh, once, over the vector words: the same bits from every instruction set, in the body, in the tail,
 * alone and inside the cell.
 *
 * Both are a ratio. The exponential is kept as s * (1 + q), with s = 2^n by a magic-number addition and q = expm1(r) by
 * a polynomial, and the two are joined in numerator and denominator only: no rounding of 1 + q. The term that is added
 * to 1 is never above 1 in size where it matters; the usual 1/(1 + e^-x) and e^2x forms cost up to 1 ULP more.
 *
 *   sigmoid(x) = s / (1 + s + q)                 e^-x      = (1 + q) / s      n = round(x / ln 2)
 *   tanh(x)    = +-(1 - s - s q) / (1 + s + s q) e^-2|x|   = s (1 + q)
 *
 * Bounds, float32, over all 2^32 inputs (make prove-activations): sigmoid 1.72 ULP, tanh 1.96 ULP; float64, sampled:
 * 1.7 and 2.1 ULP. Below -87.68 sigmoid is 0 (it is subnormal there); tanh is odd to the bit, keeps -0 and subnormals
 * and saturates to +-1. NaN stays NaN.
 *
 * Tried, did not help: Estrin's scheme (-3 % time, tanh 1.97 ULP); e/(1+e) (2.25 ULP, no faster); rational tanh in x^2
 * (30 % faster alone, 5.9 ULP).
 *
 * Tried, a tanh of 1.2 ULP: the division rounds by 0.5, and q, numerator and denominator by up to 0.6 each, also where
 * |x| is small. With what the rounding of the denominator lost, (1 - s) times, in the numerator: at most 1.1 ULP above
 * |x| = 0.87 (1.5 near saturation), no less than now below 0.35, for 11 to 15 % of a cell's gates. With the low parts
 * of all three: 1.35 ULP (1.5 near saturation) for 22 to 36 %. The root mean square error of a layer's outputs would
 * fall by 3 % at H = 32 and 1 % at H = 512; with a tanh rounded correctly by 7 and 2.5 %.
 *
 * Coefficients: Sollya, fpminimax(exp(x)-1-x, [|2,...,d|], working precision, [-0.347;0.347], absolute), d = 6 and 11;
 * approximation error 4.4e-9 and 3.5e-18.
 *
 * SPDX-License-Identifier: BSD-3-Clause */
#ifndef FASTLSTM_ACTIVATIONS_H
#define FASTLSTM_ACTIVATIONS_H

#if REAL_BITS == 32
#define LOG2E 0x1.715476p0f
#define LN2_HIGH 0x1.62e4p-1f /* 15 bits: n * LN2_HIGH is exact */
#define LN2_LOW 0x1.7f7d1cp-20f
#define ROUNDER (12582912.0f + 127.0f) /* 1.5 * 2^23 leaves n + bias in the low bits */
#define SIGMOID_LOW -87.9f             /* n = -127 here, so s = 0 and so is the result */
#define SIGMOID_HIGH 40.0f
#define TANH_HIGH 18.04f /* of 2|x|: beyond it the ratio rounds to 1 */
static const real EXPM1[] = {0x1p-1f, 0x1.55548ep-3f, 0x1.5554d8p-5f, 0x1.123c06p-7f, 0x1.6d5f54p-10f};
#else
#define LOG2E 0x1.71547652b82fep0
#define LN2_HIGH 0x1.62e42fefap-1
#define LN2_LOW 0x1.cf79abc9e3b3ap-40
#define ROUNDER (6755399441055744.0 + 1023.0)
#define SIGMOID_LOW -709.0
#define SIGMOID_HIGH 80.0
#define TANH_HIGH 40.0
static const real EXPM1[] = {0x1.000000000000bp-1,  0x1.5555555555561p-3,  0x1.555555555022ap-5, 0x1.111111110d645p-7,
                             0x1.6c16c1854fab1p-10, 0x1.a01a01baddc1cp-13, 0x1.a019975abf92p-16, 0x1.71dddfd6d5fd7p-19,
                             0x1.28afa9b2cf47dp-22, 0x1.af85756412bc3p-26};
#endif
enum { EXPM1_TERMS = sizeof EXPM1 / sizeof EXPM1[0] };

typedef struct {
  V num, den;
} ratio;

/* What follows takes n arguments stage by stage, so that n chains of dependent instructions lie side by side: one after
 * the other, they are too far apart for a CPU to see. n and `sigmoids` are constants. */
enum { MOST_ARGUMENTS = 4 };

/* q = e^r - 1 for |r| <= ln(2)/2 */
INLINE void expm1_reduced(const size_t n, const V *r, V *q) {
  V p[MOST_ARGUMENTS];
  UNROLL
  for (size_t k = 0; k < n; k++) p[k] = v_set1(EXPM1[EXPM1_TERMS - 1]);
  UNROLL
  for (int j = EXPM1_TERMS - 2; j >= 0; j--) {
    UNROLL
    for (size_t k = 0; k < n; k++) p[k] = v_fma(p[k], r[k], v_set1(EXPM1[j]));
  }
  UNROLL
  for (size_t k = 0; k < n; k++) q[k] = v_fma(p[k], v_mul(r[k], r[k]), r[k]);
}

/* s and r of each argument; the order of operands lets NaN through */
INLINE void reduce(const size_t n, const size_t sigmoids, const V *x, V *s, V *r) {
  const V log2e = v_set1(LOG2E), rounder = v_set1(ROUNDER);
  V t[MOST_ARGUMENTS], m[MOST_ARGUMENTS];
  UNROLL
  for (size_t k = 0; k < n; k++) {
    if (k < sigmoids)
      r[k] = v_min(v_set1(SIGMOID_HIGH), v_max(v_set1(SIGMOID_LOW), x[k]));
    else
      r[k] = v_min(v_set1(TANH_HIGH), v_abs(v_add(x[k], x[k])));
  }
  UNROLL
  for (size_t k = 0; k < n; k++) {
    t[k] = k < sigmoids ? v_fma(r[k], log2e, rounder) : v_fnma(r[k], log2e, rounder);
    m[k] = k < sigmoids ? v_sub(t[k], rounder) : v_sub(rounder, t[k]);
    s[k] = v_exponent(t[k]);
    r[k] = v_fma(m[k], v_set1(LN2_LOW), v_fms(m[k], v_set1(LN2_HIGH), r[k]));
  }
}

/* sigmoid of the first x, tanh of the others */
INLINE void ratios(const size_t n, const size_t sigmoids, const V *x, ratio *y) {
  const V one = v_set1(1);
  V s[MOST_ARGUMENTS], r[MOST_ARGUMENTS], q[MOST_ARGUMENTS];
  reduce(n, sigmoids, x, s, r);
  expm1_reduced(n, r, q);
  UNROLL
  for (size_t k = 0; k < n; k++) {
    const V s1 = v_add(s[k], one);
    if (k < sigmoids) {
      /* what the rounding of s + 1 lost: 2.44 -> 1.72 ULP for 3 instructions */
      const V lost = v_sub(s[k], v_sub(s1, one));
      y[k] = (ratio){s[k], v_add(s1, v_add(q[k], lost))};
    } else {
      y[k] = (ratio){v_signed(v_fnma(s[k], q[k], v_sub(one, s[k])), x[k]), v_fma(s[k], q[k], s1)};
    }
  }
}

INLINE ratio sigmoid_ratio(V x) {
  ratio y;
  ratios(1, 1, &x, &y);
  return y;
}

INLINE ratio tanh_ratio(V x) {
  ratio y;
  ratios(1, 0, &x, &y);
  return y;
}

INLINE V v_sigmoid(V x) {
  const ratio y = sigmoid_ratio(x);
  return v_div(y.num, y.den);
}

INLINE V v_tanh(V x) {
  const ratio y = tanh_ratio(x);
  return v_div(y.num, y.den);
}

#endif
