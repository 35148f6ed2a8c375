/* Sizes and weight packing. The plan is immutable once made: threads share it.
 *
 * SPDX-License-Identifier: BSD-3-Clause */
#include <assert.h>
#include <string.h>
#include "base/arena.h"
#include "base/compiler.h"
#include "base/fpenv.h"
#include "inside.h"

/* ---- packing ---------------------------------------------------------------------------------------------------- */

/* to[k][lane] = row[lane][k], lanes without a row (past the last unit) left as they are: zero. */
#define PACK(type)                                                                                  \
  for (size_t j = 0; j < k; j++)                                                                    \
    for (size_t lane = 0; lane < FL_PANEL; lane++)                                                  \
      if (row[lane]) ((type *)to)[j * FL_PANEL + lane] = ((const type *)row[lane])[j];

static void pack_panel(char *to, const char *const *row, size_t k, size_t real) {
  if (real == sizeof(float)) {
    PACK(float)
  } else {
    PACK(double)
  }
}

#define ADD(type)                                                                                   \
  ((type *)bias)[at] = (w->bias_ih ? ((const type *)w->bias_ih)[row] : (type)0) +                   \
                       (w->bias_hh ? ((const type *)w->bias_hh)[row] : (type)0);

/* not inlined: its additions must stay between the two writes of the floating-point environment */
NOINLINE void fl_pack_bias(const fl_plan *plan, const fl_weights *w, void *bias) {
  for (size_t at = 0; at < plan->panels * FL_PANEL; at++) {
    const size_t lane = at % FL_PANEL, unit = at / FL_PANEL * FL_UNITS + lane % FL_UNITS;
    const size_t row = lane / FL_UNITS * plan->H + unit;
    if (unit >= plan->H) continue;
    if (plan->form && plan->form->coupled && lane / FL_UNITS == 1) continue; /* zero, whatever the weights are */
    if (plan->real == sizeof(float)) {
      ADD(float)
    } else {
      ADD(double)
    }
  }
}

static void pack_gates(const fl_plan *plan, const fl_layer *layer, const fl_weights *w, char *weights) {
  const size_t real = plan->real, I = layer->input_size, R = plan->R, H = plan->H;
  for (size_t p = 0; p < plan->panels; p++) {
    const char *ih[FL_PANEL] = {0}, *hh[FL_PANEL] = {0};
    for (size_t lane = 0; lane < FL_PANEL; lane++) {
      const size_t unit = p * FL_UNITS + lane % FL_UNITS;
      if (unit >= H) continue;
      if (plan->form && plan->form->coupled && lane / FL_UNITS == 1) continue; /* zero, whatever the weights are */
      const size_t row = lane / FL_UNITS * H + unit;
      ih[lane] = (const char *)w->weight_ih + row * I * real;
      hh[lane] = (const char *)w->weight_hh + row * R * real;
    }
    char *const panel = weights + p * (I + R) * FL_PANEL * real;
    pack_panel(panel, ih, I, real);
    pack_panel(panel + I * FL_PANEL * real, hh, R, real);
  }
}

static void pack_projection(const fl_plan *plan, const fl_weights *w, char *project) {
  const size_t row_bytes = plan->H * plan->real;
  for (size_t p = 0; p < plan->project_panels; p++) {
    const char *row[FL_PANEL] = {0};
    for (size_t lane = 0; lane < FL_PANEL && p * FL_PANEL + lane < plan->P; lane++)
      row[lane] = (const char *)w->weight_hr + (p * FL_PANEL + lane) * row_bytes;
    pack_panel(project + p * FL_PANEL * row_bytes, row, plan->H, plan->real);
  }
}

static void pack_peepholes(const fl_plan *plan, const fl_weights *w, char *to) {
  const size_t row = plan->H * plan->real;
  for (size_t gate = 0; gate < 3; gate++) /* i, f, o */
    if (!(gate == 1 && plan->form->coupled)) memcpy(to + gate * row, (const char *)w->weight_ph + gate * row, row);
}

/* ---- create ----------------------------------------------------------------------------------------------------- */

static int is_standard(const fl_form *form) {
  return form->gate.kind == FL_SIGMOID && form->candidate.kind == FL_TANH && form->cell.kind == FL_TANH &&
         !form->peepholes && !form->coupled && form->clip_at == FL_CLIP_NONE;
}

/* bytes of one layer's parts; 0 on overflow */
typedef struct {
  size_t bias, weights, project, peephole;
} parts;

static int layer_bytes(const fl_plan *plan, size_t input_size, parts *b) {
  const size_t panel = FL_PANEL * plan->real;
  size_t k;
  if (input_size > (size_t)PTRDIFF_MAX - plan->R) return 0;
  if (!fl_multiply(plan->panels, panel, &b->bias)) return 0;
  if (!fl_multiply(plan->panels, input_size + plan->R, &k) || !fl_multiply(k, panel, &b->weights)) return 0;
  if (!fl_multiply(plan->project_panels, plan->H, &k) || !fl_multiply(k, panel, &b->project)) return 0;
  b->bias = fl_align(b->bias);
  b->weights = fl_align(b->weights);
  b->project = fl_align(b->project);
  b->peephole = plan->form && plan->form->peepholes ? fl_align(3 * plan->H * plan->real) : 0; /* less than bias */
  return b->bias <= PTRDIFF_MAX / 4 && b->weights <= PTRDIFF_MAX / 4 && b->project <= PTRDIFF_MAX / 4;
}

static size_t sum_of(const parts *b) {
  return b->bias + b->weights + b->project + b->peephole;
}

/* the sizes, and how they are cut into panels; the kernels are chosen already */
static fl_status set_sizes(fl_plan *plan, const fl_config *config) {
  plan->real = config->dtype == FL_FLOAT32 ? sizeof(float) : sizeof(double);
  plan->I = config->input_size;
  plan->H = config->hidden_size;
  plan->P = config->proj_size;
  plan->R = plan->P ? plan->P : plan->H;
  plan->L = config->num_layers;
  plan->D = config->directions;
  plan->form = config->form && !is_standard(config->form) ? config->form : NULL;
  if (plan->H > (size_t)PTRDIFF_MAX / 8 || plan->L > (size_t)PTRDIFF_MAX / 256) return FL_ERROR_OVERFLOW;
  plan->panels = (plan->H + FL_UNITS - 1) / FL_UNITS;
  plan->project_panels = (plan->P + FL_PANEL - 1) / FL_PANEL;
  return FL_OK;
}

/* of the first layer and of the others; the block's bytes */
static fl_status measure(fl_plan *plan, parts *first, parts *deeper) {
  if (!layer_bytes(plan, plan->I, first) || !layer_bytes(plan, plan->D * plan->R, deeper)) return FL_ERROR_OVERFLOW;
  size_t each, total;
  const size_t zeros = fl_align(plan->project_panels * FL_PANEL * plan->real);
  if (!fl_multiply(plan->L - 1, sum_of(deeper), &each) || each > (size_t)PTRDIFF_MAX / 4) return FL_ERROR_OVERFLOW;
  if (!fl_multiply(plan->D, each + sum_of(first), &total) || total > (size_t)PTRDIFF_MAX / 2) return FL_ERROR_OVERFLOW;
  plan->bytes = total + zeros;
  return FL_OK;
}

/* everything into the block, which is zeroed: so are the lanes past the last unit */
static void pack(fl_plan *plan, const fl_weights *weights, const parts *first, const parts *deeper) {
  char *at = plan->block;
  plan->zeros = at;
  at += fl_align(plan->project_panels * FL_PANEL * plan->real);
  const fl_fpenv caller = fl_fpenv_enter(); /* adding two biases rounds */
  for (size_t j = 0; j < plan->L * plan->D; j++) {
    const parts *const b = j / plan->D ? deeper : first;
    fl_layer *const layer = &plan->layers[j];
    layer->input_size = j / plan->D ? plan->D * plan->R : plan->I;
    char *const packed = at + b->bias, *const project = packed + b->weights, *const peephole = project + b->project;
    fl_pack_bias(plan, &weights[j], at);
    pack_gates(plan, layer, &weights[j], packed);
    layer->bias = at;
    layer->weights = packed;
    if (plan->P) {
      pack_projection(plan, &weights[j], project);
      layer->project = project;
    }
    if (plan->form && plan->form->peepholes) {
      pack_peepholes(plan, &weights[j], peephole);
      layer->peephole = peephole;
    }
    at += sum_of(b);
  }
  fl_fpenv_leave(caller);
  assert(at == (char *)plan->block + plan->bytes);
}

fl_status fl_make_plan(fl_plan **out, const fl_config *config, const fl_weights *weights, const char *isa) {
  assert(out && config && weights && config->num_layers && config->directions >= 1 && config->directions <= 2);
  fl_plan plan = {0};
  parts first, deeper;
  plan.kernels = fl_kernels_of(isa, config->dtype, &plan.isa);
  if (!plan.kernels) return FL_ERROR_ISA;
  if (set_sizes(&plan, config) != FL_OK || measure(&plan, &first, &deeper) != FL_OK) return FL_ERROR_OVERFLOW;
  fl_plan *const made = malloc(sizeof *made);
  plan.layers = calloc(plan.L * plan.D, sizeof *plan.layers);
  plan.block = fl_allocate(plan.bytes);
  if (!made || !plan.layers || !plan.block) {
    free(made);
    free(plan.layers);
    fl_free(plan.block);
    return FL_ERROR_MEMORY;
  }
  pack(&plan, weights, &first, &deeper);
  if (plan.form) plan.own_form = *plan.form;
  *made = plan;
  if (plan.form) made->form = &made->own_form;
  *out = made;
  return FL_OK;
}

void fl_free_plan(fl_plan *plan) {
  fl_free(plan->block);
  free(plan->layers);
  free(plan);
}
