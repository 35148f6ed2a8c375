# Tables: what the first layer makes of every token.

cdef extern from "Python.h":
    Py_ssize_t PyNumber_AsSsize_t(object, void *)


cdef class TableCore:
    """The input's part of the pre-activations for each of V inputs; immutable."""

    cdef Plan plan
    cdef fl_table *table
    cdef workspace *memory
    cdef Py_ssize_t V

    @property
    def size(self):
        """V: how many tokens it has."""
        return self.V

    @property
    def nbytes(self):
        """Bytes that it takes."""
        return fl_table_size(self.plan.plan, self.V)

    def __cinit__(self, Plan plan not None, cnp.ndarray embedding not None, Workers workers, *rest):
        """Of embedding [V, I], the last axis contiguous."""
        cdef fl_status status
        cdef fl_pool *pool = workers_of(workers)
        cdef listener l
        cdef fl_cancel cancel = heard_by(&l)
        must(cnp.PyArray_NDIM(embedding) == 2 and cnp.PyArray_TYPE(embedding) == plan.typenum
             and cnp.PyArray_DIM(embedding, 0) > 0 and cnp.PyArray_DIM(embedding, 1) == plan.input_size
             and rows_whole(embedding))
        self.V = cnp.PyArray_DIM(embedding, 0)
        self.memory = block(fl_table_size(plan.plan, self.V), f"a table of {self.V} tokens")
        self.plan = plan
        self.table = fl_table_init(plan.plan, self.V, self.memory.data)
        with nogil:
            status = fl_table_fill(self.table, cnp.PyArray_DATA(embedding), cnp.PyArray_STRIDE(embedding, 0), pool,
                                   &cancel)
        raise_for(status)

    def __dealloc__(self):
        free(self.memory)

    def serves(self, Plan plan):
        """Is it of this very plan?"""
        return self.plan is plan

    cdef inline bint has(self, const int64_t *tokens, Py_ssize_t n) noexcept:
        """Are they tokens of it?"""
        cdef Py_ssize_t k
        for k in range(n):
            if tokens[k] < 0 or tokens[k] >= self.V:
                return False
        return True

    cdef cnp.ndarray taken(self, x):
        """A copy of int64 tokens of any shape, which nobody writes to; None where they are not, or not of this."""
        cdef cnp.ndarray own
        if (not cnp.PyArray_CheckExact(x) or cnp.PyArray_TYPE(<cnp.ndarray>x) != cnp.NPY_INT64
                or not cnp.PyArray_ISBEHAVED_RO(<cnp.ndarray>x)):
            return None
        own = cnp.PyArray_NewCopy(<cnp.ndarray>x, cnp.NPY_CORDER)
        return own if self.has(<const int64_t *>address(own), cnp.PyArray_SIZE(own)) else None

    def run(self, cnp.ndarray tokens, cnp.ndarray y, h_0, c_0, cnp.ndarray h_n, cnp.ndarray c_n, lengths, resets,
            Workers workers):
        """As ``Plan.run`` over int64 [T, B] of any strides, which nobody else may write to."""
        cdef Plan plan = self.plan
        cdef fl_sequence s
        must(cnp.PyArray_NDIM(tokens) == 2 and cnp.PyTypeNum_ISSIGNED(cnp.PyArray_TYPE(tokens))
             and cnp.PyArray_ITEMSIZE(tokens) == 8 and cnp.PyArray_ISBEHAVED_RO(tokens))
        s.T, s.B = cnp.PyArray_DIM(tokens, 0), cnp.PyArray_DIM(tokens, 1)
        must(rows_of(y, plan.typenum, s.T, s.B, plan.directions * plan.width) and cnp.PyArray_ISWRITEABLE(y)
             and plan.states(h_0, c_0, s.B) and plan.states_room(h_n, c_n, s.B))
        read_arrays(&s, tokens, y, 0, h_0, c_0, h_n, c_n)
        plan.read_rest(&s, lengths, resets, None)
        plan.go(&s, workers, None, self)


cdef inline bint read_token(x, int64_t *token) noexcept:
    """One integer of Python's or NumPy's; False for anything else."""
    cdef int overflow = 0
    if PyLong_CheckExact(x):
        token[0] = PyLong_AsLongLongAndOverflow(x, &overflow) # -1 where it does
        return True
    if isinstance(x, cnp.integer):
        token[0] = PyNumber_AsSsize_t(x, NULL) # the nearest that fits
        if token[0] == -1 and PyErr_Occurred() is not NULL: # of no index: numpy.timedelta64 is one
            PyErr_Clear()
            return False
        return True
    return False


cdef inline cnp.ndarray own_tokens(x, cnp.npy_intp n):
    """A copy of exactly n tokens, so that they stay as they are looked at; None where they are not int64 [n]."""
    return cnp.PyArray_NewCopy(<cnp.ndarray>x, cnp.NPY_CORDER) if exact(x, cnp.NPY_INT64, 1, 1, n) else None
