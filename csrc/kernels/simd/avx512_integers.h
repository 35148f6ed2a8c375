/* Words for integers, 512 bits (scalar_integers.h says what they mean).
 *
 * SPDX-License-Identifier: BSD-3-Clause */
#ifndef FASTLSTM_INTEGER_WORDS_H
#define FASTLSTM_INTEGER_WORDS_H

#ifdef HAS_VNNI
#define PLANES 1
#else
#define PLANES 0
#endif
#ifdef HAS_AMX
#define TILES 1
#endif
#define I_BYTES 64
#define I_ACCUMULATORS 24

typedef __m512i IV;
INLINE IV i_zero(void) {
  return _mm512_setzero_si512();
}
INLINE void i_store(int32_t *to, IV a) {
  _mm512_storeu_si512(to, a);
}
INLINE IV i_bytes(const uint8_t *w) {
  return _mm512_loadu_si512(w);
}
INLINE IV i_words(const uint8_t *w) {
  return _mm512_cvtepu8_epi16(_mm256_loadu_si256((const __m256i *)w));
}
INLINE IV i_every(const int8_t *q) {
  int32_t four;
  memcpy(&four, q, sizeof four);
  return _mm512_set1_epi32(four);
}
INLINE IV i_every_words(const int8_t *q) {
  int64_t four;
  memcpy(&four, q, sizeof four);
  return _mm512_set1_epi64(four);
}
INLINE IV i_dot(IV sum, IV w, IV q) {
#ifdef HAS_VNNI
  return _mm512_dpbusd_epi32(sum, w, q);
#else
  return _mm512_add_epi32(sum, _mm512_madd_epi16(_mm512_maddubs_epi16(w, q), _mm512_set1_epi16(1)));
#endif
}
INLINE IV i_dot_words(IV sum, IV w, IV q) {
  return _mm512_add_epi32(sum, _mm512_madd_epi16(w, q));
}
INLINE IV i_join(IV a, IV b) {
  const __m512i even = _mm512_setr_epi32(0, 2, 4, 6, 8, 10, 12, 14, 16, 18, 20, 22, 24, 26, 28, 30);
  const __m512i odd = _mm512_add_epi32(even, _mm512_set1_epi32(1));
  return _mm512_add_epi32(_mm512_permutex2var_epi32(a, even, b), _mm512_permutex2var_epi32(a, odd, b));
}
INLINE IV i_planes(IV hi, IV lo) {
  return _mm512_add_epi32(_mm512_slli_epi32(hi, 8), lo);
}
INLINE void i_round(int32_t *to, V x) {
  _mm512_storeu_si512(to, _mm512_cvtps_epi32(x));
}
INLINE V i_reals(const int32_t *s, const uint8_t *offsets, int32_t total) {
  const __m512i less = _mm512_mullo_epi32(_mm512_loadu_si512(offsets), _mm512_set1_epi32(total));
  return _mm512_cvtepi32_ps(_mm512_sub_epi32(_mm512_loadu_si512(s), less));
}

#endif
