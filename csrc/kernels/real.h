/* The type of the numbers, and the type that weights are stored in. What touches them is compiled twice, with REAL_BITS
 * 32 and 64. Elsewhere a pointer to reals is a pointer to something: to count in it does not compile
 * (-Werror=pointer-arith).
 *
 * TYPES names the two in the tables; WEIGHTS_ARE_REALS: weights that are not packed can be read as they are
 * (unpacked.h).
 *
 * SPDX-License-Identifier: BSD-3-Clause */
#ifndef FASTLSTM_REAL_H
#define FASTLSTM_REAL_H

#ifndef REAL_BITS
typedef void real;
typedef void weight;
#elif REAL_BITS == 32
typedef float real;
typedef float weight;
#define TYPES f32
#define WEIGHTS_ARE_REALS 1
enum { MANTISSA_BITS = 23 };
#else
typedef double real;
typedef double weight;
#define TYPES f64
#define WEIGHTS_ARE_REALS 1
enum { MANTISSA_BITS = 52 };
#endif

#endif
