# cython: language_level=3, freethreading_compatible=True, boundscheck=False, wraparound=False
"""The bridge: arrays to pointers, status to exceptions. No maths.

What comes in through a method whose name begins with ``run`` or ``_run`` has been checked, and explained where it was
wrong, by the Python that calls it; here its type, size and layout are compared once more, for no caller's code must
come between a check and C. Only ``run_at`` and ``run_unpacked_at`` have to trust: they get addresses. The step paths
(``StreamCore.step``, ``CellCore.step``, ``activation``, ...) look at their arrays themselves with NumPy's C macros,
25-30 ns where a typed memoryview takes 160, and hand anything that is not exactly as expected to the Python that checks
and explains.

SPDX-License-Identifier: BSD-3-Clause
"""
cimport cython
cimport numpy as cnp
from cpython.exc cimport PyErr_Clear, PyErr_Occurred, PyErr_SetObject
from cpython.long cimport PyLong_AsLongLongAndOverflow, PyLong_CheckExact
from cpython.pycapsule cimport PyCapsule_GetPointer, PyCapsule_IsValid
from libc.stdint cimport int64_t, uint8_t, uint32_t, uint64_t, uintptr_t
from libc.stdlib cimport calloc, free, malloc
from libc.string cimport memcmp, memcpy, memset

from _c cimport *

from threading import get_ident, main_thread
from time import monotonic, sleep

cnp.import_array()

include "arrays.pxi"
include "signals.pxi"
include "gates.pxi"
include "plan.pxi"
include "table.pxi"
include "tape.pxi"
include "live.pxi"
include "pool.pxi"
include "tensors.pxi"
