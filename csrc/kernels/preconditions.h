/* What the kernels trust their callers with (kernels.h), asserted in debug and sanitizer builds: EXPECT(kernel,
 * argument).
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
  const uintptr_t first = (uintptr_t)p, second = (uintptr_t)q;
  return !n || !m || first + n * sizeof(real) <= second || second + m * sizeof(real) <= first;
}

INLINE int same_or_apart(const void *p, const void *q, size_t n) {
  return p == q || apart(p, n, q, n);
}

/* a vector never starts in the middle of a number */
INLINE int is_aligned(const void *p, size_t bytes) {
  return (uintptr_t)p % bytes == 0;
}

static void expect_gates(const fl_gates *gates) {
  const size_t n = gates->rows * gates->units;
  assert(!n || (gates->z && gates->c && gates->c_next && gates->h));
  assert(same_or_apart(gates->c, gates->c_next, n));
  assert(apart(gates->h, n, gates->z, 4 * n) && apart(gates->h, n, gates->c, n) &&
         apart(gates->h, n, gates->c_next, n));
  assert(apart(gates->c_next, n, gates->z, 4 * n));
}

static void expect_gates_gradient(const fl_gates_gradient *call) {
  const size_t n = call->rows * call->units;
  assert(!n || (call->gates && call->c_prev && call->c && call->dh && call->dz && call->dc));
  assert(same_or_apart(call->gates, call->dz, 4 * n));
  assert(apart(call->dc, n, call->dz, 4 * n) && apart(call->dc, n, call->gates, 4 * n) &&
         apart(call->dc, n, call->dh, n));
  assert(apart(call->dz, 4 * n, call->c_prev, n) && apart(call->dz, 4 * n, call->c, n) &&
         apart(call->dz, 4 * n, call->dh, n));
}

static void expect_product(const fl_product *product) {
  assert(product->m > 0 && product->first < product->last);
  assert(product->operand[0].k > 0 && (product->weights || product->unpacked[0]) && product->z);
  assert(is_aligned(product->weights, 64));
  assert(product->weights_panel >=
         (WEIGHT_ROWS(product->operand[0].k) + (product->operand[1].k ? WEIGHT_ROWS(product->operand[1].k) : 0)) *
             FL_PANEL);
  assert(product->z_panel >= FL_PANEL);
  assert(product->into != FL_ADD || !product->start);
  assert(!product->skip_zeros || (product->into != FL_ADD && !product->unpacked[0]));
#ifdef WEIGHT_INT8
  assert(product->operand[0].k <= FL_LONGEST_INT8 && product->operand[1].k <= FL_LONGEST_INT8);
#endif
  for (size_t j = 0; j < 2 && product->operand[j].k; j++)
    for (size_t r = 0; r < product->m; r++) {
      assert(product->operand[j].rows[r] && is_aligned(product->operand[j].rows[r], sizeof(real)));
      assert(product->z[r] && apart(product->z[r], FL_PANEL, product->operand[j].rows[r], product->operand[j].k));
    }
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

static void expect_step(const fl_step *step) {
  const fl_product *const product = &step->product;
  if (product->operand[0].k)
    expect_product(product);
  else
    assert(step->given && product->m > 0 && product->first < product->last && product->z &&
           product->z_panel >= FL_PANEL);
  assert(!step->given || product->into == FL_MEET);
  assert(!step->given || !(product->start || product->operand[1].k || product->unpacked[0]));
  expect_units(step->units, product->last);
  expect_form(step->form, step->peephole);
  assert(product->into != FL_ADD && !(step->given && product->skip_zeros));
  assert(!product->unpacked[0] ||
         (product->start && product->into == FL_NEW && (!product->operand[1].k || product->unpacked[1])));
  for (size_t r = 0; r < product->m; r++) {
    assert(same_or_apart(step->c_prev[r], step->c[r], step->units));
    assert(apart(step->h[r], step->units, step->c[r], step->units) &&
           apart(step->h[r], step->units, step->c_prev[r], step->units));
    for (size_t j = 0; j < 2 && product->operand[j].k; j++)
      assert(apart(step->h[r], step->units, product->operand[j].rows[r], product->operand[j].k));
  }
}

static void expect_gradient_step(const fl_gradient_step *step) {
  assert(step->m > 0 && step->first < step->last);
  expect_units(step->units, step->last);
  expect_form(step->form, step->peephole);
  assert(!step->form || step->form->clip_at == FL_CLIP_NONE); /* a clip has no gradient */
  for (size_t r = 0; r < step->m; r++) {
    assert(apart(step->dc[r], step->units, step->dh[r], step->units));
    assert(!step->hidden || apart(step->hidden[r], step->units, step->dc[r], step->units));
  }
}

static void expect_sum_rows(const fl_outer *outer) {
  assert(outer->first < outer->last && outer->last <= outer->a_row);
  assert((outer->last - outer->first) % FL_PANEL == 0);
  assert(!outer->n || (outer->a && outer->part[0].out));
}

static void expect_outer(const fl_outer *outer) {
  assert(outer->first < outer->last && outer->last <= outer->a_row && outer->part[0].columns > 0);
  const size_t rows = outer->last - outer->first, scratch = FL_SUM_BLOCK * (FL_PANEL + rows);
  for (const fl_outer_part *part = outer->part; part < outer->part + 2 && part->columns; part++) {
    assert(part->out_row >= (part->columns + FL_PANEL - 1) / FL_PANEL * FL_PANEL);
    assert(!outer->n || (outer->a && part->b && part->out && outer->scratch));
    assert(apart(outer->scratch, scratch, part->out, rows * part->out_row));
  }
}

static void expect_peephole_sums(const fl_peephole_sums *sums) {
  assert(sums->first < sums->last && sums->out);
  expect_units(sums->units, sums->last);
  assert(sums->dz_row >= sums->last * FL_PANEL && sums->c_row >= sums->units);
  assert(!sums->n || (sums->dz && sums->c_prev && sums->c));
}
#endif

#endif
