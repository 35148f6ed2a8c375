"""Training: tapes and gradients."""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator, Sequence
from typing import Any, Generic, NamedTuple

import numpy as np
from numpy.typing import NDArray

from . import _checks, _core
from ._call import Call, Frame, Steps
from ._types import Array, F, Shape, States

Incoming = tuple[Array | None, Array | None, Array | None]  #: gradients of output, h_n, c_n; None for zeros


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
        Whether it is used up.
    """

    def __init__(self, plan: _core.Plan, frame: Frame, dropout: float, seed: int, time: int = 0) -> None:
        self._core = _core.Tape(dropout if frame.sizes.L > 1 else 0.0, seed, time)
        self._plan = plan  # the weights it was, and will be, run with
        self._frame = frame

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
        """Whether it is used up."""
        return self._core.used

    @property
    def _empty(self) -> bool:
        return self.nbytes == 0

    def _forward(self, call: Call, workers: _core.Workers | None) -> tuple[Array, States]:
        return call.run(self._plan, workers, self._core)

    def _backward(self, grads: Incoming, workers: _core.Workers | None) -> Gradients:
        """Run; grads have been checked, that of the output is [T, B, D*R], as that of the input then is [T, B, I]."""
        frame, sizes = self._frame, self._frame.sizes
        output, h_n, c_n = (None if grad is None else np.ascontiguousarray(grad) for grad in grads)
        input = np.empty((frame.T, frame.B, sizes.I), frame.dtype)
        h_0, c_0 = (np.empty(shape, frame.dtype) for shape in frame.states())
        made = {name: np.empty(shape, frame.dtype) for name, shape in sizes.shapes.items()}
        self._core.run_backward(self._plan, output, h_n, c_n, input, h_0, c_0, sizes.gradient_rows(made), workers)
        for suffix in sizes.suffixes if sizes.bias else ():
            made[f"bias_hh{suffix}"] = made[f"bias_ih{suffix}"].copy()  # z depends on their sum alone
        return Gradients(input, h_0, c_0, made)

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

    def __init__(self, plan: _core.Plan, frame: Frame, dropout: float, seed: int, every: int) -> None:
        self._plan = plan
        self._frame = frame
        self._dropout, self._seed, self._every = dropout, seed, every
        self._used = False
        self._pieces: list[Steps] = []

    @property
    def seed(self) -> int:
        """Seed of the dropout mask."""
        return self._seed

    @property
    def used(self) -> bool:
        """Whether it is used up."""
        return self._used

    @property
    def nbytes(self) -> int:
        """Bytes that it takes."""
        return sum(a.nbytes for piece in self._pieces for a in (piece.x, piece.h_0, piece.c_0) if a is not None)

    @property
    def _empty(self) -> bool:
        return not (self._pieces or self._used)

    def _forward(self, call: Call, workers: _core.Workers | None) -> tuple[Array, States]:
        """Run piece by piece, the last state of one being the first of the next."""
        pieces = call.steps.pieces(self._every)
        state = call.steps.h_0, call.steps.c_0
        for piece in pieces:
            kept = piece.copied(*state)
            output = call.y[kept.time : kept.time + len(kept.x)]
            state = kept.run(self._plan, self._frame.sizes, output, workers, self._piece_tape(kept)._core)
            self._pieces.append(kept)
        h_n, c_n = state
        assert h_n is not None
        assert c_n is not None
        return call.result((h_n, c_n))

    def _piece_tape(self, piece: Steps) -> Tape:
        frame = self._frame._replace(T=len(piece.x))
        return Tape(self._plan, frame, self._dropout, self._seed, piece.time)

    def _backward(self, grads: Incoming, workers: _core.Workers | None) -> Gradients:
        """Piece by piece from the last: forward again, then backward."""
        if self._used:
            raise RuntimeError("this tape is used up: run forward again")
        self._used = True
        output, h_n, c_n = grads
        parts = (slice(piece.time, piece.time + len(piece.x)) for piece in reversed(self._pieces))
        each = (None if output is None else output[part] for part in parts)
        input, h_0, c_0, parameters = through(self._again(workers), each, h_n, c_n, workers)
        self._pieces = []
        return Gradients(np.concatenate(input), h_0, c_0, parameters)

    def _again(self, workers: _core.Workers | None) -> Iterator[Tape]:
        """Run the pieces forward once more, the last one first, each when it is asked for."""
        sizes = self._frame.sizes
        for piece in reversed(self._pieces):
            tape = self._piece_tape(piece)
            ignored = np.empty((*piece.x.shape[:2], sizes.D * sizes.R), self._frame.dtype)
            piece.run(self._plan, sizes, ignored, workers, tape._core)
            yield tape

    def __reduce__(self) -> Any:
        raise TypeError("a tape cannot be pickled or copied")

    def __repr__(self) -> str:
        return f"SparseTape({self.nbytes} bytes, {'used' if self.used else 'ready'})"


def checked_seed(value: object) -> int:
    """Check a seed; None for a fresh one."""
    given = _checks.seed(value)
    return int.from_bytes(os.urandom(8)) if given is None else given


def backward(plan: _core.Plan, tape: object, grads: Sequence[object], workers: _core.Workers | None) -> Gradients:
    """Check everything, and go back."""
    used = checked(plan, tape)
    made = used._backward(incoming(used, grads), workers)
    return made._replace(input=used._frame.outside(made.input))


def backward_chunks(
    plan: _core.Plan,
    tapes: Sequence[object],
    grad_outputs: Sequence[object],
    grad_h_n: object,
    grad_c_n: object,
    workers: _core.Workers | None,
) -> ChunkGradients:
    """Check everything, and go back through consecutive chunks."""
    if not tapes or len(tapes) != len(grad_outputs):
        raise ValueError(
            f"tapes and grad_outputs should have one length, at least 1, got: {len(tapes)} and {len(grad_outputs)}"
        )
    if len({id(tape) for tape in tapes}) < len(tapes):
        raise ValueError("a tape is given twice in tapes")
    used = [checked(plan, tape) for tape in tapes]
    outputs = [incoming(tape, (grad, None, None))[0] for tape, grad in zip(used, grad_outputs, strict=True)]
    _, h_n, c_n = incoming(used[-1], (None, grad_h_n, grad_c_n))
    if len({(tape._frame.batched, tape._frame.B) for tape in used}) > 1:
        raise ValueError("tapes are of different batch sizes")
    made = through(reversed(used), reversed(outputs), h_n, c_n, workers)
    input = [tape._frame.outside(array) for tape, array in zip(used, made.input, strict=True)]
    return made._replace(input=input)


def through(
    tapes: Iterable[Tape | SparseTape],
    grad_outputs: Iterable[Array | None],
    grad_h_n: Array | None,
    grad_c_n: Array | None,
    workers: _core.Workers | None,
) -> ChunkGradients:
    """Go back through consecutive pieces, the last first: a first state's gradient goes on to the piece before."""
    inputs: list[Array] = []
    total: dict[str, Array] = {}
    for tape, grad_output in zip(tapes, grad_outputs, strict=True):
        made = tape._backward((grad_output, grad_h_n, grad_c_n), workers)
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


def checked(plan: _core.Plan, tape: object) -> Tape | SparseTape:
    """Check a tape for a backward pass with these weights."""
    if not isinstance(tape, Tape | SparseTape):
        raise TypeError(f"tape should be a Tape from forward, got: {type(tape).__name__}")
    if tape._empty:
        raise RuntimeError("this tape is empty: forward fills it")
    if tape._plan is not plan:
        raise ValueError("tape is not of this layer with its present weights: run forward again")
    if tape.used:
        raise RuntimeError("this tape is used up: backward writes gradients over its gates; run forward again")
    return tape


def incoming(tape: Tape | SparseTape, grads: Sequence[object]) -> Incoming:
    """Check gradients of output, h_n, c_n against a tape; that of the output comes back as [T, B, D*R]."""
    frame = tape._frame
    shapes = (frame.output(), *frame.states())
    names = ("grad_output", "grad_h_n", "grad_c_n")
    output, h_n, c_n = (_incoming(*each, frame.dtype) for each in zip(grads, names, shapes, strict=True))
    return None if output is None else frame.inside(output), h_n, c_n


def _incoming(value: object, name: str, shape: Shape, dtype: np.dtype[Any]) -> Array | None:
    if value is None:
        return None
    array = _checks.floats(value, name, dtype)
    checked = _checks.shape(array, name, shape, f"the shape of {name.removeprefix('grad_')}")
    return _checks.contiguous(checked)
