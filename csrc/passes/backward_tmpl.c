/* The backward pass: layer by layer from the last to the first, step by step from the last to the first.
 *
 * A layer is prepared (transposed weights, and what each row read), then comes the time loop, then the sums. Threads
 * share the time loop by rows or by panels, as forward does, and the rest by tiles.
 *
 * SPDX-License-Identifier: BSD-3-Clause */
#include <assert.h>
#include "backward_parts.h"
#include "backward_sums.h"
#include "backward_time.h"
#include "base/compiler.h"
#include "base/fpenv.h"
#include "base/threads.h"

/* Before the time loop: transposed weights, and what each row read. One panel of units. */
static void prepare(const backward_call *call, size_t l, size_t d, size_t panel) {
  const fl_tape *const tape = call->tape;
  const fl_plan *const plan = tape->plan;
  const backward_pass pass = make_backward_pass(call, l, d);
  const backward_direction *const own = pass.own;
  const size_t I = pass.layer->input_size, R = plan->R, gates = plan->panels * FL_PANEL;
  const fl_transposed of_w = {pass.layer->weights, I + R, 0, I, own->w, gates};
  const fl_transposed of_u = {pass.layer->weights, I + R, I, R, own->u, gates};
  if (wants_input(call, l)) TYPED(transpose)(&of_w, panel);
  TYPED(transpose)(&of_u, panel);
  if (panel == 0 && plan->P) TYPED(transpose_projection)(plan, pass.layer->project, own->hr);
  const size_t from = tape->N * panel / plan->panels, end = tape->N * (panel + 1) / plan->panels;
  for (size_t n = from; n < end; n++) {
    const size_t s = tape->step[n], r = n - tape->offset[s], b = tape->order[r];
    own->x[n] = pass.x + fl_tape_place(tape, n, d == 1) * I;
    if (fl_tape_reset(tape, s, b))
      own->h[n] = call->zeros;
    else if (s)
      own->h[n] = pass.y + fl_tape_place(tape, tape->offset[s - 1] + r, d == 1) * plan->D * R;
    else
      own->h[n] = tape->h_0 + (pass.index * tape->B + b) * R;
    if (fl_has_peepholes(plan)) own->c[n] = cell_before(&pass, s, r, b);
  }
}

/* 0 where the member has to leave */
static int run_layer(const backward_call *call, size_t l, fl_member *member) {
  const fl_plan *const plan = call->tape->plan;
  const size_t D = plan->D, I = plan->layers[l * D].input_size;
  const size_t work = (I + plan->R) * FL_PANEL + call->tape->N / plan->panels;
  for (size_t block; fl_next(member, D * plan->panels, &block);)
    if (!fl_halted(member, work)) prepare(call, l, block % D, block / D);
  if (!run_time(call, l, member)) return 0;
  run_sums(call, l, member);
  if (wants_input(call, l)) run_inputs(call, l, member);
  return !fl_halted(member, 0);
}

/* the input's gradient where row b is over */
static void clear_past_length(const backward_call *call, size_t b) {
  const fl_tape *const tape = call->tape;
  const size_t I = tape->plan->I;
  for (size_t t = tape->length[b]; t < tape->T; t++)
    memset((real *)call->gradients->input + (t * tape->B + b) * I, 0, I * sizeof(real));
}

static void run_layers(void *argument, fl_member *member) {
  const backward_call *const call = argument;
  const fl_tape *const tape = call->tape;
  const fl_fpenv caller = fl_fpenv_enter();
  for (size_t b; call->gradients->input && tape->N < tape->T * tape->B && fl_next(member, tape->B, &b);)
    clear_past_length(call, b);
  for (size_t l = tape->plan->L; l-- > call->lowest;)
    if (!run_layer(call, l, member)) break;
  fl_fpenv_leave(caller);
}

/* layers below it need not run */
static size_t lowest_wanted(const backward_call *call) {
  const fl_plan *const plan = call->tape->plan;
  if (call->gradients->input || call->gradients->h_0 || call->gradients->c_0) return 0;
  for (size_t k = 0; k < plan->L * plan->D; k++) {
    const fl_weight_gradients wanted = wanted_of(call, k);
    if (wanted.weight_ih || wanted.weight_hh || wanted.bias || wanted.weight_hr || wanted.weight_ph) return k / plan->D;
  }
  return plan->L;
}

static backward_call make_backward_call(fl_tape *tape, const fl_gradients *gradients, size_t threads) {
  backward_call call = {.tape = tape, .gradients = gradients};
  const fl_extent extent = {.real = sizeof(real), .weight = sizeof(weight), .T = tape->T, .B = tape->B, .back = 1};
  call.cut = fl_decide(tape->plan, &extent, threads);
  return call;
}

size_t TYPED(measure_backward)(const fl_tape *tape, size_t threads) {
  backward_call call = make_backward_call((fl_tape *)tape, NULL, threads);
  fl_arena arena = {0};
  carve_backward(&call, &arena);
  return arena.overflow ? SIZE_MAX : arena.used;
}

size_t TYPED(count_backward)(const fl_tape *tape, size_t threads) {
  return make_backward_call((fl_tape *)tape, NULL, threads).cut.members;
}

fl_status TYPED(run_backward)(fl_tape *tape, const fl_gradients *gradients, fl_pool *pool, void *workspace,
                              const fl_cancel *cancel) {
  assert(tape && tape->stage == FL_TAPE_FULL && gradients && workspace);
  backward_call call = make_backward_call(tape, gradients, fl_pool_threads(pool));
  fl_arena arena = {.at = workspace};
  carve_backward(&call, &arena);
  if (arena.overflow) return FL_ERROR_OVERFLOW;
  assert(arena.used <= TYPED(measure_backward)(tape, fl_pool_threads(pool)));
  call.lowest = lowest_wanted(&call);
  memset(call.zeros, 0, call.zero_row * sizeof(real));
  tape->stage = FL_TAPE_USED;
  if (call.cut.members > 1) fl_clear_layers(call.tables, tape->plan->L);
  return fl_pool_run(pool, call.cut.members, run_layers, &call, cancel);
}

/* ---- sums over pieces ------------------------------------------------------------------------------------------- */

/* not inlined: the additions must stay between the two writes of the floating-point environment */
NOINLINE static void add_up(real *total, const real *part, size_t n) {
  for (size_t j = 0; j < n; j++) total[j] += part[j];
}

void TYPED(run_accumulate)(void *total, const void *part, size_t n) {
  const fl_fpenv caller = fl_fpenv_enter();
  add_up(total, part, n);
  fl_fpenv_leave(caller);
}
