/* The type of the numbers, and the type that weights are stored in. What touches them is compiled once for each pair:
 * REAL_BITS 32 and 64 with weights of the same type, 32 with weights of 16 bits: what reads them as numbers with
 * WEIGHT_FLOAT16 and with WEIGHT_BFLOAT16, what only counts in them once, with WEIGHT_HALF; and 32 with WEIGHT_INT8.
 * Elsewhere a pointer to reals is a pointer to something: to count in it does not compile (-Werror=pointer-arith).
 *
 * TYPES names the two in the tables; WEIGHTS_ARE_REALS: weights that are not packed can be read as they are
 * (unpacked.h), and trained.
 *
 * SPDX-License-Identifier: BSD-3-Clause */
#ifndef FASTLSTM_REAL_H
#define FASTLSTM_REAL_H

#include <stdint.h>

#ifndef REAL_BITS
typedef void real;
typedef void weight;
#elif REAL_BITS == 32
typedef float real;
#if defined(WEIGHT_INT8)
typedef uint8_t weight;
#define TYPES f32_int8
#define WEIGHTS_ARE_REALS 0
#elif defined(WEIGHT_FLOAT16) || defined(WEIGHT_BFLOAT16) || defined(WEIGHT_HALF)
typedef uint16_t weight;
#define WEIGHTS_ARE_REALS 0
#if defined(WEIGHT_FLOAT16)
#define TYPES f32_float16
#elif defined(WEIGHT_BFLOAT16)
#define TYPES f32_bfloat16
#else
#define TYPES f32_half
#endif
#else
typedef float weight;
#define TYPES f32
#define WEIGHTS_ARE_REALS 1
#endif
enum { MANTISSA_BITS = 23 };
#else
typedef double real;
typedef double weight;
#define TYPES f64
#define WEIGHTS_ARE_REALS 1
enum { MANTISSA_BITS = 52 };
#endif

/* Rows of FL_PANEL weights that k of them take in a panel. Those of 8 bits come in groups of four k, and after a scale
 * and an offset for each lane, 32 bits each (kernels/integers.h). */
#ifdef WEIGHT_INT8
enum { GROUP = 4, HEADER_ROWS = 8 };
#define WEIGHT_ROWS(k) (((k) + GROUP - 1) / GROUP * GROUP + HEADER_ROWS)
#else
#define WEIGHT_ROWS(k) (k)
#endif

#endif
