/* The front door by itself: what every public function says to invalid arguments, by the one rule that fastlstm.h
 * states, and how a call is given up.
 *
 * SPDX-License-Identifier: BSD-3-Clause */
#include <math.h>
#include "fastlstm.h"
#include "base/cpus.h"
#include "base/os_threads.h"
#include "support.h"

enum { I = 24, H = 136, T = 260, B = 3, THREADS = 3, MOST = 4 };

/* ---- a layer and a call ----------------------------------------------------------------------------------------- */

static float drawn(void) {
  static uint64_t state;
  return (float)((double)(mix(state += GOLDEN) >> 40) / (1 << 24) - 0.5);
}

static float *numbers(size_t n) {
  float *const made = allocated(n * sizeof *made);
  for (size_t k = 0; k < n; k++) made[k] = drawn() / 4;
  return made;
}

typedef struct {
  fl_config config;
  fl_weights weights[MOST];
  float *parts[6 * MOST];
  size_t used;
  fl_plan *plan;
} layer;

static float *part(layer *l, size_t n) {
  return l->parts[l->used++] = numbers(n);
}

static layer made(size_t hidden, size_t P, size_t layers, size_t directions, const fl_form *form) {
  layer l = {.config = {FL_FLOAT32, I, hidden, P, layers, directions, form, FL_WEIGHTS_REAL}};
  const size_t R = P ? P : hidden;
  CHECK(layers * directions <= MOST);
  for (size_t k = 0; k < layers * directions; k++)
    l.weights[k] = (fl_weights){.weight_ih = part(&l, 4 * hidden * (k < directions ? I : directions * R)),
                                .weight_hh = part(&l, 4 * hidden * R),
                                .bias_ih = part(&l, 4 * hidden),
                                .bias_hh = part(&l, 4 * hidden),
                                .weight_hr = P ? part(&l, P * hidden) : NULL,
                                .weight_ph = form && form->peepholes ? part(&l, 3 * hidden) : NULL};
  CHECK(fl_plan_create(&l.plan, &l.config, l.weights, NULL) == FL_OK);
  return l;
}

static void forget(layer l) {
  fl_plan_destroy(l.plan);
  while (l.used) free(l.parts[--l.used]);
}

/* arrays of a call of the largest sizes here */
typedef struct {
  float *x, *y, *h_n, *c_n, *dx;
} arrays;

static arrays begin(void) {
  return (arrays){numbers(T * B * I), numbers(T * B * 2 * H), numbers(MOST * B * H), numbers(MOST * B * H),
                  numbers(T * B * I)};
}

static void end(arrays a) {
  free(a.x);
  free(a.y);
  free(a.h_n);
  free(a.c_n);
  free(a.dx);
}

static fl_sequence sequence_of(const layer *l, arrays a, size_t steps, size_t rows) {
  const ptrdiff_t in = I * sizeof(float);
  const size_t R = l->config.proj_size ? l->config.proj_size : l->config.hidden_size;
  const ptrdiff_t out = (ptrdiff_t)(l->config.directions * R * sizeof(float));
  return (fl_sequence){.T = steps,
                       .B = rows,
                       .input = a.x,
                       .input_t = (ptrdiff_t)rows * in,
                       .input_b = in,
                       .output = a.y,
                       .output_t = (ptrdiff_t)rows * out,
                       .output_b = out,
                       .h_n = a.h_n,
                       .c_n = a.c_n};
}

/* ---- the rule ---------------------------------------------------------------------------------------------------- */

static const fl_status ARGUMENT = FL_ERROR_ARGUMENT;

static void tells_of_activations(void) {
  const float x = -0.5f;
  float y;
  CHECK(!strcmp(fl_activation_at(FL_SIGMOID)->name, "sigmoid") && !fl_activation_at(FL_SOFTPLUS + 1));
  CHECK(!fl_activation_at(SIZE_MAX) && fl_activation_at(FL_AFFINE)->parameters == 2);
  const fl_activation_info *const leaky = fl_activation_at(FL_LEAKY_RELU);
  CHECK(leaky->parameters == 1 && leaky->alpha == 0.01 && leaky->alpha_not_below_0);
  CHECK(fl_activate(NULL, FL_FLOAT32, &(fl_activation){FL_LEAKY_RELU, 0.25, 0}, &x, &y, 1) == FL_OK && y == -0.125f);
}

static void refuses_activations(void) {
  float a[8] = {0};
  fl_status (*const functions[])(const char *, fl_dtype, const void *, void *, size_t) = {fl_sigmoid, fl_tanh};
  for (size_t k = 0; k < 2; k++) {
    CHECK(functions[k](NULL, FL_FLOAT32, NULL, a, 4) == ARGUMENT);
    CHECK(functions[k](NULL, FL_FLOAT32, a, NULL, 4) == ARGUMENT);
    CHECK(functions[k](NULL, (fl_dtype)33, a, a, 4) == ARGUMENT);
    CHECK(functions[k]("abacus", FL_FLOAT32, a, a, 4) == FL_ERROR_ISA);
    CHECK(functions[k](NULL, FL_FLOAT32, a, a, SIZE_MAX) == FL_ERROR_OVERFLOW);
    CHECK(functions[k](NULL, FL_FLOAT32, NULL, NULL, 0) == FL_OK);
  }
  const fl_activation invalid[] = {{(fl_activation_kind)-1, 0, 0},
                                   {(fl_activation_kind)11, 0, 0},
                                   {FL_AFFINE, NAN, 0},
                                   {FL_AFFINE, 1, INFINITY},
                                   {FL_ELU, 1e39, 0}};
  for (size_t k = 0; k < sizeof invalid / sizeof invalid[0]; k++)
    CHECK(fl_activate(NULL, FL_FLOAT32, &invalid[k], a, a, 1) == ARGUMENT);
  CHECK(fl_activate(NULL, FL_FLOAT32, NULL, a, a, 1) == ARGUMENT);
  CHECK(fl_activate("abacus", FL_FLOAT32, &invalid[0], a, a, 1) == FL_ERROR_ISA);
  CHECK(fl_activate(NULL, FL_FLOAT64, &(fl_activation){FL_ELU, 1e39, 0}, NULL, NULL, 0) == FL_OK);
  const fl_activation left_open[] = {{FL_TANH, NAN, INFINITY}, {FL_RELU, 1e300, NAN}, {FL_LEAKY_RELU, 0.5, NAN}};
  for (size_t k = 0; k < sizeof left_open / sizeof left_open[0]; k++) /* what the formula does not have is not read */
    CHECK(fl_activate(NULL, FL_FLOAT32, &left_open[k], a, a, 8) == FL_OK && a[0] == 0);
  for (size_t missing = 0; missing < 7; missing++) {
    void *p[7]; /* of 1 row, 1 unit */
    for (size_t k = 0; k < 7; k++) p[k] = k == missing ? NULL : a;
    float z[4] = {0}, h[1];
    if (missing < 4) CHECK(fl_gates_forward(NULL, FL_FLOAT32, 1, 1, p[0], p[1], p[2], p[3]) == ARGUMENT);
    if (missing < 5) CHECK(fl_gates_train(NULL, FL_FLOAT32, 1, 1, p[0], p[1], p[2], p[3], p[4]) == ARGUMENT);
    if (missing < 6) CHECK(fl_gates_backward(NULL, FL_FLOAT32, 1, 1, p[0], p[1], p[2], p[3], p[4], p[5]) == ARGUMENT);
    CHECK(fl_gates_forward(NULL, FL_FLOAT32, 1, 1, z, a, a, h) == FL_OK);
  }
  CHECK(fl_gates_forward(NULL, FL_FLOAT32, SIZE_MAX / 2, 4, a, a, a, a) == FL_ERROR_OVERFLOW);
  CHECK(fl_gates_forward(NULL, FL_FLOAT32, 0, 5, NULL, NULL, NULL, NULL) == FL_OK);
  CHECK(fl_accumulate(FL_FLOAT32, NULL, a, 1) == ARGUMENT && fl_accumulate(FL_FLOAT32, a, NULL, 1) == ARGUMENT);
  CHECK(fl_accumulate(FL_FLOAT32, a, a, SIZE_MAX) == FL_ERROR_OVERFLOW);
  CHECK(fl_accumulate((fl_dtype)0, a, a, 1) == ARGUMENT && fl_accumulate(FL_FLOAT64, NULL, NULL, 0) == FL_OK);
}

static void refuses_plans_and_pools(const layer *l) {
  fl_plan *plan;
  fl_pool *pool;
  CHECK(fl_plan_create(NULL, &l->config, l->weights, NULL) == ARGUMENT);
  CHECK(fl_plan_create(&plan, NULL, l->weights, NULL) == ARGUMENT && !plan);
  CHECK(fl_plan_create(&plan, &l->config, NULL, NULL) == ARGUMENT && !plan);
  fl_config config = l->config;
  config.num_layers = SIZE_MAX / 2 + 1; /* times two directions: 0 */
  config.directions = 2;
  CHECK(fl_plan_create(&plan, &config, l->weights, NULL) == FL_ERROR_OVERFLOW && !plan);
  CHECK(!fl_plan_isa(NULL) && fl_plan_size(NULL) == SIZE_MAX);
  CHECK(fl_pool_create(NULL, 2) == ARGUMENT && fl_pool_borrow(NULL, 2, NULL) == ARGUMENT);
  const size_t counts[] = {0, 4097, SIZE_MAX};
  for (size_t k = 0; k < 3; k++) {
    CHECK(fl_pool_create(&pool, counts[k]) == ARGUMENT && !pool);
    CHECK(fl_workspace_size(l->plan, 5, 5, counts[k]) == SIZE_MAX);
    CHECK(fl_sessions_workspace(l->plan, 5, counts[k]) == SIZE_MAX);
    CHECK(fl_sessions_workspace_until(l->plan, 5, counts[k]) == SIZE_MAX);
  }
  CHECK(fl_workspace_size(l->plan, 5, 5, 4096) != SIZE_MAX);
  CHECK(fl_workspace_size(NULL, 1, 1, 1) == SIZE_MAX && fl_sessions_workspace(NULL, 1, 1) == SIZE_MAX);
  CHECK(fl_stream_size(NULL, 1) == SIZE_MAX && fl_sessions_size(NULL, 1) == SIZE_MAX);
  CHECK(fl_cell_size(NULL, 1) == SIZE_MAX && fl_tape_size(NULL, 1, 1, 1, 0, 0) == SIZE_MAX);
  CHECK(fl_backward_size(NULL, 1) == SIZE_MAX);
  CHECK(fl_tape_size(l->plan, 2, 3, 7, 0, 0) == SIZE_MAX); /* more steps than there are */
  CHECK(fl_tape_size(l->plan, SIZE_MAX, 0, 0, 0, 0) == SIZE_MAX);
  for (int status = FL_OK; status <= FL_ERROR_RANGE + 1; status++) CHECK(fl_status_text((fl_status)status)[0]);
}

/* one thing wrong at a time, for a forward and for a tape */
static void refuses_sequences(const layer *l, const layer *both_ways, arrays a) {
  void *raw, *raw_tape;
  char *const workspace = aligned(fl_workspace_size(both_ways->plan, 4, B, 1), &raw);
  void *const memory = aligned(fl_tape_size(both_ways->plan, 4, B, 4 * B, 0, 1), &raw_tape);
  const fl_sequence good = sequence_of(l, a, 4, B);
  const uint8_t resets[4 * B] = {0};
  const int64_t long_one[B] = {4, 5, 0}, negative[B] = {-1, 3, 3}, rising[B] = {1, 2, 3}, falling[B] = {4, 2, 0};
  const int64_t starts[4] = {0, 2, 4, 5}, backwards[4] = {-1, 0, 0, 0};
  fl_sequence bad[12];
  size_t n = 0;
#define BAD(field, value) bad[n] = good, bad[n++].field = value
  BAD(input, NULL);
  BAD(lengths, long_one);
  BAD(lengths, negative);
  BAD(starts, starts); /* without lengths */
  BAD(starts, starts), bad[n - 1].lengths = rising;
  BAD(starts, backwards), bad[n - 1].lengths = falling;
  const size_t read = n;
  BAD(output, NULL);
  BAD(h_n, NULL);
  BAD(c_n, NULL);
#undef BAD
  for (size_t k = 0; k < n; k++) {
    CHECK(fl_forward(l->plan, &bad[k], NULL, workspace) == ARGUMENT);
    if (k < read) CHECK(!fl_tape_init(l->plan, &bad[k], 0, 0, 0, memory));
  }
  CHECK(fl_forward(NULL, &good, NULL, workspace) == ARGUMENT && fl_forward(l->plan, NULL, NULL, workspace) == ARGUMENT);
  CHECK(fl_forward(l->plan, &good, NULL, NULL) == ARGUMENT);
  CHECK(fl_forward(l->plan, &good, NULL, workspace + 32) == ARGUMENT);
  const fl_cancel nobody = {NULL, NULL};
  CHECK(fl_forward_until(l->plan, &good, NULL, workspace, &nobody) == ARGUMENT);
  fl_sequence packed = good, reset = good;
  packed.starts = starts;
  packed.lengths = falling;
  CHECK(fl_forward(l->plan, &packed, NULL, workspace) == FL_OK);
  reset.resets = resets;
  reset.resets_t = B;
  reset.resets_b = 1;
  CHECK(fl_forward(both_ways->plan, &reset, NULL, workspace) == ARGUMENT);
  CHECK(!fl_tape_init(both_ways->plan, &reset, 0, 0, 0, memory));
  CHECK(!fl_tape_init(NULL, &good, 0, 0, 0, memory) && !fl_tape_init(l->plan, NULL, 0, 0, 0, memory));
  CHECK(!fl_tape_init(l->plan, &good, 0, 0, 0, NULL) && !fl_tape_init(l->plan, &packed, 0, 0, 0, memory));
  CHECK(!fl_tape_init(l->plan, &good, 1.5, 0, 0, memory) && !fl_tape_init(l->plan, &good, NAN, 0, 0, memory));
  const fl_sequence no_rows = {.T = 4}, no_steps = {.B = B, .h_n = a.h_n, .c_n = a.c_n};
  CHECK(fl_forward(l->plan, &no_rows, NULL, workspace) == FL_OK);
  CHECK(fl_forward(l->plan, &no_steps, NULL, workspace) == FL_OK);
  free(raw);
  free(raw_tape);
}

/* rows whose pre-activations cannot be addressed, or whose bytes are 0 again: nothing is touched */
static void refuses_too_many_rows(const layer *l, arrays a) {
  void *raw;
  void *const workspace = aligned(fl_workspace_size(l->plan, 1, 1, 1), &raw);
  for (int bit = 56; bit < 64; bit++) {
    const size_t rows = (size_t)((uint64_t)1 << bit);
    fl_sequence s = sequence_of(l, a, 1, 1);
    s.B = rows;
    for (s.T = 0; s.T <= 1; s.T++) {
      CHECK(fl_forward(l->plan, &s, NULL, workspace) == FL_ERROR_OVERFLOW);
      CHECK(!fl_tape_init(l->plan, &s, 0, 0, 0, workspace));
    }
    CHECK(fl_cell(l->plan, rows, a.x, NULL, NULL, a.h_n, a.c_n, workspace) == FL_ERROR_OVERFLOW);
    CHECK(!fl_stream_init(l->plan, rows, workspace) && !fl_sessions_init(l->plan, rows, workspace));
    CHECK(fl_workspace_size(l->plan, 1, rows, 1) == SIZE_MAX);
  }
  free(raw);
}

/* the order of calls of a tape */
static void refuses_tapes(const layer *l, arrays a) {
  void *raw, *raw_tape, *raw_scratch;
  int64_t lengths[B] = {4, 2, 3}, others[B] = {3, 2, 3};
  fl_sequence s = sequence_of(l, a, 4, B);
  s.lengths = lengths;
  void *const workspace = aligned(fl_workspace_size(l->plan, 4, B, 1), &raw);
  fl_tape *const tape = fl_tape_init(l->plan, &s, 0, 0, 0, aligned(fl_tape_size(l->plan, 4, B, 9, 0, 0), &raw_tape));
  CHECK(tape);
  CHECK(fl_backward_size(tape, 0) == SIZE_MAX && fl_backward_size(tape, SIZE_MAX) == SIZE_MAX);
  void *const scratch = aligned(fl_backward_size(tape, 1), &raw_scratch);
  const fl_gradients all = {.output = a.y, .input = a.dx};   /* no parameters are wanted */
  CHECK(fl_backward(tape, &all, NULL, scratch) == ARGUMENT); /* not filled yet */
  CHECK(fl_forward_train(&s, NULL, NULL, workspace) == ARGUMENT &&
        fl_forward_train(NULL, tape, NULL, workspace) == ARGUMENT);
  CHECK(fl_forward_train(&s, tape, NULL, NULL) == ARGUMENT);
  fl_sequence other = s;
  other.lengths = others;
  CHECK(fl_forward_train(&other, tape, NULL, workspace) == ARGUMENT);
  other.lengths = NULL;
  CHECK(fl_forward_train(&other, tape, NULL, workspace) == ARGUMENT);
  other = s;
  other.T = 5;
  CHECK(fl_forward_train(&other, tape, NULL, workspace) == ARGUMENT);
  other = s;
  other.B = B - 1;
  CHECK(fl_forward_train(&other, tape, NULL, workspace) == ARGUMENT);
  CHECK(fl_forward_train(&s, tape, NULL, workspace) == FL_OK);
  CHECK(fl_forward_train(&s, tape, NULL, workspace) == ARGUMENT); /* filled already */
  const fl_weight_gradients projected = {.weight_hr = a.dx}, peepholes = {.weight_ph = a.dx};
  const fl_gradients no_projection = {.weights = &projected}, no_peepholes = {.weights = &peepholes};
  CHECK(fl_backward(tape, &no_projection, NULL, scratch) == ARGUMENT);
  CHECK(fl_backward(tape, &no_peepholes, NULL, scratch) == ARGUMENT);
  CHECK(fl_backward(NULL, &all, NULL, scratch) == ARGUMENT && fl_backward(tape, NULL, NULL, scratch) == ARGUMENT);
  CHECK(fl_backward(tape, &all, NULL, NULL) == ARGUMENT &&
        fl_backward(tape, &all, NULL, (char *)scratch + 8) == ARGUMENT);
  CHECK(fl_backward(tape, &all, NULL, scratch) == FL_OK); /* all that was refused has not used it up */
  CHECK(fl_backward(tape, &all, NULL, scratch) == ARGUMENT);
  free(raw);
  free(raw_tape);
  free(raw_scratch);
}

static void refuses_steps(const layer *l, const layer *both_ways, const layer *projected, arrays a) {
  void *raw, *raw_cell, *raw_sessions, *raw_step, *raw_other, *raw_advances;
  CHECK(fl_stream_size(both_ways->plan, 1) == SIZE_MAX && fl_sessions_size(both_ways->plan, 1) == SIZE_MAX);
  CHECK(fl_cell_size(both_ways->plan, 1) == SIZE_MAX && fl_cell_size(projected->plan, 1) == SIZE_MAX);
  char *const memory = aligned(fl_stream_size(l->plan, B), &raw);
  CHECK(!fl_stream_init(NULL, B, memory) && !fl_stream_init(l->plan, B, NULL) &&
        !fl_stream_init(l->plan, B, memory + 8));
  CHECK(!fl_stream_init(both_ways->plan, B, memory) && !fl_stream_init(l->plan, SIZE_MAX / 2, memory));
  fl_stream *const stream = fl_stream_init(l->plan, B, memory);
  CHECK(fl_stream_step(NULL, a.x, a.y) == ARGUMENT && fl_stream_step(stream, NULL, a.y) == ARGUMENT);
  CHECK(fl_stream_step(stream, a.x, NULL) == ARGUMENT && fl_stream_step(stream, a.x, a.y) == FL_OK);
  const fl_cancel nobody = {NULL, NULL};
  CHECK(fl_stream_step_until(NULL, a.x, a.y, NULL) == ARGUMENT &&
        fl_stream_step_until(stream, NULL, a.y, NULL) == ARGUMENT);
  CHECK(fl_stream_step_until(stream, a.x, NULL, NULL) == ARGUMENT &&
        fl_stream_step_until(stream, a.x, a.y, &nobody) == ARGUMENT);
  CHECK(fl_stream_advance(NULL) == ARGUMENT && fl_stream_advance_until(NULL, NULL) == ARGUMENT);
  CHECK(fl_stream_advance_until(stream, &nobody) == ARGUMENT && fl_stream_advance(stream) == FL_OK);
  CHECK(fl_stream_get(NULL, a.h_n, a.c_n) == ARGUMENT && fl_stream_get(stream, NULL, a.c_n) == ARGUMENT);
  CHECK(fl_stream_get(stream, a.h_n, NULL) == ARGUMENT && fl_stream_set(NULL, NULL, NULL) == ARGUMENT);

  void *const scratch = aligned(fl_cell_size(l->plan, B), &raw_cell);
  CHECK(fl_cell(NULL, B, a.x, NULL, NULL, a.h_n, a.c_n, scratch) == ARGUMENT);
  CHECK(fl_cell(projected->plan, B, a.x, NULL, NULL, a.h_n, a.c_n, scratch) == ARGUMENT);
  CHECK(fl_cell(l->plan, B, NULL, NULL, NULL, a.h_n, a.c_n, scratch) == ARGUMENT);
  CHECK(fl_cell(l->plan, B, a.x, NULL, NULL, NULL, a.c_n, scratch) == ARGUMENT);
  CHECK(fl_cell(l->plan, B, a.x, NULL, NULL, a.h_n, NULL, scratch) == ARGUMENT);
  CHECK(fl_cell(l->plan, B, a.x, NULL, NULL, a.h_n, a.c_n, NULL) == ARGUMENT);
  CHECK(fl_cell(l->plan, B, a.x, NULL, NULL, a.h_n, a.c_n, scratch) == FL_OK);

  void *const block = aligned(fl_sessions_size(l->plan, 4), &raw_sessions);
  CHECK(!fl_sessions_init(NULL, 4, block) && !fl_sessions_init(l->plan, 4, NULL) &&
        !fl_sessions_init(both_ways->plan, 4, block));
  fl_sessions *const s = fl_sessions_init(l->plan, 4, block);
  void *const step = aligned(fl_sessions_workspace(l->plan, 4, 1), &raw_step);
  const size_t good[4] = {3, 0, 2, 1}, twice[4] = {3, 0, 3, 1}, beyond[4] = {0, 1, 2, 4};
  const ptrdiff_t row = 0;
  CHECK(fl_sessions_step(NULL, 4, good, a.x, row, a.y, NULL, step) == ARGUMENT);
  CHECK(fl_sessions_step(s, 4, NULL, a.x, row, a.y, NULL, step) == ARGUMENT);
  CHECK(fl_sessions_step(s, 4, good, NULL, row, a.y, NULL, step) == ARGUMENT);
  CHECK(fl_sessions_step(s, 4, good, a.x, row, NULL, NULL, step) == ARGUMENT);
  CHECK(fl_sessions_step(s, 4, good, a.x, row, a.y, NULL, NULL) == ARGUMENT);
  CHECK(fl_sessions_step(s, 4, twice, a.x, row, a.y, NULL, step) == ARGUMENT);
  CHECK(fl_sessions_step(s, 4, beyond, a.x, row, a.y, NULL, step) == ARGUMENT);
  CHECK(fl_sessions_step(s, 0, NULL, NULL, 0, NULL, NULL, NULL) == FL_OK);
  const fl_batch batch = {4, good, a.x, row, a.y};
  CHECK(fl_sessions_step_until(NULL, &batch, NULL, step, NULL) == ARGUMENT);
  CHECK(fl_sessions_step_until(s, NULL, NULL, step, NULL) == ARGUMENT);
  CHECK(fl_sessions_step_until(s, &batch, NULL, step, &nobody) == ARGUMENT);
  CHECK(fl_sessions_get(s, 0, a.h_n, a.c_n) == FL_OK && a.h_n[0] == 0 && a.c_n[0] == 0); /* nothing has moved */
  CHECK(fl_sessions_step(s, 4, good, a.x, row, a.y, NULL, step) == FL_OK);
  CHECK(fl_sessions_advance(s, 4, good, NULL, step) == ARGUMENT); /* there is no memory for it yet */
  char *const advances = aligned(fl_sessions_advance_size(l->plan, 4), &raw_advances);
  CHECK(fl_sessions_advance_size(NULL, 4) == SIZE_MAX && fl_sessions_advance_size(both_ways->plan, 4) == SIZE_MAX);
  CHECK(fl_sessions_advance_init(NULL, advances) == ARGUMENT && fl_sessions_advance_init(s, NULL) == ARGUMENT);
  CHECK(fl_sessions_advance_init(s, advances + 8) == ARGUMENT && fl_sessions_advance_init(s, advances) == FL_OK);
  CHECK(fl_sessions_advance(NULL, 4, good, NULL, step) == ARGUMENT);
  CHECK(fl_sessions_advance(s, 4, NULL, NULL, step) == ARGUMENT);
  CHECK(fl_sessions_advance(s, 4, good, NULL, NULL) == ARGUMENT);
  CHECK(fl_sessions_advance(s, 4, twice, NULL, step) == ARGUMENT);
  CHECK(fl_sessions_advance(s, 4, beyond, NULL, step) == ARGUMENT);
  CHECK(fl_sessions_advance_until(s, 4, good, NULL, step, &nobody) == ARGUMENT);
  CHECK(fl_sessions_advance(s, 0, NULL, NULL, NULL) == FL_OK && fl_sessions_advance(s, 4, good, NULL, step) == FL_OK);
  CHECK(fl_sessions_get(NULL, 0, a.h_n, a.c_n) == ARGUMENT && fl_sessions_get(s, 4, a.h_n, a.c_n) == ARGUMENT);
  CHECK(fl_sessions_get(s, 0, NULL, a.c_n) == ARGUMENT && fl_sessions_get(s, 0, a.h_n, NULL) == ARGUMENT);
  CHECK(fl_sessions_set(NULL, 0, NULL, NULL) == ARGUMENT && fl_sessions_set(s, 4, NULL, NULL) == ARGUMENT);
  fl_sessions *const other =
      fl_sessions_init(projected->plan, 4, aligned(fl_sessions_size(projected->plan, 4), &raw_other));
  CHECK(fl_sessions_move(NULL, s) == ARGUMENT && fl_sessions_move(s, NULL) == ARGUMENT);
  CHECK(fl_sessions_move(s, other) == ARGUMENT && fl_sessions_move(s, s) == FL_OK);
  free(raw);
  free(raw_cell);
  free(raw_sessions);
  free(raw_step);
  free(raw_other);
  free(raw_advances);
}

/* ---- giving up -------------------------------------------------------------------------------------------------- */

typedef struct {
  os_id caller;
  int after; /* at which time of asking to say so; 0: never */
  int asked;
} patience;

static int ask(void *data) {
  patience *const p = data;
  CHECK(os_same(p->caller, os_self()));    /* never on a worker */
  CHECK(!p->after || p->asked < p->after); /* not once more */
  return ++p->asked == p->after;
}

static void lend(void (*work)(void *), void *data, unsigned threads, unsigned flags) {
  (void)threads;
  (void)flags;
  work(data);
}

enum { FORWARD, TRAIN, BACKWARD, CALLS };

/* One call of a kind, told to give up the `after`th time: its status. With 0 also the results, in a. */
static fl_status call(const layer *l, arrays a, size_t rows, int kind, fl_pool *pool, patience *p) {
  const fl_sequence s = sequence_of(l, a, T, rows);
  const fl_cancel cancel = {ask, p};
  const size_t threads = pool ? THREADS : 1;
  void *raw, *raw_tape, *raw_scratch;
  void *const workspace = aligned(fl_workspace_size(l->plan, T, rows, threads), &raw);
  p->caller = os_self();
  p->asked = 0;
  if (kind == FORWARD) {
    const fl_status status = fl_forward_until(l->plan, &s, pool, workspace, &cancel);
    free(raw);
    return status;
  }
  fl_tape *const tape =
      fl_tape_init(l->plan, &s, 0, 0, 0, aligned(fl_tape_size(l->plan, T, rows, T * rows, 0, 0), &raw_tape));
  CHECK(tape);
  void *const scratch = aligned(fl_backward_size(tape, threads), &raw_scratch);
  const fl_gradients g = {.output = a.y, .input = a.dx};
  fl_status status = fl_forward_train_until(&s, tape, pool, workspace, kind == TRAIN ? &cancel : NULL);
  if (status == FL_ERROR_CANCELLED) { /* as if nothing had happened */
    CHECK(fl_backward(tape, &g, pool, scratch) == ARGUMENT);
    CHECK(fl_forward_train(&s, tape, pool, workspace) == FL_OK);
  } else if (kind == BACKWARD) {
    CHECK(status == FL_OK);
    status = fl_backward_until(tape, &g, pool, scratch, &cancel);
    CHECK(fl_backward(tape, &g, pool, scratch) == ARGUMENT); /* it is used up, or was spoilt */
  }
  free(raw);
  free(raw_tape);
  free(raw_scratch);
  return status;
}

static void gives_up(const layer *l, size_t rows, fl_pool *pool) {
  const size_t R = l->config.proj_size ? l->config.proj_size : l->config.hidden_size;
  const size_t out = T * rows * l->config.directions * R * sizeof(float), in = T * rows * I * sizeof(float);
  arrays answer = begin(), a = begin();
  memcpy(a.x, answer.x, T * B * I * sizeof(float));
  patience never = {.after = 0};
  CHECK(call(l, answer, rows, BACKWARD, NULL, &never) == FL_OK);
  for (int kind = 0; kind < CALLS; kind++) {
    memset(a.y, 0x77, out);
    memset(a.dx, 0x77, in);
    CHECK(call(l, a, rows, kind, pool, &never) == FL_OK &&
          (pool || never.asked > 1));   /* the workers may have done it all */
    CHECK(!memcmp(a.y, answer.y, out)); /* being asked changes no bit */
    if (kind == BACKWARD) CHECK(!memcmp(a.dx, answer.dx, in));
    const int times[] = {1, 2, never.asked / 2, never.asked};
    for (size_t k = 0; k < 4; k++) {
      patience p = {.after = times[k]};
      const fl_status status = call(l, a, rows, kind, pool, &p);
      if (status == FL_ERROR_CANCELLED)
        CHECK(p.asked == p.after);
      else /* the workers may have done it all before the caller was asked so often */
        CHECK(status == FL_OK && pool && (p.asked < p.after || !p.after));
    }
  }
  end(answer);
  end(a);
}

int main(void) {
  fl_use_all_threads(1);
  const fl_form seeing = {{FL_SIGMOID, 0, 0}, {FL_TANH, 0, 0}, {FL_TANH, 0, 0}, 1, 0, FL_CLIP_NONE, 0, 0};
  layer layers[] = {made(H, 0, 1, 1, NULL), made(H, 0, 2, 2, NULL), made(H, 40, 2, 1, &seeing)};
  arrays a = begin();
  tells_of_activations();
  refuses_activations();
  refuses_plans_and_pools(&layers[0]);
  refuses_sequences(&layers[0], &layers[1], a);
  if (SIZE_MAX > UINT32_MAX) refuses_too_many_rows(&layers[0], a);
  refuses_tapes(&layers[0], a);
  refuses_steps(&layers[0], &layers[1], &layers[2], a);
  end(a);
  fl_pool *workers, *borrowed;
  CHECK(fl_pool_create(&workers, THREADS) == FL_OK && fl_pool_borrow(&borrowed, THREADS, lend) == FL_OK);
  for (size_t k = 0; k < 3; k++) {
    gives_up(&layers[k], 1, NULL);
    gives_up(&layers[k], B, NULL);
    gives_up(&layers[k], 1, workers); /* by units */
    gives_up(&layers[k], B, workers);
    gives_up(&layers[k], B, borrowed);
    forget(layers[k]);
  }
  fl_pool_destroy(workers);
  fl_pool_destroy(borrowed);
  printf("fastlstm api: all invalid arguments refused, all calls given up\n");
  return 0;
}
