"""The audio callback in examples/realtime: nothing is found in it, and what is put in is found."""

import re
import subprocess
import sys
from pathlib import Path

import pytest

from tests.package.test_c_library import COMPILERS, ENVIRONMENT, TOOLS, WARNINGS, cmake
from tests.support import EXAMPLES

pytestmark = [
    pytest.mark.unsanitized,
    pytest.mark.skipif(sys.platform != "linux", reason="its guard needs Linux"),
    pytest.mark.skipif(not TOOLS["cmake"], reason="pip install cmake ninja"),
    pytest.mark.skipif(not all(COMPILERS.values()), reason="needs a C and a C++ compiler"),
    pytest.mark.skipif(not Path("/usr/include/gnu/libc-version.h").exists(), reason="its guard needs glibc"),
]


@pytest.fixture(scope="module")
def program(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Build it with the library of this tree; a warning is an error."""
    build = tmp_path_factory.mktemp("realtime")
    cmake(EXAMPLES / "realtime", build, f"-DCMAKE_C_FLAGS={' '.join(WARNINGS)}")
    return build / "realtime"


def run(program: Path, *arguments: str, **more: str) -> tuple[int, str]:
    done = subprocess.run(
        [program, *arguments], capture_output=True, text=True, timeout=300, check=False, env=ENVIRONMENT | more
    )
    return done.returncode, done.stdout + done.stderr


def test_callbacks_neither_allocate_nor_lock_nor_call_the_system(program: Path) -> None:
    status, said = run(program, "30000")
    if "NOT WATCHED" in said:
        assert status == 1, said  # nobody is told that all is well
        pytest.skip("system calls were not watched: no seccomp here")
    assert status == 0, said
    for name in ("p50", "p99", r"p99\.99", r"p99\.9999", "max"):
        assert len(re.findall(rf"^  {name} +[\d.]+ us +[\d.]+ %$", said, re.MULTILINE)) == 2, said
    assert "page faults of the process: 0" in said
    assert "the bits of the whole sequence" in said
    assert "no allocation, no lock; no system call\n" in said


@pytest.mark.parametrize(
    ("offence", "found"),
    [
        ("malloc", "FOUND in a callback: malloc"),
        ("lock", "FOUND in a callback: pthread_mutex_lock"),
        ("c11_lock", "FOUND in a callback: mtx_lock"),
        ("system", r"FOUND in a callback: system call \d+"),
        ("clock", "FOUND in a callback: clock_gettime"),
        ("library", "FOUND in a callback: (malloc|calloc|aligned_alloc|posix_memalign)"),
        ("fault", r"page faults of the process: ([1-9]\d*)"),
    ],
)
def test_a_callback_made_to_fail_is_found(program: Path, offence: str, found: str) -> None:
    status, said = run(program, "1000", offence)
    if "NOT WATCHED" in said and offence == "system":
        pytest.skip("system calls were not watched: no seccomp here")
    assert status == 1, said
    assert re.search(found, said), said


def test_system_calls_that_nobody_watched_are_no_success(program: Path, tmp_path: Path) -> None:
    """As where the kernel has no filters."""
    source, library = tmp_path / "refuse.c", tmp_path / "refuse.so"
    source.write_text("int prctl(int option, ...) { return option = -1; }\n")
    subprocess.run([str(COMPILERS["c"]), "-shared", "-fPIC", source, "-o", library], check=True)
    status, said = run(program, "1000", LD_PRELOAD=str(library))
    assert "SYSTEM CALLS NOT WATCHED" in said
    assert status == 1, said


def test_other_arguments_are_refused(program: Path) -> None:
    for arguments in (("0",), ("100", "nothing"), ("1", "lock", "2")):
        status, said = run(program, *arguments)
        assert status == 2
        assert said.startswith("usage: "), said
