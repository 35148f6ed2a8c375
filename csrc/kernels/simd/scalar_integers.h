/* Words for integers in plain C: four lanes of 32 bits. Every other header answers to this one: same words, same sums.
 * Sums are unsigned: a vector's wrap around, too.
 *
 * SPDX-License-Identifier: BSD-3-Clause */
#ifndef FASTLSTM_INTEGER_WORDS_H
#define FASTLSTM_INTEGER_WORDS_H

#define PLANES 0
#define I_BYTES 16
#define I_ACCUMULATORS 8

typedef struct {
  int32_t lane[4];
} IV;
INLINE IV i_zero(void) {
  return (IV){{0}};
}
INLINE void i_store(int32_t *to, IV a) {
  memcpy(to, &a, sizeof a);
}
/* 16 weights; 8, for words: here they stay bytes */
INLINE IV i_bytes(const uint8_t *w) {
  IV a;
  memcpy(&a, w, sizeof a);
  return a;
}
INLINE IV i_words(const uint8_t *w) {
  IV a = {{0}};
  memcpy(&a, w, sizeof a / 2);
  return a;
}
/* four numbers of 8, of 16 bits */
INLINE IV i_every(const int8_t *q) {
  IV a = {{q[0], q[1], q[2], q[3]}};
  return a;
}
INLINE IV i_every_words(const int8_t *q) {
  int16_t word[4];
  memcpy(word, q, sizeof word);
  return (IV){{word[0], word[1], word[2], word[3]}};
}
/* lane += the sum of its four weights times the four numbers */
INLINE IV i_dot(IV sum, IV w, IV q) {
  uint8_t byte[16];
  memcpy(byte, &w, sizeof byte);
  for (size_t l = 0; l < 4; l++)
    for (size_t j = 0; j < 4; j++)
      sum.lane[l] = (int32_t)((uint32_t)sum.lane[l] + (uint32_t)(byte[4 * l + j] * q.lane[j]));
  return sum;
}
/* two lanes += the sum of two products each; four weights share two lanes */
INLINE IV i_dot_words(IV sum, IV w, IV q) {
  uint8_t byte[16];
  memcpy(byte, &w, sizeof byte);
  for (size_t l = 0; l < 8; l++)
    sum.lane[l / 2] = (int32_t)((uint32_t)sum.lane[l / 2] + (uint32_t)(byte[l] * q.lane[l % 4]));
  return sum;
}
/* the two lanes of a unit added, of two vectors */
INLINE IV i_join(IV a, IV b) {
  IV c;
  for (size_t l = 0; l < 2; l++) {
    c.lane[l] = (int32_t)((uint32_t)a.lane[2 * l] + (uint32_t)a.lane[2 * l + 1]);
    c.lane[2 + l] = (int32_t)((uint32_t)b.lane[2 * l] + (uint32_t)b.lane[2 * l + 1]);
  }
  return c;
}
INLINE IV i_planes(IV hi, IV lo) {
  (void)lo;
  return hi;
}
/* VL numbers to the nearest whole, ties to even; none is above 2^22 */
INLINE void i_round(int32_t *to, V x) {
  const real magic = 0x1.8p23f, moved = v_add(x, magic);
  *to = (int32_t)(fl_bits_of(moved) - fl_bits_of(magic));
}
/* VL sums, less their lanes' offsets times the sum of the numbers, as reals */
INLINE V i_reals(const int32_t *s, const uint8_t *offsets, int32_t total) {
  int32_t offset;
  memcpy(&offset, offsets, sizeof offset);
  return (real)(int32_t)((uint32_t)*s - (uint32_t)offset * (uint32_t)total);
}

#endif
