/* How a call is cut among steps and threads, and its rows in order of length. What is here knows no type of numbers.
 *
 * SPDX-License-Identifier: BSD-3-Clause */
#ifndef FASTLSTM_CUT_H
#define FASTLSTM_CUT_H

#include "base/team.h"
#include "plan.h"

/* What a call has to do: steps, rows, and bytes of a number and of a weight. */
typedef struct {
  size_t real, weight, T, B;
  int train; /* forward, with a tape */
  int back;  /* the backward pass */
} fl_extent;

typedef struct {
  size_t groups;  /* of rows, per direction */
  size_t team;    /* members that share the units of a group */
  size_t members; /* of the call: of all directions, groups and teams; or 1, who does everything */
  size_t rows;    /* most rows in a group */
  size_t front;   /* steps of a block of a wavefront of all layers; 0: one layer after the other, but with */
  int diagonals;  /* one step of all layers at a time, by one team */
  size_t chunk;   /* steps per input product; 0: each step takes input and state in one product */
} fl_cut;

/* Up to `threads` members and as many as there are CPUs, but only if they are expected to shorten the call: by a model
 * of what it takes, the same throughout a process, so that what measures a workspace and what uses it agree. */
fl_cut fl_decide(const fl_plan *plan, const fl_extent *extent, size_t threads);

/* How one step of all layers is shared: its rows in parts, a member for each, or all of them by a team that shares the
 * units; one of the two is 1. */
typedef struct {
  size_t parts, team;
} fl_step_cut;

/* most: of what there may be of both */
fl_step_cut fl_decide_step(const fl_plan *plan, const fl_extent *extent, fl_step_cut most);

/* For tests: cut calls so where there are threads and rows enough, along diagonals where that can be; team 0: no
 * more. */
void fl_force_cut(size_t groups, size_t team, int diagonals);

/* [L] the directions and groups of rows of each layer; cleared before a call of several members */
fl_tables *fl_carve_layers(fl_arena *arena, const fl_cut *cut, const fl_plan *plan);
void fl_clear_layers(const fl_tables *tables, size_t L);

/* order[B]: rows by length, longest first; the same for every number of threads */
void fl_sort_rows(const fl_sequence *sequence, size_t *order);

static inline size_t fl_length(const fl_sequence *sequence, size_t b) {
  return sequence->lengths ? (size_t)sequence->lengths[b] : sequence->T;
}

#endif
