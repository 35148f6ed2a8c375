# What a training forward keeps, and the backward pass that uses it up.

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
        self.dropout, self.seed, self.time = dropout, seed, time

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
        self.plan, self.steps, self.rows = plan, s.T, s.B
        self.nbytes = fl_tape_size(plan.plan, s.T, s.B, steps, self.dropout > 0, s.resets is not NULL)
        if self.nbytes > WORKSPACE_MOST:
            raise OverflowError("the tape's size overflows")
        self.memory = workspace_take(&plan.memory.tape, self.nbytes)
        if self.memory is NULL:
            raise MemoryError(f"the tape takes {self.nbytes} bytes")
        with nogil:
            made = fl_tape_init(plan.plan, s, self.dropout, self.seed, self.time, self.memory.data)
        if made is NULL:
            raise ValueError(fl_status_text(FL_ERROR_ARGUMENT).decode())
        return made

    def run_backward(self, Plan plan, output, h_n, c_n, input, h_0, c_0, list weights, Workers workers):
        """Gradients into ``input``, ``h_0``, ``c_0`` and ``weights``, a list of
        (weight_ih, weight_hh, bias, weight_hr, weight_ph).

        All arrays are contiguous. Incoming: ``output`` [T, B, D*R], ``h_n`` and ``c_n``, None for zeros. Of the others
        None is one that is not wanted. Once only.
        """
        cdef fl_gradients g
        cdef fl_weight_gradients *w = NULL
        cdef Py_ssize_t j
        if not single_user_enter(&self.user, False):
            raise RuntimeError("another thread is using this tape")
        try:
            if self.tape is NULL:
                raise RuntimeError("this tape is empty: forward fills it")
            if not self.is_of(plan, len(weights), output, h_n, c_n, input, h_0, c_0):
                raise ValueError("this tape is of another call")
            if self.used:
                raise RuntimeError("this tape is used up: backward writes gradients over its gates; run forward again")
            w = <fl_weight_gradients *>malloc(len(weights) * sizeof(fl_weight_gradients))
            if w is NULL:
                raise MemoryError()
            for j in range(len(weights)):
                self.read(&w[j], plan.input_size if j < plan.directions else plan.directions * plan.width, weights[j])
            g.output, g.h_n, g.c_n = address(output), address(h_n), address(c_n)
            g.input, g.h_0, g.c_0 = address(input), address(h_0), address(c_0)
            g.weights = w
            self.go(&g, workers)
        finally:
            free(w)
            single_user_leave(&self.user, False)

    cdef bint is_of(self, Plan plan, Py_ssize_t layers, output, h_n, c_n, input, h_0, c_0) noexcept:
        """Are the arrays of the sizes of the call that filled this?"""
        cdef Py_ssize_t steps = self.steps * self.rows, rows = layers * self.rows
        cdef int typenum = self.plan.typenum
        return (plan is self.plan and layers == plan.num_layers * plan.directions
                and dense_or_none(output, typenum, steps * plan.directions * plan.width)
                and room_or_none(input, typenum, steps * plan.input_size)
                and dense_or_none(h_n, typenum, rows * plan.width) and room_or_none(h_0, typenum, rows * plan.width)
                and dense_or_none(c_n, typenum, rows * plan.hidden_size)
                and room_or_none(c_0, typenum, rows * plan.hidden_size))

    cdef int read(self, fl_weight_gradients *to, Py_ssize_t width, gradients) except -1:
        """Those of one layer, whose input has this width, in one direction."""
        cdef int typenum = self.plan.typenum
        cdef Py_ssize_t H = self.plan.hidden_size
        ih, hh, bias, hr, ph = gradients
        must(room_or_none(ih, typenum, 4 * H * width) and room_or_none(hh, typenum, 4 * H * self.plan.width)
             and room_or_none(bias, typenum, 4 * H) and room_or_none(hr, typenum, self.plan.proj_size * H)
             and room_or_none(ph, typenum, 3 * H))
        to.weight_ih, to.weight_hh, to.bias = address(ih), address(hh), address(bias)
        to.weight_hr, to.weight_ph = address(hr), address(ph)
        return 0

    cdef int go(self, fl_gradients *g, Workers workers) except -1:
        cdef fl_status status = FL_ERROR_MEMORY
        cdef fl_pool *pool = workers_of(workers)
        cdef size_t threads = threads_of(workers)
        cdef workspace *w
        cdef listener l
        cdef fl_cancel cancel = heard_by(&l)
        self.used = True # with the GIL, as whoever reads it has
        with nogil:
            w = workspace_take(&self.plan.memory.scratch, fl_backward_size(self.tape, threads))
            if w is not NULL:
                status = fl_backward_until(self.tape, g, pool, w.data, &cancel)
            workspace_give(&self.plan.memory.scratch, w, SCRATCH_KEPT)
        if w is NULL:
            self.used = False
        return raise_for(status)
