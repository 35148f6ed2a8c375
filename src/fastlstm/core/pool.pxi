# Sessions that advance in any company. C has ids, states and steps; here are locks, waiting, and what errors say.

@cython.final
cdef class Sessions:
    """Ids and states of many sequences; freed with this."""

    cdef Plan plan
    cdef fl_session_ids *ids
    cdef fl_sessions *states
    cdef workspace *ids_memory
    cdef workspace *memory
    cdef workspace *advances # NULL until somebody advances
    cdef readonly size_t capacity

    def __cinit__(self, Plan plan not None, size_t capacity):
        if plan.directions != 1:
            raise ValueError("sessions need a unidirectional layer")
        self.ids_memory = block(fl_session_ids_size(capacity), f"a capacity of {capacity} sessions")
        self.memory = block(fl_sessions_size(plan.plan, capacity), f"a capacity of {capacity} sessions")
        self.plan = plan
        self.capacity = capacity
        self.ids = fl_session_ids_init(capacity, self.ids_memory.data)
        self.states = fl_sessions_init(plan.plan, capacity, self.memory.data)

    def __dealloc__(self):
        free(self.ids_memory)
        free(self.memory)
        free(self.advances)

    cdef fl_status allow_advances(self) noexcept:
        """Memory for them, if there is none; under the lock of the pool."""
        if self.advances is NULL:
            self.advances = workspace_new(fl_sessions_advance_size(self.plan.plan, self.capacity))
            if self.advances is NULL:
                return FL_ERROR_MEMORY
            fl_sessions_advance_init(self.states, self.advances.data)
        return FL_OK


cdef int refuse_session(fl_status status, int64_t id) except -1:
    """Why a session cannot be had."""
    if status == FL_ERROR_TWICE:
        raise RuntimeError(f"session {id} is given twice")
    if status == FL_ERROR_TAKEN:
        raise RuntimeError(f"session {id} is in a step of another thread")
    if status == FL_ERROR_CLOSED:
        raise ValueError(f"session {id} has been closed")
    raise ValueError(f"session {id} has never been opened in this pool")


cdef inline fl_status step_batch(fl_sessions *states, const fl_table *table, const fl_batch *batch, fl_pool *pool,
                                 void *scratch, const fl_cancel *cancel) noexcept nogil:
    """x are tokens of the table, if there is one; NULL: what can be done before a step."""
    if batch.x is NULL:
        return fl_sessions_advance_until(states, batch.n, batch.slots, pool, scratch, cancel)
    if table is NULL:
        return fl_sessions_step_until(states, batch, pool, scratch, cancel)
    return fl_sessions_step_tokens(states, table, batch, pool, scratch, cancel)


cdef class PoolCore:
    """The lock that ids need, and the fast path of ``StreamPool``."""

    cdef Plan plan
    cdef Sessions sessions
    cdef Workers workers
    cdef object explain # (self, ids, x, out): see live.pxi
    cdef TableCore table # whose tokens x are, or None
    cdef size_t held    # by how many: new steps wait
    cdef double until   # but no longer than this, of time.monotonic

    @property
    def capacity(self):
        """How many sessions there is room for; `grow` makes more."""
        with cython.critical_section(self):
            return self.sessions.capacity

    @property
    def used(self):
        """How many sessions are open."""
        with cython.critical_section(self):
            return fl_session_ids_used(self.sessions.ids)

    def __cinit__(self, Plan plan not None, size_t capacity, Workers workers, explain, TableCore table=None):
        if capacity < 1:
            raise ValueError("a pool needs a capacity of at least 1")
        must(table is None or table.plan is plan)
        self.table = table
        self.plan = plan
        self.workers = workers
        self.explain = explain
        self.sessions = Sessions(plan, capacity)

    def _run_grow(self, size_t capacity):
        """Room for more; a capacity below the present one changes nothing."""
        cdef fl_status status = FL_OK
        cdef Sessions more, fewer
        if capacity <= self.capacity:
            return
        more = Sessions(self.plan, capacity) # first: a new object may run the collector, and that code of the user's
        with cython.critical_section(self):
            fewer = self.sessions # to be freed outside
            if capacity > fewer.capacity:
                status = fl_session_ids_move(more.ids, fewer.ids)
                if status == FL_OK and fewer.advances is not NULL:
                    status = more.allow_advances()
                if status == FL_OK:
                    fl_sessions_move(more.states, fewer.states)
                    self.sessions = more
        if status == FL_ERROR_TAKEN:
            raise RuntimeError("the pool cannot grow while another thread is in a step")
        if status != FL_OK:
            raise MemoryError(f"what a capacity of {capacity} sessions needs to be advanced does not fit in memory")

    def _run_open(self):
        """A new id, or -1 when all slots are taken."""
        cdef int64_t id = -1
        cdef size_t slot
        with cython.critical_section(self):
            if fl_session_ids_open(self.sessions.ids, &id, &slot) == FL_OK:
                fl_sessions_set(self.sessions.states, slot, NULL, NULL)
        return id

    def ids(self):
        """Those of all open sessions, in the order of their slots."""
        cdef size_t k, n
        cdef int64_t *found
        with cython.critical_section(self): # nothing in it makes an object
            n = fl_session_ids_used(self.sessions.ids)
            found = <int64_t *>malloc((n + 1) * sizeof(int64_t))
            if found is not NULL:
                fl_session_ids_list(self.sessions.ids, found)
        if found is NULL:
            raise MemoryError()
        try:
            return [found[k] for k in range(n)]
        finally:
            free(found)

    def _run_hold(self, double until):
        """New steps wait for ``_run_release``, or for that time: so that those under way come to an end."""
        with cython.critical_section(self):
            self.held += 1
            self.until = max(self.until, until)

    def _run_release(self):
        """End of ``_run_hold``."""
        with cython.critical_section(self):
            self.held -= 1

    def _run_busy(self):
        """Is any session in a step?"""
        with cython.critical_section(self):
            return fl_session_ids_taken(self.sessions.ids) > 0

    cdef int wait(self) except -1:
        """Let who holds the pool go first; not for ever: it may be this very thread, in a signal handler, or have been
        interrupted before it could let go.
        """
        cdef double until
        while True:
            with cython.critical_section(self):
                until = self.until if self.held else 0
            if monotonic() >= until:
                return 0
            sleep(1e-4)

    def _run_close(self, cnp.ndarray ids):
        """Close sessions: all of these, or with an error none."""
        cdef size_t n = cnp.PyArray_SIZE(ids), refused = 0
        cdef const int64_t *given = <const int64_t *>cnp.PyArray_DATA(ids)
        cdef fl_status status
        must(integers(ids, n))
        with cython.critical_section(self):
            status = fl_session_ids_close(self.sessions.ids, n, given, &refused)
        if status != FL_OK:
            refuse_session(status, given[refused])

    def _run_step(self, cnp.ndarray ids, cnp.ndarray x, cnp.ndarray y):
        """One step of sessions ``ids`` int64 [n] over x [n, I] into y [n, R], all contiguous.

        With a table x are tokens [n], of nobody else's.
        """
        cdef size_t n = cnp.PyArray_SIZE(ids)
        must(integers(ids, n)
             and (dense(x, self.plan.typenum, n * self.plan.input_size) if self.table is None
                  else integers(x, n) and self.table.has(<const int64_t *>address(x), n))
             and room(y, self.plan.typenum, n * self.plan.width))
        self.run(n, <int64_t *>address(ids), address(x), address(y))

    def _run_advance(self, cnp.ndarray ids):
        """What the next step of sessions ``ids`` int64 [n], contiguous, does not need their inputs for."""
        cdef size_t n = cnp.PyArray_SIZE(ids)
        must(integers(ids, n))
        self.run(n, <int64_t *>address(ids), NULL, NULL)

    cdef int run(self, size_t n, const int64_t *ids, const void *x, void *y) except -1:
        """A step, or without x what can be done before it."""
        cdef Plan plan = self.plan
        cdef size_t threads = threads_of(self.workers), head = (n * sizeof(size_t) + 63) & ~<size_t>63
        cdef bint long = plan.bytes * n > PIECE_BYTES * threads # it has to hear signals
        cdef size_t bytes = (fl_sessions_workspace_until(plan.plan, n, threads) if long
                             else fl_sessions_workspace(plan.plan, n, threads))
        cdef fl_batch batch
        cdef workspace *w
        cdef bint held
        if bytes > WORKSPACE_MOST - head:
            raise OverflowError("too many sessions in a step")
        with cython.critical_section(self):
            held = self.held > 0
        if held:
            self.wait()
        w = workspace_take(&plan.memory.scratch, head + bytes)
        if w is NULL:
            raise MemoryError(f"a step of {n} sessions takes {head + bytes} bytes")
        batch.n, batch.slots, batch.x, batch.y = n, <size_t *>w.data, x, y
        batch.x_row = plan.input_size * plan.item if self.table is None else sizeof(int64_t)
        try:
            self.run_taken(&batch, ids, w.data + head, long)
        finally:
            workspace_give(&plan.memory.scratch, w, SCRATCH_KEPT)

    cdef int run_taken(self, fl_batch *batch, const int64_t *ids, void *scratch, bint long) except -1:
        """Only to take and to give back takes the lock; grow waits for who has taken."""
        cdef fl_status status
        cdef size_t refused = 0
        cdef Sessions sessions
        with cython.critical_section(self):
            sessions = self.sessions
            status = sessions.allow_advances() if batch.x is NULL else FL_OK
            if status == FL_OK:
                status = fl_session_ids_take(sessions.ids, batch.n, ids, <size_t *>batch.slots, &refused)
        if status == FL_ERROR_MEMORY:
            raise MemoryError(f"what {sessions.capacity} sessions need to be advanced does not fit in memory")
        if status != FL_OK:
            return refuse_session(status, ids[refused])
        status = self.compute(sessions.states, batch, scratch, long)
        with cython.critical_section(self):
            fl_session_ids_give(sessions.ids, batch.n, batch.slots)
        return raise_for(status)

    cdef fl_status compute(self, fl_sessions *states, fl_batch *batch, void *scratch, bint long) noexcept:
        cdef fl_pool *pool = workers_of(self.workers)
        cdef listener l
        cdef fl_cancel cancel
        cdef fl_table *table = NULL if self.table is None else self.table.table
        if self.plan.bytes * batch.n < NOGIL_BYTES:
            return step_batch(states, table, batch, pool, scratch, NULL)
        cancel = heard_by(&l)
        with nogil:
            return step_batch(states, table, batch, pool, scratch, &cancel if long else NULL)

    def step(self, ids, x, out=None):
        """One step of some sessions, in any order and company.

        Parameters
        ----------
        ids : array of int64 [n], or a sequence of int
            Open sessions, each at most once.
        x : array [n, I]
            The next input of each, of the layer's dtype. Of a pool with a table: integers [n].
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
            return self.explain(self, ids, x, out)
        n = cnp.PyArray_DIM(<cnp.ndarray>ids, 0)
        if not exact(ids, cnp.NPY_INT64, 1, 1, n):
            return self.explain(self, ids, x, out)
        if self.table is not None:
            given, x = x, own_tokens(x, n)
            if x is None or not self.table.has(<const int64_t *>address(x), n):
                return self.explain(self, ids, given, out)
        elif not exact(x, plan.typenum, 2, n, plan.input_size):
            return self.explain(self, ids, x, out)
        if out is None:
            out = fresh(2, n, plan.width, plan.typenum)
        elif not exact_out(out, plan.typenum, 2, n, plan.width, x):
            return self.explain(self, ids, x, out)
        self.run(n, <int64_t *>address(ids), address(x), address(out))
        return out

    def _run_through(self, cnp.ndarray ids, run):
        """Take the states of sessions ``ids`` int64 [n] from (h, c) to ``run(h, c)``, of [n, L, R] and [n, L, H].

        They are in a step until it returns; with an error they stay as they are.
        """
        cdef Plan plan = self.plan
        cdef size_t n = cnp.PyArray_SIZE(ids), refused = 0
        cdef fl_status status
        cdef Sessions sessions
        cdef size_t *slots
        must(integers(ids, n))
        h = fresh_steps(3, n, plan.num_layers, plan.width, plan.typenum)
        c = fresh_steps(3, n, plan.num_layers, plan.hidden_size, plan.typenum)
        self.wait()
        slots = <size_t *>malloc((n + 1) * sizeof(size_t))
        if slots is NULL:
            raise MemoryError()
        with cython.critical_section(self):
            sessions = self.sessions
            status = fl_session_ids_take(sessions.ids, n, <int64_t *>address(ids), slots, &refused)
        if status != FL_OK:
            free(slots)
            refuse_session(status, (<int64_t *>address(ids))[refused])
        try:
            self.copy_taken(sessions, n, slots, h, c, True)
            h, c = run(h, c)
            must(plan.states(h, c, n))
            self.copy_taken(sessions, n, slots, h, c, False)
        finally:
            with cython.critical_section(self):
                fl_session_ids_give(sessions.ids, n, slots)
            free(slots)

    cdef void copy_taken(self, Sessions sessions, size_t n, const size_t *slots, h, c, bint out) noexcept:
        """States of slots that are ours, out or in."""
        cdef size_t j, row = self.plan.num_layers * self.plan.item
        cdef size_t h_row = row * self.plan.width, c_row = row * self.plan.hidden_size
        for j in range(n):
            if out:
                fl_sessions_get(sessions.states, slots[j], beyond(address(h), j * h_row),
                                beyond(address(c), j * c_row))
            else:
                fl_sessions_set(sessions.states, slots[j], beyond(address(h), j * h_row),
                                beyond(address(c), j * c_row))

    def _run_get(self, cnp.ndarray ids, cnp.ndarray h, cnp.ndarray c):
        """States of sessions into h [n, L, R], c [n, L, H], contiguous."""
        cdef size_t n = cnp.PyArray_SIZE(ids)
        must(integers(ids, n) and self.plan.states_room(h, c, n))
        self.copy(n, <int64_t *>cnp.PyArray_DATA(ids), h, c, True)

    def _run_set(self, cnp.ndarray ids, h, c):
        """States in: h [n, L, R], c [n, L, H], contiguous, or None for zeros. With an error nothing changes."""
        cdef size_t n = cnp.PyArray_SIZE(ids)
        must(integers(ids, n) and self.plan.states(h, c, n))
        self.copy(n, <int64_t *>cnp.PyArray_DATA(ids), h, c, False)

    cdef int copy(self, size_t n, const int64_t *ids, h, c, bint out) except -1:
        """States out or in, of all or of none."""
        cdef size_t refused = 0
        cdef size_t *slots = <size_t *>malloc((n + 1) * sizeof(size_t))
        cdef fl_status status
        if slots is NULL:
            raise MemoryError()
        with cython.critical_section(self):
            status = fl_session_ids_take(self.sessions.ids, n, ids, slots, &refused)
            if status == FL_OK:
                self.copy_taken(self.sessions, n, slots, h, c, out)
                fl_session_ids_give(self.sessions.ids, n, slots)
        free(slots)
        return 0 if status == FL_OK else refuse_session(status, ids[refused])
