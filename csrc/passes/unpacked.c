/* A step of each layer, its panels shared among threads.
 *
 * SPDX-License-Identifier: BSD-3-Clause */
#include "unpacked.h"

#include "base/arena.h"
#include "base/fpenv.h"
#include "layer_step.h"
#include "base/threads.h"

enum { PANELS = 4 }; /* that a member takes at once */

typedef struct {
  const fl_plan *plan;
  const fl_unpacked *step;
  char *bias;          /* [L][panels][FL_PANEL] */
  char *zeros;         /* [H] */
  const void **x;      /* [B] */
  const void **h, **c; /* [L][B] */
  void **h_n, **c_n;   /* [L][B] */
  void **z;            /* [members][B] */
  char *scratch;       /* [members][FL_STEP_SCRATCH(B)] */
} job;

static void lay_out(job *j, fl_arena *a, size_t B, size_t threads) {
  const fl_plan *const plan = j->plan;
  const size_t L = plan->L;
  j->bias = fl_carve(a, L * plan->panels, FL_PANEL * plan->real);
  j->zeros = fl_carve(a, plan->H, plan->real);
  j->x = fl_carve(a, B, sizeof *j->x);
  j->h = fl_carve(a, B, L * sizeof *j->h);
  j->c = fl_carve(a, B, L * sizeof *j->c);
  j->h_n = fl_carve(a, B, L * sizeof *j->h_n);
  j->c_n = fl_carve(a, B, L * sizeof *j->c_n);
  j->z = fl_carve(a, B, threads * sizeof *j->z);
  j->scratch = fl_carve(a, threads, FL_STEP_SCRATCH(B) * plan->real);
}

int fl_unpacked_fits(const fl_plan *plan) {
  return plan->D == 1 && !plan->P;
}

size_t fl_unpacked_size(const fl_plan *plan, size_t B, size_t threads) {
  fl_arena a = {0};
  job j = {.plan = plan};
  if (B > (size_t)PTRDIFF_MAX / (FL_PANEL * sizeof(double))) return SIZE_MAX;
  lay_out(&j, &a, B, threads);
  return a.overflow ? SIZE_MAX : a.used;
}

static void point(job *j, size_t threads) {
  const fl_plan *const plan = j->plan;
  const fl_unpacked *const s = j->step;
  const size_t row = plan->H * plan->real, line = FL_PANEL * plan->real, scratch = FL_STEP_SCRATCH(s->B) * plan->real;
  for (size_t b = 0; b < s->B; b++) j->x[b] = (const char *)s->x + (ptrdiff_t)b * s->x_b;
  for (size_t k = 0; k < plan->L * s->B; k++) {
    j->h[k] = s->h_0 ? (const char *)s->h_0 + k * row : j->zeros;
    j->c[k] = s->c_0 ? (const char *)s->c_0 + k * row : j->zeros;
    j->h_n[k] = (char *)s->h_n + k * row;
    j->c_n[k] = (char *)s->c_n + k * row;
  }
  for (size_t k = 0; k < threads * s->B; k++) j->z[k] = j->scratch + k / s->B * scratch + k % s->B * line;
}

static void run_member(void *argument, fl_member *member) {
  const job *const j = argument;
  const fl_plan *const plan = j->plan;
  const size_t B = j->step->B, blocks = (plan->panels + PANELS - 1) / PANELS;
  const fl_fpenv caller = fl_fpenv_enter();
  for (size_t l = 0; l < plan->L; l++) {
    const fl_layer_rows rows = {.x = l ? (const void *const *)j->h_n + (l - 1) * B : j->x,
                                .r = j->h + l * B,
                                .c = j->c + l * B,
                                .c_next = j->c_n + l * B,
                                .h = j->h_n + l * B,
                                .z = j->z + member->slot * B};
    fl_step step = fl_layer_step(plan, l, B, 0, rows);
    step.product.weights = NULL;
    step.product.unpacked[0] = j->step->weights[l].weight_ih;
    step.product.unpacked[1] = j->step->weights[l].weight_hh;
    step.product.start = j->bias + l * plan->panels * FL_PANEL * plan->real;
    for (size_t block; fl_next(member, blocks, &block);) {
      step.product.first = block * PANELS;
      step.product.last = plan->panels - block * PANELS < PANELS ? plan->panels : (block + 1) * PANELS;
      plan->kernels->step(&step);
    }
  }
  fl_fpenv_leave(caller);
}

void fl_unpacked_step(const fl_plan *plan, const fl_unpacked *step, fl_pool *pool, void *workspace) {
  const size_t threads = fl_pool_threads(pool), line = plan->panels * FL_PANEL * plan->real;
  job j = {.plan = plan, .step = step};
  fl_arena a = {.at = workspace};
  if (!step->B) return;
  lay_out(&j, &a, step->B, threads);
  point(&j, threads);
  memset(j.zeros, 0, plan->H * plan->real);
  memset(j.bias, 0, plan->L * line);
  const fl_fpenv caller = fl_fpenv_enter(); /* adding two biases rounds */
  for (size_t l = 0; l < plan->L; l++) fl_pack_bias(plan, &step->weights[l], j.bias + l * line);
  fl_fpenv_leave(caller);
  fl_pool_run(pool, run_member, &j, NULL);
}
