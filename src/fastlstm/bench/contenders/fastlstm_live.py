"""What lives on between calls, ours: sessions in a pool or one by one, and windows that slide or are computed again."""

from itertools import cycle, islice, repeat

import numpy as np

import fastlstm
from fastlstm.bench.contenders import Answer, Loop, Prepared
from fastlstm.bench.works import CHECKED_STEPS, COMPANIES, Array, Data, Work, companies


def prepare(work: Work, data: Data, lstm: fastlstm.LSTM) -> Prepared:
    """Prepare a work of a kind that begins with "sessions" or "window"."""
    make = {"sessions": _pool, "sessions_alone": _streams, "window_again": _again}
    return make.get(work.kind, _window)(work, data, lstm)


def _pool(work: Work, data: Data, lstm: fastlstm.LSTM) -> tuple[Loop, Answer]:
    steps, everyone, _ = data.x.shape
    pool = lstm.pool(everyone)
    ids = np.array([pool.open() for _ in range(everyone)])
    indices = companies(work.case)
    calls, step = list(ids[indices]), pool.step
    x, out = data.x[0, : work.case.B], np.empty((work.case.B, work.case.H), np.float32)

    def loop(n: int) -> None:
        for company in islice(cycle(calls), n):
            step(company, x, out=out)

    def answer() -> Array:
        pool.reset(ids)
        output = np.empty((steps, everyone, work.case.H), np.float32)
        for k, (index, company) in enumerate(zip(indices, calls, strict=True)):
            t = k // COMPANIES
            output[t, index] = step(company, data.x[t, index], out=out)
        return output

    return loop, answer


def _streams(work: Work, data: Data, lstm: fastlstm.LSTM) -> tuple[Loop, Answer]:
    steps, everyone, _ = data.x.shape
    streams = [lstm.stream() for _ in range(everyone)]
    calls = [[streams[index].step for index in company] for company in companies(work.case)]
    xs, outs = list(data.x[0, : work.case.B]), list(np.empty((work.case.B, work.case.H), np.float32))

    def loop(n: int) -> None:
        for company in islice(cycle(calls), n):
            for step, x, out in zip(company, xs, outs, strict=True):
                step(x, out=out)

    def answer() -> Array:
        output = np.empty((steps, everyone, work.case.H), np.float32)
        for stream in streams:
            stream.reset()
        for k, company in enumerate(companies(work.case)):
            t = k // COMPANIES
            for index in company:
                streams[index].step(data.x[t, index], out=output[t, index])
        return output

    return loop, answer


def _window(work: Work, data: Data, lstm: fastlstm.LSTM) -> Prepared:
    window = lstm.window(work.case.T)
    inputs, out = data.x[:, 0], np.empty(work.case.H, np.float32)
    push, x, advanced = window.push, inputs[0], work.kind == "window_advanced"

    def loop(n: int) -> None:
        for _ in repeat(None, n):
            push(x, out=out)

    def answer() -> Array:
        window.reset()
        outputs = []
        for x in inputs:
            outputs.append(push(x, out=out).copy())
            if advanced:
                window.advance()
        return np.stack(outputs[-CHECKED_STEPS:])

    return (loop, answer, window.advance) if advanced else (loop, answer)


def _again(work: Work, data: Data, lstm: fastlstm.LSTM) -> tuple[Loop, Answer]:
    length, out = work.case.T, np.empty((work.case.T, work.case.H), np.float32)
    inputs = data.x[:, 0]
    first = inputs[:length]

    def loop(n: int) -> None:
        for _ in repeat(None, n):
            lstm(first, out=out)

    def answer() -> Array:
        return np.stack([lstm(inputs[k : k + length])[0][-1] for k in range(CHECKED_STEPS)])

    return loop, answer
