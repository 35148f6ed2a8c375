/* Sliding windows by themselves: every answer against the whole sequence of its window run alone by fl_forward, to the
 * bit, in every form, on every instruction set and number of threads; and given up at every time of asking. The
 * window's memory is exactly as long as was said, so that a sanitizer sees the first byte past it.
 *
 * SPDX-License-Identifier: BSD-3-Clause */
#include "fastlstm.h"
#include "base/cpus.h"
#include "layer.h"

enum { MOST_THREADS = 4 };

typedef struct {
  fl_config config;
  fl_plan *plan;
  size_t real, R, T;
  char *x, *alone;   /* [T, I]; [T, R]: the answers */
  void *raw, *state; /* of a call */
  char *y;
} job;

/* the answer of the window that ends with input t, by a sequence */
static void run_alone(job *j, size_t t, size_t length, void *answer) {
  const size_t in = j->config.input_size * j->real, out = j->R * j->real, T = t + 1 < length ? t + 1 : length;
  void *raw;
  const fl_sequence sequence = {.T = T,
                                .B = 1,
                                .input = j->x + (t + 1 - T) * in,
                                .input_t = (ptrdiff_t)in,
                                .output = j->y,
                                .output_t = (ptrdiff_t)out,
                                .h_n = j->state,
                                .c_n = (char *)j->state + j->config.num_layers * out};
  void *const workspace = aligned(fl_workspace_size(j->plan, T, 1, 1), &raw);
  CHECK(fl_forward(j->plan, &sequence, NULL, workspace) == FL_OK);
  memcpy(answer, j->y + (T - 1) * out, out);
  free(raw);
}

static job begin(const fl_config *config, const char *isa, size_t T) {
  job j = {.config = *config, .plan = random_plan(config, isa), .real = config->dtype / 8, .T = T};
  j.R = config->proj_size ? config->proj_size : config->hidden_size;
  j.x = numbers(T * config->input_size, config->dtype);
  j.alone = allocated(T * j.R * j.real);
  j.y = allocated(T * j.R * j.real);
  j.state = allocated(config->num_layers * (j.R + config->hidden_size) * j.real);
  return j;
}

static void end(job *j) {
  free(j->x);
  free(j->alone);
  free(j->y);
  free(j->state);
  fl_plan_destroy(j->plan);
}

/* `push` for input t, given up at every time of asking before it comes to its end; how often that was */
static int push(job *j, fl_window *window, size_t t, fl_pool *pool, int impatient) {
  const size_t in = j->config.input_size * j->real, out = j->R * j->real;
  patience p = {1, 0};
  const fl_cancel cancel = {ask, &p};
  char *const both = allocated(in > out ? in : out); /* y may be x */
  for (;; p.after++) {
    p.asked = 0;
    memcpy(both, j->x + t * in, in);
    CHECK(fl_window_count(window) == t);
    const fl_status status = fl_window_push_until(window, both, t % 2 ? both : j->y, pool, impatient ? &cancel : NULL);
    if (status == FL_OK) break;
    CHECK(status == FL_ERROR_CANCELLED && p.asked == p.after);
  }
  CHECK(fl_window_count(window) == t + 1);
  CHECK(!memcmp(t % 2 ? both : j->y, j->alone + t * out, out));
  free(both);
  return p.after - 1;
}

/* Advancing at times, given up at times; then the same once more in the same memory. How often a push was given up. */
static int run(job *j, size_t length, size_t threads, int impatient) {
  void *raw;
  fl_pool *pool;
  int times = 0;
  CHECK(fl_pool_create(&pool, threads) == FL_OK);
  fl_window *const window =
      fl_window_init(j->plan, length, threads, aligned(fl_window_size(j->plan, length, threads), &raw));
  CHECK(window);
  for (int again = 0; again < 2; again++) {
    for (size_t t = 0; t < (again ? j->T / 2 : j->T); t++) {
      times += push(j, window, t, draw(4) ? pool : NULL, impatient);
      patience p = {1, 0};
      const fl_cancel cancel = {ask, &p};
      if (draw(3) == 0) CHECK(fl_window_advance_until(window, pool, impatient ? &cancel : NULL) != FL_ERROR_ARGUMENT);
      if (draw(3) == 0) CHECK(fl_window_advance(window, pool) == FL_OK && fl_window_advance(window, NULL) == FL_OK);
    }
    CHECK(fl_window_reset(window) == FL_OK && fl_window_count(window) == 0);
  }
  free(raw);
  fl_pool_destroy(pool);
  return times;
}

static const fl_form seeing = {{FL_HARD_SIGMOID, 0.2, 0.5}, {FL_TANH, 0, 0}, {FL_TANH, 0, 0}, 1, 0, FL_CLIP_NONE, 0, 0};
static const fl_form clipped = {{FL_SIGMOID, 0, 0}, {FL_TANH, 0, 0}, {FL_RELU, 0, 0}, 0, 1, FL_CLIP_STATE, 0.25, 0};

static void has_the_bits_of_each_window_alone(const char *isa) {
  static const fl_config kinds[] = {
      {FL_FLOAT32, 5, 9, 0, 1, 1, NULL, FL_WEIGHTS_REAL},
      {FL_FLOAT32, 3, 33, 20, 2, 1, &seeing, FL_WEIGHTS_REAL},
      {FL_FLOAT64, 7, 17, 0, 3, 1, &clipped, FL_WEIGHTS_REAL},
  };
  static const size_t lengths[] = {1, 2, 3, 4, 5, 7, 8, 16, 17, 33, 70, 300};
  for (size_t k = 0; k < sizeof kinds / sizeof kinds[0]; k++)
    for (size_t n = 0; n < sizeof lengths / sizeof lengths[0]; n++) {
      job j = begin(&kinds[k], isa, lengths[n] < 80 ? lengths[n] + (lengths[n] < 20 ? lengths[n] : 20) + 5 : 30);
      for (size_t t = 0; t < j.T; t++) run_alone(&j, t, lengths[n], j.alone + t * j.R * j.real);
      for (size_t threads = 1; threads <= MOST_THREADS; threads += 1 + threads / 2)
        run(&j, lengths[n], threads, threads == 2);
      end(&j);
    }
}

/* large enough to be asked */
static void is_as_it_was_when_given_up(void) {
  static const fl_config large = {FL_FLOAT32, 60, 300, 0, 2, 1, NULL, FL_WEIGHTS_REAL},
                         one_row = {FL_FLOAT32, 30, 1400, 0, 1, 1, NULL, FL_WEIGHTS_REAL};
  job j = begin(&large, NULL, 26);
  for (size_t t = 0; t < j.T; t++) run_alone(&j, t, 24, j.alone + t * j.R * j.real);
  CHECK(run(&j, 24, 1, 1) > 8);
  run(&j, 24, 3, 1);
  end(&j);
  j = begin(&one_row, NULL, 5);
  for (size_t t = 0; t < j.T; t++) run_alone(&j, t, 2, j.alone + t * j.R * j.real);
  CHECK(run(&j, 2, 1, 1) > 0);
  end(&j);
}

static void refuses(void) {
  static const fl_config config = {FL_FLOAT32, 3, 5, 0, 1, 1, NULL, FL_WEIGHTS_REAL};
  const fl_weights none[2] = {{.weight_ih = (float[60]){0}, .weight_hh = (float[100]){0}},
                              {.weight_ih = (float[60]){0}, .weight_hh = (float[100]){0}}};
  fl_config both_ways = config;
  both_ways.directions = 2;
  const fl_status no = FL_ERROR_ARGUMENT;
  fl_plan *const plan = random_plan(&config, NULL), *bidirectional;
  fl_pool *pool;
  void *raw;
  const fl_cancel nobody = {NULL, NULL};
  float x[5] = {0}, y[5];
  CHECK(fl_plan_create(&bidirectional, &both_ways, none, NULL) == FL_OK && fl_pool_create(&pool, 3) == FL_OK);
  char *const memory = aligned(fl_window_size(plan, 4, 2), &raw);
  CHECK(fl_window_size(NULL, 4, 2) == SIZE_MAX && fl_window_size(plan, 0, 2) == SIZE_MAX);
  CHECK(fl_window_size(plan, 4, 0) == SIZE_MAX && fl_window_size(plan, 4, 5000) == SIZE_MAX);
  CHECK(fl_window_size(bidirectional, 4, 2) == SIZE_MAX);
  for (int bit = 1; bit < 8; bit++) CHECK(fl_window_size(plan, SIZE_MAX >> bit, 1) == SIZE_MAX);
  CHECK(!fl_window_init(NULL, 4, 2, memory) && !fl_window_init(bidirectional, 4, 2, memory));
  CHECK(!fl_window_init(plan, 0, 2, memory) && !fl_window_init(plan, 4, 0, memory));
  CHECK(!fl_window_init(plan, 4, 2, NULL) && !fl_window_init(plan, 4, 2, memory + 8));
  fl_window *const window = fl_window_init(plan, 4, 2, memory);
  CHECK(window && fl_window_count(NULL) == 0 && fl_window_reset(NULL) == no);
  CHECK(fl_window_push(NULL, x, y, NULL) == no && fl_window_push(window, NULL, y, NULL) == no);
  CHECK(fl_window_push(window, x, NULL, NULL) == no && fl_window_push(window, x, y, pool) == no); /* too many threads */
  CHECK(fl_window_push_until(window, x, y, NULL, &nobody) == no && fl_window_count(window) == 0);
  CHECK(fl_window_advance(NULL, NULL) == no && fl_window_advance(window, pool) == no);
  CHECK(fl_window_advance_until(window, NULL, &nobody) == no && fl_window_advance(window, NULL) == FL_OK);
  CHECK(fl_window_push(window, x, y, NULL) == FL_OK && fl_window_count(window) == 1);
  free(raw);
  fl_plan_destroy(plan);
  fl_plan_destroy(bidirectional);
  fl_pool_destroy(pool);
}

int main(void) {
  fl_use_all_threads(1);
  refuses();
  for (size_t i = 0; fl_isa_name(i); i++) has_the_bits_of_each_window_alone(fl_isa_name(i));
  is_as_it_was_when_given_up();
  printf("fastlstm windows: each has the bits of its sequence alone\n");
  return 0;
}
