/* The vocabulary in plain C: one lane, any machine. Every other header answers to this one: same words, same bits.
 *
 * Words are functions that return `real`: where the compiler computes in a wider type, a return rounds.
 *
 * SPDX-License-Identifier: BSD-3-Clause */
#ifndef FASTLSTM_SIMD_H
#define FASTLSTM_SIMD_H

#define INTEGER_WORDS "simd/scalar_integers.h"
#include <math.h>
#include <stdint.h>
#include <string.h>
#include "../exact_fma.h"
#include "../half.h"

#define VL 1
#ifndef TILE_ROWS
#define TILE_ROWS 2
#define TILE_VECTORS 4
#endif

typedef real V;

/* fma() where the compiler has an instruction for it */
#if REAL_BITS == 32
typedef uint32_t bits;
#define ABS(a) fabsf(a)
#define COPYSIGN(a, b) copysignf(a, b)
#ifdef HAVE_FMA_INSTRUCTION
#define FMA(a, b, c) fmaf(a, b, c)
#else
#define FMA(a, b, c) exact_fmaf(a, b, c)
#endif
#else
typedef uint64_t bits;
#define ABS(a) fabs(a)
#define COPYSIGN(a, b) copysign(a, b)
#ifdef HAVE_FMA_INSTRUCTION
#define FMA(a, b, c) fma(a, b, c)
#else
#define FMA(a, b, c) exact_fma(a, b, c)
#endif
#endif

INLINE V v_load(const real *p) {
  return *p;
}
/* number v of a row of a panel */
#if WEIGHTS_ARE_REALS
INLINE V v_weights(const weight *row, size_t v) {
  return row[v];
}
#elif defined(WEIGHT_FLOAT16)
INLINE V v_weights(const weight *row, size_t v) {
  return fl_from_float16(row[v]);
}
#elif defined(WEIGHT_BFLOAT16)
INLINE V v_weights(const weight *row, size_t v) {
  return fl_from_bfloat16(row[FL_BFLOAT16_AT(v)]);
}
#endif
/* what is read across rows: LANE numbers from each of as many rows as fit into a vector, then transposed */
#define LANE 1
INLINE V v_load_rows(const real *const *row, size_t k) {
  return row[0][k];
}
INLINE void v_turn(V *a) {
  (void)a;
}
INLINE void v_store(real *p, V a) {
  *p = a;
}
INLINE V v_set1(real a) {
  return a;
}
INLINE V v_add(V a, V b) {
  return a + b;
}
INLINE V v_sub(V a, V b) {
  return a - b;
}
INLINE V v_mul(V a, V b) {
  return a * b;
}
INLINE V v_div(V a, V b) {
  return a / b;
}
INLINE V v_fma(V a, V b, V c) {
  return FMA(a, b, c);
}
INLINE V v_fms(V a, V b, V c) {
  return FMA(a, b, -c);
}
INLINE V v_fnma(V a, V b, V c) {
  return FMA(-a, b, c);
}
INLINE unsigned v_numbers(V a) { /* a bit for each lane that is not zero */
  return a != 0;
}
INLINE V v_abs(V a) {
  return ABS(a);
}
/* a, which is not negative, with the sign of b */
INLINE V v_signed(V a, V b) {
  return COPYSIGN(a, b);
}

/* min and max return the SECOND operand when either is NaN or both are zero, as the x86 instructions do */
INLINE V v_max(V a, V b) {
  int first = a > b;
  KEPT_APART("r", first);
  return first ? a : b;
}
INLINE V v_min(V a, V b) {
  int first = a < b;
  KEPT_APART("r", first);
  return first ? a : b;
}

/* the low bits of `a` moved up into the exponent field (activations.h puts a biased exponent there) */
INLINE V v_exponent(V a) {
  bits n;
  memcpy(&n, &a, sizeof n);
  n <<= MANTISSA_BITS;
  memcpy(&a, &n, sizeof a);
  return a;
}

/* the number at p, in every lane */
INLINE V v_every(const real *p) {
  return *p;
}

#endif
