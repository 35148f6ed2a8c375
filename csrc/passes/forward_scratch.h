/* A forward call at work: how it is cut, and where its scratch is.
 *
 * SPDX-License-Identifier: BSD-3-Clause */
#ifndef FASTLSTM_FORWARD_SCRATCH_H
#define FASTLSTM_FORWARD_SCRATCH_H

#include "base/arena.h"
#include "base/wavefront.h"
#include "cut.h"
#include "group.h"
#include "tape.h"

/* what one member needs for itself: rows as pointers, as kernels take them */
typedef struct {
  const void **x;      /* [chunk steps * rows] input rows of a chunk */
  const void **h;      /* [rows] state rows that a step reads */
  const void **c_prev; /* [rows] */
  void **y;            /* [rows] state rows that a step writes */
  void **c;            /* [rows] */
  void **hidden;       /* [rows] o * tanh(c), before the projection */
  void **projected;    /* [rows] the projection's outputs */
  void **z;            /* [chunk steps * rows] pre-activations of a chunk, or scratch of a step */
} forward_pointers;

/* what a group of rows needs once */
typedef struct {
  real *z;         /* [panels][chunk rows][FL_PANEL], or without chunks as `fused` */
  real *fused;     /* FL_STEP_SCRATCH(rows) reals per member: for steps whose z is not kept */
  real *hidden;    /* [rows][H] with a projection */
  real *projected; /* [project panels][rows][FL_PANEL] */
} forward_arrays;

typedef struct forward_layer forward_layer;

typedef struct {
  const fl_plan *plan;
  const fl_sequence *sequence;
  const fl_table *table; /* the input are tokens, whose part of z it holds; NULL: they are numbers */
  fl_tape *tape;         /* NULL: inference */
  const fl_trace *trace; /* NULL: nobody looks; never with a tape */
  size_t kept;           /* steps that it keeps */
  fl_cut cut;
  fl_tables *tables;          /* [L]: the directions and groups of rows of a layer */
  size_t *order;              /* [B] rows, longest first; equal lengths in their order */
  real *zeros;                /* [H] */
  real *between[2];           /* [T, B, D*R] outputs of inner layers, in turn; inference only */
  forward_pointers *pointers; /* [forward_hands] */
  forward_arrays *arrays;     /* [forward_hands], fused is each one's own; the rest is of teams, in their first one's */
  forward_layer *layers;      /* [forward_hands] of layers side by side */
  fl_wavefront front;
} forward_call;

/* one layer in one direction; _t and _b are strides in bytes, as the caller's are */
typedef struct {
  const forward_call *call;
  const fl_layer *layer;
  size_t index; /* layer * D + direction */
  int reverse;
  void *tail; /* the caller's output, whose rows are 0 past their lengths; NULL for inner layers */
  const void *x;
  ptrdiff_t x_t, x_b;
  const int64_t *x_starts; /* of packed rows, or NULL */
  const real *table;       /* x are tokens, and this what they come to: [V] rows of all panels; NULL: x are numbers */
  void *y;
  ptrdiff_t y_t, y_b;
  const int64_t *y_starts;
  const real *h_0, *c_0; /* [B, R], [B, H] of this layer and direction, or NULL */
  real *h_n, *c_n;
  real *gates, *c; /* rows of the tape, or NULL */
} forward_pass;

/* Rows of a pass on their way through time. They may rest between two chunks, and go on in other hands. */
typedef struct {
  fl_group group;
  const forward_pass *pass;
  forward_pointers *at;
  forward_arrays *own;
  fl_step step;     /* of a step, but for its rows */
  fl_product input; /* of a chunk */
  size_t steps;     /* of the longest row */
  size_t s;         /* the next step */
  size_t active;    /* rows that are not over by then */
  size_t work;      /* multiply-adds of a panel of a step of all rows */
} forward_rows;

/* a layer of a wavefront, or as one member sees it */
struct forward_layer {
  _Alignas(FL_LINE) forward_pass pass;
  forward_rows rows;
};

/* who needs scratch at the same time: members, the layers of a wavefront, or all layers of each member */
static inline size_t forward_hands(const forward_call *call) {
  return (call->cut.front ? 1 : call->cut.members) * (call->cut.front || call->cut.diagonals ? call->plan->L : 1);
}

/* Do its steps take the input's part of z from a table? With a trace, which keeps what z becomes, it is copied. */
static inline int steps_from_table(const forward_pass *pass) {
  return pass->table && !pass->call->trace;
}

/* rows of z that a chunk takes; odd: panels at a power of two apart would share cache sets */
static inline size_t z_rows(const forward_call *call) {
  return call->cut.chunk * call->cut.rows | 1;
}

static forward_pointers carve_pointers(const forward_call *call, fl_arena *arena) {
  const size_t rows = call->cut.rows, chunk = call->cut.chunk ? call->cut.chunk * rows : rows;
  const size_t projected = call->plan->P ? rows : 0;
  return (forward_pointers){.x = fl_carve(arena, chunk, sizeof(void *)),
                            .h = fl_carve(arena, rows, sizeof(void *)),
                            .c_prev = fl_carve(arena, rows, sizeof(void *)),
                            .y = fl_carve(arena, rows, sizeof(void *)),
                            .c = fl_carve(arena, rows, sizeof(void *)),
                            .hidden = fl_carve(arena, projected, sizeof(void *)),
                            .projected = fl_carve(arena, projected, sizeof(void *)),
                            .z = fl_carve(arena, chunk, sizeof(void *))};
}

/* shared: all but the scratch of a step is another member's */
static forward_arrays carve_arrays(const forward_call *call, fl_arena *arena, int shared) {
  const fl_plan *const plan = call->plan;
  const size_t rows = call->cut.rows, line = FL_PANEL * sizeof(real);
  forward_arrays made = {0};
  if (!call->tape) made.fused = made.z = fl_carve(arena, FL_STEP_SCRATCH(rows), sizeof(real));
  if (call->cut.chunk && !shared && !call->tape) made.z = fl_carve(arena, plan->panels * z_rows(call), line);
  if (plan->P && !shared) {
    made.hidden = fl_carve(arena, rows, plan->H * sizeof(real));
    made.projected = fl_carve(arena, rows * plan->project_panels, line);
  }
  return made;
}

/* Lay the call's scratch out in the arena, or measure it. */
static void carve_forward(forward_call *call, fl_arena *arena) {
  const fl_plan *const plan = call->plan;
  call->order = fl_carve(arena, call->sequence->B, sizeof *call->order);
  call->zeros = fl_carve(arena, plan->H, sizeof(real));
  size_t row, steps;
  if (!fl_multiply(plan->D * plan->R, sizeof(real), &row) ||
      !fl_multiply(call->sequence->T, call->sequence->B, &steps)) {
    arena->overflow = 1;
    return;
  }
  for (size_t k = 0; k < 2; k++) call->between[k] = k + 1 < plan->L && !call->tape ? fl_carve(arena, steps, row) : NULL;
  const size_t hands = forward_hands(call);
  call->tables = fl_carve_layers(arena, &call->cut, plan);
  if (call->cut.front || call->cut.diagonals) call->layers = fl_carve(arena, hands, sizeof *call->layers);
  if (call->cut.front) call->front.lane = fl_carve(arena, plan->L, sizeof *call->front.lane);
  call->pointers = fl_carve(arena, hands, sizeof *call->pointers);
  call->arrays = fl_carve(arena, hands, sizeof *call->arrays);
  for (size_t k = 0; k < hands; k++) {
    const forward_pointers pointers = carve_pointers(call, arena);
    const forward_arrays arrays = carve_arrays(call, arena, k % call->cut.team != 0);
    if (!arena->at) continue;
    call->pointers[k] = pointers;
    call->arrays[k] = arrays;
  }
}

#endif
