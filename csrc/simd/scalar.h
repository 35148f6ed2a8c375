/* The vocabulary in plain C: one lane, any machine. Every other header answers to this one: same words, same bits.
 *
 * SPDX-License-Identifier: BSD-3-Clause */
#ifndef FASTLSTM_SIMD_H
#define FASTLSTM_SIMD_H

#include <math.h>
#include <stdint.h>
#include <string.h>

#define VL 1
#ifndef TILE_ROWS
#define TILE_ROWS 2
#define TILE_VECTORS 4
#endif
#define AHEAD_ROWS 0
#define AHEAD_PANELS 1

typedef real V;

#if REAL_BITS == 32
typedef uint32_t bits;
#define v_fma(a, b, c) fmaf(a, b, c) /* exact on every machine: the C library falls back to software */
#define v_abs(a) fabsf(a)
#define v_copysign(a, b) copysignf(a, b)
#else
typedef uint64_t bits;
#define v_fma(a, b, c) fma(a, b, c)
#define v_abs(a) fabs(a)
#define v_copysign(a, b) copysign(a, b)
#endif

#define v_load(p) (*(p))
#define v_store(p, a) ((void)(*(p) = (a)))
#define v_set1(a) ((real)(a))
#define v_add(a, b) ((a) + (b))
#define v_sub(a, b) ((a) - (b))
#define v_mul(a, b) ((a) * (b))
#define v_div(a, b) ((a) / (b))
#define v_fms(a, b, c) v_fma(a, b, -(c))
#define v_fnma(a, b, c) v_fma(-(a), b, c)

/* min and max return the SECOND operand when either is NaN, as the x86 instructions do */
static inline V v_max(V a, V b) {
  return a > b ? a : b;
}
static inline V v_min(V a, V b) {
  return a < b ? a : b;
}

/* the low bits of `a` moved up into the exponent field (activations.h puts a biased exponent there) */
static inline V v_exponent(V a) {
  bits n;
  memcpy(&n, &a, sizeof n);
  n <<= MANTISSA_BITS;
  memcpy(&a, &n, sizeof a);
  return a;
}

#endif
