/* Words for integers, 128 bits (scalar_integers.h says what they mean). Not every AArch64 has a product of unsigned and
 * signed bytes: weights become signed, 128 lower, and i_reals takes that much less off.
 *
 * SPDX-License-Identifier: BSD-3-Clause */
#ifndef FASTLSTM_INTEGER_WORDS_H
#define FASTLSTM_INTEGER_WORDS_H

#ifdef HAS_DOT
#define PLANES 1
#else
#define PLANES 0
#endif
#define I_BYTES 16
#define I_ACCUMULATORS 20

typedef int32x4_t IV;
INLINE IV i_zero(void) {
  return vdupq_n_s32(0);
}
INLINE void i_store(int32_t *to, IV a) {
  vst1q_s32(to, a);
}
INLINE IV i_bytes(const uint8_t *w) {
  return vreinterpretq_s32_u8(veorq_u8(vld1q_u8(w), vdupq_n_u8(128)));
}
INLINE IV i_words(const uint8_t *w) {
  return vreinterpretq_s32_s16(vmovl_s8(vreinterpret_s8_u8(veor_u8(vld1_u8(w), vdup_n_u8(128)))));
}
INLINE IV i_every(const int8_t *q) {
  int32_t four;
  memcpy(&four, q, sizeof four);
  return vdupq_n_s32(four);
}
INLINE IV i_every_words(const int8_t *q) {
  int64_t four;
  memcpy(&four, q, sizeof four);
  return vreinterpretq_s32_s64(vdupq_n_s64(four));
}
INLINE IV i_dot(IV sum, IV w, IV q) {
  const int8x16_t a = vreinterpretq_s8_s32(w), b = vreinterpretq_s8_s32(q);
#ifdef HAS_DOT
  return vdotq_s32(sum, a, b);
#else
  /* a sum of two products, 2 * 128 * 64, fits in 16 bits */
  const int16x8_t low = vmull_s8(vget_low_s8(a), vget_low_s8(b)), high = vmull_high_s8(a, b);
  return vpadalq_s16(sum, vpaddq_s16(low, high));
#endif
}
INLINE IV i_dot_words(IV sum, IV w, IV q) {
  const int16x8_t a = vreinterpretq_s16_s32(w), b = vreinterpretq_s16_s32(q);
  const int32x4_t low = vmull_s16(vget_low_s16(a), vget_low_s16(b)), high = vmull_high_s16(a, b);
  return vaddq_s32(sum, vpaddq_s32(low, high));
}
INLINE IV i_join(IV a, IV b) {
  return vpaddq_s32(a, b);
}
INLINE IV i_planes(IV hi, IV lo) {
  return vaddq_s32(vshlq_n_s32(hi, 8), lo);
}
INLINE void i_round(int32_t *to, V x) {
  vst1q_s32(to, vcvtnq_s32_f32(x));
}
INLINE V i_reals(const int32_t *s, const uint8_t *offsets, int32_t total) {
  const int32x4_t offset = vsubq_s32(vreinterpretq_s32_u8(vld1q_u8(offsets)), vdupq_n_s32(128));
  return vcvtq_f32_s32(vmlsq_n_s32(vld1q_s32(s), offset, total));
}

#endif
