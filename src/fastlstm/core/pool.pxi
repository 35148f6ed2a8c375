# Sessions that advance in any company, and sliding windows: the fast paths.

cdef enum:
    CLOSED, OPEN, BUSY # of a session
    PATIENCE = 100000  # tenths of a millisecond, at least, that a step waits while the pool is held

@cython.final
cdef class Sessions:
    """States of many sequences in one block of memory; freed with this."""

    cdef Plan plan
    cdef fl_sessions *sessions
    cdef workspace *memory
    cdef readonly size_t capacity

    def __cinit__(self, Plan plan not None, size_t capacity):
        if plan.directions != 1:
            raise ValueError("sessions need a unidirectional layer")
        self.memory = block(fl_sessions_size(plan.plan, capacity), f"a capacity of {capacity} sessions")
        self.plan = plan
        self.capacity = capacity
        self.sessions = fl_sessions_init(plan.plan, capacity, self.memory.data)

    def __dealloc__(self):
        free(self.memory)


cdef class PoolCore:
    """Who is open, who is busy; ids become slots here. An id is a slot + 1, above 32 bits how often it was closed."""

    cdef Plan plan
    cdef Sessions states
    cdef Workers workers
    cdef uint32_t *closed # [capacity]: how often
    cdef uint8_t *status  # [capacity]
    cdef size_t _capacity, _used
    cdef size_t held      # by how many: new steps wait

    @property
    def capacity(self):
        """How many sessions there is room for; `grow` makes more."""
        return self._capacity

    @property
    def used(self):
        """How many sessions are open."""
        return self._used

    def __cinit__(self, Plan plan not None, size_t capacity, Workers workers, *args, **kwargs):
        if capacity < 1:
            raise ValueError("a pool needs a capacity of at least 1")
        self.plan = plan
        self.workers = workers
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
        if capacity <= self._capacity:
            return
        states = Sessions(self.plan, capacity) # first: a new object may run the collector, and that code of the user's
        with cython.critical_section(self):
            if capacity <= self._capacity:
                return
            for k in range(self._capacity):
                if self.status[k] == BUSY:
                    raise RuntimeError("the pool cannot grow while another thread is in a step")
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
        cdef size_t n = cnp.PyArray_SIZE(ids)
        must(integers(ids, n) and dense(x, self.plan.typenum, n * self.plan.input_size)
             and room(y, self.plan.typenum, n * self.plan.width))
        self.advance(n, <int64_t *>address(ids), <char *>address(x), <char *>address(y))

    cdef int advance(self, size_t n, const int64_t *ids, const char *x, char *y) except -1:
        cdef size_t head = (n * sizeof(size_t) + 63) & ~<size_t>63
        cdef size_t bytes = fl_sessions_workspace(self.plan.plan, n, threads_of(self.workers))
        cdef workspace *w
        cdef Sessions states
        if bytes > WORKSPACE_MOST - head:
            raise OverflowError("too many sessions in a step")
        if self.held:
            self.wait()
        w = workspace_take(&self.plan.memory.scratch, head + bytes)
        if w is NULL:
            raise MemoryError(f"a step of {n} sessions takes {head + bytes} bytes")
        try:
            with cython.critical_section(self):
                self.take(ids, n, <size_t *>w.data)
                states = self.states
            try:
                self.compute(states, n, <size_t *>w.data, x, y, w.data + head)
            finally:
                with cython.critical_section(self):
                    self.give(n, <size_t *>w.data)
        finally:
            workspace_give(&self.plan.memory.scratch, w, SCRATCH_KEPT)

    cdef int compute(self, Sessions states, size_t n, const size_t *slots, const char *x, char *y,
                     char *scratch) except -1:
        cdef ptrdiff_t row = self.plan.input_size * self.plan.item
        cdef fl_pool *pool = workers_of(self.workers)
        if self.plan.bytes * n < NOGIL_BYTES:
            fl_sessions_step(states.sessions, n, slots, x, row, y, pool, scratch)
        elif self.plan.bytes * n <= PIECE_BYTES * threads_of(self.workers):
            with nogil:
                fl_sessions_step(states.sessions, n, slots, x, row, y, pool, scratch)
        else:
            self.long_step(states, n, slots, x, y, scratch)
        return 0

    cdef int long_step(self, Sessions states, size_t n, const size_t *slots, const char *x, char *y,
                       char *scratch) except -1:
        """One that can be interrupted: some sessions at a time, and all of them back to where they were."""
        cdef Plan plan = self.plan
        cdef size_t in_row = plan.input_size * plan.item, out_row = plan.width * plan.item, done = 0, some, k
        cdef size_t piece = max(piece_of(plan.bytes), 16) * threads_of(self.workers)
        cdef size_t h = plan.num_layers * out_row, c = plan.num_layers * plan.hidden_size * plan.item
        cdef fl_pool *pool = workers_of(self.workers)
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
                fl_sessions_step(states.sessions, some, slots + done, x + done * in_row, in_row, y + done * out_row,
                                 pool, scratch)
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
            For ids that are unknown or closed, for wrong shapes, or an invalid `out`. Nothing changes then.
        TypeError
            For wrong dtypes.
        RuntimeError
            For an id that is given twice or is in another thread's step at the moment. Nothing changes then.
        """
        cdef Plan plan = self.plan
        cdef cnp.npy_intp n
        if not (cnp.PyArray_CheckExact(ids) and cnp.PyArray_NDIM(<cnp.ndarray>ids) == 1):
            return self._checked(ids, x, out)
        n = cnp.PyArray_DIM(<cnp.ndarray>ids, 0)
        if not exact(ids, cnp.NPY_INT64, 1, 1, n) or not exact(x, plan.typenum, 2, n, plan.input_size):
            return self._checked(ids, x, out)
        if out is None:
            out = fresh(2, n, plan.width, plan.typenum)
        elif not exact_out(out, plan.typenum, 2, n, plan.width, x):
            return self._checked(ids, x, out)
        self.advance(n, <int64_t *>address(ids), <char *>address(x), <char *>address(out))
        return out

    def _run_get(self, cnp.ndarray ids, cnp.ndarray h, cnp.ndarray c):
        """States of sessions into h [n, L, R], c [n, L, H], contiguous."""
        cdef size_t j, n = cnp.PyArray_SIZE(ids)
        must(integers(ids, n) and self.plan.states_room(h, c, n))
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
        must(integers(ids, n) and self.plan.states(h, c, n))
        cdef size_t *slots = <size_t *>malloc((n + 1) * sizeof(size_t))
        cdef cnp.npy_intp h_row = cnp.PyArray_STRIDE(<cnp.ndarray>h, 0) if h is not None else 0
        cdef cnp.npy_intp c_row = cnp.PyArray_STRIDE(<cnp.ndarray>c, 0) if c is not None else 0
        if slots is NULL:
            raise MemoryError()
        try:
            with cython.critical_section(self):
                self.take(<int64_t *>cnp.PyArray_DATA(ids), n, slots)
                for j in range(n):
                    fl_sessions_set(self.states.sessions, slots[j], beyond(address(h), j * h_row),
                                    beyond(address(c), j * c_row))
                self.give(n, slots)
        finally:
            free(slots)


cdef class WindowCore:
    """Windows side by side, one started at every input: slot k is the one that started at time k mod length."""

    cdef Plan plan
    cdef Sessions states
    cdef Workers workers
    cdef workspace *memory # of all below
    cdef char *scratch
    cdef char *last        # [I]: the input that the waiting windows have not seen
    cdef char *ignored     # [length, R]: outputs of windows that are not at their end
    cdef size_t *waiting   # [length]
    cdef size_t n          # of them
    cdef single_user user
    cdef size_t _length, _count

    @property
    def length(self):
        """Inputs in a window."""
        return self._length

    @property
    def count(self):
        """Inputs so far."""
        return self._count

    def __cinit__(self, Plan plan not None, size_t length, Workers workers, *args, **kwargs):
        cdef size_t bytes = <size_t>(-1), scratch, row = plan.width * plan.item
        if length < 1:
            raise ValueError("a window needs a length of at least 1")
        scratch = max(fl_sessions_workspace(plan.plan, length, threads_of(workers)),
                      fl_sessions_workspace(plan.plan, 1, 1))
        if scratch <= <size_t>(-1) // 4 and length <= <size_t>(-1) // 32 // max(plan.width, 8):
            bytes = scratch + length * (sizeof(size_t) + row) + plan.input_size * plan.item
        self.memory = block(bytes, f"a window of length {length}")
        self.plan = plan
        self.workers = workers
        self._length = length
        self.states = Sessions(plan, length)
        self.scratch = self.memory.data
        self.waiting = <size_t *>(self.scratch + scratch)
        self.last = self.scratch + scratch + length * sizeof(size_t)
        self.ignored = self.last + plan.input_size * plan.item

    def __dealloc__(self):
        free(self.memory)

    cdef bint settle(self) noexcept nogil:
        """Bring the waiting windows up to date, some at a time; False if a signal has come first."""
        cdef listener l
        cdef size_t some, piece = max(piece_of(self.plan.bytes), 16)
        heard_by(&l)
        while self.n and not (self._length > piece and listen(&l)):
            some = min(self.n, piece)
            fl_sessions_step(self.states.sessions, some, self.waiting + (self.n - some), self.last, 0, self.ignored,
                             workers_of(self.workers), self.scratch)
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
            For a wrong shape, or an invalid `out`. The window stays as it is.
        TypeError
            For a wrong dtype. The window stays as it is.
        RuntimeError
            When another thread is inside this window.
        """
        cdef Plan plan = self.plan
        if not exact(x, plan.typenum, 1, 1, plan.input_size):
            return self._checked(x, out)
        if out is None:
            out = fresh(1, 1, plan.width, plan.typenum)
        elif not exact_out(out, plan.typenum, 1, 1, plan.width, x):
            return self._checked(x, out)
        self.take(<char *>address(x), <char *>address(out))
        return out

    def _run_push(self, cnp.ndarray x, cnp.ndarray y):
        """x [I] into y [R], contiguous."""
        must(dense(x, self.plan.typenum, self.plan.input_size) and room(y, self.plan.typenum, self.plan.width))
        self.take(<char *>address(x), <char *>address(y))

    cdef int take(self, const char *x, char *y) except -1:
        cdef size_t t, first, k, slot
        cdef bint settled
        enter(&self.user, False, "window")
        with nogil:
            settled = self.settle()
            if settled:
                t = self._count
                first = t - (self._length - 1) if t >= self._length - 1 else 0
                fl_sessions_set(self.states.sessions, t % self._length, NULL, NULL)
                slot = first % self._length
                fl_sessions_step(self.states.sessions, 1, &slot, x, 0, y, NULL, self.scratch)
                memcpy(self.last, x, self.plan.input_size * self.plan.item)
                for k in range(first + 1, t + 1):
                    self.waiting[self.n] = k % self._length
                    self.n += 1
                self._count = t + 1
        single_user_leave(&self.user, False)
        return 0 if settled else raise_for(FL_ERROR_CANCELLED)

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
        enter(&self.user, False, "window")
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
        enter(&self.user, False, "window")
        self.n = self._count = 0
        single_user_leave(&self.user, False)
