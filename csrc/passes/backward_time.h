/* The time loop, back: only what must be in it. That is the gradient of h that a step hands to the one before it, dz U,
 * and the gates, whose activations are overwritten by their gradients dz.
 *
 * SPDX-License-Identifier: BSD-3-Clause */
#ifndef FASTLSTM_BACKWARD_TIME_H
#define FASTLSTM_BACKWARD_TIME_H

#include "backward_parts.h"

typedef struct {
  fl_group group;
  const backward_pass *pass;
  backward_scratch *at;
} backward_rows;

/* the tape's row of step s of row r of the group */
static size_t numbered(const backward_rows *rows, size_t s, size_t r) {
  return rows->pass->call->tape->offset[s] + fl_group_place(&rows->group, r);
}

/* rows of the group that run at step s */
static size_t running(const backward_rows *rows, size_t s) {
  return fl_group_among(&rows->group, fl_tape_running(rows->pass->call->tape, s));
}

/* dh of row r = incoming gradient of y at step s (+ that of h_n), columns from..end; past R: zero. Step -1: zero. */
static void start_dh(const backward_rows *rows, ptrdiff_t s, size_t r, int last, size_t from, size_t end) {
  const backward_pass *const pass = rows->pass;
  const fl_tape *const tape = pass->call->tape;
  const size_t R = tape->plan->R, b = fl_group_row(&rows->group, r);
  const real *const h_n = pass->call->gradients->h_n;
  real *const dh = rows->at->dh[r];
  if (s < 0) {
    memset(dh + from, 0, (end - from) * sizeof(real));
    return;
  }
  const size_t time = pass->d ? tape->length[b] - 1 - (size_t)s : (size_t)s;
  const real *const dy = pass->dy ? pass->dy + (time * tape->B + b) * tape->plan->D * R : NULL;
  const real *const dh_n = last && h_n ? h_n + (pass->index * tape->B + b) * R : NULL;
  for (size_t u = from; u < end; u++) {
    real sum = dy && u < R ? dy[u] : 0;
    if (dh_n && u < R) sum += dh_n[u];
    dh[u] = sum;
  }
}

/* The gradient of h at step s of all running rows, in dh: what comes from above, and dz U from step s + 1. With s = -1,
 * that of h_0. */
static void dh_of_step(const backward_rows *rows, ptrdiff_t s, size_t steps) {
  const backward_pass *const pass = rows->pass;
  const fl_tape *const tape = pass->call->tape;
  const fl_plan *const plan = tape->plan;
  const size_t next = (size_t)(s + 1), later = next < steps ? running(rows, next) : 0;
  const size_t active = s < 0 ? later : running(rows, (size_t)s), dh_row = rounded(plan->R);
  for (size_t r = 0; r < later; r++) rows->at->dz[r] = pass->gates + numbered(rows, next, r) * tape->gate_row;
  fl_product product = {.m = later,
                        .operand = {{rows->at->dz, plan->panels * FL_PANEL}},
                        .weights = pass->own->u,
                        .weights_panel = plan->panels * FL_PANEL * FL_PANEL,
                        .z = rows->at->dh,
                        .z_panel = FL_PANEL,
                        .into = FL_ADD,
                        .down = next & 1};
  fl_share share = fl_share_of(&rows->group, fl_panels_of(plan->R), later * plan->panels * FL_PANEL * FL_PANEL);
  while (fl_share_next(&rows->group, &share)) {
    const size_t from = share.part.first * FL_PANEL, end = share.part.end * FL_PANEL;
    for (size_t r = 0; r < active; r++)
      start_dh(rows, s, r, tape->length[fl_group_row(&rows->group, r)] == next, from, end);
    product.first = share.part.first;
    product.last = share.part.end;
    if (later) plan->kernels.product(&product);
    for (size_t r = 0; tape->resets && r < later; r++) /* no gradient passes a reset */
      if (fl_tape_reset(tape, next, fl_group_row(&rows->group, r))) start_dh(rows, s, r, 0, from, end);
    for (size_t r = 0; plan->P && s >= 0 && r < active; r++) {
      const real *const dh = rows->at->dh[r];
      memcpy(pass->own->dh_all + numbered(rows, (size_t)s, r) * dh_row + from, dh + from, (end - from) * sizeof(real));
    }
  }
}

/* dm = dh W_hr */
static void unproject(const backward_rows *rows, size_t active) {
  const fl_plan *const plan = rows->pass->call->tape->plan;
  fl_product product = {.m = active,
                        .operand = {{(const void *const *)rows->at->dh, plan->P}},
                        .weights = rows->pass->own->hr,
                        .weights_panel = plan->P * FL_PANEL,
                        .z = rows->at->dm,
                        .z_panel = FL_PANEL,
                        .into = FL_ADD};
  fl_share share = fl_share_of(&rows->group, fl_panels_of(plan->H), active * plan->P * FL_PANEL);
  while (fl_share_next(&rows->group, &share)) {
    for (size_t r = 0; r < active; r++) {
      real *const dm = rows->at->dm[r];
      memset(dm + share.part.first * FL_PANEL, 0, (share.part.end - share.part.first) * FL_PANEL * sizeof(real));
    }
    product.first = share.part.first;
    product.last = share.part.end;
    plan->kernels.product(&product);
  }
}

/* dc of the rows whose last step is s, and of those that are reset behind it: units from..end */
static void start_dc(const backward_rows *rows, size_t s, size_t active, size_t from, size_t end) {
  const backward_pass *const pass = rows->pass;
  const fl_tape *const tape = pass->call->tape;
  const real *const dc_n = pass->call->gradients->c_n;
  for (size_t r = 0; r < active; r++) {
    const size_t b = fl_group_row(&rows->group, r), bytes = (end - from) * sizeof(real);
    real *const dc = rows->at->dc[r];
    if (tape->length[b] == s + 1 && dc_n)
      memcpy(dc + from, dc_n + (pass->index * tape->B + b) * tape->plan->H + from, bytes);
    else if (tape->length[b] == s + 1 || fl_tape_reset(tape, s + 1, b))
      memset(dc + from, 0, bytes);
  }
}

/* dz and dc of step s */
static void gates_of_step(const backward_rows *rows, size_t s) {
  const backward_pass *const pass = rows->pass;
  const backward_scratch *const at = rows->at;
  const fl_tape *const tape = pass->call->tape;
  const fl_plan *const plan = tape->plan;
  const size_t active = running(rows, s);
  for (size_t r = 0; r < active; r++) {
    const size_t n = numbered(rows, s, r);
    at->z[r] = pass->gates + n * tape->gate_row;
    at->c[r] = pass->c + n * tape->cell_row;
    at->c_prev[r] = cell_before(pass, s, fl_group_place(&rows->group, r), fl_group_row(&rows->group, r));
    if (plan->P) at->hidden[r] = pass->own->hidden + n * tape->cell_row;
  }
  fl_gradient_step step = {.m = active,
                           .units = plan->H,
                           .z = at->z,
                           .c_prev = at->c_prev,
                           .c = at->c,
                           .dh = (const void *const *)(plan->P ? at->dm : at->dh),
                           .dc = at->dc,
                           .hidden = plan->P ? at->hidden : NULL,
                           .form = plan->form,
                           .peephole = pass->layer->peephole};
  fl_share share = fl_share_of(&rows->group, plan->panels, active * FL_PANEL);
  while (fl_share_next(&rows->group, &share)) {
    const size_t end = share.part.end * FL_UNITS;
    start_dc(rows, s, active, share.part.first * FL_UNITS, end < plan->H ? end : plan->H);
    step.first = share.part.first;
    step.last = share.part.end;
    plan->kernels.gradient_step(&step);
  }
}

/* the gradients of the initial states */
static void end_time(const backward_rows *rows) {
  const backward_pass *const pass = rows->pass;
  const fl_tape *const tape = pass->call->tape;
  const fl_gradients *const gradients = pass->call->gradients;
  const size_t H = tape->plan->H, R = tape->plan->R;
  const real *const h_n = gradients->h_n, *const c_n = gradients->c_n, *const zeros = pass->call->zeros;
  real *const h_0 = gradients->h_0, *const c_0 = gradients->c_0;
  for (size_t one; fl_next(rows->group.member, 1, &one);) {
    for (size_t r = 0; r < rows->group.n; r++) {
      const size_t b = fl_group_row(&rows->group, r), at = pass->index * tape->B + b;
      const int ran = tape->length[b] > 0, cut = ran && fl_tape_reset(tape, 0, b);
      const real *const h = ran ? rows->at->dh[r] : h_n ? h_n + at * R : zeros;
      const real *const c = cut ? zeros : ran ? rows->at->dc[r] : c_n ? c_n + at * H : zeros;
      if (h_0) memcpy(h_0 + at * R, h, R * sizeof(real));
      if (c_0) memcpy(c_0 + at * H, c, H * sizeof(real));
    }
  }
}

/* 0 where the call has been given up, and its member has to leave */
static int run_back(const backward_rows *rows) {
  const backward_pass *const pass = rows->pass;
  const fl_tape *const tape = pass->call->tape;
  const fl_plan *const plan = tape->plan;
  const size_t n = rows->group.n, steps = n ? tape->length[fl_group_row(&rows->group, 0)] : 0;
  for (size_t r = 0; r < n; r++) {
    const size_t at = fl_group_place(&rows->group, r);
    rows->at->dh[r] = pass->own->dh + at * rounded(plan->R);
    rows->at->dc[r] = pass->own->dc + at * tape->cell_row;
    if (plan->P) rows->at->dm[r] = pass->own->dm + at * rounded(plan->H);
  }
  const size_t work = n * plan->panels * FL_PANEL * (plan->R + 1);
  for (size_t s = steps; s-- > 0;) {
    if (fl_halted(rows->group.member, work)) return 0;
    dh_of_step(rows, (ptrdiff_t)s, steps);
    if (plan->P) unproject(rows, running(rows, s));
    gates_of_step(rows, s);
  }
  if (steps) dh_of_step(rows, -1, steps);
  end_time(rows);
  return 1;
}

/* a group of rows of a layer in one direction, by who has a seat at it and its team */
static int run_rows_back(const backward_pass *pass, size_t group, fl_seat *seat) {
  const backward_call *const call = pass->call;
  const fl_cut *const cut = &call->cut;
  const backward_rows rows = {
      .group = fl_group_of(call->tape->order, call->tape->B, group, cut->groups, cut->team, &seat->member),
      .pass = pass,
      .at = &call->scratch[seat->person]};
  return run_back(&rows);
}

/* the layer's directions and groups of rows, each by a team; 0 where the member has to leave */
static int run_time(const backward_call *call, size_t l, fl_member *member) {
  const size_t D = call->tape->plan->D;
  const fl_tables *const tables = &call->tables[l];
  for (fl_seat seat; fl_sit(tables, member, &seat); fl_rise(tables, member, &seat)) {
    const backward_pass pass = make_backward_pass(call, l, seat.task % D);
    if (!run_rows_back(&pass, seat.task / D, &seat)) return 0;
  }
  return !fl_halted(member, 0);
}

#endif
