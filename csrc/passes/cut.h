/* How a call is cut among steps and threads, and its rows in order of length. What is here knows no type of numbers.
 *
 * SPDX-License-Identifier: BSD-3-Clause */
#ifndef FASTLSTM_CUT_H
#define FASTLSTM_CUT_H

#include "plan.h"

typedef struct {
  int by_units;  /* else by rows */
  size_t groups; /* of rows, per direction */
  size_t rows;   /* most rows in a group */
  size_t chunk;  /* steps per input product; 0: each step takes input and state in one product */
  size_t front;  /* steps of a block of a wavefront of all layers; 0: one layer after the other */
} fl_cut;

/* Does it take more than one thread? */
static inline int fl_cut_shared(const fl_cut *cut, const fl_plan *plan) {
  return cut->front || cut->by_units || cut->groups * plan->D > 1;
}

fl_cut fl_decide(const fl_plan *plan, size_t real_bytes, size_t weight_bytes, size_t T, size_t B, size_t threads);

/* Make a wavefront of the layers where that is better; what walks back through time has none. */
void fl_decide_wavefront(fl_cut *cut, const fl_plan *plan, size_t T, size_t threads);

/* order[B]: rows by length, longest first; the same for every number of threads */
void fl_sort_rows(const fl_sequence *sequence, size_t *order);

static inline size_t fl_length(const fl_sequence *sequence, size_t b) {
  return sequence->lengths ? (size_t)sequence->lengths[b] : sequence->T;
}

#endif
