/* Sliding windows: after every input the answer for the last ones. All windows that an input belongs to run side by
 * side, one started at every input, as sessions: the one that ends takes its step at once, the others when there is
 * time.
 *
 * SPDX-License-Identifier: BSD-3-Clause */
#include <assert.h>
#include <string.h>
#include "base/arena.h"
#include "inside.h"

static fl_window *carve_window(const fl_plan *plan, size_t length, size_t threads, fl_arena *arena) {
  fl_window made = {.plan = plan, .length = length, .threads = threads};
  fl_window *const there = fl_carve(arena, 1, sizeof made);
  made.sessions = fl_carve(arena, 1, TYPED(measure_sessions)(plan, length));
  made.advances = fl_carve(arena, 1, TYPED(measure_advances)(plan, length, 1));
  made.slots = fl_carve(arena, length, sizeof *made.slots);
  made.last = fl_carve(arena, plan->I, sizeof(real));
  made.workspace = fl_carve(arena, 1, TYPED(measure_sessions_step)(plan, length, threads, 1));
  if (there) *there = made;
  return there;
}

size_t TYPED(measure_window)(const fl_plan *plan, size_t length, size_t threads) {
  fl_arena arena = {0};
  carve_window(plan, length, threads, &arena);
  return arena.overflow ? SIZE_MAX : arena.used;
}

fl_window *TYPED(make_window)(const fl_plan *plan, size_t length, size_t threads, void *memory) {
  assert(plan->D == 1 && length && threads && memory);
  fl_arena arena = {.at = memory};
  fl_window *const window = carve_window(plan, length, threads, &arena);
  assert(window && !arena.overflow);
  window->sessions = TYPED(make_sessions)(plan, length, window->sessions);
  window->advances = TYPED(make_advances)(window->sessions, 1, window->advances);
  return window;
}

/* the number of the input at which the window that ends with the count-th one has started */
static size_t start_of(const fl_window *window, size_t count) {
  return count > window->length ? count - window->length : 0;
}

/* the last input, as a row of a batch */
static const void *last_of(const fl_window *window) {
  return window->table ? (const void *)&window->token : window->last;
}

/* Bring the windows that go on up to the last input. */
static fl_status settle(fl_window *window, fl_pool *pool, const fl_cancel *cancel) {
  fl_batch batch = {.slots = window->slots, .x = last_of(window)};
  if (!window->behind) return FL_OK;
  for (size_t start = start_of(window, window->count) + 1; start < window->count; start++)
    window->slots[batch.n++] = start % window->length;
  fl_status status = FL_OK;
  if (batch.n) status = TYPED(run_sessions)(window->sessions, window->table, &batch, pool, window->workspace, cancel);
  window->behind = status != FL_OK;
  return status;
}

/* And the window that ends next as far as it gets without that input. */
fl_status TYPED(advance_window)(fl_window *window, fl_pool *pool, const fl_cancel *cancel) {
  const fl_status status = settle(window, pool, cancel);
  const size_t slot = start_of(window, window->count + 1) % window->length;
  if (status != FL_OK || slot == window->count % window->length) return status; /* it begins with that input */
  return TYPED(advance_sessions)(window->sessions, &(fl_batch){.n = 1, .slots = &slot}, pool, window->workspace,
                                 cancel);
}

fl_status TYPED(push_window)(fl_window *window, const fl_table *table, const void *x, void *y, fl_pool *pool,
                             const fl_cancel *cancel) {
  fl_status status = settle(window, pool, cancel);
  if (status != FL_OK) return status;
  const size_t slot = start_of(window, window->count + 1) % window->length;
  window->table = table;
  if (table)
    window->token = *(const int64_t *)x;
  else
    memcpy(window->last, x, window->plan->I * sizeof(real)); /* y may be x */
  const fl_batch batch = {1, &slot, last_of(window), 0, y};
  TYPED(write_session)(window->sessions, window->count % window->length, NULL, NULL);
  status = TYPED(run_sessions)(window->sessions, table, &batch, pool, window->workspace, cancel);
  if (status != FL_OK) return status;
  window->count++;
  window->behind = 1;
  return FL_OK;
}
