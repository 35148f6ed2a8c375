/* Weights of 16 bits: their conversions, all of them, against arithmetic in double; every way through a layer gives the
 * bits of the float32 layer that holds the rounded weights; what they cannot hold is refused, and so is training.
 *
 * SPDX-License-Identifier: BSD-3-Clause */
#include <float.h>
#include <math.h>
#include "kernels/half.h"
#include "layer.h"
#include "passes/cut.h"
#include "base/cpus.h"

/* x rounded to `bits` of mantissa, the hidden one among them; 2^least is the smallest normal number */
static double rounded(double x, int bits, int least) {
  if (x == 0) return x;
  const int exponent = ilogb(x) > least ? ilogb(x) : least;
  return ldexp(nearbyint(ldexp(x, bits - 1 - exponent)), exponent - bits + 1);
}

static double rounded_to(fl_weight_type type, double x) {
  return type == FL_WEIGHTS_FLOAT16 ? rounded(x, 11, -14) : rounded(x, 8, -126);
}

/* ---- conversions ------------------------------------------------------------------------------------------------ */

static void check_float(float x) {
  uint16_t h = 0, b = 0;
  const int fits_h = fl_to_float16(x, &h), fits_b = fl_to_bfloat16(x, &b);
  const double of_h = rounded_to(FL_WEIGHTS_FLOAT16, x), of_b = rounded_to(FL_WEIGHTS_BFLOAT16, x);
  CHECK(fits_h == (isfinite(x) && fabs(of_h) <= 65504));
  CHECK(fits_b == (isfinite(x) && fabs(of_b) <= FLT_MAX));
  if (fits_h) CHECK((double)fl_from_float16(h) == of_h && !signbit(x) == !signbit(fl_from_float16(h)));
  if (fits_b) CHECK((double)fl_from_bfloat16(b) == of_b && !signbit(x) == !signbit(fl_from_bfloat16(b)));
}

static void check_conversions(void) {
  for (uint32_t h = 0; h < 65536; h++) {
    uint16_t again;
    if ((h >> 10 & 31) != 31) CHECK(fl_to_float16(fl_from_float16((uint16_t)h), &again) && again == h);
    if ((h >> 7 & 255) != 255) CHECK(fl_to_bfloat16(fl_from_bfloat16((uint16_t)h), &again) && again == h);
    /* halfway to the next, and beside it */
    const uint32_t b16 = h << 16 | 0x8000, near16 = fl_bits_of(fl_from_float16(h & 0xfbff)) | 0x1000;
    for (uint32_t d = 0; d < 3; d++) {
      check_float(fl_float_of(b16 + d - 1));
      check_float(fl_float_of(near16 + d - 1));
    }
  }
  for (uint32_t k = 0; k < 1 << 20; k++) check_float(fl_float_of((uint32_t)mix(k)));
}

/* ---- layers ----------------------------------------------------------------------------------------------------- */

enum { T = 23, MOST_LAYERS = 3, PARTS = 6 };

typedef struct {
  fl_config config;
  size_t B;
  fl_plan *half, *whole; /* with weights of 16 bits, and of 32 that are rounded */
  float *x;
} job;

static float *matrix(size_t n) {
  float *const made = numbers(n, FL_FLOAT32);
  for (size_t k = 0; k < n; k += 7) made[k] = ldexpf(made[k], -(int)draw(30)); /* subnormal ones, too */
  return made;
}

static void make_plans(job *j, const char *isa) {
  const fl_config *const c = &j->config;
  const size_t H = c->hidden_size, R = c->proj_size ? c->proj_size : H, D = c->directions;
  fl_weights weights[2 * MOST_LAYERS] = {0};
  for (size_t l = 0; l < D * c->num_layers; l++)
    weights[l] = (fl_weights){.weight_ih = matrix(4 * H * (l < D ? c->input_size : D * R)),
                              .weight_hh = matrix(4 * H * R),
                              .bias_ih = matrix(4 * H),
                              .bias_hh = matrix(4 * H),
                              .weight_hr = c->proj_size ? matrix(c->proj_size * H) : NULL,
                              .weight_ph = c->form && c->form->peepholes ? matrix(3 * H) : NULL};
  CHECK(fl_plan_create(&j->half, c, weights, isa) == FL_OK);
  for (size_t l = 0; l < D * c->num_layers; l++) {
    const void *const matrices[] = {weights[l].weight_ih, weights[l].weight_hh, weights[l].weight_hr};
    const size_t sizes[] = {4 * H * (l < D ? c->input_size : D * R), 4 * H * R, c->proj_size * H};
    for (size_t k = 0; k < 3; k++)
      for (size_t n = 0; n < sizes[k]; n++) {
        float *const at = (float *)matrices[k] + n;
        *at = (float)rounded_to(c->weights, *at);
      }
  }
  fl_config plain = *c;
  plain.weights = FL_WEIGHTS_REAL;
  CHECK(fl_plan_create(&j->whole, &plain, weights, isa) == FL_OK);
  CHECK(fl_plan_size(j->half) < fl_plan_size(j->whole));
  for (size_t l = 0; l < D * c->num_layers; l++) {
    const fl_weights w = weights[l];
    const void *const parts[PARTS] = {w.weight_ih, w.weight_hh, w.bias_ih, w.bias_hh, w.weight_hr, w.weight_ph};
    for (size_t part = 0; part < PARTS; part++) free((void *)parts[part]);
  }
}

static size_t outputs(const job *j) {
  return j->config.directions * (j->config.proj_size ? j->config.proj_size : j->config.hidden_size);
}

static void run_sequence(const job *j, const fl_plan *plan, size_t threads, float *y) {
  const fl_config *const c = &j->config;
  const size_t I = c->input_size, row = outputs(j), LD = c->num_layers * c->directions;
  const ptrdiff_t in = (ptrdiff_t)(I * sizeof(float)), out = (ptrdiff_t)(row * sizeof(float)), B = (ptrdiff_t)j->B;
  float *const h = allocated(LD * j->B * row * sizeof *h), *const cell = allocated(LD * j->B * c->hidden_size * 4);
  const fl_sequence sequence = {.T = T,
                                .B = j->B,
                                .input = j->x,
                                .input_t = B * in,
                                .input_b = in,
                                .output = y,
                                .output_t = B * out,
                                .output_b = out,
                                .h_n = h,
                                .c_n = cell};
  void *raw, *const workspace = aligned(fl_workspace_size(plan, T, j->B, threads), &raw);
  fl_pool *pool = NULL;
  CHECK(threads == 1 || fl_pool_create(&pool, threads) == FL_OK);
  CHECK(fl_forward(plan, &sequence, pool, workspace) == FL_OK);
  fl_pool_destroy(pool);
  free(raw);
  free(h);
  free(cell);
}

static void run_stream(const job *j, const fl_plan *plan, int advance, float *y) {
  void *raw, *const memory = aligned(fl_stream_size(plan, j->B), &raw);
  fl_stream *const stream = fl_stream_init(plan, j->B, memory);
  for (size_t t = 0; t < T; t++) {
    CHECK(fl_stream_step(stream, j->x + t * j->B * j->config.input_size, y + t * j->B * outputs(j)) == FL_OK);
    if (advance && t % 3) CHECK(fl_stream_advance(stream) == FL_OK);
  }
  free(raw);
}

static void run_sessions(const job *j, const fl_plan *plan, size_t threads, float *y) {
  void *raw[2], *const memory = aligned(fl_sessions_size(plan, j->B), &raw[0]);
  void *const workspace = aligned(fl_sessions_workspace(plan, j->B, threads), &raw[1]);
  fl_sessions *const sessions = fl_sessions_init(plan, j->B, memory);
  size_t *const slots = allocated(j->B * sizeof *slots);
  for (size_t b = 0; b < j->B; b++) slots[b] = b;
  fl_pool *pool = NULL;
  CHECK(threads == 1 || fl_pool_create(&pool, threads) == FL_OK);
  const ptrdiff_t row = (ptrdiff_t)(j->config.input_size * sizeof(float));
  for (size_t t = 0; t < T; t++)
    CHECK(fl_sessions_step(sessions, j->B, slots, j->x + t * j->B * j->config.input_size, row,
                           y + t * j->B * outputs(j), pool, workspace) == FL_OK);
  fl_pool_destroy(pool);
  free(slots);
  free(raw[0]);
  free(raw[1]);
}

/* the inputs of the first row as a table's */
static void run_table(const job *j, const fl_plan *plan, float *y) {
  void *raw[2], *const memory = aligned(fl_table_size(plan, T), &raw[0]);
  fl_table *const table = fl_table_init(plan, T, memory);
  CHECK(fl_table_fill(table, j->x, (ptrdiff_t)(j->B * j->config.input_size * sizeof(float)), NULL, NULL) == FL_OK);
  fl_stream *const stream = fl_stream_init(plan, 1, aligned(fl_stream_size(plan, 1), &raw[1]));
  for (size_t t = 0; t < T; t++) {
    const int64_t token = (int64_t)t;
    CHECK(fl_stream_step_tokens(stream, table, &token, y + t * outputs(j), NULL) == FL_OK);
  }
  free(raw[0]);
  free(raw[1]);
}

static void compare(const job *j) {
  const size_t n = T * j->B * outputs(j), bytes = n * sizeof(float);
  float *const expected = allocated(bytes), *const found = allocated(bytes);
  run_sequence(j, j->whole, 1, expected);
  for (size_t threads = 1; threads <= 5; threads += 2) {
    run_sequence(j, j->half, threads, found);
    CHECK(!memcmp(expected, found, bytes));
  }
  if (j->config.directions == 1) {
    for (int advance = 0; advance < 2; advance++) {
      run_stream(j, j->half, advance, found);
      CHECK(!memcmp(expected, found, bytes));
    }
    for (size_t threads = 1; threads <= 3; threads += 2) {
      run_sessions(j, j->half, threads, found);
      CHECK(!memcmp(expected, found, bytes));
    }
    run_table(j, j->whole, expected);
    run_table(j, j->half, found);
    CHECK(!memcmp(expected, found, T * outputs(j) * sizeof(float)));
  }
  free(expected);
  free(found);
}

static void run(fl_config config, size_t B, int zeros) {
  const char *isa;
  for (size_t index = 0; (isa = fl_isa_name(index)); index++)
    for (config.weights = FL_WEIGHTS_FLOAT16; config.weights <= FL_WEIGHTS_BFLOAT16; config.weights++) {
      job j = {.config = config, .B = B};
      drawn = index;
      make_plans(&j, isa);
      j.x = numbers(T * B * config.input_size, FL_FLOAT32);
      for (size_t k = 0; zeros && k < T * B * config.input_size; k++)
        if (k % 5) j.x[k] = 0;
      compare(&j);
      free(j.x);
      fl_plan_destroy(j.half);
      fl_plan_destroy(j.whole);
    }
}

/* ---- what is refused -------------------------------------------------------------------------------------------- */

static void check_refusals(void) {
  float one[4 * 9] = {0};
  fl_weights weights = {.weight_ih = one, .weight_hh = one};
  fl_config config = {.dtype = FL_FLOAT32, .input_size = 1, .hidden_size = 1, .num_layers = 1, .directions = 1};
  const struct {
    fl_weight_type type;
    float weight;
    fl_status status;
  } cases[] = {{FL_WEIGHTS_FLOAT16, 65504, FL_OK},
               {FL_WEIGHTS_FLOAT16, 65519.99f, FL_OK},
               {FL_WEIGHTS_FLOAT16, 65520, FL_ERROR_RANGE},
               {FL_WEIGHTS_FLOAT16, -1e9f, FL_ERROR_RANGE},
               {FL_WEIGHTS_FLOAT16, NAN, FL_ERROR_RANGE},
               {FL_WEIGHTS_FLOAT16, INFINITY, FL_ERROR_RANGE},
               {FL_WEIGHTS_BFLOAT16, 3.3e38f, FL_OK},
               {FL_WEIGHTS_BFLOAT16, FLT_MAX, FL_ERROR_RANGE},
               {FL_WEIGHTS_BFLOAT16, -INFINITY, FL_ERROR_RANGE},
               {FL_WEIGHTS_BFLOAT16, NAN, FL_ERROR_RANGE}};
  for (size_t k = 0; k < sizeof cases / sizeof cases[0]; k++) {
    fl_plan *plan;
    config.weights = cases[k].type;
    one[2] = cases[k].weight;
    CHECK(fl_plan_create(&plan, &config, &weights, NULL) == cases[k].status);
    CHECK((plan != NULL) == (cases[k].status == FL_OK));
    if (plan) {
      _Alignas(64) char memory[64];
      CHECK(fl_tape_size(plan, 1, 1, 1, 0, 0) == SIZE_MAX);
      CHECK(!fl_tape_init(plan, &(fl_sequence){.T = 1, .B = 1, .input = one}, 0, 0, 0, memory));
    }
    fl_plan_destroy(plan);
  }
  fl_plan *plan;
  one[2] = 0;
  config.weights = (fl_weight_type)5;
  CHECK(fl_plan_create(&plan, &config, &weights, NULL) == FL_ERROR_ARGUMENT);
  config.weights = FL_WEIGHTS_FLOAT16;
  config.dtype = FL_FLOAT64;
  CHECK(fl_plan_create(&plan, &config, &weights, NULL) == FL_ERROR_ARGUMENT);
}

int main(void) {
  static const fl_form seeing = {{FL_SIGMOID, 0, 0}, {FL_TANH, 0, 0}, {FL_TANH, 0, 0}, 1, 0, FL_CLIP_NONE, 0, 0};
  static const struct {
    fl_config config;
    size_t B;
  } shapes[] = {{{FL_FLOAT32, 1, 1, 0, 1, 1, NULL, FL_WEIGHTS_REAL}, 1},
                {{FL_FLOAT32, 17, 25, 0, 2, 1, NULL, FL_WEIGHTS_REAL}, 5},
                {{FL_FLOAT32, 9, 33, 7, 2, 2, NULL, FL_WEIGHTS_REAL}, 13},
                {{FL_FLOAT32, 140, 72, 0, 1, 1, NULL, FL_WEIGHTS_REAL}, 1},
                {{FL_FLOAT32, 8, 136, 0, 3, 1, NULL, FL_WEIGHTS_REAL}, 2},
                {{FL_FLOAT32, 31, 64, 33, 1, 1, &seeing, FL_WEIGHTS_REAL}, 33}};
  fl_use_all_threads(1);
  check_conversions();
  check_refusals();
  for (size_t k = 0; k < sizeof shapes / sizeof shapes[0]; k++)
    for (int zeros = 0; zeros < 2; zeros++) run(shapes[k].config, shapes[k].B, zeros);
  printf("ok\n");
  return 0;
}
