"""Many threads at one layer, pool, stream, window, table at once: `python -m tests.proofs.many_threads`.

For a free-threaded Python that is itself built with the thread sanitizer (CPython's --disable-gil and
--with-thread-sanitizer), with fastlstm built by it (-C cmake.define.FASTLSTM_SANITIZE=thread): only there the sanitizer
sees Python's own locks. TSAN_OPTIONS=suppressions= takes what CPython has in Tools/tsan. Elsewhere it asserts the bits.
"""

import argparse
import contextlib
import sys
import threading

import numpy as np

import fastlstm
from tests.support import assert_same_bits


def main() -> int:
    """Let the threads go, and say whether there was a GIL."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--threads", type=int, default=4)
    parser.add_argument("--rounds", type=int, default=10)
    given = parser.parse_args()
    if min(given.threads, given.rounds) < 1:
        parser.error("there should be a thread, and a round")
    rng = np.random.default_rng(0)
    lstm = fastlstm.LSTM(16, 24, 2, seed=0, threads=fastlstm.ThreadPool(2))
    large = fastlstm.LSTM(65, 129, seed=0)  # of its steps the longer ones let the GIL go
    tokens = fastlstm.LSTM(8, 8, seed=0)
    table = tokens.table(rng.standard_normal((10, 8)).astype(np.float32))
    x, wide = (rng.standard_normal(shape).astype(np.float32) for shape in ((6, 3, 16), (given.threads, 65)))
    expected = lstm(x)[0]
    stream, window, pool = lstm.stream(), lstm.window(3), large.pool(given.threads)
    ids = [pool.open() for _ in range(given.threads)]
    start, failed = threading.Barrier(given.threads), []

    def work(number: int) -> None:
        start.wait()
        for _ in range(given.rounds):
            output, _, tape = lstm.forward(x)
            lstm.backward(tape, np.ones_like(output))
            assert_same_bits(lstm(x)[0], expected)
            tokens(np.array([[1], [2], [3]]), table=table)
            for call in (
                lambda: pool.step([ids[number]], wide[:1]),
                lambda: pool.step(ids, wide),
                lambda: pool.advance(ids),
                lambda: pool.state(ids[0]),
                lambda: pool.grow(pool.capacity + 1),
                pool.snapshot,
                lambda: stream.step(x[0, 0]),
                stream.save,
                lambda: window.push(x[0, 0]),
                lstm.state_dict,
                lstm.fingerprint,
            ):
                with contextlib.suppress(RuntimeError):  # in a step of another thread
                    call()

    def reported(number: int) -> None:
        try:
            work(number)
        except BaseException as error:
            failed.append(error)
            raise

    threads = [threading.Thread(target=reported, args=(number,)) for number in range(given.threads)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    gil = getattr(sys, "_is_gil_enabled", lambda: True)()
    print(f"{given.threads} threads, {'with' if gil else 'without'} a GIL: {len(failed)} failed")
    return bool(failed)


if __name__ == "__main__":
    raise SystemExit(main())
