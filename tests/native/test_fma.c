/* The exact fma of csrc/kernels/exact_fma.h.
 *
 *   test_fma                  its two ways for double against each other; against the C library's where exact (glibc)
 *   test_fma float|double     triples of numbers from standard input to their results, for
 *                             tests/package/test_c_library.py, which has the truth
 *
 * SPDX-License-Identifier: BSD-3-Clause */
#include <math.h>
#include "kernels/exact_fma.h"
#include "support.h"

static uint64_t state;

static uint64_t next(void) {
  return mix(state += GOLDEN);
}

/* bits, or a number near 1, or near what makes the other terms cancel */
static double any(int kind) {
  return kind ? ldexp((double)(int64_t)next(), -63 + (int)(next() % 9) - 4) : double_of(next());
}

static float any_float(int kind) {
  const uint32_t n = (uint32_t)next();
  float x;
  memcpy(&x, &n, sizeof x);
  return kind ? (float)any(1) : x;
}

static int same(double x, double y) {
  return bits_of(x) == bits_of(y) || (x != x && y != y);
}

static void compare(double a, double b, double c) {
  const double got = exact_fma(a, b, c), integers = fma_by_integers(a, b, c);
  if (!same(got, integers)) fprintf(stderr, "fma(%a, %a, %a): %a by parts, %a by integers\n", a, b, c, got, integers);
  CHECK(same(got, integers));
#ifdef __GLIBC__
  const double libm = fma(a, b, c);
  if (!same(got, libm)) fprintf(stderr, "fma(%a, %a, %a): %a, the C library has %a\n", a, b, c, got, libm);
  CHECK(same(got, libm));
#endif
}

static void compare_floats(float a, float b, float c) {
  const float got = exact_fmaf(a, b, c);
  CHECK(same((double)got, (double)exact_fmaf(b, a, c)));
#ifdef __GLIBC__
  const float libm = fmaf(a, b, c);
  if (!same((double)got, (double)libm)) fprintf(stderr, "fmaf(%a, %a, %a): %a, not %a\n", a, b, c, got, libm);
  CHECK(same((double)got, (double)libm));
#endif
}

static int filter(int narrow) {
  double d[3];
  float f[3];
  while (narrow ? fread(f, sizeof f, 1, stdin) : fread(d, sizeof d, 1, stdin)) {
    const float y = narrow ? exact_fmaf(f[0], f[1], f[2]) : 0;
    const double z = narrow ? 0 : exact_fma(d[0], d[1], d[2]);
    if (narrow ? fwrite(&y, sizeof y, 1, stdout) != 1 : fwrite(&z, sizeof z, 1, stdout) != 1) return 1;
  }
  return 0;
}

int main(int count, char **arguments) {
  static const double corners[] = {0,
                                   -0.0,
                                   INFINITY,
                                   -INFINITY,
                                   NAN,
                                   1,
                                   -1,
                                   DBL_MAX,
                                   -DBL_MAX,
                                   DBL_MIN,
                                   0x1p-1074,
                                   -0x1p-1074,
                                   0x1p-537,
                                   0x1.8p-537,
                                   0x1p512,
                                   0x1.fffffffffffffp-1,
                                   0x1.0000000000001p0,
                                   0x1.fffffffffffffp-1023,
                                   0x1p-1021,
                                   -0x1p-1022,
                                   0x1p971,
                                   3};
  enum { CORNERS = sizeof corners / sizeof corners[0], RANDOM = 200000 };
  if (count > 1) return filter(!strcmp(arguments[1], "float"));
  for (size_t i = 0; i < CORNERS; i++)
    for (size_t j = 0; j < CORNERS; j++)
      for (size_t k = 0; k < CORNERS; k++) compare(corners[i], corners[j], corners[k]);
  for (int n = 0; n < RANDOM; n++) {
    const double a = any(n % 3), b = any(n % 3), c = any(n % 3);
    compare(a, b, c);
    compare(a, b, -(a * b)); /* what the product lost */
    compare(a, b, double_of(bits_of(-(a * b)) + next() % 5));
    compare(ldexp(any(1), -530), ldexp(any(1), -520), n & 1 ? double_of(next() >> 10) : 0); /* into subnormal numbers */
    const float x = any_float(n % 3), y = any_float(n % 3), z = any_float(n % 3);
    compare_floats(x, y, z);
    compare_floats(x, y, -(x * y));
  }
  printf("fma: the same by parts, by integers%s\n",
#ifdef __GLIBC__
         " and by the C library"
#else
         ""
#endif
  );
  return 0;
}
