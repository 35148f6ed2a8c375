/* Whole sequences: layers, directions, lengths, resets, the time loop.
 *
 * A layer in one direction is a pass. Its rows, longest first, walk through time in chunks: the input's part of the
 * pre-activations for all steps of a chunk in one product, then step by step the recurrent product and the gates, whose
 * part meets the input's in one addition. Rows are pointers everywhere, so strides, directions,
 * lengths and resets cost an address, not a copy; rows whose sequence has ended leave the end of the list and cost
 * nothing.
 *
 * Threads share a pass by rows (each thread its own, no waiting inside the time loop), by units (one phase per step),
 * or both: groups of rows, each by a team that shares the units. Or each takes blocks of steps of whatever layer is
 * next, in a wavefront (base/wavefront.h). What is added to what is the same in all cases.
 *
 * For training the same loop writes gates and cells into the tape's rows.
 *
 * SPDX-License-Identifier: BSD-3-Clause */
#include <assert.h>
#include <string.h>
#include "base/fpenv.h"
#include "base/threads.h"
#include "dropout.h"
#include "forward_scratch.h"
#include "group.h"
#include "layer_step.h"
#include "table.h"

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
  if (rows->pass->table) {
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
static void end_rows(const forward_rows *rows, size_t from) {
  const forward_pass *const pass = rows->pass;
  const size_t H = pass->call->plan->H, R = pass->call->plan->R, T = pass->call->sequence->T;
  for (size_t one; fl_next(rows->group.member, 1, &one);) {
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
    plan->kernels->product(&product);
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
                                .weights_panel = (I + plan->R) * FL_PANEL,
                                .start = pass->layer->bias,
                                .z = at->z,
                                .skip_zeros = pass->layer->skip_zeros},
                    .units = plan->H,
                    .c_prev = at->c_prev,
                    .c = at->c,
                    .h = plan->P ? at->hidden : at->y,
                    .train = pass->gates != NULL,
                    .form = plan->form,
                    .peephole = pass->layer->peephole};
  *input = step->product;
  input->operand[1].k = 0;
  input->z_panel = pass->gates ? FL_PANEL : z_rows(pass->call) * FL_PANEL;
  if (!pass->call->cut.chunk && !pass->table) return;
  *step = fl_given_step(*step, NULL); /* the rows of a table come with each step */
  if (!pass->table) step->product.z_panel = input->z_panel;
}

/* the input's part of the pre-activations of steps s0..s1; 0 where the member has to leave */
static int run_input(const forward_rows *rows, fl_product *input, size_t s0, size_t s1, size_t active) {
  const fl_plan *const plan = rows->pass->call->plan;
  input->m = point_at_inputs(rows, s0, s1, active);
  if (!rows->pass->call->cut.chunk || rows->pass->table) return 1;
  const size_t work = input->m * input->operand[0].k * FL_PANEL;
  fl_share share = fl_share_of(&rows->group, plan->panels, work);
  if (share.grain == plan->panels && fl_halted(rows->group.member, plan->panels * work)) return 0;
  while (fl_share_next(&rows->group, &share)) {
    input->first = share.part.first;
    input->last = share.part.end;
    plan->kernels->product(input);
  }
  return 1;
}

/* step s of the rows that are not over yet; work: multiply-adds of a panel */
static void run_step(const forward_rows *rows, fl_step *step, size_t s, size_t active, size_t work) {
  const fl_plan *const plan = rows->pass->call->plan;
  point_at_states(rows, s, active);
  step->product.m = active;
  step->product.down = s & 1;
  if (!rows->pass->call->cut.chunk || rows->pass->table) step->product.z_panel = active * FL_PANEL;
  fl_share share = fl_share_of(&rows->group, plan->panels, work);
  while (fl_share_next(&rows->group, &share)) {
    step->product.first = share.part.first;
    step->product.last = share.part.end;
    plan->kernels->step(step);
  }
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
    if (rows->pass->table)
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

/* ---- all layers ------------------------------------------------------------------------------------------------- */

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
  forward_pass pass = {.call = call, .layer = &plan->layers[index], .reverse = d == 1};
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

/* ---- a wavefront of layers -------------------------------------------------------------------------------------- */

static void begin_layer(const forward_call *call, size_t l) {
  forward_layer *const layer = &call->layers[l];
  layer->pass = make_pass(call, l, 0);
  layer->rows = (forward_rows){.group = fl_group_of(call->order, call->sequence->B, 0, 1, 1, NULL),
                               .pass = &layer->pass,
                               .at = &call->pointers[l],
                               .own = &call->arrays[l]};
}

/* the steps of a block; 0 where the member has to leave */
static int run_block(const forward_call *call, const fl_wavefront_block *block, fl_member *alone) {
  const size_t l = block->lane;
  forward_rows *const rows = &call->layers[l].rows;
  if (block->number == 0) begin_layer(call, l);
  rows->group.member = alone;
  if (block->number == 0) begin_rows(rows);
  const int last = block->number + 1 == call->front.blocks;
  const size_t s0 = rows->s, s1 = last ? rows->steps : (block->number + 1) * call->cut.front;
  while (rows->s < s1)
    if (!run_chunk(rows)) return 0;
  end_rows(rows, s0); /* before the layer after the next writes over their last outputs */
  if (call->tape && call->tape->dropped && l + 1 < call->plan->L)
    for (size_t s = s0; s < s1; s++) drop_step(call->tape, l, s);
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

/* ---- a call ----------------------------------------------------------------------------------------------------- */

static void run_layers(const forward_call *call, fl_member *member) {
  const fl_plan *const plan = call->plan;
  const fl_tape *const tape = call->tape;
  for (size_t l = 0; l < plan->L; l++) {
    if (l && tape && tape->dropped && tape->T) {
      for (size_t t; fl_next(member, tape->T, &t);)
        if (!fl_halted(member, tape->B * plan->R)) drop_step(tape, l - 1, t);
    }
    if (!run_layer(call, l, member)) break;
  }
}

static void run_member(void *argument, fl_member *member) {
  const forward_call *const call = argument;
  const fl_fpenv caller = fl_fpenv_enter();
  if (call->cut.front)
    run_wavefront(call, member);
  else
    run_layers(call, member);
  fl_fpenv_leave(caller);
}

static forward_call make_call(const fl_plan *plan, const fl_sequence *sequence, const fl_table *table, fl_tape *tape,
                              size_t threads) {
  forward_call call = {.plan = plan, .sequence = sequence, .table = table, .tape = tape};
  const fl_extent extent = {sizeof(real), sizeof(weight), sequence->T, sequence->B, 0};
  call.cut = fl_decide(plan, &extent, threads);
  if (tape && !call.cut.chunk) call.cut.chunk = 1; /* every step's gates are kept */
  return call;
}

static void open_wavefront(forward_call *call) {
  const size_t front = call->cut.front, steps = fl_length(call->sequence, call->order[0]);
  call->front.lanes = call->plan->L;
  call->front.blocks = steps ? (steps + front - 1) / front : 1;
  fl_wavefront_open(&call->front);
}

/* Can a step's pre-activations be? Cutting a call multiplies without a look. */
static int is_addressable(const fl_plan *plan, size_t B) {
  size_t step;
  return fl_multiply(B, plan->panels * FL_PANEL * sizeof(real), &step);
}

size_t TYPED(measure_forward)(const fl_plan *plan, size_t T, size_t B, size_t threads) {
  assert(threads >= 1);
  if (!is_addressable(plan, B)) return SIZE_MAX;
  const fl_sequence sequence = {.T = T, .B = B};
  fl_tape none = {0}; /* training takes the same, but for what is in the tape */
  forward_call inference = make_call(plan, &sequence, NULL, NULL, threads);
  forward_call training = make_call(plan, &sequence, NULL, &none, threads);
  fl_arena infers = {0}, trains = {0};
  carve_forward(&inference, &infers);
  carve_forward(&training, &trains);
  return infers.overflow || trains.overflow ? SIZE_MAX : infers.used > trains.used ? infers.used : trains.used;
}

size_t TYPED(count_forward)(const fl_plan *plan, size_t T, size_t B, size_t threads) {
  const fl_sequence sequence = {.T = T, .B = B};
  return is_addressable(plan, B) ? make_call(plan, &sequence, NULL, NULL, threads).cut.members : 1;
}

fl_status TYPED(run_forward)(const fl_plan *plan, const fl_sequence *sequence, const fl_table *table, fl_tape *tape,
                             fl_pool *pool, void *workspace, const fl_cancel *cancel) {
  assert(plan && sequence && workspace && !(sequence->resets && plan->D > 1));
  assert(!table || (table->plan == plan && table->filled && !tape));
  if (sequence->B == 0) return FL_OK;
  if (!is_addressable(plan, sequence->B)) return FL_ERROR_OVERFLOW;
  forward_call call = make_call(plan, sequence, table, tape, fl_pool_threads(pool));
  fl_arena arena = {.at = workspace};
  carve_forward(&call, &arena);
  if (arena.overflow) return FL_ERROR_OVERFLOW;
  assert(arena.used <= TYPED(measure_forward)(plan, sequence->T, sequence->B, fl_pool_threads(pool)));
  memset(call.zeros, 0, plan->H * sizeof(real));
  fl_sort_rows(sequence, call.order);
  if (call.cut.front)
    open_wavefront(&call);
  else if (call.cut.members > 1)
    fl_clear_layers(call.tables, plan->L);
  return fl_pool_run(pool, call.cut.members, run_member, &call, cancel);
}

/* The outputs of a tape's last layer, with the caller's strides. */
static void copy_outputs(const fl_tape *tape, const fl_sequence *sequence) {
  const fl_plan *const plan = tape->plan;
  const size_t row = plan->D * plan->R;
  const real *y = tape->y + (plan->L - 1) * fl_tape_outputs(tape);
  for (size_t t = 0; t < sequence->T; t++)
    for (size_t b = 0; b < sequence->B; b++, y += row)
      memcpy(place(sequence->output, (ptrdiff_t)t * sequence->output_t + (ptrdiff_t)b * sequence->output_b), y,
             row * sizeof(real));
}

fl_status TYPED(run_train)(const fl_sequence *sequence, fl_tape *tape, fl_pool *pool, void *workspace,
                           const fl_cancel *cancel) {
  assert(tape->stage == FL_TAPE_EMPTY && sequence->T == tape->T && sequence->B == tape->B);
  const fl_status status = TYPED(run_forward)(tape->plan, sequence, NULL, tape, pool, workspace, cancel);
  if (status != FL_OK) return status;
  copy_outputs(tape, sequence);
  tape->stage = FL_TAPE_FULL;
  return FL_OK;
}
