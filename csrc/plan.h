/* Inside of a plan.
 *
 * SPDX-License-Identifier: BSD-3-Clause */
#ifndef FASTLSTM_PLAN_H
#define FASTLSTM_PLAN_H

#include "fastlstm.h"
#include "kernels/kernels.h"
#include "kernels/real.h"
#include "passes.h"

/* One layer in one direction, packed: panel by panel, zero past the last unit. All pointers go into the plan's
 * block. */
typedef struct {
  size_t input_size;
  const real *bias;      /* [panels][FL_PANEL]: b_ih + b_hh, one rounding */
  const weight *weights; /* [panels][input_size + R][FL_PANEL]: W, then U */
  const weight *project; /* [project_panels][H][FL_PANEL]: weight_hr, 32 outputs a panel; NULL without projection */
  const real *peephole;  /* [3][H]: weight_ph; NULL without peepholes */
  int skip_zeros;        /* W is of a first layer and finite: zeros of x need not be looked at */
} fl_layer;

struct fl_plan {
  fl_kernels kernels; /* of the instruction set, and of the type of weights */
  const fl_passes *passes;
  fl_weight_type weights;
  const char *isa;
  size_t I, H, P, R, L, D;
  size_t panels;         /* of H units */
  size_t project_panels; /* of P outputs */
  size_t bytes;          /* of the block */
  void *block;           /* the packed weights */
  fl_layer *layers;      /* [L*D] */
  fl_form own_form;
  const fl_form *form; /* own_form, or NULL: the standard cell */
};

#ifdef REAL_BITS
/* weights from a panel of a layer to the next: W's, then U's */
static inline size_t fl_weights_panel(const fl_plan *plan, size_t input_size) {
  return (WEIGHT_ROWS(input_size) + WEIGHT_ROWS(plan->R)) * FL_PANEL;
}
#endif

static inline int fl_has_peepholes(const fl_plan *plan) {
  return plan->form && plan->form->peepholes;
}

/* dispatch.c: the kernels of a name (NULL: the best); *found gets the name. NULL if there are none. */
const fl_kernels *fl_kernels_of(const char *isa, fl_dtype dtype, const char **found);

/* the same copied, with those that read weights of the type; 0 if there are none */
int fl_choose_kernels(fl_kernels *chosen, const char *isa, fl_dtype dtype, fl_weight_type weights, const char **found);

#endif
