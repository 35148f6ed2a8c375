"""LSTM: torch's names, shapes and defaults over NumPy arrays."""

from __future__ import annotations

import functools
import warnings
from collections.abc import Sequence
from typing import Any, Literal, Self, overload

import numpy as np
from numpy.typing import ArrayLike, DTypeLike, NDArray

from . import _checks, _core, _forms, _settings, _tapes, _trace, _weights
from ._call import Call, Frame
from ._forms import Form
from ._layer import Layer
from ._settings import Settings
from ._stream import Stream
from ._stream_pool import StreamPool, capacity_of
from ._table import Table, embedding_of, serving
from ._tapes import ChunkGradients, Gradients, SparseTape, Tape
from ._thread_pool import ThreadPool, workers
from ._trace import GateTrace
from ._types import F, Float32, Float64
from ._window import SlidingWindow


class LSTM(Layer[F]):
    """A stack of LSTM layers with torch's arguments, shapes and defaults.

    Each layer computes, for every step of every row::

        i = sigmoid(W_i x + U_i h + b_i)   input gate:  how much of the candidate is written
        f = sigmoid(W_f x + U_f h + b_f)   forget gate: how much of the cell is kept
        g = tanh   (W_g x + U_g h + b_g)   candidate:   a signed update
        o = sigmoid(W_o x + U_o h + b_o)   output gate: how much of the cell is shown
        c' = f * c + i * g                 the cell recurrence
        h' = o * tanh(c')                  (then W_hr h' with a projection)

    Letters in shapes: T time, B batch, I input, H hidden, P projection, R = P or H, L layers, D directions.

    Parameters
    ----------
    input_size, hidden_size : int
        I and H.
    num_layers : int
        L; each layer reads the one before it.
    bias : bool
        Whether there are bias parameters, two per layer and direction.
    batch_first : bool
        Input and output are [B, T, ...] instead of [T, B, ...]; states never are.
    dropout : float
        Share of elements zeroed between layers in training. Inference does not use it.
    bidirectional : bool
        A second direction reads the sequence from its end; outputs are forward half, then reverse half.
    proj_size : int
        P > 0: h is projected to P values by weight_hr.
    dtype : dtype_like
        ``"float32"`` or ``"float64"``; inputs must have it.
    threads : int or ThreadPool
        How many threads may share a call, the caller's included; `threads_used` tells how many do. More than 1 starts
        workers at the first call; they sleep between calls. A `ThreadPool` is shared with others. The bits do not
        depend on it.
    seed : int, optional
        For the initial weights, U(-1/sqrt(H), 1/sqrt(H)).
    isa : str, optional
        Force an instruction set; one of `isas`. The bits do not depend on it.
    form : Form, optional
        Another form of the cell: activations, peepholes, coupled gates, clipping.
    weights : str, optional
        ``"float16"`` or ``"bfloat16"``: store the matrices so, rounded, in half the memory; inference only. Inputs,
        outputs and states stay float32, and results are those of a float32 layer with the rounded weights, to the bit.
        ``"int8"`` or ``"int8-fast"``: integers of 8 bits with a scale for each row, in a quarter of the memory; rows of
        inputs and states are rounded to 16 or to 7 bits, each by itself (docs/precision.md has errors and arithmetic).
    forget_bias : float, optional
        Start every forget gate from this bias. 1 is usual: it keeps about 73 percent of a cell at each step, 0 half. As
        in torch there are two biases, and their sum counts: ``bias_ih`` has it, and that block of ``bias_hh`` is 0. All
        else is drawn as without it. For the start only: weights that are loaded replace it.

    Attributes
    ----------
    note : str
        What `load` has to say of the file that the layer is from: that ``weights="auto"`` would keep its matrices in 16
        or 8 bits, as they are there. Empty otherwise.

    Raises
    ------
    ValueError, TypeError
        For an invalid size, type or name; the message tells which argument, what was expected and what came.

    Warns
    -----
    UserWarning
        For dropout with a single layer, which has nothing between layers.

    Notes
    -----
    An output depends on the weights, the state and the inputs of its own row and time: never on the batch it travels
    in, on threads, on how a sequence is cut into calls, or on the CPU. Many threads may call one object at once.

    Examples
    --------
    >>> import numpy as np, fastlstm
    >>> lstm = fastlstm.LSTM(4, 3, num_layers=2, bidirectional=True, seed=0)
    >>> lstm
    LSTM(4, 3, num_layers=2, bidirectional=True)
    >>> output, (h_n, c_n) = lstm(np.zeros((7, 5, 4), np.float32))
    >>> output.shape, h_n.shape
    ((7, 5, 6), (4, 5, 3))
    """

    _is_cell = False

    @overload
    def __init__(
        self: LSTM[np.float32],
        input_size: int,
        hidden_size: int,
        num_layers: int = 1,
        bias: bool = True,
        batch_first: bool = False,
        dropout: float = 0.0,
        bidirectional: bool = False,
        proj_size: int = 0,
        *,
        dtype: Float32 = "float32",
        threads: int | ThreadPool = 1,
        seed: int | None = None,
        isa: str | None = None,
        form: Form | None = None,
        weights: str | None = None,
        forget_bias: float | None = None,
    ) -> None: ...
    @overload
    def __init__(
        self: LSTM[np.float64],
        input_size: int,
        hidden_size: int,
        num_layers: int = 1,
        bias: bool = True,
        batch_first: bool = False,
        dropout: float = 0.0,
        bidirectional: bool = False,
        proj_size: int = 0,
        *,
        dtype: Float64,
        threads: int | ThreadPool = 1,
        seed: int | None = None,
        isa: str | None = None,
        form: Form | None = None,
        weights: str | None = None,
        forget_bias: float | None = None,
    ) -> None: ...
    @overload
    def __init__(
        self,
        input_size: int,
        hidden_size: int,
        num_layers: int = 1,
        bias: bool = True,
        batch_first: bool = False,
        dropout: float = 0.0,
        bidirectional: bool = False,
        proj_size: int = 0,
        *,
        dtype: np.dtype[F],
        threads: int | ThreadPool = 1,
        seed: int | None = None,
        isa: str | None = None,
        form: Form | None = None,
        weights: str | None = None,
        forget_bias: float | None = None,
    ) -> None: ...
    def __init__(
        self,
        input_size: int,
        hidden_size: int,
        num_layers: int = 1,
        bias: bool = True,
        batch_first: bool = False,
        dropout: float = 0.0,
        bidirectional: bool = False,
        proj_size: int = 0,
        *,
        dtype: DTypeLike = "float32",
        threads: int | ThreadPool = 1,
        seed: int | None = None,
        isa: str | None = None,
        form: Form | None = None,
        weights: str | None = None,
        forget_bias: float | None = None,
    ) -> None:
        number, shared = workers(threads)
        sizes = input_size, hidden_size, num_layers, bias, batch_first, dropout, bidirectional, proj_size
        s = self._checked_settings(Settings._make((*sizes, dtype, number, isa, form, weights)))
        _warn_of_dropout(s)
        self._draw(s, _checks.seed(seed), forget_bias)
        self._share(shared)

    _checked_settings = staticmethod(_settings.of_lstm)

    @classmethod
    def _of(cls, state_dict: object, settings: Settings, threads: int | ThreadPool) -> Self:
        """Make a layer of weights, without drawing others first, which may be many times as large."""
        number, shared = workers(threads)
        s = cls._checked_settings(settings._replace(threads=number))
        _warn_of_dropout(s)
        made = cls.__new__(cls)
        made._load(s, state_dict)
        made._share(shared)
        return made

    @property
    def num_layers(self) -> int:
        """L: layers."""
        return self._settings.num_layers

    @property
    def batch_first(self) -> bool:
        """Whether input and output are [B, T, ...]."""
        return self._settings.batch_first

    @property
    def dropout(self) -> float:
        """Share of elements zeroed between layers in training."""
        return self._settings.dropout

    @property
    def bidirectional(self) -> bool:
        """Whether a second direction reads from the end."""
        return self._settings.bidirectional

    @property
    def proj_size(self) -> int:
        """P: size of the projection, 0 for none."""
        return self._settings.proj_size

    @property
    def threads(self) -> int:
        """How many threads may share a call."""
        return self._settings.threads

    def threads_used(self, T: int, B: int = 1) -> int:
        """Tell how many of its threads a call of T steps and B rows takes.

        As many as are expected to shorten the call, and no more than there are CPUs for this process. Small calls are
        done on one thread: waking and waiting take microseconds. `forward`, which keeps a tape, may share a
        stack of layers in another way, among fewer or more.

        Parameters
        ----------
        T : int
            Steps of the input.
        B : int, optional
            Its rows.

        Returns
        -------
        int
            1 to `threads`.

        Examples
        --------
        >>> import fastlstm
        >>> lstm = fastlstm.LSTM(8, 8, threads=4)
        >>> lstm.threads_used(T=100)
        1
        """
        steps, rows = _checks.count(T, "T"), _checks.count(B, "B")
        return self._plan.threads_used(steps, rows, self.threads)

    def _share(self, workers: _core.Workers | None) -> None:
        """Use these worker threads, or for None those of its own."""
        self.__dict__.pop("_workers", None)  # of an earlier life
        if workers is not None:
            self.__dict__["_workers"] = workers

    @functools.cached_property
    def _workers(self) -> _core.Workers | None:
        """Worker threads, started when first needed. Two threads that come first at once: those of one stay."""
        threads = self._settings.threads
        return None if threads == 1 else self.__dict__.setdefault("_workers", _core.Workers(threads))

    def __call__(
        self,
        input: ArrayLike,
        hx: tuple[ArrayLike, ArrayLike] | None = None,
        *,
        lengths: ArrayLike | None = None,
        resets: ArrayLike | None = None,
        out: NDArray[F] | None = None,
        table: Table[F] | None = None,
    ) -> tuple[NDArray[F], tuple[NDArray[F], NDArray[F]]]:
        """Run whole sequences, keeping nothing for a backward pass.

        Parameters
        ----------
        input : array [T, B, I], [B, T, I] with batch_first, or [T, I] unbatched
            Of the layer's dtype; any strides; T and B may be 0. Lists of numbers are converted. With a `table`:
            integers [T, B], [B, T] or [T], each in 0..V-1 where it is not past its row's length.
        hx : pair of arrays (h_0 [L*D, B, R], c_0 [L*D, B, H]), optional
            The initial state, zeros if not given; [L*D, R] and [L*D, H] for unbatched input.
        lengths : array of int [B], optional
            How many steps each row has, 0..T in any order. Outputs past a row's length are 0; h_n and c_n are those
            of its last step (its first in time, for the reverse direction); a row of length 0 passes its state
            through. Steps past the lengths cost nothing. One integer for unbatched input, or an array of one.
        resets : array of bool [T, B], [B, T] with batch_first, or [T] unbatched; optional
            Where a row's state is set to zero before a step; the same as running the pieces one by one.
            Unidirectional only.
        out : array, optional
            Where to write the output: its shape, the layer's dtype, any strides, overlapping no input.
        table : Table, optional
            What `table` has made of an embedding: the bits of ``lstm(embedding[input])``.

        Returns
        -------
        output : array [T, B, D*R], [B, T, D*R] or [T, D*R]
            h of the last layer at every step; `out` if it was given.
        (h_n, c_n) : pair of arrays [L*D, B, R] and [L*D, B, H], or [L*D, R] and [L*D, H]
            The state after the last step, index layer * D + direction.

        Raises
        ------
        ValueError
            For a wrong rank or size, invalid lengths, an `out` that is read-only or overlaps an input, a token that
            the table does not have, or a table of other weights.
        TypeError
            For a dtype that is not the layer's: nothing is cast silently. For a `table` that is not a Table.
        KeyboardInterrupt
            For Ctrl-C, if the main thread calls: `out` holds anything then.

        Notes
        -----
        float32 outputs are within about 1e-6 of the exact result for H up to 1024 and weights of the usual size.

        Examples
        --------
        >>> import numpy as np, fastlstm
        >>> lstm = fastlstm.LSTM(4, 3, seed=0)
        >>> x = np.ones((7, 2, 4), np.float32)
        >>> output, (h_n, c_n) = lstm(x, lengths=[7, 3])
        >>> bool((h_n[0, 1] == output[2, 1]).all()), float(output[3:, 1].max())
        (True, 0.0)
        """
        plan = self._plan
        found = None if table is None else serving(table, plan)
        if lengths is None and resets is None:
            done = plan.call(input, hx, out, self._settings.batch_first, self._workers, found)
            if done is not None:
                return done
        return self._call(input, hx, lengths, resets, out, table=found).run(plan, self._workers)

    @overload
    def forward(
        self,
        input: ArrayLike,
        hx: tuple[ArrayLike, ArrayLike] | None = None,
        *,
        lengths: ArrayLike | None = None,
        resets: ArrayLike | None = None,
        train: Literal[True] = True,
        seed: int | None = None,
        keep_every: None = None,
    ) -> tuple[NDArray[F], tuple[NDArray[F], NDArray[F]], Tape]: ...
    @overload
    def forward(
        self,
        input: ArrayLike,
        hx: tuple[ArrayLike, ArrayLike] | None = None,
        *,
        lengths: ArrayLike | None = None,
        resets: ArrayLike | None = None,
        train: Literal[True] = True,
        seed: int | None = None,
        keep_every: int,
    ) -> tuple[NDArray[F], tuple[NDArray[F], NDArray[F]], SparseTape]: ...
    @overload
    def forward(
        self,
        input: ArrayLike,
        hx: tuple[ArrayLike, ArrayLike] | None = None,
        *,
        lengths: ArrayLike | None = None,
        resets: ArrayLike | None = None,
        train: Literal[False],
        seed: int | None = None,
        keep_every: int | None = None,
    ) -> tuple[NDArray[F], tuple[NDArray[F], NDArray[F]], None]: ...
    @overload
    def forward(
        self,
        input: ArrayLike,
        hx: tuple[ArrayLike, ArrayLike] | None = None,
        *,
        lengths: ArrayLike | None = None,
        resets: ArrayLike | None = None,
        train: bool = True,
        seed: int | None = None,
        keep_every: int | None = None,
    ) -> tuple[NDArray[F], tuple[NDArray[F], NDArray[F]], Tape | SparseTape | None]: ...
    def forward(
        self,
        input: ArrayLike,
        hx: tuple[ArrayLike, ArrayLike] | None = None,
        *,
        lengths: ArrayLike | None = None,
        resets: ArrayLike | None = None,
        train: bool = True,
        seed: int | None = None,
        keep_every: int | None = None,
        table: object = None,
    ) -> tuple[NDArray[F], tuple[NDArray[F], NDArray[F]], Tape | SparseTape | None]:
        """Run whole sequences and keep what a backward pass needs.

        Parameters
        ----------
        input, hx, lengths, resets
            As for calling the layer.
        train : bool
            False: no dropout, and no tape.
        seed : int, optional
            For the dropout mask, which depends on it and on layer, time, row and unit, and on nothing else;
            0..2^64-1. Fresh from the operating system if not given; ``tape.seed`` tells.
        keep_every : int, optional
            k: keep the state every k steps only, and run each piece forward again in the backward pass: a third more
            time for less memory on long sequences. Unidirectional only.

        Returns
        -------
        output, (h_n, c_n)
            As for calling the layer; without dropout the same bits.
        tape : Tape, SparseTape, or None
            For one call of `backward`.

        Raises
        ------
        ValueError, TypeError
            As for calling the layer; ValueError for keep_every with a bidirectional layer, and for what is for
            inference only: a form with a clip, weights in 16 or 8 bits.

        Notes
        -----
        A tape takes about ``L * D * N * (5 H + 32) + T * B * (I + L * D * R)`` numbers, N being the steps of all rows
        together; ``tape.nbytes`` tells exactly. With `keep_every` it is ``T * B * I + ceil(T / k) * L * B * (R + H)``
        numbers, and the tape of k steps while backward runs.

        Examples
        --------
        >>> import numpy as np, fastlstm
        >>> lstm = fastlstm.LSTM(4, 3, seed=0)
        >>> output, states, tape = lstm.forward(np.ones((5, 2, 4), np.float32))
        >>> gradients = lstm.backward(tape, np.ones_like(output))
        >>> gradients.input.shape, sorted(gradients.parameters)
        ((5, 2, 4), ['bias_hh_l0', 'bias_ih_l0', 'weight_hh_l0', 'weight_ih_l0'])
        """
        if table is not None:
            raise ValueError("forward takes no table, which is for inference: look up what the tokens stand for")
        if not _checks.flag(train, "train"):
            return (*LSTM.__call__(self, input, hx, lengths=lengths, resets=resets), None)
        _forms.check_trainable(self._settings.form)
        _weights.check_trainable(self._settings.weights)
        number, every = _tapes.checked_seed(seed), self._checked_every(keep_every)
        call = self._call(input, hx, lengths, resets)
        made = self._plan, call.frame, self._settings.dropout, number
        tape = Tape(*made) if every is None else SparseTape(*made, every)
        return (*tape._forward(call, self._workers), tape)

    def _call(self, *arguments: object, **options: Any) -> Call:
        """Check the arguments of a call."""
        return Call(self._sizes, self._settings.dtype, self._settings.batch_first, *arguments, **options)

    def _checked_every(self, keep_every: object) -> int | None:
        if keep_every is None:
            return None
        every = _checks.size(keep_every, "keep_every")
        self._need_one_direction("keep_every needs a unidirectional layer")
        return every

    def _need_one_direction(self, why: str) -> None:
        if self._sizes.D == 2:
            raise ValueError(f"{why}: the reverse direction starts at the end")

    def backward(
        self,
        tape: Tape | SparseTape,
        grad_output: ArrayLike | None = None,
        grad_h_n: ArrayLike | None = None,
        grad_c_n: ArrayLike | None = None,
    ) -> Gradients[F]:
        """Compute the gradients of a scalar from its gradients with respect to what `forward` returned.

        Parameters
        ----------
        tape : Tape or SparseTape
            Of a `forward` of this layer with its present weights; it serves once.
        grad_output, grad_h_n, grad_c_n : arrays of the shapes of output, h_n, c_n; optional
            The incoming gradients, zeros if not given. Past a row's length grad_output is ignored.

        Returns
        -------
        Gradients
            Of input, h_0, c_0, and of every parameter under its name in `state_dict`.

        Raises
        ------
        ValueError
            For a tape of another layer or of earlier weights, or a gradient of a wrong shape.
        RuntimeError
            For a tape that is used up.
        TypeError
            For a wrong dtype, or something that is not a tape.

        Notes
        -----
        Weight gradients are sums over all rows of all steps, in blocks of 96, in one order: the same bits for any
        number of threads and on every CPU. The gradient of a row's input does not depend on the other rows. NaN stays
        in its row, and reaches the weights' gradients.

        Source: backpropagation through time (Werbos, 1990), for the equations of `LSTM`; ``docs/backward.md`` derives
        it.
        """
        return _tapes.backward(self._plan, tape, (grad_output, grad_h_n, grad_c_n), self._workers)

    def backward_chunks(
        self,
        tapes: Sequence[Tape | SparseTape],
        grad_outputs: Sequence[ArrayLike | None],
        grad_h_n: ArrayLike | None = None,
        grad_c_n: ArrayLike | None = None,
    ) -> ChunkGradients[F]:
        """Go back through consecutive chunks of a long sequence: truncated backpropagation across as many as are given.

        Run the chunks forward one by one, each from the state that the one before returned, then hand over the last
        few tapes: gradients flow from chunk to chunk through the state, and stop before the first. One tape is plain
        truncation.

        Parameters
        ----------
        tapes : sequence of Tape or SparseTape
            Of consecutive chunks, in the order of time; each serves once.
        grad_outputs : sequence of arrays or None
            The incoming gradient of each chunk's output.
        grad_h_n, grad_c_n : arrays, optional
            Incoming gradients of the last chunk's state.

        Returns
        -------
        ChunkGradients
            `input` is a list, chunk by chunk; h_0 and c_0 are the first chunk's; parameters are summed over the chunks.

        Raises
        ------
        ValueError
            For a bidirectional layer, no tapes, different numbers of tapes and gradients; otherwise as `backward`.
        TypeError, RuntimeError
            As `backward`, before anything has run.

        Examples
        --------
        >>> import numpy as np, fastlstm
        >>> lstm, state, tapes = fastlstm.LSTM(4, 3, seed=0), None, []
        >>> for chunk in np.ones((2, 5, 4), np.float32):
        ...     output, state, tape = lstm.forward(chunk, state)
        ...     tapes.append(tape)
        >>> gradients = lstm.backward_chunks(tapes, [None, np.ones_like(output)])
        >>> bool(np.any(gradients.input[0]))  # the first chunk has learnt of the second's loss
        True
        """
        self._need_one_direction("backward_chunks needs a unidirectional layer")
        outputs = list(grad_outputs)
        return _tapes.backward_chunks(self._plan, list(tapes), outputs, grad_h_n, grad_c_n, self._workers)

    def trace_nbytes(self, T: int, B: int = 1, *, every: int = 1, units: ArrayLike | None = None) -> int:
        """Tell how many bytes `trace` would take for T steps of B rows.

        Parameters
        ----------
        T, B : int
            Steps and rows of the input.
        every, units
            As for `trace`.

        Returns
        -------
        int
            With K units of H: ``L * D * 7 K`` numbers of the layer's dtype for each step and row that is kept (with a
            projection ``6 K + P``; with `every` above 1, what the step began with as well), its input, and the output.

        Examples
        --------
        >>> import fastlstm
        >>> lstm = fastlstm.LSTM(64, 128)
        >>> lstm.trace_nbytes(1_000_000) // 2**20  # MiB
        4150
        >>> lstm.trace_nbytes(1_000_000, every=100) // 2**20  # of these 488 are the output
        534
        """
        steps, rows = _checks.count(T, "T"), _checks.count(B, "B")
        kept = _trace.checked_kept(every, units, self._sizes.H)
        return kept.nbytes(self._sizes, self._settings.dtype.itemsize, steps, rows, self._sizes.I)

    def trace(
        self,
        input: ArrayLike,
        hx: tuple[ArrayLike, ArrayLike] | None = None,
        *,
        lengths: ArrayLike | None = None,
        resets: ArrayLike | None = None,
        every: int = 1,
        units: ArrayLike | None = None,
        table: Table[F] | None = None,
        max_bytes: int = _trace.MAX_BYTES,
    ) -> GateTrace[F]:
        """Run whole sequences, and keep the gates and cells of every step, to look at.

        Parameters
        ----------
        input, hx, lengths, resets, table
            As for calling the layer.
        every : int, optional
            k: keep the steps 0, k, 2 k, ... only. All are computed.
        units : sequence of int, optional
            Keep these units only, of every layer and direction.
        max_bytes : int, optional
            What the trace may take, 4 GiB if not given; `trace_nbytes` tells beforehand.

        Returns
        -------
        GateTrace
            i, f, g, o, c, tanh_c, h, each [L, D, T, B, H]; output, h_n and c_n with the bits of a call; and what can
            be read off them.

        Raises
        ------
        ValueError, TypeError
            As for calling the layer; for an invalid `every`, and for units that the layer does not have.
        MemoryError
            Where it would take more than `max_bytes`, or than there is; the message says how many bytes.

        Notes
        -----
        Any form and any type of weights, also those that have no backward pass; no dropout. The gates are those that
        the pass computed with, to the bit, and do not depend on threads, on `every` or `units`, nor on how a sequence
        is cut into calls. A sequence that does not fit is traced in pieces, each from the state (h_n, c_n) that the
        one before left.

        Examples
        --------
        >>> import numpy as np, fastlstm
        >>> lstm = fastlstm.LSTM(4, 3, seed=0)
        >>> x = np.ones((50, 2, 4), np.float32)
        >>> trace = lstm.trace(x)
        >>> trace.f.shape, bool((trace.output == lstm(x)[0]).all())
        ((1, 1, 50, 2, 3), True)
        >>> lstm.trace(x, every=10, units=[2]).c.shape
        (1, 1, 5, 2, 1)
        """
        kept = _trace.checked_kept(every, units, self._sizes.H)
        origin = self._origin
        found = None if table is None else serving(table, origin.plan)

        def allow(frame: Frame) -> None:
            kept.check_size(frame.sizes, frame.dtype, frame.T, frame.B, max_bytes)

        call = self._call(input, hx, lengths, resets, table=found, allow=allow)
        made = _trace.run(origin.traced, origin.plan, call.steps, call.y, self._workers, kept)
        made.output, (made.h_n, made.c_n) = call.result((made.h_n, made.c_n))
        return made

    def table_nbytes(self, tokens: int) -> int:
        """Tell how many bytes `table` would take for so many tokens: V, 4 H numbers each in a direction.

        Parameters
        ----------
        tokens : int
            V.

        Returns
        -------
        int
            D * V * 4 H numbers of the layer's dtype, H rounded up to a multiple of 8, and a hundred bytes.

        Raises
        ------
        OverflowError
            For more than memory's address range.

        Examples
        --------
        >>> import fastlstm
        >>> fastlstm.LSTM(100, 128).table_nbytes(50_000) // 2**20  # MiB
        97
        """
        made: int = self._plan.table_nbytes(_checks.count(tokens, "tokens"))
        return made

    def table(self, embedding: ArrayLike) -> Table[F]:
        """Compute what the first layer makes of every token, with the present weights: b + W x.

        For models that read tokens through an embedding, or one-hot vectors: ``lstm.table(np.eye(I, dtype=...))``. A
        step then takes a row of 4 H numbers in the place of a product of 4 H * I.

        Parameters
        ----------
        embedding : array [V, I]
            The inputs that there are, of the layer's dtype; row k is what token k stands for.

        Returns
        -------
        Table
            For `lstm(tokens, table=...)`, and for `stream`, `pool` and `window`. It takes `table_nbytes` (V) bytes.

        Raises
        ------
        ValueError, TypeError
            For a wrong shape or dtype.
        MemoryError
            When it cannot be had; the message says how many bytes it takes.

        Examples
        --------
        >>> import numpy as np, fastlstm
        >>> lstm = fastlstm.LSTM(4, 3, seed=0)
        >>> one_hot = lstm.table(np.eye(4, dtype=np.float32))
        >>> one_hot
        Table(4 tokens, 576 bytes)
        >>> output, states = lstm([3, 0, 2], table=one_hot)
        >>> lstm.stream(table=one_hot).step(3).shape
        (3,)
        """
        origin = self._origin
        return Table(origin.plan, embedding_of(embedding, self.input_size, self.dtype), self._workers, origin)

    def stream(self, batch_size: int = 1, *, table: Table[F] | None = None) -> Stream[F]:
        """Open sequences that arrive step by step, with zero state and the present weights.

        Parameters
        ----------
        batch_size : int
            B: how many sequences advance together.
        table : Table, optional
            Of these weights, from `table`: steps then take its tokens, and nothing else.

        Returns
        -------
        Stream
            Its `step` allocates nothing when given `out`, and gives the bits of the whole sequence.

        Raises
        ------
        ValueError
            For a bidirectional layer, which needs the end before the beginning; for an invalid batch size; for a table
            of other weights.

        Examples
        --------
        >>> import numpy as np, fastlstm
        >>> stream = fastlstm.LSTM(4, 3, seed=0).stream()
        >>> stream.step(np.ones(4, np.float32)).shape
        (3,)
        """
        self._need_one_direction("a bidirectional layer cannot stream")
        origin = self._origin
        found = None if table is None else serving(table, origin.plan)
        return Stream(origin.plan, _checks.count(batch_size, "batch_size"), origin, found)

    def pool(self, capacity: int, *, table: Table[F] | None = None) -> StreamPool[F]:
        """Make room for many independent sequences that arrive step by step, with the present weights.

        Parameters
        ----------
        capacity : int
            How many sessions may be open at once; more only when `StreamPool.grow` is told so.
        table : Table, optional
            Of these weights, from `table`: steps then take its tokens, and nothing else.

        Returns
        -------
        StreamPool
            ``open() -> id``, ``step(ids, x) -> y``, ``close(id)``; its steps use this layer's threads.

        Raises
        ------
        ValueError
            For a bidirectional layer; for an invalid capacity; for a table of other weights.

        Examples
        --------
        >>> import numpy as np, fastlstm
        >>> pool = fastlstm.LSTM(4, 3, seed=0).pool(10)
        >>> ids = [pool.open(), pool.open()]
        >>> pool.step(ids, np.ones((2, 4), np.float32)).shape
        (2, 3)
        """
        self._need_one_direction("a bidirectional layer has no sessions")
        origin = self._origin
        found = None if table is None else serving(table, origin.plan)
        return StreamPool(origin.plan, capacity_of(capacity), self._workers, origin, found)

    def window(self, length: int, *, table: Table[F] | None = None) -> SlidingWindow[F]:
        """Answer for the last inputs after every input, with the present weights.

        Parameters
        ----------
        length : int
            Inputs in a window.
        table : Table, optional
            Of these weights, from `table`: the inputs then are its tokens, and nothing else.

        Returns
        -------
        SlidingWindow
            ``push(x[I]) -> y[R]``: the last output over the last `length` inputs from a zero state.

        Raises
        ------
        ValueError
            For a bidirectional layer; for an invalid length; for a table of other weights.

        Examples
        --------
        >>> import numpy as np, fastlstm
        >>> window = fastlstm.LSTM(4, 3, seed=0).window(5)
        >>> window.push(np.ones(4, np.float32)).shape
        (3,)
        """
        self._need_one_direction("a bidirectional layer has no sliding windows")
        origin = self._origin
        found = None if table is None else serving(table, origin.plan)
        return SlidingWindow(origin.plan, _checks.count(length, "length"), self._workers, origin, found)


def _warn_of_dropout(s: Settings) -> None:
    if s.dropout > 0 and s.num_layers == 1:
        warnings.warn(
            "dropout option adds dropout after all but last recurrent layer, so non-zero dropout expects "
            f"num_layers greater than 1, but got dropout={s.dropout} and num_layers=1",
            stacklevel=3,
        )
