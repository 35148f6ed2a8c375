# Packed weights, and the calls that run with them.

@cython.final
cdef class Memory:
    """Blocks that outlive a call, kept by a layer for the next: one of scratch, one for a tape."""

    cdef workspace_slot scratch, tape

    def __dealloc__(self):
        free(workspace_take(&self.scratch, 0))
        free(workspace_take(&self.tape, 0))


cdef int read_activation(fl_activation *to, tuple activation) except -1:
    to.kind, to.alpha, to.beta = activation
    return 0


cdef int read_form(fl_form *to, tuple form) except -1:
    gate, candidate, cell, to.peepholes, to.coupled, to.clip_at, to.clip, to.summed = form
    read_activation(&to.gate, gate)
    read_activation(&to.candidate, candidate)
    return read_activation(&to.cell, cell)


cdef inline void read_arrays(fl_sequence *s, cnp.ndarray x, cnp.ndarray y, int time, h_0, c_0, h_n, c_n) noexcept:
    """Those of a call whose sizes have been read; ``time`` is the axis of x and y for time, the other is for rows."""
    s.input, s.input_t, s.input_b = address(x), cnp.PyArray_STRIDE(x, time), cnp.PyArray_STRIDE(x, 1 - time)
    s.output, s.output_t, s.output_b = address(y), cnp.PyArray_STRIDE(y, time), cnp.PyArray_STRIDE(y, 1 - time)
    s.h_0, s.c_0, s.h_n, s.c_n = address(h_0), address(c_0), address(h_n), address(c_n)


cdef struct given_matrix:
    # as reals, or as integers
    const void *reals
    const fl_integers *integers


cdef given_matrix read_matrix(given, int typenum, cnp.npy_intp rows, cnp.npy_intp columns, fl_integers *room) except *:
    """A matrix as an array, or as (values, scales, zeros), which ``room`` then points to."""
    cdef given_matrix made = given_matrix(NULL, NULL)
    if not isinstance(given, tuple):
        must(dense(given, typenum, rows * columns))
        made.reals = address(given)
        return made
    values, scales, zeros = given
    must(dense(values, cnp.NPY_INT8, rows * columns) and dense(scales, cnp.NPY_FLOAT32, rows)
         and dense_or_none(zeros, cnp.NPY_INT8, rows))
    room.values, room.scales, room.offsets = address(values), <const float *>address(scales), address(zeros)
    room.is_signed = 1
    made.integers = room
    return made


@cython.final
cdef class Plan:
    """Packed weights: immutable, so that any number of threads may use one."""

    cdef fl_plan *plan
    cdef Memory memory
    cdef readonly Py_ssize_t input_size, hidden_size, proj_size, num_layers, directions
    cdef Py_ssize_t width # R: of an output in one direction
    cdef Py_ssize_t item  # bytes of a number
    cdef size_t bytes     # of the weights
    cdef int typenum

    def __cinit__(self, int bits, Py_ssize_t input_size, Py_ssize_t hidden_size, Py_ssize_t proj_size,
                  Py_ssize_t num_layers, Py_ssize_t directions, list parameters, bytes isa,
                  Memory memory not None, tuple form not None, int weight_type=0):
        cdef fl_form packed
        cdef fl_config config
        cdef fl_weights *weights = NULL
        cdef fl_integers *integers = NULL
        cdef fl_status status
        cdef const char *name = isa
        cdef Py_ssize_t j
        self.memory = memory
        self.input_size, self.hidden_size, self.proj_size = input_size, hidden_size, proj_size
        self.num_layers, self.directions = num_layers, directions
        self.width = proj_size if proj_size else hidden_size
        self.item = bits // 8
        self.typenum = cnp.NPY_FLOAT32 if bits == 32 else cnp.NPY_FLOAT64
        config.dtype, config.form, config.weights = bits, &packed, weight_type
        config.input_size, config.hidden_size, config.proj_size = input_size, hidden_size, proj_size
        config.num_layers, config.directions = num_layers, directions
        read_form(&packed, form)
        must(num_layers > 0 and directions > 0 and len(parameters) == num_layers * directions)
        try:
            weights = <fl_weights *>malloc(len(parameters) * sizeof(fl_weights))
            integers = <fl_integers *>malloc(len(parameters) * 3 * sizeof(fl_integers))
            if weights is NULL or integers is NULL:
                raise MemoryError()
            for j in range(len(parameters)):
                self.read(&weights[j], &integers[3 * j], input_size if j < directions else directions * self.width,
                          parameters[j])
            with nogil:
                status = fl_plan_create(&self.plan, &config, weights, name)
        finally:
            free(weights)
            free(integers)
        raise_for(status)
        self.bytes = fl_plan_size(self.plan)

    def __dealloc__(self):
        fl_plan_destroy(self.plan)

    cdef int read(self, fl_weights *to, fl_integers *room, Py_ssize_t width, parameters) except -1:
        """Those of one layer, whose input has this width, in one direction; ``room`` is for its three matrices."""
        cdef int typenum = self.typenum
        cdef given_matrix matrix
        ih, hh, bias_ih, bias_hh, hr, ph = parameters
        must(dense_or_none(bias_ih, typenum, 4 * self.hidden_size)
             and dense_or_none(bias_hh, typenum, 4 * self.hidden_size)
             and dense_or_none(ph, typenum, 3 * self.hidden_size))
        to.bias_ih, to.bias_hh, to.weight_ph = address(bias_ih), address(bias_hh), address(ph)
        matrix = read_matrix(ih, typenum, 4 * self.hidden_size, width, &room[0])
        to.weight_ih, to.integers_ih = matrix.reals, matrix.integers
        matrix = read_matrix(hh, typenum, 4 * self.hidden_size, self.width, &room[1])
        to.weight_hh, to.integers_hh = matrix.reals, matrix.integers
        matrix = given_matrix(NULL, NULL)
        if hr is not None:
            matrix = read_matrix(hr, typenum, self.proj_size, self.hidden_size, &room[2])
        to.weight_hr, to.integers_hr = matrix.reals, matrix.integers
        return 0

    @property
    def isa(self):
        """Name of the instruction set that the kernels of this plan were built with."""
        return fl_plan_isa(self.plan).decode()

    @property
    def nbytes(self):
        """Bytes of packed weights."""
        return self.bytes

    def table_nbytes(self, size_t V):
        """Bytes that a table of V tokens takes."""
        bytes = fl_table_size(self.plan, V)
        if bytes > WORKSPACE_MOST:
            raise OverflowError(f"a table of {V} tokens is too large")
        return bytes

    def threads_used(self, size_t T, size_t B, size_t threads):
        """How many of so many threads a call takes."""
        return fl_threads_used(self.plan, T, B, threads)

    # ---- sequences

    def call(self, x, hx, out, bint batch_first, Workers workers, TableCore table=None):
        """``LSTM`` of arrays that are exactly right: (output, (h_n, c_n)), or None where one of them is not."""
        cdef fl_sequence s
        cdef int ndim
        if table is not None:
            x = table.taken(x)
        ndim = (cnp.PyArray_NDIM(<cnp.ndarray>x) + (table is not None)) if cnp.PyArray_CheckExact(x) else 0
        cdef int time = ndim == 3 and batch_first # its axis
        cdef cnp.npy_intp rows = self.num_layers * self.directions, first, second
        if not (self.is_input(x, ndim) if table is None else ndim == 2 or ndim == 3):
            return None
        first, second = cnp.PyArray_DIM(x, 0), cnp.PyArray_DIM(x, 1) if ndim == 3 else 1
        s.T, s.B = (second, first) if time else (first, second)
        if hx is not None and not self.is_state(hx, ndim, s.B):
            return None
        if out is None:
            out = fresh_steps(ndim, first, second, self.directions * self.width, self.typenum)
        elif not self.can_take(out, x, hx, ndim, first, second):
            return None
        h_0, c_0 = (None, None) if hx is None else <tuple>hx
        h_n = fresh_steps(ndim, rows, s.B, self.width, self.typenum)
        c_n = fresh_steps(ndim, rows, s.B, self.hidden_size, self.typenum)
        read_arrays(&s, x if ndim == 3 or table is None else x.reshape(-1, 1), out, time, h_0, c_0, h_n, c_n)
        self.read_rest(&s, None, None, None)
        self.go(&s, workers, None, table)
        return out, (h_n, c_n)

    cdef inline bint is_input(self, x, int ndim) noexcept:
        """[T, B, I], [B, T, I] or [T, I], as C can read it."""
        return ((ndim == 2 or ndim == 3) and cnp.PyArray_TYPE(<cnp.ndarray>x) == self.typenum
                and cnp.PyArray_DIM(<cnp.ndarray>x, ndim - 1) == self.input_size and rows_whole(<cnp.ndarray>x))

    cdef inline bint is_state(self, pair, int ndim, cnp.npy_intp B) noexcept:
        """A tuple of [L*D, B, R] and [L*D, B, H], or of [L*D, R] and [L*D, H]."""
        cdef cnp.npy_intp rows = self.num_layers * self.directions
        return (type(pair) is tuple and len(<tuple>pair) == 2
                and exact_steps((<tuple>pair)[0], self.typenum, ndim, rows, B, self.width)
                and exact_steps((<tuple>pair)[1], self.typenum, ndim, rows, B, self.hidden_size))

    cdef inline bint can_take(self, out, cnp.ndarray x, hx, int ndim, cnp.npy_intp first, cnp.npy_intp second) noexcept:
        """Is ``out`` exactly right, and beside what is read?"""
        return (exact_steps(out, self.typenum, ndim, first, second, self.directions * self.width)
                and cnp.PyArray_ISWRITEABLE(<cnp.ndarray>out)
                and cnp.PyArray_ISCARRAY_RO(x) and not overlap(x, <cnp.ndarray>out)
                and (hx is None or not (overlap((<tuple>hx)[0], <cnp.ndarray>out)
                                        or overlap((<tuple>hx)[1], <cnp.ndarray>out))))

    def run(self, cnp.ndarray x, cnp.ndarray y, h_0, c_0, cnp.ndarray h_n, cnp.ndarray c_n, lengths, resets,
            Workers workers, Tape tape=None):
        """Forward over x [T, B, I] into y [T, B, D*R], h_n, c_n.

        The last axis of x and y is contiguous; h_0, c_0 (or None), h_n, c_n and lengths (int64 [B] or None) are
        contiguous; resets is bool [T, B] or None.
        """
        cdef fl_sequence s
        must(cnp.PyArray_NDIM(x) == 3)
        s.T, s.B = cnp.PyArray_DIM(x, 0), cnp.PyArray_DIM(x, 1)
        must(rows_of(x, self.typenum, s.T, s.B, self.input_size)
             and rows_of(y, self.typenum, s.T, s.B, self.directions * self.width) and cnp.PyArray_ISWRITEABLE(y)
             and self.states(h_0, c_0, s.B) and self.states_room(h_n, c_n, s.B))
        read_arrays(&s, x, y, 0, h_0, c_0, h_n, c_n)
        self.read_rest(&s, lengths, resets, None)
        self.go(&s, workers, tape)

    def run_at(self, size_t T, size_t B, uintptr_t x, ptrdiff_t x_t, ptrdiff_t x_b, uintptr_t y, ptrdiff_t y_t,
               ptrdiff_t y_b, uintptr_t h_0, uintptr_t c_0, uintptr_t h_n, uintptr_t c_n, lengths, resets,
               Workers workers, Tape tape=None, starts=None, TableCore table=None):
        """As ``run``, for other libraries' memory: addresses, 0 for None, and strides in bytes.

        With ``starts`` int64 [T] both x and y are packed: step t's rows begin at row starts[t], the longest first. With
        a table x are int64 tokens.

        Wrapping six tensors as arrays would cost 3 us; this costs none.
        """
        cdef fl_sequence s
        s.T, s.B = T, B
        s.input, s.input_t, s.input_b = <void *>x, x_t, x_b
        s.output, s.output_t, s.output_b = <void *>y, y_t, y_b
        s.h_0, s.c_0, s.h_n, s.c_n = <void *>h_0, <void *>c_0, <void *>h_n, <void *>c_n
        must(table is None or (table.plan is self and tape is None))
        self.read_rest(&s, lengths, resets, starts)
        self.go(&s, workers, tape, table)

    cdef inline bint states(self, h, c, Py_ssize_t B) noexcept:
        """[L*D, B, R] and [L*D, B, H] to be read; either may be None."""
        cdef Py_ssize_t rows = self.num_layers * self.directions * B
        return (dense_or_none(h, self.typenum, rows * self.width)
                and dense_or_none(c, self.typenum, rows * self.hidden_size))

    cdef inline bint states_room(self, h, c, Py_ssize_t B) noexcept:
        """As ``states``, to be written to: both."""
        cdef Py_ssize_t rows = self.num_layers * self.directions * B
        return room(h, self.typenum, rows * self.width) and room(c, self.typenum, rows * self.hidden_size)

    cdef int read_rest(self, fl_sequence *s, lengths, resets, starts) except -1:
        """lengths [B], resets [T, B] and starts [T], each of them or None."""
        must((lengths is None or integers(lengths, s.B)) and (starts is None or integers(starts, s.T)))
        s.lengths, s.starts = <const int64_t *>address(lengths), <const int64_t *>address(starts)
        s.resets, s.resets_t, s.resets_b = NULL, 0, 0
        if resets is not None:
            must(cnp.PyArray_Check(resets) and cnp.PyArray_TYPE(<cnp.ndarray>resets) == cnp.NPY_BOOL
                 and cnp.PyArray_NDIM(<cnp.ndarray>resets) == 2
                 and cnp.PyArray_DIM(<cnp.ndarray>resets, 0) == <cnp.npy_intp>s.T
                 and cnp.PyArray_DIM(<cnp.ndarray>resets, 1) == <cnp.npy_intp>s.B)
            s.resets = <const uint8_t *>address(resets)
            s.resets_t, s.resets_b = cnp.PyArray_STRIDE(resets, 0), cnp.PyArray_STRIDE(resets, 1)
        return 0

    cdef int go(self, fl_sequence *s, Workers workers, Tape tape, TableCore table=None) except -1:
        cdef fl_status status = FL_ERROR_MEMORY
        cdef fl_table *known = NULL if table is None else table.table
        cdef fl_pool *pool = workers_of(workers)
        cdef size_t threads = threads_of(workers)
        cdef workspace *w
        cdef fl_tape *kept = NULL
        cdef listener l
        cdef fl_cancel cancel = heard_by(&l)
        if tape is not None:
            kept = tape.begin(self, s)
        with nogil:
            w = workspace_take(&self.memory.scratch, fl_workspace_size(self.plan, s.T, s.B, threads))
            if w is not NULL and kept is not NULL:
                status = fl_forward_train_until(s, kept, pool, w.data, &cancel)
            elif w is not NULL and known is not NULL:
                status = fl_forward_tokens(known, s, pool, w.data, &cancel)
            elif w is not NULL:
                status = fl_forward_until(self.plan, s, pool, w.data, &cancel)
            workspace_give(&self.memory.scratch, w, SCRATCH_KEPT)
        raise_for(status)
        if tape is not None:
            tape.tape = kept # full: a backward pass may have it
        return 0

    def run_trace(self, cnp.ndarray x, cnp.ndarray y, h_0, c_0, cnp.ndarray h_n, cnp.ndarray c_n, lengths, resets,
                  Workers workers, TableCore table, tuple kept, size_t every, units):
        """As ``run``, keeping i, f, g, o, c, cell, h, c_prev, h_prev of every ``every``-th step in ``kept``.

        Each of these is contiguous [L, D, S, B, K], those of h [L, D, S, B, P] with a projection, or None; units uintp
        [K] or None for all. With a table x are int64 tokens [T, B], which nobody else may write to.
        """
        cdef fl_sequence s
        cdef fl_trace trace
        cdef Py_ssize_t K, rows
        must(cnp.PyArray_NDIM(x) == (3 if table is None else 2) and every > 0 and len(kept) == 9)
        s.T, s.B = cnp.PyArray_DIM(x, 0), cnp.PyArray_DIM(x, 1)
        must((rows_of(x, self.typenum, s.T, s.B, self.input_size) if table is None
              else table.plan is self and cnp.PyTypeNum_ISSIGNED(cnp.PyArray_TYPE(x)) and cnp.PyArray_ITEMSIZE(x) == 8
              and cnp.PyArray_ISBEHAVED_RO(x))
             and rows_of(y, self.typenum, s.T, s.B, self.directions * self.width) and cnp.PyArray_ISWRITEABLE(y)
             and self.states(h_0, c_0, s.B) and self.states_room(h_n, c_n, s.B))
        must(units is None or (cnp.PyArray_Check(units) and cnp.PyArray_TYPE(<cnp.ndarray>units) == cnp.NPY_UINTP
                               and cnp.PyArray_ISCARRAY_RO(<cnp.ndarray>units)))
        trace.every, trace.units = every, <const size_t *>address(units)
        trace.n_units = 0 if units is None else cnp.PyArray_SIZE(<cnp.ndarray>units)
        K = self.hidden_size if units is None else trace.n_units
        rows = self.num_layers * self.directions * (s.T // every + (s.T % every != 0)) * s.B
        for j in range(9):
            must(room_or_none(kept[j], self.typenum, rows * (self.proj_size if self.proj_size and j in (6, 8) else K)))
        trace.i, trace.f, trace.g, trace.o = address(kept[0]), address(kept[1]), address(kept[2]), address(kept[3])
        trace.c, trace.cell, trace.h = address(kept[4]), address(kept[5]), address(kept[6])
        trace.c_prev, trace.h_prev = address(kept[7]), address(kept[8])
        read_arrays(&s, x, y, 0, h_0, c_0, h_n, c_n)
        self.read_rest(&s, lengths, resets, None)
        self.go_traced(&s, &trace, workers, table)

    cdef int go_traced(self, fl_sequence *s, fl_trace *trace, Workers workers, TableCore table) except -1:
        cdef fl_status status = FL_ERROR_MEMORY
        cdef fl_table *known = NULL if table is None else table.table
        cdef fl_pool *pool = workers_of(workers)
        cdef size_t threads = threads_of(workers)
        cdef workspace *w
        cdef listener l
        cdef fl_cancel cancel = heard_by(&l)
        with nogil:
            w = workspace_take(&self.memory.scratch, fl_trace_workspace(self.plan, s.T, s.B, threads))
            if w is not NULL:
                status = fl_forward_trace(self.plan, s, trace, known, pool, w.data, &cancel)
            workspace_give(&self.memory.scratch, w, SCRATCH_KEPT)
        return raise_for(status)

    # ---- a step of one layer

    cdef inline int cell(self, size_t rows, const void *x, const void *h, const void *c, void *h_next,
                         void *c_next) except -1:
        cdef size_t done = 0, some, piece, row
        cdef listener l
        cdef workspace *w = workspace_take(&self.memory.scratch, fl_cell_size(self.plan, rows))
        if w is NULL:
            raise MemoryError()
        if self.bytes * rows < NOGIL_BYTES:
            fl_cell(self.plan, rows, x, h, c, h_next, c_next, w.data)
            done = rows
        else:
            heard_by(&l)
            piece = piece_of(self.bytes)
            row = self.hidden_size * self.item
            with nogil:
                while done < rows and not (rows > piece and listen(&l)):
                    some = min(rows - done, piece)
                    fl_cell(self.plan, some, beyond(x, done * self.input_size * self.item), beyond(h, done * row),
                            beyond(c, done * row), beyond(h_next, done * row), beyond(c_next, done * row), w.data)
                    done += some
        workspace_give(&self.memory.scratch, w, SCRATCH_KEPT)
        return 0 if done == rows else raise_for(FL_ERROR_CANCELLED)

    # ---- a step from weights that are not packed

    @property
    def fits_unpacked(self):
        """Can a step be taken by ``run_unpacked_at``?"""
        return fl_unpacked_fits(self.plan)

    def run_unpacked_at(self, list weights, size_t B, uintptr_t x, ptrdiff_t x_b, uintptr_t h_0, uintptr_t c_0,
                        uintptr_t h_n, uintptr_t c_n, Workers workers):
        """One step of all layers from weights that are not packed, between addresses; h_0 and c_0 0 for zeros.

        ``weights`` are those of each layer, (ih, hh, bias_ih, bias_hh), 0 for no bias: contiguous.
        """
        cdef fl_unpacked step
        cdef Py_ssize_t j
        cdef uintptr_t ih, hh, bias_ih, bias_hh
        cdef fl_weights *w
        must(len(weights) == self.num_layers)
        w = <fl_weights *>calloc(len(weights), sizeof(fl_weights))
        if w is NULL:
            raise MemoryError()
        try:
            for j in range(len(weights)):
                ih, hh, bias_ih, bias_hh = weights[j]
                w[j].weight_ih, w[j].weight_hh = <void *>ih, <void *>hh
                w[j].bias_ih, w[j].bias_hh = <void *>bias_ih, <void *>bias_hh
            step.weights, step.B = w, B
            step.x, step.x_b = <void *>x, x_b
            step.h_0, step.c_0, step.h_n, step.c_n = <void *>h_0, <void *>c_0, <void *>h_n, <void *>c_n
            self.unpacked(&step, workers)
        finally:
            free(w)

    cdef inline int unpacked(self, fl_unpacked *step, Workers workers) except -1:
        cdef fl_pool *pool = workers_of(workers)
        cdef size_t threads = threads_of(workers)
        cdef workspace *w
        must(fl_unpacked_fits(self.plan))
        with nogil:
            w = workspace_take(&self.memory.scratch, fl_unpacked_size(self.plan, step.B, threads))
            if w is not NULL:
                fl_unpacked_step(self.plan, step, pool, w.data)
                workspace_give(&self.memory.scratch, w, SCRATCH_KEPT)
        if w is NULL:
            raise MemoryError()
        return 0
