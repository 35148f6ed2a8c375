/* A step of each layer from weights that are not packed, its panels shared among threads.
 *
 * SPDX-License-Identifier: BSD-3-Clause */
#include "unpacked.h"

#include "base/arena.h"
#include "base/fpenv.h"
#include "base/threads.h"
#include "layer_step.h"
#include "pack.h"

enum { PANELS = 4 }; /* that a member takes at once */

typedef struct {
  const fl_plan *plan;
  const fl_unpacked *step;
  real *bias;          /* [L][panels][FL_PANEL] */
  real *zeros;         /* [H] */
  const void **x;      /* [B] */
  const void **h, **c; /* [L][B] */
  void **h_n, **c_n;   /* [L][B] */
  void **z;            /* [members][B] */
  real *scratch;       /* [members][FL_STEP_SCRATCH(B)] */
} unpacked_call;

static void carve_unpacked(unpacked_call *call, fl_arena *arena, size_t B, size_t threads) {
  const fl_plan *const plan = call->plan;
  const size_t L = plan->L;
  call->bias = fl_carve(arena, L * plan->panels, FL_PANEL * sizeof(real));
  call->zeros = fl_carve(arena, plan->H, sizeof(real));
  call->x = fl_carve(arena, B, sizeof *call->x);
  call->h = fl_carve(arena, B, L * sizeof *call->h);
  call->c = fl_carve(arena, B, L * sizeof *call->c);
  call->h_n = fl_carve(arena, B, L * sizeof *call->h_n);
  call->c_n = fl_carve(arena, B, L * sizeof *call->c_n);
  call->z = fl_carve(arena, B, threads * sizeof *call->z);
  call->scratch = fl_carve(arena, threads, FL_STEP_SCRATCH(B) * sizeof(real));
}

size_t TYPED(measure_unpacked)(const fl_plan *plan, size_t B, size_t threads) {
  fl_arena arena = {0};
  unpacked_call call = {.plan = plan};
  if (B > (size_t)PTRDIFF_MAX / (FL_PANEL * sizeof(double))) return SIZE_MAX;
  carve_unpacked(&call, &arena, B, threads);
  return arena.overflow ? SIZE_MAX : arena.used;
}

static void point_at_unpacked(unpacked_call *call, size_t threads) {
  const fl_unpacked *const step = call->step;
  const size_t H = call->plan->H, B = step->B;
  const real *const h_0 = step->h_0, *const c_0 = step->c_0;
  real *const h_n = step->h_n, *const c_n = step->c_n;
  for (size_t b = 0; b < B; b++) call->x[b] = (const char *)step->x + (ptrdiff_t)b * step->x_b; /* bytes */
  for (size_t k = 0; k < call->plan->L * B; k++) {
    call->h[k] = h_0 ? h_0 + k * H : call->zeros;
    call->c[k] = c_0 ? c_0 + k * H : call->zeros;
    call->h_n[k] = h_n + k * H;
    call->c_n[k] = c_n + k * H;
  }
  for (size_t k = 0; k < threads * B; k++) call->z[k] = call->scratch + k / B * FL_STEP_SCRATCH(B) + k % B * FL_PANEL;
}

static void run_unpacked_layers(void *argument, fl_member *member) {
  const unpacked_call *const call = argument;
  const fl_plan *const plan = call->plan;
  const size_t B = call->step->B, blocks = (plan->panels + PANELS - 1) / PANELS;
  const fl_fpenv caller = fl_fpenv_enter();
  for (size_t l = 0; l < plan->L; l++) {
    const fl_layer_rows rows = {.x = l ? (const void *const *)call->h_n + (l - 1) * B : call->x,
                                .h_prev = call->h + l * B,
                                .c_prev = call->c + l * B,
                                .c_next = call->c_n + l * B,
                                .h = call->h_n + l * B,
                                .z = call->z + member->slot * B};
    fl_step step = fl_layer_step(plan, l, B, 0, rows);
    step.product.weights = NULL;
    step.product.skip_zeros = 0; /* nobody knows these */
    step.product.unpacked[0] = call->step->weights[l].weight_ih;
    step.product.unpacked[1] = call->step->weights[l].weight_hh;
    step.product.start = call->bias + l * plan->panels * FL_PANEL;
    for (size_t block; fl_next(member, blocks, &block);) {
      step.product.first = block * PANELS;
      step.product.last = plan->panels - block * PANELS < PANELS ? plan->panels : (block + 1) * PANELS;
      plan->kernels.step(&step);
    }
  }
  fl_fpenv_leave(caller);
}

void TYPED(run_unpacked)(const fl_plan *plan, const fl_unpacked *step, fl_pool *pool, void *workspace) {
  const size_t threads = fl_pool_threads(pool), line = plan->panels * FL_PANEL;
  unpacked_call call = {.plan = plan, .step = step};
  fl_arena arena = {.at = workspace};
  if (!step->B) return;
  carve_unpacked(&call, &arena, step->B, threads);
  point_at_unpacked(&call, threads);
  memset(call.zeros, 0, plan->H * sizeof(real));
  memset(call.bias, 0, plan->L * line * sizeof(real));
  const fl_fpenv caller = fl_fpenv_enter(); /* adding two biases rounds */
  for (size_t l = 0; l < plan->L; l++) TYPED(pack_bias)(plan, &step->weights[l], call.bias + l * line);
  fl_fpenv_leave(caller);
  fl_pool_run(pool, fl_pool_useful(pool), run_unpacked_layers, &call, NULL);
}
