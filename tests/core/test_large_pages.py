"""Packed weights lie on large pages from 1.5 MiB on, where the system has them; nothing else changes."""

import shutil
import subprocess
from pathlib import Path

import pytest

from tests.support import run_python

LARGE = 2 << 20


def flags_are_told() -> bool:
    smaps = Path("/proc/self/smaps")
    return (
        Path("/sys/kernel/mm/transparent_hugepage/enabled").exists()
        and smaps.exists()
        and "VmFlags:" in smaps.read_text(encoding="utf-8")
    )


needs_flags = pytest.mark.skipif(not flags_are_told(), reason="needs Linux's large pages, and /proc that tells of them")

# what asks for large pages, as {start: bytes}; arrays of NumPy's do from 4 MiB on, and stay below that here
ASKING = """
import gc, re
import numpy as np, fastlstm

def asking():
    found, start, end = {}, 0, 0
    for line in open("/proc/self/smaps"):
        if head := re.match("([0-9a-f]+)-([0-9a-f]+) ", line):
            start, end = (int(group, 16) for group in head.groups())
        elif line.startswith("VmFlags:") and "hg" in line.split():
            found[start] = end - start
    return found

def plan(input_size, hidden_size, layers=1):
    lstm = fastlstm.LSTM(input_size, hidden_size, layers, seed=0)
    lstm(np.zeros((1, input_size), np.float32))  # packs
    return lstm
"""


@needs_flags
def test_one_block_of_a_large_plan_asks_for_large_pages() -> None:
    script = f"""{ASKING}
page = 1 << 16  # no system's small page is larger
for input_size, hidden_size, layers, large in (
    (64, 64, 1, 0), (160, 160, 1, 0), (128, 64, 8, 0),  # up to 1.4 MiB
    (230, 230, 1, 1), (128, 128, 4, 1), (256, 256, 1, 1), (300, 256, 1, 1),  # 1.6, 2, 2.01 and 2.2 MiB
    (338, 338, 1, 2), (600, 256, 1, 1), (240, 240, 2, 2),  # 3.5, 3.3 and 3.5 MiB: the rest nearly fills one, or not
):
    assert not asking(), asking()
    lstm = plan(input_size, hidden_size, layers)
    found = asking()
    assert len(found) == (large > 0), (input_size, hidden_size, found)
    for start, size in found.items():
        packed = 4 * -(-hidden_size // 8) * 32 * (input_size + hidden_size + (layers - 1) * 2 * hidden_size)
        assert start % {LARGE} == 0 and size >= packed, (input_size, hidden_size, start, size)
        assert size == large * {LARGE} or large * {LARGE} < size < packed + 8192 + page, (input_size, hidden_size, size)
    del lstm
    gc.collect()
assert not asking(), asking()
"""
    run_python(script)


@needs_flags
@pytest.mark.unsanitized
def test_plans_that_come_and_go_leave_nothing_mapped() -> None:
    script = f"""{ASKING}
def mapped():
    return int(re.search("VmSize:\\\\s+(\\\\d+)", open("/proc/self/status").read())[1])

for k in range(60):
    kept = [plan(256, 256 + k % 3), plan(300, 256)]
    if k == 20:
        before = mapped()
    del kept
gc.collect()
assert not asking(), asking()
assert mapped() - before < 1024, mapped() - before
"""
    run_python(script)


SHIM = """
#define _GNU_SOURCE
#include <dlfcn.h>
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
static long refused;
long refusals(void) { return refused; }
static int refuses(const char *name) {
  const char *const call = getenv("REFUSED");
  return call && !strcmp(call, name);
}
void *mmap(void *at, size_t n, int access, int flags, int file, off_t offset) {
  void *(*const real)(void *, size_t, int, int, int, off_t) = dlsym(RTLD_NEXT, "mmap");
  if (!refuses("mmap") || file != -1 || n < 3u << 20) return real(at, n, access, flags, file, offset);
  refused++;
  errno = ENOMEM;
  return MAP_FAILED;
}
int madvise(void *at, size_t n, int advice) {
  int (*const real)(void *, size_t, int) = dlsym(RTLD_NEXT, "madvise");
  if (!refuses("madvise") || advice != MADV_HUGEPAGE) return real(at, n, advice);
  refused++;
  errno = EINVAL;
  return -1;
}
"""


@pytest.mark.unsanitized
@needs_flags
@pytest.mark.parametrize("refused", ["mmap", "madvise"])
def test_a_system_that_refuses_gets_no_complaint_and_the_same_bits(refused: str, tmp_path: Path) -> None:
    compiler = shutil.which("cc")
    if compiler is None:
        pytest.skip("needs a C compiler, to refuse large pages")
    source, shim = tmp_path / "shim.c", tmp_path / "shim.so"
    source.write_text(SHIM, encoding="utf-8")
    subprocess.run([compiler, "-shared", "-fPIC", "-o", shim, source, "-ldl"], check=True)
    script = f"""{ASKING}
import ctypes, os, sys
refusals = ctypes.CDLL(None).refusals
refusals.restype = ctypes.c_long
assert not refusals()
x = np.random.default_rng(0).standard_normal((3, 2, 300)).astype(np.float32)
def output():
    lstm = fastlstm.LSTM(300, 256, seed=0)
    y = lstm(x)[0]
    return y, asking(), lstm
expected, large, _lstm = output()
assert large and not refusals()
del _lstm
gc.collect()
os.environ["REFUSED"] = {refused!r}
got, large, _lstm = output()
assert refusals() and not large, (refusals(), large)
assert np.array_equal(got, expected)
"""
    run_python(script, LD_PRELOAD=str(shim))
