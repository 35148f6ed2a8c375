/* What is behind the front door and knows no type of numbers: every public function of fastlstm.h is in api.c (but
 * those that know CPUs, in dispatch.c), which checks the arguments and calls one of these, or a pass of the plan
 * (passes.h). They trust what they are given; in debug and sanitizer builds they assert it.
 *
 * SPDX-License-Identifier: BSD-3-Clause */
#ifndef FASTLSTM_INSIDE_H
#define FASTLSTM_INSIDE_H

#include <stdatomic.h>
#include "plan.h"

/* plan.c */
fl_status fl_make_plan(fl_plan **plan, const fl_config *config, const fl_weights *weights, const char *isa);
void fl_free_plan(fl_plan *plan);

/* session_ids.c; the status tells why something is refused. taken: only those; refused: may be NULL */
size_t fl_measure_ids(size_t capacity);
fl_session_ids *fl_make_ids(size_t capacity, void *memory);
size_t fl_count_ids(const fl_session_ids *ids, int taken);
void fl_list_ids(const fl_session_ids *ids, int64_t *open);
fl_status fl_open_id(fl_session_ids *ids, int64_t *id, size_t *slot);
fl_status fl_take_ids(fl_session_ids *ids, size_t n, const int64_t *given, size_t *slots, size_t *refused);
fl_status fl_give_ids(fl_session_ids *ids, size_t n, const size_t *slots);
fl_status fl_close_ids(fl_session_ids *ids, size_t n, const int64_t *given, size_t *refused);
fl_status fl_move_ids(fl_session_ids *to, const fl_session_ids *from);

/* The state lives twice: a step reads one copy and writes the other, since every unit reads all of the old h, and so
 * that a step that is given up leaves the state as it was. For each turn, the kernel calls of a layer. */
struct fl_stream {
  const fl_plan *plan;
  size_t B;
  int turn;               /* which copy holds the state */
  int advanced;           /* what a step can do before its input is there is done */
  const void **x;         /* [B] rows of the caller's input */
  real *h[2];             /* [L, B, R] */
  real *c[2];             /* [L, B, H] */
  fl_product *advance[2]; /* [L]: U h */
  fl_step *steps[2];      /* [L]: a whole step */
  fl_step *rest[2];       /* [L]: a step once `advance` is done */
  fl_product *project;    /* [L] */
};

/* What has been done for the next steps of sessions: U h of every layer. */
struct fl_advances {
  size_t slot;   /* reals from a slot to the next; 0: all share one place, one at a time */
  size_t layer;  /* from a layer to the next */
  uint8_t *done; /* [capacity]: is it there? */
  real *z;       /* [capacity][L][panels][FL_PANEL] */
};

/* A slot: [L][h R, h R, c H], with h twice as in a stream. */
struct fl_sessions {
  const fl_plan *plan;
  size_t capacity;
  size_t slot, layer;              /* reals of a slot, and from a layer to the next */
  uint8_t *turn;                   /* [capacity]: which copy of h is the state */
  real *slots;                     /* [capacity][slot] */
  _Atomic(fl_advances *) advances; /* NULL until somebody wants them, while other slots may be in a step */
};

/* Its sessions: slot k is the window that started at the input whose number is k modulo the length. */
struct fl_window {
  const fl_plan *plan;
  size_t length, threads;
  size_t count; /* inputs so far */
  int behind;   /* the windows that go on have not seen the last input */
  fl_sessions *sessions;
  fl_advances *advances; /* of the sessions: that of the window that ends next */
  size_t *slots;         /* [length] */
  real *last;            /* [I]: the last input; or */
  int64_t token;         /* of this table, unless that is NULL */
  const fl_table *table;
  void *workspace; /* of a step of all */
};

#endif
