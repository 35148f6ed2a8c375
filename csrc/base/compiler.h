/* What C11 leaves to the compiler. GCC and Clang (clang-cl on Windows) are supported.
 *
 * SPDX-License-Identifier: BSD-3-Clause */
#ifndef FASTLSTM_COMPILER_H
#define FASTLSTM_COMPILER_H

#ifdef __FAST_MATH__
#error "fastlstm cannot be compiled with -ffast-math: its bits are part of its interface"
#endif

#define INLINE static inline __attribute__((always_inline))
#define NOINLINE __attribute__((noinline))
#define UNUSED __attribute__((unused))
#define RARELY(condition) __builtin_expect(condition, 0) /* what only it needs is not computed before it */

/* Clang's "unroll" alone keeps the accumulators of tiles in memory: 2.6 to 3 times slower with many rows (clang 14). */
#if defined(__clang__)
#define UNROLL _Pragma("clang loop unroll(full)")
#define ROLLED _Pragma("clang loop unroll(disable)")
#else
#define UNROLL _Pragma("GCC unroll 32")
#define ROLLED _Pragma("GCC unroll 1")
#endif

/* fma() and fmaf() are one instruction; GCC says so, Clang not on every target. WITHOUT_FMA_INSTRUCTION: for tests. */
#if !defined(WITHOUT_FMA_INSTRUCTION) && \
    ((defined(__FP_FAST_FMA) && defined(__FP_FAST_FMAF)) || defined(__FMA__) || defined(__aarch64__))
#define HAVE_FMA_INSTRUCTION 1
#endif

/* Clang (14 to 19) makes `a > b ? a : b` AArch64's maximum, which prefers +0 to -0, unless it cannot see the
 * comparison; and what it sees loaded and then put into every lane, it loads into every lane. */
#if defined(__clang__) && !defined(__x86_64__)
#define KEPT_APART(constraint, value) __asm__("" : "+" constraint(value))
#else
#define KEPT_APART(constraint, value) (void)(value)
#endif

/* into L2: the weights that the next tiles will read */
#define PREFETCH_L2(p) __builtin_prefetch((p), 0, 2)

#endif
