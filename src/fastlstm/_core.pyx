# cython: language_level=3, freethreading_compatible=True, boundscheck=False, wraparound=False
"""The bridge: arrays to pointers, status to exceptions, ids to slots. No maths.

What comes in through a method named with a leading ``run`` has been checked, and explained where it was wrong, by the Python
that calls it; here its type, size and layout are compared once more, for no caller's code must come between a check and C. Only
``run_at`` and ``run_cell_at`` have to trust: they get addresses. The step path
(``StreamCore.step``, ``CellCore.step``, ``activation``) looks at its arrays itself with NumPy's C macros, 25-30 ns where a
typed memoryview takes 160, and hands anything that is not exactly as expected to the Python that checks and explains.

SPDX-License-Identifier: BSD-3-Clause
"""
cimport cython
cimport numpy as cnp
from cpython.exc cimport PyErr_Clear, PyErr_SetObject
from cpython.pycapsule cimport PyCapsule_GetPointer, PyCapsule_IsValid
from libc.stdint cimport int64_t, uint8_t, uint32_t, uint64_t, uintptr_t
from libc.stdlib cimport calloc, free, malloc
from libc.string cimport memcmp, memcpy

cdef extern from "Python.h":
    Py_ssize_t PY_SSIZE_T_MAX
    int PyErr_CheckSignals() noexcept

from threading import get_ident, main_thread
from time import sleep

cnp.import_array()


cdef extern from "fastlstm.h" nogil:
    ctypedef int fl_status
    int FL_OK, FL_ERROR_ARGUMENT, FL_ERROR_OVERFLOW, FL_ERROR_MEMORY, FL_ERROR_ISA, FL_ERROR_THREADS, FL_ERROR_CANCELLED
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
    ctypedef struct fl_config:
        fl_dtype dtype
        size_t input_size, hidden_size, proj_size, num_layers, directions
        const fl_form *form
    ctypedef struct fl_weights:
        const void *weight_ih
        const void *weight_hh
        const void *bias_ih
        const void *bias_hh
        const void *weight_hr
        const void *weight_ph
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
    const char *fl_status_text(fl_status)
    const char *fl_isa_name(size_t)
    const char *fl_isa_description(const char *)
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
    ctypedef struct fl_cancel:
        int (*ask)(void *) noexcept nogil
        void *data
    fl_status fl_forward_until(const fl_plan *, const fl_sequence *, fl_pool *, void *, const fl_cancel *)
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
    fl_status fl_gates_backward(const char *, fl_dtype, size_t, size_t, const void *, const void *, const void *, const void *, void *, void *)
    size_t fl_stream_size(const fl_plan *, size_t)
    fl_stream *fl_stream_init(const fl_plan *, size_t, void *)
    fl_status fl_stream_step(fl_stream *, const void *, void *)
    fl_status fl_stream_get(const fl_stream *, void *, void *)
    fl_status fl_stream_set(fl_stream *, const void *, const void *)
    ctypedef struct fl_sessions
    size_t fl_sessions_size(const fl_plan *, size_t)
    fl_sessions *fl_sessions_init(const fl_plan *, size_t, void *)
    size_t fl_sessions_workspace(const fl_plan *, size_t, size_t)
    fl_status fl_sessions_step(fl_sessions *, size_t, const size_t *, const void *, ptrdiff_t, void *, fl_pool *, void *)
    fl_status fl_sessions_get(const fl_sessions *, size_t, void *, void *)
    fl_status fl_sessions_set(fl_sessions *, size_t, const void *, const void *)
    fl_status fl_sessions_move(fl_sessions *, const fl_sessions *)
    size_t fl_cell_size(const fl_plan *, size_t)
    fl_status fl_cell(const fl_plan *, size_t, const void *, const void *, const void *, void *, void *, void *)

cdef extern from "digest.h" nogil:
    ctypedef struct fl_span:
        const void *data
        size_t bytes
    ctypedef struct fl_digest
    fl_status fl_digest_create(fl_digest **, const fl_span *, size_t, const char *, fl_pool *)
    void fl_digest_destroy(fl_digest *)
    bint fl_digest_same(const fl_digest *, fl_pool *)

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

cdef extern from "_workspace.h" nogil:
    ctypedef struct workspace:
        size_t bytes
        char *data
    ctypedef struct workspace_slot:
        pass
    workspace *workspace_take(workspace_slot *, size_t)
    void workspace_give(workspace_slot *, workspace *, size_t)
    size_t SCRATCH_KEPT, TAPE_KEPT
    ctypedef struct single_user:
        pass
    int single_user_enter(single_user *, bint brief)
    void single_user_leave(single_user *, bint brief)

cdef extern from "_signals.h" nogil:
    ctypedef struct listener:
        int64_t next
        int deaf
    int listener_due(listener *)

cdef extern from "_dlpack.h":
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

# Releasing and taking the GIL costs 40 ns: not worth it below about 5 us of work, which is this many weights times rows.
cdef enum:
    NOGIL_BYTES = 256 * 1024
    PIECE_BYTES = 256 * 1024 * 1024 # as many of work between two looks for signals, where C does not look by itself

# Steps of so few rows, with so many bytes of weights, are faster from the weights as they are than by a look at them and a
# step from the packed copy: at H=256 110 us where it would be 170, at H=1024 2.5 ms where it would be 5.7.
UNPACKED_BYTES = 1024 * 1024
UNPACKED_ROWS = 4
cdef size_t unpacked_bytes = UNPACKED_BYTES
cdef size_t unpacked_rows = UNPACKED_ROWS


cdef int listen(void *data) noexcept nogil:
    """What a long call asks now and then (``fl_cancel``): has a signal handler raised?"""
    cdef listener *l = <listener *>data
    if not listener_due(l):
        return 0
    with gil:
        if PyErr_CheckSignals() != 0:
            return 1
        try: # only in the main thread do handlers run: elsewhere there is nothing to hear
            l.deaf = get_ident() != main_thread().ident
            return 0
        except BaseException as error: # of a handler that has run in these very lines
            raised = error
        PyErr_SetObject(type(raised), raised)
        return 1


cdef fl_cancel heard_by(listener *l) noexcept:
    """For one call."""
    cdef fl_cancel cancel
    l.next = l.deaf = 0
    cancel.ask = listen
    cancel.data = l
    return cancel


cdef inline size_t piece_of(size_t bytes) noexcept nogil:
    """Rows to take at a time where one takes so many bytes of weights: all, if they are soon done."""
    return max(PIECE_BYTES // max(bytes, 1), 1)


cdef int raise_for(fl_status status) except -1:
    if status == FL_ERROR_CANCELLED:
        return -1 # the handler's exception is set
    text = fl_status_text(status).decode()
    if status == FL_ERROR_MEMORY:
        raise MemoryError(text)
    if status == FL_ERROR_OVERFLOW:
        raise OverflowError(text)
    if status == FL_ERROR_THREADS:
        raise RuntimeError(text)
    raise ValueError(text)


cdef inline int must(bint holds) except -1:
    """The last line: what Python has computed is compared once more where it meets C."""
    if not holds:
        raise ValueError("the arrays are not of the sizes that were checked")
    return 0


cdef inline bint dense(array, int typenum, cnp.npy_intp size) noexcept:
    """A contiguous array of so many numbers of one type."""
    return (cnp.PyArray_Check(array) and cnp.PyArray_TYPE(<cnp.ndarray>array) == typenum
            and cnp.PyArray_ISCARRAY_RO(<cnp.ndarray>array) and cnp.PyArray_SIZE(<cnp.ndarray>array) == size)


cdef inline bint room(array, int typenum, cnp.npy_intp size) noexcept:
    """As ``dense``, to be written to."""
    return dense(array, typenum, size) and cnp.PyArray_ISWRITEABLE(<cnp.ndarray>array)


cdef inline bint integers(array, cnp.npy_intp size) noexcept:
    """A contiguous array of so many 64-bit integers, of whichever of C's types that have 64 bits."""
    return (cnp.PyArray_Check(array) and cnp.PyTypeNum_ISSIGNED(cnp.PyArray_TYPE(<cnp.ndarray>array))
            and cnp.PyArray_ITEMSIZE(<cnp.ndarray>array) == 8 and cnp.PyArray_ISCARRAY_RO(<cnp.ndarray>array)
            and cnp.PyArray_SIZE(<cnp.ndarray>array) == size)


cdef inline bint rows_of(cnp.ndarray array, int typenum, cnp.npy_intp T, cnp.npy_intp B, cnp.npy_intp width) noexcept:
    """[T, B, width], the last axis contiguous, the others of any strides."""
    return (cnp.PyArray_TYPE(array) == typenum and cnp.PyArray_NDIM(array) == 3 and cnp.PyArray_ISBEHAVED_RO(array)
            and cnp.PyArray_DIM(array, 0) == T and cnp.PyArray_DIM(array, 1) == B and cnp.PyArray_DIM(array, 2) == width
            and (width < 2 or cnp.PyArray_SIZE(array) == 0
                 or cnp.PyArray_STRIDE(array, 2) == cnp.PyArray_ITEMSIZE(array)))


# ---- instruction sets ------------------------------------------------------------------------------------------------

def isa_names():
    """Names of the instruction sets that are built in and that this CPU has, best first."""
    names = []
    while fl_isa_name(len(names)) is not NULL:
        names.append(fl_isa_name(len(names)).decode())
    return names


def isa_description(str name):
    """One line about an instruction set."""
    cdef bytes key = name.encode()
    cdef const char *text = fl_isa_description(key)
    if text is NULL:
        raise ValueError(f"unknown instruction set {name!r}")
    return text.decode()


# ---- activations and gates -------------------------------------------------------------------------------------------

cdef inline int bits_of(int typenum) noexcept:
    """FL_FLOAT32, FL_FLOAT64, or 0 for a dtype that is neither."""
    if typenum == cnp.NPY_FLOAT32:
        return FL_FLOAT32
    if typenum == cnp.NPY_FLOAT64:
        return FL_FLOAT64
    return 0


cdef fl_status activate(bint is_tanh, const char *isa, int bits, const void *x, void *y, size_t n) noexcept nogil:
    return fl_tanh(isa, bits, x, y, n) if is_tanh else fl_sigmoid(isa, bits, x, y, n)


cdef fl_status activate_many(bint is_tanh, const char *isa, int bits, const char *x, char *y, size_t n) noexcept nogil:
    """The same for so many that it may take long."""
    cdef listener l
    cdef size_t done = 0, some, piece = 1 << 22
    l.next = l.deaf = 0
    while done < n:
        if n > piece and listen(&l):
            return FL_ERROR_CANCELLED
        some = min(n - done, piece)
        activate(is_tanh, isa, bits, x + done * bits // 8, y + done * bits // 8, some)
        done += some
    return FL_OK


def activation(bint is_tanh, x, out, bytes isa):
    """The activation of a contiguous float array, or None where `x` or `out` is not that."""
    cdef cnp.ndarray a, y
    cdef int bits
    cdef const char *name = isa
    cdef const void *from_
    cdef void *to
    cdef size_t n
    cdef fl_status status
    if not cnp.PyArray_CheckExact(x) or (out is not None and not cnp.PyArray_CheckExact(out)):
        return None
    a = x
    bits = bits_of(cnp.PyArray_TYPE(a))
    if not bits or not cnp.PyArray_ISCARRAY_RO(a):
        return None
    if out is None:
        y = cnp.PyArray_SimpleNew(cnp.PyArray_NDIM(a), cnp.PyArray_DIMS(a), cnp.PyArray_TYPE(a))
    else:
        y = out
        if cnp.PyArray_TYPE(y) != cnp.PyArray_TYPE(a) or not cnp.PyArray_ISCARRAY(y) or not cnp.PyArray_SAMESHAPE(a, y):
            return None
        if y is not a and overlap(a, y):
            return None
    n = cnp.PyArray_SIZE(a)
    from_ = cnp.PyArray_DATA(a)
    to = cnp.PyArray_DATA(y)
    if n < 16384:
        activate(is_tanh, name, bits, from_, to, n)
    else:
        with nogil:
            status = activate_many(is_tanh, name, bits, <const char *>from_, <char *>to, n)
        if status != FL_OK:
            raise_for(status)
    return y


cdef inline bint overlap(cnp.ndarray a, cnp.ndarray b) noexcept:
    """Do two contiguous arrays share bytes?"""
    cdef uintptr_t a0 = <uintptr_t>cnp.PyArray_DATA(a), b0 = <uintptr_t>cnp.PyArray_DATA(b)
    return a0 < b0 + <uintptr_t>cnp.PyArray_NBYTES(b) and b0 < a0 + <uintptr_t>cnp.PyArray_NBYTES(a)


cdef inline cnp.ndarray fresh(int ndim, cnp.npy_intp rows, cnp.npy_intp width, int typenum):
    """A new array [rows, width], or [width] where ndim is 1."""
    cdef cnp.npy_intp[2] dims = [rows, width]
    return cnp.PyArray_SimpleNew(ndim, &dims[2 - ndim], typenum)


def run_gates_forward(cnp.ndarray z, cnp.ndarray c, cnp.ndarray c_next, cnp.ndarray h, size_t rows, size_t units, bytes isa):
    """``c_next``, ``h`` from pre-activations [rows, 4*units] and ``c`` [rows, units], all contiguous and of one dtype."""
    cdef const char *name = isa
    cdef int typenum = cnp.PyArray_TYPE(z), bits = bits_of(typenum)
    cdef fl_status status
    must(bits and gates_fit(typenum, rows, units, [z], [c, c_next, h]))
    cdef void *zp = cnp.PyArray_DATA(z)
    cdef void *cp = cnp.PyArray_DATA(c)
    cdef void *np = cnp.PyArray_DATA(c_next)
    cdef void *hp = cnp.PyArray_DATA(h)
    with nogil:
        status = fl_gates_forward(name, bits, rows, units, zp, cp, np, hp)
    if status != FL_OK:
        raise_for(status)


def run_gates_train(cnp.ndarray z, cnp.ndarray c, cnp.ndarray c_next, cnp.ndarray h, cnp.ndarray gates,
                    size_t rows, size_t units, bytes isa):
    """As ``run_gates_forward``, and i, f, g, o into ``gates`` [rows, 4*units]."""
    cdef const char *name = isa
    cdef int typenum = cnp.PyArray_TYPE(z), bits = bits_of(typenum)
    cdef fl_status status
    must(bits and gates_fit(typenum, rows, units, [z, gates], [c, c_next, h]))
    cdef void *zp = cnp.PyArray_DATA(z)
    cdef void *cp = cnp.PyArray_DATA(c)
    cdef void *np = cnp.PyArray_DATA(c_next)
    cdef void *hp = cnp.PyArray_DATA(h)
    cdef void *gp = cnp.PyArray_DATA(gates)
    with nogil:
        status = fl_gates_train(name, bits, rows, units, zp, cp, np, hp, gp)
    if status != FL_OK:
        raise_for(status)


def run_gates_backward(cnp.ndarray gates, cnp.ndarray c_prev, cnp.ndarray c, cnp.ndarray dh, cnp.ndarray dz,
                       cnp.ndarray dc, size_t rows, size_t units, bytes isa):
    """``dz`` [rows, 4*units] from ``dh`` [rows, units]; ``dc`` goes from the gradient of c to that of c_prev."""
    cdef const char *name = isa
    cdef int typenum = cnp.PyArray_TYPE(gates), bits = bits_of(typenum)
    cdef fl_status status
    must(bits and gates_fit(typenum, rows, units, [gates, dz], [c_prev, c, dh, dc]))
    cdef void *gp = cnp.PyArray_DATA(gates)
    cdef void *pp = cnp.PyArray_DATA(c_prev)
    cdef void *cp = cnp.PyArray_DATA(c)
    cdef void *hp = cnp.PyArray_DATA(dh)
    cdef void *zp = cnp.PyArray_DATA(dz)
    cdef void *dcp = cnp.PyArray_DATA(dc)
    with nogil:
        status = fl_gates_backward(name, bits, rows, units, gp, pp, cp, hp, zp, dcp)
    if status != FL_OK:
        raise_for(status)


cdef bint gates_fit(int typenum, Py_ssize_t rows, Py_ssize_t units, list wide, list narrow):
    """[rows, 4*units] and [rows, units]: of one type, contiguous."""
    for array in wide:
        if not dense(array, typenum, rows * 4 * units):
            return False
    for array in narrow:
        if not dense(array, typenum, rows * units):
            return False
    return True


def accumulate(cnp.ndarray total, cnp.ndarray part):
    """total += part, two contiguous arrays of one shape and dtype, rounded to nearest whatever the caller's mode is."""
    cdef int typenum = cnp.PyArray_TYPE(total), bits = bits_of(typenum)
    cdef Py_ssize_t n = cnp.PyArray_SIZE(total)
    must(bits and room(total, typenum, n) and dense(part, typenum, n))
    cdef void *to = cnp.PyArray_DATA(total)
    cdef const void *from_ = cnp.PyArray_DATA(part)
    if n < 16384:
        fl_accumulate(bits, to, from_, n)
    else:
        with nogil:
            fl_accumulate(bits, to, from_, n)


# ---- pool ------------------------------------------------------------------------------------------------------------

@cython.final
cdef class Pool:
    """Worker threads, started here and joined when this is freed; or those of ``parallel``, the address of a C function."""

    cdef fl_pool *pool
    cdef readonly Py_ssize_t threads

    def __cinit__(self, Py_ssize_t threads, uintptr_t parallel=0):
        cdef fl_status status
        self.threads = threads
        if parallel:
            status = fl_pool_borrow(&self.pool, threads, <fl_parallel>parallel)
        else:
            status = fl_pool_create(&self.pool, threads)
        if status != FL_OK:
            raise_for(status)

    def __dealloc__(self):
        fl_pool_destroy(self.pool)


# ---- plan ------------------------------------------------------------------------------------------------------------

@cython.final
cdef class Memory:
    """Blocks that outlive a call, kept by a layer for the next: one of scratch, one for a tape."""

    cdef workspace_slot scratch, tape

    def __dealloc__(self):
        free(workspace_take(&self.scratch, 0))
        free(workspace_take(&self.tape, 0))


@cython.final
cdef class Plan:
    """Packed weights: immutable, so that any number of threads may use one."""

    cdef fl_plan *plan
    cdef Memory memory
    cdef readonly Py_ssize_t input_size, hidden_size, proj_size, num_layers, directions
    cdef int typenum

    def __cinit__(self, int bits, Py_ssize_t input_size, Py_ssize_t hidden_size, Py_ssize_t proj_size,
                  Py_ssize_t num_layers, Py_ssize_t directions, list parameters, bytes isa,
                  Memory memory not None, tuple form not None):
        cdef fl_config config
        cdef fl_form packed
        cdef fl_weights *weights
        cdef fl_status status
        cdef const char *name = isa
        cdef Py_ssize_t j, width
        self.memory = memory
        self.input_size = input_size
        self.hidden_size = hidden_size
        self.proj_size = proj_size
        self.num_layers = num_layers
        self.directions = directions
        self.typenum = cnp.NPY_FLOAT32 if bits == 32 else cnp.NPY_FLOAT64
        config.dtype = bits
        config.input_size = input_size
        config.hidden_size = hidden_size
        config.proj_size = proj_size
        config.num_layers = num_layers
        config.directions = directions
        gate, candidate, cell, packed.peepholes, packed.coupled, packed.clip_at, packed.clip = form
        packed.gate.kind, packed.gate.alpha, packed.gate.beta = gate
        packed.candidate.kind, packed.candidate.alpha, packed.candidate.beta = candidate
        packed.cell.kind, packed.cell.alpha, packed.cell.beta = cell
        config.form = &packed
        width = proj_size if proj_size else hidden_size
        must(num_layers > 0 and directions > 0 and len(parameters) == num_layers * directions)
        for j in range(len(parameters)):
            ih, hh, bias_ih, bias_hh, hr, ph = parameters[j]
            must(dense(ih, self.typenum, 4 * hidden_size * (input_size if j < directions else directions * width))
                 and dense(hh, self.typenum, 4 * hidden_size * width)
                 and (bias_ih is None or dense(bias_ih, self.typenum, 4 * hidden_size))
                 and (bias_hh is None or dense(bias_hh, self.typenum, 4 * hidden_size))
                 and (hr is None or dense(hr, self.typenum, proj_size * hidden_size))
                 and (ph is None or dense(ph, self.typenum, 3 * hidden_size)))
        weights = <fl_weights *>malloc(len(parameters) * sizeof(fl_weights))
        if weights is NULL:
            raise MemoryError()
        for j in range(len(parameters)):
            ih, hh, bias_ih, bias_hh, hr, ph = parameters[j]
            weights[j].weight_ih = address(ih)
            weights[j].weight_hh = address(hh)
            weights[j].bias_ih = address(bias_ih)
            weights[j].bias_hh = address(bias_hh)
            weights[j].weight_hr = address(hr)
            weights[j].weight_ph = address(ph)
        with nogil:
            status = fl_plan_create(&self.plan, &config, weights, name)
        free(weights)
        if status != FL_OK:
            raise_for(status)

    def __dealloc__(self):
        fl_plan_destroy(self.plan)

    @property
    def isa(self):
        """Name of the instruction set that the kernels of this plan were built with."""
        return fl_plan_isa(self.plan).decode()

    @property
    def nbytes(self):
        """Bytes of packed weights."""
        return fl_plan_size(self.plan)

    def run(self, cnp.ndarray x, cnp.ndarray y, h_0, c_0, cnp.ndarray h_n, cnp.ndarray c_n, lengths, resets, Pool pool,
            Tape tape=None):
        """Forward over x [T, B, I] into y [T, B, D*R], h_n, c_n.

        The last axis of x and y is contiguous; h_0, c_0 (or None), h_n, c_n and lengths (int64 [B] or None) are contiguous;
        resets is bool [T, B] or None.
        """
        cdef fl_sequence s
        must(cnp.PyArray_NDIM(x) == 3)
        s.T = cnp.PyArray_DIM(x, 0)
        s.B = cnp.PyArray_DIM(x, 1)
        must(rows_of(x, self.typenum, s.T, s.B, self.input_size)
             and rows_of(y, self.typenum, s.T, s.B, self.directions * self.width()) and cnp.PyArray_ISWRITEABLE(y)
             and self.states(h_0, c_0, s.B, False) and self.states(h_n, c_n, s.B, True))
        s.input = cnp.PyArray_DATA(x)
        s.input_t = cnp.PyArray_STRIDE(x, 0)
        s.input_b = cnp.PyArray_STRIDE(x, 1)
        s.output = cnp.PyArray_DATA(y)
        s.output_t = cnp.PyArray_STRIDE(y, 0)
        s.output_b = cnp.PyArray_STRIDE(y, 1)
        s.h_0 = address(h_0)
        s.c_0 = address(c_0)
        s.h_n = cnp.PyArray_DATA(h_n)
        s.c_n = cnp.PyArray_DATA(c_n)
        self.more(&s, lengths, resets, None)
        self.go(&s, pool, tape)

    cdef inline Py_ssize_t width(self) noexcept:
        """R: of an output in one direction."""
        return self.proj_size if self.proj_size else self.hidden_size

    cdef inline bint states(self, h, c, Py_ssize_t B, bint written) noexcept:
        """[L*D, B, R] and [L*D, B, H]; to be read, either may be None."""
        cdef Py_ssize_t rows = self.num_layers * self.directions * B
        if written:
            return room(h, self.typenum, rows * self.width()) and room(c, self.typenum, rows * self.hidden_size)
        return ((h is None or dense(h, self.typenum, rows * self.width()))
                and (c is None or dense(c, self.typenum, rows * self.hidden_size)))

    cdef int more(self, fl_sequence *s, lengths, resets, starts) except -1:
        """lengths [B], resets [T, B] and starts [T], each of them or None."""
        must((lengths is None or integers(lengths, s.B)) and (starts is None or integers(starts, s.T)))
        must(resets is None or (cnp.PyArray_Check(resets) and cnp.PyArray_TYPE(<cnp.ndarray>resets) == cnp.NPY_BOOL
                                and cnp.PyArray_NDIM(<cnp.ndarray>resets) == 2
                                and cnp.PyArray_DIM(<cnp.ndarray>resets, 0) == <cnp.npy_intp>s.T
                                and cnp.PyArray_DIM(<cnp.ndarray>resets, 1) == <cnp.npy_intp>s.B))
        s.lengths = <const int64_t *>address(lengths)
        s.resets = <const uint8_t *>address(resets)
        s.resets_t = cnp.PyArray_STRIDE(resets, 0) if resets is not None else 0
        s.resets_b = cnp.PyArray_STRIDE(resets, 1) if resets is not None else 0
        s.starts = <const int64_t *>address(starts)
        return 0

    def run_at(self, size_t T, size_t B, uintptr_t x, ptrdiff_t x_t, ptrdiff_t x_b, uintptr_t y, ptrdiff_t y_t,
               ptrdiff_t y_b, uintptr_t h_0, uintptr_t c_0, uintptr_t h_n, uintptr_t c_n, lengths, resets, Pool pool,
               Tape tape=None, starts=None):
        """As ``run``, for other libraries' memory: addresses, 0 for None, and strides in bytes.

        With ``starts`` int64 [T] both x and y are packed: step t's rows begin at row starts[t], the longest first.

        Wrapping six tensors as arrays would cost 3 us; this costs none.
        """
        cdef fl_sequence s
        s.T = T
        s.B = B
        s.input = <void *>x
        s.input_t = x_t
        s.input_b = x_b
        s.output = <void *>y
        s.output_t = y_t
        s.output_b = y_b
        s.h_0 = <void *>h_0
        s.c_0 = <void *>c_0
        s.h_n = <void *>h_n
        s.c_n = <void *>c_n
        self.more(&s, lengths, resets, starts)
        self.go(&s, pool, tape)

    cdef int go(self, fl_sequence *s, Pool pool, Tape tape) except -1:
        cdef fl_status status
        cdef fl_pool *workers = pool.pool if pool is not None else NULL
        cdef size_t threads = pool.threads if pool is not None else 1
        cdef workspace *w
        cdef fl_tape *kept = NULL
        cdef listener l
        cdef fl_cancel cancel = heard_by(&l)
        if tape is not None:
            kept = tape.begin(self, s)
        with nogil:
            w = workspace_take(&self.memory.scratch, fl_workspace_size(self.plan, s.T, s.B, threads))
            if w is NULL:
                status = FL_ERROR_MEMORY
            elif kept is not NULL:
                status = fl_forward_train_until(s, kept, workers, w.data, &cancel)
            else:
                status = fl_forward_until(self.plan, s, workers, w.data, &cancel)
            workspace_give(&self.memory.scratch, w, SCRATCH_KEPT)
        if status != FL_OK:
            raise_for(status)
        if tape is not None:
            tape.tape = kept # full: a backward pass may have it
        return 0

    def run_cell_at(self, size_t rows, uintptr_t x, uintptr_t h, uintptr_t c, uintptr_t h_next, uintptr_t c_next):
        """One step of one layer between addresses; h and c 0 for zeros."""
        self.cell(rows, <void *>x, <void *>h, <void *>c, <void *>h_next, <void *>c_next)

    cdef inline int cell(self, size_t rows, const void *x, const void *h, const void *c, void *h_next,
                         void *c_next) except -1:
        cdef workspace *w = workspace_take(&self.memory.scratch, fl_cell_size(self.plan, rows))
        if w is NULL:
            raise MemoryError()
        cdef size_t done = 0, some, piece = piece_of(fl_plan_size(self.plan))
        cdef size_t item = 4 if self.typenum == cnp.NPY_FLOAT32 else 8, row = self.hidden_size * item
        cdef listener l
        if fl_plan_size(self.plan) * rows < NOGIL_BYTES:
            fl_cell(self.plan, rows, x, h, c, h_next, c_next, w.data)
            done = rows
        else:
            heard_by(&l)
            with nogil:
                while done < rows and not (rows > piece and listen(&l)):
                    some = min(rows - done, piece)
                    fl_cell(self.plan, some, <const char *>x + done * self.input_size * item,
                            <const char *>h + done * row if h is not NULL else NULL,
                            <const char *>c + done * row if c is not NULL else NULL,
                            <char *>h_next + done * row, <char *>c_next + done * row, w.data)
                    done += some
        workspace_give(&self.memory.scratch, w, SCRATCH_KEPT)
        return 0 if done == rows else raise_for(FL_ERROR_CANCELLED)

    def run_unpacked_at(self, list weights, size_t B, uintptr_t x, ptrdiff_t x_b, uintptr_t h_0, uintptr_t c_0,
                        uintptr_t h_n, uintptr_t c_n, Pool pool):
        """One step of all layers from weights that are not packed, between addresses; h_0 and c_0 0 for zeros.

        ``weights`` are those of each layer, (ih, hh, bias_ih, bias_hh), 0 for no bias: contiguous.
        """
        cdef fl_unpacked step
        cdef Py_ssize_t j
        cdef fl_weights *w
        must(len(weights) == self.num_layers)
        w = <fl_weights *>calloc(len(weights), sizeof(fl_weights))
        if w is NULL:
            raise MemoryError()
        try:
            for j in range(len(weights)):
                ih, hh, bias_ih, bias_hh = weights[j]
                w[j].weight_ih = <void *><uintptr_t>ih
                w[j].weight_hh = <void *><uintptr_t>hh
                w[j].bias_ih = <void *><uintptr_t>bias_ih
                w[j].bias_hh = <void *><uintptr_t>bias_hh
            step.weights = w
            step.B = B
            step.x = <void *>x
            step.x_b = x_b
            step.h_0 = <void *>h_0
            step.c_0 = <void *>c_0
            step.h_n = <void *>h_n
            step.c_n = <void *>c_n
            self.unpacked(&step, pool)
        finally:
            free(w)

    @property
    def fits_unpacked(self):
        """Can a step be taken by ``run_unpacked_at``?"""
        return fl_unpacked_fits(self.plan)

    cdef inline int unpacked(self, fl_unpacked *step, Pool pool) except -1:
        cdef fl_pool *workers = pool.pool if pool is not None else NULL
        cdef workspace *w
        must(fl_unpacked_fits(self.plan))
        with nogil:
            w = workspace_take(&self.memory.scratch,
                               fl_unpacked_size(self.plan, step.B, pool.threads if pool is not None else 1))
            if w is not NULL:
                fl_unpacked_step(self.plan, step, workers, w.data)
                workspace_give(&self.memory.scratch, w, SCRATCH_KEPT)
        if w is NULL:
            raise MemoryError()
        return 0

    def workspace_size(self, Py_ssize_t T, Py_ssize_t B, Py_ssize_t threads):
        """Bytes of scratch that a call of these sizes takes."""
        return fl_workspace_size(self.plan, T, B, threads)


# ---- weights that others own -----------------------------------------------------------------------------------------

@cython.final
cdef class Digest:
    """A sum over every byte of some memory: whether anybody has written to it since. The memory must outlive it."""

    cdef fl_digest *digest
    cdef readonly size_t nbytes

    def __cinit__(self, list addresses, list sizes, bytes isa, Pool pool):
        """``sizes`` in bytes."""
        cdef Py_ssize_t j, n = len(addresses)
        cdef fl_status status
        cdef const char *name = isa
        cdef fl_pool *workers = pool.pool if pool is not None else NULL
        cdef fl_span *spans = <fl_span *>malloc((n + 1) * sizeof(fl_span))
        if spans is NULL:
            raise MemoryError()
        for j in range(n):
            spans[j].data = <void *><uintptr_t>addresses[j]
            spans[j].bytes = sizes[j]
            self.nbytes += spans[j].bytes
        with nogil:
            status = fl_digest_create(&self.digest, spans, n, name, workers)
        free(spans)
        if status != FL_OK:
            raise_for(status)

    def __dealloc__(self):
        fl_digest_destroy(self.digest)

    cpdef bint same(self, Pool pool):
        """Does the memory hold what it held when this was made, to the bit?"""
        cdef fl_pool *workers = pool.pool if pool is not None else NULL
        cdef bint found
        if self.nbytes < NOGIL_BYTES:
            return fl_digest_same(self.digest, NULL)
        with nogil:
            found = fl_digest_same(self.digest, workers)
        return found


cdef struct layout:
    void *data
    int ndim
    uint8_t code, bits
    int64_t[2] shape
    int64_t[2] strides


@cython.final
cdef class Seen:
    """Tensors of one or two axes as they were seen: whether they are the same objects, in the same memory, unchanged.

    Looked at through DLPack's table, 0.1 us each; by Python attributes it would be 0.5 us.
    """

    cdef dlpack_table *table
    cdef readonly tuple tensors
    cdef readonly bint versioned
    cdef tuple versions
    cdef layout *layouts

    def __cinit__(self, capsule, tuple tensors, tuple versions):
        """``versions`` hold None for a tensor without: made in inference mode."""
        cdef Py_ssize_t j
        self.table = <dlpack_table *>PyCapsule_GetPointer(capsule, "dlpack_exchange_api")
        self.tensors = tensors
        self.versions = versions
        self.versioned = None not in versions
        self.layouts = <layout *>malloc((len(tensors) + 1) * sizeof(layout))
        if self.layouts is NULL:
            raise MemoryError()
        for j in range(len(tensors)):
            if not self.look(tensors[j], &self.layouts[j]):
                raise ValueError(f"tensor {j} is not in the CPU's memory, or has not one or two axes")

    def __dealloc__(self):
        free(self.layouts)

    cdef inline bint look(self, tensor, layout *to):
        cdef dlpack_tensor d
        cdef int axis
        if self.table.look(<void *>tensor, &d) != 0:
            PyErr_Clear()
            return False
        if d.device_type != 1 or d.ndim < 1 or d.ndim > 2:
            return False
        to.data = <char *>d.data + d.byte_offset
        to.ndim = d.ndim
        to.code = d.code
        to.bits = d.bits
        to.shape[1] = to.strides[1] = 0
        for axis in range(d.ndim):
            to.shape[axis] = d.shape[axis]
            to.strides[axis] = d.strides[axis]
        return True

    cdef inline bint one(self, Py_ssize_t j, tensor):
        cdef layout now
        cdef layout *then = &self.layouts[j]
        if tensor is not <object>self.tensors[j] or not self.look(tensor, &now):
            return False
        if (now.data is not then.data or now.ndim != then.ndim or now.code != then.code or now.bits != then.bits
                or now.shape[0] != then.shape[0] or now.shape[1] != then.shape[1]
                or now.strides[0] != then.strides[0] or now.strides[1] != then.strides[1]):
            return False
        return has_version(tensor, self.versions[j]) and not tensor.is_neg()

    cdef bint contiguous(self):
        """Do all of them lie row after row, without gaps?"""
        cdef Py_ssize_t j
        cdef layout *one
        for j in range(len(self.tensors)):
            one = &self.layouts[j]
            if one.strides[one.ndim - 1] != 1 or (one.ndim == 2 and one.strides[0] != one.shape[1]):
                return False
        return True

    cpdef bint same(self, list tensors):
        """Are these the tensors seen, as they were but perhaps for values written past their versions?"""
        cdef Py_ssize_t j
        if len(tensors) != len(self.tensors):
            return False
        for j in range(len(tensors)):
            if not self.one(j, tensors[j]):
                return False
        return True

    cdef bint same_named(self, dict tensors, tuple names):
        cdef Py_ssize_t j
        for j in range(len(names)):
            tensor = tensors.get(names[j])
            if tensor is None or not self.one(j, tensor):
                return False
        return True


cdef inline bint has_version(tensor, version):
    if version is None:
        return tensor.is_inference()
    try:
        return tensor._version == version
    except RuntimeError: # an inference tensor's data has been put in
        return False


# ---- tape ------------------------------------------------------------------------------------------------------------

@cython.final
@cython.no_gc_clear
cdef class Tape:
    """What a training forward keeps, in one block of memory. Filled by ``Plan.run``, used up by ``run_backward``."""

    cdef Plan plan
    cdef fl_tape *tape
    cdef workspace *memory
    cdef single_user user
    cdef double dropout
    cdef readonly uint64_t seed
    cdef size_t time
    cdef size_t steps, rows
    cdef readonly size_t nbytes
    cdef readonly bint used

    def __cinit__(self, double dropout, uint64_t seed, size_t time):
        self.dropout = dropout
        self.seed = seed
        self.time = time

    def __dealloc__(self):
        if self.memory is not NULL:
            workspace_give(&self.plan.memory.tape, self.memory, TAPE_KEPT)

    cdef fl_tape *begin(self, Plan plan, fl_sequence *s) except NULL:
        cdef size_t b, steps = s.T * s.B
        cdef fl_tape *made
        if s.lengths is not NULL:
            steps = 0
            for b in range(s.B):
                steps += s.lengths[b]
        if self.memory is not NULL:
            raise RuntimeError("this tape is full")
        self.plan = plan
        self.steps = s.T
        self.rows = s.B
        self.nbytes = fl_tape_size(plan.plan, s.T, s.B, steps, self.dropout > 0, s.resets is not NULL)
        if self.nbytes > <size_t>(-1) // 2 - 128:
            raise OverflowError("the tape's size overflows")
        self.memory = workspace_take(&plan.memory.tape, self.nbytes)
        if self.memory is NULL:
            raise MemoryError(f"the tape takes {self.nbytes} bytes")
        with nogil:
            made = fl_tape_init(plan.plan, s, self.dropout, self.seed, self.time, self.memory.data)
        if made is NULL:
            raise ValueError(fl_status_text(FL_ERROR_ARGUMENT).decode())
        return made

    cdef inline bint holds(self, array, Py_ssize_t rows, Py_ssize_t width) noexcept:
        return array is None or dense(array, self.plan.typenum, rows * width)

    cdef inline bint takes(self, array, Py_ssize_t rows, Py_ssize_t width) noexcept:
        return array is None or room(array, self.plan.typenum, rows * width)

    def run_backward(self, Plan plan, output, h_n, c_n, input, h_0, c_0, list weights, Pool pool):
        """Gradients into ``input``, ``h_0``, ``c_0`` and ``weights``, a list of
        (weight_ih, weight_hh, bias, weight_hr, weight_ph).

        All arrays are contiguous. Incoming: ``output`` [T, B, D*R], ``h_n`` and ``c_n``, None for zeros. Of the others
        None is one that is not wanted. Once only.
        """
        cdef fl_gradients g
        cdef fl_weight_gradients *w = NULL
        cdef fl_pool *workers = pool.pool if pool is not None else NULL
        cdef size_t threads = pool.threads if pool is not None else 1
        cdef workspace *scratch
        cdef fl_status status
        cdef Py_ssize_t j, R, LD
        cdef listener l
        cdef fl_cancel cancel = heard_by(&l)
        if not single_user_enter(&self.user, False):
            raise RuntimeError("another thread is using this tape")
        try:
            if self.tape is NULL:
                raise RuntimeError("this tape is empty: it comes from forward")
            R = plan.proj_size if plan.proj_size else plan.hidden_size
            LD = plan.num_layers * plan.directions
            if not (plan is self.plan and len(weights) == LD
                    and self.holds(output, self.steps * self.rows, plan.directions * R)
                    and self.takes(input, self.steps * self.rows, plan.input_size)
                    and self.holds(h_n, LD * self.rows, R) and self.takes(h_0, LD * self.rows, R)
                    and self.holds(c_n, LD * self.rows, plan.hidden_size)
                    and self.takes(c_0, LD * self.rows, plan.hidden_size)):
                raise ValueError("this tape is of another call")
            if self.used:
                raise RuntimeError("this tape has served: its gates have become gradients; run forward again")
            w = <fl_weight_gradients *>malloc(len(weights) * sizeof(fl_weight_gradients))
            if w is NULL:
                raise MemoryError()
            for j in range(len(weights)):
                ih, hh, bias, hr, ph = weights[j]
                must(self.takes(ih, 4 * plan.hidden_size, plan.input_size if j < plan.directions else plan.directions * R)
                     and self.takes(hh, 4 * plan.hidden_size, R) and self.takes(bias, 4, plan.hidden_size)
                     and self.takes(hr, plan.proj_size, plan.hidden_size) and self.takes(ph, 3, plan.hidden_size))
                w[j].weight_ih = <void *>address(ih)
                w[j].weight_hh = <void *>address(hh)
                w[j].bias = <void *>address(bias)
                w[j].weight_hr = <void *>address(hr)
                w[j].weight_ph = <void *>address(ph)
            g.output = address(output)
            g.h_n = address(h_n)
            g.c_n = address(c_n)
            g.input = <void *>address(input)
            g.h_0 = <void *>address(h_0)
            g.c_0 = <void *>address(c_0)
            g.weights = w
            self.used = True # with the GIL, as whoever reads it has
            with nogil:
                scratch = workspace_take(&self.plan.memory.scratch, fl_backward_size(self.tape, threads))
                status = FL_ERROR_MEMORY
                if scratch is not NULL:
                    status = fl_backward_until(self.tape, &g, workers, scratch.data, &cancel)
                workspace_give(&self.plan.memory.scratch, scratch, SCRATCH_KEPT)
            if scratch is NULL:
                self.used = False
            if status != FL_OK:
                raise_for(status)
        finally:
            free(w)
            single_user_leave(&self.user, False)


cdef inline const void *address(array) noexcept:
    return NULL if array is None else cnp.PyArray_DATA(<cnp.ndarray>array)


# ---- cell ------------------------------------------------------------------------------------------------------------

@cython.final
cdef class CellCore:
    """The fast path of ``LSTMCell``: arrays that are exactly right go straight to C."""

    cdef Plan plan

    def __cinit__(self, Plan plan not None):
        if plan.num_layers != 1 or plan.directions != 1 or plan.proj_size:
            raise ValueError("a cell is one layer in one direction without projection")
        self.plan = plan

    cdef inline bint fits(self, array, int ndim, cnp.npy_intp rows, cnp.npy_intp width) noexcept:
        return (cnp.PyArray_CheckExact(array) and cnp.PyArray_TYPE(array) == self.plan.typenum
                and cnp.PyArray_NDIM(array) == ndim and cnp.PyArray_ISCARRAY_RO(array)
                and cnp.PyArray_DIM(array, ndim - 1) == width and (ndim == 1 or cnp.PyArray_DIM(array, 0) == rows))

    def step(self, x, hx, out):
        """(h', c'), or None where the arrays are not exactly right."""
        cdef Plan plan = self.plan
        cdef int ndim
        cdef cnp.npy_intp rows
        cdef cnp.ndarray h_next, c_next
        cdef const void *xp
        cdef const void *hp = NULL
        cdef const void *cp = NULL
        cdef void *hn
        cdef void *cn
        if not cnp.PyArray_CheckExact(x):
            return None
        ndim = cnp.PyArray_NDIM(x)
        if ndim != 1 and ndim != 2:
            return None
        rows = cnp.PyArray_DIM(x, 0) if ndim == 2 else 1
        if not self.fits(x, ndim, rows, plan.input_size):
            return None
        xp = cnp.PyArray_DATA(x)
        if hx is not None:
            if type(hx) is not tuple or len(<tuple>hx) != 2:
                return None
            h, c = <tuple>hx
            if not self.fits(h, ndim, rows, plan.hidden_size) or not self.fits(c, ndim, rows, plan.hidden_size):
                return None
            hp = cnp.PyArray_DATA(h)
            cp = cnp.PyArray_DATA(c)
        if out is None:
            h_next = fresh(ndim, rows, plan.hidden_size, plan.typenum)
            c_next = fresh(ndim, rows, plan.hidden_size, plan.typenum)
        else:
            if type(out) is not tuple or len(<tuple>out) != 2:
                return None
            o0, o1 = <tuple>out
            if not self.fits(o0, ndim, rows, plan.hidden_size) or not self.fits(o1, ndim, rows, plan.hidden_size):
                return None
            h_next = o0
            c_next = o1
            if not cnp.PyArray_ISWRITEABLE(h_next) or not cnp.PyArray_ISWRITEABLE(c_next):
                return None
            if overlap(x, h_next) or overlap(x, c_next) or overlap(h_next, c_next):
                return None
            if hp is not NULL and (overlap(h, h_next) or overlap(h, c_next) or overlap(c, h_next)
                                   or (overlap(c, c_next) and c is not c_next)):
                return None
        hn = cnp.PyArray_DATA(h_next)
        cn = cnp.PyArray_DATA(c_next)
        plan.cell(rows, xp, hp, cp, hn, cn)
        return (h_next, c_next) if out is None else out


@cython.final
cdef class TensorCell:
    """The fast path of ``fastlstm.torch.LSTMCell`` where no gradient is wanted: tensors looked at through DLPack's table.

    Everything that a step has to make sure of takes 1.2 us so, 6 us by Python attributes.
    """

    cdef Plan plan
    cdef Seen seen
    cdef Digest digest
    cdef dlpack_table *table
    cdef tuple names
    cdef list held
    cdef object kind, empty_like
    cdef fl_weights weights # as they are
    cdef bint unpacked      # steps may read those

    def __cinit__(self, Plan plan not None, Seen seen not None, Digest digest, list held, kind, empty_like, tuple names):
        """``seen`` are the parameters that the plan was packed from, under these names; ``digest`` of them, or None.

        ``held`` keep their memory: it may be read while another thread puts other memory in their place.
        """
        self.plan = plan
        self.seen = seen
        self.digest = digest
        self.held = held
        self.table = seen.table
        self.kind = kind
        self.empty_like = empty_like
        self.names = names
        self.unpacked = fl_plan_size(plan.plan) >= unpacked_bytes and seen.contiguous()
        self.weights.weight_ih = seen.layouts[0].data
        self.weights.weight_hh = seen.layouts[1].data
        if len(names) == 4:
            self.weights.bias_ih = seen.layouts[2].data
            self.weights.bias_hh = seen.layouts[3].data

    cdef inline bint look(self, tensor, dlpack_tensor *d):
        if self.table.look(<void *>tensor, d) == 0:
            return d.device_type == 1
        PyErr_Clear()
        return False

    cdef inline bint fits(self, tensor, dlpack_tensor *d, int64_t width):
        """A plain, contiguous tensor of the plan's dtype, with memory: [rows, width] or [width]."""
        if type(tensor) is not self.kind or not self.look(tensor, d) or d.code != 2 or d.data is NULL:
            return False
        if d.bits != (32 if self.plan.typenum == cnp.NPY_FLOAT32 else 64) or d.ndim < 1 or d.ndim > 2:
            return False
        if tensor.is_neg(): # DLPack does not tell
            return False
        return (d.shape[d.ndim - 1] == width and d.strides[d.ndim - 1] == 1
                and (d.ndim == 1 or d.shape[0] == 1 or d.strides[0] == width))

    def step(self, dict parameters, x, hx, bint frozen):
        """(h', c'), or None where something is not exactly right; ``parameters`` are the module's own, by name."""
        cdef dlpack_tensor xs, hs, cs, hn, cn
        cdef fl_unpacked step
        cdef bint unpacked
        if type(hx) is not tuple or len(<tuple>hx) != 2 or not self.seen.same_named(parameters, self.names):
            return None
        h, c = <tuple>hx
        if not (self.fits(x, &xs, self.plan.input_size) and self.fits(h, &hs, self.plan.hidden_size)
                and self.fits(c, &cs, self.plan.hidden_size)):
            return None
        if hs.ndim != xs.ndim or cs.ndim != xs.ndim:
            return None
        if xs.ndim == 2 and (hs.shape[0] != xs.shape[0] or cs.shape[0] != xs.shape[0]):
            return None
        step.B = xs.shape[0] if xs.ndim == 2 else 1
        frozen = frozen and self.seen.versioned
        unpacked = not frozen and self.unpacked and step.B <= unpacked_rows
        if not frozen and not unpacked and (self.digest is None or not self.digest.same(None)):
            return None
        h_next = self.empty_like(h)
        c_next = self.empty_like(c)
        if not self.look(h_next, &hn) or not self.look(c_next, &cn):
            return None
        step.weights = &self.weights
        step.x = <char *>xs.data + xs.byte_offset
        step.x_b = self.plan.input_size * xs.bits // 8
        step.h_0 = <char *>hs.data + hs.byte_offset
        step.c_0 = <char *>cs.data + cs.byte_offset
        step.h_n = hn.data
        step.c_n = cn.data
        if unpacked:
            self.plan.unpacked(&step, None)
        else:
            self.plan.cell(step.B, step.x, step.h_0, step.c_0, step.h_n, step.c_n)
        return h_next, c_next


def has_dlpack_table(capsule):
    """Is this a DLPack C exchange table that can be used?"""
    cdef dlpack_table *table
    if capsule is None or not PyCapsule_IsValid(capsule, "dlpack_exchange_api"):
        return False
    table = <dlpack_table *>PyCapsule_GetPointer(capsule, "dlpack_exchange_api")
    return table.major == 1 and table.look is not NULL


# ---- stream ----------------------------------------------------------------------------------------------------------

cdef class StreamCore:
    """The fast path of ``Stream``: state and scratch in one block; a right array goes straight to C, others to ``_checked``."""

    cdef Plan plan
    cdef fl_stream *stream
    cdef char *memory
    cdef single_user user
    cdef Py_ssize_t _batch_size
    cdef Py_ssize_t input_size, width
    cdef int typenum
    cdef size_t in_bytes, out_bytes
    cdef bint brief

    @property
    def batch_size(self):
        """B: how many sequences advance together."""
        return self._batch_size

    def __cinit__(self, Plan plan not None, Py_ssize_t batch_size, *args, **kwargs):
        cdef size_t bytes
        cdef Py_ssize_t widest
        if plan.directions != 1 or batch_size < 1:
            raise ValueError("a stream needs a unidirectional layer and a batch_size of at least 1")
        bytes = fl_stream_size(plan.plan, batch_size)
        widest = max(plan.input_size, plan.hidden_size)
        if bytes > <size_t>(-1) // 2 - 64 or batch_size > PY_SSIZE_T_MAX // 8 // widest:
            raise OverflowError("batch_size is too large")
        self.plan = plan
        self._batch_size = batch_size
        self.typenum = plan.typenum
        self.input_size = plan.input_size
        self.width = plan.proj_size if plan.proj_size else plan.hidden_size
        self.in_bytes = batch_size * plan.input_size * (4 if plan.typenum == cnp.NPY_FLOAT32 else 8)
        self.out_bytes = batch_size * self.width * (4 if plan.typenum == cnp.NPY_FLOAT32 else 8)
        self.brief = fl_plan_size(plan.plan) * batch_size < NOGIL_BYTES
        self.memory = <char *>malloc(bytes + 64)
        if self.memory is NULL:
            raise MemoryError(f"a stream of batch_size {batch_size} takes {bytes} bytes")
        self.stream = fl_stream_init(plan.plan, batch_size,
                                     <void *>((<uintptr_t>self.memory + 63) & ~<uintptr_t>63))

    def __dealloc__(self):
        free(self.memory)

    cdef inline bint fits(self, cnp.ndarray array, int ndim, cnp.npy_intp width) noexcept:
        return (cnp.PyArray_TYPE(array) == self.typenum and cnp.PyArray_ISCARRAY_RO(array)
                and cnp.PyArray_NDIM(array) == ndim and cnp.PyArray_DIM(array, ndim - 1) == width
                and (cnp.PyArray_DIM(array, 0) == self._batch_size if ndim == 2 else self._batch_size == 1))

    def step(self, x, out=None):
        """One step of every row.

        Parameters
        ----------
        x : array [I], or [B, I]
            The next input of every row, of the layer's dtype.
        out : array [R], or [B, R], optional
            Where to write the result; a contiguous array that does not overlap `x`.

        Returns
        -------
        array [R], or [B, R]
            The last layer's output: `out` if it was given. With `out` nothing is allocated.

        Raises
        ------
        ValueError
            For a wrong shape, or an `out` that overlaps `x` or cannot be written.
        TypeError
            For a wrong dtype.
        RuntimeError
            When another thread is inside this stream.
        """
        cdef cnp.ndarray y
        cdef int ndim
        cdef uintptr_t from_, to
        if not cnp.PyArray_CheckExact(x):
            return self._checked(x, out)
        ndim = cnp.PyArray_NDIM(<cnp.ndarray>x)
        if (ndim != 1 and ndim != 2) or not self.fits(<cnp.ndarray>x, ndim, self.input_size):
            return self._checked(x, out)
        from_ = <uintptr_t>cnp.PyArray_DATA(<cnp.ndarray>x)
        if out is None:
            y = fresh(ndim, self._batch_size, self.width, self.typenum)
            to = <uintptr_t>cnp.PyArray_DATA(y)
        else:
            if not cnp.PyArray_CheckExact(out) or not self.fits(<cnp.ndarray>out, ndim, self.width):
                return self._checked(x, out)
            y = <cnp.ndarray>out
            to = <uintptr_t>cnp.PyArray_DATA(y)
            if not cnp.PyArray_ISWRITEABLE(y) or (from_ < to + self.out_bytes and to < from_ + self.in_bytes):
                return self._checked(x, out)
        if fl_plan_size(self.plan.plan) * self._batch_size > PIECE_BYTES:
            self.long_step(from_, to)
            return y
        self.enter(self.brief)
        if self.brief:
            fl_stream_step(self.stream, <void *>from_, <void *>to)
        else:
            with nogil:
                fl_stream_step(self.stream, <void *>from_, <void *>to)
        single_user_leave(&self.user, self.brief)
        return y

    cdef int long_step(self, uintptr_t x, uintptr_t y) except -1:
        """One that can be interrupted, as a sequence of one step: to the same bits."""
        cdef fl_sequence s
        cdef Plan plan = self.plan
        cdef Py_ssize_t rows = plan.num_layers * self._batch_size
        cdef cnp.ndarray h_0 = fresh(2, rows, self.width, self.typenum), h_n = fresh(2, rows, self.width, self.typenum)
        cdef cnp.ndarray c_0 = fresh(2, rows, plan.hidden_size, self.typenum)
        cdef cnp.ndarray c_n = fresh(2, rows, plan.hidden_size, self.typenum)
        s.T = 1
        s.B = self._batch_size
        s.input = <void *>x
        s.output = <void *>y
        s.input_t = s.output_t = 0
        s.input_b = self.in_bytes // self._batch_size
        s.output_b = self.out_bytes // self._batch_size
        s.h_0, s.c_0, s.h_n, s.c_n = address(h_0), address(c_0), <void *>address(h_n), <void *>address(c_n)
        plan.more(&s, None, None, None)
        self.enter(False)
        try:
            fl_stream_get(self.stream, <void *>s.h_0, <void *>s.c_0)
            plan.go(&s, None, None)
            fl_stream_set(self.stream, s.h_n, s.c_n)
        finally:
            single_user_leave(&self.user, False)
        return 0

    cdef inline int enter(self, bint brief) except -1:
        if not single_user_enter(&self.user, brief):
            raise RuntimeError("another thread is inside this stream; a stream serves one thread at a time")
        return 0

    def _run_feed(self, cnp.ndarray x, cnp.ndarray y, cnp.ndarray h_0, cnp.ndarray c_0, cnp.ndarray h_n, cnp.ndarray c_n):
        """The whole of x [T, B, I] into y [T, B, R]; h_0, h_n [L, B, R] and c_0, c_n [L, B, H] are scratch."""
        must(cnp.PyArray_NDIM(x) == 3 and cnp.PyArray_DIM(x, 1) == self._batch_size
             and self.plan.states(h_0, c_0, self._batch_size, True) and self.plan.states(h_n, c_n, self._batch_size, True))
        self.enter(False)
        try:
            fl_stream_get(self.stream, cnp.PyArray_DATA(h_0), cnp.PyArray_DATA(c_0))
            self.plan.run(x, y, h_0, c_0, h_n, c_n, None, None, None)
            fl_stream_set(self.stream, address(h_n), address(c_n))
        finally:
            single_user_leave(&self.user, False)

    def _repeat(self, cnp.ndarray x, cnp.ndarray y, Py_ssize_t n):
        """`n` steps on the same checked input: what a step costs without Python, for benchmarks."""
        cdef Py_ssize_t j
        must(dense(x, self.typenum, self._batch_size * self.input_size) and room(y, self.typenum, self._batch_size * self.width))
        cdef void *from_ = cnp.PyArray_DATA(x)
        cdef void *to = cnp.PyArray_DATA(y)
        self.enter(False)
        with nogil:
            for j in range(n):
                fl_stream_step(self.stream, from_, to)
        single_user_leave(&self.user, False)

    def _run_get(self, cnp.ndarray h, cnp.ndarray c):
        """State out: h [L, B, R], c [L, B, H], contiguous."""
        must(self.plan.states(h, c, self._batch_size, True))
        self.enter(False)
        fl_stream_get(self.stream, cnp.PyArray_DATA(h), cnp.PyArray_DATA(c))
        single_user_leave(&self.user, False)

    def _run_set(self, h, c):
        """State in, or zeros for None."""
        must(self.plan.states(h, c, self._batch_size, False))
        self.enter(False)
        fl_stream_set(self.stream, address(h), address(c))
        single_user_leave(&self.user, False)


# ---- sessions --------------------------------------------------------------------------------------------------------

cdef enum:
    CLOSED, OPEN, BUSY # of a session
    PATIENCE = 100000  # tenths of a millisecond, at least, that a step waits while the pool is held

@cython.final
cdef class Sessions:
    """States of many sequences in one block of memory; freed with this."""

    cdef Plan plan
    cdef fl_sessions *sessions
    cdef char *memory
    cdef readonly size_t capacity

    def __cinit__(self, Plan plan not None, size_t capacity):
        cdef size_t bytes = fl_sessions_size(plan.plan, capacity)
        if plan.directions != 1:
            raise ValueError("sessions need a unidirectional layer")
        if bytes > <size_t>(-1) // 2 - 64:
            raise OverflowError("the capacity is too large")
        self.plan = plan
        self.capacity = capacity
        self.memory = <char *>malloc(bytes + 64)
        if self.memory is NULL:
            raise MemoryError(f"{capacity} sessions take {bytes} bytes")
        self.sessions = fl_sessions_init(plan.plan, capacity, <void *>((<uintptr_t>self.memory + 63) & ~<uintptr_t>63))

    def __dealloc__(self):
        free(self.memory)


cdef class PoolCore:
    """Who is open, who is busy; ids become slots here. An id is a slot + 1, and above 32 bits how often it was closed."""

    cdef Plan plan
    cdef Sessions states
    cdef Pool workers
    cdef uint32_t *closed # [capacity]: how often
    cdef uint8_t *status  # [capacity]
    cdef size_t _capacity, _used
    cdef Py_ssize_t input_size, width
    cdef size_t held      # by how many: new steps wait

    @property
    def capacity(self):
        """How many sessions there is room for; `grow` makes more."""
        return self._capacity

    @property
    def used(self):
        """How many sessions are open."""
        return self._used

    def __cinit__(self, Plan plan not None, size_t capacity, Pool workers, *args, **kwargs):
        if capacity < 1:
            raise ValueError("a pool needs a capacity of at least 1")
        self.plan = plan
        self.workers = workers
        self.input_size = plan.input_size
        self.width = plan.proj_size if plan.proj_size else plan.hidden_size
        self._run_grow(capacity)

    def __dealloc__(self):
        free(self.closed)
        free(self.status)

    def _run_grow(self, size_t capacity):
        """Room for more; a capacity below the present one changes nothing."""
        cdef Sessions states
        cdef uint32_t *closed
        cdef uint8_t *status
        cdef size_t k
        with cython.critical_section(self):
            if capacity <= self._capacity:
                return
            for k in range(self._capacity):
                if self.status[k] == BUSY:
                    raise RuntimeError("the pool cannot grow while another thread is in a step")
            states = Sessions(self.plan, capacity)
            closed = <uint32_t *>calloc(capacity, sizeof(uint32_t))
            status = <uint8_t *>calloc(capacity, 1)
            if closed is NULL or status is NULL:
                free(closed)
                free(status)
                raise MemoryError()
            if self.states is not None:
                fl_sessions_move(states.sessions, self.states.sessions)
                memcpy(closed, self.closed, self._capacity * sizeof(uint32_t))
                memcpy(status, self.status, self._capacity)
            free(self.closed)
            free(self.status)
            self.closed, self.status, self.states, self._capacity = closed, status, states, capacity

    def _run_open(self):
        """A new id, or -1 when all slots are taken."""
        cdef size_t k
        with cython.critical_section(self):
            if self._used == self._capacity:
                return -1
            for k in range(self._capacity):
                if self.status[k] == CLOSED:
                    self.status[k] = OPEN
                    self._used += 1
                    fl_sessions_set(self.states.sessions, k, NULL, NULL)
                    return self.id_of(k)

    def ids(self):
        """Those of all open sessions, in the order of their slots."""
        cdef size_t k
        with cython.critical_section(self):
            return [self.id_of(k) for k in range(self._capacity) if self.status[k]]

    cdef int64_t id_of(self, size_t slot) noexcept:
        """Never 0, which callers may take for no session."""
        return <int64_t>self.closed[slot] << 32 | <int64_t>(slot + 1)

    cdef Py_ssize_t find(self, int64_t id) except -1:
        cdef size_t slot = <size_t>(id & 0xffffffff) - 1
        if id < 0 or slot >= self._capacity or (id >> 32) > <int64_t>self.closed[slot]:
            raise ValueError(f"session {id} has never been opened in this pool")
        if (id >> 32) < <int64_t>self.closed[slot] or self.status[slot] == CLOSED:
            raise ValueError(f"session {id} has been closed" if (id >> 32) < <int64_t>self.closed[slot]
                             else f"session {id} has never been opened in this pool")
        return slot

    cdef int take(self, const int64_t *ids, size_t n, size_t *slots) except -1:
        """All of them or, with an error, none."""
        cdef size_t j = 0, k, slot
        try:
            for j in range(n):
                slot = self.find(ids[j])
                if self.status[slot] == BUSY:
                    for k in range(j):
                        if slots[k] == slot:
                            raise RuntimeError(f"session {ids[j]} is given twice")
                    raise RuntimeError(f"session {ids[j]} is in a step of another thread")
                slots[j] = slot
                self.status[slot] = BUSY
        except:
            while j > 0:
                j -= 1
                self.status[slots[j]] = OPEN
            raise
        return 0

    cdef void give(self, size_t n, const size_t *slots) noexcept:
        cdef size_t j
        for j in range(n):
            self.status[slots[j]] = OPEN

    def _run_hold(self):
        """New steps wait, for a while, until ``_run_release``: so that those under way come to an end."""
        with cython.critical_section(self):
            self.held += 1

    def _run_release(self):
        """End of ``_run_hold``."""
        with cython.critical_section(self):
            self.held -= 1

    def _run_busy(self):
        """Is any session in a step?"""
        cdef size_t k
        with cython.critical_section(self):
            for k in range(self._capacity):
                if self.status[k] == BUSY:
                    return True
            return False

    cdef int wait(self) except -1:
        """Let who holds the pool go first; not for ever, since that may be this very thread, in a signal handler."""
        cdef int j
        for j in range(PATIENCE):
            if not self.held:
                break
            sleep(1e-4)
        return 0

    def _run_close(self, cnp.ndarray ids):
        """Close sessions: all of these, or with an error none."""
        cdef size_t j, n = cnp.PyArray_SIZE(ids)
        must(integers(ids, n))
        cdef size_t *slots = <size_t *>malloc((n + 1) * sizeof(size_t))
        if slots is NULL:
            raise MemoryError()
        try:
            with cython.critical_section(self):
                self.take(<int64_t *>cnp.PyArray_DATA(ids), n, slots)
                for j in range(n):
                    self.status[slots[j]] = CLOSED
                    self.closed[slots[j]] = (self.closed[slots[j]] + 1) & 0x7fffffff
                    self._used -= 1
        finally:
            free(slots)

    def _run_step(self, cnp.ndarray ids, cnp.ndarray x, cnp.ndarray y):
        """One step of sessions ``ids`` int64 [n] over x [n, I] into y [n, R], all contiguous."""
        cdef size_t n = cnp.PyArray_SIZE(ids), threads = self.workers.threads if self.workers is not None else 1
        cdef fl_pool *workers = self.workers.pool if self.workers is not None else NULL
        cdef size_t head = (n * sizeof(size_t) + 63) & ~<size_t>63
        cdef size_t bytes = fl_sessions_workspace(self.plan.plan, n, threads)
        cdef workspace *w
        cdef Sessions states
        cdef const void *from_ = cnp.PyArray_DATA(x)
        cdef void *to = cnp.PyArray_DATA(y)
        cdef ptrdiff_t row = self.input_size * cnp.PyArray_ITEMSIZE(x)
        must(integers(ids, n) and dense(x, self.plan.typenum, n * self.input_size)
             and room(y, self.plan.typenum, n * self.width))
        if bytes > <size_t>(-1) // 2 - head:
            raise OverflowError("too many sessions in a step")
        if self.held:
            self.wait()
        w = workspace_take(&self.plan.memory.scratch, head + bytes)
        if w is NULL:
            raise MemoryError(f"a step of {n} sessions takes {head + bytes} bytes")
        try:
            with cython.critical_section(self):
                self.take(<int64_t *>cnp.PyArray_DATA(ids), n, <size_t *>w.data)
                states = self.states
            try:
                if fl_plan_size(self.plan.plan) * n < NOGIL_BYTES:
                    fl_sessions_step(states.sessions, n, <size_t *>w.data, from_, row, to, workers, w.data + head)
                elif fl_plan_size(self.plan.plan) * n <= PIECE_BYTES * threads:
                    with nogil:
                        fl_sessions_step(states.sessions, n, <size_t *>w.data, from_, row, to, workers, w.data + head)
                else:
                    self.long_step(states, n, <size_t *>w.data, <const char *>from_, <char *>to, w.data + head)
            finally:
                with cython.critical_section(self):
                    self.give(n, <size_t *>w.data)
        finally:
            workspace_give(&self.plan.memory.scratch, w, SCRATCH_KEPT)

    cdef int long_step(self, Sessions states, size_t n, const size_t *slots, const char *x, char *y, char *scratch) except -1:
        """One that can be interrupted: some sessions at a time, and all of them back to where they were."""
        cdef Plan plan = self.plan
        cdef size_t item = 4 if plan.typenum == cnp.NPY_FLOAT32 else 8, done = 0, some, k
        cdef size_t threads = self.workers.threads if self.workers is not None else 1
        cdef size_t piece = max(piece_of(fl_plan_size(plan.plan)), 16) * threads
        cdef size_t h = plan.num_layers * self.width * item, c = plan.num_layers * plan.hidden_size * item
        cdef fl_pool *workers = self.workers.pool if self.workers is not None else NULL
        cdef char *before = <char *>malloc(n * (h + c))
        cdef listener l
        if before is NULL:
            raise MemoryError(f"a step of {n} sessions takes {n * (h + c)} bytes")
        heard_by(&l)
        with nogil:
            for k in range(n):
                fl_sessions_get(states.sessions, slots[k], before + k * (h + c), before + k * (h + c) + h)
            while done < n and not listen(&l):
                some = min(n - done, piece)
                fl_sessions_step(states.sessions, some, slots + done, x + done * self.input_size * item,
                                 self.input_size * item, y + done * self.width * item, workers, scratch)
                done += some
            if done < n:
                for k in range(done):
                    fl_sessions_set(states.sessions, slots[k], before + k * (h + c), before + k * (h + c) + h)
            free(before)
        return 0 if done == n else raise_for(FL_ERROR_CANCELLED)

    def step(self, ids, x, out=None):
        """One step of some sessions, in any order and company.

        Parameters
        ----------
        ids : array of int64 [n], or a sequence of int
            Open sessions, each at most once.
        x : array [n, I]
            The next input of each, of the layer's dtype.
        out : array [n, R], optional
            Where to write the result; a contiguous array that does not overlap `x`.

        Returns
        -------
        array [n, R]
            The last layer's output of each: `out` if it was given. The bits do not depend on the company.

        Raises
        ------
        ValueError
            For ids that are unknown or closed, for wrong shapes, or an `out` that cannot be. Nothing changes then.
        TypeError
            For wrong dtypes.
        RuntimeError
            For an id that is given twice or is in another thread's step at the moment. Nothing changes then.
        """
        cdef cnp.npy_intp n
        if (cnp.PyArray_CheckExact(ids) and cnp.PyArray_TYPE(<cnp.ndarray>ids) == cnp.NPY_INT64
                and cnp.PyArray_NDIM(<cnp.ndarray>ids) == 1 and cnp.PyArray_ISCARRAY_RO(<cnp.ndarray>ids)):
            n = cnp.PyArray_DIM(<cnp.ndarray>ids, 0)
            if self.fits(x, n, self.input_size):
                if out is None:
                    y = fresh(2, n, self.width, self.plan.typenum)
                    self._run_step(ids, x, y)
                    return y
                if self.fits(out, n, self.width) and cnp.PyArray_ISWRITEABLE(<cnp.ndarray>out) and not overlap(x, out):
                    self._run_step(ids, x, out)
                    return out
        return self._checked(ids, x, out)

    cdef inline bint fits(self, array, cnp.npy_intp rows, cnp.npy_intp width) noexcept:
        return (cnp.PyArray_CheckExact(array) and cnp.PyArray_TYPE(<cnp.ndarray>array) == self.plan.typenum
                and cnp.PyArray_NDIM(<cnp.ndarray>array) == 2 and cnp.PyArray_ISCARRAY_RO(<cnp.ndarray>array)
                and cnp.PyArray_DIM(<cnp.ndarray>array, 0) == rows and cnp.PyArray_DIM(<cnp.ndarray>array, 1) == width)

    def _run_get(self, cnp.ndarray ids, cnp.ndarray h, cnp.ndarray c):
        """States of sessions into h [n, L, R], c [n, L, H], contiguous."""
        cdef size_t j, n = cnp.PyArray_SIZE(ids)
        must(integers(ids, n) and self.plan.states(h, c, n, True))
        cdef size_t *slots = <size_t *>malloc((n + 1) * sizeof(size_t))
        cdef cnp.npy_intp h_row = cnp.PyArray_STRIDE(h, 0), c_row = cnp.PyArray_STRIDE(c, 0)
        if slots is NULL:
            raise MemoryError()
        try:
            with cython.critical_section(self):
                self.take(<int64_t *>cnp.PyArray_DATA(ids), n, slots)
                for j in range(n):
                    fl_sessions_get(self.states.sessions, slots[j], <char *>cnp.PyArray_DATA(h) + j * h_row,
                                    <char *>cnp.PyArray_DATA(c) + j * c_row)
                self.give(n, slots)
        finally:
            free(slots)

    def _run_set(self, cnp.ndarray ids, h, c):
        """States in: h [n, L, R], c [n, L, H], contiguous, or None for zeros. With an error nothing changes."""
        cdef size_t j, n = cnp.PyArray_SIZE(ids)
        must(integers(ids, n) and self.plan.states(h, c, n, False))
        cdef size_t *slots = <size_t *>malloc((n + 1) * sizeof(size_t))
        cdef const char *hp = <const char *>address(h)
        cdef const char *cp = <const char *>address(c)
        cdef cnp.npy_intp h_row = cnp.PyArray_STRIDE(<cnp.ndarray>h, 0) if h is not None else 0
        cdef cnp.npy_intp c_row = cnp.PyArray_STRIDE(<cnp.ndarray>c, 0) if c is not None else 0
        if slots is NULL:
            raise MemoryError()
        try:
            with cython.critical_section(self):
                self.take(<int64_t *>cnp.PyArray_DATA(ids), n, slots)
                for j in range(n):
                    fl_sessions_set(self.states.sessions, slots[j], hp + j * h_row if hp is not NULL else NULL,
                                    cp + j * c_row if cp is not NULL else NULL)
                self.give(n, slots)
        finally:
            free(slots)


cdef class WindowCore:
    """Windows that run side by side, one started at every input: slot k is the one that started at time k mod length."""

    cdef Plan plan
    cdef Sessions states
    cdef Pool workers
    cdef char *memory    # of all below
    cdef char *scratch
    cdef char *last      # [I]: the input that the waiting windows have not seen
    cdef char *ignored   # [length, R]: outputs of windows that are not at their end
    cdef size_t *waiting # [length]
    cdef Py_ssize_t width
    cdef size_t n        # of them
    cdef single_user user
    cdef size_t _length
    cdef size_t _count

    @property
    def length(self):
        """Inputs in a window."""
        return self._length

    @property
    def count(self):
        """Inputs so far."""
        return self._count

    def __cinit__(self, Plan plan not None, size_t length, Pool workers, *args, **kwargs):
        if length < 1:
            raise ValueError("a window needs a length of at least 1")
        cdef size_t threads = workers.threads if workers is not None else 1
        cdef size_t item = 4 if plan.typenum == cnp.NPY_FLOAT32 else 8, at
        cdef size_t width = plan.proj_size if plan.proj_size else plan.hidden_size
        cdef size_t scratch = fl_sessions_workspace(plan.plan, length, threads)
        cdef size_t alone = fl_sessions_workspace(plan.plan, 1, 1)
        if scratch > <size_t>(-1) // 4 or length > <size_t>(-1) // 32 // max(width, 8):
            raise OverflowError("the window is too long")
        self.plan = plan
        self.width = width
        self.workers = workers
        self._length = length
        self.states = Sessions(plan, length)
        scratch = (max(scratch, alone) + 63) & ~<size_t>63
        self.memory = <char *>malloc(scratch + plan.input_size * item + length * (width * item + sizeof(size_t)) + 256)
        if self.memory is NULL:
            raise MemoryError("a window's scratch")
        at = (<uintptr_t>self.memory + 63) & ~<uintptr_t>63
        self.scratch = <char *>at
        self.waiting = <size_t *>(at + scratch)
        self.last = <char *>(at + scratch + length * sizeof(size_t))
        self.ignored = self.last + plan.input_size * item

    def __dealloc__(self):
        free(self.memory)

    cdef inline int enter(self) except -1:
        if not single_user_enter(&self.user, False):
            raise RuntimeError("another thread is inside this window; a window serves one thread at a time")
        return 0

    cdef bint settle(self) noexcept nogil:
        """Bring the waiting windows up to date, some at a time; False if a signal has come first, and some still wait."""
        cdef listener l
        cdef size_t some, piece = max(piece_of(fl_plan_size(self.plan.plan)), 16)
        l.next = l.deaf = 0
        while self.n and not (self._length > piece and listen(&l)):
            some = min(self.n, piece)
            fl_sessions_step(self.states.sessions, some, self.waiting + (self.n - some), self.last, 0, self.ignored,
                             self.workers.pool if self.workers is not None else NULL, self.scratch)
            self.n -= some
        return self.n == 0

    def push(self, x, out=None):
        """Take the next input and answer for the window that ends with it.

        Parameters
        ----------
        x : array [I]
            Of the layer's dtype.
        out : array [R], optional
            Where to write the answer: contiguous, not overlapping `x`.

        Returns
        -------
        array [R]
            The last layer's output after the last `length` inputs, fewer at the start; `out` if it was given.

        Raises
        ------
        ValueError
            For a wrong shape, or an `out` that cannot be. The window stays as it is.
        TypeError
            For a wrong dtype. The window stays as it is.
        RuntimeError
            When another thread is inside this window.
        """
        if not self.fits(x, self.plan.input_size):
            return self._checked(x, out)
        if out is None:
            y = fresh(1, 1, self.width, self.plan.typenum)
        else:
            if not self.fits(out, self.width) or not cnp.PyArray_ISWRITEABLE(<cnp.ndarray>out) or overlap(x, out):
                return self._checked(x, out)
            y = out
        self._run_push(x, y)
        return y

    cdef inline bint fits(self, array, cnp.npy_intp width) noexcept:
        return (cnp.PyArray_CheckExact(array) and cnp.PyArray_TYPE(<cnp.ndarray>array) == self.plan.typenum
                and cnp.PyArray_NDIM(<cnp.ndarray>array) == 1 and cnp.PyArray_ISCARRAY_RO(<cnp.ndarray>array)
                and cnp.PyArray_DIM(<cnp.ndarray>array, 0) == width)

    def _run_push(self, cnp.ndarray x, cnp.ndarray y):
        """x [I] into y [R], contiguous."""
        must(dense(x, self.plan.typenum, self.plan.input_size) and room(y, self.plan.typenum, self.width))
        cdef const void *from_ = cnp.PyArray_DATA(x)
        cdef void *to = cnp.PyArray_DATA(y)
        cdef size_t bytes = cnp.PyArray_NBYTES(x), t, first, k, slot
        cdef bint settled
        self.enter()
        with nogil:
            settled = self.settle()
            if settled:
                t = self._count
                first = t - (self._length - 1) if t >= self._length - 1 else 0
                fl_sessions_set(self.states.sessions, t % self._length, NULL, NULL)
                slot = first % self._length
                fl_sessions_step(self.states.sessions, 1, &slot, from_, 0, to, NULL, self.scratch)
                memcpy(self.last, from_, bytes)
                for k in range(first + 1, t + 1):
                    self.waiting[self.n] = k % self._length
                    self.n += 1
                self._count = t + 1
        single_user_leave(&self.user, False)
        if not settled:
            raise_for(FL_ERROR_CANCELLED)

    def advance(self):
        """Do what `push` has left: bring the windows that go on up to the last input.

        `push` answers as soon as the window that ends is done, one step; the others wait until the next `push` or until
        this is called, in the time between two inputs.

        Raises
        ------
        RuntimeError
            When another thread is inside this window.
        """
        cdef bint settled
        self.enter()
        with nogil:
            settled = self.settle()
        single_user_leave(&self.user, False)
        if not settled:
            raise_for(FL_ERROR_CANCELLED)

    def reset(self):
        """Forget all inputs.

        Raises
        ------
        RuntimeError
            When another thread is inside this window.
        """
        self.enter()
        self.n = self._count = 0
        single_user_leave(&self.user, False)
