/* Many sequences that advance in any company: a step takes rows by pointer, so a batch of sessions is gathered and
 * scattered without moving a number.
 *
 * SPDX-License-Identifier: BSD-3-Clause */
#include <assert.h>
#include <stdatomic.h>
#include "base/arena.h"
#include "base/fpenv.h"
#include "base/threads.h"
#include "cut.h"
#include "group.h"
#include "inside.h"
#include "layer_step.h"
#include "table.h"

enum {
  ROWS_A_PART = 8, /* two parts of fewer rows read all weights twice for too little work */
  TEAM_ROWS = 64   /* more are divided */
};

static real *h_of(const fl_sessions *sessions, size_t slot, size_t l, int other) {
  assert(slot < sessions->capacity && sessions->turn[slot] < 2);
  const int copy = sessions->turn[slot] ^ other;
  return sessions->slots + slot * sessions->slot + l * sessions->layer + (copy ? sessions->plan->R : 0);
}

static real *c_of(const fl_sessions *sessions, size_t slot, size_t l) {
  return sessions->slots + slot * sessions->slot + l * sessions->layer + 2 * sessions->plan->R;
}

static fl_sessions *carve_sessions(const fl_plan *plan, size_t capacity, fl_arena *arena) {
  fl_sessions made = {.plan = plan, .capacity = capacity, .layer = 2 * plan->R + plan->H};
  size_t bytes;
  if (!fl_multiply(plan->L, made.layer * sizeof(real), &bytes)) {
    arena->overflow = 1;
    return NULL;
  }
  made.slot = fl_align(bytes) / sizeof(real);
  fl_sessions *const there = fl_carve(arena, 1, sizeof made);
  made.turn = fl_carve(arena, capacity, 1);
  made.slots = fl_carve(arena, capacity, made.slot * sizeof(real));
  if (there) *there = made;
  return there;
}

size_t TYPED(measure_sessions)(const fl_plan *plan, size_t capacity) {
  fl_arena arena = {0};
  carve_sessions(plan, capacity, &arena);
  return arena.overflow ? SIZE_MAX : arena.used;
}

fl_sessions *TYPED(make_sessions)(const fl_plan *plan, size_t capacity, void *memory) {
  assert(plan->D == 1 && memory);
  fl_arena arena = {.at = memory};
  fl_sessions *const sessions = carve_sessions(plan, capacity, &arena);
  assert(sessions && !arena.overflow);
  memset(sessions->turn, 0, capacity);
  memset(sessions->slots, 0, capacity * sessions->slot * sizeof(real));
  return sessions;
}

/* ---- what is done before the input is there --------------------------------------------------------------------- */

static fl_advances *carve_advances(const fl_plan *plan, size_t capacity, int shared, fl_arena *arena) {
  fl_advances made = {.layer = plan->panels * FL_PANEL};
  size_t reals;
  if (!fl_multiply(plan->L, made.layer * sizeof(real), &reals)) {
    arena->overflow = 1;
    return NULL;
  }
  reals /= sizeof(real);
  made.slot = shared ? 0 : reals;
  fl_advances *const there = fl_carve(arena, 1, sizeof made);
  made.done = fl_carve(arena, capacity, 1);
  made.z = fl_carve(arena, shared ? 1 : capacity, reals * sizeof(real));
  if (there) *there = made;
  return there;
}

size_t TYPED(measure_advances)(const fl_plan *plan, size_t capacity, int shared) {
  fl_arena arena = {0};
  carve_advances(plan, capacity, shared, &arena);
  return arena.overflow ? SIZE_MAX : arena.used;
}

fl_advances *TYPED(make_advances)(fl_sessions *sessions, int shared, void *memory) {
  fl_arena arena = {.at = memory};
  fl_advances *const made = carve_advances(sessions->plan, sessions->capacity, shared, &arena);
  assert(memory && made && !arena.overflow);
  memset(made->done, 0, sessions->capacity);
  atomic_store_explicit(&sessions->advances, made, memory_order_release);
  return made;
}

static fl_advances *advances_of(const fl_sessions *sessions) {
  return atomic_load_explicit(&sessions->advances, memory_order_acquire);
}

static void *advance_of(const fl_advances *advances, size_t slot, size_t l) {
  return advances->z + slot * advances->slot + l * advances->layer;
}

/* whether what was done for n slots is there from now on */
static void mark_advances(const fl_advances *advances, const size_t *slots, size_t n, int done) {
  for (size_t k = 0; k < n; k++) advances->done[slots[k]] = (uint8_t)done;
}

/* ---- a step ----------------------------------------------------------------------------------------------------- */

/* of one part of the rows, m of them; or of all rows as one member of a team sees them */
typedef struct {
  const void **x, **h_prev, **c_prev;  /* [m] */
  void **c_next, **h, **z, **advanced; /* [m] */
  void **outputs;                      /* [m], with a projection */
  real *scratch, *hidden, *projected;
  real *before;      /* [m][L][H]: c before the step, where the call can be given up */
  size_t kept, done; /* rows whose c is there; rows that have taken the step */
} session_rows;

typedef struct {
  fl_sessions *sessions;
  const fl_table *table; /* of the tokens that batch->x are; NULL: they are numbers */
  const fl_advances *advances;
  const fl_batch *batch; /* x = NULL: there is no input yet */
  size_t n;
  fl_step_cut cut;
  int cancellable;
  session_rows *each; /* [hands_of] */
} sessions_call;

/* at most; what a step takes grows with it, and with n */
static fl_step_cut most_of(const fl_plan *plan, size_t n, size_t threads) {
  const size_t parts = n / ROWS_A_PART < threads ? n / ROWS_A_PART : threads;
  const size_t team = n > TEAM_ROWS || plan->P ? 1 : plan->panels < threads ? plan->panels : threads;
  return (fl_step_cut){parts ? parts : 1, team};
}

/* who needs scratch */
static size_t hands_of(const sessions_call *call) {
  return call->cut.parts * call->cut.team;
}

static size_t first_of(const sessions_call *call, size_t part) {
  return call->n * part / call->cut.parts;
}

static void *carve_if(int wanted, fl_arena *arena, size_t count, size_t size) {
  return wanted ? fl_carve(arena, count, size) : NULL;
}

/* Each array once for all rows, a piece of it to a part, or once for each member of a team: so that no fewer rows ever
 * take more than n do. */
static void carve_step(const fl_plan *plan, sessions_call *call, fl_arena *arena) {
  const size_t n = call->n * call->cut.team, hands = hands_of(call), P = plan->P;
  const size_t line = FL_PANEL * sizeof(real), cells = plan->L * plan->H;
  call->each = fl_carve(arena, hands, sizeof *call->each);
  const session_rows all = {.x = fl_carve(arena, n, sizeof(void *)),
                            .h_prev = fl_carve(arena, n, sizeof(void *)),
                            .c_prev = fl_carve(arena, n, sizeof(void *)),
                            .c_next = fl_carve(arena, n, sizeof(void *)),
                            .h = fl_carve(arena, n, sizeof(void *)),
                            .z = fl_carve(arena, n, sizeof(void *)),
                            .advanced = fl_carve(arena, n, sizeof(void *)),
                            .outputs = carve_if(P > 0, arena, n, sizeof(void *)),
                            .scratch = fl_carve(arena, n + hands * FL_GROUP_ROWS, line),
                            .hidden = carve_if(P > 0, arena, n, plan->H * sizeof(real)),
                            .projected = carve_if(P > 0, arena, n * plan->project_panels, line),
                            .before = carve_if(call->cancellable, arena, call->n, cells * sizeof(real))};
  for (size_t hand = 0; arena->at && hand < hands; hand++) {
    const int team = call->cut.team > 1;
    const size_t first = team ? hand * call->n : first_of(call, hand), panels = plan->project_panels;
    call->each[hand] =
        (session_rows){.x = all.x + first,
                       .h_prev = all.h_prev + first,
                       .c_prev = all.c_prev + first,
                       .c_next = all.c_next + first,
                       .h = all.h + first,
                       .z = all.z + first,
                       .advanced = all.advanced + first,
                       .outputs = P ? all.outputs + first : NULL,
                       .scratch = all.scratch + (first + hand * FL_GROUP_ROWS) * FL_PANEL,
                       .hidden = P ? all.hidden + first * plan->H : NULL,
                       .projected = P ? all.projected + first * panels * FL_PANEL : NULL,
                       .before = call->cancellable && !(team && hand) ? all.before + first * cells : NULL};
  }
}

static size_t measure_cut(const fl_plan *plan, size_t n, fl_step_cut cut, int cancellable) {
  sessions_call call = {.n = n, .cut = cut, .cancellable = cancellable};
  fl_arena arena = {0};
  carve_step(plan, &call, &arena);
  return arena.overflow ? SIZE_MAX : arena.used;
}

size_t TYPED(measure_sessions_step)(const fl_plan *plan, size_t n, size_t threads, int cancellable) {
  if (n > (size_t)PTRDIFF_MAX / (8 * (plan->H + plan->P + FL_PANEL))) return SIZE_MAX;
  const size_t together = n < TEAM_ROWS ? n : TEAM_ROWS;
  const fl_step_cut in_parts = {most_of(plan, n, threads).parts, 1}, team = {1, most_of(plan, together, threads).team};
  const size_t one = measure_cut(plan, n, in_parts, cancellable),
               other = measure_cut(plan, together, team, cancellable);
  return one > other ? one : other;
}

static fl_step_cut cut_of(const fl_plan *plan, size_t n, size_t threads) {
  const fl_extent extent = {.real = sizeof(real), .weight = sizeof(weight), .T = 1, .B = n};
  return fl_decide_step(plan, &extent, most_of(plan, n, threads));
}

size_t TYPED(count_sessions)(const fl_plan *plan, size_t n, size_t threads) {
  const fl_step_cut cut = cut_of(plan, n, threads);
  return cut.parts * cut.team;
}

/* U h of layer l, of those of m rows that are without; none: m = 0 */
static fl_product advance_of_layer(const sessions_call *call, const session_rows *at, const size_t *slots, size_t m,
                                   size_t l) {
  size_t n = 0;
  for (size_t r = 0; r < m; r++) {
    if (call->advances->done[slots[r]]) continue;
    at->h_prev[n] = h_of(call->sessions, slots[r], l, 0);
    at->z[n++] = advance_of(call->advances, slots[r], l);
  }
  return fl_layer_advance(call->sessions->plan, l, n, l & 1, at->h_prev, at->z);
}

/* the same in every layer */
static void advance_rows(const sessions_call *call, const session_rows *at, const size_t *slots, size_t m,
                         fl_member *member) {
  const fl_plan *const plan = call->sessions->plan;
  for (size_t l = 0; l < plan->L && !fl_halted(member, 0); l++) {
    const fl_product product = advance_of_layer(call, at, slots, m, l);
    if (!product.m) return;
    fl_run_product(plan, &product, member);
  }
}

/* May m rows take a step from what is done, after doing the same for those without? Yes, if those are fewer. */
static int are_advanced(const sessions_call *call, const size_t *slots, size_t m) {
  size_t n = 0;
  for (size_t r = 0; call->advances && r < m; r++) n += call->advances->done[slots[r]];
  return 2 * n > m;
}

/* a step of layer l of m rows, whose slots are given */
static fl_step step_of_layer(const sessions_call *call, const session_rows *at, const size_t *slots, size_t m, size_t l,
                             int advanced) {
  const fl_sessions *const sessions = call->sessions;
  const fl_plan *const plan = sessions->plan;
  for (size_t r = 0; r < m; r++) {
    at->h_prev[r] = h_of(sessions, slots[r], l, 0);
    if (advanced) at->advanced[r] = advance_of(call->advances, slots[r], l);
    at->c_prev[r] = at->c_next[r] = c_of(sessions, slots[r], l);
    at->h[r] = plan->P ? at->hidden + r * plan->H : h_of(sessions, slots[r], l, 1);
  }
  const fl_layer_rows layer = {at->x, at->h_prev, at->c_prev, at->c_next, at->h, at->z, advanced ? at->advanced : NULL};
  const fl_step step = fl_layer_step(plan, l, m, l & 1, layer);
  return call->table && l == 0 ? fl_given_step(step, at->x) : step;
}

/* one layer of m rows; then x are its outputs */
static void run_session_layer(const sessions_call *call, const session_rows *at, const size_t *slots, size_t m,
                              size_t l, int advanced, fl_member *member) {
  const fl_plan *const plan = call->sessions->plan;
  const fl_step step = step_of_layer(call, at, slots, m, l, advanced);
  fl_run_step(plan, &step, member);
  if (plan->P) {
    const fl_product project = fl_layer_project(plan, &plan->layers[l], m, at->h, at->outputs);
    fl_run_product(plan, &project, member);
    for (size_t r = 0; r < m; r++) fl_unpack_projected(plan, &project, r, h_of(call->sessions, slots[r], l, 1));
  }
  for (size_t r = 0; r < m; r++) at->x[r] = h_of(call->sessions, slots[r], l, 1);
}

/* the inputs of m rows of the batch from `first` on, and their scratch */
static void point_at_rows(const sessions_call *call, const session_rows *at, size_t first, size_t m) {
  const fl_plan *const plan = call->sessions->plan;
  for (size_t r = 0; r < m; r++) {
    at->x[r] = (const char *)call->batch->x + (ptrdiff_t)(first + r) * call->batch->x_row;
    if (call->table) at->x[r] = fl_table_row(plan, call->table->rows, *(const int64_t *)at->x[r]);
    at->z[r] = at->scratch + r * FL_PANEL;
    if (plan->P) at->outputs[r] = at->projected + r * FL_PANEL;
  }
}

static void keep_cells(const fl_sessions *sessions, session_rows *at, size_t slot) {
  const size_t L = sessions->plan->L, H = sessions->plan->H;
  for (size_t l = 0; l < L; l++) memcpy(at->before + (at->kept * L + l) * H, c_of(sessions, slot, l), H * sizeof(real));
  at->kept++;
}

/* rows first..first + m of the batch, all in one part, through all layers; if the call is given up they stay behind */
static void run_session_rows(const sessions_call *call, session_rows *at, size_t first, size_t m, fl_member *member) {
  const fl_sessions *const sessions = call->sessions;
  const fl_plan *const plan = sessions->plan;
  const size_t *const slots = call->batch->slots + first;
  real *const y = call->batch->y;
  const int advanced = are_advanced(call, slots, m);
  if (advanced) advance_rows(call, at, slots, m, member);
  if (fl_halted(member, 0)) return;
  point_at_rows(call, at, first, m);
  for (size_t r = 0; call->cancellable && r < m; r++) keep_cells(sessions, at, slots[r]);
  for (size_t l = 0; l < plan->L; l++) {
    run_session_layer(call, at, slots, m, l, advanced, member);
    if (fl_halted(member, 0)) return;
  }
  for (size_t r = 0; r < m; r++) {
    if (y) memcpy(y + (first + r) * plan->R, at->x[r], plan->R * sizeof(real));
    sessions->turn[slots[r]] ^= 1;
  }
  at->done += m;
}

static void run_parts(const sessions_call *call, fl_member *member) {
  for (size_t part; fl_next(member, call->cut.parts, &part);) {
    const size_t end = first_of(call, part + 1);
    size_t first = first_of(call, part);
    const size_t most = member->halt ? fl_rows_at_once(call->sessions->plan, end - first, member) : end - first;
    for (size_t m; first < end && !fl_halted(member, 0); first += m) {
      m = end - first < most ? end - first : most;
      if (call->batch->x)
        run_session_rows(call, &call->each[part], first, m, member);
      else
        advance_rows(call, &call->each[part], call->batch->slots + first, m, member);
    }
  }
}

/* ---- all rows by a team ----------------------------------------------------------------------------------------- */

/* Few rows of large layers: every member has all rows, and some panels of each layer, the same at every step. */

static void advance_together(const sessions_call *call, const session_rows *at, const fl_group *group) {
  const fl_plan *const plan = call->sessions->plan;
  for (size_t l = 0; l < plan->L && !fl_halted(group->member, 0); l++) {
    fl_product product = advance_of_layer(call, at, call->batch->slots, call->n, l);
    if (!product.m) return;
    fl_share_product(plan, group, product.m * plan->R * FL_PANEL, &product);
  }
}

static void run_layer_together(const sessions_call *call, const session_rows *at, size_t l, int advanced,
                               const fl_group *group) {
  const fl_plan *const plan = call->sessions->plan;
  const size_t *const slots = call->batch->slots, k = plan->layers[l].input_size + plan->R;
  fl_step step = step_of_layer(call, at, slots, call->n, l, advanced);
  fl_share_step(plan, group, call->n * k * FL_PANEL, &step);
  for (size_t r = 0; r < call->n; r++) at->x[r] = h_of(call->sessions, slots[r], l, 1);
}

static void run_team(const sessions_call *call, fl_member *member) {
  const session_rows *const at = &call->each[member->slot];
  const fl_group group = {.n = call->n, .members = call->cut.team, .member = member};
  const size_t *const slots = call->batch->slots, R = call->sessions->plan->R;
  const int advanced = are_advanced(call, slots, call->n);
  if (advanced || !call->batch->x) advance_together(call, at, &group);
  if (!call->batch->x || fl_halted(member, 0)) return; /* others may be in another layer's phase */
  for (size_t one; call->cancellable && fl_next(member, 1, &one);)
    for (size_t r = 0; r < call->n; r++) keep_cells(call->sessions, &call->each[0], slots[r]);
  point_at_rows(call, at, 0, call->n);
  for (size_t l = 0; l < call->sessions->plan->L; l++) {
    if (fl_halted(member, 0)) return;
    run_layer_together(call, at, l, advanced, &group);
  }
  real *const y = call->batch->y;
  for (size_t r; y && fl_next(member, call->n, &r);)
    if (!fl_halted(member, 0)) memcpy(y + r * R, at->x[r], R * sizeof(real));
}

/* ---- a call ----------------------------------------------------------------------------------------------------- */

static void run_member(void *argument, fl_member *member) {
  const sessions_call *const call = argument;
  const fl_fpenv caller = fl_fpenv_enter();
  if (call->cut.team > 1)
    run_team(call, member);
  else
    run_parts(call, member);
  fl_fpenv_leave(caller);
}

/* after a step by a team, when nobody reads them any more */
static void turn_rows(const sessions_call *call) {
  for (size_t r = 0; r < call->n; r++) call->sessions->turn[call->batch->slots[r]] ^= 1;
}

/* All states as they were: the old h is still in the copy that was read. */
static void take_back(const sessions_call *call) {
  const fl_sessions *const sessions = call->sessions;
  const size_t L = sessions->plan->L, H = sessions->plan->H;
  for (size_t part = 0; part < call->cut.parts; part++) {
    const session_rows *const at = &call->each[part];
    const size_t *const slots = call->batch->slots + first_of(call, part);
    for (size_t r = 0; r < at->done; r++) sessions->turn[slots[r]] ^= 1;
    for (size_t k = 0; k < at->kept * L; k++)
      memcpy(c_of(sessions, slots[k / L], k % L), at->before + k * H, H * sizeof(real));
  }
}

/* a step, or without an input what can be done before it */
static fl_status run_call(fl_sessions *sessions, const fl_table *table, const fl_batch *batch, fl_pool *pool,
                          void *workspace, const fl_cancel *cancel) {
  const size_t threads = fl_pool_threads(pool);
  assert(batch->n && batch->slots && workspace);
  assert(!table || (table->plan == sessions->plan && table->filled));
  sessions_call call = {.sessions = sessions, .table = table, .advances = advances_of(sessions), .batch = batch};
  call.n = batch->n;
  call.cancellable = cancel && batch->x;
  call.cut = cut_of(sessions->plan, call.n, threads);
  fl_arena arena = {.at = workspace};
  carve_step(sessions->plan, &call, &arena);
  assert(arena.used <= TYPED(measure_sessions_step)(sessions->plan, call.n, threads, call.cancellable));
  const fl_status status = fl_pool_run(pool, call.cut.parts * call.cut.team, run_member, &call, cancel);
  if (status != FL_OK)
    take_back(&call);
  else if (batch->x && call.cut.team > 1)
    turn_rows(&call);
  if (call.advances && (batch->x || status == FL_OK)) mark_advances(call.advances, batch->slots, batch->n, !batch->x);
  return status;
}

/* batch->y may be NULL: nobody wants the outputs. A step uses up what was done before it, given up or not. */
fl_status TYPED(run_sessions)(fl_sessions *sessions, const fl_table *table, const fl_batch *batch, fl_pool *pool,
                              void *workspace, const fl_cancel *cancel) {
  assert(batch->x);
  return run_call(sessions, table, batch, pool, workspace, cancel);
}

fl_status TYPED(advance_sessions)(fl_sessions *sessions, const fl_batch *batch, fl_pool *pool, void *workspace,
                                  const fl_cancel *cancel) {
  assert(!batch->x && advances_of(sessions));
  return run_call(sessions, NULL, batch, pool, workspace, cancel);
}

/* ---- state ------------------------------------------------------------------------------------------------------ */

void TYPED(read_session)(const fl_sessions *sessions, size_t slot, void *h_out, void *c_out) {
  const size_t H = sessions->plan->H, R = sessions->plan->R;
  real *const h = h_out, *const c = c_out;
  for (size_t l = 0; l < sessions->plan->L; l++) {
    memcpy(h + l * R, h_of(sessions, slot, l, 0), R * sizeof(real));
    memcpy(c + l * H, c_of(sessions, slot, l), H * sizeof(real));
  }
}

void TYPED(write_session)(fl_sessions *sessions, size_t slot, const void *h_in, const void *c_in) {
  const size_t H = sessions->plan->H, R = sessions->plan->R;
  const real *const h = h_in, *const c = c_in;
  for (size_t l = 0; l < sessions->plan->L; l++) {
    fl_copy_or_zero(h_of(sessions, slot, l, 0), h ? h + l * R : NULL, R);
    fl_copy_or_zero(c_of(sessions, slot, l), c ? c + l * H : NULL, H);
  }
  fl_advances *const advances = advances_of(sessions);
  if (advances) mark_advances(advances, &slot, 1, 0);
}

void TYPED(move_sessions)(fl_sessions *to, const fl_sessions *from) {
  const size_t n = to->capacity < from->capacity ? to->capacity : from->capacity;
  if (to == from) return; /* memcpy's arrays may not be the same */
  memcpy(to->turn, from->turn, n);
  memcpy(to->slots, from->slots, n * from->slot * sizeof(real));
  const fl_advances *const there = advances_of(to), *const here = advances_of(from);
  if (there) memset(there->done, 0, n);
  if (!there || !here) return;
  assert(there->slot == here->slot && here->slot);
  memcpy(there->done, here->done, n);
  for (size_t slot = 0; slot < n; slot++)
    if (here->done[slot]) memcpy(advance_of(there, slot, 0), advance_of(here, slot, 0), here->slot * sizeof(real));
}
