# Instruction sets, and the activations and the gates alone.

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
    cdef size_t n
    cdef fl_status status
    if not cnp.PyArray_CheckExact(x):
        return None
    a = x
    bits = bits_of(cnp.PyArray_TYPE(a))
    if not bits or not cnp.PyArray_ISCARRAY_RO(a) or (out is not None and not can_take(a, out)):
        return None
    if out is None:
        y = cnp.PyArray_SimpleNew(cnp.PyArray_NDIM(a), cnp.PyArray_DIMS(a), cnp.PyArray_TYPE(a))
    else:
        y = out
    n = cnp.PyArray_SIZE(a)
    cdef void *from_ = cnp.PyArray_DATA(a)
    cdef void *to = cnp.PyArray_DATA(y)
    if n < NOGIL_NUMBERS:
        activate(is_tanh, name, bits, from_, to, n)
    else:
        with nogil:
            status = activate_many(is_tanh, name, bits, <const char *>from_, <char *>to, n)
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


def run_gates_forward(cnp.ndarray z, cnp.ndarray c, cnp.ndarray c_next, cnp.ndarray h, size_t rows, size_t units,
                      bytes isa):
    """``c_next``, ``h`` from pre-activations [rows, 4*units] and ``c`` [rows, units]; contiguous, of one dtype."""
    cdef const char *name = isa
    cdef int bits = bits_of_gates(z, rows, units, [z], [c, c_next, h])
    cdef void *zp = address(z)
    cdef void *cp = address(c)
    cdef void *to_c = address(c_next)
    cdef void *to_h = address(h)
    cdef fl_status status
    with nogil:
        status = fl_gates_forward(name, bits, rows, units, zp, cp, to_c, to_h)
    raise_for(status)


def run_gates_train(cnp.ndarray z, cnp.ndarray c, cnp.ndarray c_next, cnp.ndarray h, cnp.ndarray gates,
                    size_t rows, size_t units, bytes isa):
    """As ``run_gates_forward``, and i, f, g, o into ``gates`` [rows, 4*units]."""
    cdef const char *name = isa
    cdef int bits = bits_of_gates(z, rows, units, [z, gates], [c, c_next, h])
    cdef void *zp = address(z)
    cdef void *cp = address(c)
    cdef void *to_c = address(c_next)
    cdef void *to_h = address(h)
    cdef void *to_gates = address(gates)
    cdef fl_status status
    with nogil:
        status = fl_gates_train(name, bits, rows, units, zp, cp, to_c, to_h, to_gates)
    raise_for(status)


def run_gates_backward(cnp.ndarray gates, cnp.ndarray c_prev, cnp.ndarray c, cnp.ndarray dh, cnp.ndarray dz,
                       cnp.ndarray dc, size_t rows, size_t units, bytes isa):
    """``dz`` [rows, 4*units] from ``dh`` [rows, units]; ``dc`` goes from the gradient of c to that of c_prev."""
    cdef const char *name = isa
    cdef int bits = bits_of_gates(gates, rows, units, [gates, dz], [c_prev, c, dh, dc])
    cdef void *of_gates = address(gates)
    cdef void *of_prev = address(c_prev)
    cdef void *of_c = address(c)
    cdef void *of_h = address(dh)
    cdef void *to_z = address(dz)
    cdef void *to_c = address(dc)
    cdef fl_status status
    with nogil:
        status = fl_gates_backward(name, bits, rows, units, of_gates, of_prev, of_c, of_h, to_z, to_c)
    raise_for(status)


def accumulate(cnp.ndarray total, cnp.ndarray part):
    """total += part, two contiguous arrays of one shape and dtype, rounded to nearest whatever the caller's mode is."""
    cdef int typenum = cnp.PyArray_TYPE(total), bits = bits_of(typenum)
    cdef Py_ssize_t n = cnp.PyArray_SIZE(total)
    must(bits and room(total, typenum, n) and dense(part, typenum, n))
    cdef void *to = cnp.PyArray_DATA(total)
    cdef const void *from_ = cnp.PyArray_DATA(part)
    if n < NOGIL_NUMBERS:
        fl_accumulate(bits, to, from_, n)
    else:
        with nogil:
            fl_accumulate(bits, to, from_, n)
