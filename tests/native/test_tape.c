/* What can be read from a tape, and what a trace writes: the gates and cells of every step, to the bit those of a
 * computation step by step that begins at the weights. It walks layers, directions, lengths and resets by their
 * definition, adds pieces of fused multiply-adds, and takes the gates from fl_gates_train, or in other forms each
 * activation from fl_activate.
 *
 * SPDX-License-Identifier: BSD-3-Clause */
#include "fastlstm.h"
#include "base/cpus.h"
#include "kernels/exact_fma.h"
#include "support.h"

enum { ARRAYS = 7, BEFORE = 9, MOST_UNITS = 160, MOST_LAYERS = 4, THREADS = 3 };

typedef struct {
  fl_config config;
  size_t T, B;
  const int64_t *lengths; /* [B], or NULL */
  int resets, states;     /* with some; with h_0 and c_0 */
} shape;

typedef struct {
  double *ih, *hh, *b_ih, *b_hh, *hr, *ph;
} layer;

/* All numbers are doubles here; where the type is float they are floats' values. */
typedef struct {
  const shape *shape;
  size_t real, R, outputs; /* bytes of a real; R; D*R */
  double *x, *h_0, *c_0;
  uint8_t *resets;
  layer layers[MOST_LAYERS];
  const char *isa;
  fl_plan *plan;
  fl_tape *tape;
  void *memory;
  double *step[ARRAYS]; /* i, f, g, o, c, cell [B, H], h [B, R]: as read */
  char *trace[BEFORE];  /* the same and c_prev, h_prev [L, D, T, B, H or R]: of all steps and units */
} job;

/* ---- arithmetic with one rounding to the type ------------------------------------------------------------------- */

static double rounded(const job *j, double x) {
  return j->real == sizeof(float) ? (double)(float)x : x; /* of a sum or product of two floats it is theirs */
}

static double fused(const job *j, double a, double b, double c) {
  return j->real == sizeof(float) ? (double)exact_fmaf((float)a, (float)b, (float)c) : exact_fma(a, b, c);
}

static void narrow(const job *j, const double *from, void *to, size_t n) {
  for (size_t k = 0; k < n; k++) {
    if (j->real == sizeof(float))
      ((float *)to)[k] = (float)from[k];
    else
      ((double *)to)[k] = from[k];
  }
}

static void widen(const job *j, const void *from, double *to, size_t n) {
  for (size_t k = 0; k < n; k++)
    to[k] = j->real == sizeof(float) ? (double)((const float *)from)[k] : ((const double *)from)[k];
}

static double *numbers(size_t n) {
  static uint64_t state;
  double *const made = allocated(n * sizeof *made);
  for (size_t k = 0; k < n; k++) made[k] = (double)(mix(state += GOLDEN) >> 40) / (1 << 24) - 0.5; /* exact as floats */
  return made;
}

static void *narrowed(const job *j, const double *from, size_t n) {
  if (!from) return NULL;
  void *const made = allocated(n * j->real);
  narrow(j, from, made, n);
  return made;
}

/* ---- one step, by definition ------------------------------------------------------------------------------------ */

typedef struct {
  double at[ARRAYS][MOST_UNITS]; /* i, f, g, o, c, cell, h */
  double hidden[MOST_UNITS];
} cells;

static void activate(const job *j, fl_activation activation, const double *x, double *y, size_t n) {
  double raw[MOST_UNITS] = {0};
  narrow(j, x, raw, n);
  CHECK(fl_activate(j->isa, j->shape->config.dtype, &activation, raw, raw, n) == FL_OK);
  widen(j, raw, y, n);
}

static void standard_gates(const job *j, const double *z, const double *c, cells *to) {
  const size_t H = j->shape->config.hidden_size;
  double raw_z[4 * MOST_UNITS], raw_gates[4 * MOST_UNITS], raw_c[MOST_UNITS], raw_h[MOST_UNITS];
  narrow(j, z, raw_z, 4 * H);
  narrow(j, c, raw_c, H);
  CHECK(fl_gates_train(j->isa, j->shape->config.dtype, 1, H, raw_z, raw_c, raw_c, raw_h, raw_gates) == FL_OK);
  for (size_t gate = 0; gate < 4; gate++) widen(j, (char *)raw_gates + gate * H * j->real, to->at[gate], H);
  widen(j, raw_c, to->at[4], H);
  widen(j, raw_h, to->hidden, H);
  activate(j, (fl_activation){.kind = FL_TANH}, to->at[4], to->at[5], H);
}

static void form_gates(const job *j, const double *z, const double *c, const double *ph, cells *to) {
  const fl_form *const form = j->shape->config.form;
  const size_t H = j->shape->config.hidden_size;
  double sums[4][MOST_UNITS];
  for (size_t gate = 0; gate < 4; gate++)
    for (size_t u = 0; u < H; u++) {
      sums[gate][u] = z[gate * H + u];
      if (ph && gate < 2) sums[gate][u] = fused(j, ph[gate * H + u], c[u], sums[gate][u]);
    }
  activate(j, form->gate, sums[0], to->at[0], H);
  activate(j, form->gate, sums[1], to->at[1], H);
  activate(j, form->candidate, sums[2], to->at[2], H);
  for (size_t u = 0; u < H; u++) {
    const double i = to->at[0][u], g = to->at[2][u];
    if (form->coupled) to->at[1][u] = rounded(j, 1 - i);
    to->at[4][u] = fused(j, to->at[1][u], c[u], rounded(j, form->summed ? i + g : i * g));
    if (ph) sums[3][u] = fused(j, ph[2 * H + u], to->at[4][u], sums[3][u]);
  }
  activate(j, form->gate, sums[3], to->at[3], H);
  activate(j, form->cell, to->at[4], to->at[5], H);
  for (size_t u = 0; u < H; u++) to->hidden[u] = rounded(j, to->at[3][u] * to->at[5][u]);
}

/* start, and the pieces of a w in order: chains of 128 from zero */
static double product(const job *j, double start, const double *a, const double *w, size_t n) {
  double sum = start;
  for (size_t k = 0; k < n;) {
    double piece = 0;
    for (const size_t end = n - k < 128 ? n : k + 128; k < end; k++) piece = fused(j, a[k], w[k], piece);
    sum = rounded(j, sum + piece);
  }
  return sum;
}

static void compute(const job *j, const layer *l, size_t width, const double *x, const double *h, const double *c,
                    cells *to) {
  const fl_config *const f = &j->shape->config;
  const size_t H = f->hidden_size, P = f->proj_size;
  double z[4 * MOST_UNITS];
  for (size_t row = 0; row < 4 * H; row++) {
    const double X = product(j, rounded(j, l->b_ih[row] + l->b_hh[row]), x, l->ih + row * width, width);
    z[row] = rounded(j, X + product(j, 0, h, l->hh + row * j->R, j->R));
  }
  if (f->form)
    form_gates(j, z, c, l->ph, to);
  else
    standard_gates(j, z, c, to);
  memcpy(to->at[6], to->hidden, H * sizeof(double));
  for (size_t row = 0; row < P; row++) to->at[6][row] = product(j, 0, to->hidden, l->hr + row * H, H);
}

/* ---- a tape ----------------------------------------------------------------------------------------------------- */

static double *drawn_if(int wanted, size_t n) {
  return wanted ? numbers(n) : NULL;
}

static job begin(const shape *s, const char *isa) {
  const fl_config *const f = &s->config;
  const size_t H = f->hidden_size, P = f->proj_size, LD = f->num_layers * f->directions, TB = s->T * s->B;
  job j = {.shape = s, .real = f->dtype / 8, .R = P ? P : H, .isa = isa};
  fl_weights weights[MOST_LAYERS];
  CHECK(H <= MOST_UNITS && LD <= MOST_LAYERS);
  j.outputs = f->directions * j.R;
  for (size_t k = 0; k < LD; k++) {
    const size_t width = k < f->directions ? f->input_size : j.outputs;
    layer *const l = &j.layers[k];
    *l = (layer){numbers(4 * H * width), numbers(4 * H * j.R),   numbers(4 * H),
                 numbers(4 * H),         drawn_if(P > 0, P * H), drawn_if(f->form && f->form->peepholes, 3 * H)};
    weights[k] = (fl_weights){.weight_ih = narrowed(&j, l->ih, 4 * H * width),
                              .weight_hh = narrowed(&j, l->hh, 4 * H * j.R),
                              .bias_ih = narrowed(&j, l->b_ih, 4 * H),
                              .bias_hh = narrowed(&j, l->b_hh, 4 * H),
                              .weight_hr = narrowed(&j, l->hr, P * H),
                              .weight_ph = narrowed(&j, l->ph, 3 * H)};
  }
  CHECK(fl_plan_create(&j.plan, f, weights, isa) == FL_OK);
  for (size_t k = 0; k < LD; k++) {
    const void *const parts[] = {weights[k].weight_ih, weights[k].weight_hh, weights[k].bias_ih,
                                 weights[k].bias_hh,   weights[k].weight_hr, weights[k].weight_ph};
    for (size_t part = 0; part < sizeof parts / sizeof parts[0]; part++) free((void *)parts[part]);
  }
  j.x = numbers(TB * f->input_size);
  j.h_0 = drawn_if(s->states, LD * s->B * j.R);
  j.c_0 = drawn_if(s->states, LD * s->B * H);
  j.resets = s->resets ? allocated(TB) : NULL;
  for (size_t k = 0; j.resets && k < TB; k++) j.resets[k] = k % 5 == 3;
  for (size_t k = 0; k < ARRAYS; k++) j.step[k] = allocated(s->B * MOST_UNITS * sizeof(double));
  return j;
}

static void end(job *j) {
  for (size_t k = 0; k < j->shape->config.num_layers * j->shape->config.directions; k++) {
    const layer l = j->layers[k];
    double *const parts[] = {l.ih, l.hh, l.b_ih, l.b_hh, l.hr, l.ph};
    for (size_t part = 0; part < sizeof parts / sizeof parts[0]; part++) free(parts[part]);
  }
  for (size_t k = 0; k < ARRAYS; k++) free(j->step[k]);
  for (size_t k = 0; k < BEFORE; k++) free(j->trace[k]);
  free(j->x);
  free(j->h_0);
  free(j->c_0);
  free(j->resets);
  free(j->memory);
  fl_plan_destroy(j->plan);
}

/* ---- a trace ---------------------------------------------------------------------------------------------------- */

static fl_trace trace_of(void *const *arrays) {
  return (fl_trace){.every = 1,
                    .i = arrays[0],
                    .f = arrays[1],
                    .g = arrays[2],
                    .o = arrays[3],
                    .c = arrays[4],
                    .cell = arrays[5],
                    .h = arrays[6],
                    .c_prev = arrays[7],
                    .h_prev = arrays[8]};
}

static size_t trace_width(const job *j, size_t k) {
  return k == 6 || k == 8 ? j->R : j->shape->config.hidden_size;
}

/* bytes of its arrays, for so many steps of so many numbers */
static size_t trace_bytes(const job *j, size_t steps, size_t width) {
  const shape *const s = j->shape;
  return s->config.num_layers * s->config.directions * steps * s->B * width * j->real;
}

/* numbers in a row of array k where two units are wanted: a projection's all */
static size_t some_of(const job *j, size_t k) {
  return j->shape->config.proj_size && (k == 6 || k == 8) ? j->R : 2;
}

/* every second step, two units, all arrays but one; compared with what there is of all */
static void trace_some(const job *j, const fl_sequence *sequence, fl_pool *pool, void *workspace) {
  const shape *const s = j->shape;
  const size_t units[] = {s->config.hidden_size - 1, 0}, steps = (s->T + 1) / 2;
  void *arrays[BEFORE], *raw[BEFORE];
  for (size_t k = 0; k < BEFORE; k++) arrays[k] = aligned(trace_bytes(j, steps, some_of(j, k)), &raw[k]);
  fl_trace trace = trace_of(arrays);
  trace.every = 2;
  trace.units = units;
  trace.n_units = 2;
  trace.g = NULL;
  CHECK(fl_forward_trace(j->plan, sequence, &trace, NULL, pool, workspace, NULL) == FL_OK);
  for (size_t k = 0; k < BEFORE; k++) {
    const size_t n = some_of(j, k), rows = k == 2 ? 0 : trace_bytes(j, steps, 1) / j->real;
    for (size_t row = 0; row < rows; row++) {
      const size_t b = row % s->B, t = row / s->B % steps * 2, index = row / s->B / steps;
      const char *const all = j->trace[k] + ((index * s->T + t) * s->B + b) * trace_width(j, k) * j->real;
      for (size_t u = 0; u < n; u++)
        CHECK(!memcmp((char *)arrays[k] + (row * n + u) * j->real, all + (n == 2 ? units[u] : u) * j->real, j->real));
    }
    free(raw[k]);
  }
}

/* of all steps and units, into y, h_n and c_n, which then hold what a forward pass gives */
static void trace_all(job *j, const fl_sequence *sequence, fl_pool *pool) {
  void *raw, *const workspace = aligned(fl_trace_workspace(j->plan, j->shape->T, j->shape->B, THREADS), &raw);
  for (size_t k = 0; k < BEFORE; k++) {
    free(j->trace[k]);
    j->trace[k] = allocated(trace_bytes(j, j->shape->T, trace_width(j, k)));
  }
  const fl_trace trace = trace_of((void *const *)j->trace);
  CHECK(fl_forward_trace(j->plan, sequence, &trace, NULL, pool, workspace, NULL) == FL_OK);
  trace_some(j, sequence, pool, workspace);
  CHECK(fl_forward_trace(j->plan, sequence, NULL, NULL, pool, workspace, NULL) == FL_ERROR_ARGUMENT);
  CHECK(fl_forward_trace(j->plan, sequence, &(fl_trace){0}, NULL, pool, workspace, NULL) == FL_ERROR_ARGUMENT);
  const fl_trace beyond = {.every = 1, .units = &j->shape->config.hidden_size, .n_units = 1};
  CHECK(fl_forward_trace(j->plan, sequence, &beyond, NULL, pool, workspace, NULL) == FL_ERROR_ARGUMENT);
  const fl_trace nothing = {.every = SIZE_MAX};
  CHECK(fl_forward_trace(j->plan, sequence, &nothing, NULL, pool, workspace, NULL) == FL_OK);
  free(raw);
}

static void fill(job *j, double dropout, fl_pool *pool) {
  const shape *const s = j->shape;
  const size_t I = s->config.input_size, LDB = s->config.num_layers * s->config.directions * s->B, TB = s->T * s->B;
  size_t steps = s->lengths ? 0 : TB;
  for (size_t b = 0; s->lengths && b < s->B; b++) steps += (size_t)s->lengths[b];
  void *const x = narrowed(j, j->x, TB * I), *const y = allocated(TB * j->outputs * j->real);
  void *const h_0 = narrowed(j, j->h_0, LDB * j->R), *const c_0 = narrowed(j, j->c_0, LDB * s->config.hidden_size);
  void *const h_n = allocated(LDB * j->R * j->real), *const c_n = allocated(LDB * s->config.hidden_size * j->real);
  const fl_sequence sequence = {.T = s->T,
                                .B = s->B,
                                .input = x,
                                .input_t = (ptrdiff_t)(s->B * I * j->real),
                                .input_b = (ptrdiff_t)(I * j->real),
                                .output = y,
                                .output_t = (ptrdiff_t)(s->B * j->outputs * j->real),
                                .output_b = (ptrdiff_t)(j->outputs * j->real),
                                .h_0 = h_0,
                                .c_0 = c_0,
                                .h_n = h_n,
                                .c_n = c_n,
                                .lengths = s->lengths,
                                .resets = j->resets,
                                .resets_t = (ptrdiff_t)s->B,
                                .resets_b = 1};
  void *raw;
  const size_t bytes = fl_tape_size(j->plan, s->T, s->B, steps, dropout > 0, j->resets != NULL);
  j->tape = fl_tape_init(j->plan, &sequence, dropout, 1, 0, aligned(bytes, &j->memory));
  CHECK(j->tape && fl_tape_read(j->tape, 0, 0, 0, &(fl_tape_step){0}) == FL_ERROR_ARGUMENT); /* not filled */
  fl_tape_sizes sizes;
  CHECK(fl_tape_get_sizes(j->tape, &sizes) == FL_OK && sizes.dtype == s->config.dtype && sizes.T == s->T);
  CHECK(sizes.B == s->B && sizes.steps == steps && sizes.num_layers == s->config.num_layers);
  CHECK(sizes.directions == s->config.directions && sizes.hidden_size == s->config.hidden_size);
  CHECK(sizes.output_size == j->R);
  void *const workspace = aligned(fl_workspace_size(j->plan, s->T, s->B, THREADS), &raw);
  CHECK(fl_forward_train(&sequence, j->tape, pool, workspace) == FL_OK);
  free(raw);
  trace_all(j, &sequence, pool);
  void *const all[] = {x, y, h_0, c_0, h_n, c_n};
  for (size_t k = 0; k < sizeof all / sizeof all[0]; k++) free(all[k]);
}

/* ---- reading ---------------------------------------------------------------------------------------------------- */

static void read_step(job *j, size_t l, size_t d, size_t t) {
  const size_t B = j->shape->B, H = j->shape->config.hidden_size;
  void *got[ARRAYS], *raw[ARRAYS];
  for (size_t k = 0; k < ARRAYS; k++) got[k] = aligned(B * (k == 6 ? j->R : H) * j->real, &raw[k]);
  const fl_tape_step step = {got[0], got[1], got[2], got[3], got[4], got[5], got[6]};
  CHECK(fl_tape_read(j->tape, l, d, t, &step) == FL_OK);
  for (size_t k = 0; k < ARRAYS; k++) {
    widen(j, got[k], j->step[k], B * (k == 6 ? j->R : H));
    const size_t row = ((l * j->shape->config.directions + d) * j->shape->T + t) * B;
    CHECK(!memcmp(got[k], j->trace[k] + row * trace_width(j, k) * j->real, B * trace_width(j, k) * j->real));
    free(raw[k]);
  }
}

static void expect(const job *j, size_t l, size_t d, size_t t, size_t b, const cells *expected) {
  static const char *const names[ARRAYS] = {"i", "f", "g", "o", "c", "cell", "h"};
  for (size_t k = 0; k < ARRAYS; k++) {
    const size_t n = k == 6 ? j->R : j->shape->config.hidden_size;
    if (!memcmp(expected->at[k], j->step[k] + b * n, n * sizeof(double))) continue;
    fprintf(stderr, "%s on %s: layer %zu, direction %zu, step %zu, row %zu: other bits\n", names[k], j->isa, l, d, t,
            b);
    exit(1);
  }
}

static size_t length_of(const job *j, size_t b) {
  return j->shape->lengths ? (size_t)j->shape->lengths[b] : j->shape->T;
}

/* what a step of the trace began with */
static void expect_before(const job *j, size_t row, const double *h, const double *c) {
  double got[MOST_UNITS];
  for (size_t k = ARRAYS; k < BEFORE; k++) {
    const size_t n = trace_width(j, k);
    widen(j, j->trace[k] + row * n * j->real, got, n);
    CHECK(!memcmp(got, k == ARRAYS ? c : h, n * sizeof *got));
  }
}

/* one row of a layer in one direction, from x [T, B, width] into y [T, B, outputs] */
static void walk(job *j, size_t l, size_t d, size_t b, const double *x, size_t width, double *y) {
  const shape *const s = j->shape;
  const size_t H = s->config.hidden_size, index = l * s->config.directions + d, at = index * s->B + b;
  double h[MOST_UNITS] = {0}, c[MOST_UNITS] = {0};
  cells now;
  if (j->h_0) memcpy(h, j->h_0 + at * j->R, j->R * sizeof *h);
  if (j->c_0) memcpy(c, j->c_0 + at * H, H * sizeof *c);
  for (size_t step = 0; step < s->T; step++) {
    const size_t length = length_of(j, b), t = d && step < length ? length - 1 - step : step, row = t * s->B + b;
    memset(&now, 0, sizeof now);
    if (step < length) {
      if (j->resets && j->resets[row]) {
        memset(h, 0, sizeof h);
        memset(c, 0, sizeof c);
      }
      expect_before(j, (index * s->T + t) * s->B + b, h, c);
      compute(j, &j->layers[index], width, x + row * width, h, c, &now);
      memcpy(h, now.at[6], sizeof h);
      memcpy(c, now.at[4], sizeof c);
    }
    memcpy(y + row * j->outputs + d * j->R, now.at[6], j->R * sizeof *y);
    read_step(j, l, d, t);
    expect(j, l, d, t, b, &now);
  }
}

static void compare(job *j) {
  const shape *const s = j->shape;
  double *x = allocated(s->T * s->B * s->config.input_size * sizeof *x);
  size_t width = s->config.input_size;
  memcpy(x, j->x, s->T * s->B * width * sizeof *x);
  for (size_t l = 0; l < s->config.num_layers; l++, width = j->outputs) {
    double *const y = allocated(s->T * s->B * j->outputs * sizeof *y);
    for (size_t d = 0; d < s->config.directions; d++)
      for (size_t b = 0; b < s->B; b++) walk(j, l, d, b, x, width, y);
    free(x);
    x = y;
  }
  free(x);
}

/* Dropout changes what the next layer reads, not what is read here of the first. */
static void compare_dropout(job *j) {
  const size_t B = j->shape->B, H = j->shape->config.hidden_size;
  double *const kept = allocated(ARRAYS * j->shape->T * B * MOST_UNITS * sizeof *kept), *at = kept;
  for (int pass = 0; pass < 2; pass++, at = kept) {
    fill(j, pass ? 0.5 : 0, NULL);
    for (size_t t = 0; t < j->shape->T; t++) {
      read_step(j, 0, 0, t);
      for (size_t k = 0; k < ARRAYS; k++, at += B * MOST_UNITS) {
        const size_t bytes = B * (k == 6 ? j->R : H) * sizeof *at;
        CHECK(!pass || !memcmp(at, j->step[k], bytes));
        memcpy(at, j->step[k], bytes);
      }
    }
    free(j->memory);
    j->memory = NULL;
  }
  free(kept);
}

/* out of range; some of the arrays; after the backward pass */
static void refuses(job *j) {
  const fl_config *const f = &j->shape->config;
  void *raw, *only;
  fl_tape_sizes sizes;
  const fl_tape_step some = {.c = aligned(j->shape->B * f->hidden_size * j->real, &only)};
  CHECK(fl_tape_read(NULL, 0, 0, 0, &some) == FL_ERROR_ARGUMENT);
  CHECK(fl_tape_read(j->tape, 0, 0, 0, NULL) == FL_ERROR_ARGUMENT);
  CHECK(fl_tape_read(j->tape, f->num_layers, 0, 0, &some) == FL_ERROR_ARGUMENT);
  CHECK(fl_tape_read(j->tape, 0, f->directions, 0, &some) == FL_ERROR_ARGUMENT);
  CHECK(fl_tape_read(j->tape, 0, 0, j->shape->T, &some) == FL_ERROR_ARGUMENT);
  CHECK(fl_tape_get_sizes(NULL, &sizes) == FL_ERROR_ARGUMENT && fl_tape_get_sizes(j->tape, NULL) == FL_ERROR_ARGUMENT);
  CHECK(fl_tape_read(j->tape, 0, 0, 0, &some) == FL_OK && fl_tape_read(j->tape, 0, 0, 0, &(fl_tape_step){0}) == FL_OK);
  void *const workspace = aligned(fl_backward_size(j->tape, 1), &raw);
  CHECK(fl_backward(j->tape, &(fl_gradients){0}, NULL, workspace) == FL_OK);
  CHECK(fl_tape_read(j->tape, 0, 0, 0, &some) == FL_ERROR_ARGUMENT);
  CHECK(fl_tape_get_sizes(j->tape, &sizes) == FL_OK);
  free(raw);
  free(only);
}

static void run(const shape *s, const char *isa, fl_pool *pool) {
  job j = begin(s, isa);
  for (int threads = 0; threads < 2; threads++) {
    fill(&j, 0, threads ? pool : NULL);
    compare(&j);
    if (threads) break;
    free(j.memory);
  }
  refuses(&j);
  free(j.memory);
  j.memory = NULL;
  if (s->config.num_layers > 1) compare_dropout(&j);
  end(&j);
}

int main(void) {
  fl_use_all_threads(1);
  static const int64_t lengths[] = {4, 0, 7, 7, 1};
  static const fl_form seeing = {{FL_SIGMOID, 0, 0}, {FL_SOFTSIGN, 0, 0}, {FL_TANH, 0, 0}, 1, 0, FL_CLIP_NONE, 0, 0};
  static const fl_form coupled = {
      {FL_HARD_SIGMOID, 0.2, 0.5}, {FL_TANH, 0, 0}, {FL_SCALED_TANH, 1.5, 0.5}, 1, 1, FL_CLIP_NONE, 0, 1};
  const shape shapes[] = {
      {{FL_FLOAT32, 3, 5, 0, 1, 1, NULL, FL_WEIGHTS_REAL}, 6, 3, NULL, 0, 0},
      {{FL_FLOAT64, 3, 5, 0, 2, 2, NULL, FL_WEIGHTS_REAL}, 7, 5, lengths, 0, 1},
      {{FL_FLOAT32, 2, 33, 7, 2, 2, NULL, FL_WEIGHTS_REAL}, 7, 5, lengths, 0, 1},
      {{FL_FLOAT32, 4, 17, 0, 2, 1, NULL, FL_WEIGHTS_REAL}, 9, 4, NULL, 1, 1},
      {{FL_FLOAT64, 4, 9, 3, 2, 1, &seeing, FL_WEIGHTS_REAL}, 7, 5, lengths, 1, 0},
      {{FL_FLOAT32, 4, 12, 0, 1, 2, &coupled, FL_WEIGHTS_REAL}, 7, 5, lengths, 0, 1},
      {{FL_FLOAT32, 5, 96, 0, 1, 2, NULL, FL_WEIGHTS_REAL}, 60, 1, NULL, 0, 0},
      {{FL_FLOAT32, 300, 150, 0, 1, 1, NULL, FL_WEIGHTS_REAL}, 30, 1, NULL, 0, 0}, /* several pieces, of x and of h */
      {{FL_FLOAT32, 130, 140, 0, 1, 1, NULL, FL_WEIGHTS_REAL}, 3, 140, NULL, 0, 1},
      {{FL_FLOAT64, 129, 157, 131, 2, 1, NULL, FL_WEIGHTS_REAL}, 3, 7, NULL, 1, 1},
  };
  size_t sets = 0;
  fl_pool *pool;
  CHECK(fl_pool_create(&pool, THREADS) == FL_OK);
  for (; fl_isa_name(sets); sets++)
    for (size_t k = 0; k < sizeof shapes / sizeof shapes[0]; k++) run(&shapes[k], fl_isa_name(sets), pool);
  fl_pool_destroy(pool);
  printf("fastlstm tape: the gates of every step, to the bit, on %zu instruction sets\n", sets);
  return 0;
}
