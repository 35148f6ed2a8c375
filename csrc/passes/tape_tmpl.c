/* The tape: laid out, filled with what the backward pass will read again, and read by whoever wants to look.
 *
 * SPDX-License-Identifier: BSD-3-Clause */
#include "tape.h"

#include <assert.h>
#include <string.h>
#include "base/arena.h"
#include "base/fpenv.h"
#include "cut.h"
#include "layer_step.h"
#include "pack.h"

/* Where it will be; the tape itself is copied there when the arena has memory. */
static fl_tape *carve_tape(fl_tape *tape, fl_arena *arena, int resets) {
  const fl_plan *const plan = tape->plan;
  const size_t L = plan->L, LD = L * plan->D;
  size_t TB, LTB, LDN, LDB;
  tape->gate_row = plan->panels * FL_PANEL + FL_LINE / sizeof(real);
  tape->cell_row = plan->panels * FL_UNITS;
  if (!fl_multiply(tape->T, tape->B, &TB) || !fl_multiply(L, TB, &LTB) || !fl_multiply(LD, tape->B, &LDB) ||
      tape->T >= (size_t)PTRDIFF_MAX || tape->N > UINT32_MAX || !fl_multiply(LD, tape->N, &LDN)) {
    arena->overflow = 1;
    return NULL;
  }
  fl_tape *const there = fl_carve(arena, 1, sizeof *tape);
  tape->order = fl_carve(arena, tape->B, sizeof *tape->order);
  tape->length = fl_carve(arena, tape->B, sizeof *tape->length);
  tape->offset = fl_carve(arena, tape->T + 1, sizeof *tape->offset);
  tape->step = fl_carve(arena, tape->N, sizeof *tape->step);
  tape->x = fl_carve(arena, TB, plan->I * sizeof(real));
  tape->h_0 = fl_carve(arena, LDB, plan->R * sizeof(real));
  tape->c_0 = fl_carve(arena, LDB, plan->H * sizeof(real));
  tape->y = fl_carve(arena, LTB, plan->D * plan->R * sizeof(real));
  tape->dropped = tape->dropout > 0 && L > 1 ? fl_carve(arena, LTB - TB, plan->D * plan->R * sizeof(real)) : NULL;
  tape->gates = fl_carve(arena, LDN, tape->gate_row * sizeof(real));
  tape->c = fl_carve(arena, LDN, tape->cell_row * sizeof(real));
  tape->resets = resets ? fl_carve(arena, TB, 1) : NULL;
  if (arena->at) *there = *tape;
  return there;
}

size_t TYPED(measure_tape)(const fl_plan *plan, size_t T, size_t B, size_t steps, int dropout, int resets) {
  fl_tape tape = {.plan = plan, .T = T, .B = B, .N = steps, .dropout = dropout};
  fl_arena arena = {0};
  carve_tape(&tape, &arena, resets);
  return arena.overflow ? SIZE_MAX : arena.used;
}

/* Where the rows are: their order, and row n's step. */
static void number_rows(fl_tape *tape, const fl_sequence *sequence) {
  fl_sort_rows(sequence, tape->order);
  for (size_t b = 0; b < tape->B; b++) tape->length[b] = fl_length(sequence, b);
  tape->longest = tape->B ? tape->length[tape->order[0]] : 0;
  size_t n = 0, running = tape->B;
  for (size_t s = 0; s <= tape->T; s++) {
    tape->offset[s] = n;
    while (running && tape->length[tape->order[running - 1]] <= s) running--;
    for (size_t r = 0; r < running; r++) tape->step[n + r] = (uint32_t)s;
    n += running;
  }
  assert(n == tape->N);
}

/* the caller's rows, whose strides are bytes */
static void copy_input(fl_tape *tape, const fl_sequence *sequence) {
  const size_t I = tape->plan->I;
  for (size_t t = 0; t < tape->T; t++) {
    for (size_t b = 0; b < tape->B; b++) {
      const ptrdiff_t x = (ptrdiff_t)t * sequence->input_t + (ptrdiff_t)b * sequence->input_b;
      const ptrdiff_t reset = (ptrdiff_t)t * sequence->resets_t + (ptrdiff_t)b * sequence->resets_b;
      memcpy(tape->x + (t * tape->B + b) * I, (const char *)sequence->input + x, I * sizeof(real));
      if (tape->resets) tape->resets[t * tape->B + b] = sequence->resets[reset];
    }
  }
}

fl_tape *TYPED(make_tape)(const fl_plan *plan, const fl_sequence *sequence, double dropout, uint64_t seed, size_t time,
                          void *memory) {
  assert(plan && sequence && memory && !sequence->starts && dropout >= 0 && dropout <= 1);
  const size_t B = sequence->B, rows = plan->L * plan->D * B;
  fl_tape made = {.plan = plan, .T = sequence->T, .B = B, .dropout = dropout, .seed = seed, .time = time};
  if (!fl_multiply(sequence->T, B, &made.N)) return NULL;
  if (sequence->lengths) made.N = 0;
  for (size_t b = 0; sequence->lengths && b < B; b++) made.N += fl_length(sequence, b);
  fl_arena arena = {.at = memory};
  fl_tape *const tape = carve_tape(&made, &arena, sequence->resets != NULL);
  if (!tape || arena.overflow) return NULL;
  number_rows(tape, sequence);
  copy_input(tape, sequence);
  fl_copy_or_zero(tape->h_0, sequence->h_0, rows * plan->R);
  fl_copy_or_zero(tape->c_0, sequence->c_0, rows * plan->H);
  return tape;
}

/* ---- reading ---------------------------------------------------------------------------------------------------- */

/* row b of an array [B, width] */
static real *row_of(void *array, size_t b, size_t width) {
  return (real *)array + b * width;
}

/* row n of the tape, of a layer in one direction, into row b */
static void read_row(const fl_tape *tape, size_t index, size_t n, size_t b, const fl_tape_step *step) {
  static const fl_activation standard = {FL_TANH, 0, 0};
  const fl_plan *const plan = tape->plan;
  const real *const gates = tape->gates + index * fl_tape_gates(tape) + n * tape->gate_row;
  const real *const c = tape->c + index * fl_tape_cells(tape) + n * tape->cell_row;
  void *const wanted[] = {step->i, step->f, step->g, step->o};
  for (size_t gate = 0; gate < 4; gate++)
    if (wanted[gate]) TYPED(unpack_gate)(plan, gates, gate, row_of(wanted[gate], b, plan->H));
  if (step->c) memcpy(row_of(step->c, b, plan->H), c, plan->H * sizeof(real));
  const fl_activation *const activation = plan->form ? &plan->form->cell : &standard;
  if (step->cell) plan->kernels.activate(activation, c, row_of(step->cell, b, plan->H), plan->H);
}

static void clear_row(const fl_plan *plan, size_t b, const fl_tape_step *step) {
  void *const wanted[] = {step->i, step->f, step->g, step->o, step->c, step->cell};
  for (size_t j = 0; j < sizeof wanted / sizeof wanted[0]; j++)
    if (wanted[j]) fl_copy_or_zero(row_of(wanted[j], b, plan->H), NULL, plan->H);
}

void TYPED(read_tape)(const fl_tape *tape, size_t layer, size_t direction, size_t t, const fl_tape_step *step) {
  assert(tape->stage == FL_TAPE_FULL && layer < tape->plan->L && direction < tape->plan->D && t < tape->T);
  const fl_plan *const plan = tape->plan;
  const real *const y = tape->y + layer * fl_tape_outputs(tape) + (t * tape->B * plan->D + direction) * plan->R;
  const fl_fpenv caller = fl_fpenv_enter(); /* activations round */
  for (size_t r = 0; r < tape->B; r++) {
    const size_t b = tape->order[r], length = tape->length[b];
    if (t < length) {
      const size_t s = direction ? length - 1 - t : t;
      read_row(tape, layer * plan->D + direction, tape->offset[s] + r, b, step);
    } else {
      clear_row(plan, b, step);
    }
    const real *const h = t < length ? y + b * plan->D * plan->R : NULL;
    if (step->h) fl_copy_or_zero(row_of(step->h, b, plan->R), h, plan->R);
  }
  fl_fpenv_leave(caller);
}
