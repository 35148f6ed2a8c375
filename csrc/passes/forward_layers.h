/* Layer after layer: what each reads and writes, and who shares its directions and rows.
 *
 * SPDX-License-Identifier: BSD-3-Clause */
#ifndef FASTLSTM_FORWARD_LAYERS_H
#define FASTLSTM_FORWARD_LAYERS_H

#include "forward_time.h"

/* what layer l reads */
static void point_at_input(forward_pass *pass, size_t l) {
  const forward_call *const call = pass->call;
  const fl_sequence *const sequence = call->sequence;
  const fl_tape *const tape = call->tape;
  const size_t full = call->plan->D * call->plan->R * sizeof(real);
  if (l == 0) {
    pass->x = sequence->input;
    pass->x_t = sequence->input_t;
    pass->x_b = sequence->input_b;
    pass->x_starts = sequence->starts;
    if (call->table) pass->table = fl_table_of(call->table, pass->reverse);
    return;
  }
  pass->x =
      !tape ? call->between[(l - 1) % 2] : (tape->dropped ? tape->dropped : tape->y) + (l - 1) * fl_tape_outputs(tape);
  pass->x_t = (ptrdiff_t)(sequence->B * full);
  pass->x_b = (ptrdiff_t)full;
}

/* what it writes */
static void point_at_output(forward_pass *pass, size_t l, size_t d) {
  const forward_call *const call = pass->call;
  const fl_sequence *const sequence = call->sequence;
  const fl_tape *const tape = call->tape;
  const size_t R = call->plan->R, full = call->plan->D * R * sizeof(real);
  const int last = l + 1 == call->plan->L;
  if (last && !tape) {
    pass->y = sequence->output ? (real *)sequence->output + d * R : NULL; /* there may be none without steps */
    pass->tail = sequence->starts ? NULL : pass->y;
    pass->y_t = sequence->output_t;
    pass->y_b = sequence->output_b;
    pass->y_starts = sequence->starts;
    return;
  }
  pass->y = (tape ? tape->y + l * fl_tape_outputs(tape) : call->between[l % 2]) + d * R;
  pass->tail = last ? pass->y : NULL;
  pass->y_t = (ptrdiff_t)(sequence->B * full);
  pass->y_b = (ptrdiff_t)full;
}

static forward_pass make_pass(const forward_call *call, size_t l, size_t d) {
  const fl_plan *const plan = call->plan;
  const fl_sequence *const sequence = call->sequence;
  const fl_tape *const tape = call->tape;
  const size_t index = l * plan->D + d, h = index * sequence->B * plan->R, c = index * sequence->B * plan->H;
  forward_pass pass = {.call = call, .layer = &plan->layers[index], .index = index, .reverse = d == 1};
  point_at_input(&pass, l);
  point_at_output(&pass, l, d);
  pass.h_0 = sequence->h_0 ? (const real *)sequence->h_0 + h : NULL;
  pass.c_0 = sequence->c_0 ? (const real *)sequence->c_0 + c : NULL;
  pass.h_n = (real *)sequence->h_n + h;
  pass.c_n = (real *)sequence->c_n + c;
  if (tape) {
    pass.gates = tape->gates + index * fl_tape_gates(tape);
    pass.c = tape->c + index * fl_tape_cells(tape);
  }
  return pass;
}

/* what the next layer reads of step t, after dropout */
static void drop_step(const fl_tape *tape, size_t layer, size_t t) {
  const size_t row = tape->plan->D * tape->plan->R;
  for (size_t b = 0; b < tape->B; b++) {
    const size_t at = layer * fl_tape_outputs(tape) + (t * tape->B + b) * row;
    if (t < tape->length[b]) fl_drop_row(tape, layer, t, b, tape->y + at, tape->dropped + at, row);
  }
}

/* the outputs of a tape's last layer at time t, with the caller's strides */
static void copy_output(const forward_call *call, size_t t) {
  const fl_sequence *const sequence = call->sequence;
  const size_t B = sequence->B, L = call->plan->L, row = call->plan->D * call->plan->R;
  const real *const y = call->tape->y + (L - 1) * fl_tape_outputs(call->tape) + t * B * row;
  for (size_t b = 0; b < B; b++)
    memcpy(place(sequence->output, (ptrdiff_t)t * sequence->output_t + (ptrdiff_t)b * sequence->output_b), y + b * row,
           row * sizeof(real));
}

/* where the state is that row b's step at time t begins with, out of the layer's outputs; NULL: zeros */
static const real *output_before(const forward_pass *pass, size_t t, size_t b) {
  const fl_sequence *const sequence = pass->call->sequence;
  const size_t R = pass->call->plan->R, first = pass->reverse ? fl_length(sequence, b) - 1 : 0;
  if (sequence->resets && sequence->resets[(ptrdiff_t)t * sequence->resets_t + (ptrdiff_t)b * sequence->resets_b])
    return NULL;
  if (t == first) return pass->h_0 ? pass->h_0 + b * R : NULL;
  return place(pass->y, (ptrdiff_t)(pass->reverse ? t + 1 : t - 1) * pass->y_t + (ptrdiff_t)b * pass->y_b);
}

/* of a pass that is done up to step t, which is kept: its outputs, and zeros for rows that are over */
static void trace_outputs(const forward_pass *pass, size_t t) {
  const fl_sequence *const sequence = pass->call->sequence;
  const fl_trace *const trace = pass->call->trace;
  const size_t width = fl_trace_outputs(trace, pass->call->plan);
  for (size_t b = 0; b < sequence->B; b++) {
    const size_t at = trace_place(pass, t, b);
    if (t >= fl_length(sequence, b)) {
      clear_past_end(pass, at);
      continue;
    }
    const real *const h = place(pass->y, (ptrdiff_t)t * pass->y_t + (ptrdiff_t)b * pass->y_b);
    keep_outputs(pass, h, trace_row(trace->h, at, width));
    if (trace->h_prev) keep_outputs(pass, output_before(pass, t, b), trace_row(trace->h_prev, at, width));
  }
}

/* a group of rows of a pass, by who has a seat at it and its team */
static int run_rows(const forward_pass *pass, size_t group, fl_seat *seat) {
  const forward_call *const call = pass->call;
  const fl_cut *const cut = &call->cut;
  forward_arrays shared = call->arrays[cut->members > 1 ? seat->task * cut->team : 0];
  shared.fused = call->arrays[seat->person].fused;
  if (!cut->chunk) shared.z = shared.fused;
  forward_rows rows = {
      .group = fl_group_of(call->order, call->sequence->B, group, cut->groups, cut->team, &seat->member),
      .pass = pass,
      .at = &call->pointers[seat->person],
      .own = &shared};
  return run_steps(&rows);
}

/* the layer's directions and groups of rows, each by a team; 0 where the member has to leave */
static int run_layer(const forward_call *call, size_t l, fl_member *member) {
  const size_t D = call->plan->D;
  const fl_tables *const tables = &call->tables[l];
  for (fl_seat seat; fl_sit(tables, member, &seat); fl_rise(tables, member, &seat)) {
    const forward_pass pass = make_pass(call, l, seat.task % D);
    if (!run_rows(&pass, seat.task / D, &seat)) return 0;
  }
  return !fl_halted(member, 0);
}

/* what a trace keeps of them */
static void run_outputs(const forward_call *call, size_t l, fl_member *member) {
  for (size_t d = 0; call->kept && d < call->plan->D; d++) {
    const forward_pass pass = make_pass(call, l, d);
    for (size_t k; fl_next(member, call->kept, &k);)
      if (!fl_halted(member, call->sequence->B * call->plan->R)) trace_outputs(&pass, k * call->trace->every);
  }
}

static void run_layers(const forward_call *call, fl_member *member) {
  const fl_plan *const plan = call->plan;
  const fl_tape *const tape = call->tape;
  for (size_t l = 0; l < plan->L; l++) {
    if (l && tape && tape->dropped && tape->T) {
      for (size_t t; fl_next(member, tape->T, &t);)
        if (!fl_halted(member, tape->B * plan->R)) drop_step(tape, l - 1, t);
    }
    if (!run_layer(call, l, member)) return;
    if (call->trace) run_outputs(call, l, member);
  }
  for (size_t t; tape && tape->T && fl_next(member, tape->T, &t);)
    if (!fl_halted(member, 0)) copy_output(call, t);
}

#endif
