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

/* ---- integers from elsewhere ------------------------------------------------------------------------------------ */

enum { OWN_I = 37, OWN_H = 21, OWN_P = 10, OWN_B = 9, MOST_OWN = 4 * OWN_H * OWN_I };

/* a matrix as it is given, twice: values of uint8_t, and the same of int8_t */
typedef struct {
  uint8_t values[2][MOST_OWN], offsets[2][4 * OWN_H];
  float scales[4 * OWN_H];
  fl_integers given[2];
} matrix;

static matrix *random_matrix(size_t rows, size_t columns, int per_row) {
  matrix *const m = allocated(sizeof *m);
  for (size_t r = 0; r < rows; r++) {
    m->scales[r] = per_row || !r ? ldexpf(1 + (float)draw(1 << 23) * 0x1p-23f, -12) : m->scales[0];
    m->offsets[0][r] = per_row || !r ? (uint8_t)draw(256) : m->offsets[0][0];
    m->offsets[1][r] = m->offsets[0][r] ^ 0x80;
    for (size_t k = 0; k < columns; k++) {
      m->values[0][r * columns + k] = (uint8_t)draw(256);
      m->values[1][r * columns + k] = m->values[0][r * columns + k] ^ 0x80;
    }
  }
  for (int j = 0; j < 2; j++) m->given[j] = (fl_integers){m->values[j], m->scales, m->offsets[j], j};
  return m;
}

static void expect_plan(const fl_config *config, const fl_weights *weights, const float *x, const float *expected) {
  const shape s = {*config, OWN_B};
  float y[T * OWN_B * OWN_P];
  for (size_t j = 0; fl_integer_isa_name(j); j++) {
    fl_plan *plan;
    CHECK(fl_plan_create(&plan, config, weights, fl_integer_isa_name(j)) == FL_OK);
    run(plan, &s, 0, OWN_B, x, 0, y);
    expect_same(y, expected, T * OWN_B * OWN_P);
    fl_plan_destroy(plan);
  }
}

/* any offsets and scales: every instruction set, and both types of values, as scalar */
static void check_given(fl_weight_type type, int per_row) {
  const fl_config config = {FL_FLOAT32, OWN_I, OWN_H, OWN_P, 1, 1, NULL, type};
  const shape s = {config, OWN_B};
  matrix *const ih = random_matrix(4 * OWN_H, OWN_I, per_row), *const hh = random_matrix(4 * OWN_H, OWN_P, per_row);
  matrix *const hr = random_matrix(OWN_P, OWN_H, per_row);
  float *const x = numbers((size_t)T * OWN_B * OWN_I, FL_FLOAT32), expected[T * OWN_B * OWN_P];
  fl_weights weights = {.integers_ih = ih->given, .integers_hh = hh->given, .integers_hr = hr->given};
  fl_plan *plan;
  CHECK(fl_plan_create(&plan, &config, &weights, "scalar") == FL_OK);
  run(plan, &s, 0, OWN_B, x, 0, expected);
  fl_plan_destroy(plan);
  expect_plan(&config, &weights, x, expected);
  weights.integers_ih++, weights.integers_hr++; /* int8_t */
  expect_plan(&config, &weights, x, expected);
  for (int j = 0; j < 2; j++) { /* no offsets: zeros, of either type */
    memset(ih->offsets[j], 0, sizeof ih->offsets[j]);
    weights.integers_ih = &ih->given[j];
    CHECK(fl_plan_create(&plan, &config, &weights, "scalar") == FL_OK);
    run(plan, &s, 0, OWN_B, x, 0, expected);
    fl_plan_destroy(plan);
    ih->given[j].offsets = NULL;
    expect_plan(&config, &weights, x, expected);
  }
  ih->scales[7] = 0x1p-149f; /* as good as any */
  CHECK(fl_plan_create(&plan, &config, &weights, NULL) == FL_OK);
  fl_plan_destroy(plan);
  static const float wrong[] = {0, -1, NAN, INFINITY, 0x1p127f};
  for (size_t j = 0; j < sizeof wrong / sizeof wrong[0]; j++) {
    ih->scales[7] = wrong[j];
    CHECK(fl_plan_create(&plan, &config, &weights, NULL) == FL_ERROR_RANGE && !plan);
  }
  free(ih);
  free(hh);
  free(hr);
  free(x);
}

/* what is rounded here, and what comes as the same integers */
static void check_given_as_rounded(fl_weight_type type) {
  const fl_config config = {FL_FLOAT32, OWN_I, OWN_H, OWN_P, 1, 1, NULL, type};
  const shape s = {config, OWN_B};
  const size_t rows[] = {4 * OWN_H, 4 * OWN_H, OWN_P}, columns[] = {OWN_I, OWN_P, OWN_H};
  float *reals[3], *const x = numbers((size_t)T * OWN_B * OWN_I, FL_FLOAT32), expected[T * OWN_B * OWN_P];
  matrix *given[3];
  fl_plan *plan;
  for (size_t m = 0; m < 3; m++) {
    reals[m] = numbers(rows[m] * columns[m], FL_FLOAT32);
    given[m] = random_matrix(rows[m], columns[m], 1);
    for (size_t r = 0; r < rows[m]; r++) {
      CHECK(fl_scale_of(reals[m] + r * columns[m], columns[m], &given[m]->scales[r]));
      for (size_t k = r * columns[m]; k < (r + 1) * columns[m]; k++)
        given[m]->values[1][k] = (uint8_t)fl_integer_of(reals[m][k], given[m]->scales[r]);
    }
    given[m]->given[1].offsets = NULL;
  }
  const fl_weights rounded = {.weight_ih = reals[0], .weight_hh = reals[1], .weight_hr = reals[2]};
  CHECK(fl_plan_create(&plan, &config, &rounded, "scalar") == FL_OK);
  run(plan, &s, 0, OWN_B, x, 0, expected);
  fl_plan_destroy(plan);
  fl_weights weights = {.weight_ih = reals[0], .integers_hh = &given[1]->given[1], .integers_hr = &given[2]->given[1]};
  expect_plan(&config, &weights, x, expected); /* one of each */
  weights.integers_ih = &given[0]->given[1];
  CHECK(fl_plan_create(&plan, &config, &weights, NULL) == FL_ERROR_ARGUMENT); /* twice */
  weights.weight_ih = NULL;
  expect_plan(&config, &weights, x, expected);
  fl_config other = config;
  other.weights = FL_WEIGHTS_REAL;
  CHECK(fl_plan_create(&plan, &other, &weights, NULL) == FL_ERROR_ARGUMENT);
  other.weights = type, other.proj_size = 0;
  CHECK(fl_plan_create(&plan, &other, &weights, NULL) == FL_ERROR_ARGUMENT);
  given[2]->given[1].scales = NULL;
  CHECK(fl_plan_create(&plan, &config, &weights, NULL) == FL_ERROR_ARGUMENT);
  for (size_t m = 0; m < 3; m++) {
    free(reals[m]);
    free(given[m]);
  }
  free(x);
}

/* ---- the largest sums ------------------------------------------------------------------------------------------- */

/* All distances 255 and all numbers as large as they get: a block's sum is the largest there is. On every instruction
 * set, for all ways through a product that the number of rows decides. */
static void check_largest_sums(fl_weight_type type, size_t K, int up) {
  enum { M = 40 };
  const size_t panel = 8 * FL_PANEL + (K + 3) / 4 * 4 * FL_PANEL;
  float *const x = allocated(K * sizeof *x), z[M][FL_PANEL];
  void *const raw = allocated(panel + 64);
  uint8_t *const w = (uint8_t *)raw + (64 - (uintptr_t)raw % 64);
  const float scale = 1, sign = up ? 1 : -1;
  const int32_t offset = up ? 0 : 255;
  const void *rows[M];
  void *to[M];
  memset(w, up ? 255 : 0, panel);
  for (size_t lane = 0; lane < FL_PANEL; lane++) {
    memcpy(w + 4 * lane, &scale, 4);
    memcpy(w + 4 * (FL_PANEL + lane), &offset, 4);
  }
  for (size_t k = 0; k < K; k++) x[k] = 1;
  for (size_t r = 0; r < M; r++) rows[r] = x, to[r] = z[r];
  const int32_t limit = type == FL_WEIGHTS_INT8 ? 32639 : 64;
  float expected = 0;
  for (size_t k = 0; k < K; k += 256) /* in double: exact */
    expected += (float)((double)(K - k < 256 ? K - k : 256) * limit * 255 * (double)sign);
  expected *= 1.0f / (float)limit;
  for (size_t j = 0; fl_integer_isa_name(j); j++)
    for (size_t m = 1; m <= M; m++) {
      const fl_product product = {.m = m,
                                  .last = 1,
                                  .operand = {{rows, K}},
                                  .weights = w,
                                  .weights_panel = panel,
                                  .z = to,
                                  .z_panel = FL_PANEL};
      fl_kernels kernels;
      const char *name;
      CHECK(fl_choose_kernels(&kernels, fl_integer_isa_name(j), FL_FLOAT32, type, &name));
      memset(z, 0, sizeof z);
      kernels.product(&product);
      for (size_t r = 0; r < m; r++)
        for (size_t lane = 0; lane < FL_PANEL; lane++) CHECK(z[r][lane] == expected);
    }
  free(raw);
  free(x);
}

int main(void) {
  static const fl_form seeing = {{FL_SIGMOID, 0, 0}, {FL_TANH, 0, 0}, {FL_TANH, 0, 0}, 1, 0, FL_CLIP_NONE, 0, 0};
  static const shape shapes[] = {{{FL_FLOAT32, 1, 1, 0, 1, 1, NULL, FL_WEIGHTS_INT8}, 3},
                                 {{FL_FLOAT32, 7, 9, 0, 2, 1, NULL, FL_WEIGHTS_INT8}, 5},
                                 {{FL_FLOAT32, 300, 33, 0, 1, 1, NULL, FL_WEIGHTS_INT8}, 2},
                                 {{FL_FLOAT32, 31, 70, 33, 3, 1, NULL, FL_WEIGHTS_INT8}, 20},
                                 {{FL_FLOAT32, 513, 24, 0, 1, 1, NULL, FL_WEIGHTS_INT8}, MOST_ROWS},
                                 {{FL_FLOAT32, 12, 40, 0, 1, 1, &seeing, FL_WEIGHTS_INT8}, 14}};
  check_rounding();
  check_longest_rows(FL_WEIGHTS_INT8);
  check_longest_rows(FL_WEIGHTS_INT8_FAST);
  for (int kind = 0; kind < 4; kind++) check_given(kind % 2 ? FL_WEIGHTS_INT8_FAST : FL_WEIGHTS_INT8, kind / 2);
  for (int kind = 0; kind < 8; kind++)
    check_largest_sums(kind % 2 ? FL_WEIGHTS_INT8_FAST : FL_WEIGHTS_INT8, kind & 4 ? FL_LONGEST_INT8 : 259, kind & 2);
  check_given_as_rounded(FL_WEIGHTS_INT8);
  check_given_as_rounded(FL_WEIGHTS_INT8_FAST);
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
