/* Numbers of 16 bits, float16 (IEEE 754: 5 bits of exponent) and bfloat16 (the upper half of a float32), to float32,
 * which is exact, and back, to the nearest, ties to even. In integers: no rounding mode and no flushing of subnormals
 * has a say.
 *
 * SPDX-License-Identifier: BSD-3-Clause */
#ifndef FASTLSTM_HALF_H
#define FASTLSTM_HALF_H

#include <stdint.h>
#include <string.h>

static inline uint32_t fl_bits_of(float x) {
  uint32_t bits;
  memcpy(&bits, &x, sizeof bits);
  return bits;
}

static inline float fl_float_of(uint32_t bits) {
  float x;
  memcpy(&x, &bits, sizeof x);
  return x;
}

/* x / 2^n, ties to even; 1 <= n <= 31 */
static inline uint32_t fl_halve(uint32_t x, unsigned n) {
  const uint32_t whole = x >> n, left = x & ((1u << n) - 1), half = 1u << (n - 1);
  return whole + (left > half || (left == half && (whole & 1)));
}

/* ---- float16 ---------------------------------------------------------------------------------------------------- */

/* of finite numbers */
static inline float fl_from_float16(uint16_t h) {
  const uint32_t sign = (uint32_t)(h & 0x8000) << 16, exponent = h >> 10 & 31;
  uint32_t mantissa = h & 0x3ff, up = 0;
  if (exponent) return fl_float_of(sign | (exponent + 112) << 23 | mantissa << 13);
  if (!mantissa) return fl_float_of(sign);
  for (; !(mantissa & 0x400); up++) mantissa <<= 1; /* subnormal here, normal there */
  return fl_float_of(sign | (113 - up) << 23 | (mantissa & 0x3ff) << 13);
}

/* 0 for what is not finite, or too large for it once rounded */
static inline int fl_to_float16(float x, uint16_t *h) {
  const uint32_t bits = fl_bits_of(x), size = bits & 0x7fffffff, exponent = size >> 23;
  uint32_t rounded = 0;
  if (exponent >= 143) return 0; /* from 65536 on */
  if (exponent >= 113)
    rounded = fl_halve(size - (112u << 23), 13);
  else if (exponent >= 102) /* of 2^-24 */
    rounded = fl_halve((size & 0x7fffff) | 0x800000, 126 - exponent);
  *h = (uint16_t)(bits >> 16 & 0x8000) | (uint16_t)rounded;
  return rounded < 0x7c00;
}

/* ---- bfloat16 --------------------------------------------------------------------------------------------------- */

/* Where number `lane` of a panel's row is: two side by side that are half a row apart, so that one load has a vector of
 * lower halves, which a shift makes float32, and one of upper halves, which a mask does, on machines that store lower
 * halves first, as all with vectors here do. Spreading numbers that are in order takes the unit that multiply-adds
 * want: with weights in L2 that was slower than float32. */
#define FL_BFLOAT16_AT(lane) ((lane) % (FL_PANEL / 2) * 2 + (lane) / (FL_PANEL / 2))

static inline float fl_from_bfloat16(uint16_t b) {
  return fl_float_of((uint32_t)b << 16);
}

static inline int fl_to_bfloat16(float x, uint16_t *b) {
  const uint32_t bits = fl_bits_of(x), size = bits & 0x7fffffff;
  if (size >= 0x7f800000) return 0;
  const uint32_t rounded = fl_halve(size, 16);
  *b = (uint16_t)(bits >> 16 & 0x8000) | (uint16_t)rounded;
  return rounded < 0x7f80;
}

#endif
