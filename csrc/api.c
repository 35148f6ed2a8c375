/* The front door: every public function, and all checks of their arguments, by the rule that fastlstm.h states. Behind
 * it nothing is checked again (inside.h). What knows CPUs, fl_isa_name and fl_isa_description, is in dispatch.c.
 *
 * SPDX-License-Identifier: BSD-3-Clause */
#include <float.h>
#include <string.h>
#include "base/arena.h"
#include "base/fpenv.h"
#include "base/threads.h"
#include "inside.h"
#include "passes/cut.h"
#include "passes/table.h"
#include "passes/tape.h"
#include "weight_file.h"

const char *fl_version(void) {
  return FASTLSTM_VERSION;
}

int fl_contract(void) {
  return 2;
}

const char *fl_status_text(fl_status status) {
  switch (status) {
    case FL_OK: return "ok";
    case FL_ERROR_ARGUMENT: return "invalid argument";
    case FL_ERROR_OVERFLOW: return "the sizes are too large: their product overflows";
    case FL_ERROR_MEMORY: return "out of memory";
    case FL_ERROR_ISA: return "unknown instruction set, or one that the CPU lacks or the system refuses";
    case FL_ERROR_THREADS: return "a thread could not be started";
    case FL_ERROR_CANCELLED: return "cancelled";
    case FL_ERROR_FULL: return "there is no room for another session";
    case FL_ERROR_UNKNOWN: return "the session has never been opened";
    case FL_ERROR_CLOSED: return "the session has been closed";
    case FL_ERROR_TWICE: return "the session is given twice";
    case FL_ERROR_TAKEN: return "the session is taken";
    case FL_ERROR_FILE: return "the file cannot be opened or read";
    case FL_ERROR_FORMAT: return "not a weight file of fastlstm";
    case FL_ERROR_VERSION: return "a weight file of an unknown version";
    case FL_ERROR_ORDER: return "a weight file for machines of the other byte order";
    case FL_ERROR_LENGTH: return "the weight file is shorter or longer than it says";
    case FL_ERROR_DAMAGED: return "the weight file is damaged: its checksum is another";
    case FL_ERROR_CONTENT: return "the weight file has invalid sizes or an invalid form";
    case FL_ERROR_RANGE: return "a weight or scale is not finite, or too large";
  }
  return "unknown status";
}

/* ---- what the checks have in common ----------------------------------------------------------------------------- */

/* memory that is laid out, or scratch */
static int is_block(const void *memory) {
  return memory && (uintptr_t)memory % FL_LINE == 0;
}

static int is_missing(const void *array, size_t elements) {
  return !array && elements;
}

static int is_dtype(fl_dtype dtype) {
  return dtype == FL_FLOAT32 || dtype == FL_FLOAT64;
}

/* of reals in an array */
static int is_count(size_t n) {
  return n <= (size_t)PTRDIFF_MAX / sizeof(double);
}

static int is_thread_count(size_t threads) {
  return threads >= 1 && threads <= FL_MOST_THREADS;
}

static fl_dtype dtype_of(const fl_plan *plan) {
  return plan->passes == &fl_passes_f64 ? FL_FLOAT64 : FL_FLOAT32;
}

static int is_cancel(const fl_cancel *cancel) {
  return !cancel || cancel->ask;
}

/* ---- activations and gates -------------------------------------------------------------------------------------- */

/* the kernels of an instruction set for arrays of n elements; NULL, and why, where there are none */
static const fl_kernels *kernels_for(const char *isa, fl_dtype dtype, size_t n, fl_status *status) {
  const char *found;
  *status = FL_ERROR_ARGUMENT;
  if (!is_dtype(dtype)) return NULL;
  *status = FL_ERROR_OVERFLOW;
  if (!is_count(n)) return NULL;
  const fl_kernels *const kernels = fl_kernels_of(isa, dtype, &found);
  *status = kernels ? FL_OK : FL_ERROR_ISA;
  return kernels;
}

static const fl_kernels *kernels_for_gates(const char *isa, fl_dtype dtype, size_t rows, size_t units,
                                           fl_status *status) {
  size_t n;
  if (!fl_multiply(rows, units, &n) || !fl_multiply(n, 4, &n)) n = SIZE_MAX;
  return kernels_for(isa, dtype, n, status);
}

static const fl_activation_info activations[] = {
#define FL_INFO(kind, number, ...) [number] = {__VA_ARGS__},
    FL_ACTIVATION_LIST(FL_INFO)
#undef FL_INFO
};
enum { ACTIVATIONS = sizeof activations / sizeof activations[0] };

const fl_activation_info *fl_activation_at(size_t kind) {
  return kind < ACTIVATIONS ? &activations[kind] : NULL;
}

/* Can it be computed? What the formula does not have may be anything. A comparison with NaN is false. */
static int is_activation(const fl_activation *activation, fl_dtype dtype) {
  const double most = dtype == FL_FLOAT32 ? FLT_MAX : DBL_MAX, parameters[] = {activation->alpha, activation->beta};
  if ((size_t)activation->kind >= ACTIVATIONS) return 0;
  for (int j = 0; j < activations[activation->kind].parameters; j++)
    if (!(parameters[j] >= -most && parameters[j] <= most)) return 0;
  return 1;
}

fl_status fl_activate(const char *isa, fl_dtype dtype, const fl_activation *activation, const void *x, void *y,
                      size_t n) {
  fl_status status;
  const fl_kernels *const kernels = kernels_for(isa, dtype, n, &status);
  if (!kernels) return status;
  if (!activation || !is_activation(activation, dtype) || is_missing(x, n) || is_missing(y, n))
    return FL_ERROR_ARGUMENT;
  const fl_fpenv caller = fl_fpenv_enter();
  kernels->activate(activation, x, y, n);
  fl_fpenv_leave(caller);
  return FL_OK;
}

fl_status fl_sigmoid(const char *isa, fl_dtype dtype, const void *x, void *y, size_t n) {
  return fl_activate(isa, dtype, &(fl_activation){.kind = FL_SIGMOID}, x, y, n);
}

fl_status fl_tanh(const char *isa, fl_dtype dtype, const void *x, void *y, size_t n) {
  return fl_activate(isa, dtype, &(fl_activation){.kind = FL_TANH}, x, y, n);
}

fl_status fl_gates_forward(const char *isa, fl_dtype dtype, size_t rows, size_t units, const void *z, const void *c,
                           void *c_next, void *h) {
  fl_status status;
  const fl_kernels *const kernels = kernels_for_gates(isa, dtype, rows, units, &status);
  if (!kernels) return status;
  if (rows && units && !(z && c && c_next && h)) return FL_ERROR_ARGUMENT;
  const fl_gates gates = {rows, units, z, c, c_next, h};
  const fl_fpenv caller = fl_fpenv_enter();
  kernels->gates_forward(&gates);
  fl_fpenv_leave(caller);
  return FL_OK;
}

fl_status fl_gates_train(const char *isa, fl_dtype dtype, size_t rows, size_t units, const void *z, const void *c,
                         void *c_next, void *h, void *gates) {
  fl_status status;
  const fl_kernels *const kernels = kernels_for_gates(isa, dtype, rows, units, &status);
  if (!kernels) return status;
  if (rows && units && !(z && c && c_next && h && gates)) return FL_ERROR_ARGUMENT;
  const fl_gates call = {rows, units, z, c, c_next, h};
  const fl_fpenv caller = fl_fpenv_enter();
  kernels->gates_train(&call, gates);
  fl_fpenv_leave(caller);
  return FL_OK;
}

fl_status fl_gates_backward(const char *isa, fl_dtype dtype, size_t rows, size_t units, const void *gates,
                            const void *c_prev, const void *c, const void *dh, void *dz, void *dc) {
  fl_status status;
  const fl_kernels *const kernels = kernels_for_gates(isa, dtype, rows, units, &status);
  if (!kernels) return status;
  if (rows && units && !(gates && c_prev && c && dh && dz && dc)) return FL_ERROR_ARGUMENT;
  const fl_gates_gradient call = {rows, units, gates, c_prev, c, dh, dz, dc};
  const fl_fpenv caller = fl_fpenv_enter();
  kernels->gates_backward(&call);
  fl_fpenv_leave(caller);
  return FL_OK;
}

/* ---- plan ------------------------------------------------------------------------------------------------------- */

static int is_form(const fl_form *form, fl_dtype dtype) {
  if ((int)form->clip_at < FL_CLIP_NONE || form->clip_at > FL_CLIP_STATE) return 0;
  if (form->clip_at != FL_CLIP_NONE && !(form->clip > 0 && form->clip <= DBL_MAX)) return 0;
  return is_activation(&form->gate, dtype) && is_activation(&form->candidate, dtype) &&
         is_activation(&form->cell, dtype);
}

static int is_weight_type(fl_weight_type weights, fl_dtype dtype) {
  if (weights == FL_WEIGHTS_REAL) return 1;
  return dtype == FL_FLOAT32 && weights > FL_WEIGHTS_REAL && weights <= FL_WEIGHTS_INT8_FAST;
}

/* Is there a matrix, once, where there should be one, and as integers only in a plan that has them? */
static int is_matrix(const void *reals, const fl_integers *integers, int needed, int may_be_integers) {
  if (!integers) return !reals == !needed;
  return may_be_integers && needed && !reals && integers->values && integers->scales;
}

static fl_status check_config(const fl_config *config, const fl_weights *weights) {
  if (!config || !weights || !is_dtype(config->dtype)) return FL_ERROR_ARGUMENT;
  if (!config->input_size || !config->hidden_size || !config->num_layers) return FL_ERROR_ARGUMENT;
  if (config->directions != 1 && config->directions != 2) return FL_ERROR_ARGUMENT;
  if (config->proj_size >= config->hidden_size) return FL_ERROR_ARGUMENT;
  if (!is_weight_type(config->weights, config->dtype)) return FL_ERROR_ARGUMENT;
  if (config->form && !is_form(config->form, config->dtype)) return FL_ERROR_ARGUMENT;
  if (config->num_layers > (size_t)PTRDIFF_MAX / 256) return FL_ERROR_OVERFLOW;
  const int peepholes = config->form && config->form->peepholes;
  for (size_t j = 0; j < config->num_layers * config->directions; j++) {
    const fl_weights *const w = &weights[j];
    const int integers = fl_has_integers(config->weights);
    if (!is_matrix(w->weight_ih, w->integers_ih, 1, integers)) return FL_ERROR_ARGUMENT;
    if (!is_matrix(w->weight_hh, w->integers_hh, 1, integers)) return FL_ERROR_ARGUMENT;
    if (!is_matrix(w->weight_hr, w->integers_hr, config->proj_size != 0, integers)) return FL_ERROR_ARGUMENT;
    if (!w->weight_ph != !peepholes) return FL_ERROR_ARGUMENT;
  }
  return FL_OK;
}

/* what fl_parse_file leaves open */
static fl_status open_file(const void *data, size_t size, fl_file *file) {
  if (!data || (uintptr_t)data % FL_FILE_BOUNDARY || size > (size_t)PTRDIFF_MAX) return FL_ERROR_ARGUMENT;
  const fl_status status = fl_parse_file(data, size, file);
  if (status != FL_OK) return status;
  const fl_dtype dtype = file->config.dtype;
  return is_form(&file->form, dtype) && is_weight_type(file->config.weights, dtype) ? FL_OK : FL_ERROR_CONTENT;
}

fl_status fl_file_read(const void *data, size_t size, fl_config *config, fl_form *form) {
  fl_file file;
  if (!config || !form) return FL_ERROR_ARGUMENT;
  const fl_status status = open_file(data, size, &file);
  if (status != FL_OK) return status;
  *form = file.form;
  *config = file.config;
  config->form = form;
  return FL_OK;
}

fl_status fl_file_weights(const void *data, size_t size, size_t n, fl_weights *weights) {
  fl_file file;
  if (!weights) return FL_ERROR_ARGUMENT;
  const fl_status status = open_file(data, size, &file);
  if (status != FL_OK) return status;
  if (file.integers) return FL_ERROR_VERSION;
  if (n != file.config.num_layers * file.config.directions) return FL_ERROR_ARGUMENT;
  fl_locate_weights(data, &file, weights, NULL);
  return FL_OK;
}

fl_status fl_file_integers(const void *data, size_t size, size_t n, fl_weights *weights, fl_integers *integers) {
  fl_file file;
  if (!weights || !integers) return FL_ERROR_ARGUMENT;
  const fl_status status = open_file(data, size, &file);
  if (status != FL_OK) return status;
  if (n != file.config.num_layers * file.config.directions) return FL_ERROR_ARGUMENT;
  fl_locate_weights(data, &file, weights, integers);
  return FL_OK;
}

fl_status fl_plan_read(fl_plan **plan, const void *data, size_t size, const char *isa) {
  fl_file file;
  if (!plan) return FL_ERROR_ARGUMENT;
  *plan = NULL;
  const fl_status status = open_file(data, size, &file);
  if (status != FL_OK) return status;
  file.config.form = &file.form;
  const size_t n = file.config.num_layers * file.config.directions;
  fl_weights *const weights = calloc(n, sizeof *weights);
  fl_integers *const integers = calloc(n, 3 * sizeof *integers);
  fl_status made = FL_ERROR_MEMORY;
  if (weights && integers) {
    fl_locate_weights(data, &file, weights, integers);
    made = fl_make_plan(plan, &file.config, weights, isa);
  }
  free(weights);
  free(integers);
  return made;
}

fl_status fl_plan_load(fl_plan **plan, const char *path, const char *isa) {
  void *data;
  size_t size;
  if (!plan) return FL_ERROR_ARGUMENT;
  *plan = NULL;
  if (!path) return FL_ERROR_ARGUMENT;
  const fl_status status = fl_read_file(path, &data, &size);
  if (status != FL_OK) return status;
  const fl_status made = fl_plan_read(plan, data, size, isa);
  free(data);
  return made;
}

fl_status fl_plan_get_config(const fl_plan *plan, fl_config *config) {
  if (!plan || !config) return FL_ERROR_ARGUMENT;
  *config = (fl_config){dtype_of(plan), plan->I, plan->H, plan->P, plan->L, plan->D, plan->form, plan->weights};
  return FL_OK;
}

fl_status fl_plan_create(fl_plan **plan, const fl_config *config, const fl_weights *weights, const char *isa) {
  if (!plan) return FL_ERROR_ARGUMENT;
  *plan = NULL;
  const fl_status status = check_config(config, weights);
  return status == FL_OK ? fl_make_plan(plan, config, weights, isa) : status;
}

void fl_plan_destroy(fl_plan *plan) {
  if (plan) fl_free_plan(plan);
}

const char *fl_plan_isa(const fl_plan *plan) {
  return plan ? plan->isa : NULL;
}

size_t fl_plan_size(const fl_plan *plan) {
  return plan ? plan->bytes : SIZE_MAX;
}

/* ---- threads ---------------------------------------------------------------------------------------------------- */

fl_status fl_pool_create(fl_pool **pool, size_t threads) {
  if (pool) *pool = NULL;
  return pool && is_thread_count(threads) ? fl_make_pool(pool, threads, NULL) : FL_ERROR_ARGUMENT;
}

fl_status fl_pool_borrow(fl_pool **pool, size_t threads, fl_parallel parallel) {
  if (pool) *pool = NULL;
  return pool && parallel && is_thread_count(threads) ? fl_make_pool(pool, threads, parallel) : FL_ERROR_ARGUMENT;
}

void fl_pool_destroy(fl_pool *pool) {
  if (pool) fl_free_pool(pool);
}

/* ---- whole sequences -------------------------------------------------------------------------------------------- */

/* step t's rows begin at row starts[t], so every step's rows are the first of the batch */
static int is_packed(const fl_sequence *sequence) {
  if (!sequence->lengths) return 0;
  for (size_t b = 1; b < sequence->B; b++)
    if (sequence->lengths[b] > sequence->lengths[b - 1]) return 0;
  for (size_t t = 0; t < sequence->T; t++)
    if (sequence->starts[t] < 0) return 0;
  return 1;
}

/* what a sequence is read from */
static int is_sequence(const fl_plan *plan, const fl_sequence *sequence) {
  if (!plan || !sequence || (sequence->resets && plan->D > 1)) return 0;
  for (size_t b = 0; sequence->lengths && b < sequence->B; b++)
    if (sequence->lengths[b] < 0 || (uint64_t)sequence->lengths[b] > sequence->T) return 0;
  return !(sequence->starts && !is_packed(sequence)) && (sequence->input || !sequence->T || !sequence->B);
}

/* and what it is written to */
static int is_written(const fl_sequence *sequence) {
  return !sequence->B || (sequence->h_n && sequence->c_n && (sequence->output || !sequence->T));
}

size_t fl_workspace_size(const fl_plan *plan, size_t T, size_t B, size_t threads) {
  return plan && is_thread_count(threads) ? plan->passes->measure_forward(plan, T, B, threads) : SIZE_MAX;
}

size_t fl_threads_used(const fl_plan *plan, size_t T, size_t B, size_t threads) {
  return plan && is_thread_count(threads) ? plan->passes->count_forward(plan, T, B, threads) : 0;
}

fl_status fl_forward(const fl_plan *plan, const fl_sequence *sequence, fl_pool *pool, void *workspace) {
  return fl_forward_until(plan, sequence, pool, workspace, NULL);
}

fl_status fl_forward_until(const fl_plan *plan, const fl_sequence *sequence, fl_pool *pool, void *workspace,
                           const fl_cancel *cancel) {
  if (!is_sequence(plan, sequence) || !is_written(sequence) || !is_block(workspace) || !is_cancel(cancel))
    return FL_ERROR_ARGUMENT;
  return plan->passes->run_forward(plan, sequence, NULL, pool, workspace, cancel);
}

/* ---- tables ----------------------------------------------------------------------------------------------------- */

size_t fl_table_size(const fl_plan *plan, size_t V) {
  return plan && V ? plan->passes->measure_table(plan, V) : SIZE_MAX;
}

fl_table *fl_table_init(const fl_plan *plan, size_t V, void *memory) {
  return fl_table_size(plan, V) != SIZE_MAX && is_block(memory) ? plan->passes->make_table(plan, V, memory) : NULL;
}

fl_status fl_table_fill(fl_table *table, const void *x, ptrdiff_t x_row, fl_pool *pool, const fl_cancel *cancel) {
  if (!table || table->filled || !x || !is_cancel(cancel)) return FL_ERROR_ARGUMENT;
  return table->plan->passes->fill_table(table, x, x_row, pool, cancel);
}

/* can tokens of it stand for the inputs of this plan? */
static int is_table(const fl_table *table, const fl_plan *plan) {
  return table && table->filled && table->plan == plan;
}

/* n of them, `row` bytes apart */
static int are_tokens(const fl_table *table, size_t n, const void *tokens, ptrdiff_t row) {
  const char *at = tokens;
  for (; n; n--, at += row)
    if (!fl_is_token(table, *(const int64_t *)at)) return 0;
  return 1;
}

/* those of a sequence; what is past a row's length is not looked at */
static int is_of_tokens(const fl_table *table, const fl_sequence *sequence) {
  const char *const input = sequence->input;
  const ptrdiff_t row = sequence->input_b;
  if (!sequence->T || !sequence->B) return 1; /* there may be no input */
  if (!sequence->starts) {
    for (size_t b = 0; b < sequence->B; b++)
      if (!are_tokens(table, fl_length(sequence, b), input + (ptrdiff_t)b * row, sequence->input_t)) return 0;
    return 1;
  }
  for (size_t t = 0, running = sequence->B; t < sequence->T; t++) {
    while (running && fl_length(sequence, running - 1) <= t) running--;
    if (!are_tokens(table, running, input + (ptrdiff_t)sequence->starts[t] * row, row)) return 0;
  }
  return 1;
}

fl_status fl_forward_tokens(const fl_table *table, const fl_sequence *sequence, fl_pool *pool, void *workspace,
                            const fl_cancel *cancel) {
  if (!table || !is_table(table, table->plan) || !is_sequence(table->plan, sequence)) return FL_ERROR_ARGUMENT;
  if (!is_written(sequence) || !is_block(workspace) || !is_cancel(cancel)) return FL_ERROR_ARGUMENT;
  if (!is_of_tokens(table, sequence)) return FL_ERROR_ARGUMENT;
  return table->plan->passes->run_forward(table->plan, sequence, table, pool, workspace, cancel);
}

/* ---- traces ----------------------------------------------------------------------------------------------------- */

size_t fl_trace_workspace(const fl_plan *plan, size_t T, size_t B, size_t threads) {
  return plan && is_thread_count(threads) ? plan->passes->measure_trace(plan, T, B, threads) : SIZE_MAX;
}

/* can its arrays be addressed, and are all units there? */
static fl_status check_trace(const fl_trace *trace, const fl_plan *plan, const fl_sequence *sequence) {
  if (!trace || !trace->every) return FL_ERROR_ARGUMENT;
  for (size_t k = 0; trace->units && k < trace->n_units; k++)
    if (trace->units[k] >= plan->H) return FL_ERROR_ARGUMENT;
  size_t n = plan->L * plan->D;
  const size_t row = trace->units && trace->n_units > plan->H ? trace->n_units : plan->H;
  if (!fl_multiply(n, sequence->T, &n) || !fl_multiply(n, sequence->B, &n) || !fl_multiply(n, row, &n))
    return FL_ERROR_OVERFLOW;
  return is_count(n) ? FL_OK : FL_ERROR_OVERFLOW;
}

fl_status fl_forward_trace(const fl_plan *plan, const fl_sequence *sequence, const fl_trace *trace,
                           const fl_table *table, fl_pool *pool, void *workspace, const fl_cancel *cancel) {
  if (!is_sequence(plan, sequence) || !is_written(sequence) || !is_block(workspace) || !is_cancel(cancel))
    return FL_ERROR_ARGUMENT;
  if (sequence->starts || (table && !(is_table(table, plan) && is_of_tokens(table, sequence))))
    return FL_ERROR_ARGUMENT;
  const fl_status status = check_trace(trace, plan, sequence);
  if (status != FL_OK) return status;
  return plan->passes->run_trace(plan, sequence, table, trace, pool, workspace, cancel);
}

/* ---- training --------------------------------------------------------------------------------------------------- */

size_t fl_tape_size(const fl_plan *plan, size_t T, size_t B, size_t steps, int dropout, int resets) {
  size_t most;
  if (!plan || plan->weights != FL_WEIGHTS_REAL || !fl_multiply(T, B, &most) || steps > most) return SIZE_MAX;
  return plan->passes->measure_tape(plan, T, B, steps, dropout, resets);
}

/* a clip has no gradient here */
static int is_trainable(const fl_form *form) {
  const fl_activation *const all[] = {&form->gate, &form->candidate, &form->cell};
  for (size_t j = 0; j < 3; j++)
    if (activations[all[j]->kind].alpha_not_below_0 && all[j]->alpha < 0) return 0;
  return form->clip_at == FL_CLIP_NONE;
}

fl_tape *fl_tape_init(const fl_plan *plan, const fl_sequence *sequence, double dropout, uint64_t seed, size_t time,
                      void *memory) {
  if (!is_sequence(plan, sequence) || sequence->starts || !(dropout >= 0 && dropout <= 1)) return NULL;
  if (plan->weights != FL_WEIGHTS_REAL || (plan->form && !is_trainable(plan->form)) || !is_block(memory)) return NULL;
  return plan->passes->make_tape(plan, sequence, dropout, seed, time, memory);
}

/* Is it the sequence that the tape was made from, by all that can be told? */
static int is_tapes_own(const fl_tape *tape, const fl_sequence *sequence) {
  if (sequence->T != tape->T || sequence->B != tape->B || sequence->starts || !sequence->resets != !tape->resets)
    return 0;
  for (size_t b = 0; b < sequence->B; b++)
    if ((sequence->lengths ? (uint64_t)sequence->lengths[b] : sequence->T) != tape->length[b]) return 0;
  return 1;
}

fl_status fl_forward_train(const fl_sequence *sequence, fl_tape *tape, fl_pool *pool, void *workspace) {
  return fl_forward_train_until(sequence, tape, pool, workspace, NULL);
}

fl_status fl_forward_train_until(const fl_sequence *sequence, fl_tape *tape, fl_pool *pool, void *workspace,
                                 const fl_cancel *cancel) {
  if (!tape || tape->stage != FL_TAPE_EMPTY || !is_block(workspace) || !is_cancel(cancel)) return FL_ERROR_ARGUMENT;
  if (!is_sequence(tape->plan, sequence) || !is_written(sequence) || !is_tapes_own(tape, sequence))
    return FL_ERROR_ARGUMENT;
  return tape->plan->passes->run_train(sequence, tape, pool, workspace, cancel);
}

fl_status fl_tape_get_sizes(const fl_tape *tape, fl_tape_sizes *sizes) {
  if (!tape || !sizes) return FL_ERROR_ARGUMENT;
  const fl_plan *const plan = tape->plan;
  *sizes = (fl_tape_sizes){.dtype = dtype_of(plan),
                           .T = tape->T,
                           .B = tape->B,
                           .steps = tape->N,
                           .num_layers = plan->L,
                           .directions = plan->D,
                           .hidden_size = plan->H,
                           .output_size = plan->R};
  return FL_OK;
}

fl_status fl_tape_read(const fl_tape *tape, size_t layer, size_t direction, size_t t, const fl_tape_step *step) {
  if (!tape || !step || tape->stage != FL_TAPE_FULL) return FL_ERROR_ARGUMENT;
  if (layer >= tape->plan->L || direction >= tape->plan->D || t >= tape->T) return FL_ERROR_ARGUMENT;
  tape->plan->passes->read_tape(tape, layer, direction, t, step);
  return FL_OK;
}

size_t fl_backward_size(const fl_tape *tape, size_t threads) {
  return tape && is_thread_count(threads) ? tape->plan->passes->measure_backward(tape, threads) : SIZE_MAX;
}

size_t fl_backward_threads_used(const fl_tape *tape, size_t threads) {
  return tape && is_thread_count(threads) ? tape->plan->passes->count_backward(tape, threads) : 0;
}

static int are_gradients(const fl_plan *plan, const fl_gradients *gradients) {
  if (!gradients) return 0;
  for (size_t j = 0; gradients->weights && j < plan->L * plan->D; j++)
    if ((gradients->weights[j].weight_hr && !plan->P) ||
        (gradients->weights[j].weight_ph && !(plan->form && plan->form->peepholes)))
      return 0;
  return 1;
}

fl_status fl_backward(fl_tape *tape, const fl_gradients *gradients, fl_pool *pool, void *workspace) {
  return fl_backward_until(tape, gradients, pool, workspace, NULL);
}

fl_status fl_backward_until(fl_tape *tape, const fl_gradients *gradients, fl_pool *pool, void *workspace,
                            const fl_cancel *cancel) {
  if (!tape || tape->stage != FL_TAPE_FULL || !is_block(workspace) || !is_cancel(cancel)) return FL_ERROR_ARGUMENT;
  if (!are_gradients(tape->plan, gradients)) return FL_ERROR_ARGUMENT;
  return tape->plan->passes->run_backward(tape, gradients, pool, workspace, cancel);
}

fl_status fl_accumulate(fl_dtype dtype, void *total, const void *part, size_t n) {
  if (!is_dtype(dtype) || is_missing(total, n) || is_missing(part, n)) return FL_ERROR_ARGUMENT;
  if (!is_count(n)) return FL_ERROR_OVERFLOW;
  fl_passes_of(dtype, FL_WEIGHTS_REAL)->run_accumulate(total, part, n);
  return FL_OK;
}

/* ---- step by step ----------------------------------------------------------------------------------------------- */

size_t fl_stream_size(const fl_plan *plan, size_t B) {
  return plan && plan->D == 1 ? plan->passes->measure_stream(plan, B) : SIZE_MAX;
}

fl_stream *fl_stream_init(const fl_plan *plan, size_t B, void *memory) {
  return fl_stream_size(plan, B) != SIZE_MAX && is_block(memory) ? plan->passes->make_stream(plan, B, memory) : NULL;
}

fl_status fl_stream_step(fl_stream *stream, const void *x, void *y) {
  if (!stream || ((!x || !y) && stream->B)) return FL_ERROR_ARGUMENT;
  return stream->plan->passes->run_stream(stream, x, y);
}

fl_status fl_stream_step_until(fl_stream *stream, const void *x, void *y, const fl_cancel *cancel) {
  if (!stream || ((!x || !y) && stream->B) || !is_cancel(cancel)) return FL_ERROR_ARGUMENT;
  return stream->plan->passes->run_stream_until(stream, NULL, x, y, cancel);
}

fl_status fl_stream_step_tokens(fl_stream *stream, const fl_table *table, const int64_t *tokens, void *y,
                                const fl_cancel *cancel) {
  if (!stream || !is_table(table, stream->plan) || ((!tokens || !y) && stream->B)) return FL_ERROR_ARGUMENT;
  if (!is_cancel(cancel) || !are_tokens(table, stream->B, tokens, sizeof *tokens)) return FL_ERROR_ARGUMENT;
  return stream->plan->passes->run_stream_until(stream, table, tokens, y, cancel);
}

fl_status fl_stream_advance(fl_stream *stream) {
  return fl_stream_advance_until(stream, NULL);
}

fl_status fl_stream_advance_until(fl_stream *stream, const fl_cancel *cancel) {
  if (!stream || !is_cancel(cancel)) return FL_ERROR_ARGUMENT;
  return stream->plan->passes->advance_stream(stream, cancel);
}

fl_status fl_stream_get(const fl_stream *stream, void *h, void *c) {
  if (!stream || ((!h || !c) && stream->B)) return FL_ERROR_ARGUMENT;
  stream->plan->passes->read_stream(stream, h, c);
  return FL_OK;
}

fl_status fl_stream_set(fl_stream *stream, const void *h, const void *c) {
  if (!stream) return FL_ERROR_ARGUMENT;
  stream->plan->passes->write_stream(stream, h, c);
  return FL_OK;
}

static int is_cell(const fl_plan *plan) {
  return plan && plan->L == 1 && plan->D == 1 && !plan->P;
}

size_t fl_cell_size(const fl_plan *plan, size_t B) {
  return is_cell(plan) ? plan->passes->measure_cell(plan, B) : SIZE_MAX;
}

fl_status fl_cell(const fl_plan *plan, size_t B, const void *x, const void *h, const void *c, void *h_next,
                  void *c_next, void *workspace) {
  if (!is_cell(plan) || !is_block(workspace)) return FL_ERROR_ARGUMENT;
  if (B && !(x && h_next && c_next)) return FL_ERROR_ARGUMENT;
  if (plan->passes->measure_cell(plan, B) == SIZE_MAX) return FL_ERROR_OVERFLOW;
  plan->passes->run_cell(plan, B, x, h, c, h_next, c_next, workspace);
  return FL_OK;
}

/* ---- many sessions ---------------------------------------------------------------------------------------------- */

size_t fl_sessions_size(const fl_plan *plan, size_t capacity) {
  return plan && plan->D == 1 ? plan->passes->measure_sessions(plan, capacity) : SIZE_MAX;
}

fl_sessions *fl_sessions_init(const fl_plan *plan, size_t capacity, void *memory) {
  return fl_sessions_size(plan, capacity) != SIZE_MAX && is_block(memory)
             ? plan->passes->make_sessions(plan, capacity, memory)
             : NULL;
}

static size_t measure_sessions_step(const fl_plan *plan, size_t n, size_t threads, int cancellable) {
  if (!plan || plan->D != 1 || !is_thread_count(threads)) return SIZE_MAX;
  return plan->passes->measure_sessions_step(plan, n, threads, cancellable);
}

size_t fl_sessions_workspace(const fl_plan *plan, size_t n, size_t threads) {
  return measure_sessions_step(plan, n, threads, 0);
}

size_t fl_sessions_workspace_until(const fl_plan *plan, size_t n, size_t threads) {
  return measure_sessions_step(plan, n, threads, 1);
}

size_t fl_sessions_threads_used(const fl_plan *plan, size_t n, size_t threads) {
  return plan && plan->D == 1 && is_thread_count(threads) ? plan->passes->count_sessions(plan, n, threads) : 0;
}

/* Each below the capacity, and no two the same: a slot that has been seen is marked for the time of the check. */
static int are_slots(fl_sessions *s, size_t n, const size_t *slots) {
  enum { SEEN = 2 };
  size_t k = 0;
  while (k < n && slots[k] < s->capacity && !(s->turn[slots[k]] & SEEN)) s->turn[slots[k++]] |= SEEN;
  const int good = k == n;
  while (k) s->turn[slots[--k]] &= (uint8_t)~SEEN;
  return good;
}

fl_status fl_sessions_step(fl_sessions *sessions, size_t n, const size_t *slots, const void *x, ptrdiff_t x_row,
                           void *y, fl_pool *pool, void *workspace) {
  const fl_batch batch = {n, slots, x, x_row, y};
  return fl_sessions_step_until(sessions, &batch, pool, workspace, NULL);
}

static int is_batch(fl_sessions *sessions, const fl_batch *batch, const void *workspace) {
  return batch->slots && batch->x && batch->y && is_block(workspace) && are_slots(sessions, batch->n, batch->slots);
}

fl_status fl_sessions_step_until(fl_sessions *sessions, const fl_batch *batch, fl_pool *pool, void *workspace,
                                 const fl_cancel *cancel) {
  if (!sessions || !batch || !is_cancel(cancel)) return FL_ERROR_ARGUMENT;
  if (!batch->n) return FL_OK;
  if (!is_batch(sessions, batch, workspace)) return FL_ERROR_ARGUMENT;
  return sessions->plan->passes->run_sessions(sessions, NULL, batch, pool, workspace, cancel);
}

fl_status fl_sessions_step_tokens(fl_sessions *sessions, const fl_table *table, const fl_batch *batch, fl_pool *pool,
                                  void *workspace, const fl_cancel *cancel) {
  if (!sessions || !is_table(table, sessions->plan) || !batch || !is_cancel(cancel)) return FL_ERROR_ARGUMENT;
  if (!batch->n) return FL_OK;
  if (!is_batch(sessions, batch, workspace)) return FL_ERROR_ARGUMENT;
  if (!are_tokens(table, batch->n, batch->x, batch->x_row)) return FL_ERROR_ARGUMENT;
  return sessions->plan->passes->run_sessions(sessions, table, batch, pool, workspace, cancel);
}

size_t fl_sessions_advance_size(const fl_plan *plan, size_t capacity) {
  return plan && plan->D == 1 ? plan->passes->measure_advances(plan, capacity, 0) : SIZE_MAX;
}

fl_status fl_sessions_advance_init(fl_sessions *sessions, void *memory) {
  if (!sessions || !is_block(memory)) return FL_ERROR_ARGUMENT;
  sessions->plan->passes->make_advances(sessions, 0, memory);
  return FL_OK;
}

fl_status fl_sessions_advance(fl_sessions *sessions, size_t n, const size_t *slots, fl_pool *pool, void *workspace) {
  return fl_sessions_advance_until(sessions, n, slots, pool, workspace, NULL);
}

fl_status fl_sessions_advance_until(fl_sessions *sessions, size_t n, const size_t *slots, fl_pool *pool,
                                    void *workspace, const fl_cancel *cancel) {
  if (!sessions || !atomic_load(&sessions->advances) || !is_cancel(cancel)) return FL_ERROR_ARGUMENT;
  if (!n) return FL_OK;
  if (!slots || !is_block(workspace) || !are_slots(sessions, n, slots)) return FL_ERROR_ARGUMENT;
  const fl_batch batch = {.n = n, .slots = slots};
  return sessions->plan->passes->advance_sessions(sessions, &batch, pool, workspace, cancel);
}

fl_status fl_sessions_get(const fl_sessions *sessions, size_t slot, void *h, void *c) {
  if (!sessions || slot >= sessions->capacity || !h || !c) return FL_ERROR_ARGUMENT;
  sessions->plan->passes->read_session(sessions, slot, h, c);
  return FL_OK;
}

fl_status fl_sessions_set(fl_sessions *sessions, size_t slot, const void *h, const void *c) {
  if (!sessions || slot >= sessions->capacity) return FL_ERROR_ARGUMENT;
  sessions->plan->passes->write_session(sessions, slot, h, c);
  return FL_OK;
}

fl_status fl_sessions_move(fl_sessions *to, const fl_sessions *from) {
  if (!to || !from || to->plan != from->plan) return FL_ERROR_ARGUMENT;
  to->plan->passes->move_sessions(to, from);
  return FL_OK;
}

/* ---- ids of sessions -------------------------------------------------------------------------------------------- */

size_t fl_session_ids_size(size_t capacity) {
  return fl_measure_ids(capacity);
}

fl_session_ids *fl_session_ids_init(size_t capacity, void *memory) {
  return fl_measure_ids(capacity) != SIZE_MAX && is_block(memory) ? fl_make_ids(capacity, memory) : NULL;
}

size_t fl_session_ids_used(const fl_session_ids *ids) {
  return ids ? fl_count_ids(ids, 0) : 0;
}

size_t fl_session_ids_taken(const fl_session_ids *ids) {
  return ids ? fl_count_ids(ids, 1) : 0;
}

fl_status fl_session_ids_list(const fl_session_ids *ids, int64_t *id) {
  if (!ids || is_missing(id, fl_count_ids(ids, 0))) return FL_ERROR_ARGUMENT;
  fl_list_ids(ids, id);
  return FL_OK;
}

fl_status fl_session_ids_open(fl_session_ids *ids, int64_t *id, size_t *slot) {
  return ids && id && slot ? fl_open_id(ids, id, slot) : FL_ERROR_ARGUMENT;
}

fl_status fl_session_ids_take(fl_session_ids *ids, size_t n, const int64_t *id, size_t *slots, size_t *refused) {
  if (!ids || is_missing(id, n) || is_missing(slots, n)) return FL_ERROR_ARGUMENT;
  return fl_take_ids(ids, n, id, slots, refused);
}

fl_status fl_session_ids_give(fl_session_ids *ids, size_t n, const size_t *slots) {
  return ids && !is_missing(slots, n) ? fl_give_ids(ids, n, slots) : FL_ERROR_ARGUMENT;
}

fl_status fl_session_ids_close(fl_session_ids *ids, size_t n, const int64_t *id, size_t *refused) {
  return ids && !is_missing(id, n) ? fl_close_ids(ids, n, id, refused) : FL_ERROR_ARGUMENT;
}

fl_status fl_session_ids_move(fl_session_ids *to, const fl_session_ids *from) {
  return to && from ? fl_move_ids(to, from) : FL_ERROR_ARGUMENT;
}

/* ---- sliding windows -------------------------------------------------------------------------------------------- */

size_t fl_window_size(const fl_plan *plan, size_t length, size_t threads) {
  if (!plan || plan->D != 1 || !length || !is_thread_count(threads)) return SIZE_MAX;
  return plan->passes->measure_window(plan, length, threads);
}

fl_window *fl_window_init(const fl_plan *plan, size_t length, size_t threads, void *memory) {
  if (fl_window_size(plan, length, threads) == SIZE_MAX || !is_block(memory)) return NULL;
  return plan->passes->make_window(plan, length, threads, memory);
}

size_t fl_window_count(const fl_window *window) {
  return window ? window->count : 0;
}

fl_status fl_window_reset(fl_window *window) {
  if (!window) return FL_ERROR_ARGUMENT;
  window->count = 0;
  window->behind = 0;
  memset(window->advances->done, 0, window->length);
  return FL_OK;
}

/* A pool of more threads than the window was made for would need more scratch. */
static int is_windows_pool(const fl_window *window, const fl_pool *pool) {
  return window && fl_pool_threads(pool) <= window->threads;
}

fl_status fl_window_push(fl_window *window, const void *x, void *y, fl_pool *pool) {
  return fl_window_push_until(window, x, y, pool, NULL);
}

fl_status fl_window_push_until(fl_window *window, const void *x, void *y, fl_pool *pool, const fl_cancel *cancel) {
  if (!is_windows_pool(window, pool) || !x || !y || !is_cancel(cancel)) return FL_ERROR_ARGUMENT;
  return window->plan->passes->push_window(window, NULL, x, y, pool, cancel);
}

fl_status fl_window_push_token(fl_window *window, const fl_table *table, int64_t token, void *y, fl_pool *pool,
                               const fl_cancel *cancel) {
  if (!is_windows_pool(window, pool) || !y || !is_cancel(cancel)) return FL_ERROR_ARGUMENT;
  if (!is_table(table, window->plan) || !fl_is_token(table, token)) return FL_ERROR_ARGUMENT;
  return window->plan->passes->push_window(window, table, &token, y, pool, cancel);
}

fl_status fl_window_advance(fl_window *window, fl_pool *pool) {
  return fl_window_advance_until(window, pool, NULL);
}

fl_status fl_window_advance_until(fl_window *window, fl_pool *pool, const fl_cancel *cancel) {
  if (!is_windows_pool(window, pool) || !is_cancel(cancel)) return FL_ERROR_ARGUMENT;
  return window->plan->passes->advance_window(window, pool, cancel);
}
