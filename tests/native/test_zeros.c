/* Which weights are read where inputs are zero: every way through a layer, with NaN written over the weights that only
 * zeros meet, gives numbers; with one input that is not zero, NaN. And which layers may skip them at all.
 *
 * SPDX-License-Identifier: BSD-3-Clause */
#include <math.h>
#include "layer.h"
#include "plan.h"

enum { I = 72, H = 41, T = 20, MOST_ROWS = 20 }; /* 6 panels */

typedef struct {
  fl_plan *plan;
  size_t real, B;
  void *x, *y, *h, *c; /* [T, B, I]; [T, B, H]; [B, H] */
} job;

static void set(const job *j, void *at, size_t k, double to) {
  if (j->real == sizeof(float))
    ((float *)at)[k] = (float)to;
  else
    ((double *)at)[k] = to;
}

static int has_nan(const job *j, size_t n) {
  for (size_t k = 0; k < n; k++)
    if (isnan(j->real == sizeof(float) ? (double)((float *)j->y)[k] : ((double *)j->y)[k])) return 1;
  return 0;
}

/* every fifth input is a number; the others' weights are NaN */
static void spoil(const job *j) {
  for (size_t k = 0; k < T * j->B * I; k++)
    if (k % I % 5) set(j, j->x, k, k % 2 ? 0 : -0.0);
  for (size_t p = 0; p < j->plan->panels; p++)
    for (size_t k = 0; k < I * FL_PANEL; k++)
      if (k / FL_PANEL % 5) set(j, (char *)j->plan->layers[0].weights + p * (I + H) * FL_PANEL * j->real, k, NAN);
}

static fl_sequence sequence_of(const job *j) {
  const ptrdiff_t in = (ptrdiff_t)(I * j->real), out = (ptrdiff_t)(H * j->real), B = (ptrdiff_t)j->B;
  return (fl_sequence){.T = T,
                       .B = j->B,
                       .input = j->x,
                       .input_t = B * in,
                       .input_b = in,
                       .output = j->y,
                       .output_t = B * out,
                       .output_b = out,
                       .h_n = j->h,
                       .c_n = j->c};
}

/* ---- ways: each leaves its outputs in y, and says how many numbers they are ------------------------------------- */

static size_t run_sequence(const job *j, size_t threads) {
  const fl_sequence sequence = sequence_of(j);
  void *raw, *const workspace = aligned(fl_workspace_size(j->plan, T, j->B, threads), &raw);
  fl_pool *pool = NULL;
  CHECK(threads == 1 || fl_pool_create(&pool, threads) == FL_OK);
  CHECK(fl_forward(j->plan, &sequence, pool, workspace) == FL_OK);
  fl_pool_destroy(pool);
  free(raw);
  return T * j->B * H;
}

static size_t sequence(const job *j) {
  return run_sequence(j, 1);
}

static size_t threads(const job *j) {
  return run_sequence(j, 2);
}

static size_t training(const job *j) {
  const fl_sequence sequence = sequence_of(j);
  void *raw[2];
  void *const memory = aligned(fl_tape_size(j->plan, T, j->B, T * j->B, 0, 0), &raw[0]);
  void *const workspace = aligned(fl_workspace_size(j->plan, T, j->B, 1), &raw[1]);
  fl_tape *const tape = fl_tape_init(j->plan, &sequence, 0, 0, 0, memory);
  CHECK(tape && fl_forward_train(&sequence, tape, NULL, workspace) == FL_OK);
  free(raw[0]);
  free(raw[1]);
  return T * j->B * H;
}

static size_t stream(const job *j) {
  void *raw, *const memory = aligned(fl_stream_size(j->plan, j->B), &raw);
  fl_stream *const made = fl_stream_init(j->plan, j->B, memory);
  CHECK(made && fl_stream_step(made, j->x, j->y) == FL_OK);
  free(raw);
  return j->B * H;
}

static size_t advanced(const job *j) {
  void *raw, *const memory = aligned(fl_stream_size(j->plan, j->B), &raw);
  fl_stream *const made = fl_stream_init(j->plan, j->B, memory);
  CHECK(made && fl_stream_advance(made) == FL_OK && fl_stream_step(made, j->x, j->y) == FL_OK);
  free(raw);
  return j->B * H;
}

static size_t cell(const job *j) {
  void *raw, *const workspace = aligned(fl_cell_size(j->plan, j->B), &raw);
  CHECK(fl_cell(j->plan, j->B, j->x, NULL, NULL, j->y, j->c, workspace) == FL_OK);
  free(raw);
  return j->B * H;
}

static size_t sessions(const job *j) {
  void *raw[2];
  void *const memory = aligned(fl_sessions_size(j->plan, j->B), &raw[0]);
  void *const workspace = aligned(fl_sessions_workspace(j->plan, j->B, 1), &raw[1]);
  fl_sessions *const made = fl_sessions_init(j->plan, j->B, memory);
  size_t slots[MOST_ROWS];
  for (size_t b = 0; b < j->B; b++) slots[b] = b;
  CHECK(made && fl_sessions_step(made, j->B, slots, j->x, (ptrdiff_t)(I * j->real), j->y, NULL, workspace) == FL_OK);
  free(raw[0]);
  free(raw[1]);
  return j->B * H;
}

static size_t window(const job *j) {
  void *raw, *const memory = aligned(fl_window_size(j->plan, 3, 1), &raw);
  fl_window *const made = fl_window_init(j->plan, 3, 1, memory);
  for (size_t t = 0; t < 5; t++) CHECK(made && fl_window_push(made, j->x, j->y, NULL) == FL_OK);
  free(raw);
  return H;
}

static size_t (*const ways[])(const job *) = {sequence, threads, training, stream, advanced, cell, sessions, window};

static void check_ways(const char *isa, fl_dtype dtype, size_t B) {
  const fl_config config = {.dtype = dtype, .input_size = I, .hidden_size = H, .num_layers = 1, .directions = 1};
  const job j = {.plan = random_plan(&config, isa),
                 .real = dtype / 8,
                 .B = B,
                 .x = numbers(T * B * I, dtype),
                 .y = allocated(T * B * H * dtype / 8),
                 .h = allocated(B * H * dtype / 8),
                 .c = allocated(B * H * dtype / 8)};
  spoil(&j);
  for (size_t k = 0; k < sizeof ways / sizeof *ways; k++) CHECK(!has_nan(&j, ways[k](&j)));
  set(&j, j.x, 1, 0.5); /* of row 0, in step 0 */
  for (size_t k = 0; k < sizeof ways / sizeof *ways; k++) CHECK(has_nan(&j, ways[k](&j)));
  free(j.x);
  free(j.y);
  free(j.h);
  free(j.c);
  fl_plan_destroy(j.plan);
}

/* ---- which layers ----------------------------------------------------------------------------------------------- */

/* of two layers in both directions, with `value` in one array of the second pass; which passes skip zeros, as bits */
static unsigned skipping(int coupled, size_t array, size_t at, float value) {
  enum { N = 3, M = 5 };
  static float w[4 * M * 2 * M], u[4 * M * M], b[4 * M], other_w[4 * M * N], other_u[4 * M * M], other_b[4 * M];
  float *const others[] = {other_w, other_u, other_b};
  const fl_form form = {{FL_SIGMOID, 0, 0}, {FL_TANH, 0, 0}, {FL_TANH, 0, 0}, 0, coupled, FL_CLIP_NONE, 0, 0};
  const fl_config config = {
      .dtype = FL_FLOAT32, .input_size = N, .hidden_size = M, .num_layers = 2, .directions = 2, .form = &form};
  const fl_weights usual = {.weight_ih = w, .weight_hh = u, .bias_ih = b};
  const fl_weights weights[] = {usual, {.weight_ih = other_w, .weight_hh = other_u, .bias_ih = other_b}, usual, usual};
  fl_plan *plan;
  unsigned bits = 0;
  others[array][at] = value;
  CHECK(fl_plan_create(&plan, &config, weights, NULL) == FL_OK);
  for (size_t j = 0; j < 4; j++) bits |= (unsigned)(plan->layers[j].skip_zeros != 0) << j;
  fl_plan_destroy(plan);
  others[array][at] = 0;
  return bits;
}

static void check_layers(void) {
  const float values[] = {INFINITY, -INFINITY, NAN};
  CHECK(skipping(0, 0, 0, 1e30f) == 3);
  for (size_t v = 0; v < 3; v++) {
    for (size_t at = 0; at < 4 * 5 * 3; at++) {
      const int forget = at / 15 == 1;
      CHECK(skipping(0, 0, at, values[v]) == 1);
      CHECK(skipping(1, 0, at, values[v]) == (forget ? 3 : 1)); /* whose weights a coupled form has none of */
    }
    CHECK(skipping(0, 1, 7, values[v]) == 3 && skipping(0, 2, 7, values[v]) == 3);
  }
}

int main(void) {
  const size_t rows[] = {1, 2, 5, MOST_ROWS};
  check_layers();
  for (size_t i = 0; fl_isa_name(i); i++)
    for (size_t k = 0; k < sizeof rows / sizeof *rows; k++) {
      check_ways(fl_isa_name(i), FL_FLOAT32, rows[k]);
      check_ways(fl_isa_name(i), FL_FLOAT64, rows[k]);
    }
  printf("ok\n");
  return 0;
}
