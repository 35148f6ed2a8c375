"""What the tests of the compiled package share: objects made from cases, expected values, bits, memory, processes."""

import contextlib
import ctypes
import json
import os
import platform
import signal
import subprocess
import sys
import traceback
import warnings
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import fastlstm
from fastlstm import reference
from tests.cases import Array, Case, Data, make_data

ROOT = Path(__file__).resolve().parents[1]  # of the sources
EXAMPLES = ROOT / "examples"
DATA = ROOT / "tests" / "data"

DTYPES = ("float32", "float64")
each_dtype = pytest.mark.parametrize("dtype", DTYPES)
each_isa = pytest.mark.parametrize("isa", fastlstm.isas())


def by_name(cases: tuple[Case, ...]) -> pytest.MarkDecorator:
    """Run a test once for each case, under its name."""
    return pytest.mark.parametrize("case", cases, ids=lambda case: case.name)


# Objects and their results


def lstm_of(case: Case, data: Data, **options: Any) -> fastlstm.LSTM:
    """Return the LSTM of a case, with its weights."""
    lstm = fastlstm.LSTM(
        case.I, case.H, bias=case.bias, proj_size=case.P, dtype=data.input.dtype, **case.config, **options
    )
    lstm.load_state_dict(data.state_dict)
    return lstm


def cell_of(case: Case, data: Data, **options: Any) -> fastlstm.LSTMCell:
    """Return the LSTMCell with the weights of a case's first layer."""
    cell = fastlstm.LSTMCell(case.I, case.H, bias=case.bias, dtype=data.input.dtype, form=case.form, **options)
    cell.load_state_dict({name.removesuffix("_l0"): array for name, array in data.state_dict.items() if "_l0" in name})
    return cell


def results(lstm: fastlstm.LSTM, data: Data) -> tuple[Array, Array, Array]:
    """Run an LSTM on everything that a case has: output, h_n, c_n."""
    output, (h_n, c_n) = lstm(data.input, data.hx, lengths=data.lengths, resets=data.resets)
    return output, h_n, c_n


def expected_results(case: Case, data: Data) -> tuple[Array, Array, Array]:
    """Return what `results` should be, by the reference in float64."""
    wide = data.astype("float64")
    options = case.config | {"lengths": data.lengths, "resets": data.resets}
    output, (h_n, c_n) = reference.lstm_forward(wide.input, wide.hx, wide.state_dict, **options)
    return output, h_n, c_n


def rows_of(data: Data, rows: Any) -> Data:
    """Return some rows of a case that is not batch-first."""
    lengths = None if data.lengths is None else data.lengths[rows]
    resets = None if data.resets is None else data.resets[:, rows]
    return Data(data.input[:, rows], data.h_0[:, rows], data.c_0[:, rows], data.state_dict, lengths, resets)


def wild_values(dtype: str, seed: int) -> Callable[[Array], Array]:
    """Return what replaces a fifth of an array's values: zeros, infinities, NaN, the largest and the smallest."""
    rng = np.random.default_rng(seed)
    info = np.finfo(dtype)
    values = np.array(
        [0, -0.0, 1, -1, np.nan, np.inf, -np.inf, info.max, -info.max, info.tiny, info.smallest_subnormal]
    )
    return lambda array: np.where(rng.random(array.shape) < 0.2, rng.choice(values, array.shape), array).astype(dtype)


def wild_data(case: Case, dtype: str, seed: int) -> Data:
    """Return the input, the states and the weights of a case, a fifth of their values wild."""
    wild = wild_values(dtype, seed)
    data = make_data(case, dtype)
    weights = {name: wild(array) for name, array in data.state_dict.items()}
    return Data(wild(data.input), wild(data.h_0), wild(data.c_0), weights, None, None)


# Bits and errors


def assert_same_bits(actual: Any, expected: Any, message: str = "") -> None:
    """Raise AssertionError unless two arrays, or tuples of arrays, are equal to the bit; any NaN equals any other."""
    if isinstance(actual, tuple):
        assert len(actual) == len(expected)
        for one, other in zip(actual, expected, strict=True):
            assert_same_bits(one, other, message)
        return
    assert actual.shape == expected.shape, f"{message}: expected shape {expected.shape}, got {actual.shape}"
    assert actual.dtype == expected.dtype
    wrong = bits(actual) != bits(expected)
    assert not wrong.any(), (
        f"{message}: {np.count_nonzero(wrong)} of {wrong.size} differ; at {np.argwhere(wrong)[0]}: "
        f"{float(actual[wrong][0]).hex()} is not {float(expected[wrong][0]).hex()}"
    )


def bits(array: Array) -> Array:
    """Return the bits of floats as integers, every NaN as the same ones."""
    same = np.where(np.isnan(array), array.dtype.type("nan"), array)
    return same.view(f"u{array.itemsize}")


def ulps(y: Array, exact: Array) -> Array:
    """Error in ULP, which is that of the exact value's binade, or of the smallest normal number below it."""
    info = np.finfo(y.dtype)
    _, exponent = np.frexp(exact)
    ulp = np.ldexp(np.ones_like(exact), np.maximum(exponent - 1, info.minexp) - info.nmant)
    return np.abs(y - exact) / ulp


# What torch gave

GOLDEN: dict[str, Array] = dict(np.load(DATA / "torch_golden.npz"))
CONFIGS: dict[str, dict[str, Any]] = json.loads(str(GOLDEN["configs"]))


def golden(name: str, stored: dict[str, Array] = GOLDEN) -> dict[str, Array]:
    """Return the arrays of one entry under their own names."""
    return {key.removeprefix(f"{name}/"): array for key, array in stored.items() if key.startswith(f"{name}/")}


# Layouts: the same values, elsewhere in memory


def strided(array: Array) -> Array:
    """Every second element of every axis."""
    wide = np.full([2 * n for n in array.shape], -1, array.dtype)
    view = wide[(..., *(slice(None, None, 2) for _ in array.shape))]
    view[...] = array
    return view


def backwards(array: Array) -> Array:
    """Negative strides on every axis."""
    flip = (..., *(slice(None, None, -1),) * array.ndim)
    return np.ascontiguousarray(array[flip])[flip]


def backwards_outside(array: Array) -> Array:
    """Negative strides on every axis but the last."""
    flip = (*(slice(None, None, -1),) * (array.ndim - 1), ...)
    return np.ascontiguousarray(array[flip])[flip]


def fortran(array: Array) -> Array:
    """First axis fastest."""
    return np.asfortranarray(array)


def read_only(array: Array) -> Array:
    """Copy it so that it cannot be written."""
    copy = array.copy()
    copy.flags.writeable = False
    return copy


def unaligned(array: Array) -> Array:
    """One byte off."""
    raw = np.zeros(array.nbytes + 1, np.uint8)[1:]
    view = raw.view(array.dtype).reshape(array.shape)
    view[...] = array
    assert array.size == 0 or array.itemsize == 1 or not view.flags.aligned
    return view


LAYOUTS = (strided, backwards, backwards_outside, fortran, read_only, unaligned)
each_layout = pytest.mark.parametrize("layout", LAYOUTS, ids=lambda layout: layout.__name__)

CANARY = 0xA5


class Guarded:
    """An array inside a larger buffer; `check` tells whether anything around it was written."""

    def __init__(self, shape: tuple[int, ...], dtype: Any, margin: int = 256, offset: int = 0) -> None:
        size = int(np.prod(shape)) * np.dtype(dtype).itemsize
        self._begin, self._end = margin + offset, margin + offset + size
        self._raw = np.full(size + 2 * margin + offset, CANARY, np.uint8)
        self.array: Array = self._raw[self._begin : self._end].view(dtype).reshape(shape)

    def check(self) -> None:
        """Raise AssertionError if a byte around the array is not what it was."""
        assert (self._raw[: self._begin] == CANARY).all(), "written before the array"
        assert (self._raw[self._end :] == CANARY).all(), "written after the array"

    def untouched(self) -> bool:
        """Tell whether nothing was written at all."""
        return bool((self._raw == CANARY).all())


# The floating-point environment of the thread

FLUSH_TO_ZERO = {"x86_64": 0x8040, "aarch64": 1 << 24}  # x86: FTZ and DAZ, of MXCSR; FZ of FPCR
ROUNDING = {"x86_64": {"down": 0x2000, "up": 0x4000, "zero": 0x6000}, "aarch64": {"up": 1 << 22, "down": 2 << 22}}
CONTROL_BITS = {"x86_64": 0xFFC0, "aarch64": 0xFFFFFFFF}
_AT = {"x86_64": 7, "aarch64": 0}  # which word of libm's fenv_t; its layout is part of the ABI of glibc and musl
_MACHINE = platform.machine()


def _libm() -> ctypes.CDLL:
    if sys.platform != "linux" or _MACHINE not in _AT:
        pytest.skip(f"the layout of fenv_t on {sys.platform} {_MACHINE} is not known here")
    return ctypes.CDLL(None if platform.libc_ver()[0] != "glibc" else "libm.so.6")


def floating_point_control() -> int:
    """Return the control bits of this thread: rounding, flushing, exception masks."""
    words = (ctypes.c_uint32 * 16)()
    assert _libm().fegetenv(ctypes.byref(words)) == 0
    return words[_AT[_MACHINE]] & CONTROL_BITS[_MACHINE]


@contextlib.contextmanager
def floating_point(mode: str) -> Iterator[None]:
    """Set this thread to "flush" denormals to zero, or to round "up", "down" or to "zero"."""
    libm = _libm()
    change = FLUSH_TO_ZERO[_MACHINE] if mode == "flush" else ROUNDING[_MACHINE][mode]
    saved, changed = (ctypes.c_uint32 * 16)(), (ctypes.c_uint32 * 16)()
    assert libm.fegetenv(ctypes.byref(saved)) == 0
    changed[:] = saved[:]
    changed[_AT[_MACHINE]] |= change
    assert libm.fesetenv(ctypes.byref(changed)) == 0
    try:
        assert floating_point_control() & change == change, "the mode did not take"
        yield
        control = floating_point_control()
    finally:
        libm.fesetenv(ctypes.byref(saved))
    assert control == changed[_AT[_MACHINE]] & CONTROL_BITS[_MACHINE], "the caller's environment was changed"


each_mode = pytest.mark.parametrize("mode", ["flush", *ROUNDING.get(_MACHINE, ROUNDING["x86_64"])])


# Other processes


def run_python(script: str, timeout: float = 120, **environment: str) -> str:
    """Run a script in a fresh interpreter and return what it prints; AssertionError unless it exits with 0.

    It may import `tests`.
    """
    paths = os.pathsep.join(filter(None, (str(ROOT), os.environ.get("PYTHONPATH"))))
    done = subprocess.run(
        [sys.executable, "-c", script],
        env=os.environ | {"PYTHONPATH": paths} | environment,
        capture_output=True,
        text=True,
        timeout=timeout,
        check=False,
    )
    assert done.returncode == 0, f"exit status {done.returncode}\n{done.stdout}\n{done.stderr}"
    return done.stdout


needs_fork = pytest.mark.skipif(not hasattr(os, "fork"), reason="no fork here")


def child(work: Callable[[], Any]) -> None:
    """Fork; AssertionError unless `work` returns something true there, within half a minute."""
    with warnings.catch_warnings(action="ignore"):  # from Python 3.12 on: that a process with threads forks
        pid = os.fork()
    if pid == 0:
        signal.alarm(30)  # ends a child that hangs
        try:
            os._exit(0 if work() else 3)
        except BaseException:
            traceback.print_exc()
            os._exit(4)
    _, status = os.waitpid(pid, 0)
    assert status == 0, f"child: status {status}"


def _end_with_parent() -> None:
    """Let the system end this process when the one that started it is gone, however that ended."""
    assert _libc is not None
    _libc.prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)


_PR_SET_PDEATHSIG = 1
_libc = ctypes.CDLL(None) if sys.platform == "linux" else None  # before a fork, which should load nothing
#: The `preexec_fn` of processes that a run should not leave behind if it is killed.
END_WITH_PARENT = None if _libc is None else _end_with_parent


def runs(pid: int) -> bool:
    """Tell whether a process runs; Linux."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] not in "ZX"
    except OSError:
        return False


def resident_bytes() -> int:
    """Return how much memory of this process is in RAM; Linux."""
    with open("/proc/self/statm") as file:
        return int(file.read().split()[1]) * os.sysconf("SC_PAGE_SIZE")
