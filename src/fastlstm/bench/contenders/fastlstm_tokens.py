"""Ours on tokens: rows of an embedding looked up and multiplied, or the same from a table of the products."""

from itertools import repeat

import numpy as np

import fastlstm
from fastlstm.bench.contenders import Answer, Loop
from fastlstm.bench.works import Array, Data, Work


def prepare(work: Work, data: Data, lstm: fastlstm.LSTM) -> tuple[Loop, Answer]:
    """Prepare a work of a kind that begins with "tokens"; B is 1 where it goes step by step."""
    make = {"tokens": _looked_up, "tokens_table": _table, "tokens_step": _steps, "tokens_step_table": _steps_table}
    return make[work.kind](work, data, lstm)


def _looked_up(work: Work, data: Data, lstm: fastlstm.LSTM) -> tuple[Loop, Answer]:
    embedding, ids = data.embedding, data.ids

    def loop(n: int) -> None:
        for _ in repeat(None, n):
            lstm(embedding[ids])

    return loop, lambda: lstm(embedding[ids])[0]


def _table(work: Work, data: Data, lstm: fastlstm.LSTM) -> tuple[Loop, Answer]:
    table, ids = lstm.table(data.embedding), data.ids

    def loop(n: int) -> None:
        for _ in repeat(None, n):
            lstm(ids, table=table)

    return loop, lambda: lstm(ids, table=table)[0]


def _steps(work: Work, data: Data, lstm: fastlstm.LSTM) -> tuple[Loop, Answer]:
    stream, embedding, out = lstm.stream(), data.embedding, np.empty(work.case.H, np.float32)
    step, ids = stream.step, data.ids[:, 0].tolist()
    first = ids[0]

    def loop(n: int) -> None:
        for _ in repeat(None, n):
            step(embedding[first], out=out)

    def answer() -> Array:
        stream.reset()
        return np.stack([step(embedding[token], out=out).copy() for token in ids])[:, None]

    return loop, answer


def _steps_table(work: Work, data: Data, lstm: fastlstm.LSTM) -> tuple[Loop, Answer]:
    stream, out = lstm.stream(table=lstm.table(data.embedding)), np.empty(work.case.H, np.float32)
    step, ids = stream.step, data.ids[:, 0].tolist()
    first = ids[0]

    def loop(n: int) -> None:
        for _ in repeat(None, n):
            step(first, out=out)

    def answer() -> Array:
        stream.reset()
        return np.stack([step(token, out=out).copy() for token in ids])[:, None]

    return loop, answer
