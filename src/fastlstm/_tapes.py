"""Training: tapes and gradients."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING, Any, Generic, NamedTuple

import numpy as np
from numpy.typing import NDArray

from . import _checks, _core
from ._types import Array, F

if TYPE_CHECKING:
    from ._lstm import LSTM


class Gradients(NamedTuple, Generic[F]):
    """What `LSTM.backward` returns; each gradient has the shape and dtype of what it belongs to."""

    input: NDArray[F]  #: of the input
    h_0: NDArray[F]  #: of the initial hidden state, [L*D, B, R] or [L*D, R]
    c_0: NDArray[F]  #: of the initial cell state, [L*D, B, H] or [L*D, H]
    parameters: dict[str, NDArray[F]]  #: of every parameter, by its name in state_dict

    def __repr__(self) -> str:
        return f"Gradients(input={_told(self.input)}, {_told_rest(self)})"


class ChunkGradients(NamedTuple, Generic[F]):
    """What `LSTM.backward_chunks` returns."""

    input: list[NDArray[F]]  #: of the input, chunk by chunk
    h_0: NDArray[F]  #: of the first chunk's initial hidden state, [L*D, B, R] or [L*D, R]
    c_0: NDArray[F]  #: of the first chunk's initial cell state, [L*D, B, H] or [L*D, H]
    parameters: dict[str, NDArray[F]]  #: of every parameter, by its name in state_dict, summed over the chunks

    def __repr__(self) -> str:
        return f"ChunkGradients(input=[{', '.join(map(_told, self.input))}], {_told_rest(self)})"


def _told(array: Array) -> str:
    """Write a shape, and a dtype if it is not float32."""
    dtype = "" if array.dtype == np.float32 else f" {array.dtype}"
    return f"{list(array.shape)}{dtype}"


def _told_rest(made: Gradients[Any] | ChunkGradients[Any]) -> str:
    parameters = ", ".join(f"{name}: {_told(array)}" for name, array in made.parameters.items())
    return f"h_0={_told(made.h_0)}, c_0={_told(made.c_0)}, parameters={{{parameters}}}"


class Tape:
    """What `LSTM.forward` keeps for one `LSTM.backward`.

    It holds copies: nothing done to the arrays meanwhile can spoil it.

    Attributes
    ----------
    nbytes : int
        Bytes that it takes.
    seed : int
        Of the dropout mask.
    used : bool
        Whether it has served.
    """

    def __init__(self, lstm: LSTM, seed: int, time: int = 0, plan: _core.Plan | None = None) -> None:
        core = _core.Tape(lstm.dropout if lstm.num_layers > 1 else 0.0, seed, time)
        self._plan = plan or lstm._plan  # the weights it was, and will be, run with
        self._core = core
        self._shape: tuple[int, ...] = ()  # of the output

    @property
    def seed(self) -> int:
        """Seed of the dropout mask."""
        return self._core.seed

    @property
    def nbytes(self) -> int:
        """Bytes that it takes."""
        return self._core.nbytes

    @property
    def used(self) -> bool:
        """Whether it has served."""
        return self._core.used

    def _backward(
        self, lstm: LSTM, grad_output: Array | None, grad_h_n: Array | None, grad_c_n: Array | None
    ) -> Gradients:
        """Run; the gradients have been checked."""
        batched = len(self._shape) == 3
        turned = batched and lstm.batch_first
        sizes, dtype = lstm._sizes, lstm.dtype
        if grad_output is not None and turned:
            grad_output = np.ascontiguousarray(grad_output.transpose(1, 0, 2))
        lead = (self._shape[1], self._shape[0]) if turned else self._shape[:-1]
        input = np.empty((*lead, sizes.I), dtype)
        h_0, c_0 = (np.empty(shape, dtype) for shape in sizes.states(*rows(lstm, self._shape)))
        made = {name: np.empty(shape, dtype) for name, shape in sizes.shapes.items()}
        weights = sizes.gradient_rows(made)
        self._core.run_backward(self._plan, grad_output, grad_h_n, grad_c_n, input, h_0, c_0, weights, lstm._workers)
        for suffix in sizes.suffixes if sizes.bias else ():
            made[f"bias_hh{suffix}"] = made[f"bias_ih{suffix}"].copy()  # z depends on their sum alone
        return Gradients(input.transpose(1, 0, 2) if turned else input, h_0, c_0, made)

    def __reduce__(self) -> Any:
        raise TypeError("a tape cannot be pickled or copied")

    def __repr__(self) -> str:
        return f"{type(self).__name__}({self.nbytes} bytes, {'used' if self.used else 'ready'})"


class SparseTape:
    """A tape that keeps the state every k steps, and runs each piece forward again in the backward pass.

    Attributes
    ----------
    nbytes, seed, used
        As for `Tape`; the backward pass takes one piece's tape more at a time.
    """

    def __init__(self, lstm: LSTM, seed: int, every: int) -> None:
        self._plan = lstm._plan
        self._seed = seed
        self._every = every
        self._used = False
        self._pieces: list[dict[str, Any]] = []  # arguments of forward, piece by piece
        self._shape: tuple[int, ...] = ()

    @property
    def seed(self) -> int:
        """Seed of the dropout mask."""
        return self._seed

    @property
    def used(self) -> bool:
        """Whether it has served."""
        return self._used

    @property
    def nbytes(self) -> int:
        """Bytes that it takes."""
        arrays = [a for piece in self._pieces for a in (piece["input"], *(piece["hx"] or ()))]
        return sum(array.nbytes for array in arrays)

    def _forward(
        self, lstm: LSTM, input: Array, hx: Any, lengths: Any, resets: Any
    ) -> tuple[Array, tuple[Array, Array]]:
        """Run piece by piece, the last state of one being the first of the next."""
        axis = 1 if lstm.batch_first and input.ndim == 3 else 0
        T = input.shape[axis]
        B = input.shape[1 - axis] if input.ndim == 3 else None
        steps = None if lengths is None else _checks.lengths(lengths, T, B)
        flags = None if resets is None else _checks.resets(resets, input.shape[:-1], "one for every step of every row")
        state = None
        if hx is not None:
            batched = B is not None
            h, c = lstm._initial_state(hx, *lstm._sizes.states(1 if B is None else B), batched)
            state = (h, c) if batched else (h[:, 0], c[:, 0])
        outputs = []
        for t0 in range(0, max(T, 1), self._every):
            part = (slice(None),) * axis + (slice(t0, t0 + self._every),)
            piece: dict[str, Any] = {
                "input": np.array(input[part]),
                "hx": state and tuple(np.array(array) for array in state),
            }
            if steps is not None:
                inside = np.clip(steps - t0, 0, piece["input"].shape[axis])
                piece["lengths"] = inside if B is not None else int(inside[0])
            if flags is not None:
                piece["resets"] = flags[part]
            self._pieces.append(piece | {"part": part, "time": t0})
            output, state = lstm._train(Tape(lstm, self._seed, t0, self._plan), **piece)
            outputs.append(output)
        whole = np.concatenate(outputs, axis)
        self._shape = whole.shape
        assert state is not None
        return whole, state

    def _backward(
        self, lstm: LSTM, grad_output: Array | None, grad_h_n: Array | None, grad_c_n: Array | None
    ) -> Gradients:
        """Piece by piece from the last: forward again, then backward."""
        if self._used:
            raise RuntimeError("this tape has served: run forward again")
        self._used = True

        parts = [piece.pop("part") for piece in self._pieces]
        grads = [None if grad_output is None else np.ascontiguousarray(grad_output[part]) for part in parts]
        input, h_0, c_0, parameters = through(lstm, self._again(lstm), grads[::-1], grad_h_n, grad_c_n)
        self._pieces = []
        axis = 1 if lstm.batch_first and len(self._shape) == 3 else 0
        return Gradients(np.concatenate(input, axis), h_0, c_0, parameters)

    def _again(self, lstm: LSTM) -> Iterator[Tape]:
        """Run the pieces forward once more, the last one first, each when it is asked for."""
        for piece in reversed(self._pieces):
            tape = Tape(lstm, self._seed, piece.pop("time"), self._plan)
            lstm._train(tape, **piece)
            yield tape

    def __reduce__(self) -> Any:
        raise TypeError("a tape cannot be pickled or copied")

    def __repr__(self) -> str:
        return f"SparseTape({self.nbytes} bytes, {'used' if self.used else 'ready'})"


def through(
    lstm: LSTM,
    tapes: Iterator[Tape | SparseTape],
    grad_outputs: Sequence[Array | None],
    grad_h_n: Array | None,
    grad_c_n: Array | None,
) -> ChunkGradients:
    """Go back through consecutive pieces, the last first: a first state's gradient goes on to the piece before."""
    inputs: list[Array] = []
    total: dict[str, Array] = {}
    for tape, grad_output in zip(tapes, grad_outputs, strict=True):
        made = tape._backward(lstm, grad_output, grad_h_n, grad_c_n)
        grad_h_n, grad_c_n = made.h_0, made.c_0
        inputs.append(made.input)
        for name, gradient in made.parameters.items():
            if name in total:
                _core.accumulate(total[name], gradient)
            else:
                total[name] = gradient
    assert grad_h_n is not None
    assert grad_c_n is not None
    return ChunkGradients(inputs[::-1], grad_h_n, grad_c_n, total)


def checked(lstm: LSTM, tape: object, grads: Sequence[object]) -> list[Array | None]:
    """Check a tape, and gradients of output, h_n, c_n against it."""
    if not isinstance(tape, Tape | SparseTape):
        raise TypeError(f"tape should be a Tape from forward, got: {type(tape).__name__}")
    if not tape._shape:
        raise RuntimeError("this tape is empty: it comes from forward")
    if tape._plan is not lstm._plan:
        raise ValueError("tape is not of this layer with its present weights: run forward again")
    if tape.used:
        raise RuntimeError("this tape has served: its gates have become gradients; run forward again")
    shapes = (tape._shape, *lstm._sizes.states(*rows(lstm, tape._shape)))
    names = ("grad_output", "grad_h_n", "grad_c_n")
    return [_incoming(*each, lstm.dtype) for each in zip(grads, names, shapes, strict=True)]


def rows(lstm: LSTM, shape: tuple[int, ...]) -> tuple[int, ...]:
    """(B,), or () where the output is unbatched."""
    if len(shape) != 3:
        return ()
    return (shape[0] if lstm.batch_first else shape[1],)


def _incoming(value: object, name: str, shape: tuple[int, ...], dtype: np.dtype[Any]) -> Array | None:
    if value is None:
        return None
    array = _checks.floats(value, name, dtype)
    checked = _checks.shape(array, name, shape, f"the shape of {name.removeprefix('grad_')}")
    return np.require(checked, requirements=("C", "A"))
