"""LSTM: torch.nn.LSTM with fastlstm inside."""

from __future__ import annotations

import functools
from collections.abc import Callable
from typing import TYPE_CHECKING, Any, ClassVar, TypeVar

import torch
from torch import Tensor
from torch._C._dynamo.eval_frame import get_eval_frame_callback as _watcher
from torch.nn.utils.rnn import PackedSequence

from .. import _checks, _core
from .._sizes import Sizes
from . import _accept, _autograd, _call, _operator
from ._accept import OtherDtype, Refused, States, UnderAutocast, Unfit, ZeroTensor
from ._call import Call
from ._embedding import Tabled, lookup_of, tabled
from ._plans import Kept, Plans
from ._switch import Switched, be_leaf
from ._threads import workers

_Input = TypeVar("_Input", Tensor, PackedSequence)


class LSTM(Switched, torch.nn.LSTM):
    """torch.nn.LSTM, computed by fastlstm on the CPU; same arguments, parameters, results, errors and state_dict.

    Parameters
    ----------
    *args, **kwargs
        Those of `torch.nn.LSTM`.
    threads : int, optional
        How many threads share a call; ``torch.get_num_threads()`` at the time of the call if not given. The bits do not
        depend on it. One set of workers for each number serves all modules; they sleep between calls.
    frozen : bool, default False
        Promise that no parameter is written to past torch's version counter: see the attribute.
    weights : str, optional
        What to store the packed matrices in, for inference: see the attribute.
    forget_bias : float, optional
        Where forget gates start, as for `fastlstm.LSTM`; also after ``reset_parameters()``.

    Attributes
    ----------
    weights : str or None
        ``"float16"``, ``"bfloat16"``, ``"int8"`` or ``"int8-fast"``: the packed matrices are rounded to it, as by
        `fastlstm.LSTM`, and results are its, to the bit. Parameters of 16 bits lose nothing in their own type; they are
        computed with in float32, and each result is rounded once. The parameters stay as they are. A call that wants a
        gradient raises, and so does one that only torch's own code could run. None: as they are. May be set at any
        time.
    tables : int
        Most bytes that a table of an Embedding may take: see `accelerate`. 0: there are none.
    no_table : str or None
        Why the last call that looked for a table did without; None if it had one.
    frozen : bool
        If True, a call does not look at the parameters' values: it sees a parameter that is another tensor, lies
        elsewhere, or was changed by an operation of torch's, but not what is written through ``parameter.data``, NumPy,
        a buffer that shares its memory, or by an optimizer with ``fused=True``, which torch does not count. May be set
        at any time: after ``frozen = False`` the next call sees all.
    fallback : str or None
        Why the last call ran on torch's own code; None if it ran here. That happens on other devices and dtypes, under
        autocast, torch.func transforms and torch.jit tracing, for tensor subclasses, and in subclasses that override
        what torch does around the arithmetic. What torch refuses is refused by torch's own code, with its own words.

    Notes
    -----
    Parameters are shared with torch, and packed again when they have changed, by whatever way: every call looks at all
    values, which takes about one time step; `frozen` saves it. Gradients of gradients (``create_graph=True``) are there
    without dropout, `lengths` and `resets`. Dropout masks are drawn from one number of torch's CPU generator:
    repeatable by ``torch.manual_seed``, but not torch's own masks.

    Examples
    --------
    >>> import torch, fastlstm.torch
    >>> lstm = fastlstm.torch.LSTM(4, 3, num_layers=2)
    >>> output, (h_n, c_n) = lstm(torch.zeros(7, 5, 4))
    >>> output.shape, output.requires_grad, lstm.fallback
    (torch.Size([7, 5, 3]), True, None)
    """

    if TYPE_CHECKING:  # torch's own say Any

        def __call__(
            self, input: _Input, hx: States | None = None, *, lengths: Any = None, resets: Any = None
        ) -> tuple[_Input, States]: ...

    threads: int | None = None
    frozen: bool = False
    tables: int = 0
    no_table: str | None = None
    fallback: str | None = None
    _overrides: ClassVar[str | None] = None
    _theirs = torch.nn.LSTM

    def __init__(
        self,
        *args: Any,
        threads: int | None = None,
        frozen: bool = False,
        weights: str | None = None,
        forget_bias: float | None = None,
        **kwargs: Any,
    ) -> None:
        super().__init__(*args, **kwargs)
        be_leaf(self)
        self._set_weights(weights)
        self._set_forget_bias(forget_bias)
        if threads is not None:
            self.threads = _checks.thread_count(threads)
        if frozen:
            self.frozen = True

    def __init_subclass__(cls, **kwargs: Any) -> None:
        super().__init_subclass__(**kwargs)
        cls._overrides = _accept.overridden(cls)

    def forward(
        self,
        input: Tensor | PackedSequence,
        hx: States | None = None,
        lengths: Any = None,
        resets: Any = None,
    ) -> tuple[Any, States]:
        """Run whole sequences.

        Parameters
        ----------
        input : Tensor [T, B, I], [B, T, I] with batch_first, [T, I] unbatched; or PackedSequence
            Any strides.
        hx : pair of Tensors (h_0 [L*D, B, R], c_0 [L*D, B, H]), optional
            The initial state, zeros if not given; without B for unbatched input.
        lengths : Tensor or array of int [B], optional
            Steps of each row, 0..T in any order; as for `fastlstm.LSTM`. Not for packed input, which has its own.
        resets : Tensor or array of bool [T, B], [B, T] with batch_first, or [T], optional
            Where a row's state is zero before a step; as for `fastlstm.LSTM`.

        Returns
        -------
        output : Tensor, or PackedSequence for packed input
        (h_n, c_n) : pair of Tensors

        Raises
        ------
        ValueError, TypeError, RuntimeError
            What torch raises; and for invalid `lengths` or `resets`, or where only torch's own code can run.
        """
        ours_alone = lengths is not None or resets is not None
        if ours_alone and isinstance(input, PackedSequence):
            raise ValueError("lengths= and resets= are for padded input: a PackedSequence has lengths of its own")
        if torch.compiler.is_compiling() or torch._C._len_torch_dispatch_stack():
            return self._in_graph(input, hx, lengths, resets)
        if _watcher() is not None:
            return _unwatched()(self, input, hx, lengths, resets)
        return self._eager(input, hx, lengths, resets)

    def _in_graph(self, input: Tensor | PackedSequence, hx: States | None, lengths: Any, resets: Any) -> Any:
        """Put our operator into a graph, or torch's where only those can be there."""
        weights = self._weights()
        if (
            isinstance(input, PackedSequence)
            or self._overrides is not None
            or not _accept.graph(input, hx, weights, self.input_size)
        ):
            if lengths is not None or resets is not None:
                raise RuntimeError("lengths= and resets= need fastlstm's own code, which cannot run in this graph")
            if self.weights is not None:
                raise RuntimeError("weights= needs fastlstm's own code, which cannot run in this graph")
            return super().forward(input, hx)
        batched = input.dim() == 3
        h_0, c_0 = (None, None) if hx is None else hx if batched else (hx[0].unsqueeze(1), hx[1].unsqueeze(1))
        dropping = self._is_dropping()
        given = (
            input if batched else input.unsqueeze(1),
            h_0,
            c_0,
            weights,
            lengths,
            resets if resets is None or batched else resets.unsqueeze(1),
            _operator.draw() if dropping else None,
            self.num_layers,
            self.bidirectional,
            self.bias,
            self.batch_first and batched,
            float(self.dropout) if dropping else 0.0,
            self.threads or 0,
        )
        stored = self.weights
        ops = torch.ops.fastlstm
        output, h_n, c_n = ops.lstm(*given) if stored is None else ops.lstm_stored(*given, stored)
        return (output, (h_n, c_n)) if batched else (output.squeeze(1), (h_n.squeeze(1), c_n.squeeze(1)))

    def _eager(self, input: Tensor | PackedSequence, hx: States | None, lengths: Any, resets: Any) -> Any:
        """Run here if that can be done, else on torch's own code."""
        try:
            found = self._here(input, hx, lengths, resets)
        except Unfit as unfit:
            why = unfit.with_traceback(None)  # which would keep the tensors
        else:
            if self.fallback is not None:
                self.fallback = None
            return found
        if isinstance(why, ZeroTensor):
            return self._eager(_accept.real(input), _accept.real(hx), lengths, resets)
        if lengths is not None or resets is not None:
            raise RuntimeError(f"lengths= and resets= need fastlstm's own code, which cannot run here: {why}")
        if self.weights is not None and not isinstance(why, Refused | OtherDtype):
            self._need_ours(why)
        self.fallback = str(why)
        try:
            return super().forward(input, hx)
        except RuntimeError as error:
            found = self._after(error, why, input, hx)
            if found is None:
                raise  # here: an error raised where an argument holds it would keep the tensors
            return found

    def _after(self, error: RuntimeError, why: Unfit, input: Tensor | PackedSequence, hx: States | None) -> Any:
        """Do what torch could not: run under autocast without a CPU for it, or say what is wrong with a state.

        None where torch's own error says all.
        """
        if isinstance(why, UnderAutocast) and "could not create a primitive" in str(error):
            try:
                found = self._under_autocast(input, hx, None, None)
            except Unfit:
                return None
            self.fallback = None
            return found
        if isinstance(why, OtherDtype) and why.name.startswith("hx"):
            remedy = f"Convert it: hx = tuple(state.to({why.expected}) for state in hx)"
            raise RuntimeError(f"LSTM: {why}. {remedy}. Torch says: {error}") from error
        return None

    def _here(self, input: Tensor | PackedSequence, hx: States | None, lengths: Any, resets: Any) -> Any:
        """Run here, or raise Unfit."""
        if self._overrides is not None:
            raise Unfit(self._overrides)
        _accept.surroundings()
        ours_alone = lengths is not None or resets is not None
        if (ours_alone or self.weights is not None) and _accept.is_autocast_on():
            return self._under_autocast(input, hx, lengths, resets)
        _accept.no_autocast()
        if self.weights is not None and (dtype := self._weights()[0].dtype) in _accept.HALVES:
            _accept.of_one_dtype(input.data if isinstance(input, PackedSequence) else input, hx, dtype)
            return self._widened(input, hx, lengths, resets, dtype)
        if self.tables:
            found = self._by_table(input, hx, lengths, resets)
            if found is not None:
                return found
        if not ours_alone and not torch.is_grad_enabled():
            found = self._directly(input, hx)
            if found is not None:
                return found
        return self._run(input, hx, lengths, resets)

    def _by_table(self, input: Any, hx: States | None, lengths: Any, resets: Any) -> tuple[Tensor, States] | None:
        """Run from a table of the Embedding that the input comes from, or say in `no_table` why not."""
        try:
            if torch.is_grad_enabled() or self._is_dropping():
                raise Unfit("tables are for inference: torch.no_grad() or torch.inference_mode(), and no dropout")
            if not self.frozen:
                raise Unfit("tables need frozen=True")
            lookup = lookup_of(input)
            sizes, kept = self._kept()
            if not kept.seen.versioned or lookup.weight.dtype != kept.dtype:
                raise Unfit("a parameter was made in inference mode, or has another dtype than the Embedding")
            made: Tabled | None = self.__dict__.get("_tabled")
            if made is None or not made.serves(kept.plan, lookup):
                self.__dict__["_tabled"] = None  # its memory, before more is taken
                made = self.__dict__["_tabled"] = tabled(kept.plan, lookup, self.tables, workers(self.threads))
        except Unfit as unfit:
            self.__dict__["no_table"] = str(unfit)
            return None
        self.__dict__["no_table"] = None
        given = _accept.padded(input, sizes, kept.dtype, self.batch_first)
        h_0, c_0 = _accept.states(hx, sizes, given.B, given.batched, kept.dtype)
        if lengths is not None or resets is not None:
            lengths, resets = _accept.steps(lengths, resets, given, sizes)
        call = Call(kept.plan, sizes, given.batch_first, workers(self.threads), lengths, resets)
        tokens = lookup.tokens if given.batched else lookup.tokens.unsqueeze(1)
        output, h_n, c_n = _call.from_table(call, made.table, tokens, given.x, h_0, c_0)
        if given.batched:
            return output, (h_n, c_n)
        return output.squeeze(1), (h_n.squeeze(1), c_n.squeeze(1))

    def _directly(self, input: Tensor | PackedSequence, hx: States | None) -> tuple[Tensor, States] | None:
        """Take the short way, if there is one and the call is fit for it."""
        plans: Plans | None = self.__dict__.get("_plans")
        kept = None if plans is None else plans.kept
        if kept is None or kept.direct is None or kept.weights != self.weights or self._is_dropping():
            return None
        return kept.direct.run(self._parameters, input, hx, self.batch_first, self.frozen, workers(self.threads))

    def _under_autocast(self, input: Tensor | PackedSequence, hx: States | None, lengths: Any, resets: Any) -> Any:
        """Run in the parameters' dtype, and give the results the dtype that torch gives them under autocast."""
        dtype = self._weights()[0].dtype
        made = dtype if dtype == torch.float64 else torch.get_autocast_dtype("cpu")  # autocast leaves float64 alone
        with torch.autocast("cpu", enabled=False):
            return self._widened(input, hx, lengths, resets, made)

    def _widened(
        self, input: Tensor | PackedSequence, hx: States | None, lengths: Any, resets: Any, made: torch.dtype
    ) -> Any:
        """Run in a dtype that holds the parameters' values, and round the results once."""
        dtype = _accept.computed_in(self._weights()[0].dtype)
        results = self._run(_accept.widened(input, dtype), _accept.widened(hx, dtype), lengths, resets)
        return _accept.narrowed(results, made)

    def _run(self, input: Tensor | PackedSequence, hx: States | None, lengths: Any, resets: Any) -> tuple[Any, States]:
        if isinstance(input, PackedSequence):
            return self._packed(input, hx)
        return self._padded(input, hx, lengths, resets)

    def _padded(self, input: Tensor, hx: States | None, lengths: Any, resets: Any) -> tuple[Tensor, States]:
        unpacked = lengths is None and resets is None and self._may_read_unpacked(input)
        sizes, kept = self._kept(unpacked=unpacked)
        given = _accept.padded(input, sizes, kept.dtype, self.batch_first)
        h_0, c_0 = _accept.states(hx, sizes, given.B, given.batched, kept.dtype)
        if lengths is not None or resets is not None:
            lengths, resets = _accept.steps(lengths, resets, given, sizes)
        call = Call(
            kept.plan,
            sizes,
            given.batch_first,
            workers(self.threads),
            lengths,
            resets,
            *self._dropout(),
            unpacked=kept.unpacked if unpacked else None,
            weights=kept.weights,
        )
        output, h_n, c_n = _autograd.run(call, given.x, h_0, c_0, kept.parameters)
        if given.batched:
            return output, (h_n, c_n)
        return output.squeeze(1), (h_n.squeeze(1), c_n.squeeze(1))

    def _packed(self, input: PackedSequence, hx: States | None) -> tuple[PackedSequence, States]:
        data, batch_sizes, order, back = input
        rows = _accept.packed(data, batch_sizes)
        if hx is not None and order is not None:
            hx = self.permute_hidden(hx, order)
        _accept.packed_states(hx, rows)
        sizes, kept = self._kept()
        if self._is_dropping() or _autograd.wants_gradient(data, *(hx or ()), *kept.parameters):
            made, states = self._through_padded(data, batch_sizes, hx)
        else:
            _accept.packed_data(data, sizes, kept.dtype)
            given = _accept.states(hx, sizes, int(rows[0]), True, kept.dtype)
            made, *ends = _call.packed(kept.plan, sizes, workers(self.threads), data, rows, given)
            states = (ends[0], ends[1])
        if back is not None:
            states = self.permute_hidden(states, back)
        return PackedSequence(made, batch_sizes, order, back), states

    def _through_padded(self, data: Tensor, batch_sizes: Tensor, hx: States | None) -> tuple[Tensor, States]:
        """Run packed rows padded for the way through, where a tape is to be kept."""
        padded, lengths = torch._VF._pad_packed_sequence(data, batch_sizes, self.batch_first, 0.0, len(batch_sizes))
        output, states = self._padded(padded, hx, lengths, None)
        return torch._VF._pack_padded_sequence(output, lengths, self.batch_first)[0], states

    def _weights(self) -> list[Tensor]:
        """Return the parameters in torch's order: registered ones, or what stands in their place (weight_norm).

        One that was deleted is, as for torch, still there for the forward pass.
        """
        found, names = self._parameters, self._flat_weights_names
        try:
            return [found[name] for name in names]
        except KeyError:
            old = zip(names, self._flat_weights, strict=True)
            return [found[name] if name in found else getattr(self, name, weight) for name, weight in old]

    def _kept(self, *, unpacked: bool = False) -> tuple[Sizes, Kept]:
        """Return the sizes, and what is packed of the parameters, or raise Unfit."""
        plans: Plans | None = self.__dict__.get("_plans")
        if plans is None:
            numbers = self.input_size, self.hidden_size, self.proj_size, self.num_layers
            sizes = Sizes(*numbers, 2 if self.bidirectional else 1, self.bias)
            plans = self.__dict__.setdefault("_plans", Plans(sizes))
        weights = self._weights()
        return plans.sizes, plans.of(
            weights, frozen=self.frozen, unpacked=unpacked, threads=self.threads, weights=self.weights
        )

    def _is_dropping(self) -> bool:
        return self.training and self.dropout > 0 and self.num_layers > 1

    def _dropout(self) -> tuple[float, int]:
        """Return this call's share of zeros, and the seed of its masks."""
        if not self._is_dropping():
            return 0.0, 0
        return float(self.dropout), int(_operator.draw())

    def _may_read_unpacked(self, input: Tensor) -> bool:
        """Tell whether this is one step of few rows, which reads large layers' parameters as they are.

        That is faster than to look at them and read the packed copy, but not than the packed copy alone.
        """
        if self.frozen or torch.is_grad_enabled() or self._is_dropping():
            return False
        if not isinstance(input, Tensor) or input.is_nested:  # no shape
            return False
        shape = input.shape
        if len(shape) != 3:
            return len(shape) == 2 and shape[0] == 1
        T, B = (shape[1], shape[0]) if self.batch_first else shape[:2]
        return T == 1 and 0 < B <= _core.UNPACKED_ROWS

    def __getstate__(self) -> dict[str, Any]:
        state: dict[str, Any] = super().__getstate__()
        for made_again in ("_plans", "_tabled"):
            state.pop(made_again, None)
        return state


@functools.cache
def _unwatched() -> Callable[..., Any]:
    """Return `LSTM._eager` for where dynamo follows Python's calls, as in what `torch.compile` leaves out of a graph.

    It would trace what it leaves out (allow_rnn = False) function by function. Elsewhere its wrapper would cost each
    call some microseconds.
    """
    made: Callable[..., Any] = torch._dynamo.disable(LSTM._eager)
    return made
