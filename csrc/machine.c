/* The loops are kernels (kernels/kernels_tmpl.c); here is what calls them.
 *
 * SPDX-License-Identifier: BSD-3-Clause */
#include "machine.h"

#include "plan.h"

enum { LINE = FL_DIGEST_LANES * sizeof(uint64_t) };

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
  for (size_t time = 0; time < n; time++) kernels->read_all(data, bytes / LINE, sums);
  *done = (double)(bytes / LINE * LINE) * (double)n;
  return FL_OK;
}
