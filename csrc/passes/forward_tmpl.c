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
 * For training the same loop writes gates and cells into the tape's rows. For a trace it leaves gates in its scratch,
 * from where each step's are taken (trace.h).
 *
 * SPDX-License-Identifier: BSD-3-Clause */
#include <assert.h>
#include <string.h>
#include "base/compiler.h"
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

/* of one that tells plan, sequence, and what else there is */
static forward_call make_call(forward_call call, size_t threads) {
  const int keeps = call.tape || call.trace; /* every step's gates */
  const fl_extent extent = {
      .real = sizeof(real), .weight = sizeof(weight), .T = call.sequence->T, .B = call.sequence->B, .train = keeps};
  call.cut = fl_decide(call.plan, &extent, threads);
  if (keeps && !call.cut.chunk) call.cut.chunk = 1;
  if (call.trace) call.kept = fl_trace_steps(call.trace, call.sequence->T);
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

/* not inlined, as run_call: one is enough */
static NOINLINE size_t measure_call(forward_call call, size_t threads) {
  fl_arena arena = {0};
  call = make_call(call, threads);
  carve_forward(&call, &arena);
  return arena.overflow ? SIZE_MAX : arena.used;
}

size_t TYPED(measure_forward)(const fl_plan *plan, size_t T, size_t B, size_t threads) {
  assert(threads >= 1);
  if (!is_addressable(plan, B)) return SIZE_MAX;
  const fl_sequence sequence = {.T = T, .B = B};
  fl_tape none = {0}; /* training takes the same, but for what is in the tape */
  const size_t infers = measure_call((forward_call){.plan = plan, .sequence = &sequence}, threads);
  const size_t trains = measure_call((forward_call){.plan = plan, .sequence = &sequence, .tape = &none}, threads);
  return infers > trains ? infers : trains;
}

size_t TYPED(measure_trace)(const fl_plan *plan, size_t T, size_t B, size_t threads) {
  assert(threads >= 1);
  if (!is_addressable(plan, B)) return SIZE_MAX;
  const fl_sequence sequence = {.T = T, .B = B};
  const fl_trace nothing = {.every = 1};
  return measure_call((forward_call){.plan = plan, .sequence = &sequence, .trace = &nothing}, threads);
}

size_t TYPED(count_forward)(const fl_plan *plan, size_t T, size_t B, size_t threads) {
  const fl_sequence sequence = {.T = T, .B = B};
  return is_addressable(plan, B) ? make_call((forward_call){.plan = plan, .sequence = &sequence}, threads).cut.members
                                 : 1;
}

static NOINLINE fl_status run_call(forward_call call, fl_pool *pool, void *workspace, const fl_cancel *cancel) {
  const fl_plan *const plan = call.plan;
  const fl_sequence *const sequence = call.sequence;
  assert(plan && sequence && workspace && !(sequence->resets && plan->D > 1));
  assert(!call.table || (call.table->plan == plan && call.table->filled && !call.tape));
  if (sequence->B == 0) return FL_OK;
  if (!is_addressable(plan, sequence->B)) return FL_ERROR_OVERFLOW;
  call = make_call(call, fl_pool_threads(pool));
  fl_arena arena = {.at = workspace};
  carve_forward(&call, &arena);
  if (arena.overflow) return FL_ERROR_OVERFLOW;
  assert(arena.used <= (call.trace ? TYPED(measure_trace) : TYPED(measure_forward))(plan, sequence->T, sequence->B,
                                                                                    fl_pool_threads(pool)));
  memset(call.zeros, 0, plan->H * sizeof(real));
  fl_sort_rows(sequence, call.order);
  if (call.cut.front)
    open_wavefront(&call);
  else if (call.cut.members > 1)
    fl_clear_layers(call.tables, plan->L);
  return fl_pool_run(pool, call.cut.members, run_member, &call, cancel);
}

fl_status TYPED(run_forward)(const fl_plan *plan, const fl_sequence *sequence, const fl_table *table, fl_pool *pool,
                             void *workspace, const fl_cancel *cancel) {
  return run_call((forward_call){.plan = plan, .sequence = sequence, .table = table}, pool, workspace, cancel);
}

fl_status TYPED(run_trace)(const fl_plan *plan, const fl_sequence *sequence, const fl_table *table,
                           const fl_trace *trace, fl_pool *pool, void *workspace, const fl_cancel *cancel) {
  const forward_call call = {.plan = plan, .sequence = sequence, .table = table, .trace = trace};
  return run_call(call, pool, workspace, cancel);
}

#if WEIGHTS_ARE_REALS
fl_status TYPED(run_train)(const fl_sequence *sequence, fl_tape *tape, fl_pool *pool, void *workspace,
                           const fl_cancel *cancel) {
  assert(tape->stage == FL_TAPE_EMPTY && sequence->T == tape->T && sequence->B == tape->B);
  const forward_call call = {.plan = tape->plan, .sequence = sequence, .tape = tape};
  const fl_status status = run_call(call, pool, workspace, cancel);
  if (status == FL_OK) tape->stage = FL_TAPE_FULL;
  return status;
}
#endif
