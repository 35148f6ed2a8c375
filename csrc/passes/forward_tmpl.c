/* Whole sequences: layers, directions, lengths, resets, the time loop.
 *
 * A layer in one direction is a pass. Its rows, longest first, walk through time in chunks: the input's part of the
 * pre-activations for all steps of a chunk in one product, then step by step the recurrent product and the gates, whose
 * part meets the input's in one addition. Rows are pointers everywhere, so strides, directions, lengths and resets cost
 * an address, not a copy; rows whose sequence has ended leave the end of the list and cost nothing.
 *
 * Threads share a pass by rows (each thread its own, no waiting inside the time loop), by units (one phase per step),
 * or both: groups of rows, each by a team that shares the units. Or they share a stack of layers (forward_stack.h).
 * What is added to what is the same in all cases.
 *
 * For training the same loop writes gates and cells into the tape's rows.
 *
 * SPDX-License-Identifier: BSD-3-Clause */
#include <assert.h>
#include <string.h>
#include "base/fpenv.h"
#include "base/threads.h"
#include "forward_layers.h"
#include "forward_stack.h"

/* ---- a call ----------------------------------------------------------------------------------------------------- */

static void run_member(void *argument, fl_member *member) {
  const forward_call *const call = argument;
  const fl_fpenv caller = fl_fpenv_enter();
  if (call->cut.front)
    run_wavefront(call, member);
  else if (call->cut.diagonals)
    run_stack(call, member);
  else
    run_layers(call, member);
  fl_fpenv_leave(caller);
}

static forward_call make_call(const fl_plan *plan, const fl_sequence *sequence, const fl_table *table, fl_tape *tape,
                              size_t threads) {
  forward_call call = {.plan = plan, .sequence = sequence, .table = table, .tape = tape};
  const fl_extent extent = {
      .real = sizeof(real), .weight = sizeof(weight), .T = sequence->T, .B = sequence->B, .train = tape != NULL};
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

#if WEIGHTS_ARE_REALS
fl_status TYPED(run_train)(const fl_sequence *sequence, fl_tape *tape, fl_pool *pool, void *workspace,
                           const fl_cancel *cancel) {
  assert(tape->stage == FL_TAPE_EMPTY && sequence->T == tape->T && sequence->B == tape->B);
  const fl_status status = TYPED(run_forward)(tape->plan, sequence, NULL, tape, pool, workspace, cancel);
  if (status == FL_OK) tape->stage = FL_TAPE_FULL;
  return status;
}
#endif
