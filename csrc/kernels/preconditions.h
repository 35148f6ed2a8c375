/* What the kernels trust their callers with (kernels.h), asserted in debug and sanitizer builds: EXPECT(kernel, argument).
 *
 * SPDX-License-Identifier: BSD-3-Clause */
#ifndef FASTLSTM_PRECONDITIONS_H
#define FASTLSTM_PRECONDITIONS_H

#ifdef NDEBUG
#define EXPECT(kernel, argument) ((void)0)
#else
#include <assert.h>
#include <stdint.h>
#define EXPECT(kernel, argument) expect_##kernel(argument)

/* n reals at p, m at q: nothing in common */
INLINE int apart(const void *p, size_t n, const void *q, size_t m) {
  const uintptr_t a = (uintptr_t)p, b = (uintptr_t)q;
  return !n || !m || a + n * sizeof(real) <= b || b + m * sizeof(real) <= a;
}

INLINE int same_or_apart(const void *p, const void *q, size_t n) {
  return p == q || apart(p, n, q, n);
}

/* a vector never starts in the middle of a number */
INLINE int is_aligned(const void *p, size_t bytes) {
  return (uintptr_t)p % bytes == 0;
}

static void expect_gates(const fl_gates *g) {
  const size_t n = g->rows * g->units;
  assert(!n || (g->z && g->c && g->c_next && g->h));
  assert(same_or_apart(g->c, g->c_next, n));
  assert(apart(g->h, n, g->z, 4 * n) && apart(g->h, n, g->c, n) && apart(g->h, n, g->c_next, n));
  assert(apart(g->c_next, n, g->z, 4 * n));
}

static void expect_gates_gradient(const fl_gates_gradient *g) {
  const size_t n = g->rows * g->units;
  assert(!n || (g->gates && g->c_prev && g->c && g->dh && g->dz && g->dc));
  assert(same_or_apart(g->gates, g->dz, 4 * n));
  assert(apart(g->dc, n, g->dz, 4 * n) && apart(g->dc, n, g->gates, 4 * n) && apart(g->dc, n, g->dh, n));
  assert(apart(g->dz, 4 * n, g->c_prev, n) && apart(g->dz, 4 * n, g->c, n) && apart(g->dz, 4 * n, g->dh, n));
}

static void expect_product(const fl_product *a) {
  assert(a->m > 0 && a->first < a->last);
  assert(a->operand[0].k > 0 && (a->weights || a->unpacked[0]) && a->z);
  assert(is_aligned(a->weights, 64));
  assert(a->weights_panel >= (a->operand[0].k + a->operand[1].k) * FL_PANEL);
  assert(a->z_panel >= FL_PANEL);
  assert(!a->pieces || !a->start);
  for (size_t j = 0; j < 2 && a->operand[j].k; j++)
    for (size_t r = 0; r < a->m; r++) {
      assert(a->operand[j].rows[r] && is_aligned(a->operand[j].rows[r], sizeof(real)));
      assert(a->z[r] && apart(a->z[r], FL_PANEL, a->operand[j].rows[r], a->operand[j].k));
    }
}

static void expect_ahead(const fl_ahead *work) {
  assert(AHEAD_ROWS > 0);
  assert(work->first <= work->last && work->at < work->k);
  assert(work->done <= (work->last - work->first) * (FL_PANEL / VL));
  assert(work->a && work->start && work->z && is_aligned(work->weights, 64));
  assert(work->weights_panel >= work->k * FL_PANEL && work->z_panel >= FL_PANEL);
}

/* the units of panels first..last, all but the last panel full */
static void expect_units(size_t units, size_t last) {
  assert(units > 0 && last <= (units + FL_UNITS - 1) / FL_UNITS);
}

static void expect_form(const fl_form *form, const void *peephole) {
  assert(!form || (peephole != NULL) == (form->peepholes != 0));
  assert(form || !peephole);
  assert(!form || form->clip_at == FL_CLIP_NONE || form->clip > 0);
}

static void expect_step(const fl_step *s) {
  const fl_product *const a = &s->product;
  expect_product(a);
  expect_units(s->units, a->last);
  expect_form(s->form, s->peephole);
  assert(!a->pieces);
  assert(!a->unpacked[0] || (a->start && !s->ahead && (!a->operand[1].k || a->unpacked[1])));
  if (s->ahead) {
    expect_ahead(s->ahead);
    assert(a->m == 1 && !a->start && !a->operand[1].k);
  }
  for (size_t r = 0; r < a->m; r++) {
    assert(same_or_apart(s->c_prev[r], s->c[r], s->units));
    assert(apart(s->h[r], s->units, s->c[r], s->units) && apart(s->h[r], s->units, s->c_prev[r], s->units));
    for (size_t j = 0; j < 2 && a->operand[j].k; j++)
      assert(apart(s->h[r], s->units, a->operand[j].rows[r], a->operand[j].k));
  }
}

static void expect_gradient_step(const fl_gradient_step *s) {
  assert(s->m > 0 && s->first < s->last);
  expect_units(s->units, s->last);
  expect_form(s->form, s->peephole);
  assert(!s->form || s->form->clip_at == FL_CLIP_NONE); /* a clip has no gradient */
  for (size_t r = 0; r < s->m; r++) {
    assert(apart(s->dc[r], s->units, s->dh[r], s->units));
    assert(!s->hidden || apart(s->hidden[r], s->units, s->dc[r], s->units));
  }
}

static void expect_sum_rows(const fl_outer *o) {
  assert(o->first < o->last && o->last <= o->a_row);
  assert((o->last - o->first) % FL_PANEL == 0);
  assert(!o->n || (o->a && o->out));
}

static void expect_outer(const fl_outer *o) {
  assert(o->first < o->last && o->last <= o->a_row);
  assert(o->columns > 0 && o->out_row >= (o->columns + FL_PANEL - 1) / FL_PANEL * FL_PANEL);
  assert(!o->n || (o->a && o->b && o->out && o->scratch));
  const size_t rows = o->last - o->first, scratch = FL_SUM_BLOCK * (FL_PANEL + rows);
  assert(apart(o->scratch, scratch, o->out, rows * o->out_row));
}

static void expect_peephole_sums(const fl_peephole_sums *s) {
  assert(s->first < s->last && s->out);
  expect_units(s->units, s->last);
  assert(s->dz_row >= s->last * FL_PANEL && s->c_row >= s->units);
  assert(!s->n || (s->dz && s->c_prev && s->c));
}
#endif

#endif
