/* The kernel calls of one step of one layer, from pointers to rows: what streams, cells and sessions have in common,
 * and the projection, which whole sequences share.
 *
 * SPDX-License-Identifier: BSD-3-Clause */
#ifndef FASTLSTM_LAYER_STEP_H
#define FASTLSTM_LAYER_STEP_H

#include <string.h>
#include "base/threads.h"
#include "group.h"
#include "kernels/kernels.h"
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
  void *const *advanced;     /* NULL, or what fl_layer_advance has made of h_prev, then used in place of z; used up */
} fl_layer_rows;

static inline fl_step fl_layer_step(const fl_plan *plan, size_t l, size_t m, int down, fl_layer_rows rows) {
  const fl_layer *const layer = &plan->layers[l];
  const int advanced = rows.advanced != NULL;
  return (fl_step){.product = {.m = m,
                               .last = plan->panels,
                               .down = down,
                               .operand = {{rows.x, layer->input_size}, {rows.h_prev, advanced ? 0 : plan->R}},
                               .weights = layer->weights,
                               .weights_panel = fl_weights_panel(plan, layer->input_size),
                               .start = layer->bias,
                               .z = advanced ? rows.advanced : rows.z,
                               .z_panel = advanced ? FL_PANEL : m * FL_PANEL,
                               .into = advanced ? FL_MEET : FL_NEW,
                               .skip_zeros = layer->skip_zeros},
                   .units = plan->H,
                   .c_prev = rows.c_prev,
                   .c = rows.c_next,
                   .h = rows.h,
                   .form = plan->form,
                   .peephole = layer->peephole};
}

#ifdef REAL_BITS
/* The same step, advanced or not, where x has been taken through W already: `given` are rows of a table; NULL where z
 * holds it. */
static inline fl_step fl_given_step(fl_step step, const void *const *given) {
  fl_product *const product = &step.product;
  product->weights = (const weight *)product->weights + WEIGHT_ROWS(product->operand[0].k) * FL_PANEL;
  product->operand[0] = product->operand[1];
  product->operand[1].k = 0;
  product->start = NULL;
  product->into = FL_MEET;
  product->skip_zeros = 0;
  step.given = given;
  return step;
}
#endif

/* What a step can do before its input is there, U h: of rows h_prev [R] into rows [panels][FL_PANEL] */
static inline fl_product fl_layer_advance(const fl_plan *plan, size_t l, size_t m, int down, const void *const *h_prev,
                                          void *const *advanced) {
  const fl_layer *const layer = &plan->layers[l];
  return (fl_product){.m = m,
                      .last = plan->panels,
                      .down = down,
                      .operand = {{h_prev, plan->R}},
                      .weights = layer->weights + WEIGHT_ROWS(layer->input_size) * FL_PANEL,
                      .weights_panel = fl_weights_panel(plan, layer->input_size),
                      .z = advanced,
                      .z_panel = FL_PANEL};
}

/* W_hr h: rows h [H] into p, [project panels][m][FL_PANEL], whose rows of the first panel are at `out` */
static inline fl_product fl_layer_project(const fl_plan *plan, const fl_layer *layer, size_t m, void *const *h,
                                          void *const *out) {
  return (fl_product){.m = m,
                      .last = plan->project_panels,
                      .operand = {{(const void *const *)h, plan->H}},
                      .weights = layer->project,
                      .weights_panel = WEIGHT_ROWS(plan->H) * FL_PANEL,
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

/* ---- panels shared by a team ------------------------------------------------------------------------------------ */

/* Of a product, a step, the panels that are the member's; work: multiply-adds of a panel. */
static inline void fl_share_product(const fl_plan *plan, const fl_group *group, size_t work, fl_product *product) {
  fl_share share = fl_share_of(group, plan->panels, work);
  while (fl_share_next(group, &share)) {
    product->first = share.part.first;
    product->last = share.part.end;
    plan->kernels.product(product);
  }
}

static inline void fl_share_step(const fl_plan *plan, const fl_group *group, size_t work, fl_step *step) {
  fl_share share = fl_share_of(group, plan->panels, work);
  while (fl_share_next(group, &share)) {
    step->product.first = share.part.first;
    step->product.last = share.part.end;
    plan->kernels.step(step);
  }
}

/* ---- calls that can be given up --------------------------------------------------------------------------------- */

/* rows to take at a time: as many as one panel's call of a kernel may have, a group of rows at least */
static inline size_t fl_rows_at_once(const fl_plan *plan, size_t m, const fl_member *member) {
  const size_t k = (plan->I > plan->R ? plan->I : plan->R) + plan->R;
  const size_t most = fl_short_calls(member, m, k * FL_PANEL);
  return most < FL_GROUP_ROWS ? FL_GROUP_ROWS : most;
}

/* Panels for the next call of a kernel, from product->last = 0 on: as many as soon end. 0 where none are left, or the
 * call has been given up. */
static inline int fl_next_panels(fl_product *product, size_t panels, fl_member *member) {
  const size_t work = product->m * (product->operand[0].k + product->operand[1].k) * FL_PANEL, at = product->last;
  if (at && fl_halted(member, (at - product->first) * work)) return 0;
  const size_t most = fl_short_calls(member, panels, work);
  product->first = at;
  product->last = panels - at < most ? panels : at + most;
  return at < panels;
}

/* n rows of a product from `first` on */
static inline fl_product fl_rows_of_product(const fl_product *product, size_t first, size_t n) {
  fl_product part = *product;
  part.m = n;
  for (size_t j = 0; j < 2 && part.operand[j].k; j++) part.operand[j].rows += first;
  part.z += first;
  return part;
}

/* n rows of a step from `first` on, in the scratch of all */
static inline fl_step fl_rows_of_step(const fl_step *step, size_t first, size_t n) {
  fl_step part = *step;
  part.product = fl_rows_of_product(&step->product, first, n);
  if (step->product.into == FL_NEW || (step->given && step->product.operand[0].k)) {
    part.product.z = step->product.z;
    part.product.z_panel = n * FL_PANEL;
  }
  if (part.given) part.given += first;
  part.c_prev += first;
  part.c += first;
  part.h += first;
  return part;
}

/* A step, a product: at once, or in short calls where the member's call can be given up. Member NULL: it cannot. */
static inline void fl_run_step(const fl_plan *plan, const fl_step *step, fl_member *member) {
  if (!member || !member->halt) {
    plan->kernels.step(step);
    return;
  }
  const size_t m = step->product.m, most = fl_rows_at_once(plan, m, member);
  for (size_t first = 0; first < m && !fl_halted(member, 0); first += most) {
    fl_step part = fl_rows_of_step(step, first, m - first < most ? m - first : most);
    for (part.product.last = 0; fl_next_panels(&part.product, step->product.last, member);) plan->kernels.step(&part);
  }
}

static inline void fl_run_product(const fl_plan *plan, const fl_product *product, fl_member *member) {
  if (!member || !member->halt) {
    plan->kernels.product(product);
    return;
  }
  const size_t m = product->m, most = fl_rows_at_once(plan, m, member);
  for (size_t first = 0; first < m && !fl_halted(member, 0); first += most) {
    fl_product part = fl_rows_of_product(product, first, m - first < most ? m - first : most);
    for (part.last = 0; fl_next_panels(&part, product->last, member);) plan->kernels.product(&part);
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
