/* Weights of 8 bits: every instruction set, batch and way through a layer gives the same bits.
 *
 * SPDX-License-Identifier: BSD-3-Clause */
#include <float.h>
#include <math.h>
#include "kernels/quantise.h"
#include "layer.h"
#include "plan.h"

enum { T = 4, MOST_ROWS = 70 };

typedef struct {
  fl_config config;
  size_t B;
} shape;

/* T steps of B rows through a stream: y [T, B, R] */
static void run(const fl_plan *plan, const shape *s, size_t first, size_t rows, const float *x, int advance, float *y) {
  const size_t I = s->config.input_size, R = s->config.proj_size ? s->config.proj_size : s->config.hidden_size;
  void *raw, *const memory = aligned(fl_stream_size(plan, rows), &raw);
  fl_stream *const stream = fl_stream_init(plan, rows, memory);
  CHECK(stream);
  for (size_t t = 0; t < T; t++) {
    if (advance) CHECK(fl_stream_advance(stream) == FL_OK);
    CHECK(fl_stream_step(stream, x + (t * s->B + first) * I, y + (t * s->B + first) * R) == FL_OK);
  }
  free(raw);
}

/* of any size, with rows of zeros and rows that are not finite */
static float *inputs(const shape *s) {
  const size_t I = s->config.input_size;
  float *const x = numbers(T * s->B * I, FL_FLOAT32);
  for (size_t r = 0; r < T * s->B; r++) {
    const unsigned kind = draw(9);
    for (size_t k = 0; k < I; k++) {
      if (kind < 2) x[r * I + k] = ldexpf(x[r * I + k], (int)draw(250) - 126);
      if (kind == 2) x[r * I + k] = 0;
    }
    if (kind == 3) x[r * I + draw((unsigned)I)] = draw(2) ? NAN : INFINITY;
  }
  return x;
}

/* the payloads of NaNs are nobody's promise */
static void expect_same(const float *found, const float *expected, size_t n) {
  for (size_t k = 0; k < n; k++)
    CHECK((isnan(found[k]) && isnan(expected[k])) || fl_bits_of(found[k]) == fl_bits_of(expected[k]));
}

static void check(const shape *s) {
  const size_t R = s->config.proj_size ? s->config.proj_size : s->config.hidden_size, n = T * s->B * R;
  const uint64_t seed = drawn;
  fl_plan *const plain = random_plan(&s->config, "scalar");
  float *const x = inputs(s), *const expected = allocated(n * sizeof(float)), *const y = allocated(n * sizeof(float));
  run(plain, s, 0, s->B, x, 0, expected);
  for (size_t r = 0; r < s->B; r++) run(plain, s, r, 1, x, 1, y);
  expect_same(y, expected, n);
  fl_plan_destroy(plain);
  const uint64_t after = drawn;
  for (size_t j = 0; fl_integer_isa_name(j); j++) {
    drawn = seed;
    fl_plan *const plan = random_plan(&s->config, fl_integer_isa_name(j));
    CHECK(!strcmp(fl_plan_isa(plan), fl_integer_isa_name(j)));
    for (int advance = 0; advance < 2; advance++) {
      run(plan, s, 0, s->B, x, advance, y);
      expect_same(y, expected, n);
      for (size_t first = 0, rows; first < s->B; first += rows) {
        rows = 1 + draw((unsigned)(s->B - first));
        run(plan, s, first, rows, x, advance, y);
      }
      expect_same(y, expected, n);
    }
    fl_plan_destroy(plan);
  }
  drawn = after;
  free(x);
  free(y);
  free(expected);
}

static void check_rounding(void) {
  float row[40], scale, again;
  for (int n = 0; n < 3000; n++) {
    for (size_t k = 0; k < 40; k++) row[k] = ldexpf((float)draw(1 << 24) - (1 << 23), (int)draw(12) - 60 + n % 90);
    CHECK(fl_scale_of(row, 40, &scale));
    int largest = 0;
    for (size_t k = 0; k < 40; k++) {
      const int q = fl_integer_of(row[k], scale);
      CHECK((double)q == rint((double)row[k] / scale) || fabs(fabs((double)row[k] / scale - q) - 0.5) < 1e-5);
      CHECK((double)(float)q * scale == (double)((float)q * scale)); /* exact */
      if (abs(q) > largest) largest = abs(q);
      row[k] = (float)q * scale;
    }
    CHECK(largest == FL_LARGEST_INTEGER);
    CHECK(fl_scale_of(row, 40, &again) && again == scale); /* and so for ever */
  }
  row[7] = 0x1.fffp127f;
  CHECK(fl_scale_of(row, 40, &scale) && isfinite(scale * FL_LARGEST_INTEGER));
  row[7] = -FLT_MAX;
  CHECK(!fl_scale_of(row, 40, &scale));
  row[7] = -INFINITY;
  CHECK(!fl_scale_of(row, 40, &scale));
}

/* both operands as long as they may be: a layer of this size would have 8 GiB of weights */
static void check_longest_rows(fl_weight_type type) {
  enum { K = FL_LONGEST_INT8, M = 3, HEADER = 8 * FL_PANEL, PANEL = 2 * (HEADER + K * FL_PANEL) };
  float *const x = numbers((size_t)M * K, FL_FLOAT32), z[M][FL_PANEL], expected[M][FL_PANEL];
  void *const raw = allocated(PANEL + 64);
  uint8_t *const w = (uint8_t *)raw + (64 - (uintptr_t)raw % 64);
  for (size_t j = 0; j < PANEL; j++) w[j] = (uint8_t)(1 + draw(255));
  for (size_t lane = 0; lane < 2 * FL_PANEL; lane++) { /* scales, then offsets */
    const float scale = 0.01f;
    const int32_t offset = FL_OFFSET;
    for (size_t j = 0; j < 2; j++)
      memcpy(w + j * PANEL / 2 + 4 * lane, lane < FL_PANEL ? (const void *)&scale : (const void *)&offset, 4);
  }
  const void *const rows[M] = {x, x + K, x + 2 * K};
  void *const to[M] = {z[0], z[1], z[2]};
  const fl_product product = {.m = M,
                              .last = 1,
                              .operand = {{rows, K}, {rows, K}},
                              .weights = w,
                              .weights_panel = PANEL,
                              .z = to,
                              .z_panel = FL_PANEL};
  fl_kernels kernels;
  const char *name;
  CHECK(fl_choose_kernels(&kernels, "scalar", FL_FLOAT32, type, &name));
  kernels.product(&product);
  memcpy(expected, z, sizeof z);
  for (size_t j = 0; fl_integer_isa_name(j); j++) {
    memset(z, 0, sizeof z);
    CHECK(fl_choose_kernels(&kernels, fl_integer_isa_name(j), FL_FLOAT32, type, &name));
    kernels.product(&product);
    expect_same(z[0], expected[0], M * FL_PANEL);
  }
  free(raw);
  free(x);
}

int main(void) {
  static const fl_form seeing = {{FL_SIGMOID, 0, 0}, {FL_TANH, 0, 0}, {FL_TANH, 0, 0}, 1, 0, FL_CLIP_NONE, 0};
  static const shape shapes[] = {{{FL_FLOAT32, 1, 1, 0, 1, 1, NULL, FL_WEIGHTS_INT8}, 3},
                                 {{FL_FLOAT32, 7, 9, 0, 2, 1, NULL, FL_WEIGHTS_INT8}, 5},
                                 {{FL_FLOAT32, 300, 33, 0, 1, 1, NULL, FL_WEIGHTS_INT8}, 2},
                                 {{FL_FLOAT32, 31, 70, 33, 3, 1, NULL, FL_WEIGHTS_INT8}, 20},
                                 {{FL_FLOAT32, 513, 24, 0, 1, 1, NULL, FL_WEIGHTS_INT8}, MOST_ROWS},
                                 {{FL_FLOAT32, 12, 40, 0, 1, 1, &seeing, FL_WEIGHTS_INT8}, 14}};
  check_rounding();
  check_longest_rows(FL_WEIGHTS_INT8);
  check_longest_rows(FL_WEIGHTS_INT8_FAST);
  for (size_t j = 0; j < sizeof shapes / sizeof shapes[0]; j++)
    for (int fast = 0; fast < 2; fast++) {
      shape s = shapes[j];
      if (fast) s.config.weights = FL_WEIGHTS_INT8_FAST;
      check(&s);
    }
  shape long_rows = shapes[0];
  long_rows.config.input_size = 16385;
  float *const w = numbers(4 * 16385, FL_FLOAT32);
  const fl_weights weights = {.weight_ih = w, .weight_hh = w};
  fl_plan *plan;
  CHECK(fl_plan_create(&plan, &long_rows.config, &weights, NULL) == FL_ERROR_OVERFLOW);
  free(w);
  puts("weights of 8 bits: every instruction set gives the same bits");
  return 0;
}
