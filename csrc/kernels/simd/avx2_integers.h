/* Words for integers, 256 bits (scalar_integers.h says what they mean).
 *
 * SPDX-License-Identifier: BSD-3-Clause */
#ifndef FASTLSTM_INTEGER_WORDS_H
#define FASTLSTM_INTEGER_WORDS_H

#ifdef HAS_VNNI
#define PLANES 1
#else
#define PLANES 0
#endif
#define I_BYTES 32
#define I_ACCUMULATORS 12

typedef __m256i IV;
INLINE IV i_zero(void) {
  return _mm256_setzero_si256();
}
INLINE void i_store(int32_t *to, IV a) {
  _mm256_storeu_si256((__m256i *)to, a);
}
INLINE IV i_bytes(const uint8_t *w) {
  return _mm256_loadu_si256((const __m256i *)w);
}
INLINE IV i_words(const uint8_t *w) {
  return _mm256_cvtepu8_epi16(_mm_loadu_si128((const __m128i *)w));
}
INLINE IV i_every(const int8_t *q) {
  int32_t four;
  memcpy(&four, q, sizeof four);
  return _mm256_set1_epi32(four);
}
INLINE IV i_every_words(const int8_t *q) {
  int64_t four;
  memcpy(&four, q, sizeof four);
  return _mm256_set1_epi64x(four);
}
INLINE IV i_dot(IV sum, IV w, IV q) {
#ifdef HAS_VNNI
  return _mm256_dpbusd_avx_epi32(sum, w, q);
#else
  return _mm256_add_epi32(sum, _mm256_madd_epi16(_mm256_maddubs_epi16(w, q), _mm256_set1_epi16(1)));
#endif
}
INLINE IV i_dot_words(IV sum, IV w, IV q) {
  return _mm256_add_epi32(sum, _mm256_madd_epi16(w, q));
}
INLINE IV i_join(IV a, IV b) {
  return _mm256_permute4x64_epi64(_mm256_hadd_epi32(a, b), 0xd8);
}
INLINE IV i_planes(IV hi, IV lo) {
  return _mm256_add_epi32(_mm256_slli_epi32(hi, 8), lo);
}
INLINE void i_round(int32_t *to, V x) {
  _mm256_storeu_si256((__m256i *)to, _mm256_cvtps_epi32(x));
}
INLINE V i_reals(const int32_t *s, const uint8_t *offsets, int32_t total) {
  const __m256i offset = _mm256_loadu_si256((const __m256i *)offsets);
  const __m256i less = _mm256_mullo_epi32(offset, _mm256_set1_epi32(total));
  return _mm256_cvtepi32_ps(_mm256_sub_epi32(_mm256_loadu_si256((const __m256i *)s), less));
}

#endif
