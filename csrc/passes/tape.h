/* What a training forward keeps for the backward pass, laid out in the caller's memory.
 *
 * Rows of a layer are numbered n = offset[s] + r: step by step, and in a step the rows that are still running, longest
 * first. So numbered, they are contiguous, and the order does not depend on threads.
 *
 * SPDX-License-Identifier: BSD-3-Clause */
#ifndef FASTLSTM_TAPE_H
#define FASTLSTM_TAPE_H

#include "plan.h"

/* filled once, used once: the gates become gradients */
typedef enum { FL_TAPE_EMPTY, FL_TAPE_FULL, FL_TAPE_USED } fl_tape_stage;

struct fl_tape {
  const fl_plan *plan;
  fl_tape_stage stage;
  size_t T, B, N;  /* N: steps of all rows together */
  size_t longest;  /* steps of the longest row */
  size_t *order;   /* [B] */
  size_t *length;  /* [B] */
  size_t *offset;  /* [T + 1] */
  uint32_t *step;  /* [N]: s of row n */
  real *x;         /* [T, B, I] */
  real *h_0, *c_0; /* [L*D, B, R], [L*D, B, H] */
  real *y;         /* [L][T, B, D*R]: outputs of every layer */
  real *dropped;   /* [L-1][T, B, D*R]: what the next layer read, with dropout; else NULL */
  real *gates;     /* [L*D][N][gate_row]: i, f, g, o; the backward pass makes their gradients of them */
  real *c;         /* [L*D][N][cell_row] */
  uint8_t *resets; /* [T, B] or NULL */
  size_t gate_row; /* reals of a row of gates: all panels and a line, since powers of two share cache sets */
  size_t cell_row; /* reals of a row of c */
  double dropout;
  uint64_t seed;
  size_t time; /* steps before this sequence, as the mask counts */
};

/* reals from a layer and direction to the next */
static inline size_t fl_tape_gates(const fl_tape *tape) {
  return tape->N * tape->gate_row;
}
static inline size_t fl_tape_cells(const fl_tape *tape) {
  return tape->N * tape->cell_row;
}
static inline size_t fl_tape_outputs(const fl_tape *tape) {
  return tape->T * tape->B * tape->plan->D * tape->plan->R;
}

/* rows still running at step s, which exists */
static inline size_t fl_tape_running(const fl_tape *tape, size_t s) {
  return tape->offset[s + 1] - tape->offset[s];
}

/* where row n is in a [T, B] array, for a direction */
static inline size_t fl_tape_place(const fl_tape *tape, size_t n, int reverse) {
  const size_t s = tape->step[n], b = tape->order[n - tape->offset[s]];
  return (reverse ? tape->length[b] - 1 - s : s) * tape->B + b;
}

static inline int fl_tape_reset(const fl_tape *tape, size_t s, size_t b) {
  return tape->resets && tape->resets[s * tape->B + b];
}

#endif
