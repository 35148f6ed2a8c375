/* Whole sequences: layers, directions, lengths, resets, the time loop.
 *
 * A layer in one direction is a pass. Its rows, longest first, walk through time in chunks: the input's part of the
 * pre-activations for all steps of a chunk in one product, then step by step the recurrent product and the gates, each
 * output continuing the chain that the first product began. Rows are pointers everywhere, so strides, directions,
 * lengths and resets cost an address, not a copy; rows whose sequence has ended leave the end of the list and cost
 * nothing.
 *
 * Threads share a pass in one of two ways: by rows (each thread its own, no waiting inside the time loop) when there
 * are enough of them, else by units (one phase per step). What a chain computes is the same in all cases.
 *
 * For training the same loop writes gates and cells into the tape's rows.
 *
 * SPDX-License-Identifier: BSD-3-Clause */
#include <assert.h>
#include <string.h>
#include "dropout.h"
#include "base/fpenv.h"
#include "inside.h"
#include "job.h"

/* one layer in one direction */
typedef struct {
  const fl_job *job;
  const fl_layer *layer;
  int reverse;
  char *tail; /* the caller's output, whose rows are 0 past their lengths; NULL for inner layers */
  const char *x;
  ptrdiff_t x_t, x_b;
  const int64_t *x_starts; /* of packed rows, or NULL */
  char *y;
  ptrdiff_t y_t, y_b;
  const int64_t *y_starts;
  const char *h_0, *c_0; /* [B, R], [B, H] of this layer and direction, or NULL */
  char *h_n, *c_n;
  char *gates, *c; /* rows of the tape, or NULL */
} pass;

/* the rows of one group: order[first], order[first + stride], ... */
typedef struct {
  const pass *pass;
  size_t first, stride, n;
  fl_pointers *at;
  fl_arrays *own;
  fl_member *member; /* whose team shares the panels */
} group;

static size_t row_of(const group *g, size_t r) {
  return g->pass->job->order[g->first + r * g->stride];
}

static size_t length_at(const group *g, size_t r) {
  return fl_length(g->pass->job->sequence, row_of(g, r));
}

/* input step that a row is at in its own step `s` */
static ptrdiff_t time_of(const group *g, size_t r, size_t s) {
  return (ptrdiff_t)(g->pass->reverse ? length_at(g, r) - 1 - s : s);
}

/* row of the tape */
static size_t tape_row(const group *g, size_t s, size_t r) {
  return g->pass->job->tape->offset[s] + g->first + r * g->stride;
}

/* Panels in a block when `panels` are shared: two blocks a thread, two panels at least (four blocks cost 5-10 % at
 * H=128, one leaves nothing to claim from a thread that is late). `work`: multiply-adds of a panel. */
static size_t grain_of(const group *g, size_t panels, size_t work) {
  size_t grain = panels;
  if (g->member->team) {
    const size_t members = g->pass->job->members;
    grain = (panels + 2 * members - 1) / (2 * members);
    if (grain < 2) grain = 2;
  }
  return fl_short_calls(g->member, grain, work);
}

#define SHARE(g, panels, grain, first, end)                                                          \
  for (size_t grain_ = (grain), block_, first, end;                                                  \
       fl_next((g)->member, ((panels) + grain_ - 1) / grain_, &block_) &&                            \
       (first = block_ * grain_, end = (panels) - first < grain_ ? (panels) : first + grain_, 1);)

/* ---- pointers --------------------------------------------------------------------------------------------------- */

/* z rows of scratch: [panel][row][FL_PANEL], the same for every chunk */
static void point_at_scratch(const group *g) {
  const fl_plan *const plan = g->pass->job->plan;
  const size_t line = FL_PANEL * plan->real;
  const size_t rows = g->pass->job->cut.chunk ? g->pass->job->cut.chunk * g->pass->job->cut.rows : g->n;
  if (!g->pass->gates) {
    for (size_t r = 0; r < rows; r++) g->at->z[r] = g->own->z + r * line;
    for (size_t r = 0; g->own->z_next && r < rows; r++) g->at->z_next[r] = g->own->z_next + r * line;
  }
  for (size_t r = 0; plan->P && r < g->n; r++) {
    g->at->m[r] = g->own->m + r * plan->H * plan->real;
    g->at->p[r] = g->own->p + r * line;
  }
}

static const char *input_at(const group *g, size_t r, size_t s) {
  const pass *const p = g->pass;
  const ptrdiff_t b = (ptrdiff_t)row_of(g, r), t = time_of(g, r, s);
  return p->x + (p->x_starts ? (ptrdiff_t)p->x_starts[t] + b : b) * p->x_b + (p->x_starts ? 0 : t * p->x_t);
}

static char *output_at(const group *g, size_t r, size_t s) {
  const pass *const p = g->pass;
  const ptrdiff_t b = (ptrdiff_t)row_of(g, r), t = time_of(g, r, s);
  return p->y + (p->y_starts ? (ptrdiff_t)p->y_starts[t] + b : b) * p->y_b + (p->y_starts ? 0 : t * p->y_t);
}

/* x rows of steps s0..s1, step by step (and with a tape their z rows); how many there are */
static size_t point_at_inputs(const group *g, size_t s0, size_t s1, size_t alive) {
  const pass *const p = g->pass;
  size_t rows = 0;
  for (size_t s = s0; s < s1; s++) {
    while (length_at(g, alive - 1) <= s) alive--;
    for (size_t r = 0; r < alive; r++, rows++) {
      g->at->x[rows] = input_at(g, r, s);
      if (p->gates) g->at->z[rows] = p->gates + tape_row(g, s, r) * p->job->tape->gate_row * p->job->plan->real;
    }
  }
  return rows;
}

/* the states that step s reads and writes */
static void point_at_states(const group *g, size_t s, size_t active) {
  const pass *const p = g->pass;
  const fl_plan *const plan = p->job->plan;
  const fl_sequence *const q = p->job->sequence;
  const ptrdiff_t step = p->reverse ? -p->y_t : p->y_t;
  for (size_t r = 0; r < active; r++) {
    if (s == 0) {
      const size_t b = row_of(g, r);
      g->at->h[r] = p->h_0 ? p->h_0 + b * plan->R * plan->real : p->job->zeros;
      g->at->c_prev[r] = p->c_0 ? p->c_0 + b * plan->H * plan->real : p->job->zeros;
      g->at->y[r] = output_at(g, r, 0);
      g->at->c[r] = p->c_n + b * plan->H * plan->real;
    } else {
      g->at->h[r] = g->at->y[r];
      g->at->c_prev[r] = g->at->c[r];
      g->at->y[r] = p->y_starts ? output_at(g, r, s) : (char *)g->at->y[r] + step;
    }
    if (p->c) g->at->c[r] = p->c + tape_row(g, s, r) * p->job->tape->cell_row * plan->real;
    if (q->resets && q->resets[(ptrdiff_t)s * q->resets_t + (ptrdiff_t)row_of(g, r) * q->resets_b])
      g->at->h[r] = g->at->c_prev[r] = p->job->zeros;
  }
}

/* The states after the last step, and the caller's rows past their lengths. */
static void end_rows(const group *g) {
  const pass *const p = g->pass;
  const fl_plan *const plan = p->job->plan;
  const size_t h_row = plan->R * plan->real, c_row = plan->H * plan->real, T = p->job->sequence->T;
  for (size_t one; fl_next(g->member, 1, &one);) {
    for (size_t r = 0; r < g->n; r++) {
      const size_t b = row_of(g, r), length = length_at(g, r);
      const void *const h = length ? g->at->y[r] : p->h_0 ? p->h_0 + b * h_row : p->job->zeros;
      const void *const c = length ? g->at->c[r] : p->c_0 ? p->c_0 + b * c_row : p->job->zeros;
      memcpy(p->h_n + b * h_row, h, h_row);
      if (c != p->c_n + b * c_row) memcpy(p->c_n + b * c_row, c, c_row);
      for (size_t t = length; p->tail && t < T; t++)
        memset(p->tail + (ptrdiff_t)t * p->y_t + (ptrdiff_t)b * p->y_b, 0, h_row);
    }
  }
}

/* ---- work ahead ------------------------------------------------------------------------------------------------- */

/* Work ahead for the chunk of steps s0..: the inputs of the group's only row side by side, zero past the last step, and
 * each member's part of the panels. */
static void begin_ahead(const group *g, size_t s0, size_t steps) {
  const pass *const p = g->pass;
  const fl_plan *const plan = p->job->plan;
  const size_t rows = plan->kernels->ahead_rows, I = p->layer->input_size;
  const size_t n = steps - s0 < rows ? steps - s0 : rows, members = g->member->team ? p->job->members : 1;
  for (size_t r = 0; p->gates && r < rows; r++)
    g->at->z_next[r] = p->gates + (tape_row(g, s0, 0) + r) * p->job->tape->gate_row * plan->real;
  for (size_t one; fl_next(g->member, 1, &one);) {
    if (n < rows) memset(g->own->x_ahead, 0, I * rows * plan->real);
    for (size_t r = 0; r < n; r++) {
      const char *const x = input_at(g, 0, s0 + r);
      if (plan->real == sizeof(float))
        for (size_t k = 0; k < I; k++) ((float *)g->own->x_ahead)[k * rows + r] = ((const float *)x)[k];
      else
        for (size_t k = 0; k < I; k++) ((double *)g->own->x_ahead)[k * rows + r] = ((const double *)x)[k];
    }
    for (size_t m = 0; m < members; m++)
      g->own->ahead[m] = (fl_ahead){.first = plan->panels * m / members,
                                    .last = plan->panels * (m + 1) / members,
                                    .k = I,
                                    .a = g->own->x_ahead,
                                    .weights = p->layer->weights,
                                    .weights_panel = (I + plan->R) * FL_PANEL,
                                    .start = p->layer->bias,
                                    .z = g->at->z_next[0],
                                    .z_row = p->gates ? p->job->tape->gate_row : FL_PANEL,
                                    .z_panel = p->gates ? FL_PANEL : fl_z_rows(p->job) * FL_PANEL};
  }
}

/* What the steps have left undone. They are over, so that nobody is at work on any part. */
static void end_ahead(const group *g) {
  const size_t members = g->member->team ? g->pass->job->members : 1;
  for (size_t m; fl_next(g->member, members, &m);) g->pass->job->plan->kernels->finish_ahead(&g->own->ahead[m]);
  void **const done = g->at->z;
  g->at->z = g->at->z_next;
  g->at->z_next = done;
}

/* ---- the time loop ---------------------------------------------------------------------------------------------- */

/* h = W_hr m, 32 outputs a panel, then into the rows of y */
static void project(const group *g, size_t active) {
  const fl_plan *const plan = g->pass->job->plan;
  fl_product a = {.m = active,
                  .operand = {{(const void *const *)g->at->m, plan->H}},
                  .weights = g->pass->layer->project,
                  .weights_panel = plan->H * FL_PANEL,
                  .start = plan->zeros,
                  .z = g->at->p,
                  .z_panel = active * FL_PANEL};
  const size_t work = active * plan->H * FL_PANEL, grain = grain_of(g, plan->project_panels, work);
  SHARE(g, plan->project_panels, grain, first, end) {
    if (grain < plan->project_panels && fl_halted(g->member, (end - first) * work)) continue;
    a.first = first;
    a.last = end;
    plan->kernels->product(&a);
    for (size_t p = first; p < end; p++) {
      const size_t from = p * FL_PANEL, n = plan->P - from < FL_PANEL ? plan->P - from : FL_PANEL;
      for (size_t r = 0; r < active; r++)
        memcpy((char *)g->at->y[r] + from * plan->real, (char *)g->at->p[r] + p * active * FL_PANEL * plan->real,
               n * plan->real);
    }
  }
}

/* The products of a group's steps. Without chunks: input and state in one product, scratch packed by rows; with them,
 * the input's product first, of a chunk, from which the steps go on. */
static void begin_products(const group *g, fl_step *step, fl_product *input) {
  const pass *const p = g->pass;
  const fl_plan *const plan = p->job->plan;
  const size_t I = p->layer->input_size;
  *step = (fl_step){.product = {.operand = {{g->at->x, I}, {g->at->h, plan->R}},
                                .weights = p->layer->weights,
                                .weights_panel = (I + plan->R) * FL_PANEL,
                                .start = p->layer->bias,
                                .z = g->at->z},
                    .units = plan->H,
                    .c_prev = g->at->c_prev,
                    .c = g->at->c,
                    .h = plan->P ? g->at->m : g->at->y,
                    .train = p->gates != NULL,
                    .form = plan->form,
                    .peephole = p->layer->peephole};
  *input = step->product;
  input->operand[1].k = 0;
  input->z_panel = p->gates ? FL_PANEL : fl_z_rows(p->job) * FL_PANEL;
  if (!p->job->cut.chunk) return;
  step->product.operand[0] = step->product.operand[1];
  step->product.operand[1].k = 0;
  step->product.weights = p->layer->weights + I * FL_PANEL * plan->real;
  step->product.start = NULL;
  step->product.z_panel = input->z_panel;
}

/* the input's part of the pre-activations of steps s0..s1 */
static void run_input(const group *g, fl_product *input, size_t s0, size_t s1, size_t active) {
  const fl_plan *const plan = g->pass->job->plan;
  input->m = point_at_inputs(g, s0, s1, active);
  if (!g->pass->job->cut.chunk) return;
  const size_t work = input->m * input->operand[0].k * FL_PANEL, grain = grain_of(g, plan->panels, work);
  SHARE(g, plan->panels, grain, first, end) {
    if (fl_halted(g->member, (end - first) * work)) continue;
    input->first = first;
    input->last = end;
    plan->kernels->product(input);
  }
}

/* step s of the rows that are not over yet; work: multiply-adds of a panel */
static void run_step(const group *g, fl_step *step, size_t s, size_t active, size_t work) {
  const fl_plan *const plan = g->pass->job->plan;
  point_at_states(g, s, active);
  step->product.m = active;
  step->product.down = s & 1;
  if (!g->pass->job->cut.chunk) step->product.z_panel = active * FL_PANEL;
  const size_t grain = grain_of(g, plan->panels, work);
  SHARE(g, plan->panels, grain, first, end) {
    if (grain < plan->panels && fl_halted(g->member, (end - first) * work)) continue;
    step->product.first = first;
    step->product.last = end;
    plan->kernels->step(step);
  }
  if (plan->P) project(g, active);
}

/* 0 where the call has been given up, and its member has to leave */
static int run_group(const group *g) {
  const fl_job *const j = g->pass->job;
  const fl_plan *const plan = j->plan;
  const size_t chunk = j->cut.chunk;
  const size_t steps = g->n ? length_at(g, 0) : 0;
  fl_step step;
  fl_product input;
  point_at_scratch(g);
  begin_products(g, &step, &input);
  const size_t work = g->n * (step.product.operand[0].k + step.product.operand[1].k) * FL_PANEL;

  size_t active = g->n; /* rows that are not over yet */
  for (size_t s0 = 0; s0 < steps; s0 += chunk ? chunk : 1) {
    const size_t s1 = !chunk ? s0 + 1 : steps - s0 < chunk ? steps : s0 + chunk;
    const int ahead = j->cut.ahead && s1 < steps;
    if (s0 == 0 || !j->cut.ahead) run_input(g, &input, s0, s1, active);
    if (ahead) begin_ahead(g, s1, steps);
    step.ahead = ahead ? &g->own->ahead[g->member->slot] : NULL;
    for (size_t s = s0, row = 0; s < s1; s++) {
      if (fl_halted(g->member, plan->panels * work)) return 0;
      while (length_at(g, active - 1) <= s) active--;
      if (chunk) step.product.z = g->at->z + row;
      run_step(g, &step, s, active, work);
      row += active;
    }
    if (ahead) end_ahead(g);
  }
  end_rows(g);
  return 1;
}

/* ---- all layers ------------------------------------------------------------------------------------------------- */

static pass make_pass(const fl_job *j, size_t l, size_t d) {
  const fl_plan *const plan = j->plan;
  const fl_sequence *const q = j->sequence;
  fl_tape *const t = j->tape;
  const size_t h_row = plan->R * plan->real, c_row = plan->H * plan->real, full = plan->D * h_row,
               index = l * plan->D + d;
  const int last = l + 1 == plan->L;
  pass p = {.job = j, .layer = &plan->layers[index], .reverse = d == 1};
  if (l == 0) {
    p.x = q->input;
    p.x_t = q->input_t;
    p.x_b = q->input_b;
    p.x_starts = q->starts;
  } else {
    p.x = !t           ? j->between[(l - 1) % 2]
          : t->dropped ? t->dropped + (l - 1) * fl_tape_outputs(t) * plan->real
                       : t->y + (l - 1) * fl_tape_outputs(t) * plan->real;
    p.x_t = (ptrdiff_t)(q->B * full);
    p.x_b = (ptrdiff_t)full;
  }
  if (last && !t) {
    p.y = q->output ? (char *)q->output + d * h_row : NULL; /* there may be none without steps */
    p.tail = q->starts ? NULL : p.y;
    p.y_t = q->output_t;
    p.y_b = q->output_b;
    p.y_starts = q->starts;
  } else {
    p.y = (t ? t->y + l * fl_tape_outputs(t) * plan->real : j->between[l % 2]) + d * h_row;
    p.tail = last ? p.y : NULL;
    p.y_t = (ptrdiff_t)(q->B * full);
    p.y_b = (ptrdiff_t)full;
  }
  p.h_0 = q->h_0 ? (const char *)q->h_0 + index * q->B * h_row : NULL;
  p.c_0 = q->c_0 ? (const char *)q->c_0 + index * q->B * c_row : NULL;
  p.h_n = (char *)q->h_n + index * q->B * h_row;
  p.c_n = (char *)q->c_n + index * q->B * c_row;
  if (t) {
    p.gates = t->gates + index * fl_tape_gates(t) * plan->real;
    p.c = t->c + index * fl_tape_cells(t) * plan->real;
  }
  return p;
}

/* what the next layer reads of step t, after dropout */
static void drop(const fl_tape *tape, size_t layer, size_t t) {
  const size_t row = tape->plan->D * tape->plan->R, real = tape->plan->real;
  for (size_t b = 0; b < tape->B; b++) {
    const size_t at = (layer * fl_tape_outputs(tape) + (t * tape->B + b) * row) * real;
    if (t < tape->length[b])
      fl_drop_row(tape->dropout, tape->seed, layer, t + tape->time, b, tape->y + at, tape->dropped + at, row, real);
  }
}

/* all layers and directions, each shared by units; 0 where the member has to leave */
static int run_by_units(const fl_job *j, size_t l, fl_member *member) {
  for (size_t d = 0; d < j->plan->D; d++) {
    const pass p = make_pass(j, l, d);
    const group g = {&p, 0, 1, j->sequence->B, &j->pointers[member->slot], &j->arrays[member->slot], member};
    if (!run_group(&g)) return 0;
  }
  return 1;
}

/* the layer's directions and groups of rows, each by one member; once the call is given up, those that are left take no
 * time */
static void run_by_rows(const fl_job *j, size_t l, fl_member *member) {
  const size_t B = j->sequence->B, D = j->plan->D, stride = j->cut.groups;
  for (size_t task; fl_next(member, D * stride, &task);) {
    const pass p = make_pass(j, l, task % D);
    const size_t first = task / D, n = first < B ? (B - first + stride - 1) / stride : 0;
    fl_member alone = {.halt = member->halt, .caller = member->caller, .work = member->work};
    const group g = {&p, first, stride, n, &j->pointers[member->slot], &j->arrays[member->slot], &alone};
    run_group(&g);
    member->work = alone.work;
  }
}

static void run_member(void *argument, fl_member *member) {
  const fl_job *const j = argument;
  const fl_plan *const plan = j->plan;
  const fl_fpenv caller = fl_fpenv_enter();
  for (size_t l = 0; l < plan->L; l++) {
    if (l && j->tape && j->tape->dropped && j->tape->T) {
      for (size_t t; fl_next(member, j->tape->T, &t);)
        if (!fl_halted(member, j->tape->B * plan->R)) drop(j->tape, l - 1, t);
    }
    if (!j->cut.by_units)
      run_by_rows(j, l, member);
    else if (!run_by_units(j, l, member))
      break;
    if (fl_halted(member, 0)) break;
  }
  fl_fpenv_leave(caller);
}

static fl_job make_job(const fl_plan *plan, const fl_sequence *sequence, fl_tape *tape, size_t threads) {
  fl_job j = {.plan = plan, .sequence = sequence, .tape = tape, .members = threads};
  j.cut = fl_decide(plan, sequence->T, sequence->B, threads);
  if (tape && !j.cut.chunk) j.cut.chunk = 1; /* every step's gates are kept */
  return j;
}

/* Can a step's pre-activations be? Cutting a call multiplies without a look. */
static int is_addressable(const fl_plan *plan, size_t B) {
  size_t step;
  return fl_multiply(B, plan->panels * FL_PANEL * plan->real, &step);
}

size_t fl_measure_forward(const fl_plan *plan, size_t T, size_t B, size_t threads) {
  size_t inference;
  assert(threads >= 1 && threads <= FL_MOST_THREADS);
  if (!is_addressable(plan, B)) return SIZE_MAX;
  const fl_sequence sequence = {.T = T, .B = B};
  fl_job j = make_job(plan, &sequence, NULL, threads);
  fl_arena a = {0};
  fl_lay_out(&j, &a);
  inference = a.used;
  fl_tape none = {0}; /* training takes the same, but for what is in the tape */
  j = make_job(plan, &sequence, &none, threads);
  fl_arena b = {0};
  fl_lay_out(&j, &b);
  return a.overflow || b.overflow ? SIZE_MAX : inference > b.used ? inference : b.used;
}

fl_status fl_run_forward(const fl_plan *plan, const fl_sequence *sequence, fl_tape *tape, fl_pool *pool,
                         void *workspace, const fl_cancel *cancel) {
  assert(plan && sequence && workspace && !(sequence->resets && plan->D > 1));
  if (sequence->B == 0) return FL_OK;
  if (!is_addressable(plan, sequence->B)) return FL_ERROR_OVERFLOW;
  fl_job j = make_job(plan, sequence, tape, fl_pool_threads(pool));
  fl_arena a = {.at = workspace};
  fl_lay_out(&j, &a);
  if (a.overflow) return FL_ERROR_OVERFLOW;
  assert(a.used <= fl_measure_forward(plan, sequence->T, sequence->B, fl_pool_threads(pool)));
  memset((void *)j.zeros, 0, plan->H * plan->real);
  fl_sort_rows(sequence, j.order);
  return fl_pool_run(fl_cut_shared(&j.cut, plan) ? pool : NULL, run_member, &j, cancel);
}
