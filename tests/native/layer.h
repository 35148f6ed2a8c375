/* A layer of random weights, for tests that compare ways through it.
 *
 * SPDX-License-Identifier: BSD-3-Clause */
#ifndef FASTLSTM_TESTS_LAYER_H
#define FASTLSTM_TESTS_LAYER_H

#include "fastlstm.h"
#include "support.h"

static uint64_t drawn; /* set it to begin anew */

static inline unsigned draw(unsigned below) {
  return (unsigned)(mix(drawn += GOLDEN) >> 33) % below;
}

/* n reals of -0.5..0.5, that are exact as floats; the caller frees them */
static inline void *numbers(size_t n, fl_dtype dtype) {
  void *const made = allocated(n * dtype / 8);
  for (size_t k = 0; k < n; k++) {
    const double value = (double)draw(1 << 20) / (1 << 20) - 0.5;
    if (dtype == FL_FLOAT32)
      ((float *)made)[k] = (float)value;
    else
      ((double *)made)[k] = value;
  }
  return made;
}

static inline fl_plan *random_plan(const fl_config *config, const char *isa) {
  enum { MOST_LAYERS = 4, PARTS = 6 };
  const size_t H = config->hidden_size, P = config->proj_size, R = P ? P : H, D = config->directions;
  fl_weights weights[2 * MOST_LAYERS] = {0};
  void *parts[2 * MOST_LAYERS * PARTS];
  size_t used = 0;
  fl_plan *plan;
  CHECK(config->num_layers <= MOST_LAYERS);
#define PART(n) (parts[used++] = numbers(n, config->dtype))
  for (size_t l = 0; l < D * config->num_layers; l++) {
    weights[l].weight_ih = PART(4 * H * (l < D ? config->input_size : D * R));
    weights[l].weight_hh = PART(4 * H * R);
    weights[l].bias_ih = PART(4 * H);
    weights[l].bias_hh = PART(4 * H);
    if (P) weights[l].weight_hr = PART(P * H);
    if (config->form && config->form->peepholes) weights[l].weight_ph = PART(3 * H);
  }
#undef PART
  CHECK(fl_plan_create(&plan, config, weights, isa) == FL_OK);
  while (used) free(parts[--used]);
  return plan;
}

/* gives up a call at the `after`th time of asking */
typedef struct {
  int after, asked;
} patience;

static inline int ask(void *data) {
  patience *const p = data;
  CHECK(p->asked < p->after); /* not once more */
  return ++p->asked == p->after;
}

#endif
