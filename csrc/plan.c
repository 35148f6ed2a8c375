/* The sizes of a plan, and how they are cut into panels. It is immutable once made: threads share it.
 *
 * SPDX-License-Identifier: BSD-3-Clause */
#include <assert.h>
#include "base/memory.h"
#include "inside.h"

static int is_standard(const fl_form *form) {
  return form->gate.kind == FL_SIGMOID && form->candidate.kind == FL_TANH && form->cell.kind == FL_TANH &&
         !form->peepholes && !form->coupled && !form->summed && form->clip_at == FL_CLIP_NONE;
}

/* the kernels are chosen already */
static fl_status set_sizes(fl_plan *plan, const fl_config *config) {
  plan->I = config->input_size;
  plan->H = config->hidden_size;
  plan->P = config->proj_size;
  plan->R = plan->P ? plan->P : plan->H;
  plan->L = config->num_layers;
  plan->D = config->directions;
  plan->form = config->form && !is_standard(config->form) ? config->form : NULL;
  if (plan->H > (size_t)PTRDIFF_MAX / 8 || plan->L > (size_t)PTRDIFF_MAX / 256) return FL_ERROR_OVERFLOW;
  if (fl_has_integers(plan->weights) &&
      (plan->I > FL_LONGEST_INT8 || plan->D * plan->R > FL_LONGEST_INT8 || plan->H > FL_LONGEST_INT8))
    return FL_ERROR_OVERFLOW;
  plan->panels = (plan->H + FL_UNITS - 1) / FL_UNITS;
  plan->project_panels = (plan->P + FL_PANEL - 1) / FL_PANEL;
  plan->bytes = plan->passes->measure_plan(plan);
  return plan->bytes == SIZE_MAX ? FL_ERROR_OVERFLOW : FL_OK;
}

fl_status fl_make_plan(fl_plan **out, const fl_config *config, const fl_weights *weights, const char *isa) {
  assert(out && config && weights && config->num_layers && config->directions >= 1 && config->directions <= 2);
  fl_plan plan = {.passes = fl_passes_of(config->dtype, config->weights), .weights = config->weights};
  if (!fl_choose_kernels(&plan.kernels, isa, config->dtype, config->weights, &plan.isa)) return FL_ERROR_ISA;
  if (set_sizes(&plan, config) != FL_OK) return FL_ERROR_OVERFLOW;
  fl_plan *const made = malloc(sizeof *made);
  plan.layers = calloc(plan.L * plan.D, sizeof *plan.layers);
  plan.block = fl_allocate(plan.bytes);
  if (!made || !plan.layers || !plan.block) {
    free(made);
    free(plan.layers);
    fl_free(plan.block);
    return FL_ERROR_MEMORY;
  }
  *made = plan;
  if (plan.form) {
    made->own_form = *plan.form;
    made->form = &made->own_form;
  }
  if (!plan.passes->pack_plan(made, weights)) {
    fl_free_plan(made);
    return FL_ERROR_RANGE;
  }
  *out = made;
  return FL_OK;
}

void fl_free_plan(fl_plan *plan) {
  fl_free(plan->block);
  free(plan->layers);
  free(plan);
}
