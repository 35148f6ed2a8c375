/* NEON with the dot product (FEAT_DotProd, from ARMv8.2 on): one instruction multiplies four pairs of signed bytes and
 * adds them, for weights of 8 bits.
 *
 * SPDX-License-Identifier: BSD-3-Clause */
#define HAS_DOT 1
#include "neon.h"
