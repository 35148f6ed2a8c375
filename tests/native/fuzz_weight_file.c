/* Any bytes as a weight file: refused, or a plan that can be used. For libFuzzer, and for test_weight_file.c:
 *
 *     clang -g -O1 -fsanitize=fuzzer,address,undefined -I csrc tests/native/fuzz_weight_file.c LIBRARY -lm -pthread
 *
 * What is given is tried as it is, then with beginning and checksum set right for either version, since nobody guesses
 * those.
 *
 * SPDX-License-Identifier: BSD-3-Clause */
#include "weight_file.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

enum { MOST = 1 << 16, MOST_PASSES = MOST / 64 };

static void check_use(fl_plan *plan, const fl_config *config) {
  void *raw;
  const size_t H = config->hidden_size, D = config->directions, LD = config->num_layers * D;
  const size_t R = config->proj_size ? config->proj_size : H, real = config->dtype / 8;
  void *const x = allocated(config->input_size * real), *const y = allocated(D * R * real);
  void *const h_n = allocated(LD * R * real), *const c_n = allocated(LD * H * real);
  memset(x, 0, config->input_size * real);
  const fl_sequence sequence = {.T = 1, .B = 1, .input = x, .output = y, .h_n = h_n, .c_n = c_n};
  void *const workspace = aligned(fl_workspace_size(plan, 1, 1, 1), &raw);
  CHECK(fl_forward(plan, &sequence, NULL, workspace) == FL_OK);
  free(raw);
  free(x);
  free(y);
  free(h_n);
  free(c_n);
}

/* an array of a file lies in it */
static void check_inside(const void *array, size_t n, size_t real, const uint8_t *data, size_t size) {
  if (!array) return;
  const size_t from = (size_t)((const uint8_t *)array - data);
  CHECK((const uint8_t *)array >= data && from % 64 == 0 && from <= size && n * real <= size - from);
}

static void check_integers(const fl_integers *given, size_t rows, size_t columns, const uint8_t *data, size_t size) {
  if (!given) return;
  check_inside(given->values, rows * columns, 1, data, size);
  check_inside(given->scales, rows, sizeof(float), data, size);
  check_inside(given->offsets, rows, 1, data, size);
}

static void check_file(const uint8_t *data, size_t size) {
  fl_config config;
  fl_form form;
  fl_plan *plan;
  static fl_weights weights[MOST_PASSES];
  static fl_weights plain[MOST_PASSES];
  static fl_integers integers[3 * MOST_PASSES];
  const fl_status status = fl_file_read(data, size, &config, &form);
  CHECK(status == FL_OK || (status >= FL_ERROR_FORMAT && status <= FL_ERROR_CONTENT));
  const fl_status made = fl_plan_read(&plan, data, size, NULL);
  CHECK(!plan == (made != FL_OK));
  CHECK(made == status || (made == FL_ERROR_RANGE && config.weights != FL_WEIGHTS_REAL));
  if (status != FL_OK) {
    CHECK(fl_file_weights(data, size, 1, weights) == status);
    CHECK(fl_file_integers(data, size, 1, weights, integers) == status);
    return;
  }
  const size_t n = config.num_layers * config.directions, H = config.hidden_size, real = config.dtype / 8;
  const size_t R = config.proj_size ? config.proj_size : H;
  CHECK(n <= MOST_PASSES && fl_file_integers(data, size, n, weights, integers) == FL_OK);
  CHECK(fl_file_integers(data, size, n + 1, weights, integers) == FL_ERROR_ARGUMENT);
  CHECK(fl_file_weights(data, size, n, plain) == (weights->integers_ih ? FL_ERROR_VERSION : FL_OK));
  for (size_t k = 0; k < n; k++) {
    const size_t width = k < config.directions ? config.input_size : config.directions * R;
    check_inside(weights[k].weight_ih, 4 * H * width, real, data, size);
    check_inside(weights[k].weight_hh, 4 * H * R, real, data, size);
    check_inside(weights[k].bias_ih, 4 * H, real, data, size);
    check_inside(weights[k].bias_hh, 4 * H, real, data, size);
    check_inside(weights[k].weight_hr, R * H, real, data, size);
    check_inside(weights[k].weight_ph, 3 * H, real, data, size);
    check_integers(weights[k].integers_ih, 4 * H, width, data, size);
    check_integers(weights[k].integers_hh, 4 * H, R, data, size);
    check_integers(weights[k].integers_hr, R, H, data, size);
  }
  if (plan) check_use(plan, &config);
  fl_plan_destroy(plan);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
  void *raw;
  if (size > MOST) return 0;
  unsigned char *const copy = aligned(size, &raw); /* a sanitizer sees the first byte past it */
  if (size) memcpy(copy, data, size);
  check_file(copy, size);
  for (uint32_t version = 1; version <= 2 && size >= HEADER; version++) {
    seal(copy, size, version);
    check_file(copy, size);
  }
  free(raw);
  return 0;
}
