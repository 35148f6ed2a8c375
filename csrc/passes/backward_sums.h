/* After the time loop: dx = dz W, and dW, dU, db, those of peepholes and of the projection: sums over all rows of all
 * steps, in blocks of fixed size and order, each element by one thread.
 *
 * SPDX-License-Identifier: BSD-3-Clause */
#ifndef FASTLSTM_BACKWARD_SUMS_H
#define FASTLSTM_BACKWARD_SUMS_H

#include "backward_parts.h"

/* Sums over all rows of all steps, so many of them in a call as are done soon; each call adds whole blocks of
 * FL_SUM_BLOCK rows. */
static void sum_over_rows(fl_outer outer, void (*kernel)(const fl_outer *), fl_member *member) {
  const size_t columns = outer.part[0].columns + outer.part[1].columns, N = outer.n;
  const size_t row = (outer.last - outer.first) * (columns ? columns : 1);
  const size_t blocks = (N + FL_SUM_BLOCK - 1) / FL_SUM_BLOCK;
  const size_t most = fl_short_calls(member, blocks, row * FL_SUM_BLOCK) * FL_SUM_BLOCK;
  for (size_t n = 0; n < N; n += most) {
    if (fl_halted(member, row * most)) return;
    outer.n = N - n < most ? N - n : most;
    kernel(&outer);
    outer.a = (const real *)outer.a + most * outer.a_row;
    for (fl_outer_part *part = outer.part; part < outer.part + 2 && part->columns; part++) part->b += most;
  }
}

/* rows first..last of a packed gradient, zeroed; columns 0: one number a row */
static fl_outer_part begin_gradient(real *packed, size_t first, size_t last, const void **b, size_t columns) {
  const size_t row = columns ? rounded(columns) : 1;
  memset(packed + first * row, 0, (last - first) * row * sizeof(real));
  return (fl_outer_part){(const void *const *)b, columns, packed + first * row, row};
}

/* dW, dU, db of columns first..last of dz */
static void weight_gradients(const backward_pass *pass, size_t first, size_t last, fl_member *member) {
  const fl_tape *const tape = pass->call->tape;
  const fl_plan *const plan = tape->plan;
  const backward_direction *const own = pass->own;
  const size_t I = pass->layer->input_size, R = plan->R;
  const fl_weight_gradients wanted = wanted_of(pass->call, pass->index);
  fl_outer outer = {.n = tape->N,
                    .a = pass->gates,
                    .a_row = tape->gate_row,
                    .first = first,
                    .last = last,
                    .scratch = pass->call->scratch[member->slot].packed};
  fl_outer_part *part = outer.part;
  if (wanted.weight_ih) *part++ = begin_gradient(own->dw, first, last, own->x, I);
  if (wanted.weight_hh) *part++ = begin_gradient(own->du, first, last, own->h, R);
  if (part > outer.part) sum_over_rows(outer, plan->kernels.outer, member);
  if (wanted.weight_ih) TYPED(unpack)(plan, own->dw, rounded(I), first, last, I, wanted.weight_ih);
  if (wanted.weight_hh) TYPED(unpack)(plan, own->du, rounded(R), first, last, R, wanted.weight_hh);
  if (!wanted.bias) return;
  outer.part[0] = begin_gradient(own->db, first, last, NULL, 0);
  outer.part[1].columns = 0;
  sum_over_rows(outer, plan->kernels.sum_rows, member);
  TYPED(unpack)(plan, own->db, 1, first, last, 1, wanted.bias);
}

/* of the units of one panel */
static void peephole_gradient(const backward_pass *pass, size_t panel) {
  const fl_tape *const tape = pass->call->tape;
  const fl_plan *const plan = tape->plan;
  const fl_peephole_sums sums = {.n = tape->N,
                                 .units = plan->H,
                                 .first = panel,
                                 .last = panel + 1,
                                 .dz = pass->gates,
                                 .dz_row = tape->gate_row,
                                 .c_prev = pass->own->c,
                                 .c = pass->c,
                                 .c_row = tape->cell_row,
                                 .coupled = plan->form->coupled,
                                 .out = wanted_of(pass->call, pass->index).weight_ph};
  if (sums.out) plan->kernels.peephole_sums(&sums);
}

/* dW_hr of rows first..last */
static void projection_gradient(const backward_pass *pass, size_t first, size_t last, fl_member *member) {
  const fl_tape *const tape = pass->call->tape;
  const fl_plan *const plan = tape->plan;
  const size_t H = plan->H, h_row = rounded(H);
  real *const wanted = wanted_of(pass->call, pass->index).weight_hr, *const out = pass->own->dhr + first * h_row;
  if (!wanted) return;
  const fl_outer outer = {.n = tape->N,
                          .a = pass->own->dh_all,
                          .a_row = rounded(plan->R),
                          .first = first,
                          .last = last,
                          .part = {begin_gradient(pass->own->dhr, first, last, pass->own->x, H)},
                          .scratch = pass->call->scratch[member->slot].packed};
  sum_over_rows(outer, plan->kernels.outer, member);
  for (size_t j = first; j < last; j++) memcpy(wanted + j * H, out + (j - first) * h_row, H * sizeof(real));
}

/* n numbers from `from`, or added to what there is */
static void add_row(real *to, const real *from, size_t n, int add) {
  for (size_t i = 0; i < n; i++) to[i] = add ? to[i] + from[i] : from[i];
}

/* dx of n rows from n0 on into the gradient of the layer below, or of the input; the second direction adds to the
 * first */
static void input_gradient(const backward_pass *pass, size_t n0, size_t n, const backward_scratch *scratch) {
  const fl_tape *const tape = pass->call->tape;
  const fl_plan *const plan = tape->plan;
  const size_t I = pass->layer->input_size, l = pass->l;
  real *const out = l ? pass->call->between[(l - 1) % 2] : pass->call->gradients->input;
  for (size_t r = 0; r < n; r++) {
    scratch->rows[r] = pass->gates + (n0 + r) * tape->gate_row;
    scratch->dx[r] = scratch->dx_block + r * rounded(I);
  }
  const fl_product product = {.m = n,
                              .last = fl_panels_of(I),
                              .operand = {{scratch->rows, plan->panels * FL_PANEL}},
                              .weights = pass->own->w,
                              .weights_panel = plan->panels * FL_PANEL * FL_PANEL,
                              .z = scratch->dx,
                              .z_panel = FL_PANEL,
                              .into = FL_ADD};
  memset(scratch->dx_block, 0, n * rounded(I) * sizeof(real));
  plan->kernels.product(&product);
  for (size_t r = 0; r < n; r++) {
    const size_t place = fl_tape_place(tape, n0 + r, pass->d == 1), t = place / tape->B, b = place % tape->B;
    real *const to = out + place * I;
    add_row(to, scratch->dx[r], I, pass->d > 0);
    if (l && tape->dropped && pass->d + 1 == plan->D) fl_drop_row(tape, l - 1, t, b, to, to, I);
  }
}

/* ---- of a layer ------------------------------------------------------------------------------------------------- */

static void projection_sums(const backward_call *call, size_t l, fl_member *member) {
  const fl_tape *const tape = call->tape;
  const size_t D = tape->plan->D, P = tape->plan->P, columns = even_part(call, D, P, FL_PANEL, OUTER_COLUMNS);
  for (size_t d; fl_next(member, D, &d);) /* the direction's rows of x have served: now pointers to those of hidden */
    for (size_t n = 0; n < tape->N; n++) call->directions[d].x[n] = call->directions[d].hidden + n * tape->cell_row;
  for (size_t block; fl_next(member, D * ((P + columns - 1) / columns), &block);) {
    const size_t first = block / D * columns;
    const backward_pass pass = make_backward_pass(call, l, block % D);
    if (!fl_halted(member, 0)) projection_gradient(&pass, first, P - first < columns ? P : first + columns, member);
  }
}

/* the sums over all rows of all steps */
static void run_sums(const backward_call *call, size_t l, fl_member *member) {
  const fl_plan *const plan = call->tape->plan;
  const size_t D = plan->D, N = call->tape->N, gates = plan->panels * FL_PANEL;
  const size_t columns = even_part(call, D, gates, FL_PANEL, OUTER_COLUMNS);
  for (size_t block; fl_next(member, D * ((gates + columns - 1) / columns), &block);) {
    const size_t first = block / D * columns;
    const backward_pass pass = make_backward_pass(call, l, block % D);
    if (!fl_halted(member, 0))
      weight_gradients(&pass, first, gates - first < columns ? gates : first + columns, member);
  }
  if (fl_has_peepholes(plan)) {
    for (size_t block; fl_next(member, D * plan->panels, &block);) {
      const backward_pass pass = make_backward_pass(call, l, block % D);
      if (!fl_halted(member, N * FL_PANEL)) peephole_gradient(&pass, block / D);
    }
  }
  if (plan->P) projection_sums(call, l, member);
}

/* dx, direction by direction */
static void run_inputs(const backward_call *call, size_t l, fl_member *member) {
  const fl_plan *const plan = call->tape->plan;
  const size_t N = call->tape->N, rows = even_part(call, 1, N, 1, DX_ROWS);
  const size_t work = rows * plan->panels * FL_PANEL * plan->layers[l * plan->D].input_size;
  for (size_t d = 0; d < plan->D && N; d++)
    for (size_t block; fl_next(member, (N + rows - 1) / rows, &block);) {
      const size_t n0 = block * rows;
      const backward_pass pass = make_backward_pass(call, l, d);
      if (!fl_halted(member, work))
        input_gradient(&pass, n0, N - n0 < rows ? N - n0 : rows, &call->scratch[member->slot]);
    }
}

#endif
