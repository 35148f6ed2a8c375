/* Dropout between layers: a mask that is a pure function of (seed, layer, t, row, unit), so that threads, chunks and order
 * cannot change it, and nothing of it need be kept.
 *
 * Each element hashes its coordinates with the finalizer of SplitMix64 (Steele, Lea, Flood: Fast splittable pseudorandom
 * number generators, 2014) and is kept if the result, as a share of 2^32, is not below the dropout.
 *
 * SPDX-License-Identifier: BSD-3-Clause */
#include "dropout.h"

static uint64_t mix(uint64_t z) {
  z = (z ^ (z >> 30)) * 0xbf58476d1ce4e5b9u;
  z = (z ^ (z >> 27)) * 0x94d049bb133111ebu;
  return z ^ (z >> 31);
}

static const uint64_t GOLDEN = 0x9e3779b97f4a7c15u;

#define DROP(type)                                                                                    \
  do {                                                                                                \
    const type scale = p < 1 ? (type)(1 / (1 - p)) : 0;                                               \
    for (size_t u = 0; u < n; u++) {                                                                  \
      const int kept = (uint32_t)(mix(row + u * GOLDEN) >> 32) >= below;                              \
      ((type *)y)[u] = kept ? ((const type *)x)[u] * scale : 0;                                       \
    }                                                                                                 \
  } while (0)

void fl_drop_row(double p, uint64_t seed, size_t layer, size_t t, size_t b, const void *x, void *y, size_t n,
                 size_t real) {
  const uint64_t below = (uint64_t)(p * 4294967296.0);
  const uint64_t row = mix(mix(mix(seed + GOLDEN * (layer + 1)) + GOLDEN * (t + 1)) + GOLDEN * (b + 1));
  if (real == sizeof(float))
    DROP(float);
  else
    DROP(double);
}
