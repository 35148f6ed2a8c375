/* A call at work: how it is cut, where its scratch is, and what a layer in one direction reads and writes.
 *
 * SPDX-License-Identifier: BSD-3-Clause */
#ifndef FASTLSTM_JOB_H
#define FASTLSTM_JOB_H

#include "base/arena.h"
#include "plan.h"
#include "tape.h"
#include "base/threads.h"

/* how a call is cut */
typedef struct {
  int by_units;  /* else by rows */
  size_t groups; /* of rows, per direction */
  size_t rows;   /* most rows in a group */
  size_t chunk;  /* steps per input product; 0: each step takes input and state in one product */
  int ahead;     /* input products of later chunks are done in the shadow of the steps (ahead.h) */
} fl_cut;

/* Does it take more than one thread? */
static inline int fl_cut_shared(const fl_cut *cut, const fl_plan *plan) {
  return cut->by_units || cut->groups * plan->D > 1;
}

fl_cut fl_decide(const fl_plan *plan, size_t T, size_t B, size_t threads);

/* what one member needs for itself: rows as pointers */
typedef struct {
  const void **x;      /* [chunk steps * rows] input rows of a chunk */
  const void **h;      /* [rows] state rows that a step reads */
  const void **c_prev; /* [rows] */
  void **y;            /* [rows] state rows that a step writes */
  void **c;            /* [rows] */
  void **m;            /* [rows] o * tanh(c), before the projection */
  void **p;            /* [rows] the projection's outputs */
  void **z;            /* [chunk steps * rows] pre-activations of a chunk, or scratch of a step */
  void **z_next;       /* as z: those of the next chunk */
} fl_pointers;

/* what a group of rows needs once */
typedef struct {
  char *z;         /* [panels][chunk rows][FL_PANEL], or scratch of a step per member */
  char *z_next;    /* as z: that of the next chunk, with work ahead */
  char *x_ahead;   /* [I][ahead rows]: the inputs of the next chunk, side by side */
  fl_ahead *ahead; /* [members that share the panels]: each its part, whoever may end it */
  char *m;         /* [rows][H] with a projection */
  char *p;         /* [project panels][rows][FL_PANEL] */
} fl_arrays;

typedef struct {
  const fl_plan *plan;
  const fl_sequence *sequence;
  fl_tape *tape; /* NULL: inference */
  fl_cut cut;
  size_t members;
  size_t *order;         /* [B] rows, longest first; equal lengths in their order */
  const char *zeros;     /* [H] */
  char *between[2];      /* [T, B, D*R] outputs of inner layers, in turn; inference only */
  fl_pointers *pointers; /* [members] */
  fl_arrays *arrays;     /* [members], by units: z for fused steps is per member, the rest is [0]'s */
} fl_job;

/* rows of z that a chunk takes */
size_t fl_z_rows(const fl_job *j);

/* Lay the job's scratch out in the arena, or measure it. */
void fl_lay_out(fl_job *j, fl_arena *a);

/* order[B]: rows by length, longest first; the same for every number of threads */
void fl_sort_rows(const fl_sequence *s, size_t *order);

static inline size_t fl_length(const fl_sequence *s, size_t b) {
  return s->lengths ? (size_t)s->lengths[b] : s->T;
}

#endif
