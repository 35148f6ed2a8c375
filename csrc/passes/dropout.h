/* Dropout between layers: a mask that is a pure function of (seed, layer, t, row, unit), so that threads, chunks and
 * order cannot change it, and nothing of it need be kept.
 *
 * Each element hashes its coordinates with the finalizer of SplitMix64 (Steele, Lea, Flood: Fast splittable
 * pseudorandom number generators, 2014) and is kept if the result, as a share of 2^32, is not below the dropout.
 *
 * SPDX-License-Identifier: BSD-3-Clause */
#ifndef FASTLSTM_DROPOUT_H
#define FASTLSTM_DROPOUT_H

#include "base/compiler.h"
#include "tape.h"

#define FL_GOLDEN 0x9e3779b97f4a7c15u

static inline uint64_t fl_mix(uint64_t z) {
  z = (z ^ (z >> 30)) * 0xbf58476d1ce4e5b9u;
  z = (z ^ (z >> 27)) * 0x94d049bb133111ebu;
  return z ^ (z >> 31);
}

/* y[n] = x[n] / (1 - dropout) where the mask says so, else 0; of step t of row b, behind a layer. y may be x.
 * Not inlined: its arithmetic must stay between the two writes of the floating-point environment. */
NOINLINE static void fl_drop_row(const fl_tape *tape, size_t layer, size_t t, size_t b, const real *x, real *y,
                                 size_t n) {
  const uint64_t below = (uint64_t)(tape->dropout * 4294967296.0);
  const uint64_t of_layer = fl_mix(tape->seed + FL_GOLDEN * (layer + 1));
  const uint64_t row = fl_mix(fl_mix(of_layer + FL_GOLDEN * (t + tape->time + 1)) + FL_GOLDEN * (b + 1));
  const real scale = tape->dropout < 1 ? (real)(1 / (1 - tape->dropout)) : 0;
  for (size_t u = 0; u < n; u++) {
    const int kept = (uint32_t)(fl_mix(row + u * FL_GOLDEN) >> 32) >= below;
    y[u] = kept ? x[u] * scale : 0;
  }
}

#endif
