"""What scripts that fork share: layers, and whether their answers are those of one thread."""

import numpy as np

import fastlstm
from tests.cases import Array

x: Array = np.random.default_rng(0).standard_normal((20, 20, 9)).astype("float32")


def make(threads: int | fastlstm.ThreadPool) -> list[fastlstm.LSTM]:
    """Make some layers, with the same weights every time."""
    sizes = ((33, False), (161, False), (33, True))
    return [fastlstm.LSTM(9, H, bidirectional=two, threads=threads, seed=0) for H, two in sizes]


def answers(made: list[fastlstm.LSTM]) -> list[bytes]:
    """Return what layers give for whole sequences, and the first for sessions and for windows."""
    got = [lstm(x)[0].tobytes() for lstm in made]
    sessions, window = made[0].pool(20), made[0].window(20)
    ids = [sessions.open() for _ in range(20)]
    return got + [sessions.step(ids, x[0]).tobytes()] + [window.push(row).tobytes() for row in x[:, 0]]


expected = answers(make(1))


def check(made: list[fastlstm.LSTM]) -> bool:
    """Tell whether layers give what one thread gives."""
    return answers(made) == expected
