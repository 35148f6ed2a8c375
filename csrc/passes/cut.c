/* How a call is cut among steps and threads, and its rows in order of length.
 *
 * SPDX-License-Identifier: BSD-3-Clause */
#include "cut.h"

#include <assert.h>

enum {
  CHUNK_BYTES = 4 * 1024 *
      1024,             /* of pre-activations: each chunk reads all of W, and 512 KiB cost up to 1.5 at H=1024 */
  ROWS_A_THREAD = 4,    /* fewer rows than this are not worth a thread: 6 to 12 fill a tile */
  FRONT_LEAST = 6,      /* steps of a block: a tile of their inputs, whose weights are read once a block */
  FRONT_MOST = 12,      /* more gain nothing */
  FRONT_BLOCKS = 20,    /* of each thread but one: until all are at work, and when no longer, 5 % are lost */
  FRONT_ENOUGH = 4,     /* layers: more threads gain less by units than those that have a layer each */
  FRONT_WORK = 1000000, /* multiply-adds, 30 to 60 us: less is done before another thread is awake */
  UNITS_SPLIT_BYTES = 96 * 1024, /* recurrent weights below this are faster on one core than shared by two */
};

fl_cut fl_decide(const fl_plan *plan, size_t real_bytes, size_t weight_bytes, size_t T, size_t B, size_t threads) {
  assert(threads >= 1);
  fl_cut cut = {.groups = 1};
  const size_t recurrent = plan->panels * FL_PANEL * weight_bytes * plan->R;
  if (threads > 1) {
    const size_t wanted = (threads + plan->D - 1) / plan->D;
    if (wanted * ROWS_A_THREAD <= B || (plan->D > 1 && wanted == 1))
      cut.groups = wanted;
    else if (recurrent >= UNITS_SPLIT_BYTES)
      cut.by_units = 1;
    else if (B / ROWS_A_THREAD > 1)
      cut.groups = B / ROWS_A_THREAD;
  }
  cut.rows = (B + cut.groups - 1) / cut.groups;
  const size_t step = plan->panels * FL_PANEL * real_bytes * (cut.rows ? cut.rows : 1);
  cut.chunk = step > CHUNK_BYTES ? 1 : CHUNK_BYTES / step;
  if (cut.chunk > T) cut.chunk = T;
  if (cut.chunk <= 1) cut.chunk = 0;
  return cut;
}

/* multiply-adds of a step of one row, in all layers */
static size_t step_work(const fl_plan *plan) {
  size_t work = 0;
  for (size_t l = 0; l < plan->L * plan->D; l++) work += plan->layers[l].input_size + plan->R;
  return work * plan->panels * FL_PANEL;
}

void fl_decide_wavefront(fl_cut *cut, const fl_plan *plan, size_t T, size_t threads) {
  if (threads < 2 || plan->L < 2 || plan->D > 1 || cut->groups > 1 || T < 2 * FRONT_LEAST) return;
  if (cut->by_units && threads > plan->L && plan->L < FRONT_ENOUGH) return;
  if (cut->rows == 0 || step_work(plan) < FRONT_WORK / T / cut->rows) return;
  const size_t few = (threads < plan->L ? threads : plan->L) - 1, wanted = T * plan->L / (FRONT_BLOCKS * few);
  const size_t steps = wanted < FRONT_LEAST ? FRONT_LEAST : wanted < FRONT_MOST ? wanted : FRONT_MOST;
  cut->by_units = 0;
  if (cut->chunk > steps) cut->chunk = steps;
  cut->front = cut->chunk ? steps / cut->chunk * cut->chunk : steps; /* whole chunks */
}

/* ---- rows in order of length ------------------------------------------------------------------------------------ */

/* a before b: longer, or as long and earlier */
static int before(const fl_sequence *sequence, size_t a, size_t b) {
  const size_t of_a = fl_length(sequence, a), of_b = fl_length(sequence, b);
  return of_a != of_b ? of_a > of_b : a < b;
}

static void swap(size_t *a, size_t *b) {
  const size_t old = *a;
  *a = *b;
  *b = old;
}

static void sift(const fl_sequence *sequence, size_t *order, size_t root, size_t n) {
  for (size_t child; (child = 2 * root + 1) < n; root = child) {
    if (child + 1 < n && before(sequence, order[child], order[child + 1])) child++;
    if (!before(sequence, order[root], order[child])) return;
    swap(&order[root], &order[child]);
  }
}

/* heapsort: qsort may allocate */
void fl_sort_rows(const fl_sequence *sequence, size_t *order) {
  size_t n = sequence->B;
  for (size_t b = 0; b < n; b++) order[b] = b;
  if (!sequence->lengths) return;
  for (size_t root = n / 2; root-- > 0;) sift(sequence, order, root, n);
  while (n > 1) {
    swap(&order[0], &order[--n]);
    sift(sequence, order, 0, n);
  }
}
