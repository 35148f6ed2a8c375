# What a long call hears of signals.

cdef extern from "Python.h":
    Py_ssize_t PY_SSIZE_T_MAX
    int PyErr_CheckSignals() noexcept

cdef enum:
    PIECE_BYTES = 256 * 1024 * 1024 # as many of work between two looks for signals, where C does not look by itself


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


cdef inline fl_cancel heard_by(listener *l) noexcept nogil:
    """For one call."""
    cdef fl_cancel cancel
    l.next = l.deaf = 0
    cancel.ask = listen
    cancel.data = l
    return cancel


cdef inline size_t piece_of(size_t bytes) noexcept nogil:
    """Rows to take at a time where one takes so many bytes of weights: all, if they are soon done."""
    return max(PIECE_BYTES // max(bytes, 1), 1)
