/* The kernel calls of one step of one layer, from pointers to rows: what streams, cells and sessions have in common,
 * and the projection, which whole sequences share.
 *
 * SPDX-License-Identifier: BSD-3-Clause */
#ifndef FASTLSTM_LAYER_STEP_H
#define FASTLSTM_LAYER_STEP_H

#include <string.h>
#include "plan.h"

/* m rows each; owned by the caller. With a projection h is m x H scratch, which fl_layer_project turns into the
 * output. */
typedef struct {
  const void *const *x;      /* [I_l] reals: read */
  const void *const *h_prev; /* [R]: the old h; read */
  const void *const *c_prev; /* [H]: the old c; read; may be c_next */
  void *const *c_next;       /* [H]: written */
  void *const *h;            /* [H]: o tanh(c'); written; may not alias x or h_prev */
  void *const *z;            /* rows of FL_STEP_SCRATCH(m) reals, FL_PANEL apart; scratch */
} fl_layer_rows;

static inline fl_step fl_layer_step(const fl_plan *plan, size_t l, size_t m, int down, fl_layer_rows rows) {
  const fl_layer *const layer = &plan->layers[l];
  return (fl_step){.product = {.m = m,
                               .last = plan->panels,
                               .down = down,
                               .operand = {{rows.x, layer->input_size}, {rows.h_prev, plan->R}},
                               .weights = layer->weights,
                               .weights_panel = (layer->input_size + plan->R) * FL_PANEL,
                               .start = layer->bias,
                               .z = rows.z,
                               .z_panel = m * FL_PANEL},
                   .units = plan->H,
                   .c_prev = rows.c_prev,
                   .c = rows.c_next,
                   .h = rows.h,
                   .form = plan->form,
                   .peephole = layer->peephole};
}

#ifdef REAL_BITS
/* The same step where x has been taken through W already: `given` are rows of a table. */
static inline fl_step fl_given_step(fl_step step, const void *const *given) {
  fl_product *const product = &step.product;
  product->weights = (const weight *)product->weights + product->operand[0].k * FL_PANEL;
  product->operand[0] = product->operand[1];
  product->operand[1].k = 0;
  product->start = NULL;
  product->into = FL_MEET;
  step.given = given;
  return step;
}
#endif

/* W_hr h: rows h [H] into p, [project panels][m][FL_PANEL], whose rows of the first panel are at `out` */
static inline fl_product fl_layer_project(const fl_plan *plan, const fl_layer *layer, size_t m, void *const *h,
                                          void *const *out) {
  return (fl_product){.m = m,
                      .last = plan->project_panels,
                      .operand = {{(const void *const *)h, plan->H}},
                      .weights = layer->project,
                      .weights_panel = plan->H * FL_PANEL,
                      .z = out,
                      .z_panel = m * FL_PANEL};
}

/* row r of its panels first..last to `to` [R] */
static inline void fl_unpack_projected(const fl_plan *plan, const fl_product *project, size_t r, real *to) {
  const real *const row = project->z[r];
  for (size_t panel = project->first; panel < project->last; panel++) {
    const size_t from = panel * FL_PANEL, n = plan->P - from < FL_PANEL ? plan->P - from : FL_PANEL;
    memcpy(to + from, row + panel * project->z_panel, n * sizeof(real));
  }
}

/* zeros where `from` is NULL */
static inline void fl_copy_or_zero(real *to, const real *from, size_t n) {
  if (from)
    memcpy(to, from, n * sizeof(real));
  else
    memset(to, 0, n * sizeof(real));
}

#endif
