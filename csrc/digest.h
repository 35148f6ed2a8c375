/* Whether memory that others own has changed: every byte of it is looked at, at the speed at which it can be read.
 *
 * A comparison with a copy would read twice as much and keep twice as much. What is kept here is a sum of 2048 bits for
 * each chunk: FL_DIGEST_LANES shift registers, which take in every FL_DIGEST_LANES-th word of 64 bits. One step is
 * Marsaglia's xorshift64 (13, 7, 17), linear over GF(2) and of period 2^64 - 1, then an exclusive or with the word: a
 * cyclic redundancy check of 64 bits in each lane. So a change of one word is seen with certainty, and so are two words
 * exchanged, and the same bits changed at regular distances; of other changes 2^-64 are missed, for each lane that they
 * reach.
 *
 * SPDX-License-Identifier: BSD-3-Clause */
#ifndef FASTLSTM_DIGEST_H
#define FASTLSTM_DIGEST_H

#include <stddef.h>
#include "fastlstm.h"

typedef struct {
  const void *data;
  size_t bytes;
} fl_span;

typedef struct fl_digest fl_digest;

/* Take in n spans, which must outlive it as they are: at the same place, of the same size. */
fl_status fl_digest_create(fl_digest **out, const fl_span *spans, size_t n, const char *isa, fl_pool *pool);
void fl_digest_destroy(fl_digest *digest);

/* Do the spans hold what they held, to the bit? Any number of threads may ask at once. */
int fl_digest_same(const fl_digest *digest, fl_pool *pool);

#endif
