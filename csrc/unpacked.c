/* The door to one step from weights that are not packed.
 *
 * SPDX-License-Identifier: BSD-3-Clause */
#include "unpacked.h"

#include "plan.h"

int fl_unpacked_fits(const fl_plan *plan) {
  return plan->D == 1 && !plan->P && plan->weights == FL_WEIGHTS_REAL;
}

size_t fl_unpacked_size(const fl_plan *plan, size_t B, size_t threads) {
  return plan->passes->measure_unpacked(plan, B, threads);
}

void fl_unpacked_step(const fl_plan *plan, const fl_unpacked *step, fl_pool *pool, void *workspace) {
  plan->passes->run_unpacked(plan, step, pool, workspace);
}
