/* Many sequences that advance in any company: a step takes rows by pointer, so a batch of sessions is gathered and scattered
 * without moving a number.
 *
 * SPDX-License-Identifier: BSD-3-Clause */
#include <assert.h>
#include <string.h>
#include "base/arena.h"
#include "base/fpenv.h"
#include "inside.h"
#include "base/threads.h"

enum { ROWS_A_THREAD = 8 }; /* two groups of fewer rows read all weights twice for too little work */

static size_t copy_bytes(const fl_plan *plan) {
  return plan->R * plan->real;
}

static char *h_of(const fl_sessions *s, size_t slot, size_t l, int other) {
  assert(slot < s->capacity && s->turn[slot] < 2);
  const int copy = s->turn[slot] ^ other;
  return s->slots + slot * s->slot + l * s->layer + (copy ? copy_bytes(s->plan) : 0);
}

static char *c_of(const fl_sessions *s, size_t slot, size_t l) {
  return s->slots + slot * s->slot + l * s->layer + 2 * copy_bytes(s->plan);
}

static fl_sessions *lay_out(const fl_plan *plan, size_t capacity, fl_arena *a) {
  fl_sessions s = {.plan = plan, .capacity = capacity};
  s.layer = (2 * plan->R + plan->H) * plan->real;
  if (!fl_multiply(plan->L, s.layer, &s.slot)) {
    a->overflow = 1;
    return NULL;
  }
  s.slot = fl_align(s.slot);
  fl_sessions *const made = fl_carve(a, 1, sizeof s);
  s.turn = fl_carve(a, capacity, 1);
  s.slots = fl_carve(a, capacity, s.slot);
  if (made) *made = s;
  return made;
}

size_t fl_measure_sessions(const fl_plan *plan, size_t capacity) {
  fl_arena a = {0};
  lay_out(plan, capacity, &a);
  return a.overflow ? SIZE_MAX : a.used;
}

fl_sessions *fl_make_sessions(const fl_plan *plan, size_t capacity, void *memory) {
  assert(plan->D == 1 && memory);
  fl_arena a = {.at = memory};
  fl_sessions *const s = lay_out(plan, capacity, &a);
  assert(s && !a.overflow);
  memset(s->turn, 0, capacity);
  memset(s->slots, 0, capacity * s->slot);
  return s;
}

/* ---- a step ----------------------------------------------------------------------------------------------------- */

/* of one group of rows */
typedef struct {
  const void **x, **r, **c; /* [m] */
  void **c_next, **h, **z;  /* [m] */
  void **p;                 /* [m], with a projection */
  char *scratch, *hidden, *projected;
} rows;

typedef struct {
  const fl_sessions *s;
  const size_t *slots;
  size_t n, groups;
  const char *x;
  ptrdiff_t x_row;
  char *y;
  rows *each; /* [groups] */
} job;

static size_t groups_of(size_t n, size_t threads) {
  const size_t most = n / ROWS_A_THREAD;
  return most < 2 || threads < 2 ? 1 : most < threads ? most : threads;
}

static size_t first_of(const job *j, size_t g) {
  return j->n * g / j->groups;
}

/* Each array once for all rows, a part of it to a group: so that no fewer rows ever take more than n do. */
static void lay_out_step(const fl_plan *plan, job *j, fl_arena *a) {
  const size_t n = j->n, projected = plan->P ? n : 0, line = FL_PANEL * plan->real;
  j->each = fl_carve(a, j->groups, sizeof *j->each);
  const rows all = {.x = fl_carve(a, n, sizeof(void *)),
                    .r = fl_carve(a, n, sizeof(void *)),
                    .c = fl_carve(a, n, sizeof(void *)),
                    .c_next = fl_carve(a, n, sizeof(void *)),
                    .h = fl_carve(a, n, sizeof(void *)),
                    .z = fl_carve(a, n, sizeof(void *)),
                    .p = fl_carve(a, projected, sizeof(void *)),
                    .scratch = fl_carve(a, n + j->groups * FL_GROUP_ROWS, line),
                    .hidden = fl_carve(a, projected, plan->H * plan->real),
                    .projected = fl_carve(a, projected * plan->project_panels, line)};
  for (size_t g = 0; a->at && g < j->groups; g++) {
    const size_t first = first_of(j, g);
    j->each[g] = (rows){.x = all.x + first,
                        .r = all.r + first,
                        .c = all.c + first,
                        .c_next = all.c_next + first,
                        .h = all.h + first,
                        .z = all.z + first,
                        .p = all.p + (plan->P ? first : 0),
                        .scratch = all.scratch + (first + g * FL_GROUP_ROWS) * line,
                        .hidden = all.hidden + (plan->P ? first * plan->H * plan->real : 0),
                        .projected = all.projected + (plan->P ? first * plan->project_panels * line : 0)};
  }
}

size_t fl_measure_step(const fl_plan *plan, size_t n, size_t threads) {
  job j = {.n = n, .groups = groups_of(n, threads)};
  fl_arena a = {0};
  if (n > (size_t)PTRDIFF_MAX / (8 * (plan->H + plan->P + FL_PANEL))) return SIZE_MAX;
  lay_out_step(plan, &j, &a);
  return a.overflow ? SIZE_MAX : a.used;
}

static void run_group(const job *j, size_t g) {
  const fl_sessions *const s = j->s;
  const fl_plan *const plan = s->plan;
  const size_t first = first_of(j, g), m = first_of(j, g + 1) - first, line = FL_PANEL * plan->real;
  const size_t *const slots = j->slots + first;
  const rows *const at = &j->each[g];
  for (size_t r = 0; r < m; r++) {
    at->x[r] = j->x + (ptrdiff_t)(first + r) * j->x_row;
    at->z[r] = at->scratch + r * line;
    if (plan->P) at->p[r] = at->projected + r * line;
  }
  for (size_t l = 0; l < plan->L; l++) {
    for (size_t r = 0; r < m; r++) {
      at->r[r] = h_of(s, slots[r], l, 0);
      at->c[r] = at->c_next[r] = c_of(s, slots[r], l);
      at->h[r] = plan->P ? at->hidden + r * plan->H * plan->real : h_of(s, slots[r], l, 1);
    }
    const fl_layer_rows layer = {at->x, at->r, at->c, at->c_next, at->h, (void *const *)at->z};
    const fl_step step = fl_layer_step(plan, l, m, l & 1, layer);
    plan->kernels->step(&step);
    if (plan->P) {
      const fl_product project = fl_layer_project(plan, l, m, at->h, at->p);
      plan->kernels->product(&project);
      for (size_t r = 0; r < m; r++) fl_unpack_projected(plan, at->projected, m, r, h_of(s, slots[r], l, 1));
    }
    for (size_t r = 0; r < m; r++) at->x[r] = h_of(s, slots[r], l, 1);
  }
  for (size_t r = 0; r < m; r++) {
    memcpy(j->y + (first + r) * copy_bytes(plan), at->x[r], copy_bytes(plan));
    s->turn[slots[r]] ^= 1;
  }
}

static void run_member(void *argument, fl_member *member) {
  const job *const j = argument;
  const fl_fpenv caller = fl_fpenv_enter();
  for (size_t g; fl_next(member, j->groups, &g);) run_group(j, g);
  fl_fpenv_leave(caller);
}

void fl_run_sessions(fl_sessions *s, size_t n, const size_t *slots, const void *x, ptrdiff_t x_row, void *y,
                     fl_pool *pool, void *workspace) {
  assert(n && slots && x && y && workspace);
  job j = {.s = s, .slots = slots, .n = n, .x = x, .x_row = x_row, .y = y};
  j.groups = groups_of(n, fl_pool_threads(pool));
  fl_arena a = {.at = workspace};
  lay_out_step(s->plan, &j, &a);
  assert(a.used <= fl_measure_step(s->plan, n, fl_pool_threads(pool)));
  fl_pool_run(j.groups > 1 ? pool : NULL, run_member, &j, NULL);
}

/* ---- state ------------------------------------------------------------------------------------------------------ */

static void copy_or_zero(void *to, const void *from, size_t bytes) {
  if (from)
    memcpy(to, from, bytes);
  else
    memset(to, 0, bytes);
}

void fl_read_session(const fl_sessions *s, size_t slot, void *h, void *c) {
  const size_t h_row = copy_bytes(s->plan), c_row = s->plan->H * s->plan->real;
  for (size_t l = 0; l < s->plan->L; l++) {
    memcpy((char *)h + l * h_row, h_of(s, slot, l, 0), h_row);
    memcpy((char *)c + l * c_row, c_of(s, slot, l), c_row);
  }
}

void fl_write_session(fl_sessions *s, size_t slot, const void *h, const void *c) {
  const size_t h_row = copy_bytes(s->plan), c_row = s->plan->H * s->plan->real;
  for (size_t l = 0; l < s->plan->L; l++) {
    copy_or_zero(h_of(s, slot, l, 0), h ? (const char *)h + l * h_row : NULL, h_row);
    copy_or_zero(c_of(s, slot, l), c ? (const char *)c + l * c_row : NULL, c_row);
  }
}

void fl_move_sessions(fl_sessions *to, const fl_sessions *from) {
  const size_t n = to->capacity < from->capacity ? to->capacity : from->capacity;
  memcpy(to->turn, from->turn, n);
  memcpy(to->slots, from->slots, n * from->slot);
}
