/* Layers of a stack side by side, one or more steps apart: as a wavefront of blocks of steps, each by one member, or
 * along diagonals of single steps, each by all of them.
 *
 * SPDX-License-Identifier: BSD-3-Clause */
#ifndef FASTLSTM_FORWARD_STACK_H
#define FASTLSTM_FORWARD_STACK_H

#include "forward_layers.h"

/* layer l in the hands of `members`, with the scratch of hand `hand` */
static void begin_layer(const forward_call *call, size_t l, size_t hand, size_t members, fl_member *member) {
  forward_layer *const layer = &call->layers[hand];
  layer->pass = make_pass(call, l, 0);
  layer->rows = (forward_rows){.group = fl_group_of(call->order, call->sequence->B, 0, 1, members, member),
                               .pass = &layer->pass,
                               .at = &call->pointers[hand],
                               .own = &call->arrays[hand]};
  begin_rows(&layer->rows);
}

/* ---- a wavefront ------------------------------------------------------------------------------------------------ */

/* the steps of a block; 0 where the member has to leave */
static int run_block(const forward_call *call, const fl_wavefront_block *block, fl_member *alone) {
  const size_t l = block->lane;
  forward_rows *const rows = &call->layers[l].rows;
  if (block->number == 0) begin_layer(call, l, l, 1, alone);
  rows->group.member = alone;
  const int last = block->number + 1 == call->front.blocks;
  const size_t s0 = rows->s, s1 = last ? rows->steps : (block->number + 1) * call->cut.front;
  while (rows->s < s1)
    if (!run_chunk(rows)) return 0;
  end_rows(rows, s0); /* before the layer after the next writes over their last outputs */
  if (call->tape && call->tape->dropped && l + 1 < call->plan->L)
    for (size_t s = s0; s < s1; s++) drop_step(call->tape, l, s);
  const size_t t1 = last ? call->sequence->T : s1;
  for (size_t t = s0; call->tape && l + 1 == call->plan->L && t < t1; t++) copy_output(call, t);
  for (size_t t = s0; call->trace && t < t1; t++)
    if (t % call->trace->every == 0) trace_outputs(rows->pass, t);
  return 1;
}

static void run_wavefront(const forward_call *call, fl_member *member) {
  for (fl_wavefront_block block = {0}; fl_wavefront_next(&call->front, member, &block);
       fl_wavefront_done(&call->front, &block)) {
    fl_member alone = {.halt = member->halt, .caller = member->caller, .work = member->work};
    if (!run_block(call, &block, &alone)) return;
    member->work = alone.work;
  }
}

/* ---- diagonals -------------------------------------------------------------------------------------------------- */

/* Step s of a layer runs beside step s + 1 of the layer below, in one phase, whose items are the panels of all layers:
 * a member keeps the same units of the same layers, with both their weights, in its cache from phase to phase. */

/* layer l's step on diagonal d, if it has one */
static int on_diagonal(const forward_rows *rows, size_t l, size_t d) {
  return d >= l && d - l < rows->steps;
}

static void point_at_diagonal(const forward_call *call, forward_layer *layers, size_t d) {
  for (size_t l = 0; l < call->plan->L; l++) {
    forward_rows *const rows = &layers[l].rows;
    if (!on_diagonal(rows, l, d)) continue;
    while (length_at(rows, rows->active - 1) <= rows->s) rows->active--;
    point_at_inputs(rows, rows->s, rows->s + 1, rows->active);
    point_at_step(rows, &rows->step, rows->s, rows->active);
    if (rows->pass->table) rows->step.given = rows->at->x;
  }
}

/* Some of all layers' panels. Whoever has a layer's first one copies the rows that have ended: the layer after the next
 * writes over their last outputs two diagonals later. */
static void run_panels(const forward_call *call, forward_layer *layers, size_t d, fl_items some) {
  const size_t panels = call->plan->panels;
  while (some.first < some.end) {
    const size_t l = some.first / panels, first = some.first % panels, left = some.end - some.first;
    forward_rows *const rows = &layers[l].rows;
    fl_product *const product = &rows->step.product;
    product->first = first;
    product->last = panels - first < left ? panels : first + left;
    some.first += product->last - first;
    if (first == 0 && rows->s == d - l && (rows->s || !rows->steps)) copy_ends(rows, rows->s ? rows->s - 1 : 0);
    if (on_diagonal(rows, l, d)) call->plan->kernels.step(&rows->step);
  }
}

/* multiply-adds of a panel of the layer that has most of them: the first, whose input may be wide, or any other */
static size_t most_work(const forward_layer *layers, size_t L) {
  const size_t first = layers[0].rows.work, last = layers[L - 1].rows.work;
  return first > last ? first : last;
}

/* 0 where the member has to leave */
static int run_diagonals(const forward_call *call, fl_seat *seat) {
  const size_t L = call->plan->L, items = L * call->plan->panels;
  forward_layer *const layers = call->layers + seat->person * L;
  for (size_t l = 0; l < L; l++) begin_layer(call, l, seat->person * L + l, call->cut.team, &seat->member);
  const fl_group *const group = &layers[0].rows.group;
  const size_t work = most_work(layers, L), diagonals = layers[0].rows.steps + L; /* the last one copies ends */
  for (size_t d = 0; d < diagonals; d++) {
    if (fl_halted(&seat->member, items * work)) return 0;
    point_at_diagonal(call, layers, d);
    fl_share share = fl_share_of(group, items, work);
    while (fl_share_next(group, &share)) run_panels(call, layers, d, share.part);
    for (size_t l = 0; l < L; l++) layers[l].rows.s += (size_t)on_diagonal(&layers[l].rows, l, d);
  }
  return 1;
}

static void run_stack(const forward_call *call, fl_member *member) {
  for (fl_seat seat; fl_sit(call->tables, member, &seat); fl_rise(call->tables, member, &seat))
    if (!run_diagonals(call, &seat)) return;
}

#endif
