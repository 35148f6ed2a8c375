/* Step by step: everything that a step needs is laid out once, in the caller's memory, so that a step is its kernels.
 * So is what it takes to do a part of the step before its input is there: streams that never do it pay 4H numbers for
 * it.
 *
 * SPDX-License-Identifier: BSD-3-Clause */
#include <assert.h>
#include "base/arena.h"
#include "base/fpenv.h"
#include "inside.h"
#include "layer_step.h"
#include "table.h"

/* [n] pointers to rows of `row` reals each */
static void *carve_rows(fl_arena *arena, real *rows, size_t n, size_t row) {
  void **const pointers = fl_carve(arena, n, sizeof *pointers);
  if (arena->at)
    for (size_t r = 0; r < n; r++) pointers[r] = rows + r * row;
  return pointers;
}

/* rows of a stream's arrays */
typedef struct {
  void **h[2], **c[2], **advanced; /* [L, B] */
  void **hidden, **projected, **z; /* [B], the first two with a projection */
} stream_rows;

/* the kernel calls of a step, from either copy of the state */
static void begin_steps(fl_stream *stream, stream_rows rows) {
  const fl_plan *const plan = stream->plan;
  const size_t B = stream->B;
  for (size_t l = 0; l < plan->L; l++) {
    for (int turn = 0; turn < 2; turn++) {
      void **const fresh = rows.h[!turn] + l * B, **const advanced = rows.advanced + l * B;
      fl_layer_rows layer = {.x = l ? (const void *const *)(fresh - B) : stream->x,
                             .h_prev = (const void *const *)rows.h[turn] + l * B,
                             .c_prev = (const void *const *)rows.c[turn] + l * B,
                             .c_next = rows.c[!turn] + l * B,
                             .h = plan->P ? rows.hidden : fresh,
                             .z = rows.z};
      stream->steps[turn][l] = fl_layer_step(plan, l, B, turn, layer);
      stream->advance[turn][l] = fl_layer_advance(plan, l, B, turn, layer.h_prev, advanced);
      layer.advanced = advanced;
      stream->rest[turn][l] = fl_layer_step(plan, l, B, turn, layer);
    }
    stream->project[l] = fl_layer_project(plan, &plan->layers[l], B, rows.hidden, rows.projected);
  }
}

static fl_stream *carve_stream(const fl_plan *plan, size_t B, fl_arena *arena) {
  const size_t L = plan->L, H = plan->H, R = plan->R, projected = plan->P ? B : 0;
  size_t LB;
  if (!fl_multiply(L, B, &LB)) {
    arena->overflow = 1;
    return NULL;
  }
  fl_stream made = {.plan = plan, .B = B};
  stream_rows rows;
  fl_stream *const there = fl_carve(arena, 1, sizeof made);
  made.x = fl_carve(arena, B, sizeof *made.x);
  for (int turn = 0; turn < 2; turn++) made.h[turn] = fl_carve(arena, LB, R * sizeof(real));
  for (int turn = 0; turn < 2; turn++) made.c[turn] = fl_carve(arena, LB, H * sizeof(real));
  real *const hidden = fl_carve(arena, projected, H * sizeof(real));
  real *const outputs = fl_carve(arena, plan->project_panels * B, FL_PANEL * sizeof(real));
  real *const scratch = fl_carve(arena, FL_STEP_SCRATCH(B), sizeof(real));
  real *const advanced = fl_carve(arena, LB, plan->panels * FL_PANEL * sizeof(real));
  for (int turn = 0; turn < 2; turn++) made.steps[turn] = fl_carve(arena, L, sizeof *made.steps[turn]);
  for (int turn = 0; turn < 2; turn++) made.advance[turn] = fl_carve(arena, L, sizeof *made.advance[turn]);
  for (int turn = 0; turn < 2; turn++) made.rest[turn] = fl_carve(arena, L, sizeof *made.rest[turn]);
  made.project = fl_carve(arena, L, sizeof *made.project);
  for (int turn = 0; turn < 2; turn++) rows.h[turn] = carve_rows(arena, made.h[turn], LB, R);
  for (int turn = 0; turn < 2; turn++) rows.c[turn] = carve_rows(arena, made.c[turn], LB, H);
  rows.advanced = carve_rows(arena, advanced, LB, plan->panels * FL_PANEL);
  rows.hidden = carve_rows(arena, hidden, projected, H);
  rows.projected = carve_rows(arena, outputs, projected, FL_PANEL);
  rows.z = carve_rows(arena, scratch, B, FL_PANEL);
  if (!arena->at) return NULL;
  begin_steps(&made, rows);
  *there = made;
  return there;
}

size_t TYPED(measure_stream)(const fl_plan *plan, size_t B) {
  fl_arena arena = {0};
  carve_stream(plan, B, &arena);
  return arena.overflow ? SIZE_MAX : arena.used;
}

fl_stream *TYPED(make_stream)(const fl_plan *plan, size_t B, void *memory) {
  assert(plan->D == 1 && memory);
  fl_arena arena = {.at = memory};
  fl_stream *const stream = carve_stream(plan, B, &arena);
  assert(stream && !arena.overflow);
  TYPED(write_stream)(stream, NULL, NULL);
  return stream;
}

/* what the next step has to do */
static inline const fl_step *steps_of(const fl_stream *stream) {
  return (stream->advanced ? stream->rest : stream->steps)[stream->turn];
}

/* A step of all layers, `first` of the first one, which uses up what was done before. A member of NULL cannot give it
 * up. */
static inline void run_layers(fl_stream *stream, const fl_step *first, fl_member *member) {
  const fl_plan *const plan = stream->plan;
  const size_t B = stream->B, R = plan->R;
  const fl_step *const steps = steps_of(stream);
  real *const fresh = stream->h[!stream->turn];
  stream->advanced = 0;
  for (size_t l = 0; l < plan->L; l++) {
    fl_run_step(plan, l ? &steps[l] : first, member);
    if (!plan->P) continue;
    fl_run_product(plan, &stream->project[l], member);
    for (size_t b = 0; b < B; b++) fl_unpack_projected(plan, &stream->project[l], b, fresh + (l * B + b) * R);
  }
}

/* the rows of the next input */
static void take_input(fl_stream *stream, const real *x) {
  for (size_t b = 0; b < stream->B; b++) stream->x[b] = x + b * stream->plan->I;
}

/* after a step: its state and its output */
static void deliver(fl_stream *stream, real *y) {
  const size_t n = stream->B * stream->plan->R;
  stream->turn = !stream->turn;
  memcpy(y, (const real *)stream->h[stream->turn] + (stream->plan->L - 1) * n, n * sizeof(real));
}

fl_status TYPED(run_stream)(fl_stream *stream, const void *x, void *y) {
  if (stream->B == 0) return FL_OK;
  const fl_fpenv caller = fl_fpenv_enter();
  take_input(stream, x);
  run_layers(stream, steps_of(stream), NULL);
  deliver(stream, y);
  fl_fpenv_leave(caller);
  return FL_OK; /* so that api.c ends with a jump here */
}

typedef struct {
  fl_stream *stream;
  const fl_step *first;
} stream_call;

static void run_until(void *argument, fl_member *member) {
  const stream_call *const call = argument;
  const fl_fpenv caller = fl_fpenv_enter();
  run_layers(call->stream, call->first, member);
  fl_fpenv_leave(caller);
}

fl_status TYPED(run_stream_until)(fl_stream *stream, const fl_table *table, const void *x, void *y,
                                  const fl_cancel *cancel) {
  const int64_t *const tokens = x;
  assert(!table || (table->plan == stream->plan && table->filled));
  if (stream->B == 0) return FL_OK;
  fl_step first = *steps_of(stream);
  if (table) {
    for (size_t b = 0; b < stream->B; b++) stream->x[b] = fl_table_row(table->plan, table->rows, tokens[b]);
    first = fl_given_step(first, stream->x);
  } else {
    take_input(stream, x);
  }
  stream_call call = {stream, &first};
  const fl_status status = fl_pool_run(NULL, 1, run_until, &call, cancel);
  if (status == FL_OK) deliver(stream, y);
  return status;
}

/* U h of all layers: what the next step does not need its input for */
static void advance_layers(void *argument, fl_member *member) {
  const fl_stream *const stream = argument;
  const fl_plan *const plan = stream->plan;
  const fl_product *const advance = stream->advance[stream->turn];
  const fl_fpenv caller = fl_fpenv_enter();
  for (size_t l = 0; l < plan->L; l++) fl_run_product(plan, &advance[l], member);
  fl_fpenv_leave(caller);
}

fl_status TYPED(advance_stream)(fl_stream *stream, const fl_cancel *cancel) {
  fl_status status = FL_OK;
  if (stream->B == 0 || stream->advanced) return FL_OK;
  if (cancel)
    status = fl_pool_run(NULL, 1, advance_layers, stream, cancel);
  else
    advance_layers(stream, NULL);
  stream->advanced = status == FL_OK;
  return status;
}

void TYPED(read_stream)(const fl_stream *stream, void *h, void *c) {
  const fl_plan *const plan = stream->plan;
  memcpy(h, stream->h[stream->turn], plan->L * stream->B * plan->R * sizeof(real));
  memcpy(c, stream->c[stream->turn], plan->L * stream->B * plan->H * sizeof(real));
}

void TYPED(write_stream)(fl_stream *stream, const void *h, const void *c) {
  const fl_plan *const plan = stream->plan;
  fl_copy_or_zero(stream->h[stream->turn], h, plan->L * stream->B * plan->R);
  fl_copy_or_zero(stream->c[stream->turn], c, plan->L * stream->B * plan->H);
  stream->advanced = 0;
}

/* ---- a step without a stream ------------------------------------------------------------------------------------ */

size_t TYPED(measure_cell)(const fl_plan *plan, size_t B) {
  fl_arena arena = {0};
  fl_carve(&arena, B, 6 * sizeof(void *));
  fl_carve(&arena, FL_STEP_SCRATCH(B), sizeof(real));
  fl_carve(&arena, plan->H, sizeof(real));
  return arena.overflow ? SIZE_MAX : arena.used;
}

/* [B] pointers to rows of `row` reals, or where there are none to zeros */
static void point_at_rows(const void **pointers, size_t B, const real *rows, size_t row, const real *zeros) {
  for (size_t b = 0; b < B; b++) pointers[b] = rows ? rows + b * row : zeros;
}

void TYPED(run_cell)(const fl_plan *plan, size_t B, const void *x, const void *h, const void *c, void *h_next,
                     void *c_next, void *workspace) {
  assert(plan->L == 1 && plan->D == 1 && !plan->P && workspace);
  const size_t H = plan->H;
  if (B == 0) return;
  fl_arena arena = {.at = workspace};
  const void **const rows = fl_carve(&arena, B, 6 * sizeof *rows);
  real *const scratch = fl_carve(&arena, FL_STEP_SCRATCH(B), sizeof(real));
  real *const zeros = fl_carve(&arena, H, sizeof(real));
  if (!h || !c) memset(zeros, 0, H * sizeof(real));
  point_at_rows(rows, B, x, plan->I, NULL);
  point_at_rows(rows + B, B, h, H, zeros);
  point_at_rows(rows + 2 * B, B, c, H, zeros);
  point_at_rows(rows + 3 * B, B, c_next, H, NULL);
  point_at_rows(rows + 4 * B, B, h_next, H, NULL);
  point_at_rows(rows + 5 * B, B, scratch, FL_PANEL, NULL);
  void *const *const written = (void *const *)rows;
  const fl_layer_rows layer = {.x = rows,
                               .h_prev = rows + B,
                               .c_prev = rows + 2 * B,
                               .c_next = written + 3 * B,
                               .h = written + 4 * B,
                               .z = written + 5 * B};
  const fl_step step = fl_layer_step(plan, 0, B, 0, layer);
  const fl_fpenv caller = fl_fpenv_enter();
  plan->kernels.step(&step);
  fl_fpenv_leave(caller);
}
