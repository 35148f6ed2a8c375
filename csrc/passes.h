/* The passes: what walks over layers, rows and time. Lists declare them and fill the tables, as kernels.h does for the
 * kernels; each is compiled once for each pair of types (real.h), with no instruction set's flags (passes/), and a plan
 * holds its table.
 *
 * They trust what they are given, since api.c has checked it; in debug and sanitizer builds they assert it.
 *   make  lay out in memory that the caller gives
 *   measure  bytes of it; SIZE_MAX on overflow
 *   run, advance, push  compute
 *
 * SPDX-License-Identifier: BSD-3-Clause */
#ifndef FASTLSTM_PASSES_H
#define FASTLSTM_PASSES_H

#include "fastlstm.h"
#include "kernels/real.h"
#include "unpacked.h"

typedef struct fl_advances fl_advances;

/* X(result, name, argument list); table: of the input's tokens, or NULL; pool and cancel may be NULL */
#define FL_PASS_LIST(X)                                                                                               \
  X(size_t, measure_plan, (const fl_plan *plan))                                                                      \
  X(int, pack_plan, (fl_plan * plan, const fl_weights *weights)) /* 0: a weight is out of its type's range */          \
  X(size_t, measure_forward, (const fl_plan *plan, size_t T, size_t B, size_t threads))                               \
  X(size_t, count_forward, (const fl_plan *plan, size_t T, size_t B, size_t threads)) /* members of a call */         \
  X(fl_status, run_forward,                                                                                           \
    (const fl_plan *plan, const fl_sequence *sequence, const fl_table *table, fl_pool *pool, void *workspace,         \
     const fl_cancel *cancel))                                                                                        \
  X(size_t, measure_trace, (const fl_plan *plan, size_t T, size_t B, size_t threads))                                 \
  X(fl_status, run_trace,                                                                                             \
    (const fl_plan *plan, const fl_sequence *sequence, const fl_table *table, const fl_trace *trace, fl_pool *pool,   \
     void *workspace, const fl_cancel *cancel))                                                                       \
  X(size_t, measure_table, (const fl_plan *plan, size_t V))                                                           \
  X(fl_table *, make_table, (const fl_plan *plan, size_t V, void *memory))                                            \
  X(fl_status, fill_table,                                                                                            \
    (fl_table * table, const void *rows, ptrdiff_t row, fl_pool *pool, const fl_cancel *cancel))                      \
  X(size_t, measure_stream, (const fl_plan *plan, size_t B))                                                          \
  X(fl_stream *, make_stream, (const fl_plan *plan, size_t B, void *memory))                                          \
  X(fl_status, run_stream, (fl_stream * stream, const void *x, void *y))                                              \
  X(fl_status, run_stream_until,                                                                                      \
    (fl_stream * stream, const fl_table *table, const void *x, void *y, const fl_cancel *cancel))                     \
  X(fl_status, advance_stream, (fl_stream * stream, const fl_cancel *cancel))                                         \
  X(void, read_stream, (const fl_stream *stream, void *h, void *c))                                                   \
  X(void, write_stream, (fl_stream * stream, const void *h, const void *c))                                           \
  X(size_t, measure_cell, (const fl_plan *plan, size_t B))                                                            \
  X(void, run_cell,                                                                                                   \
    (const fl_plan *plan, size_t B, const void *x, const void *h, const void *c, void *h_next, void *c_next,          \
     void *workspace))                                                                                                \
  X(size_t, measure_sessions, (const fl_plan *plan, size_t capacity))                                                 \
  X(fl_sessions *, make_sessions, (const fl_plan *plan, size_t capacity, void *memory))                               \
  X(size_t, measure_sessions_step, (const fl_plan *plan, size_t n, size_t threads, int cancellable))                  \
  X(size_t, count_sessions, (const fl_plan *plan, size_t n, size_t threads))                                          \
  X(fl_status, run_sessions,                                                                                          \
    (fl_sessions * sessions, const fl_table *table, const fl_batch *batch, fl_pool *pool, void *workspace,            \
     const fl_cancel *cancel))                                                                                        \
  X(size_t, measure_advances, (const fl_plan *plan, size_t capacity, int shared))                                     \
  X(fl_advances *, make_advances, (fl_sessions * sessions, int shared, void *memory))                                 \
  X(fl_status, advance_sessions,                                                                                      \
    (fl_sessions * sessions, const fl_batch *batch, fl_pool *pool, void *workspace, const fl_cancel *cancel))         \
  X(void, read_session, (const fl_sessions *sessions, size_t slot, void *h, void *c))                                 \
  X(void, write_session, (fl_sessions * sessions, size_t slot, const void *h, const void *c))                         \
  X(void, move_sessions, (fl_sessions * to, const fl_sessions *from))                                                 \
  X(size_t, measure_window, (const fl_plan *plan, size_t length, size_t threads))                                     \
  X(fl_window *, make_window, (const fl_plan *plan, size_t length, size_t threads, void *memory))                     \
  X(fl_status, advance_window, (fl_window * window, fl_pool *pool, const fl_cancel *cancel))                          \
  X(fl_status, push_window,                                                                                           \
    (fl_window * window, const fl_table *table, const void *x, void *y, fl_pool *pool, const fl_cancel *cancel))

/* what there is only where weights are of the same type as the numbers: NULL elsewhere */
#define FL_TRAINING_PASS_LIST(X)  \
  X(size_t, measure_tape, (const fl_plan *plan, size_t T, size_t B, size_t steps, int dropout, int resets))           \
  X(fl_tape *, make_tape,                                                                                             \
    (const fl_plan *plan, const fl_sequence *sequence, double dropout, uint64_t seed, size_t time, void *memory))     \
  X(fl_status, run_train,                                                                                             \
    (const fl_sequence *sequence, fl_tape *tape, fl_pool *pool, void *workspace, const fl_cancel *cancel))            \
  X(void, read_tape,                                                                                                  \
    (const fl_tape *tape, size_t layer, size_t direction, size_t t, const fl_tape_step *step))                        \
  X(size_t, measure_backward, (const fl_tape *tape, size_t threads))                                                  \
  X(size_t, count_backward, (const fl_tape *tape, size_t threads))                                                    \
  X(fl_status, run_backward,                                                                                          \
    (fl_tape * tape, const fl_gradients *gradients, fl_pool *pool, void *workspace, const fl_cancel *cancel))         \
  X(void, run_accumulate, (void *total, const void *part, size_t n))                                                  \
  X(size_t, measure_unpacked, (const fl_plan *plan, size_t B, size_t threads))                                        \
  X(void, run_unpacked, (const fl_plan *plan, const fl_unpacked *step, fl_pool *pool, void *workspace))

typedef struct {
#define FL_DECLARE(result, name, arguments) result(*name) arguments;
  FL_PASS_LIST(FL_DECLARE)
  FL_TRAINING_PASS_LIST(FL_DECLARE)
#undef FL_DECLARE
} fl_passes;

extern const fl_passes fl_passes_f32, fl_passes_f64, fl_passes_f32_half, fl_passes_f32_int8;

static inline int fl_has_integers(fl_weight_type weights) {
  return weights == FL_WEIGHTS_INT8 || weights == FL_WEIGHTS_INT8_FAST;
}

static inline const fl_passes *fl_passes_of(fl_dtype dtype, fl_weight_type weights) {
  if (dtype == FL_FLOAT64) return &fl_passes_f64;
  if (weights == FL_WEIGHTS_REAL) return &fl_passes_f32;
  return fl_has_integers(weights) ? &fl_passes_f32_int8 : &fl_passes_f32_half;
}

/* where they are written: size_t TYPED(measure_plan)(const fl_plan *plan) { ... } */
#ifdef REAL_BITS
#define TYPED__(name, types) fl_##name##_##types
#define TYPED_(name, types) TYPED__(name, types)
#define TYPED(name) TYPED_(name, TYPES)
#define FL_DECLARE(result, name, arguments) result TYPED(name) arguments;
FL_PASS_LIST(FL_DECLARE)
#if WEIGHTS_ARE_REALS
FL_TRAINING_PASS_LIST(FL_DECLARE)
#endif
#undef FL_DECLARE
#endif

#endif
