/* The backward pass: layer by layer from the last to the first, step by step from the last to the first.
 *
 * Inside the time loop there is only what must be: the gradient of h that a step hands to the one before it, dz U, and
 * the gates. The gates' activations are overwritten by their gradients dz. After the loop come dx = dz W, and dW, dU,
 * db: sums over all rows of all steps, in blocks of fixed size and order, each element by one thread.
 *
 * Threads share the time loop by rows or by panels, as forward does, and the rest by tiles.
 *
 * SPDX-License-Identifier: BSD-3-Clause */
#include <assert.h>
#include <string.h>
#include "base/compiler.h"
#include "dropout.h"
#include "base/fpenv.h"
#include "inside.h"
#include "job.h"

enum {
  DX_ROWS = 96,       /* rows of dx that a thread does at a time */
  OUTER_COLUMNS = 192 /* columns of dz, rows of dW, that a thread does at a time */
};

static size_t panels_of(size_t n) {
  return (n + FL_PANEL - 1) / FL_PANEL;
}

static int peepholes(const fl_plan *plan) {
  return plan->form && plan->form->peepholes;
}

/* ---- scratch ---------------------------------------------------------------------------------------------------- */

/* of one direction */
typedef struct {
  char *u, *w, *hr;         /* transposed weights: [R panels][4Hp][32], [I panels][4Hp][32], [H panels][P][32] */
  char *dh, *dc, *dm;       /* [B][rounded R], [B][cell_row], with a projection [B][rounded H] */
  char *dh_all, *hidden;    /* with a projection: [N][rounded R], [N][cell_row] */
  char *dw, *du, *db, *dhr; /* packed gradients: [4Hp][rounded I], [4Hp][rounded R], [4Hp], [rounded P][rounded H] */
  const void **x, **h;      /* [N] what each row read: rows of the outer products */
  const void **c;           /* [N] with peepholes: the cell that each row started from */
} direction;

/* of one member */
typedef struct {
  const void **dz, **c_prev, **c, **dh_read; /* [B] */
  void **dh, **dc, **z, **hidden, **dm;      /* [B] */
  const void **rows;                         /* [DX_ROWS] */
  void **dx;                                 /* [DX_ROWS] */
  char *dx_block;                            /* [DX_ROWS][rounded I] */
  char *packed;                              /* [FL_SUM_BLOCK][FL_PANEL + OUTER_COLUMNS] */
} member_scratch;

typedef struct {
  fl_tape *tape;
  const fl_gradients *g;
  fl_cut cut;
  size_t members, widest; /* inputs of the widest layer */
  char *between[2];       /* [T, B, D*R] gradients of inner layers' outputs, in turn */
  char *zeros;            /* [max(4Hp, rounded widths)] */
  direction directions[2];
  member_scratch *scratch; /* [members] */
  size_t lowest;           /* the first layer of which, or below which, a gradient is wanted */
} job;

static void lay_out(job *j, fl_arena *a) {
  const fl_tape *const t = j->tape;
  const fl_plan *const plan = t->plan;
  const size_t real = plan->real, D = plan->D, B = t->B, N = t->N, gates = plan->panels * FL_PANEL;
  const size_t R = panels_of(plan->R) * FL_PANEL, H = panels_of(plan->H) * FL_PANEL,
               P = plan->project_panels * FL_PANEL;
  j->widest = plan->L > 1 && D * plan->R > plan->I ? D * plan->R : plan->I;
  const size_t I = panels_of(j->widest) * FL_PANEL, projected = plan->P ? 1 : 0;
  size_t TB, gates_I, gates_R;
  if (!fl_multiply(t->T, B, &TB) || !fl_multiply(gates, I * real, &gates_I) ||
      !fl_multiply(gates, R * real, &gates_R)) {
    a->overflow = 1;
    return;
  }
  for (size_t k = 0; k < 2; k++) j->between[k] = k + 1 < plan->L ? fl_carve(a, TB, D * plan->R * real) : NULL;
  j->zeros = fl_carve(a, gates > I ? gates : I, real);
  for (size_t d = 0; d < D; d++) {
    j->directions[d] = (direction){.u = fl_carve(a, 1, gates_R),
                                   .w = fl_carve(a, 1, gates_I),
                                   .hr = fl_carve(a, projected, H * plan->P * real),
                                   .dh = fl_carve(a, B, R * real),
                                   .dc = fl_carve(a, B, t->cell_row * real),
                                   .dm = fl_carve(a, projected * B, H * real),
                                   .dh_all = fl_carve(a, projected * N, R * real),
                                   .hidden = fl_carve(a, projected * N, t->cell_row * real),
                                   .dw = fl_carve(a, 1, gates_I),
                                   .du = fl_carve(a, 1, gates_R),
                                   .db = fl_carve(a, gates, real),
                                   .dhr = fl_carve(a, projected, P * H * real),
                                   .x = fl_carve(a, N, sizeof(void *)),
                                   .h = fl_carve(a, N, sizeof(void *)),
                                   .c = fl_carve(a, peepholes(plan) ? N : 0, sizeof(void *))};
  }
  j->scratch = fl_carve(a, j->members, sizeof *j->scratch);
  for (size_t k = 0; k < j->members; k++) {
    const member_scratch m = {.dz = fl_carve(a, B, sizeof(void *)),
                              .c_prev = fl_carve(a, B, sizeof(void *)),
                              .c = fl_carve(a, B, sizeof(void *)),
                              .dh_read = fl_carve(a, B, sizeof(void *)),
                              .dh = fl_carve(a, B, sizeof(void *)),
                              .dc = fl_carve(a, B, sizeof(void *)),
                              .z = fl_carve(a, B, sizeof(void *)),
                              .hidden = fl_carve(a, B, sizeof(void *)),
                              .dm = fl_carve(a, B, sizeof(void *)),
                              .rows = fl_carve(a, DX_ROWS, sizeof(void *)),
                              .dx = fl_carve(a, DX_ROWS, sizeof(void *)),
                              .dx_block = fl_carve(a, DX_ROWS, I * real),
                              .packed = fl_carve(a, FL_SUM_BLOCK, (FL_PANEL + OUTER_COLUMNS) * real)};
    if (a->at) j->scratch[k] = m;
  }
}

static job make_job(fl_tape *tape, const fl_gradients *g, size_t threads) {
  job j = {.tape = tape, .g = g, .members = threads};
  j.cut = fl_decide(tape->plan, tape->T, tape->B, threads);
  return j;
}

size_t fl_measure_backward(const fl_tape *tape, size_t threads) {
  job j = make_job((fl_tape *)tape, NULL, threads);
  fl_arena a = {0};
  lay_out(&j, &a);
  return a.overflow ? SIZE_MAX : a.used;
}

/* ---- transposed weights ----------------------------------------------------------------------------------------- */

/* From [panel][k][32], `k0` on, to [k / 32][panel * 32 + lane][32]: columns become rows, one panel of the old. */
#define TRANSPOSE(type)                                                                               \
  for (size_t lane = 0; lane < FL_PANEL; lane++)                                                      \
    for (size_t c = 0; c < FL_PANEL; c++)                                                             \
      ((type *)to)[lane * FL_PANEL + c] = c < width ? ((const type *)from)[c * FL_PANEL + lane] : 0;

static void transpose(const char *packed, size_t panel, size_t panel_k, size_t k0, size_t k, char *out, size_t out_k,
                      size_t real) {
  for (size_t q = 0; q < panels_of(k); q++) {
    const size_t width = k - q * FL_PANEL < FL_PANEL ? k - q * FL_PANEL : FL_PANEL;
    const char *const from = packed + (panel * panel_k + k0 + q * FL_PANEL) * FL_PANEL * real;
    char *const to = out + (q * out_k + panel * FL_PANEL) * FL_PANEL * real;
    if (real == sizeof(float)) {
      TRANSPOSE(float)
    } else {
      TRANSPOSE(double)
    }
  }
}

/* weight_hr, packed [p / 32][H][32], to [u / 32][P][32] */
static void transpose_projection(const fl_plan *plan, const char *packed, char *out) {
  const size_t real = plan->real;
  for (size_t u = 0; u < panels_of(plan->H) * FL_PANEL; u++)
    for (size_t p = 0; p < plan->P; p++) {
      char *const to = out + ((u / FL_PANEL * plan->P + p) * FL_PANEL + u % FL_PANEL) * real;
      if (u < plan->H)
        memcpy(to, packed + ((p / FL_PANEL * plan->H + u) * FL_PANEL + p % FL_PANEL) * real, real);
      else
        memset(to, 0, real);
    }
}

/* ---- one layer, one direction ----------------------------------------------------------------------------------- */

typedef struct {
  const job *job;
  const fl_layer *layer;
  const direction *own;
  size_t l, d, index;
  const char *x;  /* [T, B, input_size]: what the layer read */
  const char *y;  /* [T, B, D*R], this direction's half: what it made */
  const char *dy; /* the gradient of y, or NULL */
  char *gates, *c;
} pass;

/* Is the gradient of what layer l read wanted: by the caller, or by a layer below? */
static int wants_input(const job *j, size_t l) {
  return l ? l > j->lowest : j->g->input != NULL;
}

/* the gradients of the parameters of one layer and direction that are wanted */
static fl_weight_gradients wanted_of(const job *j, size_t index) {
  return j->g->weights ? j->g->weights[index] : (fl_weight_gradients){0};
}

static const char *layer_input(const fl_tape *t, size_t l) {
  const size_t outputs = fl_tape_outputs(t) * t->plan->real;
  return l == 0 ? t->x : (t->dropped ? t->dropped : t->y) + (l - 1) * outputs;
}

static pass make_pass(const job *j, size_t l, size_t d) {
  const fl_tape *const t = j->tape;
  const fl_plan *const plan = t->plan;
  const size_t index = l * plan->D + d, half = d * plan->R * plan->real, outputs = fl_tape_outputs(t) * plan->real;
  const char *const dy = l + 1 == plan->L ? j->g->output : j->between[l % 2];
  return (pass){.job = j,
                .layer = &plan->layers[index],
                .own = &j->directions[d],
                .l = l,
                .d = d,
                .index = index,
                .x = layer_input(t, l),
                .y = t->y + l * outputs + half,
                .dy = dy ? dy + half : NULL,
                .gates = t->gates + index * fl_tape_gates(t) * plan->real,
                .c = t->c + index * fl_tape_cells(t) * plan->real};
}

/* rows [first, first + stride, ...] of a pass in the hands of one member, or of all of them */
typedef struct {
  const pass *pass;
  size_t first, stride;
  member_scratch *at;
  fl_member *member;
} group;

/* rows of the group among the first n */
static size_t among(const group *g, size_t n) {
  return n > g->first ? (n - g->first + g->stride - 1) / g->stride : 0;
}

static size_t row_of(const group *g, size_t r) {
  return g->pass->job->tape->order[g->first + r * g->stride];
}

#define BLOCKS(g, panels, grain, from, end)                                                              \
  for (size_t grain_ = (grain), block_, from, end;                                                       \
       fl_next((g)->member, ((panels) + grain_ - 1) / grain_, &block_) &&                                \
       (from = block_ * grain_, end = (panels) - from < grain_ ? (panels) : from + grain_, 1);)

/* panels in a block, of `work` multiply-adds each */
static size_t grain_of(const group *g, size_t panels, size_t work) {
  const size_t share = 2 * g->pass->job->members, grain = g->member->team ? (panels + share - 1) / share : panels;
  return fl_short_calls(g->member, grain, work);
}

/* to = incoming gradient of y at step s of row b (+ that of h_n), columns from..end; past R: zero */
#define START(type)                                                                   \
  for (size_t u = from; u < end; u++) {                                               \
    type sum = dy && u < R ? ((const type *)dy)[u] : 0;                               \
    if (dh_n && u < R) sum += ((const type *)dh_n)[u];                                \
    ((type *)to)[u] = sum;                                                            \
  }

static void start_dh(const pass *p, size_t s, size_t b, int last, size_t from, size_t end, char *to) {
  const fl_tape *const t = p->job->tape;
  const fl_plan *const plan = t->plan;
  const size_t R = plan->R, time = p->d ? t->length[b] - 1 - s : s;
  const char *const dy = p->dy ? p->dy + (time * t->B + b) * plan->D * R * plan->real : NULL;
  const char *const h_n = p->job->g->h_n;
  const char *const dh_n = last && h_n ? h_n + (p->index * t->B + b) * R * plan->real : NULL;
  if (plan->real == sizeof(float)) {
    START(float)
  } else {
    START(double)
  }
}

/* The gradient of h at step s of all running rows, in dh: what comes from above, and dz U from step s + 1. With s = -1,
 * that of h_0. */
static void dh_of_step(const group *g, ptrdiff_t s, size_t steps) {
  const pass *const p = g->pass;
  const fl_tape *const t = p->job->tape;
  const fl_plan *const plan = t->plan;
  const size_t line = panels_of(plan->R) * FL_PANEL * plan->real, next = (size_t)(s + 1);
  const size_t later = next < steps ? among(g, fl_tape_running(t, next)) : 0;
  const size_t active = s < 0 ? later : among(g, fl_tape_running(t, (size_t)s));
  for (size_t r = 0; r < later; r++)
    g->at->dz[r] = p->gates + (t->offset[next] + g->first + r * g->stride) * t->gate_row * plan->real;
  fl_product a = {.m = later,
                  .operand = {{g->at->dz, plan->panels * FL_PANEL}},
                  .weights = p->own->u,
                  .weights_panel = plan->panels * FL_PANEL * FL_PANEL,
                  .z = g->at->dh,
                  .z_panel = FL_PANEL,
                  .pieces = 1,
                  .down = next & 1};
  const size_t panels = panels_of(plan->R), work = later * plan->panels * FL_PANEL * FL_PANEL;
  const size_t grain = grain_of(g, panels, work);
  BLOCKS(g, panels, grain, first, end) {
    if (grain < panels && fl_halted(g->member, (end - first) * work)) continue;
    const size_t from = first * FL_PANEL, to = end * FL_PANEL;
    for (size_t r = 0; r < active; r++) {
      if (s < 0)
        memset((char *)g->at->dh[r] + from * plan->real, 0, (to - from) * plan->real);
      else
        start_dh(p, (size_t)s, row_of(g, r), t->length[row_of(g, r)] == next, from, to, g->at->dh[r]);
    }
    a.first = first;
    a.last = end;
    if (later) plan->kernels->product(&a);
    for (size_t r = 0; r < later && t->resets; r++) { /* no gradient passes a reset */
      if (!fl_tape_reset(t, next, row_of(g, r))) continue;
      if (s < 0)
        memset((char *)g->at->dh[r] + from * plan->real, 0, (to - from) * plan->real);
      else
        start_dh(p, (size_t)s, row_of(g, r), 0, from, to, g->at->dh[r]);
    }
    for (size_t r = 0; plan->P && s >= 0 && r < active; r++)
      memcpy(p->own->dh_all + (t->offset[s] + g->first + r * g->stride) * line + from * plan->real,
             (char *)g->at->dh[r] + from * plan->real, (to - from) * plan->real);
  }
}

/* dm = dh W_hr */
static void unproject(const group *g, size_t active) {
  const fl_plan *const plan = g->pass->job->tape->plan;
  fl_product a = {.m = active,
                  .operand = {{(const void *const *)g->at->dh, plan->P}},
                  .weights = g->pass->own->hr,
                  .weights_panel = plan->P * FL_PANEL,
                  .z = g->at->dm,
                  .z_panel = FL_PANEL,
                  .pieces = 1};
  const size_t panels = panels_of(plan->H), work = active * plan->P * FL_PANEL, grain = grain_of(g, panels, work);
  BLOCKS(g, panels, grain, first, end) {
    if (grain < panels && fl_halted(g->member, (end - first) * work)) continue;
    for (size_t r = 0; r < active; r++)
      memset((char *)g->at->dm[r] + first * FL_PANEL * plan->real, 0, (end - first) * FL_PANEL * plan->real);
    a.first = first;
    a.last = end;
    plan->kernels->product(&a);
  }
}

/* the cell that row r of step s, row b of the batch, started from */
static const char *cell_before(const pass *p, size_t s, size_t r, size_t b) {
  const fl_tape *const t = p->job->tape;
  const size_t real = t->plan->real;
  if (fl_tape_reset(t, s, b)) return p->job->zeros;
  if (s) return p->c + (t->offset[s - 1] + r) * t->cell_row * real;
  return t->c_0 + (p->index * t->B + b) * t->plan->H * real;
}

/* dz and dc of step s */
static void gates_of_step(const group *g, size_t s) {
  const pass *const p = g->pass;
  const fl_tape *const t = p->job->tape;
  const fl_plan *const plan = t->plan;
  const size_t active = among(g, fl_tape_running(t, s)), cell = t->cell_row * plan->real;
  for (size_t r = 0; r < active; r++) {
    const size_t n = t->offset[s] + g->first + r * g->stride, b = row_of(g, r);
    g->at->z[r] = p->gates + n * t->gate_row * plan->real;
    g->at->c[r] = p->c + n * cell;
    g->at->c_prev[r] = cell_before(p, s, g->first + r * g->stride, b);
    if (plan->P) g->at->hidden[r] = p->own->hidden + n * cell;
  }
  fl_gradient_step step = {.m = active,
                           .units = plan->H,
                           .z = g->at->z,
                           .c_prev = g->at->c_prev,
                           .c = g->at->c,
                           .dh = (const void *const *)(plan->P ? g->at->dm : g->at->dh),
                           .dc = g->at->dc,
                           .hidden = plan->P ? g->at->hidden : NULL,
                           .form = plan->form,
                           .peephole = p->layer->peephole};
  BLOCKS(g, plan->panels, grain_of(g, plan->panels, active * FL_PANEL), first, end) {
    const size_t from = first * FL_UNITS, to = end * FL_UNITS < plan->H ? end * FL_UNITS : plan->H;
    for (size_t r = 0; r < active; r++) {
      const size_t b = row_of(g, r);
      char *const dc = (char *)g->at->dc[r] + from * plan->real;
      if (t->length[b] == s + 1 && p->job->g->c_n)
        memcpy(dc, (const char *)p->job->g->c_n + ((p->index * t->B + b) * plan->H + from) * plan->real,
               (to - from) * plan->real);
      else if (t->length[b] == s + 1 || fl_tape_reset(t, s + 1, b))
        memset(dc, 0, (to - from) * plan->real);
    }
    step.first = first;
    step.last = end;
    plan->kernels->gradient_step(&step);
  }
}

/* the gradients of the initial states */
static void end_rows(const group *g, size_t n) {
  const pass *const p = g->pass;
  const fl_tape *const t = p->job->tape;
  const fl_gradients *const q = p->job->g;
  const fl_plan *const plan = t->plan;
  const size_t h_row = plan->R * plan->real, c_row = plan->H * plan->real;
  for (size_t one; fl_next(g->member, 1, &one);) {
    for (size_t r = 0; r < n; r++) {
      const size_t b = row_of(g, r), at = p->index * t->B + b;
      const int ran = t->length[b] > 0, cut = ran && fl_tape_reset(t, 0, b);
      const void *const h = ran ? g->at->dh[r] : q->h_n ? (const char *)q->h_n + at * h_row : p->job->zeros;
      const void *const c = cut      ? p->job->zeros
                            : ran    ? g->at->dc[r]
                            : q->c_n ? (const char *)q->c_n + at * c_row
                                     : p->job->zeros;
      if (q->h_0) memcpy((char *)q->h_0 + at * h_row, h, h_row);
      if (q->c_0) memcpy((char *)q->c_0 + at * c_row, c, c_row);
    }
  }
}

/* 0 where the call has been given up, and its member has to leave */
static int run_group(const group *g) {
  const pass *const p = g->pass;
  const fl_tape *const t = p->job->tape;
  const fl_plan *const plan = t->plan;
  const size_t n = among(g, t->B), real = plan->real;
  const size_t steps = n ? t->length[row_of(g, 0)] : 0;
  for (size_t r = 0; r < n; r++) {
    const size_t row = g->first + r * g->stride;
    g->at->dh[r] = p->own->dh + row * panels_of(plan->R) * FL_PANEL * real;
    g->at->dc[r] = p->own->dc + row * t->cell_row * real;
    g->at->dm[r] = p->own->dm + row * panels_of(plan->H) * FL_PANEL * real;
  }
  const size_t work = n * plan->panels * FL_PANEL * (plan->R + 1);
  for (size_t s = steps; s-- > 0;) {
    if (fl_halted(g->member, work)) return 0;
    dh_of_step(g, (ptrdiff_t)s, steps);
    if (plan->P) unproject(g, among(g, fl_tape_running(t, s)));
    gates_of_step(g, s);
  }
  if (steps) dh_of_step(g, -1, steps);
  end_rows(g, n);
  return 1;
}

/* ---- after the time loop ---------------------------------------------------------------------------------------- */

/* Before it: transposed weights, and what each row read. One panel of units. */
static void prepare(const job *j, size_t l, size_t d, size_t panel) {
  const fl_tape *const t = j->tape;
  const fl_plan *const plan = t->plan;
  const pass p = make_pass(j, l, d);
  const size_t real = plan->real, I = p.layer->input_size, K = I + plan->R, gates = plan->panels * FL_PANEL;
  if (wants_input(j, l)) transpose(p.layer->weights, panel, K, 0, I, p.own->w, gates, real);
  transpose(p.layer->weights, panel, K, I, plan->R, p.own->u, gates, real);
  if (panel == 0 && plan->P) transpose_projection(plan, p.layer->project, p.own->hr);
  const size_t from = t->N * panel / plan->panels, to = t->N * (panel + 1) / plan->panels;
  for (size_t n = from; n < to; n++) {
    const size_t s = t->step[n], r = n - t->offset[s], b = t->order[r];
    p.own->x[n] = p.x + fl_tape_place(t, n, d == 1) * I * real;
    if (fl_tape_reset(t, s, b))
      p.own->h[n] = j->zeros;
    else if (s)
      p.own->h[n] = p.y + fl_tape_place(t, t->offset[s - 1] + r, d == 1) * plan->D * plan->R * real;
    else
      p.own->h[n] = t->h_0 + (p.index * t->B + b) * plan->R * real;
    if (peepholes(plan)) p.own->c[n] = cell_before(&p, s, r, b);
  }
}

/* rows of a packed gradient, gates of 8 units by turns, into the natural order */
static void unpack(const fl_plan *plan, const char *packed, size_t packed_row, size_t first, size_t last,
                   size_t columns, char *out) {
  for (size_t q = first; q < last; q++) {
    const size_t gate = q % FL_PANEL / FL_UNITS, unit = q / FL_PANEL * FL_UNITS + q % FL_UNITS;
    if (unit >= plan->H) continue;
    if (gate == 1 && plan->form && plan->form->coupled) /* zero, also where 0 met NaN or infinity */
      memset(out + (plan->H + unit) * columns * plan->real, 0, columns * plan->real);
    else
      memcpy(out + (gate * plan->H + unit) * columns * plan->real, packed + q * packed_row * plan->real,
             columns * plan->real);
  }
}

typedef void (*sum_kernel)(const fl_outer *);

/* Sums over all rows of all steps, so many of them in a call as are done soon; each call adds whole blocks of
 * FL_SUM_BLOCK rows. */
static void sum_over_rows(const fl_plan *plan, fl_outer o, sum_kernel kernel, fl_member *member) {
  const size_t row = (o.last - o.first) * (o.b ? o.columns : 1), N = o.n;
  const size_t most = fl_short_calls(member, (N + FL_SUM_BLOCK - 1) / FL_SUM_BLOCK, row * FL_SUM_BLOCK) * FL_SUM_BLOCK;
  for (size_t n = 0; n < N; n += most) {
    if (fl_halted(member, row * most)) return;
    o.n = N - n < most ? N - n : most;
    kernel(&o);
    o.a = (const char *)o.a + most * o.a_row * plan->real;
    if (o.b) o.b += most;
  }
}

/* dW, dU, db of columns first..last of dz */
static void weight_gradients(const pass *p, size_t first, size_t last, member_scratch *m, fl_member *member) {
  const fl_tape *const t = p->job->tape;
  const fl_plan *const plan = t->plan;
  const fl_weight_gradients out = wanted_of(p->job, p->index);
  const size_t real = plan->real, I = p->layer->input_size, i_row = panels_of(I) * FL_PANEL,
               r_row = panels_of(plan->R) * FL_PANEL;
  fl_outer o = {.n = t->N, .a = p->gates, .a_row = t->gate_row, .first = first, .last = last, .scratch = m->packed};

  if (out.weight_ih) {
    memset(p->own->dw + first * i_row * real, 0, (last - first) * i_row * real);
    o.b = p->own->x;
    o.columns = I;
    o.out = p->own->dw + first * i_row * real;
    o.out_row = i_row;
    sum_over_rows(plan, o, plan->kernels->outer, member);
    unpack(plan, p->own->dw, i_row, first, last, I, out.weight_ih);
  }
  if (out.weight_hh) {
    memset(p->own->du + first * r_row * real, 0, (last - first) * r_row * real);
    o.b = p->own->h;
    o.columns = plan->R;
    o.out = p->own->du + first * r_row * real;
    o.out_row = r_row;
    sum_over_rows(plan, o, plan->kernels->outer, member);
    unpack(plan, p->own->du, r_row, first, last, plan->R, out.weight_hh);
  }
  if (out.bias) {
    memset(p->own->db + first * real, 0, (last - first) * real);
    o.b = NULL;
    o.out = p->own->db + first * real;
    sum_over_rows(plan, o, plan->kernels->sum_rows, member);
    unpack(plan, p->own->db, 1, first, last, 1, out.bias);
  }
}

/* of the units of one panel */
static void peephole_gradient(const pass *p, size_t panel) {
  const fl_tape *const t = p->job->tape;
  const fl_plan *const plan = t->plan;
  const fl_peephole_sums sums = {.n = t->N,
                                 .units = plan->H,
                                 .first = panel,
                                 .last = panel + 1,
                                 .dz = p->gates,
                                 .dz_row = t->gate_row,
                                 .c_prev = p->own->c,
                                 .c = p->c,
                                 .c_row = t->cell_row,
                                 .coupled = plan->form->coupled,
                                 .out = wanted_of(p->job, p->index).weight_ph};
  if (sums.out) plan->kernels->peephole_sums(&sums);
}

/* dW_hr of rows first..last */
static void projection_gradient(const pass *p, size_t first, size_t last, member_scratch *m, fl_member *member) {
  const fl_tape *const t = p->job->tape;
  const fl_plan *const plan = t->plan;
  char *const wanted = wanted_of(p->job, p->index).weight_hr;
  if (!wanted) return;
  const size_t real = plan->real, h_row = panels_of(plan->H) * FL_PANEL;
  char *const out = p->own->dhr + first * h_row * real;
  memset(out, 0, (last - first) * h_row * real);
  const fl_outer o = {.n = t->N,
                      .a = p->own->dh_all,
                      .a_row = panels_of(plan->R) * FL_PANEL,
                      .first = first,
                      .last = last,
                      .b = p->own->x,
                      .columns = plan->H,
                      .out = out,
                      .out_row = h_row,
                      .scratch = m->packed};
  sum_over_rows(plan, o, plan->kernels->outer, member);
  for (size_t q = first; q < last; q++)
    memcpy(wanted + q * plan->H * real, out + (q - first) * h_row * real, plan->H * real);
}

#define ADD_ROW(type)                                                                       \
  for (size_t i = 0; i < I; i++) ((type *)to)[i] = add ? ((type *)to)[i] + ((type *)from)[i] : ((type *)from)[i];

/* dx of rows n0.. into the gradient of the layer below, or of the input; the second direction adds to the first */
static void input_gradient(const job *j, size_t l, size_t d, size_t n0, member_scratch *m) {
  const fl_tape *const t = j->tape;
  const fl_plan *const plan = t->plan;
  const pass p = make_pass(j, l, d);
  const size_t real = plan->real, I = p.layer->input_size, line = panels_of(I) * FL_PANEL * real;
  const size_t n = t->N - n0 < DX_ROWS ? t->N - n0 : DX_ROWS;
  char *const out = l ? j->between[(l - 1) % 2] : j->g->input;
  for (size_t r = 0; r < n; r++) {
    m->rows[r] = p.gates + (n0 + r) * t->gate_row * real;
    m->dx[r] = m->dx_block + r * line;
  }
  const fl_product a = {.m = n,
                        .last = panels_of(I),
                        .operand = {{m->rows, plan->panels * FL_PANEL}},
                        .weights = p.own->w,
                        .weights_panel = plan->panels * FL_PANEL * FL_PANEL,
                        .z = m->dx,
                        .z_panel = FL_PANEL,
                        .pieces = 1};
  memset(m->dx_block, 0, n * line);
  plan->kernels->product(&a);
  const int add = d > 0;
  for (size_t r = 0; r < n; r++) {
    const size_t place = fl_tape_place(t, n0 + r, d == 1);
    void *const to = out + place * I * real, *const from = m->dx[r];
    if (real == sizeof(float)) {
      ADD_ROW(float)
    } else {
      ADD_ROW(double)
    }
    if (l && t->dropped && d + 1 == plan->D)
      fl_drop_row(t->dropout, t->seed, l - 1, place / t->B + t->time, place % t->B, to, to, I, real);
  }
}

/* ---- all layers ------------------------------------------------------------------------------------------------- */

/* the time loop, back; 0 where the member has to leave */
static int run_time(const job *j, size_t l, fl_member *member) {
  const size_t D = j->tape->plan->D;
  member_scratch *const m = &j->scratch[member->slot];
  if (j->cut.by_units) {
    for (size_t d = 0; d < D; d++) {
      const pass p = make_pass(j, l, d);
      const group g = {&p, 0, 1, m, member};
      if (!run_group(&g)) return 0;
    }
    return 1;
  }
  for (size_t task; fl_next(member, D * j->cut.groups, &task);) {
    const pass p = make_pass(j, l, task % D);
    fl_member alone = {.halt = member->halt, .caller = member->caller, .work = member->work};
    const group g = {&p, task / D, j->cut.groups, m, &alone};
    run_group(&g); /* once the call is given up, the tasks that are left take no time */
    member->work = alone.work;
  }
  return 1;
}

/* the sums over all rows of all steps */
static void run_sums(const job *j, size_t l, fl_member *member) {
  const fl_plan *const plan = j->tape->plan;
  const size_t D = plan->D, N = j->tape->N, gates = plan->panels * FL_PANEL;
  member_scratch *const m = &j->scratch[member->slot];
  const size_t columns = (gates + OUTER_COLUMNS - 1) / OUTER_COLUMNS;
  for (size_t b; fl_next(member, D * columns, &b);) {
    const size_t first = b / D * OUTER_COLUMNS, last = gates - first < OUTER_COLUMNS ? gates : first + OUTER_COLUMNS;
    const pass p = make_pass(j, l, b % D);
    if (!fl_halted(member, 0)) weight_gradients(&p, first, last, m, member);
  }
  if (peepholes(plan)) {
    for (size_t b; fl_next(member, D * plan->panels, &b);) {
      const pass p = make_pass(j, l, b % D);
      if (!fl_halted(member, N * FL_PANEL)) peephole_gradient(&p, b / D);
    }
  }
  if (!plan->P) return;
  const size_t parts = (plan->P + OUTER_COLUMNS - 1) / OUTER_COLUMNS;
  for (size_t b; fl_next(member, D, &b);) /* the direction's rows of x have served: now pointers to those of hidden */
    for (size_t n = 0; n < N; n++) j->directions[b].x[n] = j->directions[b].hidden + n * j->tape->cell_row * plan->real;
  for (size_t b; fl_next(member, D * parts, &b);) {
    const size_t first = b / D * OUTER_COLUMNS,
                 last = plan->P - first < OUTER_COLUMNS ? plan->P : first + OUTER_COLUMNS;
    const pass p = make_pass(j, l, b % D);
    if (!fl_halted(member, 0)) projection_gradient(&p, first, last, m, member);
  }
}

/* 0 where the member has to leave */
static int run_layer(const job *j, size_t l, fl_member *member) {
  const fl_plan *const plan = j->tape->plan;
  const size_t D = plan->D, N = j->tape->N, I = plan->layers[l * D].input_size;
  for (size_t b; fl_next(member, D * plan->panels, &b);)
    if (!fl_halted(member, (I + plan->R) * FL_PANEL + N / plan->panels)) prepare(j, l, b % D, b / D);
  if (!run_time(j, l, member)) return 0;
  run_sums(j, l, member);
  for (size_t d = 0; d < D && N && wants_input(j, l); d++)
    for (size_t b; fl_next(member, (N + DX_ROWS - 1) / DX_ROWS, &b);)
      if (!fl_halted(member, DX_ROWS * plan->panels * FL_PANEL * I))
        input_gradient(j, l, d, b * DX_ROWS, &j->scratch[member->slot]);
  return !fl_halted(member, 0);
}

static void run_member(void *argument, fl_member *member) {
  const job *const j = argument;
  const fl_tape *const t = j->tape;
  const fl_fpenv caller = fl_fpenv_enter();
  for (size_t one; fl_next(member, 1, &one);)
    if (j->g->input) memset(j->g->input, 0, t->T * t->B * t->plan->I * t->plan->real);
  for (size_t l = t->plan->L; l-- > j->lowest;)
    if (!run_layer(j, l, member)) break;
  fl_fpenv_leave(caller);
}

/* layers below it need not run */
static size_t lowest_wanted(const job *j) {
  const fl_plan *const plan = j->tape->plan;
  if (j->g->input || j->g->h_0 || j->g->c_0) return 0;
  for (size_t k = 0; k < plan->L * plan->D; k++) {
    const fl_weight_gradients w = wanted_of(j, k);
    if (w.weight_ih || w.weight_hh || w.bias || w.weight_hr || w.weight_ph) return k / plan->D;
  }
  return plan->L;
}

fl_status fl_run_backward(fl_tape *tape, const fl_gradients *gradients, fl_pool *pool, void *workspace,
                          const fl_cancel *cancel) {
  assert(tape && tape->stage == FL_TAPE_FULL && gradients && workspace);
  job j = make_job(tape, gradients, fl_pool_threads(pool));
  fl_arena a = {.at = workspace};
  lay_out(&j, &a);
  if (a.overflow) return FL_ERROR_OVERFLOW;
  assert(a.used <= fl_measure_backward(tape, fl_pool_threads(pool)));
  const fl_plan *const plan = tape->plan;
  j.lowest = lowest_wanted(&j);
  memset(j.zeros, 0,
         (plan->panels * FL_PANEL > panels_of(j.widest) * FL_PANEL ? plan->panels : panels_of(j.widest)) * FL_PANEL *
             plan->real);
  tape->stage = FL_TAPE_USED;
  return fl_pool_run(pool, run_member, &j, cancel);
}

/* ---- sums over pieces ------------------------------------------------------------------------------------------- */

/* not inlined: the additions must stay between the two writes of the floating-point environment */
NOINLINE static void add(size_t real, void *total, const void *part, size_t n) {
  if (real == sizeof(float))
    for (size_t j = 0; j < n; j++) ((float *)total)[j] += ((const float *)part)[j];
  else
    for (size_t j = 0; j < n; j++) ((double *)total)[j] += ((const double *)part)[j];
}

void fl_run_accumulate(fl_dtype dtype, void *total, const void *part, size_t n) {
  const fl_fpenv caller = fl_fpenv_enter();
  add(dtype == FL_FLOAT32 ? sizeof(float) : sizeof(double), total, part, n);
  fl_fpenv_leave(caller);
}
