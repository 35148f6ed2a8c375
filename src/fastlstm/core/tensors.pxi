# Memory of others, arrays' and torch's tensors': whether it has changed, and torch's everyday calls from it.

# Steps of so few rows, with so many bytes of weights, are faster from the weights as they are than by a look at them
# and a step from the packed copy: at H=256 110 us where it would be 170, at H=1024 2.5 ms where it would be 5.7.
cdef size_t unpacked_bytes = 1024 * 1024
cdef size_t unpacked_rows = 4
UNPACKED_BYTES = unpacked_bytes
UNPACKED_ROWS = unpacked_rows
# Bytes from which threads share a look.
cdef size_t shared_bytes = 1024 * 1024


@cython.final
cdef class Digest:
    """A sum over every byte of some memory: whether anybody has written to it since. The memory must outlive it."""

    cdef fl_digest *digest
    cdef readonly size_t nbytes

    def __cinit__(self, list addresses, list sizes, bytes isa, Workers workers):
        """``sizes`` in bytes."""
        cdef Py_ssize_t j, n = len(addresses)
        cdef fl_status status
        cdef const char *name = isa
        cdef fl_pool *pool = workers_of(workers)
        cdef fl_span *spans = <fl_span *>malloc((n + 1) * sizeof(fl_span))
        if spans is NULL:
            raise MemoryError()
        try:
            for j in range(n):
                spans[j].data = <void *><uintptr_t>addresses[j]
                spans[j].bytes = sizes[j]
                self.nbytes += spans[j].bytes
            if self.nbytes < shared_bytes:
                pool = NULL
            with nogil:
                status = fl_digest_create(&self.digest, spans, n, name, pool)
        finally:
            free(spans)
        raise_for(status)

    def __dealloc__(self):
        fl_digest_destroy(self.digest)

    cpdef bint same(self, Workers workers):
        """Does the memory hold what it held when this was made, to the bit?"""
        cdef fl_pool *pool = workers_of(workers) if self.nbytes >= shared_bytes else NULL
        cdef bint found
        if self.nbytes < NOGIL_BYTES:
            return fl_digest_same(self.digest, NULL)
        with nogil:
            found = fl_digest_same(self.digest, pool)
        return found


@cython.final
cdef class Watched:
    """Arrays that others may write to: whether they are where they were, with the bits that they had."""

    cdef list arrays # which keep the memory
    cdef Digest digest

    def __cinit__(self, list arrays, bytes isa):
        cdef cnp.ndarray array
        self.arrays = arrays
        for array in arrays:
            if not cnp.PyArray_ISONESEGMENT(array):
                return # with gaps between their values: no digest, and so never the same
        self.digest = Digest([<uintptr_t>address(array) for array in arrays],
                             [cnp.PyArray_NBYTES(array) for array in arrays], isa, None)

    cpdef bint same(self, list arrays):
        """Are these views of the memory seen, and does it hold what it held?"""
        cdef Py_ssize_t j
        if self.digest is None or len(arrays) != len(self.arrays):
            return False
        for j in range(len(arrays)):
            if not alike(arrays[j], self.arrays[j]):
                return False
        return self.digest.same(None)


cdef inline bint alike(cnp.ndarray a, cnp.ndarray b) noexcept:
    """Do these read the same memory in the same way?"""
    cdef size_t axes = cnp.PyArray_NDIM(a) * sizeof(cnp.npy_intp)
    return (cnp.PyArray_DATA(a) == cnp.PyArray_DATA(b) and cnp.PyArray_TYPE(a) == cnp.PyArray_TYPE(b)
            and cnp.PyArray_NDIM(a) == cnp.PyArray_NDIM(b)
            and memcmp(cnp.PyArray_DIMS(a), cnp.PyArray_DIMS(b), axes) == 0
            and memcmp(cnp.PyArray_STRIDES(a), cnp.PyArray_STRIDES(b), axes) == 0)


cdef struct layout:
    void *data
    int ndim
    uint8_t code, bits
    int64_t[2] shape
    int64_t[2] strides


@cython.final
cdef class Seen:
    """Tensors of one or two axes as they were seen: whether they are the same objects, in the same memory, unchanged.

    Looked at through DLPack's table, 0.1 us each; by Python attributes it would be 0.5 us.
    """

    cdef dlpack_table *table
    cdef readonly tuple tensors
    cdef readonly bint versioned
    cdef tuple versions
    cdef layout *layouts

    def __cinit__(self, capsule, tuple tensors, tuple versions):
        """``versions`` hold None for a tensor without: made in inference mode."""
        cdef Py_ssize_t j
        self.table = <dlpack_table *>PyCapsule_GetPointer(capsule, "dlpack_exchange_api")
        self.tensors = tensors
        self.versions = versions
        self.versioned = None not in versions
        self.layouts = <layout *>malloc((len(tensors) + 1) * sizeof(layout))
        if self.layouts is NULL:
            raise MemoryError()
        for j in range(len(tensors)):
            if not self.look(tensors[j], &self.layouts[j]):
                raise ValueError(f"tensor {j} is not in the CPU's memory, or has not one or two axes")

    def __dealloc__(self):
        free(self.layouts)

    cdef inline bint look(self, tensor, layout *to):
        cdef dlpack_tensor d
        cdef int axis
        if self.table.look(<void *>tensor, &d) != 0:
            PyErr_Clear()
            return False
        if d.device_type != 1 or d.ndim < 1 or d.ndim > 2:
            return False
        memset(to, 0, sizeof(layout)) # the bytes between its members, too: they are compared
        to.data = <char *>d.data + d.byte_offset
        to.ndim, to.code, to.bits = d.ndim, d.code, d.bits
        for axis in range(d.ndim):
            to.shape[axis] = d.shape[axis]
            to.strides[axis] = d.strides[axis]
        return True

    cdef inline bint one(self, Py_ssize_t j, tensor):
        cdef layout now
        if tensor is not <object>self.tensors[j] or not self.look(tensor, &now):
            return False
        if memcmp(&now, &self.layouts[j], sizeof(layout)) != 0:
            return False
        return has_version(tensor, self.versions[j]) and not tensor.is_neg()

    cdef bint contiguous(self):
        """Do all of them lie row after row, without gaps?"""
        cdef Py_ssize_t j
        cdef layout *one
        for j in range(len(self.tensors)):
            one = &self.layouts[j]
            if one.strides[one.ndim - 1] != 1 or (one.ndim == 2 and one.strides[0] != one.shape[1]):
                return False
        return True

    cpdef bint same(self, list tensors):
        """Are these the tensors seen, as they were but perhaps for values written past their versions?"""
        cdef Py_ssize_t j
        if len(tensors) != len(self.tensors):
            return False
        for j in range(len(tensors)):
            if not self.one(j, tensors[j]):
                return False
        return True

    cdef bint same_named(self, tensors, tuple names):
        """Are these they by their names; in an OrderedDict, too, as modules have that an older torch has pickled?"""
        cdef Py_ssize_t j
        if not isinstance(tensors, dict):
            return False
        for j in range(len(names)):
            tensor = (<dict>tensors).get(names[j])
            if tensor is None or not self.one(j, tensor):
                return False
        return True


cdef inline bint has_version(tensor, version):
    if version is None:
        return tensor.is_inference()
    try:
        return tensor._version == version
    except RuntimeError: # an inference tensor's data has been put in
        return False


cdef inline bint has_memory(tensor, dlpack_tensor *d):
    """Zeros without memory and a freed storage have address 0, and views into them their offset."""
    if d.data is NULL:
        return False
    if <int64_t><uintptr_t>d.data >> 40: # where most memory is, and no offset
        return True
    return <int64_t>tensor.storage_offset() * (d.bits // 8) != <int64_t><uintptr_t>d.data


@cython.final
cdef class Direct:
    """The everyday calls of torch's modules, where no gradient is wanted: tensors seen through DLPack's table.

    Everything that a step has to make sure of takes 1.2 us so, 6 us by Python attributes. Where something is not
    exactly right there is None: Python knows what else can be done, or says why not.
    """

    cdef Plan plan
    cdef Seen seen
    cdef Digest digest
    cdef dlpack_table *table
    cdef tuple names
    cdef list held
    cdef object kind
    cdef fl_weights weights # a cell's, as they are
    cdef bint unpacked      # steps may read the parameters as they are

    def __cinit__(self, Plan plan not None, Seen seen not None, Digest digest, list held, kind, tuple names):
        """``seen`` are the parameters that the plan was packed from, under these names; ``digest`` of them, or None.

        ``held`` keep their memory: it may be read while another thread puts other memory in their place.
        """
        self.plan, self.seen, self.digest, self.held = plan, seen, digest, held
        self.kind, self.names, self.table = kind, names, seen.table
        self.unpacked = plan.bytes >= unpacked_bytes and plan.fits_unpacked and seen.contiguous()
        self.weights.weight_ih = seen.layouts[0].data
        self.weights.weight_hh = seen.layouts[1].data
        if len(names) == 4:
            self.weights.bias_ih = seen.layouts[2].data
            self.weights.bias_hh = seen.layouts[3].data

    cdef inline bint look(self, tensor, dlpack_tensor *d):
        if self.table.look(<void *>tensor, d) == 0:
            return d.device_type == 1
        PyErr_Clear()
        return False

    cdef inline bint plain(self, tensor, dlpack_tensor *d, int ndim, int64_t width):
        """A plain tensor of the plan's dtype, with memory, and with rows of this width, each contiguous."""
        if type(tensor) is not self.kind or not self.look(tensor, d) or d.code != 2 or not has_memory(tensor, d):
            return False
        if d.bits != self.plan.item * 8 or d.ndim != ndim or tensor.is_neg(): # DLPack does not tell
            return False
        d.data = <char *>d.data + d.byte_offset
        return d.shape[ndim - 1] == width and (d.strides[ndim - 1] == 1 or width < 2)

    cdef inline bint dense(self, tensor, dlpack_tensor *d, int ndim, int64_t lead, int64_t B, int64_t width):
        """[lead, B, width], [B, width] or [width], without gaps."""
        return (self.plain(tensor, d, ndim, width)
                and (ndim < 2 or (d.shape[ndim - 2] == B and (B == 1 or d.strides[ndim - 2] == width)))
                and (ndim < 3 or (d.shape[0] == lead and (lead == 1 or d.strides[0] == B * width))))

    cdef inline bint states(self, hx, dlpack_tensor *h, dlpack_tensor *c, int ndim, int64_t B):
        """A pair of states, or None: then the addresses are."""
        cdef int64_t lead = self.plan.num_layers * self.plan.directions
        h.data = c.data = NULL
        if hx is None:
            return True
        return (type(hx) is tuple and len(<tuple>hx) == 2
                and self.dense((<tuple>hx)[0], h, ndim, lead, B, self.plan.width)
                and self.dense((<tuple>hx)[1], c, ndim, lead, B, self.plan.hidden_size))

    cdef inline bint holds(self, bint frozen, Workers workers):
        """Does the packed copy have the values of now, or the caller's word that it has?"""
        return (frozen and self.seen.versioned) or (self.digest is not None and self.digest.same(workers))

    def step(self, parameters, x, hx, bint frozen):
        """A cell's (h', c'), or None; x [B, I] or [I], and the module's own parameters by name."""
        cdef dlpack_tensor xs, h, c, hn, cn
        cdef fl_unpacked step
        cdef int ndim
        if type(x) is not self.kind or not self.look(x, &xs) or xs.ndim < 1 or xs.ndim > 2:
            return None
        ndim = xs.ndim
        step.B = xs.shape[0] if ndim == 2 else 1
        if not (self.dense(x, &xs, ndim, 1, step.B, self.plan.input_size) and self.states(hx, &h, &c, ndim, step.B)
                and self.seen.same_named(parameters, self.names)):
            return None
        unpacked = self.unpacked and step.B <= unpacked_rows and not (frozen and self.seen.versioned)
        if not unpacked and not self.holds(frozen, None):
            return None
        if ndim == 2:
            h_next, c_next = x.new_empty(step.B, self.plan.width), x.new_empty(step.B, self.plan.width)
        else:
            h_next, c_next = x.new_empty(self.plan.width), x.new_empty(self.plan.width)
        if not self.look(h_next, &hn) or not self.look(c_next, &cn):
            return None
        if unpacked:
            step.weights, step.x, step.x_b = &self.weights, xs.data, self.plan.input_size * self.plan.item
            step.h_0, step.c_0, step.h_n, step.c_n = h.data, c.data, hn.data, cn.data
            self.plan.unpacked(&step, None)
        else:
            self.plan.cell(step.B, xs.data, h.data, c.data, hn.data, cn.data)
        return h_next, c_next

    def run(self, parameters, x, hx, bint batch_first, bint frozen, Workers workers):
        """A stack's (output, (h_n, c_n)), or None; x [T, B, I], [B, T, I] with ``batch_first``."""
        cdef dlpack_tensor xs, h, c, y, hn, cn
        cdef fl_sequence s
        cdef Plan p = self.plan
        cdef int64_t width = p.directions * p.width, states = p.num_layers * p.directions
        cdef int t = 1 if batch_first else 0 # the axis of time
        if not self.plain(x, &xs, 3, p.input_size):
            return None
        memset(&s, 0, sizeof(s))
        s.T, s.B = xs.shape[t], xs.shape[1 - t]
        if not self.states(hx, &h, &c, 3, s.B) or not self.seen.same_named(parameters, self.names):
            return None
        if (self.unpacked and s.T == 1 and s.B <= unpacked_rows) or not self.holds(frozen, workers):
            return None
        # by the sizes that were checked: meanwhile another thread may have resized x
        output = x.new_empty(s.B, s.T, width) if batch_first else x.new_empty(s.T, s.B, width)
        h_n, c_n = x.new_empty(states, s.B, p.width), x.new_empty(states, s.B, p.hidden_size)
        if not (self.look(output, &y) and self.look(h_n, &hn) and self.look(c_n, &cn)):
            return None
        s.input, s.input_t, s.input_b = xs.data, xs.strides[t] * p.item, xs.strides[1 - t] * p.item
        s.output, s.output_t, s.output_b = y.data, y.strides[t] * p.item, y.strides[1 - t] * p.item
        s.h_0, s.c_0, s.h_n, s.c_n = h.data, c.data, hn.data, cn.data
        p.go(&s, workers, None)
        return output, (h_n, c_n)


def has_dlpack_table(capsule):
    """Is this a DLPack C exchange table that can be used?"""
    cdef dlpack_table *table
    if capsule is None or not PyCapsule_IsValid(capsule, "dlpack_exchange_api"):
        return False
    table = <dlpack_table *>PyCapsule_GetPointer(capsule, "dlpack_exchange_api")
    return table.major == 1 and table.look is not NULL
