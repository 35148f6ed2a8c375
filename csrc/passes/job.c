/* How a call is cut among steps and threads, its scratch, and its rows in order of length.
 *
 * SPDX-License-Identifier: BSD-3-Clause */
#include "job.h"

#include <assert.h>

enum {
  CHUNK_BYTES = 512 * 1024,      /* of pre-activations: half of an L2 */
  ROWS_A_THREAD = 4,             /* fewer rows than this are not worth a thread: 6 to 12 fill a tile */
  AHEAD_BYTES = 32 * 1024,       /* recurrent weights that fit in L1 leave no time to fill */
  UNITS_SPLIT_BYTES = 96 * 1024, /* recurrent weights below this are faster on one core than shared by two */
};

fl_cut fl_decide(const fl_plan *plan, size_t T, size_t B, size_t threads) {
  assert(threads >= 1);
  fl_cut c = {.groups = 1};
  const size_t recurrent = plan->panels * FL_PANEL * plan->real * plan->R;
  if (threads > 1) {
    const size_t wanted = (threads + plan->D - 1) / plan->D;
    if (wanted * ROWS_A_THREAD <= B || (plan->D > 1 && wanted == 1))
      c.groups = wanted;
    else if (recurrent >= UNITS_SPLIT_BYTES)
      c.by_units = 1;
    else if (B / ROWS_A_THREAD > 1)
      c.groups = B / ROWS_A_THREAD;
  }
  c.rows = (B + c.groups - 1) / c.groups;
  const size_t step = plan->panels * FL_PANEL * plan->real * (c.rows ? c.rows : 1);
  c.chunk = step > CHUNK_BYTES ? 1 : CHUNK_BYTES / step;
  if (c.chunk > T) c.chunk = T;
  if (c.chunk <= 1) c.chunk = 0;
  const size_t ahead = plan->kernels->ahead_rows;
  if (ahead && c.rows == 1 && T > ahead && recurrent >= AHEAD_BYTES) {
    c.chunk = ahead;
    c.ahead = 1;
  }
  return c;
}

/* ---- scratch ---------------------------------------------------------------------------------------------------- */

size_t fl_z_rows(const fl_job *j) {
  return j->cut.chunk * j->cut.rows | 1; /* odd: panels at a power of two apart would share cache sets */
}

static fl_pointers lay_out_pointers(const fl_job *j, fl_arena *a) {
  const size_t rows = j->cut.rows, chunk = j->cut.chunk ? j->cut.chunk * rows : rows;
  const size_t projected = j->plan->P ? rows : 0;
  return (fl_pointers){.x = fl_carve(a, chunk, sizeof(void *)),
                       .h = fl_carve(a, rows, sizeof(void *)),
                       .c_prev = fl_carve(a, rows, sizeof(void *)),
                       .y = fl_carve(a, rows, sizeof(void *)),
                       .c = fl_carve(a, rows, sizeof(void *)),
                       .m = fl_carve(a, projected, sizeof(void *)),
                       .p = fl_carve(a, projected, sizeof(void *)),
                       .z = fl_carve(a, chunk, sizeof(void *)),
                       .z_next = fl_carve(a, j->cut.ahead ? chunk : 0, sizeof(void *))};
}

static fl_arrays lay_out_arrays(const fl_job *j, fl_arena *a, int shared) {
  const fl_plan *const plan = j->plan;
  const size_t rows = j->cut.rows;
  fl_arrays s = {0};
  if (!j->cut.chunk)
    s.z = fl_carve(a, FL_STEP_SCRATCH(rows), plan->real);
  else if (!shared && !j->tape)
    s.z = fl_carve(a, plan->panels * fl_z_rows(j), FL_PANEL * plan->real);
  if (j->cut.ahead && !shared) {
    const size_t widest = plan->I > plan->D * plan->R ? plan->I : plan->D * plan->R;
    if (!j->tape) s.z_next = fl_carve(a, plan->panels * fl_z_rows(j), FL_PANEL * plan->real);
    s.x_ahead = fl_carve(a, widest, plan->kernels->ahead_rows * plan->real);
    s.ahead = fl_carve(a, j->cut.by_units ? j->members : 1, sizeof *s.ahead);
  }
  if (plan->P && !shared) {
    s.m = fl_carve(a, rows, plan->H * plan->real);
    s.p = fl_carve(a, rows * plan->project_panels, FL_PANEL * plan->real);
  }
  return s;
}

void fl_lay_out(fl_job *j, fl_arena *a) {
  const fl_plan *const plan = j->plan;
  j->order = fl_carve(a, j->sequence->B, sizeof *j->order);
  j->zeros = fl_carve(a, plan->H, plan->real);
  size_t row_bytes, step;
  if (!fl_multiply(plan->D * plan->R, plan->real, &row_bytes) || !fl_multiply(j->sequence->T, j->sequence->B, &step)) {
    a->overflow = 1;
    return;
  }
  for (size_t k = 0; k < 2; k++) j->between[k] = k + 1 < plan->L && !j->tape ? fl_carve(a, step, row_bytes) : NULL;
  j->pointers = fl_carve(a, j->members, sizeof *j->pointers);
  j->arrays = fl_carve(a, j->members, sizeof *j->arrays);
  for (size_t k = 0; k < j->members; k++) {
    const int shared = j->cut.by_units && k > 0;
    const fl_pointers p = lay_out_pointers(j, a);
    fl_arrays s = lay_out_arrays(j, a, shared);
    if (!a->at) continue;
    if (shared) {
      char *const own = s.z;
      s = j->arrays[0];
      if (!j->cut.chunk) s.z = own;
    }
    j->pointers[k] = p;
    j->arrays[k] = s;
  }
}

/* ---- rows in order of length ------------------------------------------------------------------------------------ */

/* a before b: longer, or as long and earlier */
static int before(const fl_sequence *s, size_t a, size_t b) {
  const size_t la = fl_length(s, a), lb = fl_length(s, b);
  return la != lb ? la > lb : a < b;
}

static void swap(size_t *a, size_t *b) {
  const size_t t = *a;
  *a = *b;
  *b = t;
}

static void sift(const fl_sequence *s, size_t *order, size_t root, size_t n) {
  for (size_t child; (child = 2 * root + 1) < n; root = child) {
    if (child + 1 < n && before(s, order[child], order[child + 1])) child++;
    if (!before(s, order[root], order[child])) return;
    swap(&order[root], &order[child]);
  }
}

/* heapsort: qsort may allocate */
void fl_sort_rows(const fl_sequence *s, size_t *order) {
  size_t n = s->B;
  for (size_t b = 0; b < n; b++) order[b] = b;
  if (!s->lengths) return;
  for (size_t root = n / 2; root-- > 0;) sift(s, order, root, n);
  while (n > 1) {
    swap(&order[0], &order[--n]);
    sift(s, order, 0, n);
  }
}
