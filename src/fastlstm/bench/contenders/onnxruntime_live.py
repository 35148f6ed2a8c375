"""What lives on between calls, with ONNX Runtime: states gathered from arrays, and windows computed again."""

from itertools import cycle, islice, repeat

import numpy as np
import onnxruntime as ort

from fastlstm.bench.contenders import Answer, Loop
from fastlstm.bench.contenders.onnxruntime_graph import bind
from fastlstm.bench.works import CHECKED_STEPS, COMPANIES, Array, Data, Work, companies


def sessions(session: ort.InferenceSession, work: Work, data: Data) -> tuple[Loop, Answer]:
    """Prepare the kind "sessions": gather states, run one step of the batch, scatter them."""
    steps, everyone, _ = data.x.shape
    rows, hidden = work.case.B, work.case.H
    h, c = np.zeros((2, everyone, hidden), np.float32)
    h_0, c_0, h_n, c_n = np.empty((4, 1, rows, hidden), np.float32)
    x, y = data.x[:1, :rows].copy(), np.empty((1, 1, rows, hidden), np.float32)
    binding = bind(session, {"x": x, "h_0": h_0, "c_0": c_0}, {"y": y, "h_n": h_n, "c_n": c_n})
    calls, run, take = list(companies(work.case)), session.run_with_iobinding, np.take

    def step(ids: Array) -> None:
        # With any mode but "clip" NumPy would gather into an array of its own first.
        take(h, ids, axis=0, out=h_0[0], mode="clip")
        take(c, ids, axis=0, out=c_0[0], mode="clip")
        run(binding)
        h[ids] = h_n[0]
        c[ids] = c_n[0]

    def loop(n: int) -> None:
        for ids in islice(cycle(calls), n):
            step(ids)

    def answer() -> Array:
        h[:] = c[:] = 0
        output = np.empty((steps, everyone, hidden), np.float32)
        for k, ids in enumerate(calls):
            t = k // COMPANIES
            x[0] = data.x[t, ids]
            step(ids)
            output[t, ids] = y[0, 0]
        return output

    return loop, answer


def window(session: ort.InferenceSession, work: Work, data: Data) -> tuple[Loop, Answer]:
    """Prepare the kind "window_again": all steps of the window, for its last answer."""
    length, hidden = work.case.T, work.case.H
    x, h_n = data.x[:length].copy(), np.empty((1, 1, hidden), np.float32)
    binding, run = bind(session, {"x": x}, {"h_n": h_n}), session.run_with_iobinding

    def loop(n: int) -> None:
        for _ in repeat(None, n):
            run(binding)

    def answer() -> Array:
        outputs = []
        for k in range(CHECKED_STEPS):
            x[:] = data.x[k : k + length]
            run(binding)
            outputs.append(h_n[0, 0].copy())
        return np.stack(outputs)

    return loop, answer
