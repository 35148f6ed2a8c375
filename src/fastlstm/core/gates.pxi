# Instruction sets, and the activations and the gates alone.

def contract():
    """The version of the numerical contract."""
    return fl_contract()


def isa_names(bint integers=False):
    """Names of the instruction sets that are built in and that this CPU has, best first; those for integers, too."""
    cdef const char *name
    names = []
    while True:
        name = fl_integer_isa_name(len(names)) if integers else fl_isa_name(len(names))
        if name is NULL:
            return names
        names.append(name.decode())


def isa_description(str name):
    """One line about an instruction set."""
    cdef bytes key = name.encode()
    cdef const char *text = fl_isa_description(key)
    if text is NULL:
        raise ValueError(f"unknown instruction set {name!r}")
    return text.decode()


def cpus():
    """CPUs that this process may use: by its affinity, and by a container's quota."""
    return fl_cpus()


def use_all_threads(bint all):
    """From here on calls take all threads that they are given, worth it or not. No call may be running."""
    fl_use_all_threads(all)


def limit_multiply(bytes isa, size_t n):
    """As many float32 multiply-adds as the instruction set does at a time, `n` times: how many that were."""
    cdef double done = 0
    cdef const char *name = isa
    cdef fl_status status
    with nogil:
        status = fl_limit_multiply(name, n, &done)
    raise_for(status)
    return done


def limit_read(bytes isa, cnp.ndarray data not None, size_t n):
    """Memory read from one end to the other, `n` times: how many bytes that were."""
    cdef double done = 0
    cdef const char *name = isa
    cdef const void *at = cnp.PyArray_DATA(data)
    cdef size_t size = cnp.PyArray_NBYTES(data)
    cdef fl_status status
    if not cnp.PyArray_ISCARRAY_RO(data):
        raise ValueError("data should be contiguous")
    with nogil:
        status = fl_limit_read(name, at, size, n, &done)
    raise_for(status)
    return done


def activations():
    """Of each activation, in the order of ``fl_activation_kind``: its name, the usual values of its parameters, and
    whether alpha may not be below 0 in training."""
    cdef const fl_activation_info *info
    found = []
    while (info := fl_activation_at(len(found))) is not NULL:
        found.append((info.name.decode(), (info.alpha, info.beta)[: info.parameters], bool(info.alpha_not_below_0)))
    return found


cdef fl_status activate(bint is_tanh, const char *isa, int bits, const void *x, void *y, size_t n) noexcept nogil:
    return fl_tanh(isa, bits, x, y, n) if is_tanh else fl_sigmoid(isa, bits, x, y, n)


cdef fl_status activate_many(bint is_tanh, const char *isa, int bits, const char *x, char *y, size_t n) noexcept nogil:
    """The same for so many that it may take long."""
    cdef listener l
    cdef size_t done = 0, some, piece = 1 << 22
    heard_by(&l)
    while done < n:
        if n > piece and listen(&l):
            return FL_ERROR_CANCELLED
        some = min(n - done, piece)
        activate(is_tanh, isa, bits, x + done * bits // 8, y + done * bits // 8, some)
        done += some
    return FL_OK


cdef inline bint can_take(cnp.ndarray x, out) noexcept:
    """An `out` of the shape and dtype of `x`: the very same array, or one beside it."""
    return (cnp.PyArray_CheckExact(out) and cnp.PyArray_TYPE(<cnp.ndarray>out) == cnp.PyArray_TYPE(x)
            and cnp.PyArray_ISCARRAY(<cnp.ndarray>out) and cnp.PyArray_SAMESHAPE(x, <cnp.ndarray>out)
            and (out is x or not overlap(x, <cnp.ndarray>out)))


def activation(bint is_tanh, x, out, bytes isa):
    """The activation of a contiguous float array, or None where `x` or `out` is not that."""
    cdef cnp.ndarray a, y
    cdef const char *name = isa
    cdef int bits
    cdef fl_status status
    if not cnp.PyArray_CheckExact(x):
        return None
    a = x
    bits = bits_of(cnp.PyArray_TYPE(a))
    if not bits or not cnp.PyArray_ISCARRAY_RO(a) or (out is not None and not can_take(a, out)):
        return None
    y = out if out is not None else cnp.PyArray_SimpleNew(cnp.PyArray_NDIM(a), cnp.PyArray_DIMS(a), cnp.PyArray_TYPE(a))
    cdef size_t n = cnp.PyArray_SIZE(a)
    if n < NOGIL_NUMBERS:
        activate(is_tanh, name, bits, cnp.PyArray_DATA(a), cnp.PyArray_DATA(y), n)
    else:
        with nogil:
            status = activate_many(is_tanh, name, bits, <char *>cnp.PyArray_DATA(a), <char *>cnp.PyArray_DATA(y), n)
        raise_for(status)
    return y


cdef int bits_of_gates(cnp.ndarray first, size_t rows, size_t units, list wide, list narrow) except -1:
    """Of arrays [rows, 4*units] and [rows, units] that are all of one dtype and contiguous."""
    cdef int typenum = cnp.PyArray_TYPE(first)
    must(bits_of(typenum) != 0)
    for array in wide:
        must(dense(array, typenum, rows * 4 * units))
    for array in narrow:
        must(dense(array, typenum, rows * units))
    return bits_of(typenum)


def run_gates_forward(cnp.ndarray z, cnp.ndarray c, cnp.ndarray c_next, cnp.ndarray h, gates, size_t rows,
                      size_t units, bytes isa):
    """``c_next``, ``h`` from pre-activations [rows, 4*units] and ``c`` [rows, units]; contiguous, of one dtype.

    And i, f, g, o into ``gates`` [rows, 4*units], if that is not None.
    """
    cdef const char *name = isa
    cdef int bits = bits_of_gates(z, rows, units, [z, z if gates is None else gates], [c, c_next, h])
    cdef void *kept = address(gates)
    cdef fl_status status
    with nogil:
        if kept is NULL:
            status = fl_gates_forward(name, bits, rows, units, cnp.PyArray_DATA(z), cnp.PyArray_DATA(c),
                                      cnp.PyArray_DATA(c_next), cnp.PyArray_DATA(h))
        else:
            status = fl_gates_train(name, bits, rows, units, cnp.PyArray_DATA(z), cnp.PyArray_DATA(c),
                                    cnp.PyArray_DATA(c_next), cnp.PyArray_DATA(h), kept)
    raise_for(status)


def run_gates_backward(cnp.ndarray gates, cnp.ndarray c_prev, cnp.ndarray c, cnp.ndarray dh, cnp.ndarray dz,
                       cnp.ndarray dc, size_t rows, size_t units, bytes isa):
    """``dz`` [rows, 4*units] from ``dh`` [rows, units]; ``dc`` goes from the gradient of c to that of c_prev."""
    cdef const char *name = isa
    cdef int bits = bits_of_gates(gates, rows, units, [gates, dz], [c_prev, c, dh, dc])
    cdef fl_status status
    with nogil:
        status = fl_gates_backward(name, bits, rows, units, cnp.PyArray_DATA(gates), cnp.PyArray_DATA(c_prev),
                                   cnp.PyArray_DATA(c), cnp.PyArray_DATA(dh), cnp.PyArray_DATA(dz),
                                   cnp.PyArray_DATA(dc))
    raise_for(status)


def accumulate(cnp.ndarray total, cnp.ndarray part):
    """total += part, two contiguous arrays of one shape and dtype, rounded to nearest whatever the caller's mode is."""
    cdef int typenum = cnp.PyArray_TYPE(total), bits = bits_of(typenum)
    cdef Py_ssize_t n = cnp.PyArray_SIZE(total)
    must(bits and room(total, typenum, n) and dense(part, typenum, n))
    with nogil:
        fl_accumulate(bits, cnp.PyArray_DATA(total), cnp.PyArray_DATA(part), n)
