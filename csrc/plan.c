/* Sizes and weight packing. The plan is immutable once made: threads share it.
 *
 * SPDX-License-Identifier: BSD-3-Clause */
#include "plan.h"

#include <float.h>
#include <string.h>
#include "arena.h"
#include "compiler.h"
#include "fpenv.h"

const char *fl_version(void) {
  return FASTLSTM_VERSION;
}

const char *fl_status_text(fl_status status) {
  switch (status) {
    case FL_OK: return "ok";
    case FL_ERROR_ARGUMENT: return "an argument that cannot be";
    case FL_ERROR_OVERFLOW: return "sizes whose product overflows";
    case FL_ERROR_MEMORY: return "out of memory";
    case FL_ERROR_ISA: return "unknown or unsupported instruction set";
    case FL_ERROR_THREADS: return "a thread could not be started";
  }
  return "unknown status";
}

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

/* Can it be computed? A comparison with NaN is false. */
static int possible(const fl_activation *a, fl_dtype dtype) {
  const double most = dtype == FL_FLOAT32 ? FLT_MAX : DBL_MAX;
  return (int)a->kind >= FL_SIGMOID && a->kind <= FL_SOFTPLUS && a->alpha >= -most && a->alpha <= most &&
         a->beta >= -most && a->beta <= most;
}

static fl_status check_form(const fl_form *form, fl_dtype dtype) {
  const int clip = form->clip_at != FL_CLIP_NONE;
  if ((int)form->clip_at < FL_CLIP_NONE || form->clip_at > FL_CLIP_STATE) return FL_ERROR_ARGUMENT;
  if (clip && !(form->clip > 0 && form->clip <= DBL_MAX)) return FL_ERROR_ARGUMENT;
  return possible(&form->gate, dtype) && possible(&form->candidate, dtype) && possible(&form->cell, dtype)
             ? FL_OK
             : FL_ERROR_ARGUMENT;
}

static int is_standard(const fl_form *form) {
  return form->gate.kind == FL_SIGMOID && form->candidate.kind == FL_TANH && form->cell.kind == FL_TANH &&
         !form->peepholes && !form->coupled && form->clip_at == FL_CLIP_NONE;
}

static fl_status check(const fl_config *config, const fl_weights *weights) {
  if (!config || !weights) return FL_ERROR_ARGUMENT;
  if (config->dtype != FL_FLOAT32 && config->dtype != FL_FLOAT64) return FL_ERROR_ARGUMENT;
  if (!config->input_size || !config->hidden_size || !config->num_layers) return FL_ERROR_ARGUMENT;
  if (config->directions != 1 && config->directions != 2) return FL_ERROR_ARGUMENT;
  if (config->proj_size >= config->hidden_size) return FL_ERROR_ARGUMENT;
  if (config->form && check_form(config->form, config->dtype) != FL_OK) return FL_ERROR_ARGUMENT;
  const int peepholes = config->form && config->form->peepholes;
  for (size_t j = 0; j < config->num_layers * config->directions; j++) {
    if (!weights[j].weight_ih || !weights[j].weight_hh) return FL_ERROR_ARGUMENT;
    if (!weights[j].weight_hr != !config->proj_size) return FL_ERROR_ARGUMENT;
    if (!weights[j].weight_ph != !peepholes) return FL_ERROR_ARGUMENT;
  }
  return FL_OK;
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

fl_status fl_plan_create(fl_plan **out, const fl_config *config, const fl_weights *weights, const char *isa) {
  if (!out) return FL_ERROR_ARGUMENT;
  *out = NULL;
  const fl_status status = check(config, weights);
  if (status != FL_OK) return status;

  fl_plan plan = {.real = config->dtype == FL_FLOAT32 ? sizeof(float) : sizeof(double)};
  plan.kernels = fl_kernels_of(isa, config->dtype, &plan.isa);
  if (!plan.kernels) return FL_ERROR_ISA;
  plan.I = config->input_size;
  plan.H = config->hidden_size;
  plan.P = config->proj_size;
  plan.R = plan.P ? plan.P : plan.H;
  plan.L = config->num_layers;
  plan.D = config->directions;
  plan.form = config->form && !is_standard(config->form) ? config->form : NULL;
  if (plan.H > (size_t)PTRDIFF_MAX / 8 || plan.L > (size_t)PTRDIFF_MAX / 256) return FL_ERROR_OVERFLOW;
  plan.panels = (plan.H + FL_UNITS - 1) / FL_UNITS;
  plan.project_panels = (plan.P + FL_PANEL - 1) / FL_PANEL;

  parts first, deeper;
  size_t total = 0;
  if (!layer_bytes(&plan, plan.I, &first) || !layer_bytes(&plan, plan.D * plan.R, &deeper)) return FL_ERROR_OVERFLOW;
  for (size_t l = 0; l < plan.L; l++) {
    const parts *const b = l ? &deeper : &first;
    for (size_t d = 0; d < plan.D; d++) {
      if (total > (size_t)PTRDIFF_MAX / 4) return FL_ERROR_OVERFLOW;
      total += sum_of(b);
    }
  }
  const size_t zeros = fl_align(plan.project_panels * FL_PANEL * plan.real);
  plan.bytes = total + zeros;

  fl_plan *const made = malloc(sizeof *made);
  fl_layer *const layers = calloc(plan.L * plan.D, sizeof *layers);
  char *at = fl_allocate(plan.bytes); /* zeroed: so are the lanes past the last unit */
  if (!made || !layers || !at) {
    free(made);
    free(layers);
    fl_free(at);
    return FL_ERROR_MEMORY;
  }
  plan.layers = layers;
  plan.block = at;
  plan.zeros = at;
  at += zeros;
  const fl_fpenv caller = fl_fpenv_enter(); /* adding two biases rounds */
  for (size_t j = 0; j < plan.L * plan.D; j++) {
    const parts *const b = j / plan.D ? &deeper : &first;
    fl_layer *const layer = &layers[j];
    layer->input_size = j / plan.D ? plan.D * plan.R : plan.I;
    char *const packed = at + b->bias, *const project = packed + b->weights, *const peephole = project + b->project;
    fl_pack_bias(&plan, &weights[j], at);
    pack_gates(&plan, layer, &weights[j], packed);
    layer->bias = at;
    layer->weights = packed;
    if (plan.P) {
      pack_projection(&plan, &weights[j], project);
      layer->project = project;
    }
    if (plan.form && plan.form->peepholes) {
      pack_peepholes(&plan, &weights[j], peephole);
      layer->peephole = peephole;
    }
    at += sum_of(b);
  }
  fl_fpenv_leave(caller);
  if (plan.form) plan.own_form = *plan.form;
  *made = plan;
  if (plan.form) made->form = &made->own_form;
  *out = made;
  return FL_OK;
}

void fl_plan_destroy(fl_plan *plan) {
  if (!plan) return;
  fl_free(plan->block);
  free(plan->layers);
  free(plan);
}

const char *fl_plan_isa(const fl_plan *plan) {
  return plan->isa;
}

size_t fl_plan_size(const fl_plan *plan) {
  return plan->bytes;
}
