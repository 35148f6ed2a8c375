/* What may be called from a real-time thread neither allocates nor locks nor calls the system: every such function, on
 * every instruction set, under the guard of examples/realtime.
 *
 * SPDX-License-Identifier: BSD-3-Clause */
#include "../../examples/realtime/guard.h"
#include <pthread.h>
#include "layer.h"

enum { I = 9, H = 33, B = 3, T = 5, V = 4, SLOTS = 4, BLOCKS = 32 };

typedef struct {
  fl_plan *plan;
  size_t real, R;
  fl_stream *stream;
  fl_sessions *sessions;
  fl_window *window;
  fl_table *table;
  void *workspace, *x, *y, *h, *c, *h_next;
  void *block[BLOCKS]; /* all that is freed at the end */
  size_t blocks;
  int watched, ended;
} job;

static void *memory(job *j, size_t bytes) {
  CHECK(j->blocks < BLOCKS);
  return aligned(bytes, &j->block[j->blocks++]);
}

static size_t most(size_t a, size_t b) {
  return a > b ? a : b;
}

static void prepare(job *j, const fl_config *config, const char *isa) {
  const fl_plan *const plan = j->plan = random_plan(config, isa);
  j->real = config->dtype / 8;
  j->R = config->proj_size ? config->proj_size : H;
  j->stream = fl_stream_init(plan, B, memory(j, fl_stream_size(plan, B)));
  j->sessions = fl_sessions_init(plan, SLOTS, memory(j, fl_sessions_size(plan, SLOTS)));
  CHECK(j->sessions);
  CHECK(fl_sessions_advance_init(j->sessions, memory(j, fl_sessions_advance_size(plan, SLOTS))) == FL_OK);
  j->window = fl_window_init(plan, 3, 1, memory(j, fl_window_size(plan, 3, 1)));
  j->table = fl_table_init(plan, V, memory(j, fl_table_size(plan, V)));
  CHECK(j->stream && j->window && j->table);
  j->x = numbers(T * B * I, config->dtype);
  j->block[j->blocks++] = j->x;
  j->y = memory(j, T * B * H * j->real);
  j->h = memory(j, config->num_layers * B * H * j->real);
  j->c = memory(j, config->num_layers * B * H * j->real);
  j->h_next = memory(j, B * H * j->real);
  j->workspace = memory(j, most(most(fl_workspace_size(plan, T, B, 1), j->R == H ? fl_cell_size(plan, B) : 0),
                                fl_sessions_workspace(plan, SLOTS, 1)));
  CHECK(fl_table_fill(j->table, j->x, I * (ptrdiff_t)j->real, NULL, NULL) == FL_OK);
}

/* how many calls did not end well: a thread that may not call the system cannot say which */
static int whole_sequence(job *j) {
  const ptrdiff_t x = I * (ptrdiff_t)j->real, y = (ptrdiff_t)(j->R * j->real);
  const fl_sequence sequence = {.T = T,
                                .B = B,
                                .input = j->x,
                                .input_t = B * x,
                                .input_b = x,
                                .output = j->y,
                                .output_t = B * y,
                                .output_b = y,
                                .h_n = j->h,
                                .c_n = j->c};
  return fl_forward(j->plan, &sequence, NULL, j->workspace) != FL_OK;
}

static int streams_and_windows(job *j) {
  const int64_t tokens[B] = {0, 3, 1};
  int bad = fl_stream_step(j->stream, j->x, j->y) != FL_OK;
  bad += fl_stream_advance(j->stream) != FL_OK;
  bad += fl_stream_step_tokens(j->stream, j->table, tokens, j->y, NULL) != FL_OK;
  bad += fl_stream_get(j->stream, j->h, j->c) != FL_OK;
  bad += fl_stream_set(j->stream, j->h, NULL) != FL_OK;
  bad += fl_window_push(j->window, j->x, j->y, NULL) != FL_OK;
  bad += fl_window_advance(j->window, NULL) != FL_OK;
  bad += fl_window_push_token(j->window, j->table, 2, j->y, NULL, NULL) != FL_OK;
  return bad + (fl_window_reset(j->window) != FL_OK);
}

static int sessions(job *j) {
  static const size_t slots[] = {2, 0, 3};
  const int64_t tokens[] = {0, 3, 1};
  const fl_batch batch = {.n = 3, .slots = slots, .x = tokens, .x_row = sizeof *tokens, .y = j->y};
  const ptrdiff_t row = I * (ptrdiff_t)j->real;
  int bad = fl_sessions_step(j->sessions, 3, slots, j->x, row, j->y, NULL, j->workspace) != FL_OK;
  bad += fl_sessions_advance(j->sessions, 3, slots, NULL, j->workspace) != FL_OK;
  bad += fl_sessions_step_tokens(j->sessions, j->table, &batch, NULL, j->workspace, NULL) != FL_OK;
  bad += fl_sessions_get(j->sessions, 0, j->h, j->c) != FL_OK;
  return bad + (fl_sessions_set(j->sessions, 1, j->h, j->c) != FL_OK);
}

static void *audio_thread(void *argument) {
  job *const j = argument;
  int bad = 0;
  j->watched = guard_system_calls();
  guard_enter();
  for (int k = 0; k < 3; k++) {
    bad += whole_sequence(j) + streams_and_windows(j) + sessions(j);
    if (j->R == H) bad += fl_cell(j->plan, B, j->x, NULL, NULL, j->h_next, j->c, j->workspace) != FL_OK;
  }
  guard_leave();
  j->ended = !bad;
  if (j->watched) guard_exit();
  return NULL;
}

static int check(const fl_config *config, const char *isa) {
  job j = {0};
  pthread_t thread;
  prepare(&j, config, isa);
  CHECK(pthread_create(&thread, NULL, audio_thread, &j) == 0);
  CHECK(pthread_join(thread, NULL) == 0);
  if (guard_found()) fprintf(stderr, "on %s: %s\n", isa, guard_found());
  CHECK(!guard_found());
  CHECK(j.ended);
  while (j.blocks) free(j.block[--j.blocks]);
  fl_plan_destroy(j.plan);
  return j.watched;
}

int main(void) {
  static const fl_dtype dtypes[] = {FL_FLOAT32, FL_FLOAT64};
  int watched = 1;
  for (size_t k = 0; fl_isa_name(k); k++)
    for (size_t d = 0; d < 2; d++) {
      const fl_config plain = {.dtype = dtypes[d], .input_size = I, .hidden_size = H, .num_layers = 1, .directions = 1};
      fl_config stack = plain;
      stack.num_layers = 2;
      stack.proj_size = 7;
      watched &= check(&plain, fl_isa_name(k)) & check(&stack, fl_isa_name(k));
    }
  printf("real time: no allocation, no lock%s\n", watched ? ", no system call" : "; system calls were not watched");
  return 0;
}
