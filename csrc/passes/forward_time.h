/* The time loop of a group of rows: where the rows are, the products and gates of a step, of a chunk, of all steps.
 *
 * SPDX-License-Identifier: BSD-3-Clause */
#ifndef FASTLSTM_FORWARD_TIME_H
#define FASTLSTM_FORWARD_TIME_H

#include <string.h>
#include "dropout.h"
#include "forward_scratch.h"
#include "layer_step.h"
#include "table.h"
#include "trace.h"

static size_t length_at(const forward_rows *rows, size_t r) {
  return fl_length(rows->pass->call->sequence, fl_group_row(&rows->group, r));
}

/* input step that a row is at in its own step `s` */
static ptrdiff_t time_of(const forward_rows *rows, size_t r, size_t s) {
  return (ptrdiff_t)(rows->pass->reverse ? length_at(rows, r) - 1 - s : s);
}

static size_t tape_row(const forward_rows *rows, size_t s, size_t r) {
  return rows->pass->call->tape->offset[s] + fl_group_place(&rows->group, r);
}

/* the only arithmetic in bytes: what is `bytes` on from a place in the caller's arrays */
static void *place(const void *start, ptrdiff_t bytes) {
  return (char *)start + bytes;
}

/* ---- pointers --------------------------------------------------------------------------------------------------- */

/* z rows of scratch: [panel][row][FL_PANEL], the same for every chunk */
static void point_at_scratch(const forward_rows *rows) {
  const fl_cut *const cut = &rows->pass->call->cut;
  const size_t n = rows->group.n, H = rows->pass->call->plan->H, lines = cut->chunk ? cut->chunk * cut->rows : n;
  if (steps_from_table(rows->pass)) {
    for (size_t r = 0; r < n; r++) rows->at->z[r] = rows->own->fused + r * FL_PANEL;
  } else if (!rows->pass->gates) {
    for (size_t r = 0; r < lines; r++) rows->at->z[r] = rows->own->z + r * FL_PANEL;
  }
  for (size_t r = 0; rows->own->hidden && r < n; r++) {
    rows->at->hidden[r] = rows->own->hidden + r * H;
    rows->at->projected[r] = rows->own->projected + r * FL_PANEL;
  }
}

/* with a table the input's part of the pre-activations */
static const real *input_at(const forward_rows *rows, size_t r, size_t s) {
  const forward_pass *const pass = rows->pass;
  const ptrdiff_t b = (ptrdiff_t)fl_group_row(&rows->group, r), t = time_of(rows, r, s);
  const void *const x = pass->x_starts ? place(pass->x, ((ptrdiff_t)pass->x_starts[t] + b) * pass->x_b)
                                       : place(pass->x, b * pass->x_b + t * pass->x_t);
  return pass->table ? fl_table_row(pass->call->plan, pass->table, *(const int64_t *)x) : x;
}

static real *output_at(const forward_rows *rows, size_t r, size_t s) {
  const forward_pass *const pass = rows->pass;
  const ptrdiff_t b = (ptrdiff_t)fl_group_row(&rows->group, r), t = time_of(rows, r, s);
  return pass->y_starts ? place(pass->y, ((ptrdiff_t)pass->y_starts[t] + b) * pass->y_b)
                        : place(pass->y, b * pass->y_b + t * pass->y_t);
}

/* x rows of steps s0..s1, step by step (and with a tape their z rows); how many there are */
static size_t point_at_inputs(const forward_rows *rows, size_t s0, size_t s1, size_t alive) {
  const forward_pass *const pass = rows->pass;
  size_t n = 0;
  for (size_t s = s0; s < s1; s++) {
    while (length_at(rows, alive - 1) <= s) alive--;
    for (size_t r = 0; r < alive; r++, n++) {
      rows->at->x[n] = input_at(rows, r, s);
      if (pass->gates) rows->at->z[n] = pass->gates + tape_row(rows, s, r) * pass->call->tape->gate_row;
    }
  }
  return n;
}

/* the states that step s reads and writes */
static void point_at_states(const forward_rows *rows, size_t s, size_t active) {
  const forward_pass *const pass = rows->pass;
  const forward_pointers *const at = rows->at;
  const fl_sequence *const sequence = pass->call->sequence;
  const size_t H = pass->call->plan->H, R = pass->call->plan->R;
  const ptrdiff_t step = pass->reverse ? -pass->y_t : pass->y_t;
  for (size_t r = 0; r < active; r++) {
    const size_t b = fl_group_row(&rows->group, r);
    if (s == 0) {
      at->h[r] = pass->h_0 ? pass->h_0 + b * R : pass->call->zeros;
      at->c_prev[r] = pass->c_0 ? pass->c_0 + b * H : pass->call->zeros;
      at->y[r] = output_at(rows, r, 0);
      at->c[r] = pass->c_n + b * H;
    } else {
      at->h[r] = at->y[r];
      at->c_prev[r] = at->c[r];
      at->y[r] = pass->y_starts ? output_at(rows, r, s) : place(at->y[r], step);
    }
    if (pass->c) at->c[r] = pass->c + tape_row(rows, s, r) * pass->call->tape->cell_row;
    if (sequence->resets && sequence->resets[(ptrdiff_t)s * sequence->resets_t + (ptrdiff_t)b * sequence->resets_b])
      at->h[r] = at->c_prev[r] = pass->call->zeros;
  }
}

/* Of the rows that have ended since step `from`, 0: and of those without steps, the states after the last step, and the
 * caller's rows past their lengths. */
static void copy_ends(const forward_rows *rows, size_t from) {
  const forward_pass *const pass = rows->pass;
  const size_t H = pass->call->plan->H, R = pass->call->plan->R, T = pass->call->sequence->T;
  for (size_t r = 0; r < rows->group.n; r++) {
    const size_t b = fl_group_row(&rows->group, r), length = length_at(rows, r);
    if (length > rows->s || (from && length <= from)) continue;
    const real *const h = length ? rows->at->y[r] : pass->h_0 ? pass->h_0 + b * R : pass->call->zeros;
    const real *const c = length ? rows->at->c[r] : pass->c_0 ? pass->c_0 + b * H : pass->call->zeros;
    memcpy(pass->h_n + b * R, h, R * sizeof(real));
    if (c != pass->c_n + b * H) memcpy(pass->c_n + b * H, c, H * sizeof(real));
    for (size_t t = length; pass->tail && t < T; t++)
      memset(place(pass->tail, (ptrdiff_t)t * pass->y_t + (ptrdiff_t)b * pass->y_b), 0, R * sizeof(real));
  }
}

static void end_rows(const forward_rows *rows, size_t from) {
  for (size_t one; fl_next(rows->group.member, 1, &one);) copy_ends(rows, from);
}

/* ---- the time loop ---------------------------------------------------------------------------------------------- */

/* h = W_hr hidden, 32 outputs a panel, then into the rows of y */
static void project(const forward_rows *rows, size_t active) {
  const fl_plan *const plan = rows->pass->call->plan;
  fl_product product = fl_layer_project(plan, rows->pass->layer, active, rows->at->hidden, rows->at->projected);
  fl_share share = fl_share_of(&rows->group, plan->project_panels, active * plan->H * FL_PANEL);
  while (fl_share_next(&rows->group, &share)) {
    product.first = share.part.first;
    product.last = share.part.end;
    plan->kernels.product(&product);
    for (size_t r = 0; r < active; r++) fl_unpack_projected(plan, &product, r, rows->at->y[r]);
  }
}

/* The products of a group's steps. Without chunks: input and state in one product, scratch packed by rows; with them,
 * the input's product first, of a chunk, from which the steps go on; with a table they go on from its rows. */
static void begin_products(const forward_rows *rows, fl_step *step, fl_product *input) {
  const forward_pass *const pass = rows->pass;
  const forward_pointers *const at = rows->at;
  const fl_plan *const plan = pass->call->plan;
  const size_t I = pass->layer->input_size;
  *step = (fl_step){.product = {.operand = {{at->x, I}, {at->h, plan->R}},
                                .weights = pass->layer->weights,
                                .weights_panel = fl_weights_panel(plan, I),
                                .start = pass->layer->bias,
                                .z = at->z,
                                .skip_zeros = pass->layer->skip_zeros},
                    .units = plan->H,
                    .c_prev = at->c_prev,
                    .c = at->c,
                    .h = plan->P ? at->hidden : at->y,
                    .train = pass->gates || pass->call->trace,
                    .form = plan->form,
                    .peephole = pass->layer->peephole};
  *input = step->product;
  input->operand[1].k = 0;
  input->z_panel = pass->gates ? FL_PANEL : z_rows(pass->call) * FL_PANEL;
  if (!pass->call->cut.chunk && !pass->table) return;
  *step = fl_given_step(*step, NULL); /* the rows of a table come with each step */
  if (!steps_from_table(pass)) step->product.z_panel = input->z_panel;
}

/* the same from a table */
static void copy_table(const forward_rows *rows, const fl_product *input) {
  fl_share share = fl_share_of(&rows->group, rows->pass->call->plan->panels, input->m * FL_PANEL);
  while (fl_share_next(&rows->group, &share))
    for (size_t r = 0; r < input->m; r++)
      for (size_t p = share.part.first; p < share.part.end; p++)
        memcpy((real *)input->z[r] + p * input->z_panel, (const real *)input->operand[0].rows[r] + p * FL_PANEL,
               FL_PANEL * sizeof(real));
}

/* the input's part of the pre-activations of steps s0..s1; 0 where the member has to leave */
static int run_input(const forward_rows *rows, fl_product *input, size_t s0, size_t s1, size_t active) {
  const fl_plan *const plan = rows->pass->call->plan;
  input->m = point_at_inputs(rows, s0, s1, active);
  if (!rows->pass->call->cut.chunk || steps_from_table(rows->pass)) return 1;
  if (rows->pass->table) {
    copy_table(rows, input);
    return 1;
  }
  const size_t work = input->m * input->operand[0].k * FL_PANEL;
  const int at_once = fl_share_of(&rows->group, plan->panels, work).grain == plan->panels;
  if (at_once && fl_halted(rows->group.member, plan->panels * work)) return 0;
  fl_share_product(plan, &rows->group, work, input);
  return 1;
}

/* step s of the rows that are not over yet, but for its panels */
static void point_at_step(const forward_rows *rows, fl_step *step, size_t s, size_t active) {
  point_at_states(rows, s, active);
  step->product.m = active;
  step->product.down = s & 1;
  if (!rows->pass->call->cut.chunk || steps_from_table(rows->pass)) step->product.z_panel = active * FL_PANEL;
}

/* What a trace keeps of some panels of step s: before it, or after. */
static void trace_rows(const forward_rows *rows, const fl_step *step, size_t s, size_t active, int after) {
  const trace_part part = trace_part_of(rows->pass, &step->product);
  const size_t every = rows->pass->call->trace->every;
  for (size_t r = 0; r < active; r++) {
    const size_t t = (size_t)time_of(rows, r, s);
    if (every > 1 && t % every) continue;
    const size_t at = trace_place(rows->pass, t, fl_group_row(&rows->group, r));
    if (after)
      keep_after(&part, at, step->product.z[r], step->product.z_panel, step->c[r]);
    else
      keep_before(&part, at, step->c_prev[r]);
  }
}

/* A step that is looked at: who has some of its panels keeps what they were and what they become. */
static void run_traced_step(const forward_rows *rows, fl_step *step, size_t s, size_t active, size_t work) {
  const forward_call *const call = rows->pass->call;
  fl_share share = fl_share_of(&rows->group, call->plan->panels, work);
  while (fl_share_next(&rows->group, &share)) {
    step->product.first = share.part.first;
    step->product.last = share.part.end;
    if (call->trace->c_prev) trace_rows(rows, step, s, active, 0);
    call->plan->kernels.step(step);
    trace_rows(rows, step, s, active, 1);
  }
}

/* the same, all of it; work: multiply-adds of a panel */
static void run_step(const forward_rows *rows, fl_step *step, size_t s, size_t active, size_t work) {
  const fl_plan *const plan = rows->pass->call->plan;
  point_at_step(rows, step, s, active);
  if (rows->pass->call->trace)
    run_traced_step(rows, step, s, active, work);
  else
    fl_share_step(plan, &rows->group, work, step);
  if (plan->P) project(rows, active);
}

/* where step s's chunk ends */
static size_t chunk_end(const forward_rows *rows, size_t s) {
  const size_t chunk = rows->pass->call->cut.chunk ? rows->pass->call->cut.chunk : 1;
  return rows->steps - s < chunk ? rows->steps : s + chunk;
}

/* The next chunk. 0 where the call has been given up, and its member has to leave. */
static int run_chunk(forward_rows *rows) {
  const forward_call *const call = rows->pass->call;
  const size_t s1 = chunk_end(rows, rows->s);
  if (!run_input(rows, &rows->input, rows->s, s1, rows->active)) return 0;
  for (size_t row = 0; rows->s < s1; rows->s++) {
    if (fl_halted(rows->group.member, call->plan->panels * rows->work)) return 0;
    while (length_at(rows, rows->active - 1) <= rows->s) rows->active--;
    if (steps_from_table(rows->pass))
      rows->step.given = rows->at->x + row;
    else if (call->cut.chunk)
      rows->step.product.z = rows->at->z + row;
    run_step(rows, &rows->step, rows->s, rows->active, rows->work);
    row += rows->active;
  }
  return 1;
}

/* before the first step */
static void begin_rows(forward_rows *rows) {
  rows->active = rows->group.n;
  rows->steps = rows->active ? length_at(rows, 0) : 0;
  point_at_scratch(rows);
  begin_products(rows, &rows->step, &rows->input);
  rows->work = rows->active * (rows->step.product.operand[0].k + rows->step.product.operand[1].k) * FL_PANEL;
}

/* 0 where the member has to leave */
static int run_steps(forward_rows *rows) {
  begin_rows(rows);
  while (rows->s < rows->steps)
    if (!run_chunk(rows)) return 0;
  end_rows(rows, 0);
  return 1;
}

#endif
