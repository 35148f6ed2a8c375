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
#define v_load(p) _mm256_loadu_ps(p)
#define v_store(p, a) _mm256_storeu_ps(p, a)
#define v_set1(a) _mm256_set1_ps(a)
#define v_add(a, b) _mm256_add_ps(a, b)
#define v_sub(a, b) _mm256_sub_ps(a, b)
#define v_mul(a, b) _mm256_mul_ps(a, b)
#define v_div(a, b) _mm256_div_ps(a, b)
#define v_fma(a, b, c) _mm256_fmadd_ps(a, b, c)
#define v_fms(a, b, c) _mm256_fmsub_ps(a, b, c)
#define v_fnma(a, b, c) _mm256_fnmadd_ps(a, b, c)
#define v_max(a, b) _mm256_max_ps(a, b)
#define v_min(a, b) _mm256_min_ps(a, b)
#define v_abs(a) _mm256_andnot_ps(_mm256_set1_ps(-0.0f), a)
#define v_copysign(a, b)                                                 \
  _mm256_or_ps(_mm256_andnot_ps(_mm256_set1_ps(-0.0f), a),               \
               _mm256_and_ps(_mm256_set1_ps(-0.0f), b))
#define v_exponent(a) _mm256_castsi256_ps(_mm256_slli_epi32(_mm256_castps_si256(a), MANTISSA_BITS))

#else

#define VL 4
#define TILE_ROWS 6
#define TILE_VECTORS 2
#define AHEAD_ROWS 0
#define AHEAD_PANELS 1
typedef __m256d V;
#define v_load(p) _mm256_loadu_pd(p)
#define v_store(p, a) _mm256_storeu_pd(p, a)
#define v_set1(a) _mm256_set1_pd(a)
#define v_add(a, b) _mm256_add_pd(a, b)
#define v_sub(a, b) _mm256_sub_pd(a, b)
#define v_mul(a, b) _mm256_mul_pd(a, b)
#define v_div(a, b) _mm256_div_pd(a, b)
#define v_fma(a, b, c) _mm256_fmadd_pd(a, b, c)
#define v_fms(a, b, c) _mm256_fmsub_pd(a, b, c)
#define v_fnma(a, b, c) _mm256_fnmadd_pd(a, b, c)
#define v_max(a, b) _mm256_max_pd(a, b)
#define v_min(a, b) _mm256_min_pd(a, b)
#define v_abs(a) _mm256_andnot_pd(_mm256_set1_pd(-0.0), a)
#define v_copysign(a, b)                                                 \
  _mm256_or_pd(_mm256_andnot_pd(_mm256_set1_pd(-0.0), a),                \
               _mm256_and_pd(_mm256_set1_pd(-0.0), b))
#define v_exponent(a) _mm256_castsi256_pd(_mm256_slli_epi64(_mm256_castpd_si256(a), MANTISSA_BITS))

#endif
#endif
