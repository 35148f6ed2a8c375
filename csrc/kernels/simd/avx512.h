/* The vocabulary for x86-64-v4: 512-bit vectors, 32 registers.
 *
 * A tile of TILE_ROWS x TILE_VECTORS = 24 accumulators takes its broadcasts from memory operands: 2 loads and 12
 * broadcasts for 24 multiply-adds keep the load ports half idle.
 *
 * SPDX-License-Identifier: BSD-3-Clause */
#ifndef FASTLSTM_SIMD_H
#define FASTLSTM_SIMD_H

#define INTEGER_WORDS "simd/avx512_integers.h"
#include <immintrin.h>

#if REAL_BITS == 32

#define VL 16
#define TILE_ROWS 12
#define TILE_VECTORS 2
typedef __m512 V;
INLINE V v_load(const real *p) {
  return _mm512_loadu_ps(p);
}
INLINE void v_store(real *p, V a) {
  _mm512_storeu_ps(p, a);
}
/* the same for a vector that is made of two panels' 8 units */
INLINE V v_load2(const real *p, const real *q) {
  return _mm512_insertf32x8(_mm512_castps256_ps512(_mm256_loadu_ps(p)), _mm256_loadu_ps(q), 1);
}
INLINE void v_store2(real *p, real *q, V a) {
  _mm256_storeu_ps(p, _mm512_castps512_ps256(a));
  _mm256_storeu_ps(q, _mm512_extractf32x8_ps(a, 1));
}
INLINE V v_set1(real a) {
  return _mm512_set1_ps(a);
}
INLINE V v_add(V a, V b) {
  return _mm512_add_ps(a, b);
}
INLINE V v_sub(V a, V b) {
  return _mm512_sub_ps(a, b);
}
INLINE V v_mul(V a, V b) {
  return _mm512_mul_ps(a, b);
}
INLINE V v_div(V a, V b) {
  return _mm512_div_ps(a, b);
}
INLINE V v_fma(V a, V b, V c) {
  return _mm512_fmadd_ps(a, b, c);
}
INLINE V v_fms(V a, V b, V c) {
  return _mm512_fmsub_ps(a, b, c);
}
INLINE V v_fnma(V a, V b, V c) {
  return _mm512_fnmadd_ps(a, b, c);
}
INLINE V v_max(V a, V b) {
  return _mm512_max_ps(a, b);
}
INLINE V v_min(V a, V b) {
  return _mm512_min_ps(a, b);
}
INLINE unsigned v_numbers(V a) {
  return (unsigned)_mm512_cmp_ps_mask(a, _mm512_setzero_ps(), _CMP_NEQ_UQ);
}
INLINE V v_abs(V a) {
  return _mm512_abs_ps(a);
}
INLINE V v_signed(V a, V b) {
  return _mm512_or_ps(a, _mm512_and_ps(_mm512_set1_ps(-0.0f), b));
}
INLINE V v_exponent(V a) {
  return _mm512_castsi512_ps(_mm512_slli_epi32(_mm512_castps_si512(a), MANTISSA_BITS));
}
#define LANE 4 /* reals in 128 bits */
/* 128 bits from each of row[0], row[LANE], row[2 * LANE].. */
INLINE V v_load_rows(const real *const *row, size_t k) {
  const V a = _mm512_insertf32x4(_mm512_castps128_ps512(_mm_loadu_ps(row[0] + k)), _mm_loadu_ps(row[4] + k), 1);
  return _mm512_insertf32x4(_mm512_insertf32x4(a, _mm_loadu_ps(row[8] + k), 2), _mm_loadu_ps(row[12] + k), 3);
}
/* LANE vectors as rows of small matrices, LANE x LANE in each 128 bits: transposed */
INLINE void v_turn(V *a) {
  const V p = _mm512_unpacklo_ps(a[0], a[1]), q = _mm512_unpackhi_ps(a[0], a[1]);
  const V r = _mm512_unpacklo_ps(a[2], a[3]), s = _mm512_unpackhi_ps(a[2], a[3]);
  a[0] = _mm512_shuffle_ps(p, r, _MM_SHUFFLE(1, 0, 1, 0));
  a[1] = _mm512_shuffle_ps(p, r, _MM_SHUFFLE(3, 2, 3, 2));
  a[2] = _mm512_shuffle_ps(q, s, _MM_SHUFFLE(1, 0, 1, 0));
  a[3] = _mm512_shuffle_ps(q, s, _MM_SHUFFLE(3, 2, 3, 2));
}

#else

#define VL 8
#define TILE_ROWS 12
#define TILE_VECTORS 2
typedef __m512d V;
INLINE V v_load(const real *p) {
  return _mm512_loadu_pd(p);
}
INLINE void v_store(real *p, V a) {
  _mm512_storeu_pd(p, a);
}
INLINE V v_set1(real a) {
  return _mm512_set1_pd(a);
}
INLINE V v_add(V a, V b) {
  return _mm512_add_pd(a, b);
}
INLINE V v_sub(V a, V b) {
  return _mm512_sub_pd(a, b);
}
INLINE V v_mul(V a, V b) {
  return _mm512_mul_pd(a, b);
}
INLINE V v_div(V a, V b) {
  return _mm512_div_pd(a, b);
}
INLINE V v_fma(V a, V b, V c) {
  return _mm512_fmadd_pd(a, b, c);
}
INLINE V v_fms(V a, V b, V c) {
  return _mm512_fmsub_pd(a, b, c);
}
INLINE V v_fnma(V a, V b, V c) {
  return _mm512_fnmadd_pd(a, b, c);
}
INLINE V v_max(V a, V b) {
  return _mm512_max_pd(a, b);
}
INLINE V v_min(V a, V b) {
  return _mm512_min_pd(a, b);
}
INLINE unsigned v_numbers(V a) {
  return (unsigned)_mm512_cmp_pd_mask(a, _mm512_setzero_pd(), _CMP_NEQ_UQ);
}
INLINE V v_abs(V a) {
  return _mm512_abs_pd(a);
}
INLINE V v_signed(V a, V b) {
  return _mm512_or_pd(a, _mm512_and_pd(_mm512_set1_pd(-0.0), b));
}
INLINE V v_exponent(V a) {
  return _mm512_castsi512_pd(_mm512_slli_epi64(_mm512_castpd_si512(a), MANTISSA_BITS));
}
#define LANE 2
INLINE V v_load_rows(const real *const *row, size_t k) {
  const V a = _mm512_insertf64x2(_mm512_castpd128_pd512(_mm_loadu_pd(row[0] + k)), _mm_loadu_pd(row[2] + k), 1);
  return _mm512_insertf64x2(_mm512_insertf64x2(a, _mm_loadu_pd(row[4] + k), 2), _mm_loadu_pd(row[6] + k), 3);
}
INLINE void v_turn(V *a) {
  const V p = a[0];
  a[0] = _mm512_unpacklo_pd(p, a[1]);
  a[1] = _mm512_unpackhi_pd(p, a[1]);
}

#endif

/* vector v of a row of a panel */
#if WEIGHTS_ARE_REALS
INLINE V v_weights(const weight *row, size_t v) {
  return v_load(row + v * VL);
}
#elif defined(WEIGHT_FLOAT16)
INLINE V v_weights(const weight *row, size_t v) {
  return _mm512_cvtph_ps(_mm256_loadu_si256((const __m256i *)(row + v * VL)));
}
#elif defined(WEIGHT_BFLOAT16)
enum { PAIRS = FL_PANEL / 2 / VL }; /* vectors of them in a row: half.h */

INLINE V v_weights(const weight *row, size_t v) {
  const __m512i pairs = _mm512_loadu_si512(row + v % PAIRS * 2 * VL);
  return _mm512_castsi512_ps(v < PAIRS ? _mm512_slli_epi32(pairs, 16)
                                       : _mm512_and_si512(pairs, _mm512_set1_epi32(-0x10000)));
}
#endif

/* the number at p, in every lane */
INLINE V v_every(const real *p) {
  return v_set1(*p);
}

#endif
