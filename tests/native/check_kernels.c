/* Every kernel of FL_KERNEL_LIST by itself: on every instruction set and real type, against the scalar one, to the bit;
 * those of FL_WEIGHT_KERNEL_LIST with weights of every type.
 *
 *   check_kernels [seed]      random calls within each kernel's contract (kernels.h)
 *   check_kernels --bench     nanoseconds of a call of typical size, with one row and with 32
 *
 * A call is built twice from one seed, so that both kernels find the same numbers. Every array is a block of its own,
 * exactly as long as it is said to be, between poisoned margins. What a kernel may not write has to stay as it was. A
 * kernel of the list that has no build_ and run_ here does not compile.
 *
 * SPDX-License-Identifier: BSD-3-Clause */
#include <math.h>
#include <time.h>
#include "passes.h"
#include "plan.h"
#include "support.h"

enum { CALLS = 100, POISON = 0xfd, MARGIN = 64, MOST_ARRAYS = 1024, MOST_LISTS = 32, MOST_ROWS = 34 };

/* ---- a call: its arrays and its arguments ----------------------------------------------------------------------- */

/* FILL: numbers to begin with, else poison. WRITE: the kernel may write it. COMPARE: and has to write the same; EXACT:
 * words, where no NaN is like another. */
enum { FILL = 1, WRITE = 2, COMPARE = 4, EXACT = 8 };
enum { IN = FILL, OUT = WRITE | COMPARE, INOUT = FILL | WRITE | COMPARE, SCRATCH = WRITE, USED = FILL | WRITE };

typedef struct {
  void *raw;           /* what to free */
  char *at;            /* MARGIN bytes after the block's beginning, and as many before its end */
  size_t bytes, block; /* of the array; with its margins */
  char *before;        /* the block as it was */
  int role;
} array;

typedef struct {
  fl_dtype dtype;
  fl_weight_type type; /* of the weights */
  size_t real;
  size_t bench;   /* rows of a call of typical size; 0: a random call */
  uint64_t state; /* of the random numbers */
  int special;    /* some of the numbers are infinite, NaN, subnormal or huge */
  array arrays[MOST_ARRAYS];
  void *lists[MOST_LISTS]; /* of pointers to rows */
  size_t array_count, list_count;
  fl_form form;
  struct {
    fl_activation f;
    void *x, *y;
    size_t n;
  } map;
  fl_gates gates;
  void *gates_out;
  fl_product product;
  fl_step step;
  fl_gradient_step gradient_step;
  fl_gates_gradient gates_gradient;
  fl_outer outer;
  fl_peephole_sums peephole_sums;
  struct {
    void *data, *sums;
    size_t lines;
  } digest;
  struct {
    void *x;
    size_t n;
  } chains;
} call;

static call one, other; /* compared with, on scalar; and checked */

static size_t below(call *c, size_t n) {
  c->state += GOLDEN;
  return (size_t)(mix(c->state) >> 33) % n;
}

static int maybe(call *c) {
  return !c->bench && below(c, 2);
}

/* least..most, mostly near the least; in a benchmark what is typical */
static size_t size(call *c, size_t least, size_t most, size_t typical) {
  const size_t range = most - least + 1, near = range < 20 ? range : 20;
  return c->bench ? typical : least + below(c, below(c, 8) ? near : range);
}

static size_t row_count(call *c) {
  return c->bench ? c->bench : 1 + below(c, below(c, 2) ? 5 : MOST_ROWS);
}

static double number(call *c) {
  static const double picked[] = {0, -0.0, INFINITY, -INFINITY, NAN, 1e-310, -1e-40, 3e38, -1e30};
  if (c->special && !below(c, 24)) return picked[below(c, sizeof picked / sizeof picked[0])];
  return ldexp((double)below(c, 1 << 20) - (1 << 19), -17); /* -4..4, exact as a float */
}

/* not yet filled, `offset` bytes from where a vector would be aligned */
static array *array_of(call *c, int role, size_t bytes, size_t offset) {
  CHECK(c->array_count < MOST_ARRAYS);
  array *const a = &c->arrays[c->array_count++];
  *a = (array){.bytes = bytes, .role = role};
  a->block = a->bytes + 2 * MARGIN;
  char *const block = (char *)aligned(a->block + offset, &a->raw) + offset;
  a->at = block + MARGIN;
  memset(block, POISON, a->block);
  return a;
}

static void *filled(array *a) {
  char *const block = a->at - MARGIN;
  a->before = memcpy(allocated(a->block), block, a->block);
  FORBID(block, MARGIN);
  FORBID(a->at + a->bytes, MARGIN);
  return a->at;
}

static void *reals_at(call *c, int role, size_t n, size_t offset) {
  array *const a = array_of(c, role, n * c->real, offset);
  for (size_t j = 0; role & FILL && j < n; j++) {
    if (c->dtype == FL_FLOAT32)
      ((float *)a->at)[j] = (float)number(c);
    else
      ((double *)a->at)[j] = number(c);
  }
  return filled(a);
}

static void *reals(call *c, int role, size_t n) {
  return reals_at(c, role, n, c->bench ? 0 : below(c, 16) * c->real);
}

static void *list(call *c, size_t m) {
  CHECK(c->list_count < MOST_LISTS);
  return c->lists[c->list_count++] = allocated(m * sizeof(void *));
}

/* m rows of n reals, each somewhere else */
static void *rows(call *c, int role, size_t m, size_t n) {
  void **const at = list(c, m);
  for (size_t r = 0; r < m; r++) at[r] = reals(c, role, n);
  return at;
}

/* m rows in one array, `row` reals from one to the next */
static void *rows_in(call *c, int role, size_t m, size_t row, size_t n) {
  void **const at = list(c, m);
  char *const first = reals(c, role, n);
  for (size_t r = 0; r < m; r++) at[r] = first + r * row * c->real;
  return at;
}

static void release(call *c) {
  for (size_t k = 0; k < c->array_count; k++) {
    free(c->arrays[k].raw);
    free(c->arrays[k].before);
  }
  for (size_t k = 0; k < c->list_count; k++) free(c->lists[k]);
}

/* ---- what a call is compared by --------------------------------------------------------------------------------- */

static int is_nan(const char *p, size_t real) {
  float narrow;
  double wide;
  if (real == sizeof narrow) return memcpy(&narrow, p, real), narrow != narrow;
  return memcpy(&wide, p, real), wide != wide;
}

/* equal bits, or any two NaNs; but what one has left alone the other leaves alone too */
static int same_real(const array *a, const array *b, size_t at, size_t real) {
  const char *const p = a->at + at, *const q = b->at + at, *const before = a->before + MARGIN + at;
  const int strict = a->role & EXACT || (!(a->role & FILL) && !memcmp(p, before, real));
  return !memcmp(p, q, real) || (!strict && is_nan(p, real) && is_nan(q, real));
}

/* whether nothing was written that may not be */
static int intact(const array *a) {
  const size_t end = MARGIN + a->bytes;
  ALLOW(a->at - MARGIN, a->block);
  return !memcmp(a->at - MARGIN, a->before, MARGIN) && !memcmp(a->at + a->bytes, a->before + end, MARGIN) &&
         (a->role & WRITE || !memcmp(a->at, a->before + MARGIN, a->bytes));
}

/* what is wrong with `got`, or NULL */
static const char *difference(const call *expected, const call *got, size_t *which) {
  for (*which = 0; *which < got->array_count; ++*which) {
    const array *const a = &expected->arrays[*which], *const b = &got->arrays[*which];
    if (!intact(a) || !intact(b)) return "written where it may not be";
    for (size_t at = 0; a->role & COMPARE && at < a->bytes; at += got->real)
      if (!same_real(a, b, at, got->real)) return "other bits";
  }
  return NULL;
}

/* ---- activations and the gates alone ---------------------------------------------------------------------------- */

#define PLUS_1(...) +1
enum { KINDS = 0 FL_ACTIVATION_LIST(PLUS_1) };
#undef PLUS_1

static fl_activation any_activation(call *c) {
  return (fl_activation){(fl_activation_kind)below(c, KINDS), 0.25 * (double)(1 + below(c, 5)),
                         0.25 * (double)below(c, 5)};
}

static void build_activate(call *c) {
  c->map.f = c->bench ? (fl_activation){.kind = FL_TANH} : any_activation(c);
  c->map.n = size(c, 0, 100, 128 * c->bench);
  const int in_place = maybe(c);
  c->map.x = reals(c, in_place ? INOUT : IN, c->map.n);
  c->map.y = in_place ? c->map.x : reals(c, OUT, c->map.n);
}

static void run_activate(const fl_kernels *k, call *c) {
  k->activate(&c->map.f, c->map.x, c->map.y, c->map.n);
}

static void build_gates_forward(call *c) {
  const size_t m = row_count(c), units = size(c, 1, 150, 128), n = m * units;
  const int in_place = maybe(c);
  void *const cell = reals(c, in_place ? INOUT : IN, n);
  c->gates = (fl_gates){m, units, reals(c, IN, 4 * n), cell, in_place ? cell : reals(c, OUT, n), reals(c, OUT, n)};
}

static void run_gates_forward(const fl_kernels *k, call *c) {
  k->gates_forward(&c->gates);
}

static void build_gates_train(call *c) {
  build_gates_forward(c);
  c->gates_out = reals(c, OUT, 4 * c->gates.rows * c->gates.units);
}

static void run_gates_train(const fl_kernels *k, call *c) {
  k->gates_train(&c->gates, c->gates_out);
}

static void build_gates_backward(call *c) {
  const size_t m = row_count(c), units = size(c, 1, 150, 128), n = m * units;
  const int in_place = maybe(c);
  void *const gates = reals(c, in_place ? INOUT : IN, 4 * n);
  c->gates_gradient = (fl_gates_gradient){m,
                                          units,
                                          gates,
                                          reals(c, IN, n),
                                          reals(c, IN, n),
                                          reals(c, IN, n),
                                          in_place ? gates : reals(c, OUT, 4 * n),
                                          reals(c, INOUT, n)};
}

static void run_gates_backward(const fl_kernels *k, call *c) {
  k->gates_backward(&c->gates_gradient);
}

/* ---- products and steps ----------------------------------------------------------------------------------------- */

/* Rows of FL_PANEL weights that k of them take in a panel: those of 8 bits come in groups of four k, after a scale and
 * an offset for each lane (kernels/integers.h). */
enum { HEADER_ROWS = 8, GROUP = 4 };
static size_t weight_rows(const call *c, size_t k) {
  return k && fl_has_integers(c->type) ? HEADER_ROWS + (k + GROUP - 1) / GROUP * GROUP : k;
}

/* Of an operand in a panel: any scales, any offsets, any integers. */
static void fill_integers(call *c, char *to, size_t k) {
  for (size_t lane = 0; lane < FL_PANEL; lane++) {
    const float scale = (float)number(c);
    const int32_t offset = c->bench || below(c, 4) ? 128 : (int32_t)below(c, 256);
    memcpy(to + 4 * lane, &scale, 4);
    memcpy(to + 4 * (FL_PANEL + lane), &offset, 4);
  }
  const int extreme = maybe(c) && maybe(c);
  for (size_t j = HEADER_ROWS * FL_PANEL; j < weight_rows(c, k) * FL_PANEL; j++)
    to[j] = (char)(extreme ? 255 * below(c, 2) : below(c, 256));
}

/* of 16 bits, any that is finite */
static uint16_t half(call *c) {
  const unsigned bits = (unsigned)below(c, 1 << 16), mask = c->type == FL_WEIGHTS_FLOAT16 ? 0x7c00 : 0x7f80;
  return (uint16_t)((bits & mask) == mask ? bits & ~0x0400u : bits);
}

static void *words(call *c, const fl_product *product) {
  const size_t panel = product->weights_panel * (fl_has_integers(c->type) ? 1 : 2);
  array *const a = array_of(c, IN, product->last * panel, 0);
  for (size_t p = 0; p < product->last; p++) {
    char *to = a->at + p * panel;
    if (fl_has_integers(c->type)) {
      for (size_t j = 0; j < 2 && product->operand[j].k; j++) {
        fill_integers(c, to, product->operand[j].k);
        to += weight_rows(c, product->operand[j].k) * FL_PANEL;
      }
      continue;
    }
    for (size_t j = 0; j < product->weights_panel; j++, to += 2) {
      const uint16_t bits = half(c);
      memcpy(to, &bits, sizeof bits);
    }
  }
  return filled(a);
}

/* one operand or two, weights, panels; not where it goes */
static fl_product product_of(call *c, size_t m) {
  fl_product a = {.m = m, .first = maybe(c) ? below(c, 4) : 0, .down = maybe(c)};
  a.last = a.first + size(c, 1, 6, 16);
  const int two = maybe(c);
  for (size_t j = 0; j < 1 + (size_t)two; j++) {
    const size_t k = size(c, 1, below(c, 8) ? 300 : 1100, 256);
    a.operand[j] = (fl_operand){rows(c, IN, m, k), k};
  }
  a.weights_panel = (weight_rows(c, a.operand[0].k) + weight_rows(c, a.operand[1].k)) * FL_PANEL;
  a.weights = c->type == FL_WEIGHTS_REAL ? reals_at(c, IN, a.last * a.weights_panel, 0) : words(c, &a);
  return a;
}

static double real_at(const call *c, const void *p, size_t j) {
  return c->dtype == FL_FLOAT32 ? (double)((const float *)p)[j] : ((const double *)p)[j];
}

static void set_real(call *c, const void *p, size_t j, double to) {
  char *const at = (char *)p + j * c->real;
  const float narrow = (float)to;
  memcpy(at, c->dtype == FL_FLOAT32 ? (const void *)&narrow : (const void *)&to, c->real);
  for (array *a = c->arrays; a < c->arrays + c->array_count; a++)
    if (at >= a->at && at < a->at + a->bytes) memcpy(a->before + MARGIN + (at - a->at), at, c->real);
}

/* Zeros to be skipped, of either sign, in the rows of operand[0], whose weights are then finite. In the call that is
 * compared with they are not. */
static void maybe_skip_zeros(call *c, fl_product *a) {
  const size_t k = a->operand[0].k;
  const int sparse = maybe(c);
  if (fl_has_integers(c->type) || c->bench || a->into == FL_ADD || a->unpacked[0] || !maybe(c)) return;
  a->skip_zeros = c != &one;
  for (size_t r = 0; r < a->m; r++) {
    const size_t zeros = sparse || maybe(c) ? 8 + below(c, 9) : 0; /* sixteenths */
    for (size_t j = 0; j < k; j++)
      if (below(c, 16) < zeros) set_real(c, a->operand[0].rows[r], j, maybe(c) ? 0 : -0.0);
  }
  for (size_t p = 0; c->type == FL_WEIGHTS_REAL && p < a->last; p++)
    for (size_t j = p * a->weights_panel; j < p * a->weights_panel + k * FL_PANEL; j++)
      if (!isfinite(real_at(c, a->weights, j))) set_real(c, a->weights, j, 1e-30);
  for (size_t j = 0; a->start && j < a->last * FL_PANEL; j++)
    if (real_at(c, a->start, j) == 0) set_real(c, a->start, j, 0);
}

static void build_product(call *c) {
  const size_t m = row_count(c);
  fl_product *const a = &c->product;
  *a = product_of(c, m);
  a->into = (fl_into)below(c, c->type == FL_WEIGHTS_REAL ? FL_ADD + 1 : FL_ADD); /* which is for training */
  if (a->into != FL_ADD && maybe(c)) a->start = reals(c, IN, a->last * FL_PANEL);
  const int role = a->into == FL_NEW ? OUT : INOUT;
  if (maybe(c)) {
    a->z_panel = FL_PANEL; /* rows of panels */
    a->z = rows(c, role, m, a->last * FL_PANEL);
  } else {
    a->z_panel = m * FL_PANEL; /* panels of rows */
    a->z = rows_in(c, role, m, FL_PANEL, a->last * m * FL_PANEL);
  }
  maybe_skip_zeros(c, a);
}

static void run_product(const fl_kernels *k, call *c) {
  k->product(&c->product);
}

/* NULL for the standard cell */
static const fl_form *any_form(call *c, int backward) {
  c->form = (fl_form){any_activation(c), any_activation(c), any_activation(c), maybe(c), maybe(c), FL_CLIP_NONE, 0.75,
                      maybe(c)};
  if (!backward) c->form.clip_at = (fl_clip)below(c, FL_CLIP_STATE + 1);
  return maybe(c) ? &c->form : NULL;
}

/* Packs the weights that are not packed, for the call that is compared with: it uses those. */
static void pack_unpacked(call *c, const fl_step *s) {
  const fl_product *const a = &s->product;
  for (size_t p = a->first; p < a->last; p++)
    for (size_t lane = 0; lane < FL_PANEL; lane++) {
      const size_t unit = p * FL_UNITS + lane % FL_UNITS, row = lane / FL_UNITS * s->units + unit;
      char *to = (char *)a->weights + (p * a->weights_panel + lane) * c->real;
      for (size_t j = 0; j < 2 && unit < s->units; j++)
        for (size_t k = 0; k < a->operand[j].k; k++, to += FL_PANEL * c->real)
          memcpy(to, (const char *)a->unpacked[j] + (row * a->operand[j].k + k) * c->real, c->real);
    }
  for (array *w = c->arrays; w < c->arrays + c->array_count; w++)
    if (w->at == a->weights) memcpy(w->before + MARGIN, w->at, w->bytes);
}

static void build_step(call *c) {
  const size_t m = row_count(c);
  fl_step *const s = &c->step;
  *s = (fl_step){.product = product_of(c, m), .form = any_form(c, 0), .train = maybe(c)};
  fl_product *const a = &s->product;
  s->units = a->last * FL_UNITS - (maybe(c) ? below(c, FL_UNITS) : 0);
  if (!a->operand[1].k && maybe(c)) s->given = rows(c, IN, m, a->last * FL_PANEL);
  if (s->given && maybe(c)) a->operand[0].k = 0;
  if (!s->given && maybe(c)) a->start = reals(c, IN, a->last * FL_PANEL);
  const int fresh = !s->given && maybe(c);
  a->into = fresh ? FL_NEW : FL_MEET;
  if (fresh || (s->given && a->operand[0].k)) {
    a->z_panel = m * FL_PANEL;
    a->z = rows_in(c, SCRATCH, m, FL_PANEL, FL_STEP_SCRATCH(m));
  } else {
    a->z_panel = FL_PANEL;
    a->z = rows(c, s->train || s->form ? INOUT : USED, m, a->last * FL_PANEL);
  }
  if (c->type == FL_WEIGHTS_REAL && a->start && a->into == FL_NEW && maybe(c)) {
    for (size_t j = 0; j < 2; j++) a->unpacked[j] = reals(c, IN, 4 * s->units * a->operand[j].k);
    pack_unpacked(c, s);
  }
  if (!s->given) maybe_skip_zeros(c, a);
  const int in_place = maybe(c);
  void *const old = rows(c, in_place ? INOUT : IN, m, s->units);
  s->c_prev = old;
  s->c = in_place ? old : rows(c, OUT, m, s->units);
  s->h = rows(c, OUT, m, s->units);
  if (s->form && s->form->peepholes) s->peephole = reals(c, IN, 3 * s->units);
}

static void run_step(const fl_kernels *k, call *c) {
  if (c == &one) c->step.product.unpacked[0] = NULL;
  k->step(&c->step);
}

/* ---- backward --------------------------------------------------------------------------------------------------- */

static void build_gradient_step(call *c) {
  const size_t m = row_count(c);
  fl_gradient_step *const s = &c->gradient_step;
  *s = (fl_gradient_step){.m = m, .first = maybe(c) ? below(c, 3) : 0, .form = any_form(c, 1)};
  s->last = s->first + size(c, 1, 5, 16);
  s->units = s->last * FL_UNITS - (maybe(c) ? below(c, FL_UNITS) : 0);
  s->z = rows(c, INOUT, m, s->last * FL_PANEL);
  s->c_prev = rows(c, IN, m, s->units);
  s->c = rows(c, IN, m, s->units);
  s->dh = rows(c, IN, m, s->units);
  s->dc = rows(c, INOUT, m, s->units);
  if (maybe(c)) s->hidden = rows(c, OUT, m, s->units);
  if (s->form && s->form->peepholes) s->peephole = reals(c, IN, 3 * s->units);
}

static void run_gradient_step(const fl_kernels *k, call *c) {
  k->gradient_step(&c->gradient_step);
}

static fl_outer_part outer_part_of(call *c, size_t rows_of_out) {
  const size_t n = c->outer.n, columns = size(c, 1, 130, 128);
  fl_outer_part p = {NULL, columns, NULL, (columns + FL_PANEL - 1) / FL_PANEL * FL_PANEL};
  if (maybe(c)) { /* one row, n times */
    const void **const at = list(c, n);
    for (size_t k = 0; k < n; k++) at[k] = k ? at[0] : reals(c, IN, columns);
    p.b = at;
  } else {
    p.b = (const void *const *)rows_in(c, IN, n, columns, n * columns);
  }
  p.out = reals(c, INOUT, rows_of_out * p.out_row);
  return p;
}

static void build_outer(call *c) {
  fl_outer *const o = &c->outer;
  *o = (fl_outer){.n = size(c, 0, 250, 32 * c->bench), .first = maybe(c) ? below(c, 70) : 0};
  o->last = o->first + size(c, 1, 60, 128);
  o->a_row = o->last + (maybe(c) ? below(c, 9) : 0);
  o->a = reals(c, IN, o->n * o->a_row);
  o->part[0] = outer_part_of(c, o->last - o->first);
  if (maybe(c)) o->part[1] = outer_part_of(c, o->last - o->first);
  o->scratch = reals_at(c, SCRATCH, FL_SUM_BLOCK * (FL_PANEL + o->last - o->first), 0);
}

static void run_outer(const fl_kernels *k, call *c) {
  k->outer(&c->outer);
}

static void build_sum_rows(call *c) {
  fl_outer *const o = &c->outer;
  *o = (fl_outer){.n = size(c, 0, 250, 32 * c->bench), .first = maybe(c) ? FL_PANEL * below(c, 3) : 0};
  o->last = o->first + FL_PANEL * size(c, 1, 4, 16);
  o->a_row = o->last + (maybe(c) ? below(c, 9) : 0);
  o->a = reals(c, IN, o->n * o->a_row);
  o->part[0].out = reals(c, INOUT, o->last - o->first);
}

static void run_sum_rows(const fl_kernels *k, call *c) {
  k->sum_rows(&c->outer);
}

static void build_peephole_sums(call *c) {
  fl_peephole_sums *const s = &c->peephole_sums;
  *s =
      (fl_peephole_sums){.n = size(c, 0, 250, 32 * c->bench), .first = maybe(c) ? below(c, 3) : 0, .coupled = maybe(c)};
  s->last = s->first + size(c, 1, 5, 16);
  s->units = s->last * FL_UNITS - (maybe(c) ? below(c, FL_UNITS) : 0);
  s->dz_row = s->last * FL_PANEL + (maybe(c) ? below(c, 9) : 0);
  s->c_row = s->units + (maybe(c) ? below(c, 9) : 0);
  s->dz = reals(c, IN, s->n * s->dz_row);
  s->c = reals(c, IN, s->n * s->c_row);
  s->c_prev = (const void *const *)rows_in(c, IN, s->n, s->units, s->n * s->units);
  s->out = reals(c, OUT, 3 * s->units);
}

static void run_peephole_sums(const fl_kernels *k, call *c) {
  k->peephole_sums(&c->peephole_sums);
}

/* ---- sums of memory --------------------------------------------------------------------------------------------- */

static void build_digest(call *c) {
  const size_t line = FL_DIGEST_LANES * sizeof(uint64_t) / c->real;
  c->digest.lines = size(c, 0, 60, 32 * c->bench);
  c->digest.data = reals(c, IN, c->digest.lines * line);
  c->digest.sums = reals_at(c, INOUT | EXACT, line, 0);
}

static void run_digest(const fl_kernels *k, call *c) {
  k->digest(c->digest.data, c->digest.lines, c->digest.sums);
}

/* ---- limits of the machine -------------------------------------------------------------------------------------- */

static void build_read_all(call *c) {
  build_digest(c);
}

static void run_read_all(const fl_kernels *k, call *c) {
  k->read_all(c->digest.data, c->digest.lines, c->digest.sums);
}

static void build_multiply_add(call *c) {
  c->chains.n = size(c, 0, 40, 32 * c->bench);
  c->chains.x = reals(c, INOUT, FL_CHAINS);
}

static void run_multiply_add(const fl_kernels *k, call *c) {
  k->multiply_add(c->chains.x, c->chains.n);
}

/* ---- the walk --------------------------------------------------------------------------------------------------- */

typedef struct {
  const char *name;
  void (*build)(call *);
  void (*run)(const fl_kernels *, call *);
} checker;

static const checker checkers[] = {
#define CHECKER(name, arguments) {#name, build_##name, run_##name},
    FL_KERNEL_LIST(CHECKER)
#undef CHECKER
};
#define PLUS_1(name, arguments) +1
enum { CHECKERS = sizeof checkers / sizeof checkers[0], READERS = 0 FL_WEIGHT_KERNEL_LIST(PLUS_1) }; /* these first */
#undef PLUS_1

/* the types of numbers and weights */
typedef struct {
  fl_dtype dtype;
  fl_weight_type type;
  const char *name;
} types;
static const types ALL_TYPES[] = {
    {FL_FLOAT32, FL_WEIGHTS_REAL, "float32"},    {FL_FLOAT64, FL_WEIGHTS_REAL, "float64"},
    {FL_FLOAT32, FL_WEIGHTS_FLOAT16, "float16"}, {FL_FLOAT32, FL_WEIGHTS_BFLOAT16, "bfloat16"},
    {FL_FLOAT32, FL_WEIGHTS_INT8, "int8"},       {FL_FLOAT32, FL_WEIGHTS_INT8_FAST, "int8-fast"}};
enum { TYPES = sizeof ALL_TYPES / sizeof ALL_TYPES[0] };

/* of a kernel: float32 and float64, or all */
static size_t types_of(size_t checker) {
  return checker < READERS ? TYPES : 2;
}

static const char *isa_of(const types *t, size_t index) {
  return fl_has_integers(t->type) ? fl_integer_isa_name(index) : fl_isa_name(index);
}

static fl_kernels kernels_of(const char *isa, const types *t) {
  const char *found;
  fl_kernels kernels;
  CHECK(fl_choose_kernels(&kernels, isa, t->dtype, t->type, &found) && !strcmp(found, isa));
  return kernels;
}

static void build(const checker *k, call *c, const types *t, uint64_t seed, size_t bench) {
  c->dtype = t->dtype;
  c->type = t->type;
  c->real = (size_t)t->dtype / 8;
  c->bench = bench;
  c->state = mix(seed);
  c->array_count = c->list_count = 0;
  c->special = maybe(c) && maybe(c);
  k->build(c);
}

static void check(const checker *k, const char *isa, const types *t, uint64_t seed) {
  const fl_kernels scalar = kernels_of("scalar", t), kernels = kernels_of(isa, t);
  size_t which;
  build(k, &one, t, seed, 0);
  build(k, &other, t, seed, 0);
  k->run(&scalar, &one);
  k->run(&kernels, &other);
  const char *const wrong = difference(&one, &other, &which);
  if (wrong) {
    fprintf(stderr, "%s, %s on %s, seed %llx: array %zu of %zu: %s\n", k->name, t->name, isa, (unsigned long long)seed,
            which, other.array_count, wrong);
    exit(1);
  }
  release(&one);
  release(&other);
}

/* Every array of a good call, with one byte changed: has to be noticed. */
static void check_the_check(const checker *k, const types *t) {
  const fl_kernels kernels = kernels_of("scalar", t);
  size_t which, noticed = 0;
  build(k, &one, t, 7, 0);
  build(k, &other, t, 7, 0);
  k->run(&kernels, &one);
  k->run(&kernels, &other);
  CHECK(!difference(&one, &other, &which));
  for (size_t j = 0; j < other.array_count; j++) {
    const array *const a = &other.arrays[j];
    char *const places[] = {a->at - 1, a->at + a->bytes, a->at + a->bytes / 2};
    const int seen = a->bytes && (a->role & COMPARE || !(a->role & WRITE)); /* else anything goes inside */
    for (size_t p = 0; p < (seen ? 3 : 2); p++) {
      if (p == 2 && !(a->role & EXACT) && is_nan(places[p] - a->bytes / 2 % other.real, other.real)) continue;
      *places[p] ^= 1;
      CHECK(difference(&one, &other, &which) && which == j);
      *places[p] ^= 1;
      noticed++;
    }
  }
  CHECK(noticed);
  release(&one);
  release(&other);
}

static double seconds(void) {
  return (double)clock() / CLOCKS_PER_SEC;
}

/* the best of several rounds, in nanoseconds */
static double time_of(const checker *k, const fl_kernels *kernels) {
  double best = INFINITY;
  for (int round = 0; round < 5; round++) {
    size_t calls = 0;
    const double begin = seconds();
    double taken;
    do {
      k->run(kernels, &one);
      calls++;
    } while ((taken = seconds() - begin) < 0.02);
    if (taken / (double)calls < best) best = taken / (double)calls;
  }
  return 1e9 * best;
}

static void bench(void) {
  printf("%-16s %-10s %-10s %12s %12s\n", "ns per call of", "on", "type", "1 row", "32 rows");
  for (size_t j = 0; j < CHECKERS; j++)
    for (const types *t = ALL_TYPES; t < ALL_TYPES + types_of(j); t++)
      for (size_t i = 0; isa_of(t, i); i++) {
        const fl_kernels kernels = kernels_of(isa_of(t, i), t);
        printf("%-16s %-10s %-10s", checkers[j].name, isa_of(t, i), t->name);
        for (size_t m = 1; m <= 32; m += 31) {
          build(&checkers[j], &one, t, 1, m);
          printf(" %12.0f", time_of(&checkers[j], &kernels));
          release(&one);
        }
        printf("\n");
      }
}

int main(int count, char **arguments) {
  if (count > 1 && !strcmp(arguments[1], "--bench")) {
    bench();
    return 0;
  }
  const uint64_t seed = count > 1 ? strtoull(arguments[1], NULL, 16) : 0;
  for (size_t j = 0; j < CHECKERS; j++)
    for (const types *t = ALL_TYPES; t < ALL_TYPES + types_of(j); t++) {
      check_the_check(&checkers[j], t);
      for (size_t i = 0; isa_of(t, i); i++)
        for (uint64_t n = 0; n < CALLS; n++) check(&checkers[j], isa_of(t, i), t, seed + n);
    }
  printf("kernels: %d, each %d times with each type, on", (int)CHECKERS, (int)CALLS);
  for (size_t i = 0; fl_integer_isa_name(i); i++) printf(" %s", fl_integer_isa_name(i));
  printf(": the same bits\n");
  return 0;
}
