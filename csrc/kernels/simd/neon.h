/* The vocabulary for AArch64, all of which has it: 128-bit vectors with fused multiply-add.
 *
 * TILE_ROWS x TILE_VECTORS = 24 accumulators, 4 weights and 1 number are 29 of 32 registers: as many multiply-adds per
 * instruction as fit. Chosen by counts and by models of CPUs (docs/benchmarks.md): no such machine has been measured.
 *
 * SPDX-License-Identifier: BSD-3-Clause */
#ifndef FASTLSTM_SIMD_H
#define FASTLSTM_SIMD_H

#define INTEGER_WORDS "simd/neon_integers.h"
#include <arm_neon.h>

#ifndef TILE_ROWS
#define TILE_ROWS 6
#define TILE_VECTORS 4
#endif

#if REAL_BITS == 32

#define VL 4
#define SIGN_BIT vdupq_n_u32(0x80000000u)
typedef float32x4_t V;
INLINE V v_load(const real *p) {
  return vld1q_f32(p);
}
INLINE void v_store(real *p, V a) {
  vst1q_f32(p, a);
}
INLINE V v_set1(real a) {
  return vdupq_n_f32(a);
}
INLINE V v_add(V a, V b) {
  return vaddq_f32(a, b);
}
INLINE V v_sub(V a, V b) {
  return vsubq_f32(a, b);
}
INLINE V v_mul(V a, V b) {
  return vmulq_f32(a, b);
}
INLINE V v_div(V a, V b) {
  return vdivq_f32(a, b);
}
INLINE V v_fma(V a, V b, V c) {
  return vfmaq_f32(c, a, b);
}
INLINE V v_fms(V a, V b, V c) {
  return vfmaq_f32(vnegq_f32(c), a, b);
}
INLINE V v_fnma(V a, V b, V c) {
  return vfmsq_f32(c, a, b);
}
/* not its own maximum and minimum: these give the second operand when either is NaN or both are zero */
INLINE V v_max(V a, V b) {
  uint32x4_t first = vcgtq_f32(a, b);
  KEPT_APART("w", first);
  return vbslq_f32(first, a, b);
}
INLINE V v_min(V a, V b) {
  uint32x4_t first = vcltq_f32(a, b);
  KEPT_APART("w", first);
  return vbslq_f32(first, a, b);
}
INLINE unsigned v_numbers(V a) {
  static const uint32_t lanes[VL] = {1, 2, 4, 8};
  return vaddvq_u32(vbicq_u32(vld1q_u32(lanes), vceqzq_f32(a)));
}
INLINE V v_abs(V a) {
  return vabsq_f32(a);
}
INLINE V v_signed(V a, V b) {
  return vbslq_f32(SIGN_BIT, b, a);
}
INLINE V v_exponent(V a) {
  return vreinterpretq_f32_u32(vshlq_n_u32(vreinterpretq_u32_f32(a), MANTISSA_BITS));
}
#define LANE 4
INLINE void v_turn(V *a) {
  const float32x4x2_t p = vtrnq_f32(a[0], a[1]), q = vtrnq_f32(a[2], a[3]);
  a[0] = vcombine_f32(vget_low_f32(p.val[0]), vget_low_f32(q.val[0]));
  a[1] = vcombine_f32(vget_low_f32(p.val[1]), vget_low_f32(q.val[1]));
  a[2] = vcombine_f32(vget_high_f32(p.val[0]), vget_high_f32(q.val[0]));
  a[3] = vcombine_f32(vget_high_f32(p.val[1]), vget_high_f32(q.val[1]));
}

#else

#define VL 2
#define SIGN_BIT vdupq_n_u64(0x8000000000000000u)
typedef float64x2_t V;
INLINE V v_load(const real *p) {
  return vld1q_f64(p);
}
INLINE void v_store(real *p, V a) {
  vst1q_f64(p, a);
}
INLINE V v_set1(real a) {
  return vdupq_n_f64(a);
}
INLINE V v_add(V a, V b) {
  return vaddq_f64(a, b);
}
INLINE V v_sub(V a, V b) {
  return vsubq_f64(a, b);
}
INLINE V v_mul(V a, V b) {
  return vmulq_f64(a, b);
}
INLINE V v_div(V a, V b) {
  return vdivq_f64(a, b);
}
INLINE V v_fma(V a, V b, V c) {
  return vfmaq_f64(c, a, b);
}
INLINE V v_fms(V a, V b, V c) {
  return vfmaq_f64(vnegq_f64(c), a, b);
}
INLINE V v_fnma(V a, V b, V c) {
  return vfmsq_f64(c, a, b);
}
INLINE V v_max(V a, V b) {
  uint64x2_t first = vcgtq_f64(a, b);
  KEPT_APART("w", first);
  return vbslq_f64(first, a, b);
}
INLINE V v_min(V a, V b) {
  uint64x2_t first = vcltq_f64(a, b);
  KEPT_APART("w", first);
  return vbslq_f64(first, a, b);
}
INLINE unsigned v_numbers(V a) {
  static const uint64_t lanes[VL] = {1, 2};
  return (unsigned)vaddvq_u64(vbicq_u64(vld1q_u64(lanes), vceqzq_f64(a)));
}
INLINE V v_abs(V a) {
  return vabsq_f64(a);
}
INLINE V v_signed(V a, V b) {
  return vbslq_f64(SIGN_BIT, b, a);
}
INLINE V v_exponent(V a) {
  return vreinterpretq_f64_u64(vshlq_n_u64(vreinterpretq_u64_f64(a), MANTISSA_BITS));
}
#define LANE 2
INLINE void v_turn(V *a) {
  const V p = a[0];
  a[0] = vzip1q_f64(p, a[1]);
  a[1] = vzip2q_f64(p, a[1]);
}

#endif

/* 128 bits are one row's */
INLINE V v_load_rows(const real *const *row, size_t k) {
  return v_load(row[0] + k);
}

/* vector v of a row of a panel */
#if WEIGHTS_ARE_REALS
INLINE V v_weights(const weight *row, size_t v) {
  return v_load(row + v * VL);
}
#elif defined(WEIGHT_FLOAT16)
INLINE V v_weights(const weight *row, size_t v) {
  return vcvt_f32_f16(vreinterpret_f16_u16(vld1_u16(row + v * VL)));
}
#elif defined(WEIGHT_BFLOAT16)
enum { PAIRS = FL_PANEL / 2 / VL }; /* vectors of them in a row: half.h */

INLINE V v_weights(const weight *row, size_t v) {
  const uint32x4_t pairs = vreinterpretq_u32_u16(vld1q_u16(row + v % PAIRS * 2 * VL));
  return vreinterpretq_f32_u32(v < PAIRS ? vshlq_n_u32(pairs, 16) : vandq_u32(pairs, vdupq_n_u32(0xffff0000)));
}
#endif

/* as one lane, which a multiply-add takes as it is: to load it into every lane takes one of the vectors' pipes, too */
INLINE V v_every(const real *p) {
  real a = *p;
  KEPT_APART("w", a);
  return v_set1(a);
}

#endif
