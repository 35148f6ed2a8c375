# The C that the bridge calls: fastlstm.h, and of the headers behind it those that only Python needs.
#
# SPDX-License-Identifier: BSD-3-Clause
from libc.stdint cimport int64_t, uint8_t, uint64_t


cdef extern from "fastlstm.h" nogil:
    ctypedef int fl_status
    int FL_OK, FL_ERROR_ARGUMENT, FL_ERROR_OVERFLOW, FL_ERROR_MEMORY, FL_ERROR_THREADS, FL_ERROR_CANCELLED
    int FL_ERROR_TWICE, FL_ERROR_TAKEN, FL_ERROR_CLOSED
    ctypedef int fl_dtype
    int FL_FLOAT32, FL_FLOAT64
    ctypedef struct fl_plan
    ctypedef struct fl_pool
    ctypedef struct fl_stream
    ctypedef int fl_activation_kind
    ctypedef int fl_clip
    ctypedef struct fl_activation:
        fl_activation_kind kind
        double alpha, beta
    ctypedef struct fl_form:
        fl_activation gate, candidate, cell
        int peepholes, coupled
        fl_clip clip_at
        double clip
        int summed
    ctypedef struct fl_config:
        fl_dtype dtype
        size_t input_size, hidden_size, proj_size, num_layers, directions
        const fl_form *form
        int weights
    ctypedef struct fl_integers:
        const void *values
        const float *scales
        const void *offsets
        int is_signed
    ctypedef struct fl_weights:
        const void *weight_ih
        const void *weight_hh
        const void *bias_ih
        const void *bias_hh
        const void *weight_hr
        const void *weight_ph
        const fl_integers *integers_ih
        const fl_integers *integers_hh
        const fl_integers *integers_hr
    ctypedef struct fl_sequence:
        size_t T, B
        const void *input
        ptrdiff_t input_t, input_b
        void *output
        ptrdiff_t output_t, output_b
        const void *h_0
        const void *c_0
        void *h_n
        void *c_n
        const int64_t *lengths
        const uint8_t *resets
        ptrdiff_t resets_t, resets_b
        const int64_t *starts
    int fl_contract()
    const char *fl_status_text(fl_status)
    const char *fl_isa_name(size_t)
    const char *fl_integer_isa_name(size_t)
    const char *fl_isa_description(const char *)
    ctypedef struct fl_activation_info:
        const char *name
        int parameters, alpha_not_below_0
        double alpha, beta
    const fl_activation_info *fl_activation_at(size_t)
    fl_status fl_sigmoid(const char *, fl_dtype, const void *, void *, size_t)
    fl_status fl_tanh(const char *, fl_dtype, const void *, void *, size_t)
    fl_status fl_gates_forward(const char *, fl_dtype, size_t, size_t, const void *, const void *, void *, void *)
    fl_status fl_plan_create(fl_plan **, const fl_config *, const fl_weights *, const char *)
    void fl_plan_destroy(fl_plan *)
    const char *fl_plan_isa(const fl_plan *)
    size_t fl_plan_size(const fl_plan *)
    ctypedef void (*fl_parallel)(void (*)(void *), void *, unsigned int, unsigned int)
    fl_status fl_pool_create(fl_pool **, size_t)
    fl_status fl_pool_borrow(fl_pool **, size_t, fl_parallel)
    void fl_pool_destroy(fl_pool *)
    size_t fl_workspace_size(const fl_plan *, size_t, size_t, size_t)
    size_t fl_threads_used(const fl_plan *, size_t, size_t, size_t)
    ctypedef struct fl_cancel:
        int (*ask)(void *) noexcept nogil
        void *data
    fl_status fl_forward_until(const fl_plan *, const fl_sequence *, fl_pool *, void *, const fl_cancel *)
    ctypedef struct fl_table
    size_t fl_table_size(const fl_plan *, size_t)
    fl_table *fl_table_init(const fl_plan *, size_t, void *)
    fl_status fl_table_fill(fl_table *, const void *, ptrdiff_t, fl_pool *, const fl_cancel *)
    fl_status fl_forward_tokens(const fl_table *, const fl_sequence *, fl_pool *, void *, const fl_cancel *)
    ctypedef struct fl_trace:
        size_t every
        const size_t *units
        size_t n_units
        void *i
        void *f
        void *g
        void *o
        void *c
        void *cell
        void *h
        void *c_prev
        void *h_prev
    size_t fl_trace_workspace(const fl_plan *, size_t, size_t, size_t)
    fl_status fl_forward_trace(const fl_plan *, const fl_sequence *, const fl_trace *, const fl_table *, fl_pool *,
                               void *, const fl_cancel *)
    ctypedef struct fl_tape
    ctypedef struct fl_weight_gradients:
        void *weight_ih
        void *weight_hh
        void *bias
        void *weight_hr
        void *weight_ph
    ctypedef struct fl_gradients:
        const void *output
        const void *h_n
        const void *c_n
        void *input
        void *h_0
        void *c_0
        const fl_weight_gradients *weights
    size_t fl_tape_size(const fl_plan *, size_t, size_t, size_t, int, int)
    fl_tape *fl_tape_init(const fl_plan *, const fl_sequence *, double, uint64_t, size_t, void *)
    fl_status fl_forward_train_until(const fl_sequence *, fl_tape *, fl_pool *, void *, const fl_cancel *)
    size_t fl_backward_size(const fl_tape *, size_t)
    fl_status fl_backward_until(fl_tape *, const fl_gradients *, fl_pool *, void *, const fl_cancel *)
    fl_status fl_accumulate(fl_dtype, void *, const void *, size_t)
    fl_status fl_gates_train(const char *, fl_dtype, size_t, size_t, const void *, const void *, void *, void *, void *)
    fl_status fl_gates_backward(const char *, fl_dtype, size_t, size_t, const void *, const void *,
                                const void *, const void *, void *, void *)
    size_t fl_stream_size(const fl_plan *, size_t)
    fl_stream *fl_stream_init(const fl_plan *, size_t, void *)
    fl_status fl_stream_step(fl_stream *, const void *, void *)
    fl_status fl_stream_step_until(fl_stream *, const void *, void *, const fl_cancel *)
    fl_status fl_stream_step_tokens(fl_stream *, const fl_table *, const int64_t *, void *, const fl_cancel *)
    fl_status fl_stream_advance(fl_stream *)
    fl_status fl_stream_advance_until(fl_stream *, const fl_cancel *)
    fl_status fl_stream_get(const fl_stream *, void *, void *)
    fl_status fl_stream_set(fl_stream *, const void *, const void *)
    ctypedef struct fl_sessions
    size_t fl_sessions_size(const fl_plan *, size_t)
    fl_sessions *fl_sessions_init(const fl_plan *, size_t, void *)
    size_t fl_sessions_workspace(const fl_plan *, size_t, size_t)
    ctypedef struct fl_batch:
        size_t n
        const size_t *slots
        const void *x
        ptrdiff_t x_row
        void *y
    size_t fl_sessions_workspace_until(const fl_plan *, size_t, size_t)
    fl_status fl_sessions_step_until(fl_sessions *, const fl_batch *, fl_pool *, void *, const fl_cancel *)
    fl_status fl_sessions_step_tokens(fl_sessions *, const fl_table *, const fl_batch *, fl_pool *, void *,
                                      const fl_cancel *)
    size_t fl_sessions_advance_size(const fl_plan *, size_t)
    fl_status fl_sessions_advance_init(fl_sessions *, void *)
    fl_status fl_sessions_advance_until(fl_sessions *, size_t, const size_t *, fl_pool *, void *, const fl_cancel *)
    fl_status fl_sessions_get(const fl_sessions *, size_t, void *, void *)
    fl_status fl_sessions_set(fl_sessions *, size_t, const void *, const void *)
    fl_status fl_sessions_move(fl_sessions *, const fl_sessions *)
    ctypedef struct fl_session_ids
    size_t fl_session_ids_size(size_t)
    fl_session_ids *fl_session_ids_init(size_t, void *)
    size_t fl_session_ids_used(const fl_session_ids *)
    size_t fl_session_ids_taken(const fl_session_ids *)
    fl_status fl_session_ids_list(const fl_session_ids *, int64_t *)
    fl_status fl_session_ids_open(fl_session_ids *, int64_t *, size_t *)
    fl_status fl_session_ids_take(fl_session_ids *, size_t, const int64_t *, size_t *, size_t *)
    fl_status fl_session_ids_give(fl_session_ids *, size_t, const size_t *)
    fl_status fl_session_ids_close(fl_session_ids *, size_t, const int64_t *, size_t *)
    fl_status fl_session_ids_move(fl_session_ids *, const fl_session_ids *)
    ctypedef struct fl_window
    size_t fl_window_size(const fl_plan *, size_t, size_t)
    fl_window *fl_window_init(const fl_plan *, size_t, size_t, void *)
    fl_status fl_window_push_until(fl_window *, const void *, void *, fl_pool *, const fl_cancel *)
    fl_status fl_window_push_token(fl_window *, const fl_table *, int64_t, void *, fl_pool *, const fl_cancel *)
    fl_status fl_window_advance_until(fl_window *, fl_pool *, const fl_cancel *)
    size_t fl_window_count(const fl_window *)
    fl_status fl_window_reset(fl_window *)
    size_t fl_cell_size(const fl_plan *, size_t)
    fl_status fl_cell(const fl_plan *, size_t, const void *, const void *, const void *, void *, void *, void *)

cdef extern from "base/cpus.h" nogil:
    size_t fl_cpus()
    void fl_use_all_threads(bint)

cdef extern from "digest.h" nogil:
    ctypedef struct fl_span:
        const void *data
        size_t bytes
    ctypedef struct fl_digest
    fl_status fl_digest_create(fl_digest **, const fl_span *, size_t, const char *, fl_pool *)
    void fl_digest_destroy(fl_digest *)
    bint fl_digest_same(const fl_digest *, fl_pool *)

cdef extern from "machine.h" nogil:
    fl_status fl_limit_multiply(const char *, size_t, double *)
    fl_status fl_limit_read(const char *, const void *, size_t, size_t, double *)

cdef extern from "unpacked.h" nogil:
    ctypedef struct fl_unpacked:
        const fl_weights *weights
        size_t B
        const void *x
        ptrdiff_t x_b
        const void *h_0
        const void *c_0
        void *h_n
        void *c_n
    bint fl_unpacked_fits(const fl_plan *)
    size_t fl_unpacked_size(const fl_plan *, size_t, size_t)
    void fl_unpacked_step(const fl_plan *, const fl_unpacked *, fl_pool *, void *)

cdef extern from "workspace.h" nogil:
    ctypedef struct workspace:
        size_t bytes
        char *data
    ctypedef struct workspace_slot:
        pass
    workspace *workspace_new(size_t)
    workspace *workspace_take(workspace_slot *, size_t)
    void workspace_give(workspace_slot *, workspace *, size_t)
    size_t WORKSPACE_MOST, SCRATCH_KEPT, TAPE_KEPT
    ctypedef struct single_user:
        pass
    int single_user_enter(single_user *, bint brief)
    void single_user_leave(single_user *, bint brief)

cdef extern from "signals.h" nogil:
    ctypedef struct listener:
        int64_t next
        int deaf
    int listener_due(listener *)

cdef extern from "dlpack.h":
    ctypedef struct dlpack_tensor:
        void *data
        int device_type, ndim
        uint8_t code, bits
        int64_t *shape
        int64_t *strides
        uint64_t byte_offset
    ctypedef struct dlpack_table:
        unsigned int major
        int (*look)(void *, dlpack_tensor *) noexcept
