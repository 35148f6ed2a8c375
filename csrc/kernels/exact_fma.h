/* a * b + c with one rounding, by IEEE arithmetic and integers alone. The C library's is not exact everywhere
 * (mingw-w64's is not fused, musl's loses the sign of a zero that underflowed).
 *
 *   float    the product is exact in double; the sum is rounded to odd there, which a second rounding to float cannot
 *            hurt
 *   double   product and sum in two parts each, their low ends rounded to odd before the one rounding (Boldo,
 *            Melquiond: Emulation of FMA and correctly rounded sums, 2008); with integers where exponents are extreme
 *
 * Round to nearest, no flushing (fpenv.h), no excess precision beyond double for float.
 *
 * SPDX-License-Identifier: BSD-3-Clause */
#ifndef FASTLSTM_EXACT_FMA_H
#define FASTLSTM_EXACT_FMA_H

#include <float.h>
#include <stdint.h>
#include <string.h>
#include "base/compiler.h"

#if FLT_EVAL_METHOD != 0 && FLT_EVAL_METHOD != 1
#error "double is computed with excess precision here: on 32-bit x86 compile with -msse2 -mfpmath=sse"
#endif

INLINE uint64_t bits_of(double x) {
  uint64_t n;
  memcpy(&n, &x, sizeof n);
  return n;
}

INLINE double double_of(uint64_t n) {
  double x;
  memcpy(&x, &n, sizeof x);
  return x;
}

/* x + y = sum + lost, exactly */
typedef struct {
  double sum, lost;
} exact_sum;

INLINE exact_sum add_exactly(double x, double y) {
  const double sum = x + y, of_y = sum - x;
  return (exact_sum){sum, (x - (sum - of_y)) + (y - of_y)};
}

/* x + y, finite, rounded to odd: of the two neighbours of an inexact sum the one whose last bit is set */
INLINE double add_to_odd(double x, double y) {
  const exact_sum s = add_exactly(x, y);
  const uint64_t n = bits_of(s.sum);
  if (s.lost == 0 || n & 1) return s.sum;
  return double_of((s.lost > 0) == (s.sum > 0) ? n + 1 : n - 1);
}

/* Of a double that is not half-way between two floats the rounding to float is that of the exact sum. */
static NOINLINE UNUSED float exact_fmaf(float a, float b, float c) {
  const double product = (double)a * (double)b, sum = product + (double)c;
  const uint64_t n = bits_of(sum);
  const int exponent = (int)(n >> 52 & 0x7ff);
  if (exponent == 0x7ff || (exponent >= 1023 - 126 && (n & 0x1fffffff) != 0x10000000)) return (float)sum;
  return (float)add_to_odd(product, (double)c);
}

/* ---- double, by integers ---------------------------------------------------------------------------------------- */

/* high * 2^64 + low, times 2^exponent */
typedef struct {
  uint64_t high, low;
  int exponent;
} wide;

/* to the right by n >= 0 bits; what falls out is kept as a last bit that is set */
static inline wide shifted_right(wide a, int n) {
  if (n == 0) return a;
  uint64_t lost;
  wide b = {0, 0, a.exponent + n};
  if (n < 64) {
    lost = a.low << (64 - n);
    b.low = a.low >> n | a.high << (64 - n);
    b.high = a.high >> n;
  } else if (n < 128) {
    lost = a.low | (n > 64 ? a.high << (128 - n) : 0);
    b.low = a.high >> (n - 64);
  } else {
    lost = a.high | a.low;
  }
  b.low |= lost != 0;
  return b;
}

/* so that the highest bit is number 125: a sum has room, and a shift of less than 20 loses nothing */
static inline wide normal(wide a) {
  while (!(a.high >> 61)) {
    const int n = a.high >> 29 ? 1 : 32;
    a.high = a.high << n | a.low >> (64 - n);
    a.low <<= n;
    a.exponent -= n;
  }
  return a.high >> 62 ? shifted_right(a, a.high >> 63 ? 2 : 1) : a;
}

/* |x| = integer * 2^exponent, finite */
static inline wide integer_of(double x) {
  const uint64_t n = bits_of(x), fraction = n & 0xfffffffffffff;
  const int exponent = (int)(n >> 52 & 0x7ff);
  return (wide){0, exponent ? fraction | 1ull << 52 : fraction, (exponent ? exponent : 1) - 1075};
}

static inline wide product_of(wide a, wide b) {
  const uint64_t mask = 0xffffffff, a0 = a.low & mask, a1 = a.low >> 32, b0 = b.low & mask, b1 = b.low >> 32;
  const uint64_t middle = a1 * b0 + (a0 * b0 >> 32), other = a0 * b1 + (middle & mask);
  return (wide){a1 * b1 + (middle >> 32) + (other >> 32), other << 32 | (a0 * b0 & mask), a.exponent + b.exponent};
}

/* the nearest double, ties to even; a has its highest bit at 125 or is 0 */
static inline double nearest(wide a, uint64_t sign) {
  int drop = 126 - 53;                                      /* bits that a normal number has no room for, */
  if (a.exponent + drop < -1074) drop = -1074 - a.exponent; /* a subnormal one even less */
  if (drop > 127) drop = 127;
  const int place = a.exponent + drop;          /* of the last bit that is kept */
  const wide kept = shifted_right(a, drop - 2); /* and half of it, and whether there is more */
  uint64_t n = kept.low >> 2;
  const unsigned rest = (unsigned)(kept.low & 3);
  n += rest > 2 || (rest == 2 && n & 1);
  if (place > 971 || (place == 971 && n >> 53)) return double_of(sign | 0x7ffull << 52);
  /* a carry into the exponent is just right; a subnormal number has exponent 0 */
  if (n >> 52) n += (uint64_t)(place + 1074) << 52;
  return double_of(sign | n);
}

static NOINLINE double fma_by_integers(double a, double b, double c) {
  const uint64_t sign_bit = 1ull << 63, sign = (bits_of(a) ^ bits_of(b)) & sign_bit, c_sign = bits_of(c) & sign_bit;
  const uint64_t infinite = 0x7ffull << 52;
  if ((bits_of(a) & infinite) == infinite || (bits_of(b) & infinite) == infinite || a == 0 || b == 0) return a * b + c;
  if ((bits_of(c) & infinite) == infinite) return c + c;
  wide p = normal(product_of(integer_of(a), integer_of(b))), q = integer_of(c);
  if (!q.low) return nearest(p, sign);
  q = normal(q);
  if (p.exponent < q.exponent)
    p = shifted_right(p, q.exponent - p.exponent);
  else
    q = shifted_right(q, p.exponent - q.exponent);
  if (sign == c_sign) {
    const wide sum = {p.high + q.high + (p.low + q.low < p.low), p.low + q.low, p.exponent};
    return nearest(normal(sum), sign);
  }
  if (p.high == q.high && p.low == q.low) return 0;
  const int less = p.high < q.high || (p.high == q.high && p.low < q.low);
  const wide x = less ? q : p, y = less ? p : q;
  const wide difference = {x.high - y.high - (x.low < y.low), x.low - y.low, x.exponent};
  return nearest(normal(difference), less ? c_sign : sign);
}

/* ---- double, by doubles ----------------------------------------------------------------------------------------- */

INLINE int exponent_of(double x) {
  return (int)(bits_of(x) >> 52 & 0x7ff) - 1023;
}

/* a and b are within 2^-450 .. 2^450, c below 2^1000 */
INLINE double fma_by_parts(double a, double b, double c) {
  const double splitter = 134217729, a_up = splitter * a, b_up = splitter * b; /* 2^27 + 1: halves of 26 bits */
  const double a1 = a_up - (a_up - a), b1 = b_up - (b_up - b), a0 = a - a1, b0 = b - b1;
  const double product = a * b, lost = a0 * b0 - (((product - a1 * b1) - a0 * b1) - a1 * b0);
  const exact_sum low = add_exactly(c, lost), high = add_exactly(product, low.sum);
  return high.sum + add_to_odd(low.lost, high.lost);
}

static NOINLINE UNUSED double exact_fma(double a, double b, double c) {
  const int near = exponent_of(a) >= -450 && exponent_of(a) < 450 && exponent_of(b) >= -450 && exponent_of(b) < 450;
  return near && exponent_of(c) < 1000 ? fma_by_parts(a, b, c) : fma_by_integers(a, b, c);
}

#endif
