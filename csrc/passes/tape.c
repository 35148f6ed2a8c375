/* The tape: laid out, and filled with what the backward pass will read again.
 *
 * SPDX-License-Identifier: BSD-3-Clause */
#include "tape.h"

#include <assert.h>
#include <string.h>
#include "base/arena.h"
#include "inside.h"
#include "job.h"

static fl_tape *lay_out(fl_tape *t, fl_arena *a, int resets) {
  const fl_plan *const plan = t->plan;
  const size_t real = plan->real, L = plan->L, LD = L * plan->D;
  size_t TB, LTB, LDN, LDB;
  t->gate_row = plan->panels * FL_PANEL + FL_LINE / real;
  t->cell_row = plan->panels * FL_UNITS;
  if (!fl_multiply(t->T, t->B, &TB) || !fl_multiply(L, TB, &LTB) || !fl_multiply(LD, t->B, &LDB) ||
      t->T >= (size_t)PTRDIFF_MAX || t->N > UINT32_MAX || !fl_multiply(LD, t->N + plan->kernels->ahead_rows, &LDN)) {
    a->overflow = 1;
    return NULL;
  }
  fl_tape *const tape = fl_carve(a, 1, sizeof *t);
  t->order = fl_carve(a, t->B, sizeof *t->order);
  t->length = fl_carve(a, t->B, sizeof *t->length);
  t->offset = fl_carve(a, t->T + 1, sizeof *t->offset);
  t->step = fl_carve(a, t->N, sizeof *t->step);
  t->x = fl_carve(a, TB, plan->I * real);
  t->h_0 = fl_carve(a, LDB, plan->R * real);
  t->c_0 = fl_carve(a, LDB, plan->H * real);
  t->y = fl_carve(a, LTB, plan->D * plan->R * real);
  t->dropped = t->dropout > 0 && L > 1 ? fl_carve(a, LTB - TB, plan->D * plan->R * real) : NULL;
  t->gates = fl_carve(a, LDN, t->gate_row * real);
  t->c = fl_carve(a, LDN, t->cell_row * real);
  t->resets = resets ? fl_carve(a, TB, 1) : NULL;
  if (a->at) *tape = *t;
  return tape;
}

size_t fl_measure_tape(const fl_plan *plan, size_t T, size_t B, size_t steps, int dropout, int resets) {
  fl_tape t = {.plan = plan, .T = T, .B = B, .N = steps, .dropout = dropout};
  fl_arena a = {0};
  lay_out(&t, &a, resets);
  return a.overflow ? SIZE_MAX : a.used;
}

static void copy_or_zero(void *to, const void *from, size_t bytes) {
  if (from)
    memcpy(to, from, bytes);
  else
    memset(to, 0, bytes);
}

/* Where the rows are: their order, and row n's step. */
static void number_rows(fl_tape *t, const fl_sequence *q) {
  fl_sort_rows(q, t->order);
  for (size_t b = 0; b < q->B; b++) t->length[b] = fl_length(q, b);
  t->longest = q->B ? t->length[t->order[0]] : 0;
  size_t n = 0, running = q->B;
  for (size_t s = 0; s <= q->T; s++) {
    t->offset[s] = n;
    while (running && t->length[t->order[running - 1]] <= s) running--;
    for (size_t r = 0; r < running; r++) t->step[n + r] = (uint32_t)s;
    n += running;
  }
  assert(n == t->N);
}

fl_tape *fl_make_tape(const fl_plan *plan, const fl_sequence *q, double dropout, uint64_t seed, size_t time,
                      void *memory) {
  assert(plan && q && memory && !q->starts && dropout >= 0 && dropout <= 1);
  fl_tape made = {.plan = plan, .T = q->T, .B = q->B, .dropout = dropout, .seed = seed, .time = time};
  if (!fl_multiply(q->T, q->B, &made.N)) return NULL;
  if (q->lengths) made.N = 0;
  for (size_t b = 0; q->lengths && b < q->B; b++) made.N += fl_length(q, b);
  fl_arena a = {.at = memory};
  fl_tape *const t = lay_out(&made, &a, q->resets != NULL);
  if (!t || a.overflow) return NULL;
  number_rows(t, q);
  const size_t row = plan->I * plan->real;
  for (size_t s = 0; s < q->T; s++) {
    for (size_t b = 0; b < q->B; b++) {
      memcpy(t->x + (s * q->B + b) * row,
             (const char *)q->input + (ptrdiff_t)s * q->input_t + (ptrdiff_t)b * q->input_b, row);
      if (t->resets) t->resets[s * q->B + b] = q->resets[(ptrdiff_t)s * q->resets_t + (ptrdiff_t)b * q->resets_b];
    }
  }
  const size_t rows = plan->L * plan->D * q->B;
  copy_or_zero(t->h_0, q->h_0, rows * plan->R * plan->real);
  copy_or_zero(t->c_0, q->c_0, rows * plan->H * plan->real);
  return t;
}

fl_status fl_run_train(const fl_sequence *q, fl_tape *t, fl_pool *pool, void *workspace, const fl_cancel *cancel) {
  assert(t->stage == FL_TAPE_EMPTY && q->T == t->T && q->B == t->B);
  const fl_plan *const plan = t->plan;
  const size_t row = plan->D * plan->R * plan->real;
  const char *const y = t->y + (plan->L - 1) * q->T * q->B * row;
  const fl_status status = fl_run_forward(plan, q, t, pool, workspace, cancel);
  if (status != FL_OK) return status;
  for (size_t s = 0; s < q->T; s++)
    for (size_t b = 0; b < q->B; b++)
      memcpy((char *)q->output + (ptrdiff_t)s * q->output_t + (ptrdiff_t)b * q->output_b, y + (s * q->B + b) * row,
             row);
  t->stage = FL_TAPE_FULL;
  return FL_OK;
}
