/* Tables: every call with tokens against the same call with what they stand for, to the bit, in every form, on every
 * instruction set and number of threads. Memory is exactly as long as was said, so that a sanitizer sees the first byte
 * past it.
 *
 * SPDX-License-Identifier: BSD-3-Clause */
#include "fastlstm.h"
#include "layer.h"

enum { V = 29, SEQUENCES = 12, STEPS = 9, LENGTH = 4 };

typedef struct {
  fl_config config;
  size_t real, R, in, out, h, c; /* bytes of a real; R; bytes of an input, an output, and a row's h and c */
  fl_plan *plan;
  fl_pool *pool;
  size_t threads;
  fl_table *table;
  void *raw;
  char *x; /* [V, I] */
} world;

/* as fl_table_fill, given up at every time of asking before it comes to its end; how often that was */
static int fill(world *w, int impatient) {
  patience p = {1, 0};
  const fl_cancel cancel = {ask, &p};
  for (;; p.after++) {
    p.asked = 0;
    const fl_status status = fl_table_fill(w->table, w->x, (ptrdiff_t)w->in, w->pool, impatient ? &cancel : NULL);
    if (status == FL_OK) return p.after - 1;
    CHECK(status == FL_ERROR_CANCELLED);
  }
}

static world begin(const fl_config *config, const char *isa, size_t threads) {
  world w = {.config = *config, .real = config->dtype / 8, .threads = threads};
  w.R = config->proj_size ? config->proj_size : config->hidden_size;
  w.in = config->input_size * w.real;
  w.out = config->directions * w.R * w.real;
  w.h = config->num_layers * config->directions * w.R * w.real;
  w.c = config->num_layers * config->directions * config->hidden_size * w.real;
  w.plan = random_plan(config, isa);
  w.x = numbers(V * config->input_size, config->dtype);
  CHECK(fl_pool_create(&w.pool, threads) == FL_OK);
  const size_t panels = (config->hidden_size + 7) / 8, bytes = fl_table_size(w.plan, V);
  CHECK(bytes >= config->directions * V * panels * 32 * w.real);
  CHECK(bytes <= config->directions * V * panels * 32 * w.real + 256);
  w.table = fl_table_init(w.plan, V, aligned(bytes, &w.raw));
  CHECK(w.table);
  fill(&w, 0);
  return w;
}

static void end(world *w) {
  free(w->raw);
  free(w->x);
  fl_pool_destroy(w->pool);
  fl_plan_destroy(w->plan);
}

static const char *input_of(const world *w, int64_t token) {
  return w->x + (size_t)token * w->in;
}

/* ---- sequences -------------------------------------------------------------------------------------------------- */

/* T x B tokens, some of them outside of the table where nobody may look */
typedef struct {
  size_t T, B;
  int64_t *tokens; /* [T, B] or, laid out by rows, [B, T] */
  ptrdiff_t t, b;  /* strides, in elements */
  int64_t *lengths;
  uint8_t *resets;
  int64_t *starts; /* [T], packed: then tokens[starts[t] + b] */
} tokens_of;

static tokens_of any_tokens(const world *w, size_t T, size_t B) {
  tokens_of made = {.T = T, .B = B, .tokens = allocated(T * B * sizeof(int64_t))};
  const int by_rows = draw(2) == 1;
  made.t = by_rows ? 1 : (ptrdiff_t)B;
  made.b = by_rows ? (ptrdiff_t)T : 1;
  for (size_t k = 0; k < T * B; k++) made.tokens[k] = draw(V);
  if (draw(2)) {
    made.lengths = allocated(B * sizeof(int64_t));
    for (size_t b = 0; b < B; b++) {
      made.lengths[b] = draw((unsigned)T + 1);
      for (ptrdiff_t t = made.lengths[b]; t < (ptrdiff_t)T; t++)
        made.tokens[t * made.t + (ptrdiff_t)b * made.b] = draw(2) ? -1 : V;
    }
  }
  if (w->config.directions == 1 && draw(2)) {
    made.resets = allocated(T * B);
    for (size_t k = 0; k < T * B; k++) made.resets[k] = draw(5) == 0;
  }
  return made;
}

/* packed: rows that fall from step to step, one after the other */
static tokens_of packed_tokens(size_t T, size_t B) {
  tokens_of made = {.T = T, .B = B, .b = 1, .lengths = allocated(B * sizeof(int64_t))};
  made.starts = allocated(T * sizeof(int64_t));
  made.lengths[0] = (int64_t)T;
  for (size_t b = 1; b < B; b++) made.lengths[b] = made.lengths[b - 1] - draw(2) * (made.lengths[b - 1] > 1);
  size_t n = 0;
  for (size_t t = 0; t < T; t++) {
    made.starts[t] = (int64_t)n;
    for (size_t b = 0; b < B && made.lengths[b] > (int64_t)t; b++) n++;
  }
  made.tokens = allocated(n * sizeof(int64_t));
  for (size_t k = 0; k < n; k++) made.tokens[k] = draw(V);
  return made;
}

static void free_tokens(tokens_of *tokens) {
  free(tokens->tokens);
  free(tokens->lengths);
  free(tokens->resets);
  free(tokens->starts);
}

/* what they stand for, [T, B, I] or packed; past the lengths anything */
static char *looked_up(const world *w, const tokens_of *tokens) {
  char *const x = allocated(tokens->T * tokens->B * w->in);
  memset(x, 0x77, tokens->T * tokens->B * w->in);
  for (size_t t = 0; t < tokens->T; t++)
    for (size_t b = 0; b < tokens->B; b++) {
      if (tokens->lengths && tokens->lengths[b] <= (int64_t)t) continue;
      const size_t at = tokens->starts ? (size_t)tokens->starts[t] + b : t * tokens->B + b;
      const ptrdiff_t from = tokens->starts ? (ptrdiff_t)at : (ptrdiff_t)t * tokens->t + (ptrdiff_t)b * tokens->b;
      memcpy(x + at * w->in, input_of(w, tokens->tokens[from]), w->in);
    }
  return x;
}

/* output [T, B, D*R], h_n, c_n; with the table or without */
static char *run_sequence(const world *w, const tokens_of *tokens, const char *x, const char *state, int table) {
  const size_t T = tokens->T, B = tokens->B, y = T * B * w->out;
  char *const made = allocated(y + B * (w->h + w->c));
  void *raw;
  memset(made, 0, y);
  const fl_sequence sequence = {.T = T,
                                .B = B,
                                .input = table ? (const void *)tokens->tokens : x,
                                .input_t = table ? tokens->t * (ptrdiff_t)sizeof(int64_t) : (ptrdiff_t)(B * w->in),
                                .input_b = table ? tokens->b * (ptrdiff_t)sizeof(int64_t) : (ptrdiff_t)w->in,
                                .output = made,
                                .output_t = (ptrdiff_t)(B * w->out),
                                .output_b = (ptrdiff_t)w->out,
                                .h_0 = state,
                                .c_0 = state + B * w->h,
                                .h_n = made + y,
                                .c_n = made + y + B * w->h,
                                .lengths = tokens->lengths,
                                .resets = tokens->resets,
                                .resets_t = (ptrdiff_t)B,
                                .resets_b = 1,
                                .starts = tokens->starts};
  void *const workspace = aligned(fl_workspace_size(w->plan, T, B, w->threads), &raw);
  CHECK((table ? fl_forward_tokens(w->table, &sequence, w->pool, workspace, NULL)
               : fl_forward(w->plan, &sequence, w->pool, workspace)) == FL_OK);
  free(raw);
  return made;
}

static void expect_sequence(const world *w, tokens_of tokens) {
  const size_t rows = tokens.B * (w->h + w->c);
  char *const x = looked_up(w, &tokens), *const state = numbers(rows / w->real, w->config.dtype);
  char *const expected = run_sequence(w, &tokens, x, state, 0), *const got = run_sequence(w, &tokens, x, state, 1);
  CHECK(!memcmp(expected, got, tokens.T * tokens.B * w->out + rows));
  free(x);
  free(state);
  free(expected);
  free(got);
  free_tokens(&tokens);
}

static void run_sequences(const world *w) {
  static const size_t T[] = {1, 2, 7, 40}, B[] = {1, 2, 5, 19};
  for (size_t k = 0; k < SEQUENCES; k++) expect_sequence(w, any_tokens(w, T[draw(4)], B[draw(4)]));
  for (size_t k = 0; k < 3; k++) expect_sequence(w, packed_tokens(1 + draw(9), 1 + draw(9)));
  tokens_of none = {.T = 3}; /* of no rows */
  expect_sequence(w, none);
}

/* ---- step by step ----------------------------------------------------------------------------------------------- */

static void run_streams(const world *w) {
  for (size_t B = 1; B <= 20; B += B < 3 ? 1 : 17) {
    void *raw[2];
    fl_stream *s[2];
    char *const y = allocated(2 * B * w->out), *const x = allocated(B * w->in);
    for (int k = 0; k < 2; k++) s[k] = fl_stream_init(w->plan, B, aligned(fl_stream_size(w->plan, B), &raw[k]));
    for (size_t t = 0; t < STEPS; t++) {
      int64_t tokens[20];
      for (size_t b = 0; b < B; b++) {
        tokens[b] = draw(V);
        memcpy(x + b * w->in, input_of(w, tokens[b]), w->in);
      }
      CHECK(fl_stream_step(s[0], x, y) == FL_OK);
      const int numbers_too = t % 4 == 2; /* in between */
      CHECK((numbers_too ? fl_stream_step(s[1], x, y + B * w->out)
                         : fl_stream_step_tokens(s[1], w->table, tokens, y + B * w->out, NULL)) == FL_OK);
      CHECK(!memcmp(y, y + B * w->out, B * w->out));
    }
    for (int k = 0; k < 2; k++) free(raw[k]);
    free(x);
    free(y);
  }
}

static void run_sessions(const world *w) {
  enum { CAPACITY = 40 };
  void *raw[3];
  fl_sessions *s[2];
  const size_t bytes = fl_sessions_size(w->plan, CAPACITY);
  for (int k = 0; k < 2; k++) s[k] = fl_sessions_init(w->plan, CAPACITY, aligned(bytes, &raw[k]));
  void *const workspace = aligned(fl_sessions_workspace(w->plan, CAPACITY, w->threads), &raw[2]);
  char *const y = allocated(2 * CAPACITY * w->out), *const x = allocated(CAPACITY * w->in);
  for (size_t t = 0; t < STEPS; t++) {
    size_t slots[CAPACITY];
    int64_t tokens[CAPACITY][2];
    const size_t n = t ? 1 + draw(CAPACITY) : CAPACITY;
    for (size_t k = 0; k < n; k++) {
      slots[k] = (k + 3 * t) % CAPACITY;
      tokens[k][0] = draw(V);
      tokens[k][1] = -1;
      memcpy(x + k * w->in, input_of(w, tokens[k][0]), w->in);
    }
    const fl_batch batch = {n, slots, x, (ptrdiff_t)w->in, y};
    const fl_batch of_tokens = {n, slots, tokens, sizeof tokens[0], y + n * w->out};
    CHECK(fl_sessions_step_until(s[0], &batch, NULL, workspace, NULL) == FL_OK);
    CHECK(fl_sessions_step_tokens(s[1], w->table, &of_tokens, w->pool, workspace, NULL) == FL_OK);
    CHECK(!memcmp(y, y + n * w->out, n * w->out));
  }
  for (int k = 0; k < 3; k++) free(raw[k]);
  free(x);
  free(y);
}

static void run_windows(const world *w) {
  void *raw[2];
  fl_window *s[2];
  char *const y = allocated(2 * w->out);
  const size_t bytes = fl_window_size(w->plan, LENGTH, w->threads);
  for (int k = 0; k < 2; k++) s[k] = fl_window_init(w->plan, LENGTH, w->threads, aligned(bytes, &raw[k]));
  for (size_t t = 0; t < STEPS + LENGTH; t++) {
    const int64_t token = draw(V);
    CHECK(fl_window_push(s[0], input_of(w, token), y, w->pool) == FL_OK);
    const int numbers_too = t % 4 == 2;
    CHECK((numbers_too ? fl_window_push(s[1], input_of(w, token), y + w->out, NULL)
                       : fl_window_push_token(s[1], w->table, token, y + w->out, w->pool, NULL)) == FL_OK);
    CHECK(!memcmp(y, y + w->out, w->out));
    if (draw(2)) CHECK(fl_window_advance(s[1], w->pool) == FL_OK);
  }
  for (int k = 0; k < 2; k++) free(raw[k]);
  free(y);
}

static const fl_form seeing = {{FL_HARD_SIGMOID, 0.2, 0.5}, {FL_TANH, 0, 0}, {FL_TANH, 0, 0}, 1, 0, FL_CLIP_NONE, 0, 0};
static const fl_form clipped = {{FL_SIGMOID, 0, 0}, {FL_TANH, 0, 0}, {FL_RELU, 0, 0}, 0, 1, FL_CLIP_STATE, 0.25, 0};

static void has_the_bits_of_the_lookup(const char *isa) {
  static const fl_config kinds[] = {
      {FL_FLOAT32, 5, 9, 0, 1, 1, NULL, FL_WEIGHTS_REAL},      {FL_FLOAT32, 140, 72, 0, 2, 1, NULL, FL_WEIGHTS_REAL},
      {FL_FLOAT32, 3, 33, 20, 2, 1, &seeing, FL_WEIGHTS_REAL}, {FL_FLOAT32, 11, 130, 0, 2, 2, NULL, FL_WEIGHTS_REAL},
      {FL_FLOAT64, 7, 17, 0, 3, 1, &clipped, FL_WEIGHTS_REAL}, {FL_FLOAT64, 6, 12, 5, 1, 2, NULL, FL_WEIGHTS_REAL},
  };
  for (size_t k = 0; k < sizeof kinds / sizeof kinds[0]; k++)
    for (size_t threads = 1; threads <= 4; threads += 1 + threads / 2) {
      world w = begin(&kinds[k], isa, threads);
      run_sequences(&w);
      if (w.config.directions == 1) {
        run_streams(&w);
        run_sessions(&w);
        run_windows(&w);
      }
      end(&w);
    }
}

/* ---- giving up, and refusing ------------------------------------------------------------------------------------ */

/* large enough to be asked */
static void may_be_filled_again(void) {
  static const fl_config large = {FL_FLOAT32, 300, 700, 0, 1, 1, NULL, FL_WEIGHTS_REAL};
  for (size_t threads = 1; threads <= 2; threads++) {
    world w = begin(&large, NULL, threads);
    char *const full = allocated(fl_table_size(w.plan, V));
    memcpy(full, w.table, fl_table_size(w.plan, V));
    memset(w.table, 0x77, fl_table_size(w.plan, V));
    w.table = fl_table_init(w.plan, V, w.table);
    CHECK(w.table);
    const int times = fill(&w, 1);
    CHECK(threads > 1 || times > 0);
    run_streams(&w);
    free(full);
    end(&w);
  }
}

static void refuses(void) {
  static const fl_config config = {FL_FLOAT32, 3, 5, 0, 1, 1, NULL, FL_WEIGHTS_REAL};
  const fl_status no = FL_ERROR_ARGUMENT;
  const fl_cancel nobody = {NULL, NULL};
  world w = begin(&config, NULL, 1), other = begin(&config, NULL, 1);
  void *raw[4];
  char *const memory = aligned(fl_table_size(w.plan, 2), &raw[0]);
  CHECK(fl_table_size(NULL, 2) == SIZE_MAX && fl_table_size(w.plan, 0) == SIZE_MAX);
  for (int bit = 0; bit < 8; bit++) CHECK(fl_table_size(w.plan, SIZE_MAX >> bit) == SIZE_MAX);
  CHECK(!fl_table_init(NULL, 2, memory) && !fl_table_init(w.plan, 0, memory) && !fl_table_init(w.plan, 2, NULL));
  CHECK(!fl_table_init(w.plan, 2, memory + 8));
  fl_table *const empty = fl_table_init(w.plan, 2, memory);
  CHECK(fl_table_fill(NULL, w.x, 12, NULL, NULL) == no && fl_table_fill(empty, NULL, 12, NULL, NULL) == no);
  CHECK(fl_table_fill(empty, w.x, 12, NULL, &nobody) == no && fl_table_fill(w.table, w.x, 12, NULL, NULL) == no);

  int64_t tokens[2] = {0, V - 1};
  float y[10], h[5], c[5];
  fl_sequence sequence = {
      .T = 2, .B = 1, .input = tokens, .input_t = 8, .output = y, .output_t = 20, .h_n = h, .c_n = c};
  void *const workspace = aligned(fl_workspace_size(w.plan, 2, 1, 1), &raw[1]);
  CHECK(fl_forward_tokens(w.table, &sequence, NULL, workspace, NULL) == FL_OK);
  CHECK(fl_forward_tokens(NULL, &sequence, NULL, workspace, NULL) == no);
  CHECK(fl_forward_tokens(empty, &sequence, NULL, workspace, NULL) == no);
  CHECK(fl_forward_tokens(w.table, NULL, NULL, workspace, NULL) == no);
  CHECK(fl_forward_tokens(w.table, &sequence, NULL, NULL, NULL) == no);
  CHECK(fl_forward_tokens(w.table, &sequence, NULL, workspace, &nobody) == no);

  fl_stream *const stream = fl_stream_init(w.plan, 1, aligned(fl_stream_size(w.plan, 1), &raw[2]));
  CHECK(fl_stream_step_tokens(stream, w.table, tokens, y, NULL) == FL_OK);
  CHECK(fl_stream_step_tokens(NULL, w.table, tokens, y, NULL) == no &&
        fl_stream_step_tokens(stream, NULL, tokens, y, NULL) == no);
  CHECK(fl_stream_step_tokens(stream, w.table, NULL, y, NULL) == no &&
        fl_stream_step_tokens(stream, w.table, tokens, NULL, NULL) == no);
  CHECK(fl_stream_step_tokens(stream, other.table, tokens, y, NULL) ==
        no); /* of the same weights, but another plan's */
  CHECK(fl_stream_step_tokens(stream, empty, tokens, y, NULL) == no);

  fl_window *const window = fl_window_init(w.plan, 2, 1, aligned(fl_window_size(w.plan, 2, 1), &raw[3]));
  CHECK(fl_window_push_token(NULL, w.table, 0, y, NULL, NULL) == no);
  CHECK(fl_window_push_token(window, NULL, 0, y, NULL, NULL) == no);
  CHECK(fl_window_push_token(window, other.table, 0, y, NULL, NULL) == no);
  CHECK(fl_window_push_token(window, w.table, 0, NULL, NULL, NULL) == no);
  static const int64_t wrong[] = {-1, V, INT64_MIN, INT64_MAX};
  for (size_t k = 0; k < 4; k++) {
    tokens[1] = wrong[k];
    CHECK(fl_forward_tokens(w.table, &sequence, NULL, workspace, NULL) == no);
    CHECK(fl_stream_step_tokens(stream, w.table, tokens + 1, y, NULL) == no);
    CHECK(fl_window_push_token(window, w.table, wrong[k], y, NULL, NULL) == no && fl_window_count(window) == 0);
  }
  sequence.lengths = &(int64_t){1}; /* past its end */
  CHECK(fl_forward_tokens(w.table, &sequence, NULL, workspace, NULL) == FL_OK);
  for (int k = 0; k < 4; k++) free(raw[k]);
  end(&w);
  end(&other);
}

static void refuses_in_sessions(void) {
  static const fl_config config = {FL_FLOAT32, 3, 5, 0, 1, 1, NULL, FL_WEIGHTS_REAL};
  world w = begin(&config, NULL, 1), other = begin(&config, NULL, 1);
  void *raw[2];
  fl_sessions *const s = fl_sessions_init(w.plan, 2, aligned(fl_sessions_size(w.plan, 2), &raw[0]));
  void *const workspace = aligned(fl_sessions_workspace(w.plan, 2, 1), &raw[1]);
  int64_t tokens[2] = {0, V};
  float y[10];
  fl_batch batch = {2, (size_t[]){1, 0}, tokens, sizeof *tokens, y};
  const fl_status no = FL_ERROR_ARGUMENT;
  CHECK(fl_sessions_step_tokens(s, w.table, &batch, NULL, workspace, NULL) == no);
  tokens[1] = 1;
  CHECK(fl_sessions_step_tokens(s, w.table, &batch, NULL, workspace, NULL) == FL_OK);
  CHECK(fl_sessions_step_tokens(NULL, w.table, &batch, NULL, workspace, NULL) == no);
  CHECK(fl_sessions_step_tokens(s, NULL, &batch, NULL, workspace, NULL) == no);
  CHECK(fl_sessions_step_tokens(s, other.table, &batch, NULL, workspace, NULL) == no);
  CHECK(fl_sessions_step_tokens(s, w.table, NULL, NULL, workspace, NULL) == no);
  CHECK(fl_sessions_step_tokens(s, w.table, &batch, NULL, NULL, NULL) == no);
  batch.slots = (size_t[]){1, 1};
  CHECK(fl_sessions_step_tokens(s, w.table, &batch, NULL, workspace, NULL) == no);
  batch.n = 0;
  CHECK(fl_sessions_step_tokens(s, w.table, &batch, NULL, NULL, NULL) == FL_OK);
  for (int k = 0; k < 2; k++) free(raw[k]);
  end(&w);
  end(&other);
}

int main(void) {
  refuses();
  refuses_in_sessions();
  may_be_filled_again();
  for (size_t i = 0; fl_isa_name(i); i++) has_the_bits_of_the_lookup(fl_isa_name(i));
  printf("fastlstm tables: tokens have the bits of what they stand for\n");
  return 0;
}
