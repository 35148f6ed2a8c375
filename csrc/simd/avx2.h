/* The vocabulary for x86-64-v3: 256-bit vectors with fused multiply-add.
 *
 * TILE_ROWS x TILE_VECTORS = 12 accumulators, 2 weights and 1 broadcast fill the 16 registers; 6x2 measured 0-8 % above 3x4.
 *
 * SPDX-License-Identifier: BSD-3-Clause */
#ifndef FASTLSTM_SIMD_H
#define FASTLSTM_SIMD_H

#include <immintrin.h>

#if REAL_BITS == 32

#define VL 8
#define TILE_ROWS 6
#define TILE_VECTORS 2
#define AHEAD_ROWS 8
#define AHEAD_PANELS 1
typedef __m256 V;
INLINE V v_load(const real *p) {
  return _mm256_loadu_ps(p);
}
INLINE void v_store(real *p, V a) {
  _mm256_storeu_ps(p, a);
}
INLINE V v_set1(real a) {
  return _mm256_set1_ps(a);
}
INLINE V v_add(V a, V b) {
  return _mm256_add_ps(a, b);
}
INLINE V v_sub(V a, V b) {
  return _mm256_sub_ps(a, b);
}
INLINE V v_mul(V a, V b) {
  return _mm256_mul_ps(a, b);
}
INLINE V v_div(V a, V b) {
  return _mm256_div_ps(a, b);
}
INLINE V v_fma(V a, V b, V c) {
  return _mm256_fmadd_ps(a, b, c);
}
INLINE V v_fms(V a, V b, V c) {
  return _mm256_fmsub_ps(a, b, c);
}
INLINE V v_fnma(V a, V b, V c) {
  return _mm256_fnmadd_ps(a, b, c);
}
INLINE V v_max(V a, V b) {
  return _mm256_max_ps(a, b);
}
INLINE V v_min(V a, V b) {
  return _mm256_min_ps(a, b);
}
INLINE V v_abs(V a) {
  return _mm256_andnot_ps(_mm256_set1_ps(-0.0f), a);
}
INLINE V v_copysign(V a, V b) {
  return _mm256_or_ps(_mm256_andnot_ps(_mm256_set1_ps(-0.0f), a), _mm256_and_ps(_mm256_set1_ps(-0.0f), b));
}
INLINE V v_exponent(V a) {
  return _mm256_castsi256_ps(_mm256_slli_epi32(_mm256_castps_si256(a), MANTISSA_BITS));
}

#else

#define VL 4
#define TILE_ROWS 6
#define TILE_VECTORS 2
#define AHEAD_ROWS 0
#define AHEAD_PANELS 1
typedef __m256d V;
INLINE V v_load(const real *p) {
  return _mm256_loadu_pd(p);
}
INLINE void v_store(real *p, V a) {
  _mm256_storeu_pd(p, a);
}
INLINE V v_set1(real a) {
  return _mm256_set1_pd(a);
}
INLINE V v_add(V a, V b) {
  return _mm256_add_pd(a, b);
}
INLINE V v_sub(V a, V b) {
  return _mm256_sub_pd(a, b);
}
INLINE V v_mul(V a, V b) {
  return _mm256_mul_pd(a, b);
}
INLINE V v_div(V a, V b) {
  return _mm256_div_pd(a, b);
}
INLINE V v_fma(V a, V b, V c) {
  return _mm256_fmadd_pd(a, b, c);
}
INLINE V v_fms(V a, V b, V c) {
  return _mm256_fmsub_pd(a, b, c);
}
INLINE V v_fnma(V a, V b, V c) {
  return _mm256_fnmadd_pd(a, b, c);
}
INLINE V v_max(V a, V b) {
  return _mm256_max_pd(a, b);
}
INLINE V v_min(V a, V b) {
  return _mm256_min_pd(a, b);
}
INLINE V v_abs(V a) {
  return _mm256_andnot_pd(_mm256_set1_pd(-0.0), a);
}
INLINE V v_copysign(V a, V b) {
  return _mm256_or_pd(_mm256_andnot_pd(_mm256_set1_pd(-0.0), a), _mm256_and_pd(_mm256_set1_pd(-0.0), b));
}
INLINE V v_exponent(V a) {
  return _mm256_castsi256_pd(_mm256_slli_epi64(_mm256_castpd_si256(a), MANTISSA_BITS));
}

#endif
#endif
