/* Dropout between layers.
 *
 * SPDX-License-Identifier: BSD-3-Clause */
#ifndef FASTLSTM_DROPOUT_H
#define FASTLSTM_DROPOUT_H

#include <stddef.h>
#include <stdint.h>

/* y[n] = x[n] / (1 - p) where (seed, layer, t, b, unit) says so, else 0; of one row b at time t. y may be x. */
void fl_drop_row(double p, uint64_t seed, size_t layer, size_t t, size_t b, const void *x, void *y, size_t n,
                 size_t real);

#endif
