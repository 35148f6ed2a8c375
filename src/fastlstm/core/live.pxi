# Step by step: the fast paths. An array that is exactly right goes straight to C, any other to Python, which explains
# or converts. The cell answers None. A stream, pool or window is given a function for it when it is made, which is all
# that it knows of what is above: to answer None to a method of Python's takes 70 ns, a third of the smallest step.

@cython.final
cdef class CellCore:
    """The fast path of ``LSTMCell``."""

    cdef Plan plan

    def __cinit__(self, Plan plan not None):
        if plan.num_layers != 1 or plan.directions != 1 or plan.proj_size:
            raise ValueError("a cell is one layer in one direction without projection")
        self.plan = plan

    cdef inline bint is_state(self, pair, int ndim, cnp.npy_intp rows):
        """Two arrays exactly right, to be read."""
        return (type(pair) is tuple and len(<tuple>pair) == 2
                and exact((<tuple>pair)[0], self.plan.typenum, ndim, rows, self.plan.hidden_size)
                and exact((<tuple>pair)[1], self.plan.typenum, ndim, rows, self.plan.hidden_size))

    def step(self, x, hx, out):
        """(h', c'), or None where the arrays are not exactly right."""
        cdef Plan plan = self.plan
        cdef int ndim = cnp.PyArray_NDIM(<cnp.ndarray>x) if cnp.PyArray_CheckExact(x) else 0
        cdef cnp.npy_intp rows
        if ndim != 1 and ndim != 2:
            return None
        rows = cnp.PyArray_DIM(<cnp.ndarray>x, 0) if ndim == 2 else 1
        if not exact(x, plan.typenum, ndim, rows, plan.input_size):
            return None
        h = c = None
        if hx is not None:
            if not self.is_state(hx, ndim, rows):
                return None
            h, c = <tuple>hx
        if out is None:
            h_next = fresh(ndim, rows, plan.hidden_size, plan.typenum)
            c_next = fresh(ndim, rows, plan.hidden_size, plan.typenum)
            out = (h_next, c_next)
        else:
            if not self.is_state(out, ndim, rows):
                return None
            h_next, c_next = <tuple>out
            if not takes_state(h_next, c_next, x, h, c):
                return None
        plan.cell(rows, address(x), address(h), address(c), address(h_next), address(c_next))
        return out


cdef inline bint takes_state(cnp.ndarray h_next, cnp.ndarray c_next, cnp.ndarray x, h, c) noexcept:
    """May they be written to? c' may be the very array c; nothing else may overlap."""
    if not cnp.PyArray_ISWRITEABLE(h_next) or not cnp.PyArray_ISWRITEABLE(c_next):
        return False
    if overlap(x, h_next) or overlap(x, c_next) or overlap(h_next, c_next):
        return False
    return h is None or not (overlap(h, h_next) or overlap(h, c_next) or overlap(c, h_next)
                             or (c is not c_next and overlap(c, c_next)))


cdef class StreamCore:
    """The fast path of ``Stream``: state and scratch in one block."""

    cdef Plan plan
    cdef fl_stream *stream
    cdef workspace *memory
    cdef object explain # (self, x, out)
    cdef TableCore table # whose tokens x are, or None
    cdef single_user user
    cdef Py_ssize_t _batch_size
    cdef size_t in_bytes, out_bytes # of a step
    cdef bint brief # a step is over before the GIL would have been released
    cdef bint long  # a step takes so long that it has to hear signals

    @property
    def batch_size(self):
        """B: how many sequences advance together."""
        return self._batch_size

    def __cinit__(self, Plan plan not None, Py_ssize_t batch_size, explain, TableCore table=None):
        cdef size_t bytes = <size_t>(-1)
        if plan.directions != 1 or batch_size < 1:
            raise ValueError("a stream needs a unidirectional layer and a batch_size of at least 1")
        must(table is None or table.plan is plan)
        if batch_size <= PY_SSIZE_T_MAX // 8 // max(plan.input_size, plan.hidden_size):
            bytes = fl_stream_size(plan.plan, batch_size)
        self.memory = block(bytes, f"a stream of batch_size {batch_size}")
        self.plan = plan
        self.table = table
        self.explain = explain
        self._batch_size = batch_size
        self.in_bytes = batch_size * plan.input_size * plan.item
        self.out_bytes = batch_size * plan.width * plan.item
        self.brief = plan.bytes * batch_size < NOGIL_BYTES
        self.long = plan.bytes * batch_size > PIECE_BYTES
        self.stream = fl_stream_init(plan.plan, batch_size, self.memory.data)

    def __dealloc__(self):
        free(self.memory)

    def step(self, x, out=None):
        """One step of every row.

        Parameters
        ----------
        x : array [I], or [B, I]
            The next input of every row, of the layer's dtype. Of a stream with a table: an integer, or integers [B].
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
        cdef Plan plan = self.plan
        cdef Py_ssize_t B = self._batch_size
        cdef int ndim = cnp.PyArray_NDIM(<cnp.ndarray>x) if cnp.PyArray_CheckExact(x) else 0
        if self.table is not None:
            return self.step_tokens(x, out)
        if (ndim != 2 and (ndim != 1 or B != 1)) or not exact(x, plan.typenum, ndim, B, plan.input_size):
            return self.explain(self, x, out)
        if out is None:
            out = fresh(ndim, B, plan.width, plan.typenum)
        elif (not exact(out, plan.typenum, ndim, B, plan.width) or not cnp.PyArray_ISWRITEABLE(<cnp.ndarray>out)
              or meet(address(x), self.in_bytes, address(out), self.out_bytes)):
            return self.explain(self, x, out)
        self.run(address(x), address(out))
        return out

    cdef step_tokens(self, x, out):
        """``step``, from tokens."""
        cdef Plan plan = self.plan
        cdef Py_ssize_t B = self._batch_size
        cdef int64_t token
        cdef const int64_t *tokens = &token
        cdef cnp.ndarray own
        cdef int ndim = 1
        if not read_token(x, &token):
            own = own_tokens(x, B)
            if own is None:
                return self.explain(self, x, out)
            ndim, tokens = 2, <const int64_t *>address(own)
        elif B != 1:
            return self.explain(self, x, out)
        if not self.table.has(tokens, B):
            return self.explain(self, x, out)
        if out is None:
            out = fresh(ndim, B, plan.width, plan.typenum)
        elif not exact(out, plan.typenum, ndim, B, plan.width) or not cnp.PyArray_ISWRITEABLE(<cnp.ndarray>out):
            return self.explain(self, x, out)
        self.run(tokens, address(out))
        return out

    def advance(self):
        """Do what the next `step` does not need its input for, about half of it, in the time between two inputs.

        That is U h of every layer; `step` then does the rest. Optional: the bits are the same without, and a second
        call has nothing left to do. A new state, `reset`, `restore` and `feed` drop what was done; a `step` that fails
        keeps it.

        Raises
        ------
        RuntimeError
            When another thread is inside this stream.
        """
        self.run(NULL, NULL)

    cdef inline int run(self, const void *x, void *y) except -1:
        """A step from x, or without one what can be done before it."""
        enter(&self.user, self.brief, "stream")
        if not self.brief:
            return self.run_without_gil(x, y)
        if x is NULL:
            fl_stream_advance(self.stream)
        elif self.table is None:
            fl_stream_step(self.stream, x, y)
        else:
            fl_stream_step_tokens(self.stream, self.table.table, <const int64_t *>x, y, NULL)
        single_user_leave(&self.user, self.brief)
        return 0

    cdef int run_without_gil(self, const void *x, void *y) except -1:
        cdef fl_status status
        cdef listener l
        cdef fl_cancel heard = heard_by(&l)
        cdef fl_cancel *cancel = &heard if self.long else NULL
        cdef fl_table *table = NULL if self.table is None else self.table.table
        with nogil:
            if x is NULL:
                status = fl_stream_advance_until(self.stream, cancel)
            elif table is NULL:
                status = fl_stream_step_until(self.stream, x, y, cancel)
            else:
                status = fl_stream_step_tokens(self.stream, table, <const int64_t *>x, y, cancel)
        single_user_leave(&self.user, False)
        return raise_for(status)

    def _run_step(self, cnp.ndarray x, cnp.ndarray y):
        """x [B, I], or with a table tokens [B] of nobody else's, into y [B, R], contiguous."""
        cdef Py_ssize_t B = self._batch_size
        if self.table is not None:
            must(integers(x, B) and self.table.has(<const int64_t *>address(x), B)
                 and room(y, self.plan.typenum, B * self.plan.width))
        else:
            must(dense(x, self.plan.typenum, B * self.plan.input_size)
                 and room(y, self.plan.typenum, B * self.plan.width))
        self.run(address(x), address(y))

    def _run_feed(self, cnp.ndarray x, cnp.ndarray y):
        """The whole of x [T, B, I], or with a table of tokens [T, B] of nobody else's, into y [T, B, R]."""
        self.feed(x, y)

    cdef int feed(self, cnp.ndarray x, cnp.ndarray y) except -1:
        cdef Plan plan = self.plan
        cdef Py_ssize_t rows = plan.num_layers * self._batch_size
        cdef cnp.ndarray h_0 = fresh(2, rows, plan.width, plan.typenum)
        cdef cnp.ndarray c_0 = fresh(2, rows, plan.hidden_size, plan.typenum)
        cdef cnp.ndarray h_n = fresh(2, rows, plan.width, plan.typenum)
        cdef cnp.ndarray c_n = fresh(2, rows, plan.hidden_size, plan.typenum)
        must(cnp.PyArray_NDIM(x) == (3 if self.table is None else 2) and cnp.PyArray_DIM(x, 1) == self._batch_size)
        enter(&self.user, False, "stream")
        try:
            fl_stream_get(self.stream, address(h_0), address(c_0))
            if self.table is None:
                plan.run(x, y, h_0, c_0, h_n, c_n, None, None, None)
            else:
                self.table.run(x, y, h_0, c_0, h_n, c_n, None, None, None)
            fl_stream_set(self.stream, address(h_n), address(c_n))
        finally:
            single_user_leave(&self.user, False)

    def _run_through(self, run):
        """Take the state from (h, c) to ``run(h, c)``, of [L, B, R] and [L, B, H]; with an error it stays."""
        cdef Plan plan = self.plan
        cdef Py_ssize_t rows = plan.num_layers * self._batch_size
        h = fresh_steps(3, plan.num_layers, self._batch_size, plan.width, plan.typenum)
        c = fresh_steps(3, plan.num_layers, self._batch_size, plan.hidden_size, plan.typenum)
        enter(&self.user, False, "stream")
        try:
            fl_stream_get(self.stream, address(h), address(c))
            h, c = run(h, c)
            must(dense(h, plan.typenum, rows * plan.width) and dense(c, plan.typenum, rows * plan.hidden_size))
            fl_stream_set(self.stream, address(h), address(c))
        finally:
            single_user_leave(&self.user, False)

    def _repeat(self, cnp.ndarray x, cnp.ndarray y, Py_ssize_t n):
        """`n` steps on the same checked input: what a step costs without Python, for benchmarks."""
        cdef Plan plan = self.plan
        cdef Py_ssize_t j
        cdef void *from_ = cnp.PyArray_DATA(x)
        cdef void *to = cnp.PyArray_DATA(y)
        must(self.table is None and dense(x, plan.typenum, self._batch_size * plan.input_size)
             and room(y, plan.typenum, self._batch_size * plan.width))
        enter(&self.user, False, "stream")
        with nogil:
            for j in range(n):
                fl_stream_step(self.stream, from_, to)
        single_user_leave(&self.user, False)

    def _run_get(self, cnp.ndarray h, cnp.ndarray c):
        """State out: h [L, B, R], c [L, B, H], contiguous."""
        must(self.plan.states_room(h, c, self._batch_size))
        enter(&self.user, False, "stream")
        fl_stream_get(self.stream, address(h), address(c))
        single_user_leave(&self.user, False)

    def _run_set(self, h, c):
        """State in, or zeros for None."""
        must(self.plan.states(h, c, self._batch_size))
        enter(&self.user, False, "stream")
        fl_stream_set(self.stream, address(h), address(c))
        single_user_leave(&self.user, False)


cdef class WindowCore:
    """The fast path of ``SlidingWindow``."""

    cdef Plan plan
    cdef fl_window *window
    cdef workspace *memory
    cdef Workers workers
    cdef object explain # (self, x, out)
    cdef TableCore table # whose tokens x are, or None
    cdef single_user user
    cdef size_t _length
    cdef bint long # it may take so long that it has to hear signals

    @property
    def length(self):
        """Inputs in a window."""
        return self._length

    @property
    def count(self):
        """Inputs so far."""
        return fl_window_count(self.window)

    def __cinit__(self, Plan plan not None, size_t length, Workers workers, explain, TableCore table=None):
        if length < 1:
            raise ValueError("a window needs a length of at least 1")
        must(table is None or table.plan is plan)
        self.memory = block(fl_window_size(plan.plan, length, threads_of(workers)), f"a window of length {length}")
        self.window = fl_window_init(plan.plan, length, threads_of(workers), self.memory.data)
        self.plan = plan
        self.workers = workers
        self.explain = explain
        self.table = table
        self._length = length
        self.long = length > PIECE_BYTES // max(plan.bytes, 1)

    def __dealloc__(self):
        free(self.memory)

    def push(self, x, out=None):
        """Take the next input and answer for the window that ends with it.

        Parameters
        ----------
        x : array [I]
            Of the layer's dtype. Of a window with a table: an integer.
        out : array [R], optional
            Where to write the answer: contiguous, not overlapping `x`.

        Returns
        -------
        array [R]
            The last layer's output after the last `length` inputs, fewer at the start; `out` if it was given.

        Raises
        ------
        ValueError
            For a wrong shape, or an invalid `out`. The window stays as it is.
        TypeError
            For a wrong dtype. The window stays as it is.
        RuntimeError
            When another thread is inside this window.
        """
        cdef Plan plan = self.plan
        cdef int64_t token
        if self.table is not None:
            if not read_token(x, &token) or not self.table.has(&token, 1):
                return self.explain(self, x, out)
        elif not exact(x, plan.typenum, 1, 1, plan.input_size):
            return self.explain(self, x, out)
        if out is None:
            out = fresh(1, 1, plan.width, plan.typenum)
        elif not exact(out, plan.typenum, 1, 1, plan.width) or not cnp.PyArray_ISWRITEABLE(<cnp.ndarray>out):
            return self.explain(self, x, out)
        elif self.table is None and overlap(x, out):
            return self.explain(self, x, out)
        self.run(address(x) if self.table is None else &token, address(out))
        return out

    def _run_push(self, cnp.ndarray x, cnp.ndarray y):
        """x [I], or with a table one token of nobody else's, into y [R], contiguous."""
        must(integers(x, 1) and self.table.has(<const int64_t *>address(x), 1)
             and room(y, self.plan.typenum, self.plan.width) if self.table is not None else
             dense(x, self.plan.typenum, self.plan.input_size) and room(y, self.plan.typenum, self.plan.width))
        self.run(address(x), address(y))

    def advance(self):
        """Do what `push` has left, and what the next one does not need its input for, in the time between two inputs.

        `push` answers as soon as the window that ends is done, one step; the others wait until the next `push` or until
        this is called. Then the window that ends next is advanced, as `Stream.advance` does. Optional: the bits are the
        same without.

        Raises
        ------
        RuntimeError
            When another thread is inside this window.
        """
        self.run(NULL, NULL)

    cdef int run(self, const void *x, void *y) except -1:
        """Push x, of the table a token if there is one; or without x advance."""
        cdef fl_pool *pool = workers_of(self.workers)
        cdef fl_status status
        cdef listener l
        cdef fl_cancel heard = heard_by(&l)
        cdef fl_cancel *cancel = &heard if self.long else NULL
        cdef fl_table *table = NULL if self.table is None else self.table.table
        enter(&self.user, False, "window")
        with nogil:
            if x is NULL:
                status = fl_window_advance_until(self.window, pool, cancel)
            elif table is not NULL:
                status = fl_window_push_token(self.window, table, (<const int64_t *>x)[0], y, pool, cancel)
            else:
                status = fl_window_push_until(self.window, x, y, pool, cancel)
        single_user_leave(&self.user, False)
        return raise_for(status)

    def reset(self):
        """Forget all inputs.

        Raises
        ------
        RuntimeError
            When another thread is inside this window.
        """
        enter(&self.user, False, "window")
        fl_window_reset(self.window)
        single_user_leave(&self.user, False)
