/* Whole sequences: layers, directions, lengths, resets, the time loop.
 *
 * A layer in one direction is a pass. Its rows, longest first, walk through time in chunks: the input's part of the
 * pre-activations for all steps of a chunk in one product, then step by step the recurrent product and the gates, each
 * output continuing the chain that the first product began. Rows are pointers everywhere, so strides, directions, lengths
 * and resets cost an address, not a copy; rows whose sequence has ended leave the end of the list and cost nothing.
 *
 * Threads share a pass in one of two ways: by rows (each thread its own, no waiting inside the time loop) when there are
 * enough of them, else by units (one phase per step). What a chain computes is the same in all cases.
 *
 * SPDX-License-Identifier: BSD-3-Clause */
#include <string.h>
#include "arena.h"
#include "fpenv.h"
#include "plan.h"
#include "threads.h"

enum {
  CHUNK_BYTES = 512 * 1024, /* of pre-activations: half of an L2 */
  ROWS_A_THREAD = 4,        /* fewer rows than this are not worth a thread: 6 fill a tile */
  AHEAD_BYTES = 32 * 1024,       /* recurrent weights that fit in L1 leave no time to fill */
  UNITS_SPLIT_BYTES = 96 * 1024, /* recurrent weights below this are faster on one core than shared by two */
};

/* ---- how a call is cut ------------------------------------------------------------------------------------------ */

typedef struct {
  int by_units;  /* else by rows */
  size_t groups; /* of rows, per direction */
  size_t rows;   /* most rows in a group */
  size_t chunk;  /* steps per input product; 0: each step takes input and state in one product */
  int ahead;     /* input products of later chunks are done in the shadow of the steps (ahead.h) */
} cut;

static cut decide(const fl_plan *plan, size_t T, size_t B, size_t threads) {
  cut c = {.groups = 1};
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

/* ---- workspace -------------------------------------------------------------------------------------------------- */

/* what one member, or one member's group of rows, needs for itself */
typedef struct {
  const void **x; /* [chunk steps * rows] input rows of a chunk */
  const void **h; /* [rows] state rows that a step reads */
  void **y;       /* [rows] state rows that a step writes */
  void **c;       /* [rows] */
  void **m;       /* [rows] o * tanh(c), before the projection */
} pointers;

/* what a group of rows needs once */
typedef struct {
  char *z; /* [panels][chunk rows][FL_PANEL], or scratch of a step per member */
  char *z_ahead; /* as z: that of the next chunk */
  char *x_ahead; /* [I][ahead rows]: the inputs of the next chunk, side by side */
  fl_ahead *ahead; /* [members that share the panels]: each its part, whoever may end it */
  char *m; /* [rows][H] with a projection */
  char *p; /* [project panels][rows][FL_PANEL] */
} arrays;

typedef struct {
  const fl_plan *plan;
  const fl_sequence *sequence;
  cut cut;
  size_t members;
  size_t longest;
  size_t *order;       /* [B] rows, longest first; equal lengths in their order */
  const char *zeros;   /* [max(R, H)] */
  char *between[2];    /* [T, B, D*R] outputs of inner layers, in turn */
  pointers *pointers;  /* [members] */
  arrays *arrays;      /* [members], by units: z for fused steps is per member, the rest is [0]'s */
} job;

static size_t z_rows(const job *j) {
  return j->cut.chunk * j->cut.rows | 1; /* odd: panels at a power of two apart would share cache sets */
}

static void lay_out(job *j, fl_arena *a) {
  const fl_plan *const plan = j->plan;
  const size_t T = j->sequence->T, B = j->sequence->B, rows = j->cut.rows;
  j->order = fl_carve(a, B, sizeof *j->order);
  j->zeros = fl_carve(a, plan->H, plan->real);
  size_t row_bytes, step;
  if (!fl_multiply(plan->D * plan->R, plan->real, &row_bytes) || !fl_multiply(T, B, &step)) {
    a->overflow = 1;
    return;
  }
  for (size_t k = 0; k < 2; k++) j->between[k] = k + 1 < plan->L ? fl_carve(a, step, row_bytes) : NULL;
  j->pointers = fl_carve(a, j->members, sizeof *j->pointers);
  j->arrays = fl_carve(a, j->members, sizeof *j->arrays);
  for (size_t k = 0; k < j->members; k++) {
    pointers p;
    p.x = fl_carve(a, j->cut.chunk ? j->cut.chunk * rows : rows, sizeof(void *));
    p.h = fl_carve(a, rows, sizeof(void *));
    p.y = fl_carve(a, rows, sizeof(void *));
    p.c = fl_carve(a, rows, sizeof(void *));
    p.m = fl_carve(a, plan->P ? rows : 0, sizeof(void *));
    arrays s = {0};
    const int shared = j->cut.by_units && k > 0;
    if (!j->cut.chunk)
      s.z = fl_carve(a, FL_STEP_SCRATCH(rows), plan->real);
    else if (!shared)
      s.z = fl_carve(a, plan->panels * z_rows(j), FL_PANEL * plan->real);
    if (j->cut.ahead && !shared) {
      const size_t widest = plan->I > plan->D * plan->R ? plan->I : plan->D * plan->R;
      s.z_ahead = fl_carve(a, plan->panels * z_rows(j), FL_PANEL * plan->real);
      s.x_ahead = fl_carve(a, widest, plan->kernels->ahead_rows * plan->real);
      s.ahead = fl_carve(a, j->cut.by_units ? j->members : 1, sizeof *s.ahead);
    }
    if (plan->P && !shared) {
      s.m = fl_carve(a, rows, plan->H * plan->real);
      s.p = fl_carve(a, rows * plan->project_panels, FL_PANEL * plan->real);
    }
    if (a->at) {
      if (shared) {
        char *const own = s.z;
        s = j->arrays[0];
        if (!j->cut.chunk) s.z = own;
      }
      j->pointers[k] = p;
      j->arrays[k] = s;
    }
  }
}

size_t fl_workspace_size(const fl_plan *plan, size_t T, size_t B, size_t threads) {
  size_t step;
  if (threads < 1 || !fl_multiply(B, plan->panels * FL_PANEL * plan->real, &step)) return SIZE_MAX;
  const fl_sequence sequence = {.T = T, .B = B};
  job j = {.plan = plan, .sequence = &sequence, .cut = decide(plan, T, B, threads), .members = threads};
  fl_arena a = {0};
  lay_out(&j, &a);
  return a.overflow ? SIZE_MAX : a.used;
}

/* ---- rows in order of length ------------------------------------------------------------------------------------ */

static size_t length_of(const fl_sequence *s, size_t b) {
  return s->lengths ? (size_t)s->lengths[b] : s->T;
}

/* a before b: longer, or as long and earlier */
static int before(const fl_sequence *s, size_t a, size_t b) {
  const size_t la = length_of(s, a), lb = length_of(s, b);
  return la != lb ? la > lb : a < b;
}

static void sift(const fl_sequence *s, size_t *order, size_t root, size_t n) {
  for (;;) {
    size_t child = 2 * root + 1;
    if (child >= n) return;
    if (child + 1 < n && before(s, order[child], order[child + 1])) child++;
    if (!before(s, order[root], order[child])) return;
    const size_t t = order[root];
    order[root] = order[child];
    order[child] = t;
    root = child;
  }
}

/* heapsort: qsort may allocate */
static void sort_rows(const fl_sequence *s, size_t *order) {
  size_t n = s->B;
  for (size_t b = 0; b < n; b++) order[b] = b;
  if (!s->lengths) return;
  for (size_t root = n / 2; root-- > 0;) sift(s, order, root, n);
  while (n > 1) {
    n--;
    const size_t t = order[0];
    order[0] = order[n];
    order[n] = t;
    sift(s, order, 0, n);
  }
}

/* ---- one layer, one direction ----------------------------------------------------------------------------------- */

typedef struct {
  const job *job;
  const fl_layer *layer;
  int reverse, last; /* direction; the last layer, whose output is the caller's */
  const char *x;
  ptrdiff_t x_t, x_b;
  char *y;
  ptrdiff_t y_t, y_b;
  const char *h_0, *c_0; /* [B, R], [B, H] of this layer and direction, or NULL */
  char *h_n, *c_n;
} pass;

/* the rows of one group: order[first], order[first + stride], ... */
typedef struct {
  const pass *pass;
  size_t first, stride, n;
  pointers *at;
  arrays *own;
  fl_member *member; /* whose team shares the panels */
} group;

static size_t row_of(const group *g, size_t r) {
  return g->pass->job->order[g->first + r * g->stride];
}

static size_t length_at(const group *g, size_t r) {
  return length_of(g->pass->job->sequence, row_of(g, r));
}

/* input step that a row is at in its own step `s` */
static ptrdiff_t time_of(const group *g, size_t r, size_t s) {
  return (ptrdiff_t)(g->pass->reverse ? length_at(g, r) - 1 - s : s);
}

/* panels in a block when `panels` are shared: four blocks a thread, two panels at least */
static size_t grain_of(const fl_member *member, size_t panels, size_t members) {
  if (!member->team) return panels;
  const size_t grain = (panels + 4 * members - 1) / (4 * members);
  return grain < 2 ? 2 : grain;
}

#define SHARE(g, panels, first, end)                                                                                   \
  for (size_t grain_ = grain_of((g)->member, panels, (g)->pass->job->members), block_, first, end;                     \
       fl_next((g)->member, ((panels) + grain_ - 1) / grain_, &block_) &&                                              \
       (first = block_ * grain_, end = (panels) - first < grain_ ? (panels) : first + grain_, 1);)

static void begin_rows(const group *g) {
  const pass *const p = g->pass;
  const fl_plan *const plan = p->job->plan;
  for (size_t r = 0; r < g->n; r++) {
    const size_t b = row_of(g, r);
    g->at->h[r] = p->h_0 ? p->h_0 + b * plan->R * plan->real : p->job->zeros;
    g->at->c[r] = p->c_n + b * plan->H * plan->real;
    if (plan->P) g->at->m[r] = g->own->m + r * plan->H * plan->real;
  }
  for (size_t one; fl_next(g->member, 1, &one);) {
    for (size_t r = 0; r < g->n; r++) {
      if (p->c_0)
        memcpy(g->at->c[r], p->c_0 + row_of(g, r) * plan->H * plan->real, plan->H * plan->real);
      else
        memset(g->at->c[r], 0, plan->H * plan->real);
    }
  }
}

/* the caller's rows past their lengths, and the states after the last step */
static void end_rows(const group *g) {
  const pass *const p = g->pass;
  const fl_plan *const plan = p->job->plan;
  const size_t row = plan->R * plan->real, T = p->job->sequence->T;
  for (size_t one; fl_next(g->member, 1, &one);) {
    for (size_t r = 0; r < g->n; r++) {
      const size_t b = row_of(g, r);
      memcpy(p->h_n + b * row, g->at->h[r], row);
      if (p->last)
        for (size_t t = length_at(g, r); t < T; t++) memset(p->y + (ptrdiff_t)t * p->y_t + (ptrdiff_t)b * p->y_b, 0, row);
    }
  }
}

/* Rows whose state is zero before step s: h by pointing elsewhere, c by clearing the units of the panels at hand. */
static void reset_h(const group *g, size_t s, size_t active) {
  const fl_sequence *const q = g->pass->job->sequence;
  for (size_t r = 0; r < active; r++)
    if (q->resets[(ptrdiff_t)s * q->resets_t + (ptrdiff_t)row_of(g, r) * q->resets_b]) g->at->h[r] = g->pass->job->zeros;
}

static void reset_c(const group *g, size_t s, size_t active, size_t first, size_t end) {
  const fl_plan *const plan = g->pass->job->plan;
  const fl_sequence *const q = g->pass->job->sequence;
  const size_t from = first * FL_UNITS, to = end * FL_UNITS < plan->H ? end * FL_UNITS : plan->H;
  for (size_t r = 0; r < active; r++)
    if (q->resets[(ptrdiff_t)s * q->resets_t + (ptrdiff_t)row_of(g, r) * q->resets_b])
      memset((char *)g->at->c[r] + from * plan->real, 0, (to - from) * plan->real);
}

/* h = W_hr m, 32 outputs a panel, straight into the rows of y */
static void project(const group *g, size_t active) {
  const fl_plan *const plan = g->pass->job->plan;
  fl_product a = {.m = active,
                  .operand = {{(const void *const *)g->at->m, plan->H}},
                  .weights = g->pass->layer->project,
                  .weights_panel = plan->H * FL_PANEL,
                  .start = plan->zeros,
                  .z = g->own->p,
                  .z_panel = active * FL_PANEL};
  SHARE(g, plan->project_panels, first, end) {
    a.first = first;
    a.last = end;
    plan->kernels->product(&a);
    for (size_t p = first; p < end; p++) {
      const size_t from = p * FL_PANEL, n = plan->P - from < FL_PANEL ? plan->P - from : FL_PANEL;
      for (size_t r = 0; r < active; r++)
        memcpy((char *)g->at->y[r] + from * plan->real, g->own->p + (p * active + r) * FL_PANEL * plan->real, n * plan->real);
    }
  }
}

/* Work ahead for the chunk of steps s0..: the inputs of the group's only row side by side, zero past the last step, and each
 * member's part of the panels. */
static void begin_ahead(const group *g, size_t s0, size_t steps, char *z) {
  const pass *const p = g->pass;
  const fl_plan *const plan = p->job->plan;
  const size_t rows = plan->kernels->ahead_rows, I = p->layer->input_size;
  const size_t n = steps - s0 < rows ? steps - s0 : rows, members = g->member->team ? p->job->members : 1;
  for (size_t one; fl_next(g->member, 1, &one);) {
    if (n < rows) memset(g->own->x_ahead, 0, I * rows * plan->real);
    for (size_t r = 0; r < n; r++) {
      const char *const x = p->x + (ptrdiff_t)row_of(g, 0) * p->x_b + time_of(g, 0, s0 + r) * p->x_t;
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
                                    .z = z,
                                    .z_panel = z_rows(p->job) * FL_PANEL};
  }
}

/* What the steps have left undone. They are over, so that nobody is at work on any part. */
static void end_ahead(const group *g) {
  const size_t members = g->member->team ? g->pass->job->members : 1;
  for (size_t m; fl_next(g->member, members, &m);) g->pass->job->plan->kernels->finish_ahead(&g->own->ahead[m]);
}

/* x rows of steps s0..s1, step by step, and how many there are */
static size_t point_at_inputs(const group *g, size_t s0, size_t s1, size_t alive) {
  const pass *const p = g->pass;
  size_t rows = 0;
  for (size_t s = s0; s < s1; s++) {
    while (length_at(g, alive - 1) <= s) alive--;
    for (size_t r = 0; r < alive; r++)
      g->at->x[rows++] = p->x + (ptrdiff_t)row_of(g, r) * p->x_b + time_of(g, r, s) * p->x_t;
  }
  return rows;
}

/* h rows that step s reads, y rows that it writes */
static void point_at_states(const group *g, size_t s, size_t active) {
  const pass *const p = g->pass;
  const ptrdiff_t step = p->reverse ? -p->y_t : p->y_t;
  for (size_t r = 0; r < active; r++) {
    if (s == 0) {
      g->at->y[r] = p->y + (ptrdiff_t)row_of(g, r) * p->y_b + time_of(g, r, 0) * p->y_t;
    } else {
      g->at->h[r] = g->at->y[r];
      g->at->y[r] = (char *)g->at->y[r] + step;
    }
  }
  if (p->job->sequence->resets) reset_h(g, s, active);
}

static void run_group(const group *g) {
  const pass *const p = g->pass;
  const job *const j = p->job;
  const fl_plan *const plan = j->plan;
  const size_t I = p->layer->input_size, weights_panel = (I + plan->R) * FL_PANEL, z_panel = z_rows(j) * FL_PANEL;
  const size_t steps = g->n ? length_at(g, 0) : 0, chunk = j->cut.chunk;
  char *z = g->own->z, *z_next = g->own->z_ahead;
  begin_rows(g);

  /* without chunks: input and state in one product, scratch packed by rows; with them, the steps go on from z */
  fl_step step = {.product = {.operand = {{g->at->x, I}, {g->at->h, plan->R}},
                              .weights = p->layer->weights,
                              .weights_panel = weights_panel,
                              .start = p->layer->bias,
                              .z = z},
                  .units = plan->H,
                  .c = g->at->c,
                  .h = plan->P ? g->at->m : g->at->y};
  fl_product input = step.product;
  input.operand[1].k = 0;
  input.z_panel = z_panel;
  if (chunk) {
    step.product.operand[0] = step.product.operand[1];
    step.product.operand[1].k = 0;
    step.product.weights = p->layer->weights + I * FL_PANEL * plan->real;
    step.product.start = NULL;
    step.product.z_panel = z_panel;
  }
  size_t active = g->n; /* rows that are not over yet */
  for (size_t s0 = 0; s0 < steps; s0 += chunk ? chunk : 1) {
    const size_t s1 = !chunk ? s0 + 1 : steps - s0 < chunk ? steps : s0 + chunk;
    if (s0 == 0 || !j->cut.ahead) {
      input.m = point_at_inputs(g, s0, s1, active);
      if (chunk) {
        SHARE(g, plan->panels, first, end) {
          input.first = first;
          input.last = end;
          plan->kernels->product(&input);
        }
      }
    }
    const int ahead = j->cut.ahead && s1 < steps;
    if (ahead) begin_ahead(g, s1, steps, z_next);
    step.ahead = ahead ? &g->own->ahead[g->member->slot] : NULL;
    for (size_t s = s0, row = 0; s < s1; s++) {
      while (length_at(g, active - 1) <= s) active--;
      point_at_states(g, s, active);
      step.product.m = active;
      step.product.down = s & 1;
      if (chunk)
        step.product.z = z + row * FL_PANEL * plan->real;
      else
        step.product.z_panel = active * FL_PANEL;
      SHARE(g, plan->panels, first, end) {
        if (j->sequence->resets) reset_c(g, s, active, first, end);
        step.product.first = first;
        step.product.last = end;
        plan->kernels->step(&step);
      }
      if (plan->P) project(g, active);
      row += active;
    }
    if (ahead) {
      end_ahead(g);
      char *const done = z;
      z = z_next;
      z_next = done;
    }
  }
  for (size_t r = 0; r < g->n && length_at(g, r) > 0; r++) g->at->h[r] = g->at->y[r];
  end_rows(g);
}

/* ---- all layers ------------------------------------------------------------------------------------------------- */

static pass make_pass(const job *j, size_t l, size_t d) {
  const fl_plan *const plan = j->plan;
  const fl_sequence *const q = j->sequence;
  const size_t row = plan->R * plan->real, full = plan->D * row, index = l * plan->D + d;
  pass p = {.job = j, .layer = &plan->layers[index], .reverse = d == 1, .last = l + 1 == plan->L};
  if (l == 0) {
    p.x = q->input;
    p.x_t = q->input_t;
    p.x_b = q->input_b;
  } else {
    p.x = j->between[(l - 1) % 2];
    p.x_t = (ptrdiff_t)(q->B * full);
    p.x_b = (ptrdiff_t)full;
  }
  if (p.last) {
    p.y = (char *)q->output + d * row;
    p.y_t = q->output_t;
    p.y_b = q->output_b;
  } else {
    p.y = j->between[l % 2] + d * row;
    p.y_t = (ptrdiff_t)(q->B * full);
    p.y_b = (ptrdiff_t)full;
  }
  p.h_0 = q->h_0 ? (const char *)q->h_0 + index * q->B * row : NULL;
  p.c_0 = q->c_0 ? (const char *)q->c_0 + index * q->B * plan->H * plan->real : NULL;
  p.h_n = (char *)q->h_n + index * q->B * row;
  p.c_n = (char *)q->c_n + index * q->B * plan->H * plan->real;
  return p;
}

static void run_member(void *argument, fl_member *member) {
  const job *const j = argument;
  const fl_plan *const plan = j->plan;
  const size_t B = j->sequence->B;
  const fl_fpenv caller = fl_fpenv_enter();
  for (size_t l = 0; l < plan->L; l++) {
    if (j->cut.by_units) {
      for (size_t d = 0; d < plan->D; d++) {
        const pass p = make_pass(j, l, d);
        const group g = {&p, 0, 1, B, &j->pointers[member->slot], &j->arrays[member->slot], member};
        run_group(&g);
      }
    } else {
      for (size_t task; fl_next(member, plan->D * j->cut.groups, &task);) {
        const pass p = make_pass(j, l, task % plan->D);
        const size_t first = task / plan->D, stride = j->cut.groups;
        fl_member alone = {0};
        const group g = {&p, first, stride, first < B ? (B - first + stride - 1) / stride : 0, &j->pointers[member->slot],
                         &j->arrays[member->slot], &alone};
        run_group(&g);
      }
    }
  }
  fl_fpenv_leave(caller);
}

fl_status fl_forward(const fl_plan *plan, const fl_sequence *sequence, fl_pool *pool, void *workspace) {
  if (!plan || !sequence || (sequence->resets && plan->D > 1)) return FL_ERROR_ARGUMENT;
  if (sequence->B == 0) return FL_OK;
  for (size_t b = 0; sequence->lengths && b < sequence->B; b++)
    if (sequence->lengths[b] < 0 || (uint64_t)sequence->lengths[b] > sequence->T) return FL_ERROR_ARGUMENT;
  const size_t threads = fl_pool_threads(pool);
  job j = {.plan = plan, .sequence = sequence, .cut = decide(plan, sequence->T, sequence->B, threads), .members = threads};
  fl_arena a = {.at = workspace};
  lay_out(&j, &a);
  if (a.overflow || !workspace) return FL_ERROR_OVERFLOW;
  memset((void *)j.zeros, 0, plan->H * plan->real);
  sort_rows(sequence, j.order);
  const int shared = j.cut.by_units || plan->D * j.cut.groups > 1;
  fl_pool_run(shared ? pool : NULL, run_member, &j);
  return FL_OK;
}
