/* The C core by itself, as a service that embeds it sees it; but for how calls are cut, which is told here.
 *
 * Every way of cutting the work gives the same bits: instruction sets, threads, rows one by one, steps one by one,
 * streams, and several callers at once on one plan and one pool. Small sizes, so that the sanitizers get through it
 * quickly. That they are the same bits on every machine is frozen_bits.c's part.
 *
 * SPDX-License-Identifier: BSD-3-Clause */
#include <math.h>
#include "fastlstm.h"
#include "base/cpus.h"
#include "base/os_threads.h"
#include "passes/cut.h"
#include "lend.h"
#include "support.h"

enum { CALLERS = 4, CALLS = 12, POOL_THREADS = 3, MOST_THREADS = 16 };

/* ---- memory and numbers ----------------------------------------------------------------------------------------- */

static void *numbers(size_t n, fl_dtype dtype) {
  static uint64_t state = 1;
  void *const made = malloc((n ? n : 1) * dtype / 8);
  CHECK(made);
  for (size_t j = 0; j < n; j++) {
    state = state * 6364136223846793005u + 1442695040888963407u;
    const double value = (double)(int64_t)(state >> 40) / (1 << 24) - 0.5; /* 24 bits: exact as a float */
    if (dtype == FL_FLOAT32)
      ((float *)made)[j] = (float)value;
    else
      ((double *)made)[j] = value;
  }
  return made;
}

static size_t compared;

static size_t shape_at;    /* which of main's shapes is running, */
static const char *isa_at; /* on which instruction set */

static void same(const char *how, const char *what, const void *a, const void *b, size_t bytes) {
  size_t at = 0;
  while (at < bytes && ((const char *)a)[at] == ((const char *)b)[at]) at++;
  if (at < bytes) {
    fprintf(stderr, "shape %zu on %s, %s: %s differs at byte %zu of %zu\n", shape_at, isa_at, how, what, at, bytes);
    exit(1);
  }
  compared += bytes;
}

/* ---- one set of sizes ------------------------------------------------------------------------------------------- */

typedef struct {
  fl_config config;
  size_t T, B;
  int with_lengths, with_resets;
} sizes;

typedef struct {
  const sizes *size;
  size_t real, R, D, out; /* bytes of a real; R; D; D*R */
  void *input, *h_0, *c_0;
  int64_t *lengths;
  uint8_t *resets;
  fl_weights weights[8];
  fl_plan *plan;
  fl_pool *pool;
  void *y, *h_n, *c_n; /* the answer that all others must equal */
} job;

typedef struct {
  void *y, *h_n, *c_n;
} results;

static size_t y_bytes(const job *j) {
  return j->size->T * j->size->B * j->out * j->real;
}
static size_t h_bytes(const job *j, size_t B) {
  return j->size->config.num_layers * j->D * B * j->R * j->real;
}
static size_t c_bytes(const job *j, size_t B) {
  return j->size->config.num_layers * j->D * B * j->size->config.hidden_size * j->real;
}

static results allocate(const job *j) {
  const results r = {malloc(y_bytes(j)), malloc(h_bytes(j, j->size->B)), malloc(c_bytes(j, j->size->B))};
  CHECK(r.y && r.h_n && r.c_n);
  memset(r.y, 0x88, y_bytes(j));
  return r;
}

static void release(results r) {
  free(r.y);
  free(r.h_n);
  free(r.c_n);
}

static void forward(const fl_plan *plan, const fl_sequence *s, fl_pool *pool, size_t threads) {
  void *raw;
  void *const workspace = aligned(fl_workspace_size(plan, s->T, s->B, threads), &raw);
  CHECK(fl_forward(plan, s, pool, workspace) == FL_OK);
  free(raw);
}

static fl_sequence whole(const job *j, results r) {
  const size_t B = j->size->B, row = j->size->config.input_size * j->real;
  return (fl_sequence){
      .T = j->size->T,
      .B = B,
      .input = j->input,
      .input_t = (ptrdiff_t)(B * row),
      .input_b = (ptrdiff_t)row,
      .output = r.y,
      .output_t = (ptrdiff_t)(B * j->out * j->real),
      .output_b = (ptrdiff_t)(j->out * j->real),
      .h_0 = j->h_0,
      .c_0 = j->c_0,
      .h_n = r.h_n,
      .c_n = r.c_n,
      .lengths = j->lengths,
      .resets = j->resets,
      .resets_t = (ptrdiff_t)B,
      .resets_b = 1,
  };
}

static void expect(const job *j, const char *how, results r) {
  same(how, "output", r.y, j->y, y_bytes(j));
  same(how, "h_n", r.h_n, j->h_n, h_bytes(j, j->size->B));
  same(how, "c_n", r.c_n, j->c_n, c_bytes(j, j->size->B));
}

static void run_whole(const job *j, const char *how, fl_pool *pool, size_t threads) {
  const results r = allocate(j);
  const fl_sequence s = whole(j, r);
  forward(j->plan, &s, pool, threads);
  expect(j, how, r);
  release(r);
}

/* row b alone, from a zero state, against row b of the batch: only where the batch started from zeros */
static void run_row(const job *j, size_t b) {
  const results r = allocate(j), all = allocate(j);
  fl_sequence s = whole(j, all);
  s.h_0 = s.c_0 = NULL;
  forward(j->plan, &s, NULL, 1);
  s.B = 1;
  s.input = (const char *)s.input + (ptrdiff_t)b * s.input_b;
  s.output = r.y;
  s.h_n = r.h_n;
  s.c_n = r.c_n;
  if (s.lengths) s.lengths += b;
  if (s.resets) s.resets += b;
  forward(j->plan, &s, NULL, 1);
  for (size_t t = 0; t < j->size->T; t++)
    same("one row", "output", (char *)r.y + (ptrdiff_t)t * s.output_t,
         (char *)all.y + (ptrdiff_t)t * s.output_t + (ptrdiff_t)b * s.output_b, j->out * j->real);
  release(r);
  release(all);
}

/* the batch as a stream, step by step: one direction, no lengths, no resets */
static void run_stream(const job *j) {
  const size_t B = j->size->B, step = B * j->size->config.input_size * j->real, out = B * j->R * j->real;
  const results r = allocate(j);
  void *raw;
  fl_stream *const stream = fl_stream_init(j->plan, B, aligned(fl_stream_size(j->plan, B), &raw));
  CHECK(stream);
  fl_stream_set(stream, j->h_0, j->c_0);
  for (size_t t = 0; t < j->size->T; t++)
    fl_stream_step(stream, (const char *)j->input + t * step, (char *)r.y + t * out);
  fl_stream_get(stream, r.h_n, r.c_n);
  expect(j, "stream", r);
  free(raw);
  release(r);
}

static OS_THREAD(caller, argument) {
  const job *const j = argument;
  for (int k = 0; k < CALLS; k++) {
    const results r = allocate(j);
    const fl_sequence s = whole(j, r);
    forward(j->plan, &s, j->pool, POOL_THREADS);
    CHECK(!memcmp(r.y, j->y, y_bytes(j)) && !memcmp(r.h_n, j->h_n, h_bytes(j, j->size->B))); /* `compared` is main's */
    release(r);
  }
  OS_THREAD_RETURN;
}

/* ---- somebody else's threads ------------------------------------------------------------------------------------ */

/* as many as are asked for */
static void lend_all(void (*work)(void *), void *data, unsigned threads, unsigned flags) {
  errand e = {work, data};
  os_thread helpers[MOST_THREADS];
  CHECK(threads <= MOST_THREADS && !flags);
  for (unsigned n = 1; n < threads; n++) CHECK(os_start(&helpers[n], helper, &e));
  work(data);
  for (unsigned n = 1; n < threads; n++) os_join(helpers[n]);
}

/* one, whatever is asked for */
static void lend_one(void (*work)(void *), void *data, unsigned threads, unsigned flags) {
  errand e = {work, data};
  os_thread other;
  CHECK(threads > 1 && !flags);
  CHECK(os_start(&other, helper, &e));
  work(data);
  os_join(other);
}

/* none */
static void lend_none(void (*work)(void *), void *data, unsigned threads, unsigned flags) {
  CHECK(threads > 1 && !flags);
  work(data);
}

static const fl_parallel lenders[] = {lend_all, lend_one, lend_none};

/* ---- gradients, all of them and some ---------------------------------------------------------------------------- */

/* of the input, h_0, c_0; then of every layer and direction those of five parameters */
enum { STATES = 3, PARAMETERS = 5, MOST = STATES + PARAMETERS * 8 };

static const uint64_t EVERY = ((uint64_t)1 << MOST) - 1;

typedef struct {
  int count;
  size_t bytes[MOST];
  void *at[MOST]; /* NULL: not wanted, or not there */
} gradients;

static void add(gradients *g, size_t bytes, uint64_t wanted, int there) {
  const int n = g->count++;
  g->bytes[n] = bytes;
  if (!there || !(wanted >> n & 1)) return;
  g->at[n] = malloc(bytes ? bytes : 1);
  CHECK(g->at[n]);
  memset(g->at[n], 0x88, bytes);
}

/* forward and backward, from the answer as the gradient of itself; only the gradients whose bit is set */
static gradients backward(const job *j, fl_pool *pool, size_t threads, uint64_t wanted) {
  const sizes *const size = j->size;
  const fl_config *const c = &size->config;
  const size_t H = c->hidden_size, LD = c->num_layers * j->D, T = size->T, B = size->B;
  const results r = allocate(j);
  const fl_sequence s = whole(j, r);
  size_t steps = T * B;
  if (j->lengths) {
    steps = 0;
    for (size_t b = 0; b < B; b++) steps += (size_t)j->lengths[b];
  }
  gradients g = {0};
  add(&g, T * B * c->input_size * j->real, wanted, 1);
  add(&g, h_bytes(j, B), wanted, 1);
  add(&g, c_bytes(j, B), wanted, 1);
  fl_weight_gradients weights[8];
  int any = 0;
  for (size_t k = 0; k < LD; k++) {
    const size_t I = k < j->D ? c->input_size : j->out;
    void **const at = g.at + g.count;
    add(&g, 4 * H * I * j->real, wanted, 1);
    add(&g, 4 * H * j->R * j->real, wanted, 1);
    add(&g, 4 * H * j->real, wanted, 1);
    add(&g, c->proj_size * H * j->real, wanted, j->weights[k].weight_hr != NULL);
    add(&g, 3 * H * j->real, wanted, j->weights[k].weight_ph != NULL);
    weights[k] = (fl_weight_gradients){at[0], at[1], at[2], at[3], at[4]};
    for (int n = 0; n < PARAMETERS; n++) any |= at[n] != NULL;
  }
  const fl_gradients of = {j->y, j->h_n, j->c_n, g.at[0], g.at[1], g.at[2], any ? weights : NULL};
  void *raw_tape, *raw;
  void *const memory = aligned(fl_tape_size(j->plan, T, B, steps, 0, j->resets != NULL), &raw_tape);
  fl_tape *const tape = fl_tape_init(j->plan, &s, 0, 0, 0, memory);
  CHECK(tape);
  void *workspace = aligned(fl_workspace_size(j->plan, T, B, threads), &raw);
  CHECK(fl_forward_train(&s, tape, pool, workspace) == FL_OK);
  free(raw);
  expect(j, "forward with a tape", r);
  workspace = aligned(fl_backward_size(tape, threads), &raw);
  CHECK(fl_backward(tape, &of, pool, workspace) == FL_OK);
  free(raw);
  free(raw_tape);
  release(r);
  return g;
}

static void forget(gradients g) {
  for (int n = 0; n < g.count; n++) free(g.at[n]);
}

static void run_backward(const job *j, const char *how, fl_pool *pool, size_t threads, uint64_t wanted,
                         const gradients *all) {
  const gradients g = backward(j, pool, threads, wanted);
  for (int n = 0; n < g.count; n++)
    if (g.at[n]) same(how, "a gradient", g.at[n], all->at[n], g.bytes[n]);
  forget(g);
}

/* each alone, and on one thread each left out */
static void run_some_gradients(const job *j, fl_pool *pool, size_t threads, const gradients *all) {
  run_backward(j, "all gradients", pool, threads, EVERY, all);
  run_backward(j, "no gradients", pool, threads, 0, all);
  for (int n = 0; n < all->count; n++) {
    if (!all->at[n]) continue;
    run_backward(j, "one gradient", pool, threads, (uint64_t)1 << n, all);
    if (!pool) run_backward(j, "all gradients but one", pool, threads, EVERY & ~((uint64_t)1 << n), all);
  }
}

/* ---- everything, for one set of sizes --------------------------------------------------------------------------- */

static job begin(const sizes *size) {
  const fl_config *const c = &size->config;
  const fl_dtype dtype = c->dtype;
  const size_t H = c->hidden_size, D = c->directions, B = size->B, L = c->num_layers;
  job j = {.size = size, .real = dtype / 8, .R = c->proj_size ? c->proj_size : H, .D = D};
  j.out = D * j.R;
  j.input = numbers(size->T * B * c->input_size, dtype);
  j.h_0 = numbers(L * D * B * j.R, dtype);
  j.c_0 = numbers(L * D * B * H, dtype);
  CHECK(L * D <= sizeof j.weights / sizeof j.weights[0]);
  for (size_t k = 0; k < L * D; k++) {
    const size_t I = k < D ? c->input_size : j.out;
    j.weights[k] = (fl_weights){.weight_ih = numbers(4 * H * I, dtype),
                                .weight_hh = numbers(4 * H * j.R, dtype),
                                .bias_ih = numbers(4 * H, dtype),
                                .bias_hh = numbers(4 * H, dtype),
                                .weight_hr = c->proj_size ? numbers(c->proj_size * H, dtype) : NULL,
                                .weight_ph = c->form && c->form->peepholes ? numbers(3 * H, dtype) : NULL};
  }
  if (size->with_lengths) {
    j.lengths = malloc(B * sizeof *j.lengths);
    CHECK(j.lengths);
    for (size_t b = 0; b < B; b++) j.lengths[b] = (int64_t)(b * 5 % (size->T + 1));
  }
  if (size->with_resets) {
    j.resets = malloc(size->T * B);
    CHECK(j.resets);
    for (size_t k = 0; k < size->T * B; k++) j.resets[k] = k % 7 == 3;
  }
  return j;
}

static void end(job *j) {
  for (size_t k = 0; k < j->size->config.num_layers * j->D; k++) {
    const fl_weights w = j->weights[k];
    const void *const parts[] = {w.weight_ih, w.weight_hh, w.bias_ih, w.bias_hh, w.weight_hr, w.weight_ph};
    for (size_t part = 0; part < sizeof parts / sizeof parts[0]; part++) free((void *)parts[part]);
  }
  free(j->input);
  free(j->h_0);
  free(j->c_0);
  free(j->lengths);
  free(j->resets);
}

/* groups of rows, members of a team, diagonals: all ways for a few threads, some for many */
static const struct {
  size_t groups, team;
  int diagonals;
} cuts[] = {{1, 1, 0}, {2, 1, 0}, {1, 2, 0}, {3, 1, 0}, {1, 3, 0}, {1, 2, 1}, {2, 2, 0},  {3, 2, 0},  {1, 3, 1},
            {2, 4, 0}, {4, 4, 0}, {1, 7, 0}, {1, 7, 1}, {8, 1, 0}, {1, 8, 0}, {1, 16, 0}, {16, 1, 0}, {1, 16, 1}};

static void run_cuts(job *j, const gradients *all) {
  for (size_t lender = 0; lender <= sizeof lenders / sizeof lenders[0]; lender++) {
    CHECK((lender ? fl_pool_borrow(&j->pool, MOST_THREADS, lenders[lender - 1])
                  : fl_pool_create(&j->pool, MOST_THREADS)) == FL_OK);
    for (size_t k = lender ? 2 : 0; k < sizeof cuts / sizeof cuts[0]; k += lender ? 3 : 1) {
      fl_force_cut(cuts[k].groups, cuts[k].team, cuts[k].diagonals);
      run_whole(j, "a cut", j->pool, MOST_THREADS);
      if (all && !lender) run_backward(j, "a cut", j->pool, MOST_THREADS, EVERY, all);
    }
    fl_force_cut(0, 0, 0);
    fl_pool_destroy(j->pool);
  }
}

/* on the instruction set of the plan; gradients: NULL where the form has none */
static void run_all(job *j, const gradients *all) {
  run_whole(j, "no pool", NULL, 1);
  for (size_t b = 0; b < j->size->B; b++) run_row(j, b);
  if (j->D == 1 && !j->lengths && !j->resets) run_stream(j);
  for (size_t threads = 1; threads <= POOL_THREADS; threads++) {
    CHECK(fl_pool_create(&j->pool, threads) == FL_OK);
    for (int again = 0; again < 3; again++) run_whole(j, "pool", j->pool, threads);
    if (threads == POOL_THREADS) {
      os_thread callers[CALLERS];
      for (int n = 0; n < CALLERS; n++) CHECK(os_start(&callers[n], caller, j));
      for (int n = 0; n < CALLERS; n++) os_join(callers[n]);
    }
    if (all && threads == POOL_THREADS) run_some_gradients(j, j->pool, threads, all);
    fl_pool_destroy(j->pool);
  }
  if (all) run_some_gradients(j, NULL, 1, all);
  for (size_t n = 0; n < sizeof lenders / sizeof lenders[0]; n++) {
    CHECK(fl_pool_borrow(&j->pool, POOL_THREADS, lenders[n]) == FL_OK);
    for (int again = 0; again < 2; again++) run_whole(j, "borrowed threads", j->pool, POOL_THREADS);
    if (all) run_backward(j, "borrowed threads", j->pool, POOL_THREADS, EVERY, all);
    fl_pool_destroy(j->pool);
  }
  run_cuts(j, all);
}

static void run(const sizes *size) {
  const fl_config *const c = &size->config;
  job j = begin(size);
  const results answer = allocate(&j);
  j.y = answer.y;
  j.h_n = answer.h_n;
  j.c_n = answer.c_n;
  CHECK(fl_plan_create(&j.plan, c, j.weights, "scalar") == FL_OK);
  const fl_sequence s = whole(&j, answer);
  forward(j.plan, &s, NULL, 1);
  const int trains = !c->form || c->form->clip_at == FL_CLIP_NONE; /* a clip has no gradient */
  gradients all = {0};
  if (trains) all = backward(&j, NULL, 1, EVERY);
  fl_plan_destroy(j.plan);
  for (size_t k = 0; fl_isa_name(k); k++) {
    CHECK(fl_plan_create(&j.plan, c, j.weights, fl_isa_name(k)) == FL_OK);
    CHECK(!strcmp(fl_plan_isa(j.plan), fl_isa_name(k)));
    isa_at = fl_isa_name(k);
    run_all(&j, trains ? &all : NULL);
    fl_plan_destroy(j.plan);
  }
  forget(all);
  end(&j);
  release(answer);
}

/* ---- asking ----------------------------------------------------------------------------------------------------- */

static int count_asking(void *data) {
  ++*(int *)data;
  return 0;
}

/* A stack along diagonals, whose first layer does nearly all of the work: the caller, who does all, is asked as often
 * as that takes. */
static void is_asked_by_what_a_wide_input_takes(void) {
  static const sizes wide = {{FL_FLOAT32, 2000, 64, 0, 2, 1, NULL, FL_WEIGHTS_REAL}, 20, 8, 0, 0};
  const size_t work = wide.T * wide.B * 4 * 64 * (2000 + 3 * 64);
  int asked = 0;
  job j = begin(&wide);
  const results r = allocate(&j);
  const fl_sequence s = whole(&j, r);
  void *raw;
  CHECK(fl_plan_create(&j.plan, &wide.config, j.weights, NULL) == FL_OK);
  CHECK(fl_pool_borrow(&j.pool, 2, lend_none) == FL_OK);
  fl_force_cut(1, 2, 1);
  void *const workspace = aligned(fl_workspace_size(j.plan, s.T, s.B, 2), &raw);
  CHECK(fl_forward_until(j.plan, &s, j.pool, workspace, &(fl_cancel){count_asking, &asked}) == FL_OK);
  CHECK((size_t)asked >= work >> 23);
  fl_force_cut(0, 0, 0);
  free(raw);
  fl_pool_destroy(j.pool);
  fl_plan_destroy(j.plan);
  release(r);
  end(&j);
}

/* ---- what cannot be --------------------------------------------------------------------------------------------- */

static void refusals(void) {
  const float one[4] = {0};
  const fl_weights weights = {.weight_ih = one, .weight_hh = one};
  fl_config config = {.dtype = FL_FLOAT32, .input_size = 1, .hidden_size = 1, .num_layers = 1, .directions = 1};
  fl_plan *plan;
  fl_pool *pool;
  CHECK(fl_plan_create(&plan, &config, &weights, "abacus") == FL_ERROR_ISA && !plan);
  config.hidden_size = SIZE_MAX / 2;
  CHECK(fl_plan_create(&plan, &config, &weights, NULL) != FL_OK && !plan);
  config.hidden_size = 0;
  CHECK(fl_plan_create(&plan, &config, &weights, NULL) == FL_ERROR_ARGUMENT && !plan);
  CHECK(fl_pool_create(&pool, 0) == FL_ERROR_ARGUMENT && !pool);
  CHECK(fl_pool_borrow(&pool, 0, lend_none) == FL_ERROR_ARGUMENT && !pool);
  CHECK(fl_pool_borrow(&pool, 2, NULL) == FL_ERROR_ARGUMENT && !pool);
  CHECK(fl_pool_borrow(&pool, 1, lend_none) == FL_OK); /* nothing is borrowed then */
  fl_pool_destroy(pool);
  CHECK(fl_isa_name(1000) == NULL && fl_isa_description("abacus") == NULL);
  config.hidden_size = 1;
  const fl_form forms[] = {
      {.gate = {(fl_activation_kind)(FL_SOFTPLUS + 1), 0, 0}}, /* no such activation */
      {.cell = {FL_ELU, 1e39, 0}},                             /* not a float */
      {.candidate = {FL_ELU, NAN, 0}},
      {.clip_at = FL_CLIP_STATE},
      {.clip_at = FL_CLIP_GATES, .clip = NAN},
      {.clip_at = (fl_clip)(FL_CLIP_STATE + 1), .clip = 1},
      {.peepholes = 1}, /* without weight_ph */
  };
  for (size_t k = 0; k < sizeof forms / sizeof forms[0]; k++) {
    config.form = &forms[k];
    CHECK(fl_plan_create(&plan, &config, &weights, NULL) == FL_ERROR_ARGUMENT && !plan);
  }
  config.form = NULL;
  const fl_weights peepholes = {.weight_ih = one, .weight_hh = one, .weight_ph = one};
  CHECK(fl_plan_create(&plan, &config, &peepholes, NULL) == FL_ERROR_ARGUMENT && !plan);
  CHECK(fl_plan_create(&plan, &config, &weights, NULL) == FL_OK);
  CHECK(fl_workspace_size(plan, SIZE_MAX / 4, SIZE_MAX / 4, 1) == SIZE_MAX);
  CHECK(fl_stream_size(plan, SIZE_MAX / 2) == SIZE_MAX);
  fl_plan_destroy(plan);
  fl_plan_destroy(NULL);
  fl_pool_destroy(NULL);
}

/* every activation, and every option at least once */
static const fl_form keras = {
    {FL_HARD_SIGMOID, 0.2, 0.5}, {FL_RELU, 0, 0}, {FL_SOFTSIGN, 0, 0}, 0, 0, FL_CLIP_NONE, 0, 0};
static const fl_form seeing = {{FL_SIGMOID, 0, 0}, {FL_TANH, 0, 0}, {FL_TANH, 0, 0}, 1, 0, FL_CLIP_STATE, 0.5, 0};
static const fl_form peeping = {{FL_SIGMOID, 0, 0}, {FL_TANH, 0, 0}, {FL_TANH, 0, 0}, 1, 0, FL_CLIP_NONE, 0, 0};
static const fl_form coupled = {{FL_SOFTPLUS, 0, 0}, {FL_ELU, 0.7, 0}, {FL_SOFTSIGN, 0, 0}, 1, 1, FL_CLIP_NONE, 0, 1};
static const fl_form odd = {
    {FL_SOFTPLUS, 0, 0}, {FL_ELU, 0.7, 0}, {FL_SCALED_TANH, 1.2, 0.5}, 1, 1, FL_CLIP_ACTIVATIONS, 2, 0};
static const fl_form linear = {
    {FL_AFFINE, 0.4, 0.3}, {FL_LEAKY_RELU, 0.1, 0}, {FL_THRESHOLDED_RELU, 0.1, 0}, 0, 0, FL_CLIP_GATES, 1, 0};

int main(void) {
  static const sizes shapes[] = {
      /* dtype, I, H, P, L, D, form; T, B; lengths, resets */
      {{FL_FLOAT32, 1, 1, 0, 1, 1, NULL, FL_WEIGHTS_REAL}, 3, 1, 0, 0},
      {{FL_FLOAT32, 17, 25, 0, 2, 1, NULL, FL_WEIGHTS_REAL}, 7, 5, 0, 0},
      {{FL_FLOAT32, 9, 33, 7, 2, 2, NULL, FL_WEIGHTS_REAL}, 6, 13, 1, 0},
      {{FL_FLOAT32, 7, 24, 0, 1, 1, NULL, FL_WEIGHTS_REAL}, 9, 3, 0, 1},
      {{FL_FLOAT32, 8, 100, 0, 1, 1, NULL, FL_WEIGHTS_REAL}, 11, 1, 0, 0},
      {{FL_FLOAT32, 3, 100, 0, 2, 1, NULL, FL_WEIGHTS_REAL}, 5, 18, 1, 0},
      {{FL_FLOAT64, 17, 25, 0, 2, 1, NULL, FL_WEIGHTS_REAL}, 7, 5, 0, 0},
      {{FL_FLOAT64, 9, 33, 7, 1, 2, NULL, FL_WEIGHTS_REAL}, 6, 3, 1, 0},
      {{FL_FLOAT32, 5, 25, 0, 1, 1, &keras, FL_WEIGHTS_REAL}, 5, 5, 0, 0},
      {{FL_FLOAT32, 5, 33, 7, 2, 2, &seeing, FL_WEIGHTS_REAL}, 4, 5, 1, 0},
      {{FL_FLOAT32, 5, 41, 0, 1, 1, &odd, FL_WEIGHTS_REAL}, 5, 1, 0, 0},
      {{FL_FLOAT32, 5, 17, 0, 2, 1, &linear, FL_WEIGHTS_REAL}, 5, 7, 0, 1},
      {{FL_FLOAT64, 5, 25, 0, 1, 1, &odd, FL_WEIGHTS_REAL}, 5, 5, 0, 0},
      {{FL_FLOAT64, 5, 33, 7, 2, 2, &seeing, FL_WEIGHTS_REAL}, 4, 5, 1, 0},
      {{FL_FLOAT32, 5, 9, 4, 2, 2, &peeping, FL_WEIGHTS_REAL}, 4, 3, 1, 0},
      {{FL_FLOAT64, 3, 9, 0, 2, 1, &coupled, FL_WEIGHTS_REAL}, 5, 2, 0, 1},
      {{FL_FLOAT32, 5, 65, 0, 3, 1, NULL, FL_WEIGHTS_REAL}, 21, 1, 0, 0},
      {{FL_FLOAT64, 5, 65, 9, 4, 1, NULL, FL_WEIGHTS_REAL}, 23, 3, 1, 1},
  };
  fl_use_all_threads(1);
  refusals();
  is_asked_by_what_a_wide_input_takes();
  for (; shape_at < sizeof shapes / sizeof shapes[0]; shape_at++) run(&shapes[shape_at]);
  printf("fastlstm core:");
  for (size_t k = 0; fl_isa_name(k); k++) printf(" %s", fl_isa_name(k));
  printf("; %zu bytes compared, all the same\n", compared);
  return 0;
}
