/* The two limits of the machine that the tables are held against: how fast it multiplies and adds, and how fast it
 * reads a buffer of a given size. Built when a benchmark runs (cc -O3 -march=native), never shipped.
 *
 * Each loop exists once per vector width, because the widest one is not always the fastest: the caller tries all and
 * keeps the best. The compiler makes FMAs of a * b + c here; it may not reorder the chains, since no -ffast-math is
 * given. */

#include <stddef.h>

/* Enough independent chains to cover latency x pipes, which is 8 to 16, in as many registers as there are. */
#if defined(__AVX512F__) || defined(__aarch64__)
#define CHAINS 24
#else
#define CHAINS 12
#endif

/* fma_N(n): n times fma_flops_N() floating point operations. */
/* read_N(p, bytes, n): reads the buffer n times. bytes: a multiple of 8 * N; p: aligned to N. */
#define LIMITS(N)                                                                                                \
  typedef float vec_##N __attribute__((vector_size(N)));                                                         \
  long fma_flops_##N(void) {                                                                                     \
    return 2L * CHAINS * (N / 4);                                                                                \
  }                                                                                                              \
  float fma_##N(long n) {                                                                                        \
    vec_##N acc[CHAINS], sum = {0}, scale = {0}, step = {0};                                                     \
    for (int lane = 0; lane < N / 4; lane++) scale[lane] = 0.5f, step[lane] = 0.25f;                             \
    for (int k = 0; k < CHAINS; k++) acc[k] = step * (float)k;                                                   \
    for (long i = 0; i < n; i++)                                                                                 \
      _Pragma("GCC unroll 24") for (int k = 0; k < CHAINS; k++) acc[k] = acc[k] * scale + step;                  \
    for (int k = 0; k < CHAINS; k++) sum += acc[k];                                                              \
    return sum[0];                                                                                               \
  }                                                                                                              \
  float read_##N(const char* p, size_t bytes, long n) {                                                          \
    vec_##N acc[8] = {{0}};                                                                                      \
    for (long i = 0; i < n; i++) {                                                                               \
      for (size_t at = 0; at < bytes; at += 8 * N)                                                               \
        _Pragma("GCC unroll 8") for (int k = 0; k < 8; k++) acc[k] += *(const vec_##N*)(p + at + (size_t)k * N); \
      __asm__ volatile("" ::: "memory"); /* every pass reads again */                                            \
    }                                                                                                            \
    for (int k = 1; k < 8; k++) acc[0] += acc[k];                                                                \
    return acc[0][0];                                                                                            \
  }

LIMITS(16)
#if defined(__AVX__)
LIMITS(32)
#endif
#if defined(__AVX512F__)
LIMITS(64)
#endif
