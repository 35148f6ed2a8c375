"""A user's program, to be type-checked. An expected error that is not reported is an error: its ignore is unused."""

from pathlib import Path
from typing import Any, assert_type

import numpy as np
from numpy.typing import NDArray

import fastlstm

Array32 = NDArray[np.float32]
Array64 = NDArray[np.float64]


def layers(dtype: np.dtype[np.floating[Any]]) -> None:
    """Which numbers a layer takes and gives is known where the program is written down."""
    assert_type(fastlstm.LSTM(3, 4), fastlstm.LSTM[np.float32])
    assert_type(fastlstm.LSTM(3, 4, dtype="float64"), fastlstm.LSTM[np.float64])
    assert_type(fastlstm.LSTM(3, 4, dtype=np.float64), fastlstm.LSTM[np.float64])
    assert_type(fastlstm.LSTM(3, 4, dtype=dtype), fastlstm.LSTM[np.floating[Any]])
    assert_type(fastlstm.LSTMCell(3, 4, dtype=np.float32), fastlstm.LSTMCell[np.float32])
    assert_type(fastlstm.LSTMCell(3, 4, dtype=fastlstm.LSTM(3, 4).dtype), fastlstm.LSTMCell[np.float32])
    bare: fastlstm.LSTM = fastlstm.LSTM(3, 4)
    any_of_them: list[fastlstm.LSTM] = [bare, fastlstm.LSTM(3, 4, dtype="float64")]
    any_of_them[0](np.zeros((3, 2, 3), np.float32))
    fastlstm.LSTM(3, 4, dtype="float16")  # type: ignore[call-overload]
    fastlstm.LSTMCell(3, 4, dtype="int8")  # type: ignore[call-overload]
    fastlstm.LSTM(3, 4, dtype=np.float16)  # type: ignore[arg-type]
    fastlstm.LSTM(3, "4")  # type: ignore[call-overload]
    fastlstm.LSTM(3, 4, hidden=4)  # type: ignore[call-overload]


def run(lstm: fastlstm.LSTM[np.float32], x: Array32, wide: fastlstm.LSTM[np.float64]) -> Array32:
    """Sequences."""
    output, (h_n, c_n) = lstm(x)
    assert_type(output, Array32)
    assert_type(h_n, Array32)
    assert_type(wide(x)[0], Array64)
    lstm(x, (h_n, c_n), lengths=[3, 1], resets=np.zeros((3, 2), bool), out=output)
    lstm(x, out=np.empty(3))  # type: ignore[arg-type]
    lstm(x, h_n)  # type: ignore[arg-type]
    lstm(x, length=[3])  # type: ignore[call-arg]
    lstm.bakward(x)  # type: ignore[attr-defined]
    lstm.weight_ih_l0  # type: ignore[attr-defined]
    lstm.hidden_size = 3  # type: ignore[misc]
    assert_type(lstm.state_dict()["weight_ih_l0"], NDArray[Any])  # of a layer in 8 bits there are integers in it
    assert_type(lstm.hidden_size + lstm.num_layers, int)
    return output


def train(lstm: fastlstm.LSTM[np.float32], x: Array32, steps: int) -> None:
    """Train, as README.md does."""
    for _ in range(steps):
        output, _states, tape = lstm.forward(x)
        assert_type(tape, fastlstm.Tape)
        gradients = lstm.backward(tape, output)
        assert_type(gradients, fastlstm.Gradients[np.float32])
        assert_type(gradients.input, Array32)
        weights = lstm.state_dict()
        lstm.load_state_dict({name: weights[name] - 0.1 * gradient for name, gradient in gradients.parameters.items()})


def train_otherwise(lstm: fastlstm.LSTM, x: NDArray[Any], train: bool) -> None:
    """Every other way to call forward."""
    assert_type(lstm.forward(x, keep_every=32)[2], fastlstm.SparseTape)
    assert_type(lstm.forward(x, train=True, keep_every=None, seed=3)[2], fastlstm.Tape)
    assert_type(lstm.forward(x, train=False)[2], None)
    either = lstm.forward(x, train=train)[2]
    assert_type(either, fastlstm.Tape | fastlstm.SparseTape | None)
    lstm.backward(either)  # type: ignore[arg-type]
    lstm.backward(lstm.forward(x, train=False)[2])  # type: ignore[arg-type]
    tapes = [lstm.forward(x)[2], lstm.forward(x)[2]]
    chunks = lstm.backward_chunks(tapes, [None, x])
    assert_type(chunks.input[0], NDArray[Any])
    assert_type(tapes[0].seed + tapes[0].nbytes, int)
    assert_type(lstm.forward(x, keep_every=3)[2].used, bool)
    tapes[0].plan  # type: ignore[attr-defined]


def step(lstm: fastlstm.LSTM[np.float64], cell: fastlstm.LSTMCell[np.float32], x: Array32) -> None:
    """Live sequences."""
    stream = lstm.stream()
    assert_type(stream, fastlstm.Stream[np.float64])
    y = stream.step(x)
    assert_type(y, Array64)
    assert_type(stream.feed(x), Array64)
    assert_type(stream.state, tuple[Array64, Array64])
    stream.state = (y, y)
    stream.step(x, out=x)  # type: ignore[arg-type]
    stream.stepp(x)  # type: ignore[attr-defined]
    stream.advance()
    stream.advance(1)  # type: ignore[call-arg]
    stream.restore(stream.save(), any_weights=True)
    assert_type(stream.current, bool)
    pool = lstm.pool(10)
    a, b = pool.open(), pool.open()
    assert_type(pool.step([a, b], x, out=y), Array64)
    assert_type(pool.restore(pool.snapshot([a])), dict[int, int])
    pool.advance([a, b])
    pool.close(a)
    pool.close("a")  # type: ignore[arg-type]
    window = lstm.window(3)
    assert_type(window.push(x), Array64)
    window.advance()
    h, c = cell(x)
    h, c = cell(x, (h, c), out=(h, c))
    assert_type(h, Array32)
    assert_type(cell.weight_ih, Array32)
    assert_type(cell.bias_ih, Array32 | None)
    cell.wieght_ih  # type: ignore[attr-defined]


def files(path: Path) -> None:
    """Weights from files and into them."""
    lstm = fastlstm.load(path, "encoder", dtype="float64", form=fastlstm.Form(gate=("hard_sigmoid", 0.2)))
    fastlstm.load(path, threads=fastlstm.ThreadPool(2))
    assert_type(lstm, fastlstm.LSTM)
    fastlstm.load(path, dtype="float16")  # type: ignore[arg-type]
    fastlstm.save(lstm, path)
    print(*fastlstm.inspect(path))
    fastlstm.Form(gates="relu")  # type: ignore[call-arg]


def kernels(x: Array32, c: Array64) -> None:
    """Call the kernels alone."""
    assert_type(fastlstm.sigmoid(x), Array32)
    assert_type(fastlstm.tanh(c, out=c), Array64)
    assert_type(fastlstm.sigmoid([0.0, 1.0]), NDArray[Any])
    c_next, _h = fastlstm.gates_forward(x, x)
    assert_type(c_next, Array32)
    dz, _dc = fastlstm.gates_backward(c, c, c, c)
    assert_type(dz, Array64)
    assert_type(fastlstm.isas(), list[str])
    threads = fastlstm.ThreadPool(2)
    fastlstm.LSTM(3, 4, threads=threads)
    fastlstm.LSTM(3, 4, threads=2.5)  # type: ignore[call-overload]
    fastlstm.sigmoyd(x)  # type: ignore[attr-defined]


def comparisons(lstm: fastlstm.LSTM[np.float32], x: Array32) -> None:
    """Names that are imported late have types all the same."""
    found = fastlstm.compare(lstm, x, ["float16"], metric=lambda exact, ours: float(np.abs(exact - ours).max()))
    assert_type(found, fastlstm.Comparison)
    assert_type(found["float16"], fastlstm.Difference)
    assert_type(found["float16"].y.largest, NDArray[np.float64])
    fastlstm.compare(lstm, x, 16)  # type: ignore[arg-type]
    fastlstm.compare(lstm, x, metrics=max)  # type: ignore[call-arg]
