/* AVX2 with AVX-VNNI: as avx512vnni.h, in 256 bits, on CPUs that have no AVX-512.
 *
 * SPDX-License-Identifier: BSD-3-Clause */
#define HAS_VNNI 1
#include "avx2.h"
