/* A backward call at work: its scratch, and what a layer in one direction reads and writes.
 *
 * SPDX-License-Identifier: BSD-3-Clause */
#ifndef FASTLSTM_BACKWARD_PARTS_H
#define FASTLSTM_BACKWARD_PARTS_H

#include <string.h>
#include "base/arena.h"
#include "cut.h"
#include "dropout.h"
#include "group.h"
#include "pack.h"

/* The most that a thread does at a time; with many threads less, so that each has its part. 64 columns cost 3 to 7 % of
 * a whole pass, 32 another 4, against one thread that has nothing to do. */
enum {
  DX_ROWS = 96,       /* rows of dx */
  OUTER_COLUMNS = 192 /* columns of dz, rows of dW */
};

/* n rounded up to whole panels */
static size_t rounded(size_t n) {
  return fl_panels_of(n) * FL_PANEL;
}

/* ---- scratch ---------------------------------------------------------------------------------------------------- */

/* of one direction; 4Hp: 4H rounded up to whole panels */
typedef struct {
  weight *u, *w, *hr;       /* transposed weights: [R panels][4Hp][32], [I panels][4Hp][32], [H panels][P][32] */
  real *dh, *dc, *dm;       /* [B][rounded R], [B][cell_row], with a projection [B][rounded H] */
  real *dh_all, *hidden;    /* with a projection: [N][rounded R], [N][cell_row] */
  real *dw, *du, *db, *dhr; /* packed gradients: [4Hp][rounded I], [4Hp][rounded R], [4Hp], [rounded P][rounded H] */
  const void **x, **h;      /* [N] what each row read: rows of the outer products */
  const void **c;           /* [N] with peepholes: the cell that each row started from */
} backward_direction;

/* of one member: rows as pointers, as kernels take them, and blocks of its own */
typedef struct {
  const void **dz, **c_prev, **c;       /* [B] */
  void **dh, **dc, **z, **hidden, **dm; /* [B] */
  const void **rows;                    /* [DX_ROWS] */
  void **dx;                            /* [DX_ROWS] */
  real *dx_block;                       /* [DX_ROWS][rounded I] */
  real *packed;                         /* [FL_SUM_BLOCK][FL_PANEL + OUTER_COLUMNS] */
} backward_scratch;

typedef struct {
  fl_tape *tape;
  const fl_gradients *gradients;
  fl_cut cut;
  fl_tables *tables; /* [L]: the directions and groups of rows of a layer */
  size_t widest;     /* inputs of the widest layer */
  size_t lowest;     /* the first layer of which, or below which, a gradient is wanted */
  real *between[2];  /* [T, B, D*R] gradients of inner layers' outputs, in turn */
  size_t zero_row;   /* the longest row of zeros that is read: max(4Hp, rounded widths) */
  real *zeros;       /* [zero_row] */
  backward_direction directions[2];
  backward_scratch *scratch; /* [members] */
} backward_call;

static backward_direction carve_direction(const backward_call *call, fl_arena *arena) {
  const fl_tape *const tape = call->tape;
  const fl_plan *const plan = tape->plan;
  const size_t B = tape->B, N = tape->N, gates = plan->panels * FL_PANEL, projected = plan->P ? 1 : 0;
  const size_t I = rounded(call->widest) * sizeof(real), R = rounded(plan->R) * sizeof(real),
               H = rounded(plan->H) * sizeof(real), cells = tape->cell_row * sizeof(real);
  return (backward_direction){.u = fl_carve(arena, gates, rounded(plan->R) * sizeof(weight)),
                              .w = fl_carve(arena, gates, rounded(call->widest) * sizeof(weight)),
                              .hr = fl_carve(arena, projected, rounded(plan->H) * plan->P * sizeof(weight)),
                              .dh = fl_carve(arena, B, R),
                              .dc = fl_carve(arena, B, cells),
                              .dm = fl_carve(arena, projected * B, H),
                              .dh_all = fl_carve(arena, projected * N, R),
                              .hidden = fl_carve(arena, projected * N, cells),
                              .dw = fl_carve(arena, gates, I),
                              .du = fl_carve(arena, gates, R),
                              .db = fl_carve(arena, gates, sizeof(real)),
                              .dhr = fl_carve(arena, projected, rounded(plan->P) * H),
                              .x = fl_carve(arena, N, sizeof(void *)),
                              .h = fl_carve(arena, N, sizeof(void *)),
                              .c = fl_carve(arena, fl_has_peepholes(plan) ? N : 0, sizeof(void *))};
}

static backward_scratch carve_scratch(const backward_call *call, fl_arena *arena) {
  const size_t B = call->tape->B;
  return (backward_scratch){.dz = fl_carve(arena, B, sizeof(void *)),
                            .c_prev = fl_carve(arena, B, sizeof(void *)),
                            .c = fl_carve(arena, B, sizeof(void *)),
                            .dh = fl_carve(arena, B, sizeof(void *)),
                            .dc = fl_carve(arena, B, sizeof(void *)),
                            .z = fl_carve(arena, B, sizeof(void *)),
                            .hidden = fl_carve(arena, B, sizeof(void *)),
                            .dm = fl_carve(arena, B, sizeof(void *)),
                            .rows = fl_carve(arena, DX_ROWS, sizeof(void *)),
                            .dx = fl_carve(arena, DX_ROWS, sizeof(void *)),
                            .dx_block = fl_carve(arena, DX_ROWS, rounded(call->widest) * sizeof(real)),
                            .packed = fl_carve(arena, FL_SUM_BLOCK, (FL_PANEL + OUTER_COLUMNS) * sizeof(real))};
}

/* Lay the call's scratch out in the arena, or measure it. */
static void carve_backward(backward_call *call, fl_arena *arena) {
  const fl_tape *const tape = call->tape;
  const fl_plan *const plan = tape->plan;
  const size_t D = plan->D, outputs = D * plan->R, gates = plan->panels * FL_PANEL;
  call->widest = plan->L > 1 && outputs > plan->I ? outputs : plan->I;
  call->zero_row = gates > rounded(call->widest) ? gates : rounded(call->widest);
  size_t TB;
  if (!fl_multiply(tape->T, tape->B, &TB)) {
    arena->overflow = 1;
    return;
  }
  for (size_t k = 0; k < 2; k++)
    call->between[k] = k + 1 < plan->L ? fl_carve(arena, TB, outputs * sizeof(real)) : NULL;
  call->zeros = fl_carve(arena, call->zero_row, sizeof(real));
  for (size_t d = 0; d < D; d++) call->directions[d] = carve_direction(call, arena);
  call->tables = fl_carve_layers(arena, &call->cut, plan);
  call->scratch = fl_carve(arena, call->cut.members, sizeof *call->scratch);
  for (size_t k = 0; k < call->cut.members; k++) {
    const backward_scratch made = carve_scratch(call, arena);
    if (arena->at) call->scratch[k] = made;
  }
}

/* ---- one layer, one direction ----------------------------------------------------------------------------------- */

typedef struct {
  const backward_call *call;
  const fl_layer *layer;
  const backward_direction *own;
  size_t l, d, index;
  const real *x;  /* [T, B, input_size]: what the layer read */
  const real *y;  /* [T, B, D*R], this direction's half: what it made */
  const real *dy; /* the gradient of y, or NULL */
  real *gates, *c;
} backward_pass;

/* Is the gradient of what layer l read wanted: by the caller, or by a layer below? */
static int wants_input(const backward_call *call, size_t l) {
  return l ? l > call->lowest : call->gradients->input != NULL;
}

/* How large the parts of n are, whole units and `most` at most, of which each of the call's members has as many, in
 * each of so many tasks at a time. */
static size_t even_part(const backward_call *call, size_t tasks, size_t n, size_t unit, size_t most) {
  const size_t members = (call->cut.members + tasks - 1) / tasks, least = (n + most - 1) / most;
  const size_t parts = (least + members - 1) / members * members, part = parts ? (n + parts - 1) / parts : 1;
  const size_t whole = (part + unit - 1) / unit * unit;
  return whole < most ? whole : most;
}

/* the gradients of the parameters of one layer and direction that are wanted */
static fl_weight_gradients wanted_of(const backward_call *call, size_t index) {
  return call->gradients->weights ? call->gradients->weights[index] : (fl_weight_gradients){0};
}

static backward_pass make_backward_pass(const backward_call *call, size_t l, size_t d) {
  const fl_tape *const tape = call->tape;
  const fl_plan *const plan = tape->plan;
  const size_t index = l * plan->D + d, half = d * plan->R, outputs = fl_tape_outputs(tape);
  const real *const dy = l + 1 == plan->L ? call->gradients->output : call->between[l % 2];
  return (backward_pass){.call = call,
                         .layer = &plan->layers[index],
                         .own = &call->directions[d],
                         .l = l,
                         .d = d,
                         .index = index,
                         .x = l == 0 ? tape->x : (tape->dropped ? tape->dropped : tape->y) + (l - 1) * outputs,
                         .y = tape->y + l * outputs + half,
                         .dy = dy ? dy + half : NULL,
                         .gates = tape->gates + index * fl_tape_gates(tape),
                         .c = tape->c + index * fl_tape_cells(tape)};
}

/* the cell that step s of row b of the batch, place r of the order, started from */
static const real *cell_before(const backward_pass *pass, size_t s, size_t r, size_t b) {
  const fl_tape *const tape = pass->call->tape;
  if (fl_tape_reset(tape, s, b)) return pass->call->zeros;
  if (s) return pass->c + (tape->offset[s - 1] + r) * tape->cell_row;
  return tape->c_0 + (pass->index * tape->B + b) * tape->plan->H;
}

#endif
