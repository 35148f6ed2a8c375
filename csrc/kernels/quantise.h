/* Rows of weights as integers of 8 bits and a scale: how they are rounded when a plan is made.
 *
 * A scale has 16 significant bits, so that each integer times it is a float32 without rounding: the matrix that a layer
 * shows holds exactly these numbers, and gives the same integers and scales when it is packed again.
 *
 * SPDX-License-Identifier: BSD-3-Clause */
#ifndef FASTLSTM_QUANTISE_H
#define FASTLSTM_QUANTISE_H

#include <math.h>
#include "half.h"

/* integers are stored as what they are above -FL_OFFSET */
enum { FL_LARGEST_INTEGER = 127, FL_OFFSET = 128 };

/* Below it a row counts as zeros: a scale, and what it meets, would be subnormal. */
#define FL_LEAST_ROW 0x1p-100f

/* Of k weights, 1 for zeros. 0 where one is not finite, or would not be once rounded. */
static inline int fl_scale_of(const float *row, size_t k, float *scale) {
  float largest = 0;
  *scale = 1;
  for (size_t j = 0; j < k; j++) {
    if ((fl_bits_of(row[j]) & 0x7fffffff) >= 0x7f800000) return 0;
    if (fabsf(row[j]) > largest) largest = fabsf(row[j]);
  }
  if (largest < FL_LEAST_ROW) return 1;
  const float exact = largest / FL_LARGEST_INTEGER;
  *scale = fl_float_of((fl_bits_of(exact) + 0xff) & ~0xffu); /* up: no integer gets above the largest */
  return fl_bits_of(*scale * FL_LARGEST_INTEGER) < 0x7f800000;
}

/* Can a row have this scale, if its integers are at most this far from its offset? */
static inline int fl_is_scale(float scale, int farthest) {
  if (!(scale >= 0) || fl_bits_of(scale) >= 0x7f800000) return 0; /* -0 has a large number of bits, too */
  return farthest == 0 || (scale > 0 && fl_bits_of(scale * (float)farthest) < 0x7f800000);
}

/* to the nearest, ties to even; rounds as the floating-point environment says, which has been set */
static inline int fl_integer_of(float x, float scale) {
  const float magic = 0x1.8p23f;
  volatile float moved = x / scale + magic; /* volatile: not in a wider type */
  return (int)(fl_bits_of(moved) - fl_bits_of(magic));
}

#endif
