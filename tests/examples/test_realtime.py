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


# What guard.c finds by name, each as a program calls it where nothing has to be waited for.
CALLS = {
    "malloc": "free(malloc(1))",
    "calloc": "free(calloc(1, 1))",
    "realloc": "memory = realloc(memory, 2)",
    "memalign": "free(memalign(64, 64))",
    "valloc": "free(valloc(1))",
    "aligned_alloc": "free(aligned_alloc(64, 64))",
    "posix_memalign": "posix_memalign(&memory, 64, 64)",
    "free": "free(memory)",
    "pthread_mutex_lock": "pthread_mutex_lock(&mutex)",
    "pthread_mutex_trylock": "pthread_mutex_trylock(&mutex)",
    "pthread_mutex_timedlock": "pthread_mutex_timedlock(&mutex, &past)",
    "pthread_mutex_unlock": "pthread_mutex_unlock(&mutex)",
    "mtx_lock": "mtx_lock(&plain)",
    "mtx_trylock": "mtx_trylock(&plain)",
    "mtx_timedlock": "mtx_timedlock(&timed, &past)",
    "mtx_unlock": "mtx_unlock(&plain)",
    "pthread_rwlock_rdlock": "pthread_rwlock_rdlock(&both)",
    "pthread_rwlock_tryrdlock": "pthread_rwlock_tryrdlock(&both)",
    "pthread_rwlock_wrlock": "pthread_rwlock_wrlock(&both)",
    "pthread_rwlock_trywrlock": "pthread_rwlock_trywrlock(&both)",
    "pthread_rwlock_unlock": "pthread_rwlock_unlock(&both)",
    "pthread_spin_lock": "pthread_spin_lock(&spin)",
    "pthread_spin_trylock": "pthread_spin_trylock(&spin)",
    "pthread_spin_unlock": "pthread_spin_unlock(&spin)",
    "pthread_barrier_wait": "pthread_barrier_wait(&barrier)",
    "pthread_cond_timedwait": "pthread_cond_timedwait(&condition, &mutex, &past)",
    "pthread_cond_signal": "pthread_cond_signal(&condition)",
    "pthread_cond_broadcast": "pthread_cond_broadcast(&condition)",
    "cnd_timedwait": "cnd_timedwait(&standard, &timed, &past)",
    "cnd_signal": "cnd_signal(&standard)",
    "cnd_broadcast": "cnd_broadcast(&standard)",
    "sem_wait": "sem_wait(&semaphore)",
    "sem_trywait": "sem_trywait(&semaphore)",
    "sem_timedwait": "sem_timedwait(&semaphore, &past)",
    "sem_post": "sem_post(&semaphore)",
    "clock_gettime": "clock_gettime(CLOCK_MONOTONIC, &now)",
    "timespec_get": "timespec_get(&now, TIME_UTC)",
    "gettimeofday": "gettimeofday(&day, NULL)",
    "time": "time(NULL)",
    "clock": "clock()",
    "nanosleep": "nanosleep(&past, NULL)",
    "clock_nanosleep": "clock_nanosleep(CLOCK_MONOTONIC, 0, &past, NULL)",
    "usleep": "usleep(1)",
    "sleep": "sleep(0)",
    "thrd_sleep": "thrd_sleep(&past, NULL)",
}
PROGRAM = """
#define _GNU_SOURCE
#include <malloc.h>
#include <pthread.h>
#include <semaphore.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/time.h>
#include <threads.h>
#include <time.h>
#include <unistd.h>
#include "guard.h"
int main(int count, char **name) {{
  pthread_mutex_t mutex = PTHREAD_MUTEX_INITIALIZER;
  pthread_rwlock_t both = PTHREAD_RWLOCK_INITIALIZER;
  pthread_cond_t condition = PTHREAD_COND_INITIALIZER;
  pthread_spinlock_t spin;
  pthread_barrier_t barrier;
  mtx_t plain, timed;
  cnd_t standard;
  sem_t semaphore;
  struct timespec now, past = {{0, 0}};
  struct timeval day;
  void *memory = NULL;
  if (count < 2 || pthread_spin_init(&spin, 0) || pthread_barrier_init(&barrier, NULL, 1)) return 2;
  if (mtx_init(&plain, mtx_plain) != thrd_success || mtx_init(&timed, mtx_timed) != thrd_success) return 2;
  if (cnd_init(&standard) != thrd_success || sem_init(&semaphore, 0, 1)) return 2;
  if (strstr(name[1], "unlock") || strstr(name[1], "timedwait")) {{
    pthread_mutex_lock(&mutex);
    pthread_spin_lock(&spin);
    mtx_lock(&plain);
    mtx_lock(&timed);
    pthread_rwlock_wrlock(&both);
  }}
  guard_enter();
{calls}
  guard_leave();
  printf("%s\\n", guard_found() ? guard_found() : "nothing");
  return 0;
}}
"""


def test_every_function_that_the_guard_names_is_found(tmp_path: Path) -> None:
    text = (EXAMPLES / "realtime" / "guard.c").read_text(encoding="utf-8")
    named = re.findall(r"^PASSED_ON(?:_AS)?\((?:time_t, |clock_t, |unsigned, )?(\w+), \(", text, re.MULTILINE)
    named += re.findall(r'forbidden\("(\w+)"\)', text)
    for_others = {"pthread_cond_wait", "cnd_wait"}  # end only when another thread ends them
    assert set(named) - for_others == set(CALLS)
    calls = "\n".join(f'  if (!strcmp(name[1], "{name}")) {call};' for name, call in CALLS.items())
    source, program = tmp_path / "calls.c", tmp_path / "calls"
    source.write_text(PROGRAM.format(calls=calls), encoding="utf-8")
    folder = EXAMPLES / "realtime"
    command = [str(COMPILERS["c"]), "-std=c11", "-w", f"-I{folder}", source, folder / "guard.c", "-pthread", "-ldl"]
    subprocess.run([*command, "-o", program], check=True, env=ENVIRONMENT)
    assert {name: run(program, name)[1].strip() for name in CALLS} == {name: name for name in CALLS}
    assert run(program, "none")[1].strip() == "nothing"


def test_other_arguments_are_refused(program: Path) -> None:
    for arguments in (("0",), ("100", "nothing"), ("1", "lock", "2")):
        status, said = run(program, *arguments)
        assert status == 2
        assert said.startswith("usage: "), said
