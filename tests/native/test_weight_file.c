/* Weight files: every kind of layer comes out of one as it went in; whatever is wrong with one is told; nothing past
 * its end is looked at.
 *
 * SPDX-License-Identifier: BSD-3-Clause */
#include "weight_file.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

enum { PARTS = 15, MOST_PASSES = 6, MUTANTS = 300 };

typedef enum { REALS, INTEGERS, OFFSETS } kind; /* of matrices: the last are integers with offsets */

typedef struct {
  fl_config config;
  fl_form form;
  fl_weights weights[MOST_PASSES];
  void *parts[MOST_PASSES * PARTS];
  size_t used, size;
  unsigned char *file;
  void *raw;
} world;

static const void *part(world *w, size_t n) {
  return w->parts[w->used++] = numbers(n, w->config.dtype);
}

static void *byte_part(world *w, size_t n) {
  unsigned char *const made = w->parts[w->used++] = allocated(n);
  for (size_t j = 0; j < n; j++) made[j] = (unsigned char)draw(256);
  return made;
}

static const fl_integers *integers_part(world *w, size_t rows, size_t columns, kind matrices) {
  fl_integers *const made = w->parts[w->used++] = allocated(sizeof *made);
  float *const scales = w->parts[w->used++] = allocated(rows * sizeof *scales);
  for (size_t j = 0; j < rows; j++) scales[j] = (float)(1 + draw(1000)) / 65536;
  *made = (fl_integers){.scales = scales, .is_signed = 1};
  made->values = byte_part(w, rows * columns);
  if (matrices == OFFSETS) made->offsets = byte_part(w, rows);
  return made;
}

static void begin_pass(world *w, fl_weights *weights, size_t width, kind matrices) {
  const size_t H = w->config.hidden_size, P = w->config.proj_size, R = P ? P : H;
  if (matrices == REALS) {
    weights->weight_ih = part(w, 4 * H * width);
    weights->weight_hh = part(w, 4 * H * R);
    if (P) weights->weight_hr = part(w, P * H);
  } else {
    weights->integers_ih = integers_part(w, 4 * H, width, matrices);
    weights->integers_hh = integers_part(w, 4 * H, R, matrices);
    if (P) weights->integers_hr = integers_part(w, P, H, matrices);
  }
}

static void rewrite(world *w) {
  memset(w->file, 0, w->size);
  CHECK(write_file(&w->config, w->weights, w->file) == w->size);
}

static world begin(const fl_config *config, int bias, kind matrices) {
  world w = {.config = *config};
  const size_t H = config->hidden_size, P = config->proj_size, R = P ? P : H, D = config->directions;
  CHECK(D * config->num_layers <= MOST_PASSES);
  for (size_t k = 0; k < D * config->num_layers; k++) {
    begin_pass(&w, &w.weights[k], k < D ? config->input_size : D * R, matrices);
    if (bias) w.weights[k].bias_ih = part(&w, 4 * H);
    if (bias) w.weights[k].bias_hh = part(&w, 4 * H);
    if (config->form && config->form->peepholes) w.weights[k].weight_ph = part(&w, 3 * H);
  }
  w.size = write_file(config, w.weights, NULL);
  w.file = aligned(w.size, &w.raw);
  rewrite(&w);
  return w;
}

static void end(world *w) {
  while (w->used) free(w->parts[--w->used]);
  free(w->raw);
}

/* ---- what is in it ---------------------------------------------------------------------------------------------- */

static void check_same_array(const void *a, const void *b, size_t n, size_t real) {
  CHECK(!a == !b);
  if (a) CHECK(!memcmp(a, b, n * real));
}

static void check_same_integers(const fl_integers *a, const fl_integers *b, size_t rows, size_t columns) {
  CHECK(!a == !b);
  if (!a) return;
  check_same_array(a->values, b->values, rows * columns, 1);
  check_same_array(a->scales, b->scales, rows, sizeof(float));
  check_same_array(a->offsets, b->offsets, rows, 1);
  CHECK(a->is_signed == b->is_signed);
}

static void check_weights(const world *w) {
  const size_t H = w->config.hidden_size, P = w->config.proj_size, R = P ? P : H, D = w->config.directions;
  const size_t n = D * w->config.num_layers, real = w->config.dtype / 8;
  fl_weights found[MOST_PASSES] = {{0}}, plain[MOST_PASSES] = {{0}};
  fl_integers integers[3 * MOST_PASSES];
  CHECK(fl_file_integers(w->file, w->size, n, found, integers) == FL_OK);
  const fl_status status = fl_file_weights(w->file, w->size, n, plain);
  CHECK(status == (w->weights->integers_ih ? FL_ERROR_VERSION : FL_OK));
  CHECK(status != FL_OK || !memcmp(plain, found, sizeof plain));
  for (size_t k = 0; k < n; k++) {
    const size_t width = k < D ? w->config.input_size : D * R;
    check_same_array(found[k].weight_ih, w->weights[k].weight_ih, 4 * H * width, real);
    check_same_array(found[k].weight_hh, w->weights[k].weight_hh, 4 * H * R, real);
    check_same_array(found[k].bias_ih, w->weights[k].bias_ih, 4 * H, real);
    check_same_array(found[k].bias_hh, w->weights[k].bias_hh, 4 * H, real);
    check_same_array(found[k].weight_hr, w->weights[k].weight_hr, P * H, real);
    check_same_array(found[k].weight_ph, w->weights[k].weight_ph, 3 * H, real);
    check_same_integers(found[k].integers_ih, w->weights[k].integers_ih, 4 * H, width);
    check_same_integers(found[k].integers_hh, w->weights[k].integers_hh, 4 * H, R);
    check_same_integers(found[k].integers_hr, w->weights[k].integers_hr, P, H);
    const unsigned char *const first =
        found[k].weight_ih ? found[k].weight_ih : (const unsigned char *)found[k].integers_ih->values;
    CHECK(first > w->file && first < w->file + w->size);
  }
}

static int same_sizes(const fl_config *a, const fl_config *b) {
  return a->dtype == b->dtype && a->input_size == b->input_size && a->hidden_size == b->hidden_size &&
         a->proj_size == b->proj_size && a->num_layers == b->num_layers && a->directions == b->directions &&
         a->weights == b->weights;
}

static int same_activation(const fl_activation *a, const fl_activation *b) {
  return a->kind == b->kind && a->alpha == b->alpha && a->beta == b->beta;
}

static int same_form(const fl_form *a, const fl_form *b) {
  return same_activation(&a->gate, &b->gate) && same_activation(&a->candidate, &b->candidate) &&
         same_activation(&a->cell, &b->cell) && a->peepholes == b->peepholes && a->coupled == b->coupled &&
         a->clip_at == b->clip_at && a->clip == b->clip && a->summed == b->summed;
}

static const fl_form standard = {
    .gate = {.kind = FL_SIGMOID}, .candidate = {.kind = FL_TANH}, .cell = {.kind = FL_TANH}};

static void check_config(const world *w) {
  fl_config config;
  fl_form form;
  CHECK(fl_file_read(w->file, w->size, &config, &form) == FL_OK);
  CHECK(same_sizes(&config, &w->config) && config.form == &form);
  CHECK(same_form(&form, w->config.form ? w->config.form : &standard));
}

/* output and last states of 5 steps of two rows */
static void *run(const fl_plan *plan, const fl_config *config, size_t *bytes) {
  enum { T = 5, B = 2 };
  const size_t real = config->dtype / 8, H = config->hidden_size, D = config->directions, LD = D * config->num_layers;
  const size_t R = config->proj_size ? config->proj_size : H, in = config->input_size * real, out = D * R * real;
  void *raw;
  drawn = 7;
  void *const x = numbers(T * B * config->input_size, config->dtype);
  *bytes = T * B * out + LD * B * (R + H) * real;
  char *const all = allocated(*bytes);
  const fl_sequence sequence = {.T = T,
                                .B = B,
                                .input = x,
                                .input_t = (ptrdiff_t)(B * in),
                                .input_b = (ptrdiff_t)in,
                                .output = all,
                                .output_t = (ptrdiff_t)(B * out),
                                .output_b = (ptrdiff_t)out,
                                .h_n = all + T * B * out,
                                .c_n = all + T * B * out + LD * B * R * real};
  void *const workspace = aligned(fl_workspace_size(plan, T, B, 1), &raw);
  CHECK(fl_forward(plan, &sequence, NULL, workspace) == FL_OK);
  free(raw);
  free(x);
  return all;
}

static void check_plan(const world *w, fl_plan *plan) {
  fl_plan *made;
  fl_config config;
  size_t bytes, expected_bytes;
  CHECK(fl_plan_create(&made, &w->config, w->weights, NULL) == FL_OK);
  CHECK(fl_plan_get_config(plan, &config) == FL_OK && same_sizes(&config, &w->config));
  CHECK(!config.form == !w->config.form && (!config.form || same_form(config.form, w->config.form)));
  void *const got = run(plan, &w->config, &bytes), *const expected = run(made, &w->config, &expected_bytes);
  CHECK(bytes == expected_bytes && !memcmp(got, expected, bytes));
  free(got);
  free(expected);
  fl_plan_destroy(made);
  fl_plan_destroy(plan);
}

static void write_path(const char *path, const void *data, size_t size) {
  FILE *const file = fopen(path, "wb");
  CHECK(file && fwrite(data, 1, size, file) == size && fclose(file) == 0);
}

/* ---- what is wrong with it -------------------------------------------------------------------------------------- */

static fl_status status_of(const void *data, size_t size) {
  fl_plan *plan;
  fl_config config;
  fl_form form;
  const fl_status status = fl_plan_read(&plan, data, size, NULL);
  CHECK(!plan == (status != FL_OK));
  fl_plan_destroy(plan);
  CHECK(fl_file_read(data, size, &config, &form) == status);
  return status;
}

/* the same from memory and from a path */
static void refuses(const world *w, size_t size, fl_status expected, const char *path) {
  void *raw;
  fl_plan *plan;
  unsigned char *const copy = aligned(size, &raw);
  memcpy(copy, w->file, size < w->size ? size : w->size);
  CHECK(status_of(copy, size) == expected);
  write_path(path, copy, size);
  CHECK(fl_plan_load(&plan, path, NULL) == expected && !plan);
  free(raw);
}

static void refuses_other_lengths(const world *w, const char *path) {
  for (size_t size = 0; size < w->size; size += size < HEADER ? 1 : 61)
    refuses(w, size, size < sizeof file_magic ? FL_ERROR_FORMAT : FL_ERROR_LENGTH, path);
  refuses(w, w->size - 1, FL_ERROR_LENGTH, path);
  refuses(w, w->size + 1, FL_ERROR_LENGTH, path);
  refuses(w, w->size + 64, FL_ERROR_LENGTH, path);
}

/* every bit is looked at */
static void refuses_changes(world *w) {
  for (size_t at = 0; at < w->size; at++) {
    w->file[at] ^= (unsigned char)(1u << draw(8));
    const fl_status status = status_of(w->file, w->size);
    const fl_status expected = at < AT_VERSION    ? FL_ERROR_FORMAT
                               : at < AT_SIZE     ? FL_ERROR_VERSION
                               : at < AT_CHECKSUM ? FL_ERROR_LENGTH
                                                  : FL_ERROR_DAMAGED;
    CHECK(status == expected);
    rewrite(w);
    CHECK(at % 64 || status_of(w->file, w->size) == FL_OK);
  }
}

typedef struct {
  size_t at, bytes;
  uint64_t value;
} change;

/* one field at a time, with the checksum right */
static void refuses_fields(world *w) {
  const uint64_t nan = 0x7ff8000000000000u, minus_one = 0xbff0000000000000u, two = 0x4000000000000000u;
  const change changes[] = {
      {AT_DTYPE, 4, 0},
      {AT_DTYPE, 4, 16},
      {AT_DTYPE, 4, 64},
      {AT_DTYPE, 4, 96},
      {AT_INPUT_SIZE, 8, 0},
      {AT_INPUT_SIZE, 8, 4096},
      {AT_INPUT_SIZE, 8, UINT64_MAX},
      {AT_INPUT_SIZE, 8, (uint64_t)1 << 61},
      {AT_HIDDEN_SIZE, 8, 0},
      {AT_HIDDEN_SIZE, 8, (uint64_t)1 << 62},
      {AT_HIDDEN_SIZE, 8, (uint64_t)1 << 32},
      {AT_HIDDEN_SIZE, 8, 1},
      {AT_PROJ_SIZE, 8, 1},
      {AT_PROJ_SIZE, 8, UINT64_MAX},
      {AT_NUM_LAYERS, 8, 0},
      {AT_NUM_LAYERS, 8, 3},
      {AT_NUM_LAYERS, 8, (uint64_t)1 << 58},
      {AT_NUM_LAYERS, 8, UINT64_MAX},
      {AT_DIRECTIONS, 4, 0},
      {AT_DIRECTIONS, 4, 2},
      {AT_DIRECTIONS, 4, 3},
      {AT_FLAGS, 4, 0},
      {AT_FLAGS, 4, 3},
      {AT_FLAGS, 4, 16},
      {AT_FLAGS, 4, 1u << 31},
      {AT_GATE, 4, 99},
      {AT_CANDIDATE, 4, UINT32_MAX},
      {AT_CELL, 4, 11},
      {AT_GATE + 4, 4, 1},
      {AT_CANDIDATE + 4, 4, 1},
      {AT_CELL + 4, 4, 1},
      {AT_CLIP_AT, 4, 1},
      {AT_CLIP_AT, 4, 4},
      {AT_CLIP_AT, 4, UINT32_MAX},
      {AT_WEIGHTS, 4, 5},
      {AT_DROPOUT, 8, nan},
      {AT_DROPOUT, 8, minus_one},
      {AT_DROPOUT, 8, two},
      {AT_ZEROS, 8, 1},
      {AT_ZEROS + 8, 8, 1},
      {AT_ZEROS + 16, 8, 1},
  };
  for (size_t k = 0; k < sizeof changes / sizeof *changes; k++) {
    if (changes[k].bytes == 4)
      put32(w->file, changes[k].at, (uint32_t)changes[k].value);
    else
      put64(w->file, changes[k].at, changes[k].value);
    seal(w->file, w->size, 1);
    CHECK(status_of(w->file, w->size) == FL_ERROR_CONTENT);
    rewrite(w);
  }
  put32(w->file, AT_GATE, FL_AFFINE);
  put64(w->file, AT_GATE + 16, nan); /* a parameter that the formula has */
  seal(w->file, w->size, 1);
  CHECK(status_of(w->file, w->size) == FL_ERROR_CONTENT);
  put32(w->file, AT_GATE, FL_SIGMOID); /* and one that it has not */
  seal(w->file, w->size, 1);
  CHECK(status_of(w->file, w->size) == FL_OK);
  rewrite(w);
}

static void refuses_beginnings(world *w) {
  fl_plan *plan;
  put32(w->file, AT_ORDER, 0x04030201);
  CHECK(status_of(w->file, w->size) == FL_ERROR_ORDER);
  put32(w->file, AT_ORDER, 0x01020304);
  for (uint32_t version = 0; version <= 3; version += 3) {
    put32(w->file, AT_VERSION, version);
    CHECK(status_of(w->file, w->size) == FL_ERROR_VERSION);
  }
  put32(w->file, AT_VERSION, 1);
  put64(w->file, AT_SIZE, UINT64_MAX);
  CHECK(status_of(w->file, w->size) == FL_ERROR_LENGTH);
  write_path("weights.flw", w->file, w->size);
  CHECK(fl_plan_load(&plan, "weights.flw", NULL) == FL_ERROR_LENGTH && !plan);
  put64(w->file, AT_SIZE, (uint64_t)1 << 50); /* not as much memory is asked for */
  write_path("weights.flw", w->file, w->size);
  CHECK(fl_plan_load(&plan, "weights.flw", NULL) == FL_ERROR_LENGTH && !plan);
  rewrite(w);
}

static void refuses_arguments(const world *w) {
  fl_plan *plan;
  fl_config config;
  fl_form form;
  fl_weights weights[MOST_PASSES];
  fl_integers integers[3 * MOST_PASSES];
  const size_t n = w->config.num_layers * w->config.directions;
  CHECK(fl_plan_read(NULL, w->file, w->size, NULL) == FL_ERROR_ARGUMENT);
  CHECK(fl_plan_read(&plan, NULL, w->size, NULL) == FL_ERROR_ARGUMENT && !plan);
  CHECK(fl_plan_read(&plan, w->file + 4, w->size - 4, NULL) == FL_ERROR_ARGUMENT && !plan);
  CHECK(fl_plan_read(&plan, w->file, SIZE_MAX, NULL) == FL_ERROR_ARGUMENT && !plan);
  CHECK(fl_plan_read(&plan, w->file, w->size, "none") == FL_ERROR_ISA && !plan);
  CHECK(fl_plan_load(NULL, "weights.flw", NULL) == FL_ERROR_ARGUMENT);
  CHECK(fl_plan_load(&plan, NULL, NULL) == FL_ERROR_ARGUMENT && !plan);
  CHECK(fl_plan_load(&plan, "no such file", NULL) == FL_ERROR_FILE && !plan);
  CHECK(fl_plan_load(&plan, ".", NULL) == FL_ERROR_FILE && !plan);
  CHECK(fl_file_read(NULL, 0, &config, &form) == FL_ERROR_ARGUMENT);
  CHECK(fl_file_read(w->file, w->size, NULL, &form) == FL_ERROR_ARGUMENT);
  CHECK(fl_file_read(w->file, w->size, &config, NULL) == FL_ERROR_ARGUMENT);
  CHECK(fl_file_weights(w->file, w->size, n, NULL) == FL_ERROR_ARGUMENT);
  CHECK(fl_file_weights(w->file, w->size, n + 1, weights) == FL_ERROR_ARGUMENT);
  CHECK(fl_file_weights(NULL, w->size, n, weights) == FL_ERROR_ARGUMENT);
  CHECK(fl_file_integers(w->file, w->size, n, NULL, integers) == FL_ERROR_ARGUMENT);
  CHECK(fl_file_integers(w->file, w->size, n, weights, NULL) == FL_ERROR_ARGUMENT);
  CHECK(fl_file_integers(w->file, w->size, n + 1, weights, integers) == FL_ERROR_ARGUMENT);
  CHECK(fl_file_integers(NULL, w->size, n, weights, integers) == FL_ERROR_ARGUMENT);
  CHECK(fl_plan_get_config(NULL, &config) == FL_ERROR_ARGUMENT);
}

/* float64 has none of 16 bits, and what does not fit into them is told when it is packed */
static void refuses_weight_types(const fl_config *config) {
  fl_plan *plan;
  world w = begin(config, 1, REALS);
  put32(w.file, AT_WEIGHTS, FL_WEIGHTS_FLOAT16);
  seal(w.file, w.size, 1);
  CHECK(status_of(w.file, w.size) == FL_ERROR_CONTENT);
  end(&w);
  const fl_config half = {FL_FLOAT32, 3, 5, 0, 1, 1, NULL, FL_WEIGHTS_FLOAT16};
  w = begin(&half, 1, REALS);
  const float large = 70000;
  memcpy(w.file + HEADER, &large, sizeof large);
  seal(w.file, w.size, 1);
  CHECK(fl_plan_read(&plan, w.file, w.size, NULL) == FL_ERROR_RANGE && !plan);
  end(&w);
}

/* A file of integers is version 2, of float32, of a type that has them; scales are looked at when they are packed. */
static void refuses_integers(const fl_config *config, kind matrices) {
  fl_plan *plan;
  world w = begin(config, 1, matrices);
  CHECK(status_of(w.file, w.size) == FL_OK);
  const uint32_t flags = matrices == OFFSETS ? 17 : 1;
  const change changes[] = {
      {AT_WEIGHTS, 4, FL_WEIGHTS_REAL},
      {AT_WEIGHTS, 4, FL_WEIGHTS_FLOAT16},
      {AT_WEIGHTS, 4, FL_WEIGHTS_BFLOAT16},
      {AT_WEIGHTS, 4, 5},
      {AT_FLAGS, 4, flags ^ 16},
      {AT_FLAGS, 4, flags | 64},
      {AT_INPUT_SIZE, 8, 4096},
      {AT_DTYPE, 4, 64},
  };
  for (size_t k = 0; k < sizeof changes / sizeof *changes; k++) {
    if (changes[k].bytes == 4)
      put32(w.file, changes[k].at, (uint32_t)changes[k].value);
    else
      put64(w.file, changes[k].at, changes[k].value);
    seal(w.file, w.size, 2);
    CHECK(status_of(w.file, w.size) == FL_ERROR_CONTENT);
    rewrite(&w);
  }
  seal(w.file, w.size, 1);
  CHECK(status_of(w.file, w.size) == FL_ERROR_CONTENT);
  const float scales[] = {-1, 0, 1e38f * 10}; /* the last is infinite */
  for (size_t k = 0; k < sizeof scales / sizeof *scales; k++) {
    rewrite(&w);
    memcpy(w.file + HEADER + padded(4 * config->hidden_size * config->input_size), &scales[k], sizeof *scales);
    seal(w.file, w.size, 2);
    CHECK(fl_plan_read(&plan, w.file, w.size, NULL) == FL_ERROR_RANGE && !plan);
  }
  end(&w);
}

/* ---- anything --------------------------------------------------------------------------------------------------- */

static void try_mutants(const world *w) {
  const uint64_t numbers_of_interest[] = {0, 1, 2, 3, 32, 64, 1 << 16, UINT32_MAX, (uint64_t)1 << 61, UINT64_MAX};
  for (size_t k = 0; k < MUTANTS; k++) {
    const size_t size = draw(4) ? w->size : draw((unsigned)w->size * 2);
    unsigned char *const data = allocated(size);
    memset(data, (int)draw(256), size);
    memcpy(data, w->file, size < w->size ? size : w->size);
    for (unsigned changes = draw(4); changes-- && size > HEADER;) {
      if (draw(2))
        data[draw(2) ? draw(HEADER) : draw((unsigned)size)] = (unsigned char)draw(256);
      else
        put64(data, 8 * draw(HEADER / 8), numbers_of_interest[draw(10)]);
    }
    LLVMFuzzerTestOneInput(data, size);
    free(data);
  }
}

static void check_world(world *w) {
  fl_plan *plan;
  check_config(w);
  check_weights(w);
  CHECK(fl_plan_read(&plan, w->file, w->size, "scalar") == FL_OK);
  check_plan(w, plan);
  write_path("weights.flw", w->file, w->size);
  CHECK(fl_plan_load(&plan, "weights.flw", NULL) == FL_OK);
  check_plan(w, plan);
  try_mutants(w);
  end(w);
}

int main(void) {
  const fl_form forms[] = {
      {.gate = {FL_HARD_SIGMOID, 0.25, 0.5}, .candidate = {.kind = FL_SOFTSIGN}, .cell = {FL_SCALED_TANH, 1.5, 0.5}},
      {.candidate = {.kind = FL_TANH}, .cell = {.kind = FL_TANH}, .peepholes = 1, .coupled = 1},
      {.candidate = {.kind = FL_TANH}, .cell = {.kind = FL_TANH}, .clip_at = FL_CLIP_STATE, .clip = 0.75, .summed = 1},
  };
  const fl_config configs[] = {
      {FL_FLOAT32, 3, 5, 0, 1, 1, NULL, FL_WEIGHTS_REAL},       {FL_FLOAT64, 3, 5, 0, 2, 1, NULL, FL_WEIGHTS_REAL},
      {FL_FLOAT32, 7, 9, 4, 2, 2, NULL, FL_WEIGHTS_REAL},       {FL_FLOAT64, 1, 2, 1, 3, 2, &forms[1], FL_WEIGHTS_REAL},
      {FL_FLOAT32, 5, 16, 0, 1, 2, &forms[0], FL_WEIGHTS_REAL}, {FL_FLOAT64, 4, 3, 0, 1, 1, &forms[2], FL_WEIGHTS_REAL},
  };
  for (size_t k = 0; k < 2 * sizeof configs / sizeof *configs; k++) {
    world w = begin(&configs[k / 2], k % 2, REALS);
    check_world(&w);
  }
  const fl_config of_integers[] = {
      {FL_FLOAT32, 3, 5, 0, 2, 1, NULL, FL_WEIGHTS_INT8},
      {FL_FLOAT32, 7, 9, 4, 2, 2, &forms[1], FL_WEIGHTS_INT8},
      {FL_FLOAT32, 5, 16, 0, 1, 2, &forms[0], FL_WEIGHTS_INT8_FAST},
  };
  for (size_t k = 0; k < 4 * sizeof of_integers / sizeof *of_integers; k++) {
    world w = begin(&of_integers[k / 4], k % 2, k / 2 % 2 ? OFFSETS : INTEGERS);
    check_world(&w);
  }
  refuses_integers(&of_integers[0], INTEGERS);
  refuses_integers(&of_integers[0], OFFSETS);
  world w = begin(&configs[0], 1, REALS);
  refuses_other_lengths(&w, "weights.flw");
  refuses_changes(&w);
  refuses_fields(&w);
  refuses_beginnings(&w);
  refuses_arguments(&w);
  CHECK(status_of(w.file, w.size) == FL_OK);
  end(&w);
  refuses_weight_types(&configs[1]);
  const fl_config large = {FL_FLOAT32, 200, 90, 0, 2, 1, NULL, FL_WEIGHTS_REAL}; /* longer than what is read at once */
  w = begin(&large, 1, REALS);
  fl_plan *plan;
  write_path("weights.flw", w.file, w.size);
  CHECK(fl_plan_load(&plan, "weights.flw", NULL) == FL_OK);
  check_plan(&w, plan);
  refuses(&w, w.size / 3, FL_ERROR_LENGTH, "weights.flw");
  end(&w);
  remove("weights.flw");
  puts("ok");
  return 0;
}
