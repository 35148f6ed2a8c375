/* The vocabulary for x86-64-v3: 256-bit vectors with fused multiply-add.
 *
 * TILE_ROWS x TILE_VECTORS = 12 accumulators, 2 weights and 1 broadcast fill the 16 registers; 6x2 measured 0-8 % above
 * 3x4.
 *
 * SPDX-License-Identifier: BSD-3-Clause */
#ifndef FASTLSTM_SIMD_H
#define FASTLSTM_SIMD_H

#define INTEGER_WORDS "simd/avx2_integers.h"
#include <immintrin.h>

#if REAL_BITS == 32

#define VL 8
#define TILE_ROWS 6
#define TILE_VECTORS 2
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
INLINE unsigned v_numbers(V a) {
  return (unsigned)_mm256_movemask_ps(_mm256_cmp_ps(a, _mm256_setzero_ps(), _CMP_NEQ_UQ));
}
INLINE V v_abs(V a) {
  return _mm256_andnot_ps(_mm256_set1_ps(-0.0f), a);
}
INLINE V v_signed(V a, V b) {
  return _mm256_or_ps(a, _mm256_and_ps(_mm256_set1_ps(-0.0f), b));
}
INLINE V v_exponent(V a) {
  return _mm256_castsi256_ps(_mm256_slli_epi32(_mm256_castps_si256(a), MANTISSA_BITS));
}
#define LANE 4 /* reals in 128 bits */
/* 128 bits from each of row[0] and row[LANE] */
INLINE V v_load_rows(const real *const *row, size_t k) {
  return _mm256_insertf128_ps(_mm256_castps128_ps256(_mm_loadu_ps(row[0] + k)), _mm_loadu_ps(row[4] + k), 1);
}
/* LANE vectors as rows of small matrices, LANE x LANE in each 128 bits: transposed */
INLINE void v_turn(V *a) {
  const V p = _mm256_unpacklo_ps(a[0], a[1]), q = _mm256_unpackhi_ps(a[0], a[1]);
  const V r = _mm256_unpacklo_ps(a[2], a[3]), s = _mm256_unpackhi_ps(a[2], a[3]);
  a[0] = _mm256_shuffle_ps(p, r, _MM_SHUFFLE(1, 0, 1, 0));
  a[1] = _mm256_shuffle_ps(p, r, _MM_SHUFFLE(3, 2, 3, 2));
  a[2] = _mm256_shuffle_ps(q, s, _MM_SHUFFLE(1, 0, 1, 0));
  a[3] = _mm256_shuffle_ps(q, s, _MM_SHUFFLE(3, 2, 3, 2));
}

#else

#define VL 4
#define TILE_ROWS 6
#define TILE_VECTORS 2
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
INLINE unsigned v_numbers(V a) {
  return (unsigned)_mm256_movemask_pd(_mm256_cmp_pd(a, _mm256_setzero_pd(), _CMP_NEQ_UQ));
}
INLINE V v_abs(V a) {
  return _mm256_andnot_pd(_mm256_set1_pd(-0.0), a);
}
INLINE V v_signed(V a, V b) {
  return _mm256_or_pd(a, _mm256_and_pd(_mm256_set1_pd(-0.0), b));
}
INLINE V v_exponent(V a) {
  return _mm256_castsi256_pd(_mm256_slli_epi64(_mm256_castpd_si256(a), MANTISSA_BITS));
}
#define LANE 2
INLINE V v_load_rows(const real *const *row, size_t k) {
  return _mm256_insertf128_pd(_mm256_castpd128_pd256(_mm_loadu_pd(row[0] + k)), _mm_loadu_pd(row[2] + k), 1);
}
INLINE void v_turn(V *a) {
  const V p = a[0];
  a[0] = _mm256_unpacklo_pd(p, a[1]);
  a[1] = _mm256_unpackhi_pd(p, a[1]);
}

#endif

/* vector v of a row of a panel */
#if WEIGHTS_ARE_REALS
INLINE V v_weights(const weight *row, size_t v) {
  return v_load(row + v * VL);
}
#elif defined(WEIGHT_FLOAT16)
INLINE V v_weights(const weight *row, size_t v) {
  return _mm256_cvtph_ps(_mm_loadu_si128((const __m128i *)(row + v * VL)));
}
#elif defined(WEIGHT_BFLOAT16)
enum { PAIRS = FL_PANEL / 2 / VL }; /* vectors of them in a row: half.h */

INLINE V v_weights(const weight *row, size_t v) {
  const __m256i pairs = _mm256_loadu_si256((const __m256i *)(row + v % PAIRS * 2 * VL));
  return _mm256_castsi256_ps(v < PAIRS ? _mm256_slli_epi32(pairs, 16)
                                       : _mm256_and_si256(pairs, _mm256_set1_epi32(-0x10000)));
}
#endif

/* the number at p, in every lane */
INLINE V v_every(const real *p) {
  return v_set1(*p);
}

#endif
