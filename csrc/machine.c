/* The loops are kernels (kernels/kernels_tmpl.c); here is what calls them.
 *
 * SPDX-License-Identifier: BSD-3-Clause */
#include "machine.h"

#include "plan.h"

enum {
  LINE = FL_DIGEST_LANES * sizeof(uint64_t),
  PART = 32768 / LINE, /* lines: few calls, and so little of a near cache that going back over parts finds it there */
};

/* Read parts from the first to the last, or back. */
static void read_through(const fl_kernels *kernels, const unsigned char *data, size_t lines, int back, uint64_t *sums) {
  for (size_t left = lines; left;) {
    const size_t part = left < PART ? left : PART, start = back ? left - part : lines - left;
    kernels->read_all(data + start * LINE, part, sums);
    left -= part;
  }
}

fl_status fl_limit_multiply(const char *isa, size_t n, double *done) {
  const char *found;
  const fl_kernels *const kernels = fl_kernels_of(isa, FL_FLOAT32, &found);
  if (!kernels) return FL_ERROR_ISA;
  float chains[FL_CHAINS] = {0};
  kernels->multiply_add(chains, n);
  *done = (double)FL_CHAINS * (double)n;
  return FL_OK;
}

fl_status fl_limit_read(const char *isa, const void *data, size_t bytes, size_t n, double *done) {
  const char *found;
  const fl_kernels *const kernels = fl_kernels_of(isa, FL_FLOAT32, &found);
  if (!kernels) return FL_ERROR_ISA;
  uint64_t sums[FL_DIGEST_LANES] = {0};
  for (size_t time = 0; time < n; time++) read_through(kernels, data, bytes / LINE, time % 2 != 0, sums);
  *done = (double)(bytes / LINE * LINE) * (double)n;
  return FL_OK;
}
