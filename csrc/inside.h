/* What is behind the front door: every public function of fastlstm.h is in api.c (but those that know CPUs, in
 * dispatch.c), which checks the arguments and calls one of these. They trust what they are given; in debug and
 * sanitizer builds they assert it.
 *
 * make  lay out in memory, or allocate
 * measure  bytes of it; SIZE_MAX on overflow
 * run  compute
 *
 * SPDX-License-Identifier: BSD-3-Clause */
#ifndef FASTLSTM_INSIDE_H
#define FASTLSTM_INSIDE_H

#include "passes/layer_step.h"
#include "passes/tape.h"

/* plan.c */
fl_status fl_make_plan(fl_plan **plan, const fl_config *config, const fl_weights *weights, const char *isa);
void fl_free_plan(fl_plan *plan);

/* threads.c; parallel: whose threads they are, NULL for workers of our own */
enum { FL_MOST_THREADS = 4096 };
fl_status fl_make_pool(fl_pool **pool, size_t threads, fl_parallel parallel);
void fl_free_pool(fl_pool *pool);

/* forward.c; tape: to be filled, or NULL; cancel may be NULL */
size_t fl_measure_forward(const fl_plan *plan, size_t T, size_t B, size_t threads);
fl_status fl_run_forward(const fl_plan *plan, const fl_sequence *sequence, fl_tape *tape, fl_pool *pool,
                         void *workspace, const fl_cancel *cancel);

/* tape.c */
size_t fl_measure_tape(const fl_plan *plan, size_t T, size_t B, size_t steps, int dropout, int resets);
fl_tape *fl_make_tape(const fl_plan *plan, const fl_sequence *sequence, double dropout, uint64_t seed, size_t time,
                      void *memory);
fl_status fl_run_train(const fl_sequence *sequence, fl_tape *tape, fl_pool *pool, void *workspace,
                       const fl_cancel *cancel);

/* backward.c */
size_t fl_measure_backward(const fl_tape *tape, size_t threads);
fl_status fl_run_backward(fl_tape *tape, const fl_gradients *gradients, fl_pool *pool, void *workspace,
                          const fl_cancel *cancel);
void fl_run_accumulate(fl_dtype dtype, void *total, const void *part, size_t n);

/* stream.c. h lives twice: a step reads one copy and writes the other, since every unit reads all of the old h. */
struct fl_stream {
  const fl_plan *plan;
  size_t B;
  int turn;            /* which copy holds the state */
  const void **x;      /* [B] rows of the caller's input */
  char *h[2];          /* [L, B, R] */
  char *c;             /* [L, B, H] */
  char *p;             /* [project panels][B][FL_PANEL] */
  fl_step *steps[2];   /* [L], for each turn */
  fl_product *project; /* [L] */
};
size_t fl_measure_stream(const fl_plan *plan, size_t B);
fl_stream *fl_make_stream(const fl_plan *plan, size_t B, void *memory);
fl_status fl_run_stream(fl_stream *stream, const void *x, void *y);
void fl_read_stream(const fl_stream *stream, void *h, void *c);
void fl_write_stream(fl_stream *stream, const void *h, const void *c);
size_t fl_measure_cell(const fl_plan *plan, size_t B);
void fl_run_cell(const fl_plan *plan, size_t B, const void *x, const void *h, const void *c, void *h_next, void *c_next,
                 void *workspace);

/* sessions.c. A slot: [L][h R, h R, c H], with h twice as in a stream. */
struct fl_sessions {
  const fl_plan *plan;
  size_t capacity;
  size_t slot, layer; /* bytes of a slot, and from a layer to the next */
  uint8_t *turn;      /* [capacity]: which copy of h is the state */
  char *slots;        /* [capacity][slot] */
};
size_t fl_measure_sessions(const fl_plan *plan, size_t capacity);
fl_sessions *fl_make_sessions(const fl_plan *plan, size_t capacity, void *memory);
size_t fl_measure_step(const fl_plan *plan, size_t n, size_t threads);
void fl_run_sessions(fl_sessions *sessions, size_t n, const size_t *slots, const void *x, ptrdiff_t x_row, void *y,
                     fl_pool *pool, void *workspace);
void fl_read_session(const fl_sessions *sessions, size_t slot, void *h, void *c);
void fl_write_session(fl_sessions *sessions, size_t slot, const void *h, const void *c);
void fl_move_sessions(fl_sessions *to, const fl_sessions *from);

#endif
