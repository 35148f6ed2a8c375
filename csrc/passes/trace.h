/* What a trace takes of a forward pass: of each step, as soon as it is computed, the gates and cells of the units at
 * hand, out of the panels that the next step writes over; of a layer that is done, its outputs.
 *
 * SPDX-License-Identifier: BSD-3-Clause */
#ifndef FASTLSTM_TRACE_H
#define FASTLSTM_TRACE_H

#include <string.h>
#include "forward_scratch.h"
#include "layer_step.h"

/* steps that are kept of n */
static inline size_t fl_trace_steps(const fl_trace *trace, size_t n) {
  return n / trace->every + (n % trace->every != 0);
}

static inline size_t fl_trace_units(const fl_trace *trace, const fl_plan *plan) {
  return trace->units ? trace->n_units : plan->H;
}

/* numbers in a row of h: a projection's are of no units */
static inline size_t fl_trace_outputs(const fl_trace *trace, const fl_plan *plan) {
  return plan->P ? plan->P : fl_trace_units(trace, plan);
}

/* where row b of step t is in a trace's arrays, in rows */
static size_t trace_place(const forward_pass *pass, size_t t, size_t b) {
  const forward_call *const call = pass->call;
  const size_t every = call->trace->every, step = every == 1 ? t : t / every; /* divisions are slow */
  return (pass->index * call->kept + step) * call->sequence->B + b;
}

/* a row of one of them, of `width` numbers; NULL where it is not wanted */
static real *trace_row(void *array, size_t place, size_t width) {
  return array ? (real *)array + place * width : NULL;
}

/* n numbers of units first..first + n at `from`, to where those of them that are wanted belong in a row */
static void keep_units(const fl_trace *trace, const real *from, size_t first, size_t n, real *row) {
  if (!row) return;
  if (!trace->units) {
    memcpy(row + first, from, n * sizeof(real));
    return;
  }
  for (size_t k = 0; k < trace->n_units; k++)
    if (trace->units[k] - first < n) row[k] = from[trace->units[k] - first];
}

/* cell(c), as it was on its way to h' */
static void show_cells(const fl_plan *plan, const real *c, real *shown, size_t n) {
  static const fl_activation standard = {FL_TANH, 0, 0};
  const fl_form *const form = plan->form;
  const real *from = c;
  if (form && form->clip_at == FL_CLIP_ACTIVATIONS) {
    const real limit = (real)form->clip;
    for (size_t u = 0; u < n; u++) shown[u] = c[u] > limit ? limit : c[u] < -limit ? -limit : c[u];
    from = shown;
  }
  plan->kernels.activate(form ? &form->cell : &standard, from, shown, n);
}

/* cell(c) of units first..first + n, a whole number of panels but the last */
static void keep_shown(const forward_pass *pass, const real *c, size_t first, size_t n, real *row) {
  const fl_plan *const plan = pass->call->plan;
  const fl_trace *const trace = pass->call->trace;
  if (!row) return;
  if (!trace->units) {
    show_cells(plan, c + first, row + first, n);
    return;
  }
  for (size_t k = 0; k < trace->n_units; k++)
    if (trace->units[k] - first < n) show_cells(plan, c + trace->units[k], row + k, 1);
}

/* Some panels of a step. */
typedef struct {
  const forward_pass *pass;
  size_t first, n; /* units */
  size_t width;    /* numbers in a row of the trace */
} trace_part;

static trace_part trace_part_of(const forward_pass *pass, const fl_product *product) {
  const size_t H = pass->call->plan->H, first = product->first * FL_UNITS, end = product->last * FL_UNITS;
  return (trace_part){pass, first, (end < H ? end : H) - first, fl_trace_units(pass->call->trace, pass->call->plan)};
}

/* before a step, which may write c over it; at: the row's place */
static void keep_before(const trace_part *part, size_t at, const real *c_prev) {
  const fl_trace *const trace = part->pass->call->trace;
  keep_units(trace, c_prev + part->first, part->first, part->n, trace_row(trace->c_prev, at, part->width));
}

/* one gate of the panels, of which the row's first of all is at z */
static void keep_gate(const trace_part *part, const real *z, size_t z_panel, real *row) {
  const fl_trace *const trace = part->pass->call->trace;
  const size_t end = part->first + part->n, whole = trace->units ? part->first : end - part->n % FL_UNITS;
  size_t u = part->first;
  z += u / FL_UNITS * z_panel;
  for (; u < whole; u += FL_UNITS, z += z_panel) memcpy(row + u, z, FL_UNITS * sizeof(real));
  for (; u < end; u += FL_UNITS, z += z_panel) keep_units(trace, z, u, end - u < FL_UNITS ? end - u : FL_UNITS, row);
}

/* after it */
static void keep_after(const trace_part *part, size_t at, const real *z, size_t z_panel, const real *c) {
  const fl_trace *const trace = part->pass->call->trace;
  void *const gates[] = {trace->i, trace->f, trace->g, trace->o};
  for (size_t gate = 0; gate < 4; gate++)
    if (gates[gate]) keep_gate(part, z + gate * FL_UNITS, z_panel, trace_row(gates[gate], at, part->width));
  keep_units(trace, c + part->first, part->first, part->n, trace_row(trace->c, at, part->width));
  keep_shown(part->pass, c, part->first, part->n, trace_row(trace->cell, at, part->width));
}

/* ---- outputs, and what is past a row's end ---------------------------------------------------------------------- */

/* of a row at a step, as it lies in the layer's output; zeros for NULL */
static void keep_outputs(const forward_pass *pass, const real *from, real *row) {
  const fl_trace *const trace = pass->call->trace;
  const fl_plan *const plan = pass->call->plan;
  if (!row) return;
  if (from && !plan->P)
    keep_units(trace, from, 0, plan->H, row);
  else
    fl_copy_or_zero(row, from, fl_trace_outputs(trace, plan));
}

static void clear_past_end(const forward_pass *pass, size_t at) {
  const fl_trace *const trace = pass->call->trace;
  const size_t units = fl_trace_units(trace, pass->call->plan), outputs = fl_trace_outputs(trace, pass->call->plan);
  void *const of_units[] = {trace->i, trace->f, trace->g, trace->o, trace->c_prev, trace->c, trace->cell};
  for (size_t j = 0; j < sizeof of_units / sizeof of_units[0]; j++)
    if (of_units[j]) memset(trace_row(of_units[j], at, units), 0, units * sizeof(real));
  void *const of_outputs[] = {trace->h_prev, trace->h};
  for (size_t j = 0; j < 2; j++)
    if (of_outputs[j]) memset(trace_row(of_outputs[j], at, outputs), 0, outputs * sizeof(real));
}

#endif
