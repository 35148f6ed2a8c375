/* Step by step: everything that a step needs is laid out once, in the caller's memory, so that a step is its kernels.
 *
 * SPDX-License-Identifier: BSD-3-Clause */
#include <assert.h>
#include <string.h>
#include "base/arena.h"
#include "base/fpenv.h"
#include "inside.h"

/* [n] pointers to rows of `bytes` each */
static void *carve_rows(fl_arena *a, char *rows, size_t n, size_t bytes) {
  void **const pointers = fl_carve(a, n, sizeof *pointers);
  if (a->at)
    for (size_t r = 0; r < n; r++) pointers[r] = rows + r * bytes;
  return pointers;
}

static fl_stream *lay_out(const fl_plan *plan, size_t B, fl_arena *a) {
  const size_t L = plan->L, h_row = plan->R * plan->real, c_row = plan->H * plan->real;
  size_t LB;
  if (!fl_multiply(L, B, &LB)) {
    a->overflow = 1;
    return NULL;
  }
  fl_stream s = {.plan = plan, .B = B};
  fl_stream *const stream = fl_carve(a, 1, sizeof s);
  s.x = fl_carve(a, B, sizeof *s.x);
  for (int turn = 0; turn < 2; turn++) s.h[turn] = fl_carve(a, LB, h_row);
  s.c = fl_carve(a, LB, c_row);
  char *const m = fl_carve(a, plan->P ? B : 0, c_row);
  s.p = fl_carve(a, plan->project_panels * B, FL_PANEL * plan->real);
  const size_t line = FL_PANEL * plan->real;
  char *const scratch = fl_carve(a, FL_STEP_SCRATCH(B), plan->real);
  for (int turn = 0; turn < 2; turn++) s.steps[turn] = fl_carve(a, L, sizeof *s.steps[turn]);
  s.project = fl_carve(a, L, sizeof *s.project);
  void *const h0 = carve_rows(a, s.h[0], LB, h_row), *const h1 = carve_rows(a, s.h[1], LB, h_row);
  void **const h[2] = {h0, h1}, **const c = carve_rows(a, s.c, LB, c_row);
  void **const mm = carve_rows(a, m, plan->P ? B : 0, c_row), **const p = carve_rows(a, s.p, plan->P ? B : 0, line);
  void **const z = carve_rows(a, scratch, B, line);
  if (!a->at) return NULL;

  for (size_t l = 0; l < L; l++) {
    void **const cells = c + l * B;
    for (int turn = 0; turn < 2; turn++) {
      void **const fresh = h[!turn] + l * B;
      const fl_layer_rows rows = {.x = l ? (const void *const *)(fresh - B) : s.x,
                                  .r = (const void *const *)h[turn] + l * B,
                                  .c = (const void *const *)cells,
                                  .c_next = cells,
                                  .h = plan->P ? mm : fresh,
                                  .z = z};
      s.steps[turn][l] = fl_layer_step(plan, l, B, turn, rows);
    }
    s.project[l] = fl_layer_project(plan, l, B, mm, p);
  }
  *stream = s;
  return stream;
}

size_t fl_measure_stream(const fl_plan *plan, size_t B) {
  fl_arena a = {0};
  lay_out(plan, B, &a);
  return a.overflow ? SIZE_MAX : a.used;
}

fl_stream *fl_make_stream(const fl_plan *plan, size_t B, void *memory) {
  assert(plan->D == 1 && memory);
  fl_arena a = {.at = memory};
  fl_stream *const s = lay_out(plan, B, &a);
  assert(s && !a.overflow);
  fl_write_stream(s, NULL, NULL);
  return s;
}

fl_status fl_run_stream(fl_stream *s, const void *x, void *y) {
  const fl_plan *const plan = s->plan;
  if (s->B == 0) return FL_OK;
  const size_t rows = s->B * plan->R * plan->real;
  const fl_fpenv caller = fl_fpenv_enter();
  for (size_t b = 0; b < s->B; b++) s->x[b] = (const char *)x + b * plan->I * plan->real;
  char *const fresh = s->h[!s->turn];
  for (size_t l = 0; l < plan->L; l++) {
    plan->kernels->step(&s->steps[s->turn][l]);
    if (plan->P) {
      plan->kernels->product(&s->project[l]);
      for (size_t r = 0; r < s->B; r++)
        fl_unpack_projected(plan, s->p, s->B, r, fresh + l * rows + r * plan->R * plan->real);
    }
  }
  s->turn = !s->turn;
  memcpy(y, fresh + (plan->L - 1) * rows, rows);
  fl_fpenv_leave(caller);
  return FL_OK; /* so that api.c ends with a jump here */
}

void fl_read_stream(const fl_stream *s, void *h, void *c) {
  const fl_plan *const plan = s->plan;
  memcpy(h, s->h[s->turn], plan->L * s->B * plan->R * plan->real);
  memcpy(c, s->c, plan->L * s->B * plan->H * plan->real);
}

void fl_write_stream(fl_stream *s, const void *h, const void *c) {
  const fl_plan *const plan = s->plan;
  const size_t h_bytes = plan->L * s->B * plan->R * plan->real, c_bytes = plan->L * s->B * plan->H * plan->real;
  if (h)
    memcpy(s->h[s->turn], h, h_bytes);
  else
    memset(s->h[s->turn], 0, h_bytes);
  if (c)
    memcpy(s->c, c, c_bytes);
  else
    memset(s->c, 0, c_bytes);
}

/* ---- a step without a stream ------------------------------------------------------------------------------------ */

size_t fl_measure_cell(const fl_plan *plan, size_t B) {
  fl_arena a = {0};
  fl_carve(&a, B, 6 * sizeof(void *));
  fl_carve(&a, FL_STEP_SCRATCH(B), plan->real);
  fl_carve(&a, plan->H, plan->real);
  return a.overflow ? SIZE_MAX : a.used;
}

void fl_run_cell(const fl_plan *plan, size_t B, const void *x, const void *h, const void *c, void *h_next, void *c_next,
                 void *workspace) {
  assert(plan->L == 1 && plan->D == 1 && !plan->P && workspace);
  const size_t row = plan->H * plan->real;
  if (B == 0) return;
  fl_arena a = {.at = workspace};
  const void **const rows = fl_carve(&a, B, 6 * sizeof *rows);
  char *const scratch = fl_carve(&a, FL_STEP_SCRATCH(B), plan->real);
  void *const zeros = fl_carve(&a, plan->H, plan->real);
  if (!h || !c) memset(zeros, 0, row);
  for (size_t b = 0; b < B; b++) {
    rows[b] = (const char *)x + b * plan->I * plan->real;
    rows[B + b] = h ? (const char *)h + b * row : zeros;
    rows[2 * B + b] = c ? (const char *)c + b * row : zeros;
    rows[3 * B + b] = (char *)c_next + b * row;
    rows[4 * B + b] = (char *)h_next + b * row;
    rows[5 * B + b] = scratch + b * FL_PANEL * plan->real;
  }
  void *const *const written = (void *const *)rows;
  const fl_layer_rows layer = {.x = rows,
                               .r = rows + B,
                               .c = rows + 2 * B,
                               .c_next = written + 3 * B,
                               .h = written + 4 * B,
                               .z = written + 5 * B};
  const fl_step step = fl_layer_step(plan, 0, B, 0, layer);
  const fl_fpenv caller = fl_fpenv_enter();
  plan->kernels->step(&step);
  fl_fpenv_leave(caller);
}
