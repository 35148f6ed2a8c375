# What arrays are, blocks of memory, and status to exceptions.

cdef enum:
    # Releasing and taking the GIL costs 40 ns: not worth it below about 5 us of work, which is this many bytes of
    # weights times rows, or this many numbers.
    NOGIL_BYTES = 256 * 1024
    NOGIL_NUMBERS = 16384


cdef int raise_for(fl_status status) except -1:
    if status == FL_OK:
        return 0
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


cdef inline int bits_of(int typenum) noexcept:
    """FL_FLOAT32, FL_FLOAT64, or 0 for a dtype that is neither."""
    if typenum == cnp.NPY_FLOAT32:
        return FL_FLOAT32
    if typenum == cnp.NPY_FLOAT64:
        return FL_FLOAT64
    return 0


cdef inline bint exact_steps(array, int typenum, int ndim, cnp.npy_intp first, cnp.npy_intp second,
                             cnp.npy_intp width) noexcept:
    """What goes straight to C: an ndarray itself, contiguous, [first, second, width], [first, width] or [width]."""
    return (cnp.PyArray_CheckExact(array) and cnp.PyArray_TYPE(<cnp.ndarray>array) == typenum
            and cnp.PyArray_NDIM(<cnp.ndarray>array) == ndim and cnp.PyArray_ISCARRAY_RO(<cnp.ndarray>array)
            and cnp.PyArray_DIM(<cnp.ndarray>array, ndim - 1) == width
            and (ndim < 2 or cnp.PyArray_DIM(<cnp.ndarray>array, 0) == first)
            and (ndim < 3 or cnp.PyArray_DIM(<cnp.ndarray>array, 1) == second))


cdef inline bint exact(array, int typenum, int ndim, cnp.npy_intp rows, cnp.npy_intp width) noexcept:
    """As above: [rows, width], or [width] where ndim is 1."""
    return exact_steps(array, typenum, ndim, rows, 0, width)


cdef inline bint exact_out(array, int typenum, int ndim, cnp.npy_intp rows, cnp.npy_intp width, cnp.ndarray x) noexcept:
    """As ``exact``, to be written to, beside ``x``."""
    return (exact(array, typenum, ndim, rows, width) and cnp.PyArray_ISWRITEABLE(<cnp.ndarray>array)
            and not overlap(x, <cnp.ndarray>array))


cdef inline bint dense(array, int typenum, cnp.npy_intp size) noexcept:
    """A contiguous array of so many numbers of one type."""
    return (cnp.PyArray_Check(array) and cnp.PyArray_TYPE(<cnp.ndarray>array) == typenum
            and cnp.PyArray_ISCARRAY_RO(<cnp.ndarray>array) and cnp.PyArray_SIZE(<cnp.ndarray>array) == size)


cdef inline bint room(array, int typenum, cnp.npy_intp size) noexcept:
    """As ``dense``, to be written to."""
    return dense(array, typenum, size) and cnp.PyArray_ISWRITEABLE(<cnp.ndarray>array)


cdef inline bint dense_or_none(array, int typenum, cnp.npy_intp size) noexcept:
    return array is None or dense(array, typenum, size)


cdef inline bint room_or_none(array, int typenum, cnp.npy_intp size) noexcept:
    return array is None or room(array, typenum, size)


cdef inline bint integers(array, cnp.npy_intp size) noexcept:
    """A contiguous array of so many 64-bit integers, of whichever of C's types that have 64 bits."""
    return (cnp.PyArray_Check(array) and cnp.PyTypeNum_ISSIGNED(cnp.PyArray_TYPE(<cnp.ndarray>array))
            and cnp.PyArray_ITEMSIZE(<cnp.ndarray>array) == 8 and cnp.PyArray_ISCARRAY_RO(<cnp.ndarray>array)
            and cnp.PyArray_SIZE(<cnp.ndarray>array) == size)


cdef inline bint rows_whole(cnp.ndarray array) noexcept:
    """Can C read it: aligned, in this machine's byte order, its last axis contiguous, the others of any strides?"""
    cdef int last = cnp.PyArray_NDIM(array) - 1
    return (cnp.PyArray_ISBEHAVED_RO(array)
            and (cnp.PyArray_STRIDE(array, last) == cnp.PyArray_ITEMSIZE(array) or cnp.PyArray_DIM(array, last) < 2
                 or cnp.PyArray_SIZE(array) == 0))


cdef inline bint rows_of(cnp.ndarray array, int typenum, cnp.npy_intp T, cnp.npy_intp B, cnp.npy_intp width) noexcept:
    """[T, B, width] as above."""
    return (cnp.PyArray_TYPE(array) == typenum and cnp.PyArray_NDIM(array) == 3 and rows_whole(array)
            and cnp.PyArray_DIM(array, 0) == T and cnp.PyArray_DIM(array, 1) == B
            and cnp.PyArray_DIM(array, 2) == width)


cdef inline bint meet(const void *a, size_t a_bytes, const void *b, size_t b_bytes) noexcept:
    """Do two pieces of memory share bytes?"""
    return <uintptr_t>a < <uintptr_t>b + b_bytes and <uintptr_t>b < <uintptr_t>a + a_bytes


cdef inline bint overlap(cnp.ndarray a, cnp.ndarray b) noexcept:
    """Do two contiguous arrays?"""
    return meet(cnp.PyArray_DATA(a), cnp.PyArray_NBYTES(a), cnp.PyArray_DATA(b), cnp.PyArray_NBYTES(b))


cdef inline void *address(array) noexcept:
    return NULL if array is None else cnp.PyArray_DATA(<cnp.ndarray>array)


cdef inline void *beyond(const void *p, size_t bytes) noexcept nogil:
    """So many bytes behind; NULL stays NULL."""
    return NULL if p is NULL else <char *>p + bytes


cdef inline cnp.ndarray fresh(int ndim, cnp.npy_intp rows, cnp.npy_intp width, int typenum):
    """A new array [rows, width], or [width] where ndim is 1."""
    cdef cnp.npy_intp[2] dims = [rows, width]
    return cnp.PyArray_SimpleNew(ndim, &dims[2 - ndim], typenum)


cdef inline cnp.ndarray fresh_steps(int ndim, cnp.npy_intp first, cnp.npy_intp second, cnp.npy_intp width, int typenum):
    """A new array [first, second, width], or [first, width] where ndim is 2."""
    cdef cnp.npy_intp[3] dims = [first, second if ndim == 3 else width, width]
    return cnp.PyArray_SimpleNew(ndim, dims, typenum)


cdef workspace *block(size_t bytes, what) except NULL:
    """New memory; more bytes than can be addressed are C's answer to sizes that overflow."""
    cdef workspace *made
    if bytes > WORKSPACE_MOST:
        raise OverflowError(f"{what} is too large")
    made = workspace_new(bytes)
    if made is NULL:
        raise MemoryError(f"{what} takes {bytes} bytes")
    return made


cdef inline int enter(single_user *user, bint brief, what) except -1:
    """Of an object that serves one thread at a time; to be left by ``single_user_leave``."""
    return 0 if single_user_enter(user, brief) else refuse_entry(what)


cdef int refuse_entry(what) except -1:
    raise RuntimeError(f"another thread is inside this {what}; a {what} serves one thread at a time")


@cython.final
cdef class Workers:
    """Worker threads, started here and joined when this is freed; or those of ``parallel``, a C function's address."""

    cdef fl_pool *pool
    cdef readonly Py_ssize_t threads

    def __cinit__(self, Py_ssize_t threads, uintptr_t parallel=0):
        self.threads = threads
        raise_for(fl_pool_borrow(&self.pool, threads, <fl_parallel>parallel) if parallel
                  else fl_pool_create(&self.pool, threads))

    def __dealloc__(self):
        fl_pool_destroy(self.pool)


cdef inline fl_pool *workers_of(Workers workers) noexcept nogil:
    return workers.pool if workers is not None else NULL


cdef inline size_t threads_of(Workers workers) noexcept nogil:
    return workers.threads if workers is not None else 1
