/* Sessions by themselves, as a service that embeds them sees them: fastlstm.h and nothing else.
 *
 * Random companies of sessions, on every instruction set and number of threads, any of them advanced before, against a
 * stream for each: the same bits. Workspaces are exactly as long as was said, for the most rows that will come, so that
 * a sanitizer sees the first byte past their end.
 *
 * SPDX-License-Identifier: BSD-3-Clause */
#include "fastlstm.h"
#include "base/cpus.h"
#include "base/os_threads.h"
#include "layer.h"
#include "lend.h"

enum { MOST = 70, STEPS = 40, MOST_THREADS = 5 };

static uint64_t hash = 14695981039346656037u;

static void remember(const void *data, size_t bytes) {
  for (size_t k = 0; k < bytes; k++) hash = (hash ^ ((const unsigned char *)data)[k]) * 1099511628211u;
}

typedef struct {
  fl_config config;
  size_t real, R, in, out, h, c; /* bytes of a real; R; bytes of a row, an output, a session's h and c */
  fl_plan *plan;
  fl_stream *streams[MOST];
  void *memory[MOST];
} world;

static void begin(world *w, const char *isa) {
  const fl_config *const f = &w->config;
  const size_t H = f->hidden_size, L = f->num_layers;
  w->real = f->dtype / 8;
  w->R = f->proj_size ? f->proj_size : H;
  w->in = f->input_size * w->real;
  w->out = w->R * w->real;
  w->h = L * w->out;
  w->c = L * H * w->real;
  w->plan = random_plan(f, isa);
  for (size_t k = 0; k < MOST; k++) {
    w->streams[k] = fl_stream_init(w->plan, 1, aligned(fl_stream_size(w->plan, 1), &w->memory[k]));
    CHECK(w->streams[k]);
  }
}

static void end(world *w) {
  for (size_t k = 0; k < MOST; k++) free(w->memory[k]);
  fl_plan_destroy(w->plan);
}

static void expect_states(const world *w, const fl_sessions *s, size_t n) {
  char *const a = allocated(2 * (w->h + w->c)), *const b = a + w->h + w->c;
  for (size_t k = 0; k < n; k++) {
    fl_sessions_get(s, k, a, a + w->h);
    fl_stream_get(w->streams[k], b, b + w->h);
    CHECK(!memcmp(a, b, w->h + w->c));
  }
  free(a);
}

/* what sessions need to be advanced; the caller frees it when they are gone */
static void *allow_advances(const world *w, fl_sessions *s, size_t capacity) {
  void *raw;
  const size_t bytes = fl_sessions_advance_size(w->plan, capacity);
  void *const memory = memset(aligned(bytes, &raw), 0x77, bytes);
  CHECK(fl_sessions_advance_init(s, memory) == FL_OK);
  return raw;
}

/* the first n of them in another order, any of all */
static void shuffle(size_t *slots, size_t n, size_t count) {
  for (size_t k = 0; k < n; k++) {
    const size_t other = k + draw((unsigned)(count - k)), kept = slots[k];
    slots[k] = slots[other];
    slots[other] = kept;
  }
}

/* the first `count` sessions, in companies of up to all of them, each company drawn anew */
static void run(world *w, size_t count, size_t threads) {
  void *raw, *raw_more, *raw_workspace, *raw_advances[2] = {0};
  fl_pool *pool;
  CHECK(fl_pool_create(&pool, threads) == FL_OK);
  fl_sessions *s = fl_sessions_init(w->plan, count, aligned(fl_sessions_size(w->plan, count), &raw));
  void *const workspace = aligned(fl_sessions_workspace(w->plan, count, threads), &raw_workspace);
  CHECK(s);
  for (size_t k = 0; k < count; k++) fl_stream_set(w->streams[k], NULL, NULL);
  char *const y = allocated(count * w->out), *const alone = allocated(w->out);
  size_t slots[MOST];
  for (size_t k = 0; k < count; k++) slots[k] = k;
  for (size_t t = 0; t < STEPS; t++) {
    const size_t n = draw((unsigned)count + 1);
    if (t == 4) raw_advances[0] = allow_advances(w, s, count);
    if (t > 4 && t % 5) {
      shuffle(slots, count, count);
      const size_t some = t % 5 == 1 ? count : draw((unsigned)count + 1);
      CHECK(fl_sessions_advance(s, some, slots, t % 3 ? pool : NULL, workspace) == FL_OK);
    }
    shuffle(slots, n, count);
    char *const x = numbers(count * w->config.input_size, w->config.dtype);
    const ptrdiff_t row = t % 3 ? (ptrdiff_t)w->in : 0; /* at times the same input for all */
    fl_sessions_step(s, n, slots, x, row, y, t % 4 ? pool : NULL, workspace);
    for (size_t k = 0; k < n; k++) {
      fl_stream_step(w->streams[slots[k]], x + (ptrdiff_t)k * row, alone);
      CHECK(!memcmp(alone, y + k * w->out, w->out));
    }
    remember(y, n * w->out);
    free(x);
    if (t % 8 == 5) { /* one starts again, with the h or the c of another */
      const size_t k = draw((unsigned)count);
      char *const h = allocated(w->h + w->c);
      fl_sessions_get(s, draw((unsigned)count), h, h + w->h);
      fl_sessions_set(s, k, t % 16 == 5 ? h : NULL, t % 16 == 5 ? NULL : h + w->h);
      fl_stream_set(w->streams[k], t % 16 == 5 ? h : NULL, t % 16 == 5 ? NULL : h + w->h);
      free(h);
    }
  }
  expect_states(w, s, count);
  fl_sessions *const more =
      fl_sessions_init(w->plan, count + 3, aligned(fl_sessions_size(w->plan, count + 3), &raw_more));
  CHECK(more);
  raw_advances[1] = allow_advances(w, more, count + 3);
  CHECK(fl_sessions_advance(s, count / 2 + 1, slots, NULL, workspace) == FL_OK);
  fl_sessions_move(more, s);
  memset(raw, 0x77, fl_sessions_size(w->plan, count));
  free(raw_advances[0]);
  expect_states(w, more, count);
  char *const x = numbers(count * w->config.input_size, w->config.dtype);
  fl_sessions_step(more, count, slots, x, (ptrdiff_t)w->in, y, pool, workspace);
  for (size_t k = 0; k < count; k++) {
    fl_stream_step(w->streams[slots[k]], x + k * w->in, alone);
    CHECK(!memcmp(alone, y + k * w->out, w->out));
  }
  expect_states(w, more, count);
  free(x);
  free(raw_advances[1]);
  free(raw);
  free(raw_more);
  free(raw_workspace);
  free(y);
  free(alone);
  fl_pool_destroy(pool);
}

/* ---- giving up -------------------------------------------------------------------------------------------------- */

/* A step is given up at every time of asking, until it comes to its end: the states are as if nothing had been, to the
 * bit. How often it was given up. */
static int give_up(world *w, size_t count, size_t threads) {
  void *raw, *raw_workspace, *raw_advances;
  fl_pool *pool;
  CHECK(fl_pool_create(&pool, threads) == FL_OK);
  fl_sessions *s = fl_sessions_init(w->plan, count, aligned(fl_sessions_size(w->plan, count), &raw));
  void *const workspace = aligned(fl_sessions_workspace_until(w->plan, count, threads), &raw_workspace);
  char *const x = numbers(count * w->config.input_size, w->config.dtype);
  char *const y = allocated(count * w->out), *const alone = allocated(w->out);
  size_t slots[MOST];
  for (size_t k = 0; k < count; k++) slots[k] = count - 1 - k;
  for (size_t k = 0; k < count; k++) fl_stream_set(w->streams[k], NULL, NULL);
  const fl_batch batch = {count, slots, x, (ptrdiff_t)w->in, y};
  patience p = {1, 0};
  const fl_cancel cancel = {ask, &p};
  int advanced = 0, times = 0;
  raw_advances = allow_advances(w, s, count);
  for (int step = 0; step < 5; step++) { /* from either copy of h */
    for (p.after = 1; step % 3 == 1; p.after++) {
      p.asked = 0;
      const fl_status status = fl_sessions_advance_until(s, count, slots, pool, workspace, &cancel);
      if (status == FL_OK) break;
      CHECK(status == FL_ERROR_CANCELLED && p.asked == p.after);
      expect_states(w, s, count);
    }
    advanced += step % 3 == 1 ? p.after - 1 : 0;
    for (p.after = 1;; p.after++) {
      p.asked = 0;
      if (step % 3 == 2) CHECK(fl_sessions_advance(s, count - count / 3, slots, NULL, workspace) == FL_OK);
      const fl_status status = fl_sessions_step_until(s, &batch, pool, workspace, &cancel);
      if (status == FL_OK) break;
      CHECK(status == FL_ERROR_CANCELLED && p.asked == p.after);
      expect_states(w, s, count);
    }
    if (p.after - 1 > times) times = p.after - 1;
    for (size_t k = 0; k < count; k++) {
      fl_stream_step(w->streams[slots[k]], x + k * w->in, alone);
      CHECK(!memcmp(alone, y + k * w->out, w->out));
    }
    expect_states(w, s, count);
  }
  const size_t work = count * w->config.num_layers * w->R * 4 * w->config.hidden_size;
  CHECK(advanced > 0 || threads > 1 || work < (size_t)1 << 24); /* or it is little */
  free(raw);
  free(raw_workspace);
  free(raw_advances);
  free(x);
  free(y);
  free(alone);
  fl_pool_destroy(pool);
  return times;
}

static void gives_up(const char *isa) {
  static const fl_config kinds[] = {
      {FL_FLOAT32, 64, 1200, 0, 1, 1, NULL, FL_WEIGHTS_REAL}, /* one row is enough */
      {FL_FLOAT64, 30, 200, 90, 3, 1, NULL, FL_WEIGHTS_REAL},
  };
  static const size_t counts[] = {1, 17, MOST};
  for (size_t k = 0; k < sizeof kinds / sizeof kinds[0]; k++) {
    world w = {.config = kinds[k]};
    begin(&w, isa);
    for (size_t n = 0; n < sizeof counts / sizeof counts[0]; n++)
      for (size_t threads = 1; threads <= 3; threads += 2) {
        const int times = give_up(&w, counts[n], threads);
        CHECK(times > 0 || threads > 1 || (k == 1 && n == 0)); /* or others did it, or it is little */
      }
    end(&w);
  }
}

/* one thread, whatever is asked for */
static void lend_one(void (*work)(void *), void *data, unsigned threads, unsigned flags) {
  errand e = {work, data};
  os_thread other;
  CHECK(threads > 1 && !flags && os_start(&other, helper, &e));
  work(data);
  os_join(other);
}

/* A team of three, of whom one never comes, gives up while it does what some rows have not been advanced by: who finds
 * out later than another is in the next layer by then. Large enough for each to be asked in a layer. */
static void a_team_gives_up(void) {
  enum { ROWS = 15, ADVANCED = 8, TIMES = 40 };
  world w = {.config = {FL_FLOAT32, 4, 672, 0, 2, 1, NULL, FL_WEIGHTS_REAL}};
  void *raw, *raw_workspace;
  fl_pool *pool;
  size_t slots[ROWS];
  int given_up = 0;
  begin(&w, NULL);
  CHECK(fl_sessions_threads_used(w.plan, ROWS, 3) == 3 && fl_pool_borrow(&pool, 3, lend_one) == FL_OK);
  fl_sessions *const s = fl_sessions_init(w.plan, ROWS, aligned(fl_sessions_size(w.plan, ROWS), &raw));
  void *const workspace = aligned(fl_sessions_workspace_until(w.plan, ROWS, 3), &raw_workspace);
  void *const raw_advances = allow_advances(&w, s, ROWS);
  char *const x = numbers(ROWS * w.config.input_size, FL_FLOAT32), *const y = allocated(ROWS * w.out);
  const fl_batch batch = {ROWS, slots, x, (ptrdiff_t)w.in, y};
  for (size_t k = 0; k < ROWS; k++) slots[k] = k;
  for (int time = 0; time < TIMES; time++) {
    patience p = {1 + time % 4, 0};
    CHECK(fl_sessions_advance(s, ADVANCED, slots, NULL, workspace) == FL_OK);
    const fl_status status = fl_sessions_step_until(s, &batch, pool, workspace, &(fl_cancel){ask, &p});
    CHECK(status == FL_ERROR_CANCELLED || status == FL_OK); /* the other may do most of it */
    for (size_t k = 0; status == FL_OK && k < ROWS; k++) CHECK(fl_sessions_set(s, k, NULL, NULL) == FL_OK);
    expect_states(&w, s, ROWS);
    given_up += status != FL_OK;
  }
  CHECK(given_up > 0);
  free(x);
  free(y);
  free(raw);
  free(raw_workspace);
  free(raw_advances);
  fl_pool_destroy(pool);
  end(&w);
}

/* ---- a service: threads, sessions that come and go, one lock ----------------------------------------------------- */

enum { SESSIONS = 12, CALLERS = 4, CALLS = 400, COMPANY = 3 };

typedef struct {
  const world *w;
  fl_sessions *sessions;
  fl_session_ids *ids;
  os_lock lock; /* of ids, and of what follows */
  int64_t id[SESSIONS];
  size_t steps[SESSIONS]; /* that a session has taken, each with the same input */
  void *raw_advances;     /* NULL until the first who advances */
} service;

typedef struct {
  service *service;
  uint64_t seed;
  size_t slots[COMPANY];
  void *raw, *workspace;
  char *x, *y;
  int turns, advances;
} caller;

/* under the lock: the next company, or one session in the place of another; how many have to take a step, or to be
 * advanced */
static size_t choose(caller *c) {
  service *const s = c->service;
  size_t chosen[COMPANY], n = 1 + mix(c->seed += GOLDEN) % COMPANY, slot;
  int64_t id[COMPANY];
  for (size_t j = 0; j < n; j++) {
    chosen[j] = (mix(c->seed) + j) % SESSIONS;
    id[j] = s->id[chosen[j]];
  }
  if (mix(c->seed += GOLDEN) % 8 == 0) {
    if (fl_session_ids_close(s->ids, 1, id, NULL) != FL_OK) return 0;
    CHECK(fl_session_ids_open(s->ids, &s->id[chosen[0]], &slot) == FL_OK);
    CHECK(fl_sessions_set(s->sessions, slot, NULL, NULL) == FL_OK);
    s->steps[chosen[0]] = 0;
    return 0;
  }
  const fl_status status = fl_session_ids_take(s->ids, n, id, c->slots, NULL);
  CHECK(status == FL_OK || status == FL_ERROR_TAKEN);
  c->advances = c->turns++ > CALLS / 8 && mix(c->seed += GOLDEN) % 3 == 0;
  if (c->advances && !s->raw_advances) s->raw_advances = allow_advances(s->w, s->sessions, SESSIONS);
  for (size_t j = 0; status == FL_OK && !c->advances && j < n; j++) s->steps[chosen[j]]++;
  return status == FL_OK ? n : 0;
}

static OS_THREAD(serve, argument) {
  caller *const c = argument;
  service *const s = c->service;
  for (int call = 0; call < CALLS; call++) {
    os_acquire(&s->lock);
    const size_t n = choose(c);
    os_release(&s->lock);
    if (!n) continue;
    if (c->advances)
      CHECK(fl_sessions_advance(s->sessions, n, c->slots, NULL, c->workspace) == FL_OK);
    else
      CHECK(fl_sessions_step(s->sessions, n, c->slots, c->x, 0, c->y, NULL, c->workspace) == FL_OK);
    os_acquire(&s->lock);
    CHECK(fl_session_ids_give(s->ids, n, c->slots) == FL_OK);
    os_release(&s->lock);
  }
  OS_THREAD_RETURN;
}

static void serves(world *w) {
  void *raw, *raw_ids, *memory = aligned(fl_sessions_size(w->plan, SESSIONS), &raw);
  service s = {.w = w, .sessions = fl_sessions_init(w->plan, SESSIONS, memory)};
  s.ids = fl_session_ids_init(SESSIONS, aligned(fl_session_ids_size(SESSIONS), &raw_ids));
  caller callers[CALLERS];
  os_thread threads[CALLERS];
  size_t slot, slots[SESSIONS];
  CHECK(s.sessions && s.ids && os_lock_init(&s.lock));
  for (size_t k = 0; k < SESSIONS; k++) CHECK(fl_session_ids_open(s.ids, &s.id[k], &slot) == FL_OK);
  char *const x = numbers(w->config.input_size, w->config.dtype), *const h = allocated(2 * (w->h + w->c));
  for (size_t k = 0; k < CALLERS; k++) {
    caller *const c = &callers[k];
    *c = (caller){.service = &s, .seed = k, .x = x, .y = allocated(COMPANY * w->out)};
    c->workspace = aligned(fl_sessions_workspace(w->plan, COMPANY, 1), &c->raw);
    CHECK(os_start(&threads[k], serve, c));
  }
  for (size_t k = 0; k < CALLERS; k++) {
    os_join(threads[k]);
    free(callers[k].raw);
    free(callers[k].y);
  }
  CHECK(fl_session_ids_taken(s.ids) == 0 && fl_session_ids_take(s.ids, SESSIONS, s.id, slots, NULL) == FL_OK);
  for (size_t k = 0; k < SESSIONS; k++) {
    fl_stream_set(w->streams[0], NULL, NULL);
    for (size_t t = 0; t < s.steps[k]; t++) fl_stream_step(w->streams[0], x, h);
    fl_stream_get(w->streams[0], h, h + w->h);
    fl_sessions_get(s.sessions, slots[k], h + w->h + w->c, h + 2 * w->h + w->c);
    CHECK(!memcmp(h, h + w->h + w->c, w->h + w->c));
  }
  os_lock_destroy(&s.lock);
  CHECK(s.raw_advances);
  free(s.raw_advances);
  free(raw);
  free(raw_ids);
  free(x);
  free(h);
}

/* sizes without a plan's arithmetic */
static void measures(const world *w) {
  for (size_t threads = 1; threads < 10; threads++)
    for (size_t n = 0; n < 100; n++) {
      CHECK(fl_sessions_workspace(w->plan, n, threads) <= fl_sessions_workspace(w->plan, n + 1, threads));
      CHECK(fl_sessions_workspace_until(w->plan, n, threads) <= fl_sessions_workspace_until(w->plan, n + 1, threads));
      CHECK(fl_sessions_workspace(w->plan, n, threads) <= fl_sessions_workspace_until(w->plan, n, threads));
    }
  CHECK(fl_sessions_workspace_until(w->plan, SIZE_MAX / 2, 1) == SIZE_MAX);
  CHECK(fl_sessions_workspace(w->plan, SIZE_MAX / 2, 1) == SIZE_MAX);
  CHECK(fl_sessions_size(w->plan, SIZE_MAX / 2) == SIZE_MAX);
  const size_t row = (w->config.hidden_size + 7) / 8 * 32 * w->real, all = 1000 * w->config.num_layers * row;
  CHECK(fl_sessions_advance_size(w->plan, 1000) >= all && fl_sessions_advance_size(w->plan, 1000) < all + 2048);
  for (int bit = 1; bit < 8; bit++) CHECK(fl_sessions_advance_size(w->plan, SIZE_MAX >> bit) == SIZE_MAX);
}

static void refusals(void) {
  const float one[4] = {0};
  const fl_weights weights[2] = {{.weight_ih = one, .weight_hh = one}, {.weight_ih = one, .weight_hh = one}};
  const fl_config config = {.dtype = FL_FLOAT32, .input_size = 1, .hidden_size = 1, .num_layers = 1, .directions = 2};
  fl_plan *plan;
  void *raw;
  CHECK(fl_plan_create(&plan, &config, weights, NULL) == FL_OK);
  CHECK(fl_sessions_size(plan, 3) == SIZE_MAX && fl_sessions_advance_size(plan, 3) == SIZE_MAX);
  CHECK(!fl_sessions_init(plan, 3, aligned(4096, &raw)));
  free(raw);
  fl_plan_destroy(plan);
}

int main(void) {
  fl_use_all_threads(1);
  static const fl_config kinds[] = {
      {FL_FLOAT32, 5, 9, 0, 1, 1, NULL, FL_WEIGHTS_REAL},
      {FL_FLOAT32, 3, 33, 20, 2, 1, NULL, FL_WEIGHTS_REAL},
      {FL_FLOAT64, 7, 17, 0, 3, 1, NULL, FL_WEIGHTS_REAL},
  };
  static const size_t counts[] = {1, 8, 16, 32, MOST};
  uint64_t first = 0;
  refusals();
  for (size_t i = 0; fl_isa_name(i); i++) {
    hash = 14695981039346656037u;
    drawn = 1;
    for (size_t k = 0; k < sizeof kinds / sizeof kinds[0]; k++) {
      world w = {.config = kinds[k]};
      begin(&w, fl_isa_name(i));
      measures(&w);
      serves(&w);
      for (size_t n = 0; n < sizeof counts / sizeof counts[0]; n++)
        for (size_t threads = 1; threads <= MOST_THREADS; threads += 2) run(&w, counts[n], threads);
      end(&w);
    }
    if (!i) first = hash;
    CHECK(hash == first); /* the instruction sets agree */
  }
  gives_up(NULL);
  a_team_gives_up();
  printf("fastlstm sessions: the same bits in any company, given up or not\n");
  return 0;
}
