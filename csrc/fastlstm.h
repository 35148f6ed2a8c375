/* fastlstm: LSTM layers on CPUs, forward, backward and step by step: the same bits for every batch size, thread count,
 * chunking and instruction set.
 *
 * What a layer computes at each step, from its input x and its state h, c:
 *
 *   i = sigmoid(W_i x + U_i h + b_i)    how much is written,
 *   f = sigmoid(W_f x + U_f h + b_f)    how much is kept,
 *   g = tanh(W_g x + U_g h + b_g)       what is written,
 *   o = sigmoid(W_o x + U_o h + b_o)    how much is shown
 *   c' = f c + i g
 *   h' = o tanh(c')                     with a projection W_hr (o tanh(c'))
 *
 * with b = b_ih + b_hh. h' is the layer's output, and the next layer's x. Other forms of it: fl_form.
 *
 * Order of calls. A plan first, which holds packed weights and is immutable: any number of threads may use one at once.
 * Weights come from arrays of yours (fl_plan_create), or from a file that `fastlstm convert MODEL OUT --to c` writes
 * (fl_plan_load; fl_plan_read for one in memory). Then
 *   whole sequences  fl_workspace_size, fl_forward, as often as you like
 *   training         fl_tape_size, fl_tape_init, fl_forward_train, then fl_backward_size, fl_backward: once for a tape;
 *                    before that fl_tape_read, as often as you like: the gates and cells of every step
 *   looking inside   fl_trace_workspace, fl_forward_trace: whole sequences, and the gates of every step
 *   step by step     fl_stream_size, fl_stream_init, fl_stream_step, fl_stream_advance where there is time, ...
 *   many sequences   fl_sessions_size, fl_sessions_init, fl_sessions_step, ...; where they come and go,
 *                    fl_session_ids_size, ...
 *   sliding windows  fl_window_size, fl_window_init, fl_window_push, fl_window_advance where there is time, ...
 *   inputs that are tokens, each one of V  fl_table_size, fl_table_init, fl_table_fill, then the same calls with tokens
 *                    in the place of x: fl_forward_tokens, fl_stream_step_tokens, fl_sessions_step_tokens, ...
 *
 * One complete call, in C11: 5 steps of one row, on the best instruction set, on this thread alone.
 *
 *   const float w[8 * 3] = {0}, u[8 * 2] = {0}, b[8] = {0}, x[5 * 3] = {0};
 *   float y[5 * 2], h_n[2], c_n[2];
 *   const fl_config config = {
 *       .dtype = FL_FLOAT32, .input_size = 3, .hidden_size = 2, .num_layers = 1, .directions = 1};
 *   const fl_weights weights = {.weight_ih = w, .weight_hh = u, .bias_ih = b};
 *   fl_plan *plan;
 *   fl_status status = fl_plan_create(&plan, &config, &weights, NULL);
 *   if (status == FL_OK) {
 *     const fl_sequence sequence = {.T = 5, .B = 1, .input = x, .input_t = 3 * sizeof *x, .input_b = sizeof x,
 *                                   .output = y, .output_t = 2 * sizeof *y, .output_b = sizeof y,
 *                                   .h_n = h_n, .c_n = c_n};
 *     void *workspace = aligned_alloc(64, (fl_workspace_size(plan, 5, 1, 1) + 63) / 64 * 64);
 *     status = fl_forward(plan, &sequence, NULL, workspace);
 *     free(workspace);
 *   }
 *   puts(fl_status_text(status));
 *   fl_plan_destroy(plan);
 *
 * One rule for invalid arguments: a function that returns fl_status says FL_ERROR_ARGUMENT, or FL_ERROR_OVERFLOW for
 * sizes whose product cannot be addressed, and has then written nothing but a NULL for the object it would have made;
 * one that returns a pointer gives NULL; one that returns a number of bytes gives SIZE_MAX; the destroy functions take
 * NULL. What is checked: every pointer that may not be NULL (an array without elements may), every size, count, number
 * of threads (1..4096), kind and flag, lengths, starts, slots, ids, and that memory and workspaces lie on a boundary of
 * 64 bytes. What cannot be checked, and is up to you: that arrays are as long as their line below says and aligned as
 * their type asks (strides keep them so), that they do not alias where it forbids it, and that a plan, pool or other
 * object is one that was made here, still there, and not in other use where it serves one thread.
 *
 * Nothing here allocates except fl_plan_create, fl_plan_read, fl_plan_load, fl_pool_create and fl_pool_borrow; nothing
 * prints, aborts or keeps global state. What an _init function makes stays where it is, since it points into itself,
 * and needs no destroying: its memory is yours to free.
 *
 * Every pointer below has a line: shape, owner, may it alias, read or written. Shapes: T time, B batch, I input, H
 * hidden, P projection, R = P if P > 0 else H, L layers, D directions (1 or 2), I_l = I for the first layer and D*R for
 * the others. "real" is float or double, by the plan's type. Gate order is i, f, g, o.
 *
 * SPDX-License-Identifier: BSD-3-Clause */
#ifndef FASTLSTM_H
#define FASTLSTM_H

#include <stddef.h>
#include <stdint.h>

#ifdef __cplusplus
extern "C" {
#endif

/* On Windows, define FASTLSTM_SHARED to link with the shared library. */
#if defined(_WIN32)
#if defined(FASTLSTM_BUILD)
#define FL_API __declspec(dllexport)
#elif defined(FASTLSTM_SHARED)
#define FL_API __declspec(dllimport)
#else
#define FL_API
#endif
#else
#define FL_API __attribute__((visibility("default")))
#endif

/* ---- versions and errors ---------------------------------------------------------------------------------------- */

/* Version of the library that runs: "0.1.0". Static string. */
FL_API const char *fl_version(void);

/* Version of the numerical contract (docs/contract.md): another number, other bits from the same input. */
FL_API int fl_contract(void);

typedef enum fl_status {
  FL_OK = 0,
  FL_ERROR_ARGUMENT = 1,  /* an invalid size, type or pointer */
  FL_ERROR_OVERFLOW = 2,  /* sizes whose product does not fit in memory's address range */
  FL_ERROR_MEMORY = 3,    /* out of memory */
  FL_ERROR_ISA = 4,       /* unknown instruction set name, or one that this CPU lacks or the system refuses */
  FL_ERROR_THREADS = 5,   /* the system would not start a thread */
  FL_ERROR_CANCELLED = 6, /* the caller's fl_cancel said so */
  FL_ERROR_FULL = 7,      /* no room for another session */
  FL_ERROR_UNKNOWN = 8,   /* an id of a session that has never been opened */
  FL_ERROR_CLOSED = 9,    /* an id of a session that has been closed */
  FL_ERROR_TWICE = 10,    /* an id that is given twice */
  FL_ERROR_TAKEN = 11,    /* an id of a session that is taken */
  FL_ERROR_FILE = 12,     /* a path that cannot be opened, or not be read to its end */
  FL_ERROR_FORMAT = 13,   /* not a weight file */
  FL_ERROR_VERSION = 14,  /* a weight file of a version that is not known here */
  FL_ERROR_ORDER = 15,    /* a weight file for machines of the other byte order */
  FL_ERROR_LENGTH = 16,   /* a weight file that is shorter or longer than it says */
  FL_ERROR_DAMAGED = 17,  /* a weight file whose checksum is another */
  FL_ERROR_CONTENT = 18,  /* a weight file with sizes or a form that no layer has */
  FL_ERROR_RANGE = 19,    /* a weight that its type cannot hold, or a scale: not finite, or too large */
} fl_status;

/* What the status means, in a few words. Static string. */
FL_API const char *fl_status_text(fl_status status);

typedef enum fl_dtype { FL_FLOAT32 = 32, FL_FLOAT64 = 64 } fl_dtype;

/* ---- instruction sets ------------------------------------------------------------------------------------------- */

/* Name of the index-th instruction set that is built in and that this CPU has, best first; NULL past the last.
 * Static string. "scalar" is always the last. */
FL_API const char *fl_isa_name(size_t index);

/* The same for weights of 8 bits: instruction sets that are for these alone, too. "amx" is never taken by itself:
 * naming it asks Linux for AMX's registers, for the whole process; FL_ERROR_ISA where that is refused. */
FL_API const char *fl_integer_isa_name(size_t index);

/* One line about it: "x86-64-v3: 256-bit vectors with FMA". NULL for a name that neither gives. Static. */
FL_API const char *fl_isa_description(const char *name);

/* ---- activations ------------------------------------------------------------------------------------------------ */

/* The one list of them: X(kind, number, name, parameters, alpha, beta, alpha_not_below_0).
 *   parameters         how many of alpha, beta the formula has; then come their usual values, which are ONNX's
 *   alpha_not_below_0  for training: with alpha < 0 the value would not tell the slope */
#define FL_ACTIVATION_LIST(X)                                                                                      \
  X(FL_SIGMOID, 0, "sigmoid", 0, 0, 0, 0)                   /* 1 / (1 + e^-x) */                                    \
  X(FL_TANH, 1, "tanh", 0, 0, 0, 0)                         /* tanh(x) */                                           \
  X(FL_RELU, 2, "relu", 0, 0, 0, 0)                         /* max(0, x) */                                         \
  X(FL_HARD_SIGMOID, 3, "hard_sigmoid", 2, 0.2, 0.5, 0)     /* max(0, min(1, alpha x + beta)) */                    \
  X(FL_AFFINE, 4, "affine", 2, 1, 0, 0)                     /* alpha x + beta */                                    \
  X(FL_LEAKY_RELU, 5, "leaky_relu", 1, 0.01, 0, 1)          /* x if x >= 0, else alpha x */                         \
  X(FL_THRESHOLDED_RELU, 6, "thresholded_relu", 1, 1, 0, 0) /* x if x > alpha, else 0 */                            \
  X(FL_SCALED_TANH, 7, "scaled_tanh", 2, 1, 1, 0)           /* alpha tanh(beta x) */                                \
  X(FL_ELU, 8, "elu", 1, 1, 0, 1)                           /* x if x >= 0, else alpha (e^x - 1) */                 \
  X(FL_SOFTSIGN, 9, "softsign", 0, 0, 0, 0)                 /* x / (1 + |x|) */                                     \
  X(FL_SOFTPLUS, 10, "softplus", 0, 0, 0, 0)                /* log(1 + e^x) */

typedef enum fl_activation_kind {
#define FL_KIND(kind, number, name, parameters, alpha, beta, alpha_not_below_0) kind = number,
  FL_ACTIVATION_LIST(FL_KIND)
#undef FL_KIND
} fl_activation_kind;

/* An activation. alpha and beta are read where the formula has them, and must then be finite as reals of the type that
 * it is used with. */
typedef struct fl_activation {
  fl_activation_kind kind;
  double alpha, beta;
} fl_activation;

/* What is known of a kind: its row in FL_ACTIVATION_LIST. */
typedef struct fl_activation_info {
  const char *name;
  int parameters;
  double alpha, beta;
  int alpha_not_below_0;
} fl_activation_info;

/* Of the kind with this number, from 0 on; NULL past the last. Static. */
FL_API const fl_activation_info *fl_activation_at(size_t kind);

/* Any of them alone.
 *   isa   name, or NULL for the best; FL_ERROR_ISA if unknown
 *   x, y  [n] reals; x read, y written; y may be x */
FL_API fl_status fl_activate(const char *isa, fl_dtype dtype, const fl_activation *activation, const void *x, void *y,
                             size_t n);

/* sigmoid and tanh, as fl_activate. */
FL_API fl_status fl_sigmoid(const char *isa, fl_dtype dtype, const void *x, void *y, size_t n);
FL_API fl_status fl_tanh(const char *isa, fl_dtype dtype, const void *x, void *y, size_t n);

/* The gates alone, those of the standard cell.
 *   z       [rows, 4*units] reals, gates i f g o; read
 *   c       [rows, units] reals; read; may be c_next
 *   c_next  [rows, units] reals; written
 *   h       [rows, units] reals; written; no alias */
FL_API fl_status fl_gates_forward(const char *isa, fl_dtype dtype, size_t rows, size_t units, const void *z,
                                  const void *c, void *c_next, void *h);

/* ---- plan ------------------------------------------------------------------------------------------------------- */

typedef struct fl_plan fl_plan;

/* what a form limits to -clip..clip */
typedef enum fl_clip {
  FL_CLIP_NONE = 0,
  FL_CLIP_ACTIVATIONS = 1, /* the inputs of every activation: of i, f, g, o, and c' on its way to h' */
  FL_CLIP_GATES = 2,       /* the inputs of i, f, g, o */
  FL_CLIP_STATE = 3,       /* c', which is carried on so */
} fl_clip;

/* A form of the cell:
 *   i = gate(z_i + p_i c)    f = gate(z_f + p_f c), coupled: 1 - i    g = candidate(z_g)
 *   c' = f c + i g           o = gate(z_o + p_o c')                   h' = o cell(c')
 * summed: c' = f c + (i + g) instead */
typedef struct fl_form {
  fl_activation gate, candidate, cell;
  int peepholes; /* the terms with p, which are zero without */
  int coupled;   /* the forget gate's weights are ignored, their gradients are zero */
  fl_clip clip_at;
  double clip; /* > 0 and finite, unless clip_at is FL_CLIP_NONE */
  int summed;  /* the gate is added to what is written, and does not multiply it */
} fl_form;

/* What the matrices of a float32 plan are stored in. With 16 bits they are rounded to the nearest, ties to even, when
 * they are packed; the results are, to the bit, those of a plan whose float32 weights were rounded so. With 8 bits
 * inputs and states are rounded, too, each row by its own largest number (docs/precision.md); at most 16384 inputs and
 * units, else FL_ERROR_OVERFLOW. Biases and peepholes stay float32. For inference only. */
typedef enum fl_weight_type {
  FL_WEIGHTS_REAL = 0,      /* as the numbers are */
  FL_WEIGHTS_FLOAT16 = 1,   /* IEEE 754 binary16: up to 65504, 11 bits */
  FL_WEIGHTS_BFLOAT16 = 2,  /* the range of float32, 8 bits */
  FL_WEIGHTS_INT8 = 3,      /* 8 bits times a scale for each row; inputs and states rounded to 16 bits; a call takes up
                             * to 96 KiB of stack */
  FL_WEIGHTS_INT8_FAST = 4, /* the same weights; inputs and states rounded to 7 bits */
} fl_weight_type;

typedef struct fl_config {
  fl_dtype dtype;
  size_t input_size;      /* I > 0 */
  size_t hidden_size;     /* H > 0 */
  size_t proj_size;       /* P < H, 0 for none */
  size_t num_layers;      /* L > 0 */
  size_t directions;      /* D: 1, or 2 for bidirectional */
  const fl_form *form;    /* NULL for the standard cell; owned by the caller, read during fl_plan_create only */
  fl_weight_type weights; /* other than FL_WEIGHTS_REAL with float32 only */
} fl_config;

/* A matrix that has been rounded to 8 bits elsewhere: row r is scales[r] * (values[r] - offsets[r]), and is used as it
 * is. Owned by the caller, read during fl_plan_create only. */
typedef struct fl_integers {
  const void *values;  /* [rows, columns] uint8_t, or int8_t, contiguous */
  const float *scales; /* [rows] > 0, finite; a whole row with no difference from its offset may have 0 */
  const void *offsets; /* [rows] of the values' type; NULL for zeros */
  int is_signed;       /* not 0: int8_t */
} fl_integers;

/* The parameters of one layer in one direction, in torch's layout; owned by the caller, read during fl_plan_create
 * only. */
typedef struct fl_weights {
  const void *weight_ih; /* [4H, I_l] reals, contiguous */
  const void *weight_hh; /* [4H, R] reals, contiguous */
  const void *bias_ih;   /* [4H] reals, or NULL for zeros */
  const void *bias_hh;   /* [4H] reals, or NULL for zeros */
  const void *weight_hr; /* [P, H] reals, contiguous; NULL where P = 0 */
  const void *weight_ph; /* [3H] reals: the peepholes of i, f, o; NULL if and only if the form has none */
  /* for plans with 8 bits: each in the place of its matrix, which is NULL then; else NULL */
  const fl_integers *integers_ih; /* [4H, I_l] */
  const fl_integers *integers_hh; /* [4H, R] */
  const fl_integers *integers_hr; /* [P, H] */
} fl_weights;

/* Pack weights into a new plan.
 *   plan     written: the new plan, owned by the caller (fl_plan_destroy), or NULL on error
 *   weights  [L*D], index layer*D + direction; read
 *   isa      name of an instruction set, or NULL for the best one; read
 * FL_ERROR_RANGE where 16 or 8 bits cannot hold a weight, or a scale is not one. */
FL_API fl_status fl_plan_create(fl_plan **plan, const fl_config *config, const fl_weights *weights, const char *isa);

/* Its sizes, as fl_plan_create was given them.
 *   config  written; its form is NULL for the standard cell, else the plan's own, which stays as long as the plan */
FL_API fl_status fl_plan_get_config(const fl_plan *plan, fl_config *config);

/* Frees it. NULL is fine. No call may be using the plan. */
FL_API void fl_plan_destroy(fl_plan *plan);

/* The instruction set that the plan runs on, by the name that it was made with, or the best one's. Static string. */
FL_API const char *fl_plan_isa(const fl_plan *plan);

/* bytes of packed weights */
FL_API size_t fl_plan_size(const fl_plan *plan);

/* ---- weight files ----------------------------------------------------------------------------------------------- */

/* The flat file that `fastlstm convert MODEL OUT --to c` writes: a header, then the arrays of fl_weights, each on a
 * boundary of 64 bytes; docs/embedding.md has a line for every byte. It may lie anywhere in memory that can be read, in
 * pages that are mapped from a file as well: the functions with `data` copy nothing but what a plan packs, look at no
 * byte outside of it, and refuse what is not whole: by FL_ERROR_FORMAT, FL_ERROR_LENGTH, FL_ERROR_ORDER,
 * FL_ERROR_VERSION, FL_ERROR_DAMAGED (every change of up to 32 bits in a row, and all but 2^-32 of the others),
 * FL_ERROR_CONTENT.
 *   data, size  the file, on a boundary of 8 bytes; owned by the caller, read during the call */

/* What is in a file. Allocates nothing.
 *   config  written; its form is `form`
 *   form    written; owned by the caller, who keeps it as long as the config */
FL_API fl_status fl_file_read(const void *data, size_t size, fl_config *config, fl_form *form);

/* Where its arrays are. Allocates nothing. FL_ERROR_VERSION for a file of integers, which fl_file_integers is for.
 *   n        as many as there are in the file, L*D
 *   weights  [n], index layer*D + direction; written: pointers into data */
FL_API fl_status fl_file_weights(const void *data, size_t size, size_t n, fl_weights *weights);

/* The same of any file, also of one whose matrices are integers. Allocates nothing.
 *   n         as many as there are in the file, L*D
 *   weights   [n]; written: pointers into data and integers
 *   integers  [3*n]; written where the file has integers: pointers into data; owned by the caller, who keeps it as long
 *             as weights */
FL_API fl_status fl_file_integers(const void *data, size_t size, size_t n, fl_weights *weights, fl_integers *integers);

/* fl_plan_create of what is in a file; plan and isa are as there. */
FL_API fl_status fl_plan_read(fl_plan **plan, const void *data, size_t size, const char *isa);

/* fl_plan_read of the file at a path, as fopen takes it. Path and file are read during the call, the file into memory
 * that is free again when this returns. FL_ERROR_FILE where that fails. */
FL_API fl_status fl_plan_load(fl_plan **plan, const char *path, const char *isa);

/* ---- threads ---------------------------------------------------------------------------------------------------- */

/* A pool of worker threads, owned by the caller. Workers sleep between calls: at most 30 us after one they do. One call
 * uses a pool at a time; a second one that arrives meanwhile runs on its own thread instead, as does every call in a
 * process that was forked after the pool was made. The bits are the same in every case.
 *
 * A pool's threads are the most that a call may take. It takes as many as are expected to shorten it, and no more than
 * there are CPUs for the process (its affinity; a container's quota): fl_threads_used and those like it say how many.
 * The others sleep on. No thread is bound to a CPU. */
typedef struct fl_pool fl_pool;

/* Start a pool.
 *   pool     written: the new pool, owned by the caller (fl_pool_destroy), or NULL on error
 *   threads  how many share the work, the caller's included, 1..4096; threads - 1 are started */
FL_API fl_status fl_pool_create(fl_pool **pool, size_t threads);

/* Somebody else's threads: calls work(data) on up to `threads` of them at once, the caller's among them, and returns
 * when all have returned; fewer is fine. `flags` is 0. The form is that of libgomp's GOMP_parallel. */
typedef void (*fl_parallel)(void (*work)(void *data), void *data, unsigned threads, unsigned flags);

/* A pool that starts no threads and borrows them, so that a process with threads has them once.
 *   pool      as for fl_pool_create
 *   parallel  called during calls that use the pool */
FL_API fl_status fl_pool_borrow(fl_pool **pool, size_t threads, fl_parallel parallel);

/* Joins and frees. NULL is fine. No call may be using the pool. */
FL_API void fl_pool_destroy(fl_pool *pool);

/* ---- whole sequences -------------------------------------------------------------------------------------------- */

/* Strides are in bytes and may be negative; the innermost axis is always contiguous. Outputs may not alias anything. */
typedef struct fl_sequence {
  size_t T, B;
  const void *input; /* [T, B, I] reals; read */
  ptrdiff_t input_t, input_b;
  void *output; /* [T, B, D*R] reals; written; 0 past a row's length */
  ptrdiff_t output_t, output_b;
  const void *h_0;        /* [L*D, B, R] reals, contiguous; read; NULL for zeros */
  const void *c_0;        /* [L*D, B, H] reals, contiguous; read; NULL for zeros */
  void *h_n;              /* [L*D, B, R] reals, contiguous; written */
  void *c_n;              /* [L*D, B, H] reals, contiguous; written */
  const int64_t *lengths; /* [B], each 0..T; read; NULL if all are T */
  const uint8_t *resets;  /* [T, B], not 0 where the row's state is zero before the step; read; NULL for none; D = 1 */
  ptrdiff_t resets_t, resets_b;
  /* Packed input and output, for fl_forward: [T], step t's rows begin at row starts[t] >= 0 of both, input_b and
   * output_b apart, row b at starts[t] + b; input_t and output_t do not count. Needs lengths, the longest first. Read;
   * NULL if not packed. */
  const int64_t *starts;
} fl_sequence;

/* bytes of workspace that fl_forward needs for these sizes (any lengths) and this many threads; SIZE_MAX on overflow */
FL_API size_t fl_workspace_size(const fl_plan *plan, size_t T, size_t B, size_t threads);

/* How many of so many threads fl_forward takes for these sizes; 0 for invalid arguments. fl_forward_train may
 * share a stack of layers in another way, among fewer or more. */
FL_API size_t fl_threads_used(const fl_plan *plan, size_t T, size_t B, size_t threads);

/* The whole sequence through all layers. Allocates nothing.
 *   pool       NULL to stay on the caller's thread
 *   workspace  fl_workspace_size bytes for the pool's threads, 64-byte aligned, owned by the caller; scratch */
FL_API fl_status fl_forward(const fl_plan *plan, const fl_sequence *sequence, fl_pool *pool, void *workspace);

/* How a long call is given up. `ask` is called on the thread that made the call, and on no other, now and then while it
 * works: about every 4 million multiply-adds, which is 0.1 to 1 ms, so it should look at a clock before it does
 * anything costly. It must not fork: the child would wait for workers that it does not have. As soon as it returns
 * something other than 0, it is not asked again, and the call ends with FL_ERROR_CANCELLED; the outputs then hold
 * anything, what was only read is as before. A single step of a cell is not cancelled: step fewer rows at a time. */
typedef struct fl_cancel {
  int (*ask)(void *data);
  void *data;
} fl_cancel;

/* fl_forward, but for `cancel`, which may be NULL; owned by the caller, read during the call. */
FL_API fl_status fl_forward_until(const fl_plan *plan, const fl_sequence *sequence, fl_pool *pool, void *workspace,
                                  const fl_cancel *cancel);

/* ---- tables ----------------------------------------------------------------------------------------------------- */

/* For a layer whose input at each step is one of V, known beforehand: the embedding of a token, or a one-hot vector. A
 * table holds what the first layer makes of each, b + W x for all gates; a token is the number of an input, and stands
 * for it where a table is given: the same bits, without the product. It belongs to its plan, which must outlive it.
 * Once filled it does not change: any number of threads may use it at once. For inference only. */
typedef struct fl_table fl_table;

/* bytes that a table of V > 0 inputs takes, D * V * 4H reals with H rounded up to a multiple of 8; SIZE_MAX on
 * overflow */
FL_API size_t fl_table_size(const fl_plan *plan, size_t V);

/* A table that holds nothing yet.
 *   memory  fl_table_size bytes, 64-byte aligned, owned by the caller; the result points into it */
FL_API fl_table *fl_table_init(const fl_plan *plan, size_t V, void *memory);

/* Fill it, once; it takes D * V * 4H * I multiply-adds. When `cancel` says so, it holds nothing, and may be filled
 * again. Allocates nothing.
 *   x       [V] rows of [I] reals, each contiguous, x_row bytes apart; read
 *   pool    NULL to stay on the caller's thread
 *   cancel  may be NULL; owned by the caller, read during the call */
FL_API fl_status fl_table_fill(fl_table *table, const void *x, ptrdiff_t x_row, fl_pool *pool, const fl_cancel *cancel);

/* fl_forward_until of the table's plan, but that the input is int64_t [T, B]: tokens, each in 0..V-1 (what is past a
 * row's length is not looked at); input_t and input_b are their strides. FL_ERROR_ARGUMENT for other tokens, and for a
 * table that has not been filled. */
FL_API fl_status fl_forward_tokens(const fl_table *table, const fl_sequence *sequence, fl_pool *pool, void *workspace,
                                   const fl_cancel *cancel);

/* ---- traces ----------------------------------------------------------------------------------------------------- */

/* What fl_forward_trace writes beside what fl_forward does: the gates, cells and outputs of every layer in every
 * direction at the steps 0, every, 2 every, ... of the sequence, S of them: T / every, rounded up. Arrays of reals,
 * contiguous, index layer, direction, step, row; owned by the caller, written; NULL for one that is not wanted. What is
 * past a row's length is 0. K: n_units where there are units, else H; O: P with a projection, else K. */
typedef struct fl_trace {
  size_t every;        /* > 0 */
  const size_t *units; /* [n_units], each below H, the same of all layers, in any order; read; NULL for all */
  size_t n_units;
  void *i, *f, *g, *o; /* [L, D, S, B, K], after their activations */
  void *c;             /* [L, D, S, B, K], c' */
  void *cell;          /* [L, D, S, B, K], cell(c'): tanh(c') but for other forms */
  void *h;             /* [L, D, S, B, O], h' */
  void *c_prev;        /* [L, D, S, B, K], c that the step began with: 0 after a reset */
  void *h_prev;        /* [L, D, S, B, O], h that it began with */
} fl_trace;

/* bytes of workspace that fl_forward_trace needs; SIZE_MAX on overflow */
FL_API size_t fl_trace_workspace(const fl_plan *plan, size_t T, size_t B, size_t threads);

/* fl_forward_until, or with a table fl_forward_tokens, that writes a trace: with all forms and types of weights. The
 * outputs have the same bits; those of the trace are what the pass computed with (cell(c') rounded, which in the
 * standard cell shares a division with o). Not for packed sequences. Allocates nothing.
 *   trace      owned by the caller; read during the call
 *   table      of the plan, filled: the input are tokens; NULL: they are numbers
 *   workspace  fl_trace_workspace bytes for the pool's threads, 64-byte aligned, owned by the caller; scratch */
FL_API fl_status fl_forward_trace(const fl_plan *plan, const fl_sequence *sequence, const fl_trace *trace,
                                  const fl_table *table, fl_pool *pool, void *workspace, const fl_cancel *cancel);

/* ---- training --------------------------------------------------------------------------------------------------- */

/* What a training forward keeps: copies of its input and state, the outputs of every layer, and i, f, g, o, c of every
 * step, in memory that the caller gives. It is filled once and serves one backward pass, which overwrites the gates.
 * The plan must outlive it. */
typedef struct fl_tape fl_tape;

/* bytes of a tape for these sizes, `steps` steps of all rows together (T*B without lengths); dropout, resets: not 0 for
 * a tape with some; SIZE_MAX on overflow */
FL_API size_t fl_tape_size(const fl_plan *plan, size_t T, size_t B, size_t steps, int dropout, int resets);

/* Lay out a tape and copy what the sequence reads.
 *   dropout    share of the elements between layers that are zeroed, 0..1
 *   seed, time what its mask depends on, with layer, step + time, row and unit: of a sequence in pieces, each has its
 *              time
 *   memory     fl_tape_size bytes, 64-byte aligned, owned by the caller; the result points into it
 * NULL for invalid arguments; a form with a clip, or leaky_relu or elu with alpha < 0, is for inference only, and so
 * are weights of 16 bits. */
FL_API fl_tape *fl_tape_init(const fl_plan *plan, const fl_sequence *sequence, double dropout, uint64_t seed,
                             size_t time, void *memory);

/* fl_forward that fills a tape made from the same sequence. The same bits, but for dropout. FL_ERROR_ARGUMENT for a
 * tape that has been filled, or was made from a sequence of other sizes or lengths. One whose filling was cancelled may
 * be filled again. */
FL_API fl_status fl_forward_train(const fl_sequence *sequence, fl_tape *tape, fl_pool *pool, void *workspace);
FL_API fl_status fl_forward_train_until(const fl_sequence *sequence, fl_tape *tape, fl_pool *pool, void *workspace,
                                        const fl_cancel *cancel);

/* The sizes of a tape: those of the sequence, and of the plan. `sizes` is written. */
typedef struct fl_tape_sizes {
  fl_dtype dtype;
  size_t T, B, steps;              /* steps of all rows together */
  size_t num_layers, directions;   /* L, D */
  size_t hidden_size, output_size; /* H, R */
} fl_tape_sizes;
FL_API fl_status fl_tape_get_sizes(const fl_tape *tape, fl_tape_sizes *sizes);

/* One step of all rows of one layer in one direction, copied out of a tape. Arrays of reals, contiguous, owned by the
 * caller, written, 0 in rows that are over by then; NULL for one that is not wanted. */
typedef struct fl_tape_step {
  void *i, *f, *g, *o; /* [B, H], after their activations */
  void *c;             /* [B, H], c' */
  void *cell;          /* [B, H], cell(c'): tanh(c') but for other forms */
  void *h;             /* [B, R]: h', projected where there is a projection, before dropout */
} fl_tape_step;

/* Read step t of the sequence, in either direction: where the reverse one begins, at a row's last input, it is t =
 * length - 1. The bits are those that the forward pass computed with. A reset at t shows in what the step started from:
 * zeros, in place of h and c of the step before, or of h_0 and c_0. Any number of threads may read at once.
 * FL_ERROR_ARGUMENT for a tape that has not been filled, or is used up: its gates have become their gradients. */
FL_API fl_status fl_tape_read(const fl_tape *tape, size_t layer, size_t direction, size_t t, const fl_tape_step *step);

/* The gradients of one layer in one direction, torch's layout; owned by the caller, written. NULL for one that is not
 * wanted: it is not computed, nor is a layer below which nothing is wanted. */
typedef struct fl_weight_gradients {
  void *weight_ih; /* [4H, I_l] */
  void *weight_hh; /* [4H, R] */
  void *bias;      /* [4H], of b_ih and of b_hh alike */
  void *weight_hr; /* [P, H]; NULL without projection */
  void *weight_ph; /* [3H]; NULL without peepholes */
} fl_weight_gradients;

typedef struct fl_gradients {
  const void *output; /* [T, B, D*R] reals, contiguous; read; NULL for zeros; ignored past a row's length */
  const void *h_n;    /* [L*D, B, R] reals, contiguous; read; NULL for zeros */
  const void *c_n;    /* [L*D, B, H] reals, contiguous; read; NULL for zeros */
  void *input;        /* [T, B, I] reals, contiguous; written; NULL if not wanted */
  void *h_0;          /* [L*D, B, R] reals, contiguous; written; NULL if not wanted */
  void *c_0;          /* [L*D, B, H] reals, contiguous; written; NULL if not wanted */
  const fl_weight_gradients *weights; /* [L*D], index layer*D + direction; read; NULL if none of them is wanted */
} fl_gradients;

/* bytes of workspace that fl_backward needs */
FL_API size_t fl_backward_size(const fl_tape *tape, size_t threads);

/* How many of so many threads fl_backward takes; 0 for invalid arguments. */
FL_API size_t fl_backward_threads_used(const fl_tape *tape, size_t threads);

/* The backward pass, once per tape: the gates become their gradients. Allocates nothing. FL_ERROR_ARGUMENT for a tape
 * that has not been filled, or is used up; one whose backward pass was cancelled is.
 *   workspace  fl_backward_size bytes for the pool's threads, 64-byte aligned, owned by the caller; scratch */
FL_API fl_status fl_backward(fl_tape *tape, const fl_gradients *gradients, fl_pool *pool, void *workspace);
FL_API fl_status fl_backward_until(fl_tape *tape, const fl_gradients *gradients, fl_pool *pool, void *workspace,
                                   const fl_cancel *cancel);

/* total += part, for gradients of consecutive pieces, in the floating-point environment of all else here.
 *   total  [n] reals; read and written
 *   part   [n] reals; read; may be total */
FL_API fl_status fl_accumulate(fl_dtype dtype, void *total, const void *part, size_t n);

/* The gates alone, for training. gates [rows, 4*units]: i, f, g, o; the rest as for fl_gates_forward. */
FL_API fl_status fl_gates_train(const char *isa, fl_dtype dtype, size_t rows, size_t units, const void *z,
                                const void *c, void *c_next, void *h, void *gates);
/* Their gradient.
 *   gates, c_prev, c  of the step; read
 *   dh      [rows, units] the gradient of h; read
 *   dz      [rows, 4*units] the gradient of the pre-activations; written; may be gates
 *   dc      [rows, units] the gradient of c from later steps; read; then that of c_prev; written */
FL_API fl_status fl_gates_backward(const char *isa, fl_dtype dtype, size_t rows, size_t units, const void *gates,
                                   const void *c_prev, const void *c, const void *dh, void *dz, void *dc);

/* ---- step by step ----------------------------------------------------------------------------------------------- */

/* A stream keeps h and c of B rows and the scratch of a step in memory that the caller gives it. D = 1. One thread at a
 * time. The plan must outlive it. */
typedef struct fl_stream fl_stream;

/* bytes that a stream takes; SIZE_MAX on overflow */
FL_API size_t fl_stream_size(const fl_plan *plan, size_t B);

/* Build a stream with zero state.
 *   memory   fl_stream_size bytes, 64-byte aligned, owned by the caller; the result points into it
 * NULL for invalid arguments, such as a plan that is bidirectional. */
FL_API fl_stream *fl_stream_init(const fl_plan *plan, size_t B, void *memory);

/* One step of all rows and layers. Allocates nothing.
 *   x  [B, I] reals, contiguous; read
 *   y  [B, R] reals, contiguous; written; may be x */
FL_API fl_status fl_stream_step(fl_stream *stream, const void *x, void *y);

/* fl_stream_step, but for `cancel`, which may be NULL: when it says so, the stream is as it was, to the bit. */
FL_API fl_status fl_stream_step_until(fl_stream *stream, const void *x, void *y, const fl_cancel *cancel);

/* fl_stream_step_until with tokens.
 *   table   of the stream's plan, filled; read
 *   tokens  [B], each in 0..V-1; read */
FL_API fl_status fl_stream_step_tokens(fl_stream *stream, const fl_table *table, const int64_t *tokens, void *y,
                                       const fl_cancel *cancel);

/* Do what the next step does not need its input for, about half of it, in the time between two inputs: U h of all
 * layers. The next step does the rest. Nothing is left to do for a second call; without any, a step does it all: the
 * bits are the same. fl_stream_set drops what was done, and so does a step that is given up. Allocates nothing.
 *   cancel  may be NULL */
FL_API fl_status fl_stream_advance(fl_stream *stream);
FL_API fl_status fl_stream_advance_until(fl_stream *stream, const fl_cancel *cancel);

/* Copy the state out or in.
 *   h  [L, B, R] reals, contiguous
 *   c  [L, B, H] reals, contiguous; in fl_stream_set either may be NULL for zeros */
FL_API fl_status fl_stream_get(const fl_stream *stream, void *h, void *c);
FL_API fl_status fl_stream_set(fl_stream *stream, const void *h, const void *c);

/* ---- many sessions ---------------------------------------------------------------------------------------------- */

/* The states of up to `capacity` sequences, side by side in memory that the caller gives. Any of them advance together,
 * in any order; a session's bits do not depend on its company. D = 1. Different slots may be used by different threads
 * at once, a workspace each; fl_sessions_move uses all of them. The plan must outlive it. */
typedef struct fl_sessions fl_sessions;

/* bytes that sessions take; SIZE_MAX on overflow */
FL_API size_t fl_sessions_size(const fl_plan *plan, size_t capacity);

/* Zero states for all.
 *   memory  fl_sessions_size bytes, 64-byte aligned, owned by the caller; the result points into it
 * NULL for invalid arguments, such as a plan that is bidirectional. */
FL_API fl_sessions *fl_sessions_init(const fl_plan *plan, size_t capacity, void *memory);

/* bytes of workspace for a step of n sessions or fewer by this many threads; SIZE_MAX on overflow */
FL_API size_t fl_sessions_workspace(const fl_plan *plan, size_t n, size_t threads);

/* One step of n sessions. Allocates nothing.
 *   slots      [n], each below capacity, no two the same; read
 *   x          [n] rows of [I] reals, each contiguous, x_row bytes apart (0: the same for all); read
 *   y          [n, R] reals, contiguous; written; no alias
 *   pool       NULL to stay on the caller's thread
 *   workspace  fl_sessions_workspace bytes for the pool's threads, 64-byte aligned, owned by the caller; scratch */
FL_API fl_status fl_sessions_step(fl_sessions *sessions, size_t n, const size_t *slots, const void *x, ptrdiff_t x_row,
                                  void *y, fl_pool *pool, void *workspace);

/* What a step of sessions reads and writes. */
typedef struct fl_batch {
  size_t n;
  const size_t *slots; /* [n], each below capacity, no two the same; read */
  const void *x;       /* [n] rows of [I] reals, each contiguous, x_row bytes apart (0: the same for all); read */
  ptrdiff_t x_row;
  void *y; /* [n, R] reals, contiguous; written; no alias */
} fl_batch;

/* fl_sessions_workspace for fl_sessions_step_until, which keeps what it may have to restore */
FL_API size_t fl_sessions_workspace_until(const fl_plan *plan, size_t n, size_t threads);

/* fl_sessions_step, but for `cancel`: when it says so, the states of all n sessions are as they were, to the bit.
 *   batch      owned by the caller, as what it points to; read during the call
 *   workspace  fl_sessions_workspace_until bytes; with cancel = NULL, those of fl_sessions_workspace are enough
 *   cancel     may be NULL; owned by the caller, read during the call */
FL_API fl_status fl_sessions_step_until(fl_sessions *sessions, const fl_batch *batch, fl_pool *pool, void *workspace,
                                        const fl_cancel *cancel);

/* fl_sessions_step_until with tokens.
 *   table  of the sessions' plan, filled; read
 *   batch  its x are [n] tokens, int64_t in 0..V-1, x_row bytes apart */
FL_API fl_status fl_sessions_step_tokens(fl_sessions *sessions, const fl_table *table, const fl_batch *batch,
                                         fl_pool *pool, void *workspace, const fl_cancel *cancel);

/* bytes of the memory that sessions need to be advanced: 4H reals a layer and slot; SIZE_MAX on overflow */
FL_API size_t fl_sessions_advance_size(const fl_plan *plan, size_t capacity);

/* Give them that memory, once, at any time: other slots may be in a step meanwhile.
 *   memory  fl_sessions_advance_size bytes for their capacity, 64-byte aligned, owned by the caller, who keeps it as
 *           long as the sessions */
FL_API fl_status fl_sessions_advance_init(fl_sessions *sessions, void *memory);

/* fl_stream_advance for n sessions. A step may have any of them, advanced or not. fl_sessions_set drops what was done
 * for its slot, fl_sessions_move takes it along where both have memory for it. FL_ERROR_ARGUMENT without that memory.
 * Allocates nothing. The arguments are those of fl_sessions_step, its workspace too. */
FL_API fl_status fl_sessions_advance(fl_sessions *sessions, size_t n, const size_t *slots, fl_pool *pool,
                                     void *workspace);
FL_API fl_status fl_sessions_advance_until(fl_sessions *sessions, size_t n, const size_t *slots, fl_pool *pool,
                                           void *workspace, const fl_cancel *cancel);

/* How many of so many threads a step of n sessions takes; 0 for invalid arguments. */
FL_API size_t fl_sessions_threads_used(const fl_plan *plan, size_t n, size_t threads);

/* Copy a session's state out or in.
 *   h  [L, R] reals, contiguous
 *   c  [L, H] reals, contiguous; in fl_sessions_set either may be NULL for zeros */
FL_API fl_status fl_sessions_get(const fl_sessions *sessions, size_t slot, void *h, void *c);
FL_API fl_status fl_sessions_set(fl_sessions *sessions, size_t slot, const void *h, const void *c);

/* Copy the states of all slots that both have; both are of one plan. */
FL_API fl_status fl_sessions_move(fl_sessions *to, const fl_sessions *from);

/* Who uses which slot, where sessions come and go: names for slots that do not come again, so that a late or a wrong
 * one is found out. An id is the slot + 1, and above 32 bits how often the slot has been closed: greater than 0. The
 * ids of one slot come again after 2^31 sessions in it, and those of another fl_session_ids are the same numbers. A
 * session is closed, open, or open and taken.
 *
 * A step from ids: fl_session_ids_take, fl_sessions_step with the slots, fl_session_ids_give. In the whole time
 * between, the slots are yours: nobody else can take or close them.
 *
 * Who locks: you. Nothing here does. Calls on the same fl_session_ids come one at a time, those that take it as const
 * included; the step itself, on slots that are taken, needs no lock.
 *
 * In a call with n ids all go through, or none; then *refused (may be NULL) is the index of the first that does not,
 * and the status why: FL_ERROR_UNKNOWN, FL_ERROR_CLOSED, FL_ERROR_TWICE or FL_ERROR_TAKEN. Nothing allocates. */
typedef struct fl_session_ids fl_session_ids;

/* bytes that ids take, for a capacity below 2^32; SIZE_MAX otherwise */
FL_API size_t fl_session_ids_size(size_t capacity);

/* Ids for the slots 0..capacity-1, all closed.
 *   memory  fl_session_ids_size bytes, 64-byte aligned, owned by the caller; the result points into it */
FL_API fl_session_ids *fl_session_ids_init(size_t capacity, void *memory);

/* How many sessions are open, those that are taken included; how many are taken. 0 for NULL. */
FL_API size_t fl_session_ids_used(const fl_session_ids *ids);
FL_API size_t fl_session_ids_taken(const fl_session_ids *ids);

/* The ids of all open sessions, in the order of their slots.
 *   id  [fl_session_ids_used]; written */
FL_API fl_status fl_session_ids_list(const fl_session_ids *ids, int64_t *id);

/* Open a session in the lowest slot that is free; FL_ERROR_FULL where none is. Its state is whatever the slot holds:
 * fl_sessions_set(sessions, slot, NULL, NULL) makes it zero.
 *   id, slot  written */
FL_API fl_status fl_session_ids_open(fl_session_ids *ids, int64_t *id, size_t *slot);

/* Take n open sessions, for a step or to read and write their states.
 *   id     [n]; read
 *   slots  [n]; written: where they are */
FL_API fl_status fl_session_ids_take(fl_session_ids *ids, size_t n, const int64_t *id, size_t *slots, size_t *refused);

/* Give back what was taken; FL_ERROR_ARGUMENT, and nothing changes, for a slot that is not taken or comes twice.
 *   slots  [n]; read */
FL_API fl_status fl_session_ids_give(fl_session_ids *ids, size_t n, const size_t *slots);

/* Close n sessions; their slots are free for others.
 *   id  [n]; read */
FL_API fl_status fl_session_ids_close(fl_session_ids *ids, size_t n, const int64_t *id, size_t *refused);

/* Make `to` a copy of `from`, whatever it held, for sessions that move to more memory; fl_sessions_move copies the
 * states. FL_ERROR_TAKEN where a session of either is taken, FL_ERROR_FULL where `to` has the lower capacity. */
FL_API fl_status fl_session_ids_move(fl_session_ids *to, const fl_session_ids *from);

/* ---- sliding windows -------------------------------------------------------------------------------------------- */

/* After every input the last output over the last `length` ones, from a zero state. All windows that an input belongs
 * to run side by side, one started at every input, so that an answer takes one step rather than `length` of them; the
 * others follow when the next input comes, or in fl_window_advance before. The bits are those of each window by itself.
 * D = 1. One thread at a time. The plan must outlive it. */
typedef struct fl_window fl_window;

/* bytes that a window of length >= 1 takes, to run by this many threads or fewer; SIZE_MAX on overflow */
FL_API size_t fl_window_size(const fl_plan *plan, size_t length, size_t threads);

/* A window that has seen nothing.
 *   memory  fl_window_size bytes, 64-byte aligned, owned by the caller; the result points into it
 * NULL for invalid arguments, such as a plan that is bidirectional. */
FL_API fl_window *fl_window_init(const fl_plan *plan, size_t length, size_t threads, void *memory);

/* Take the next input and answer for the window that ends with it; shorter ones at the start. Allocates nothing.
 *   x       [I] reals, contiguous; read
 *   y       [R] reals, contiguous; written; may be x
 *   pool    NULL to stay on the caller's thread; of no more threads than the window was made for
 *   cancel  may be NULL; when it says so, the window is as it was, and has not taken the input */
FL_API fl_status fl_window_push(fl_window *window, const void *x, void *y, fl_pool *pool);
FL_API fl_status fl_window_push_until(fl_window *window, const void *x, void *y, fl_pool *pool,
                                      const fl_cancel *cancel);

/* fl_window_push_until with a token, 0..V-1.
 *   table  of the window's plan, filled; read, also by what advances the window next */
FL_API fl_status fl_window_push_token(fl_window *window, const fl_table *table, int64_t token, void *y, fl_pool *pool,
                                      const fl_cancel *cancel);

/* Do what the last fl_window_push has left, and then what the next one does not need its input for, in the time between
 * two inputs; nothing if nothing is left. Arguments as above. */
FL_API fl_status fl_window_advance(fl_window *window, fl_pool *pool);
FL_API fl_status fl_window_advance_until(fl_window *window, fl_pool *pool, const fl_cancel *cancel);

/* How many inputs it has taken; 0 for NULL. Forget them all. */
FL_API size_t fl_window_count(const fl_window *window);
FL_API fl_status fl_window_reset(fl_window *window);

/* ---- a step without a stream ------------------------------------------------------------------------------------ */

/* bytes of workspace that fl_cell needs; SIZE_MAX on overflow */
FL_API size_t fl_cell_size(const fl_plan *plan, size_t B);

/* One step without a stream: state in, state out. L = 1, D = 1, P = 0. Allocates nothing.
 *   x         [B, I] reals, contiguous; read
 *   h, c      [B, H] reals, contiguous; read; NULL for zeros
 *   h_next    [B, H] reals, contiguous; written; may not alias x or h
 *   c_next    [B, H] reals, contiguous; written; may be c
 *   workspace fl_cell_size bytes, 64-byte aligned, owned by the caller; scratch */
FL_API fl_status fl_cell(const fl_plan *plan, size_t B, const void *x, const void *h, const void *c, void *h_next,
                         void *c_next, void *workspace);

#ifdef __cplusplus
}
#endif

#endif
