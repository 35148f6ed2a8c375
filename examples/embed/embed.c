/* An LSTM in a C program: a whole sequence, a stream, and many sessions, from weights in a file.
 *
 *     embed WEIGHTS INPUT OUTPUT [THREADS]
 *
 * WEIGHTS   what `fastlstm convert MODEL WEIGHTS --to c` writes
 * INPUT     [T, I] reals, raw
 * OUTPUT    written, raw: the sequence's output [T, D*R], h_n [L*D, R], c_n [L*D, H]; then, where D = 1, the stream's
 *           outputs [T, R], and those of the sessions: session k starts at time k, so that n = min(t + 1, SESSIONS) of
 *           them take step t together, [n, R] for each t
 *
 * SPDX-License-Identifier: BSD-3-Clause */
#include <fastlstm.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { SESSIONS = 20 };

static void fail(const char *what, const char *why) {
  fprintf(stderr, "embed: %s: %s\n", what, why);
  exit(1);
}

static void check(const char *what, fl_status status) {
  if (status != FL_OK) fail(what, fl_status_text(status));
}

/* Memory on a line of its own, as the library wants its workspaces; the caller frees *raw. */
static void *aligned(size_t bytes, void **raw) {
  *raw = bytes < SIZE_MAX - 64 ? malloc(bytes + 64) : NULL;
  if (!*raw) fail("memory", "there is not enough");
  return (void *)(((uintptr_t)*raw + 63) & ~(uintptr_t)63);
}

static void *reals(size_t n, size_t real) {
  void *const made = n < SIZE_MAX / 16 ? malloc(n ? n * real : 1) : NULL;
  if (!made) fail("memory", "there is not enough");
  return made;
}

/* ---- files ------------------------------------------------------------------------------------------------------ */

static FILE *opened(const char *path, const char *mode) {
  FILE *const file = fopen(path, mode);
  if (!file) fail(path, "cannot be opened");
  return file;
}

static void *read_reals(FILE *file, const char *path, size_t n, size_t real) {
  void *const made = reals(n, real);
  if (fread(made, real, n, file) != n) fail(path, "ends too early");
  return made;
}

static void write_reals(FILE *file, const char *path, const void *from, size_t n, size_t real) {
  if (fwrite(from, real, n, file) != n) fail(path, "cannot be written");
}

static void *read_input(const char *path, size_t row, size_t *T) {
  FILE *const file = opened(path, "rb");
  if (fseek(file, 0, SEEK_END) != 0) fail(path, "has no end");
  const long bytes = ftell(file);
  if (bytes < 0 || (size_t)bytes % row) fail(path, "is not a whole number of inputs");
  rewind(file);
  *T = (size_t)bytes / row;
  void *const made = read_reals(file, path, (size_t)bytes, 1);
  fclose(file);
  return made;
}

/* ---- the work --------------------------------------------------------------------------------------------------- */

typedef struct {
  const fl_plan *plan;
  fl_config config;
  size_t real, R; /* bytes of a real; size of an output of one direction */
  size_t T;
  const char *x; /* [T, I] */
  fl_pool *pool; /* NULL: the caller's thread alone */
  size_t threads;
  FILE *out;
  const char *out_path;
} job;

static void run_sequence(const job *j) {
  const size_t D = j->config.directions, n = j->config.num_layers * D, width = D * j->R;
  void *const y = reals(j->T * width, j->real), *const h_n = reals(n * j->R, j->real);
  void *const c_n = reals(n * j->config.hidden_size, j->real);
  const ptrdiff_t x_row = (ptrdiff_t)(j->config.input_size * j->real), y_row = (ptrdiff_t)(width * j->real);
  const fl_sequence sequence = {.T = j->T,
                                .B = 1,
                                .input = j->x,
                                .input_t = x_row,
                                .input_b = x_row,
                                .output = y,
                                .output_t = y_row,
                                .output_b = y_row,
                                .h_n = h_n,
                                .c_n = c_n};
  void *raw;
  void *const workspace = aligned(fl_workspace_size(j->plan, j->T, 1, j->threads), &raw);
  check("sequence", fl_forward(j->plan, &sequence, j->pool, workspace));
  write_reals(j->out, j->out_path, y, j->T * width, j->real);
  write_reals(j->out, j->out_path, h_n, n * j->R, j->real);
  write_reals(j->out, j->out_path, c_n, n * j->config.hidden_size, j->real);
  free(raw);
  free(y);
  free(h_n);
  free(c_n);
}

static void run_stream(const job *j) {
  void *raw, *const y = reals(j->R, j->real);
  fl_stream *const stream = fl_stream_init(j->plan, 1, aligned(fl_stream_size(j->plan, 1), &raw));
  if (!stream) fail("stream", "the plan is bidirectional");
  for (size_t t = 0; t < j->T; t++) {
    check("a step", fl_stream_step(stream, j->x + t * j->config.input_size * j->real, y));
    write_reals(j->out, j->out_path, y, j->R, j->real);
    /* once the answer is out: what the next step does not need its input for */
    check("the next step", fl_stream_advance(stream));
  }
  free(raw);
  free(y);
}

static void run_sessions(const job *j) {
  const size_t row = j->config.input_size * j->real;
  char *const x = reals(SESSIONS * j->config.input_size, j->real);
  void *raw, *raw_ids, *raw_workspace, *const y = reals(SESSIONS * j->R, j->real);
  int64_t id[SESSIONS];
  fl_sessions *const sessions = fl_sessions_init(j->plan, SESSIONS, aligned(fl_sessions_size(j->plan, SESSIONS), &raw));
  if (!sessions) fail("sessions", "the plan is bidirectional");
  fl_session_ids *const ids = fl_session_ids_init(SESSIONS, aligned(fl_session_ids_size(SESSIONS), &raw_ids));
  void *const workspace = aligned(fl_sessions_workspace(j->plan, SESSIONS, j->threads), &raw_workspace);
  for (size_t t = 0; t < j->T; t++) {
    const size_t n = t + 1 < SESSIONS ? t + 1 : SESSIONS;
    size_t slots[SESSIONS];
    if (t < SESSIONS) { /* somebody comes; between threads, all that has to do with ids is done under a lock */
      check("a session", fl_session_ids_open(ids, &id[t], &slots[0]));
      check("a session", fl_sessions_set(sessions, slots[0], NULL, NULL));
    }
    for (size_t k = 0; k < n; k++) memcpy(x + k * row, j->x + (t - k) * row, row);
    check("sessions", fl_session_ids_take(ids, n, id, slots, NULL));
    check("a step", fl_sessions_step(sessions, n, slots, x, (ptrdiff_t)row, y, j->pool, workspace));
    check("sessions", fl_session_ids_give(ids, n, slots));
    write_reals(j->out, j->out_path, y, n * j->R, j->real);
  }
  free(raw);
  free(raw_ids);
  free(raw_workspace);
  free(x);
  free(y);
}

int main(int argc, char **argv) {
  if (argc < 4 || argc > 5) fail("usage", "embed WEIGHTS INPUT OUTPUT [THREADS]");
  const long threads = argc == 5 ? strtol(argv[4], NULL, 10) : 1;
  if (threads < 1) fail(argv[4], "threads should be 1 or more");
  job j = {.threads = (size_t)threads, .out_path = argv[3]};
  fl_plan *plan;
  check(argv[1], fl_plan_load(&plan, argv[1], NULL));
  check(argv[1], fl_plan_get_config(plan, &j.config));
  j.plan = plan;
  j.real = j.config.dtype / 8;
  j.R = j.config.proj_size ? j.config.proj_size : j.config.hidden_size;
  void *const x = read_input(argv[2], j.config.input_size * j.real, &j.T);
  j.x = x;
  if (threads > 1) check("threads", fl_pool_create(&j.pool, j.threads));
  j.out = opened(j.out_path, "wb");
  run_sequence(&j);
  if (j.config.directions == 1) {
    run_stream(&j);
    run_sessions(&j);
  }
  if (fclose(j.out) != 0) fail(j.out_path, "cannot be written");
  printf("fastlstm %s on %s: %zu steps, %zu bytes of weights\n", fl_version(), fl_plan_isa(plan), j.T,
         fl_plan_size(plan));
  fl_pool_destroy(j.pool);
  fl_plan_destroy(plan);
  free(x);
  return 0;
}
