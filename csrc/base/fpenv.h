/* The caller's floating-point environment, saved, set to IEEE defaults, restored: a host that flushes denormals or
 * rounds another way gets our bits, and keeps its own. Reading it costs a few cycles; it is written only where it
 * differs.
 *
 * SPDX-License-Identifier: BSD-3-Clause */
#ifndef FASTLSTM_FPENV_H
#define FASTLSTM_FPENV_H

#include <stdint.h>

#if defined(__x86_64__) || defined(_M_X64) || (defined(__i386__) && defined(__SSE__))
#include <xmmintrin.h>

typedef uint32_t fl_fpenv;
/* all exceptions masked, round to nearest, no flush-to-zero, no denormals-are-zero; the low 6 bits are sticky flags */
enum { FL_FPENV_DEFAULT = 0x1f80, FL_FPENV_FLAGS = 0x3f };
static inline fl_fpenv fl_fpenv_read(void) {
  return _mm_getcsr();
}
static inline void fl_fpenv_write(fl_fpenv value) {
  _mm_setcsr(value);
}

#elif defined(__aarch64__)

typedef uint64_t fl_fpenv;
enum { FL_FPENV_DEFAULT = 0, FL_FPENV_FLAGS = 0 }; /* the flags live in another register, FPSR */
static inline fl_fpenv fl_fpenv_read(void) {
  fl_fpenv value;
  __asm__ volatile("mrs %0, fpcr" : "=r"(value));
  return value;
}
static inline void fl_fpenv_write(fl_fpenv value) {
  __asm__ volatile("msr fpcr, %0" : : "r"(value));
}

#elif defined(__arm__) && defined(__ARM_FP)

typedef uint32_t fl_fpenv;
/* rounding, flush-to-zero, default NaN and traps are bits 8 to 26 of FPSCR; the rest are flags */
enum { FL_FPENV_DEFAULT = 0, FL_FPENV_FLAGS = ~0x07ffff00 };
static inline fl_fpenv fl_fpenv_read(void) {
  fl_fpenv value;
  __asm__ volatile("vmrs %0, fpscr" : "=r"(value));
  return value;
}
static inline void fl_fpenv_write(fl_fpenv value) {
  __asm__ volatile("vmsr fpscr, %0" : : "r"(value));
}

#else /* no way to flush that a program could have turned on: the rounding direction is all */
#include <fenv.h>

typedef int fl_fpenv;
enum { FL_FPENV_DEFAULT = FE_TONEAREST, FL_FPENV_FLAGS = 0 };
static inline fl_fpenv fl_fpenv_read(void) {
  return fegetround();
}
static inline void fl_fpenv_write(fl_fpenv value) {
  fesetround(value);
}
#endif

static inline fl_fpenv fl_fpenv_enter(void) {
  const fl_fpenv caller = fl_fpenv_read();
  if ((caller & ~(fl_fpenv)FL_FPENV_FLAGS) != FL_FPENV_DEFAULT) fl_fpenv_write(FL_FPENV_DEFAULT);
  return caller;
}

static inline void fl_fpenv_leave(fl_fpenv caller) {
  if ((caller & ~(fl_fpenv)FL_FPENV_FLAGS) != FL_FPENV_DEFAULT) fl_fpenv_write(caller);
}

#endif
