/* The vocabulary for x86-64-v4: 512-bit vectors, 32 registers.
 *
 * A tile of TILE_ROWS x TILE_VECTORS = 24 accumulators takes its broadcasts from memory operands: 2 loads and 12 broadcasts
 * for 24 multiply-adds keep the load ports half idle.
 *
 * SPDX-License-Identifier: BSD-3-Clause */
#ifndef FASTLSTM_SIMD_H
#define FASTLSTM_SIMD_H

#include <immintrin.h>

#if REAL_BITS == 32

#define VL 16
#define TILE_ROWS 12
#define TILE_VECTORS 2
#define AHEAD_ROWS 24
#define AHEAD_PANELS 2
typedef __m512 V;
#define v_load(p) _mm512_loadu_ps(p)
#define v_store(p, a) _mm512_storeu_ps(p, a)
/* the same for a vector that is made of two panels' 8 units */
#define v_load2(p, q) _mm512_insertf32x8(_mm512_castps256_ps512(_mm256_loadu_ps(p)), _mm256_loadu_ps(q), 1)
static inline void v_store2(float *p, float *q, V a) {
  _mm256_storeu_ps(p, _mm512_castps512_ps256(a));
  _mm256_storeu_ps(q, _mm512_extractf32x8_ps(a, 1));
}
#define v_set1(a) _mm512_set1_ps(a)
#define v_add(a, b) _mm512_add_ps(a, b)
#define v_sub(a, b) _mm512_sub_ps(a, b)
#define v_mul(a, b) _mm512_mul_ps(a, b)
#define v_div(a, b) _mm512_div_ps(a, b)
#define v_fma(a, b, c) _mm512_fmadd_ps(a, b, c)
#define v_fms(a, b, c) _mm512_fmsub_ps(a, b, c)
#define v_fnma(a, b, c) _mm512_fnmadd_ps(a, b, c)
#define v_max(a, b) _mm512_max_ps(a, b)
#define v_min(a, b) _mm512_min_ps(a, b)
#define v_abs(a) _mm512_abs_ps(a)
#define v_copysign(a, b) _mm512_or_ps(_mm512_andnot_ps(_mm512_set1_ps(-0.0f), a), _mm512_and_ps(_mm512_set1_ps(-0.0f), b))
#define v_exponent(a) _mm512_castsi512_ps(_mm512_slli_epi32(_mm512_castps_si512(a), MANTISSA_BITS))

#else

#define VL 8
#define TILE_ROWS 12
#define TILE_VECTORS 2
#define AHEAD_ROWS 24
#define AHEAD_PANELS 1
typedef __m512d V;
#define v_load(p) _mm512_loadu_pd(p)
#define v_store(p, a) _mm512_storeu_pd(p, a)
#define v_set1(a) _mm512_set1_pd(a)
#define v_add(a, b) _mm512_add_pd(a, b)
#define v_sub(a, b) _mm512_sub_pd(a, b)
#define v_mul(a, b) _mm512_mul_pd(a, b)
#define v_div(a, b) _mm512_div_pd(a, b)
#define v_fma(a, b, c) _mm512_fmadd_pd(a, b, c)
#define v_fms(a, b, c) _mm512_fmsub_pd(a, b, c)
#define v_fnma(a, b, c) _mm512_fnmadd_pd(a, b, c)
#define v_max(a, b) _mm512_max_pd(a, b)
#define v_min(a, b) _mm512_min_pd(a, b)
#define v_abs(a) _mm512_abs_pd(a)
#define v_copysign(a, b) _mm512_or_pd(_mm512_andnot_pd(_mm512_set1_pd(-0.0), a), _mm512_and_pd(_mm512_set1_pd(-0.0), b))
#define v_exponent(a) _mm512_castsi512_pd(_mm512_slli_epi64(_mm512_castpd_si512(a), MANTISSA_BITS))

#endif
#endif
