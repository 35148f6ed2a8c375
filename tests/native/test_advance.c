/* What streams do before their input is there: the same bits, and a step that then does the rest and no more. That is
 * seen by spoiling the old h, which only U h reads. Given up, streams are as they were; memory is exactly as long as
 * was said, so that a sanitizer sees the first byte past it. Sessions have theirs in test_sessions.c and here.
 *
 * SPDX-License-Identifier: BSD-3-Clause */
#include "fastlstm.h"
#include "base/cpus.h"
#include "inside.h"
#include "layer.h"

enum { STEPS = 12, MOST_ROWS = 40 };

typedef struct {
  fl_config config;
  fl_plan *plan;
  size_t B, in, out, h, c; /* bytes of an input, an output and the states of all rows */
  fl_stream *stream, *plain;
  char *x, *y, *expected, *state, *before; /* x [STEPS]; before: a state */
  void *raw[2];
} job;

static job begin(const fl_config *config, const char *isa, size_t B) {
  job j = {.config = *config, .plan = random_plan(config, isa), .B = B};
  const size_t H = config->hidden_size, R = config->proj_size ? config->proj_size : H, real = config->dtype / 8;
  j.in = B * config->input_size * real;
  j.out = B * R * real;
  j.h = config->num_layers * j.out;
  j.c = config->num_layers * B * H * real;
  j.x = numbers(STEPS * B * config->input_size, config->dtype);
  j.y = allocated(j.out);
  j.expected = allocated(j.out);
  j.state = allocated(j.h + j.c);
  j.before = allocated(j.h + j.c);
  fl_stream **const both[] = {&j.stream, &j.plain};
  for (int k = 0; k < 2; k++) {
    *both[k] = fl_stream_init(j.plan, B, aligned(fl_stream_size(j.plan, B), &j.raw[k]));
    CHECK(*both[k]);
  }
  return j;
}

static void end(job *j) {
  free(j->x);
  free(j->y);
  free(j->expected);
  free(j->state);
  free(j->before);
  for (int k = 0; k < 2; k++) free(j->raw[k]);
  fl_plan_destroy(j->plan);
}

static void expect_same_states(job *j) {
  CHECK(fl_stream_get(j->stream, j->state, j->state + j->h) == FL_OK);
  CHECK(fl_stream_get(j->plain, j->before, j->before + j->h) == FL_OK);
  CHECK(!memcmp(j->state, j->before, j->h + j->c));
}

/* a step of the other stream, and what came of this one's */
static void expect(job *j, size_t t) {
  CHECK(fl_stream_step(j->plain, j->x + t * j->in, j->expected) == FL_OK);
  CHECK(!memcmp(j->y, j->expected, j->out));
  expect_same_states(j);
}

static void spoil(job *j) {
  memset(j->stream->h[j->stream->turn], 0x5a, j->h);
}

/* Steps, each after what `often` and `spoilt` say. */
static void has_the_same_bits(job *j, int spoilt) {
  for (size_t t = 0; t < STEPS; t++) {
    const unsigned often = spoilt ? 1 : draw(3);
    for (unsigned k = 0; k < often; k++) CHECK(fl_stream_advance(j->stream) == FL_OK);
    if (spoilt) {
      spoil(j);
      CHECK(fl_stream_advance(j->stream) == FL_OK);                                       /* nothing is left to do */
      CHECK(fl_stream_step(j->stream, NULL, j->y) == (j->B ? FL_ERROR_ARGUMENT : FL_OK)); /* keeps it */
    }
    if (t % 6 == 5) { /* another state, which is read anew */
      CHECK(fl_stream_get(j->plain, j->state, j->state + j->h) == FL_OK);
      memcpy(j->before, j->state, j->h + j->c);
      for (int k = 0; k < 2; k++)
        CHECK(fl_stream_set(k ? j->plain : j->stream, t % 12 == 5 ? j->before : NULL, j->before + j->h) == FL_OK);
    }
    CHECK(fl_stream_step(j->stream, j->x + t * j->in, j->y) == FL_OK);
    expect(j, t);
  }
}

/* An advance, and a step that is advanced or not, given up at every time of asking before they come to their end. How
 * often each was. */
static void give_up(job *j, int times[2]) {
  patience p = {1, 0};
  const fl_cancel cancel = {ask, &p};
  for (size_t t = 0; t < 6; t++) {
    for (p.after = 1; t % 3 == 1; p.after++) {
      p.asked = 0;
      const fl_status status = fl_stream_advance_until(j->stream, &cancel);
      expect_same_states(j);
      if (status == FL_OK) break;
      CHECK(status == FL_ERROR_CANCELLED && p.asked == p.after);
    }
    if (t % 3 == 1) times[0] += p.after - 1;
    if (t == 1) { /* from what was done at last */
      CHECK(fl_stream_step(j->stream, j->x + t * j->in, j->y) == FL_OK);
      expect(j, t);
      continue;
    }
    for (p.after = 1;; p.after++) {
      p.asked = 0;
      if (t % 3 == 2) CHECK(fl_stream_advance(j->stream) == FL_OK);
      const fl_status status = fl_stream_step_until(j->stream, j->x + t * j->in, j->y, &cancel);
      if (status == FL_OK) break;
      CHECK(status == FL_ERROR_CANCELLED && p.asked == p.after);
      expect_same_states(j);
    }
    times[1] += p.after - 1;
    expect(j, t);
  }
}

static const fl_form seeing = {{FL_HARD_SIGMOID, 0.2, 0.5}, {FL_TANH, 0, 0}, {FL_TANH, 0, 0}, 1, 0, FL_CLIP_NONE, 0, 0};
static const fl_form clipped = {{FL_SIGMOID, 0, 0}, {FL_TANH, 0, 0}, {FL_RELU, 0, 0}, 0, 1, FL_CLIP_GATES, 0.25, 0};

static void streams(const char *isa) {
  static const fl_config kinds[] = {
      {FL_FLOAT32, 5, 9, 0, 1, 1, NULL, FL_WEIGHTS_REAL},      {FL_FLOAT32, 3, 33, 20, 2, 1, &seeing, FL_WEIGHTS_REAL},
      {FL_FLOAT64, 7, 17, 0, 3, 1, &clipped, FL_WEIGHTS_REAL}, {FL_FLOAT32, 130, 136, 0, 2, 1, NULL, FL_WEIGHTS_REAL},
      {FL_FLOAT64, 129, 40, 39, 1, 1, NULL, FL_WEIGHTS_REAL},
  };
  static const size_t rows[] = {0, 1, 2, 3, 5, 16, 17, MOST_ROWS};
  for (size_t k = 0; k < sizeof kinds / sizeof kinds[0]; k++)
    for (size_t n = 0; n < sizeof rows / sizeof rows[0]; n++) {
      job j = begin(&kinds[k], isa, rows[n]);
      int times[2] = {0};
      has_the_same_bits(&j, 0);
      has_the_same_bits(&j, 1);
      give_up(&j, times);
      end(&j);
    }
}

/* large enough to be asked: by its weights, and by its rows */
static void streams_given_up(void) {
  static const fl_config large = {FL_FLOAT32, 300, 900, 0, 2, 1, NULL, FL_WEIGHTS_REAL},
                         small = {FL_FLOAT64, 200, 24, 20, 2, 1, NULL, FL_WEIGHTS_REAL};
  const size_t rows[] = {1, 3, 3000};
  for (size_t k = 0; k < 3; k++) {
    job j = begin(rows[k] < 3000 ? &large : &small, NULL, rows[k]);
    int times[2] = {0};
    give_up(&j, times);
    CHECK(times[0] > 0 && times[1] > times[0]);
    end(&j);
  }
}

/* the same with tokens, so many rows that they are taken in parts */
static void tokens_given_up(void) {
  enum { V = 5, B = 3000 };
  static const fl_config config = {FL_FLOAT32, 200, 24, 20, 2, 1, NULL, FL_WEIGHTS_REAL};
  job j = begin(&config, NULL, B);
  void *raw;
  fl_table *const table = fl_table_init(j.plan, V, aligned(fl_table_size(j.plan, V), &raw));
  CHECK(table && fl_table_fill(table, j.x, 200 * sizeof(float), NULL, NULL) == FL_OK);
  int64_t tokens[B];
  for (size_t b = 0; b < B; b++) tokens[b] = draw(V);
  patience p = {1, 0};
  const fl_cancel cancel = {ask, &p};
  int times = 0;
  for (size_t t = 0; t < 4; t++) {
    for (p.after = 1;; p.after++) {
      p.asked = 0;
      if (t % 2) CHECK(fl_stream_advance(j.stream) == FL_OK);
      const fl_status status = fl_stream_step_tokens(j.stream, table, tokens, j.y, &cancel);
      if (status == FL_OK) break;
      CHECK(status == FL_ERROR_CANCELLED && p.asked == p.after);
      expect_same_states(&j);
    }
    times += p.after - 1;
    CHECK(fl_stream_step_tokens(j.plain, table, tokens, j.expected, NULL) == FL_OK);
    CHECK(!memcmp(j.y, j.expected, j.out));
    expect_same_states(&j);
  }
  CHECK(times > 0);
  free(raw);
  end(&j);
}

/* The old h of n sessions, which only U h reads. */
static void spoil_sessions(fl_sessions *s, size_t n, const size_t *slots) {
  const size_t H = s->plan->H;
  for (size_t k = 0; k < n; k++)
    for (size_t l = 0; l < s->plan->L; l++) {
      float *const h = (float *)s->slots + slots[k] * s->slot + l * s->layer;
      memset(h + (s->turn[slots[k]] ? H : 0), 0x5a, H * sizeof(float));
    }
}

/* What was done moves along where it can, and what was there is dropped. x: an input of five sessions */
static void moves(fl_sessions *from, fl_stream *stream, const size_t *slots, const float *x) {
  enum { N = 5 };
  const fl_plan *const plan = from->plan;
  const size_t out = N * plan->H * sizeof(float), bytes = fl_sessions_size(plan, N + 2);
  void *raw[4];
  fl_sessions *const to = fl_sessions_init(plan, N + 2, aligned(bytes, &raw[0]));
  fl_sessions *const without = fl_sessions_init(plan, N + 2, aligned(bytes, &raw[1]));
  void *const workspace = aligned(fl_sessions_workspace(plan, N, 1), &raw[2]);
  CHECK(fl_sessions_advance_init(to, aligned(fl_sessions_advance_size(plan, N + 2), &raw[3])) == FL_OK);
  char *const y = allocated(2 * out);
  fl_sessions *s = from;
  for (int turn = 0; turn < 4; turn++) { /* with what was done, with nothing, from where there is none, to there */
    fl_sessions *const next = turn == 2 ? without : turn == 3 ? to : s == from ? to : from;
    if (atomic_load(&s->advances) && turn != 1) CHECK(fl_sessions_advance(s, N, slots, NULL, workspace) == FL_OK);
    if (turn == 0) spoil_sessions(s, N, slots);
    if (turn == 3) CHECK(fl_sessions_advance(next, N, slots, NULL, workspace) == FL_OK); /* of another state */
    CHECK(fl_sessions_move(next, s) == FL_OK);
    s = next;
    CHECK(fl_sessions_step(s, N, slots, x, 7 * sizeof *x, y, NULL, workspace) == FL_OK);
    CHECK(fl_stream_step(stream, x, y + out) == FL_OK && !memcmp(y, y + out, out));
  }
  for (int k = 0; k < 4; k++) free(raw[k]);
  free(y);
}

/* A step of sessions that were advanced, most of them or all, does not read their old h either. */
static void sessions(void) {
  enum { N = 5 };
  static const fl_config config = {FL_FLOAT32, 7, 20, 0, 2, 1, NULL, FL_WEIGHTS_REAL};
  fl_plan *const plan = random_plan(&config, NULL);
  const size_t row = config.hidden_size * sizeof(float), slots[N] = {4, 2, 0, 1, 3};
  void *raw[4];
  fl_sessions *const s = fl_sessions_init(plan, N, aligned(fl_sessions_size(plan, N), &raw[0]));
  CHECK(s && !atomic_load(&s->advances)); /* who never advances has no memory for it */
  void *const workspace = aligned(fl_sessions_workspace(plan, N, 1), &raw[1]);
  CHECK(fl_sessions_advance_init(s, aligned(fl_sessions_advance_size(plan, N), &raw[2])) == FL_OK);
  fl_stream *const stream = fl_stream_init(plan, N, aligned(fl_stream_size(plan, N), &raw[3]));
  CHECK(stream);
  float *const x = numbers(N * 7, FL_FLOAT32), *const y = allocated(N * row), *const expected = allocated(N * row);
  for (size_t some = N; some > N / 2; some--) {
    for (int turn = 0; turn < 3; turn++) {
      CHECK(fl_sessions_advance(s, some, slots, NULL, workspace) == FL_OK);
      spoil_sessions(s, some, slots);
      CHECK(fl_sessions_step(s, N, slots, x, 0, NULL, NULL, workspace) == FL_ERROR_ARGUMENT); /* keeps it */
      CHECK(fl_sessions_step(s, N, slots, x, 7 * sizeof *x, y, NULL, workspace) == FL_OK);
      CHECK(fl_stream_step(stream, x, expected) == FL_OK && !memcmp(y, expected, N * row));
    }
  }
  moves(s, stream, slots, x);
  for (int k = 0; k < 4; k++) free(raw[k]);
  free(x);
  free(y);
  free(expected);
  fl_plan_destroy(plan);
}

int main(void) {
  fl_use_all_threads(1);
  for (size_t i = 0; fl_isa_name(i); i++) streams(fl_isa_name(i));
  streams_given_up();
  tokens_given_up();
  sessions();
  printf("fastlstm advance: the same bits, and only what is left\n");
  return 0;
}
