/* AVX-512 with VNNI: one instruction multiplies four pairs of bytes and adds them, for weights of 8 bits.
 *
 * SPDX-License-Identifier: BSD-3-Clause */
#define HAS_VNNI 1
#include "avx512.h"
