/* AMX: tiles of 16 x 16 sums of 64 pairs of bytes, for weights of 8 bits and more than a few rows; the rest, and few
 * rows, are as avx512vnni.h has them.
 *
 * SPDX-License-Identifier: BSD-3-Clause */
#define HAS_AMX 1
#include "avx512vnni.h"
