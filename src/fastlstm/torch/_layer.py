"""LSTM: torch.nn.LSTM with fastlstm inside."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING, Any, ClassVar, TypeVar

import numpy as np
import torch
from torch import Tensor
from torch.nn.utils.rnn import PackedSequence

from .. import _checks, _core
from . import _fit, _operator
from ._autograd import Run
from ._packed import Packed, Sizes, Snapshot
from ._run import Call, forward, forward_packed, step
from ._switch import Switched, be_leaf
from ._threads import pool

States = tuple[Tensor, Tensor]
_Input = TypeVar("_Input", Tensor, PackedSequence)

# A subclass that overrides one of these has its own idea of what happens around the arithmetic.
_TORCHS = (
    "check_input",
    "check_hidden_size",
    "check_forward_args",
    "get_expected_hidden_size",
    "get_expected_cell_size",
    "permute_hidden",
)


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

    Attributes
    ----------
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
    fallback: str | None = None
    _overrides: ClassVar[str | None] = None
    _theirs = torch.nn.LSTM

    def __init__(self, *args: Any, threads: int | None = None, frozen: bool = False, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        be_leaf(self)
        if threads is not None:
            self.threads = _checks.thread_count(threads)
        if frozen:
            self.frozen = True

    def __init_subclass__(cls, **kwargs: Any) -> None:
        super().__init_subclass__(**kwargs)
        other = [name for name in _TORCHS if getattr(cls, name) is not getattr(torch.nn.LSTM, name)]
        cls._overrides = f"{cls.__name__} overrides {', '.join(other)}" if other else None

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
            What torch raises; and for `lengths` or `resets` that cannot be, or where only torch's own code can run.
        """
        packed = isinstance(input, PackedSequence)
        if packed and (lengths is not None or resets is not None):
            raise ValueError("lengths= and resets= are for padded input: a PackedSequence has lengths of its own")
        if torch.compiler.is_compiling() or torch._C._len_torch_dispatch_stack():
            found = None if packed else _operator.run(self, input, hx, lengths, resets)
            if found is None and (lengths is not None or resets is not None):
                raise RuntimeError("lengths= and resets= need fastlstm's own code, which cannot run in this graph")
            return super().forward(input, hx) if found is None else found
        if "torch._dynamo" in sys.modules and not hasattr(LSTM._eager, "_torchdynamo_disable"):
            # what torch.compile leaves out of its graphs (allow_rnn = False) it would trace function by function
            LSTM._eager = torch._dynamo.disable(LSTM._eager)  # type: ignore[method-assign]
        return self._eager(input, hx, lengths, resets)

    def _eager(self, input: Tensor | PackedSequence, hx: States | None, lengths: Any, resets: Any) -> Any:
        """Run here if that can be done, else on torch's own code."""
        why = self._overrides or _fit.situation()
        found = self._try(input, hx, lengths, resets) if why is None else why
        ours_alone = lengths is not None or resets is not None
        if found == _fit.AUTOCAST and ours_alone:
            found = self._autocast(input, hx, lengths, resets)
        if not isinstance(found, str):
            if self.fallback is not None:
                self.fallback = None
            return found
        if found.endswith(_fit.ZEROS):
            return self._eager(_fit.real(input), _fit.real(hx), lengths, resets)
        if ours_alone:
            raise RuntimeError(f"lengths= and resets= need fastlstm's own code, which cannot run here: {found}")
        self.fallback = found
        try:
            return super().forward(input, hx)
        except RuntimeError as error:
            return self._after(error, found, input, hx)

    def _try(self, input: Tensor | PackedSequence, hx: States | None, lengths: Any, resets: Any) -> Any:
        """Run padded or packed input, or say why that cannot be done here."""
        if isinstance(input, PackedSequence):
            return self._run_packed(input, hx)
        return self._run(input, hx, lengths, resets)

    def _after(self, error: RuntimeError, why: str, input: Tensor | PackedSequence, hx: States | None) -> Any:
        """Do what torch could not: run under autocast without a CPU for it, or say what is wrong with a state."""
        if why == _fit.AUTOCAST and "could not create a primitive" in str(error):
            found = self._autocast(input, hx, None, None)
            if not isinstance(found, str):
                self.fallback = None
                return found
        if why.startswith("hx[") and " has dtype " in why:
            dtype = self._weights()[0].dtype
            remedy = f"Convert it: hx = tuple(state.to({dtype}) for state in hx)"
            raise RuntimeError(f"LSTM: {why}. {remedy}. Torch says: {error}") from error
        raise error

    def _autocast(self, input: Tensor | PackedSequence, hx: States | None, lengths: Any, resets: Any) -> Any:
        """Run in the parameters' dtype, and give the results the dtype that torch gives them under autocast."""
        dtype, made = self._weights()[0].dtype, torch.get_autocast_dtype("cpu")
        if dtype != torch.float32:
            made = dtype  # autocast leaves float64 alone
        with torch.autocast("cpu", enabled=False):
            found = self._try(_fit.widened(input, dtype), _fit.widened(hx, dtype), lengths, resets)
            if isinstance(found, str):
                return found
            output, states = found
            return output.to(made), tuple(state.to(made) for state in states)

    def _weights(self) -> list[Tensor]:
        """Return the parameters in torch's order: registered ones, or what stands in their place (weight_norm).

        One that was deleted is, as for torch, still there for the forward pass.
        """
        found = self._parameters
        return [
            found[n] if n in found else getattr(self, n, old)
            for n, old in zip(self._flat_weights_names, self._flat_weights, strict=True)
        ]

    def _sizes(self) -> Sizes:
        directions = 2 if self.bidirectional else 1
        return Sizes(self.input_size, self.hidden_size, self.proj_size, self.num_layers, directions, self.bias)

    def _is_dropping(self) -> bool:
        return self.training and self.dropout > 0 and self.num_layers > 1

    def _dropout(self) -> tuple[float, int]:
        """Return this call's share of zeros, and the seed of its masks."""
        if not self._is_dropping():
            return 0.0, 0
        return float(self.dropout), int(_operator.draw())

    def _current(self, *, rows: bool = False) -> tuple[list[Tensor], Sizes, Snapshot | str]:
        """Return the parameters, their sizes, and what is packed of them or why that cannot be."""
        packed: Packed | None = self.__dict__.get("_packed")
        if packed is None:
            packed = self.__dict__.setdefault("_packed", Packed(self._sizes()))
        weights = self._weights()
        return weights, packed.sizes, packed.current(weights, frozen=self.frozen, rows=rows, threads=self.threads)

    def _may_read_rows(self, input: Tensor) -> bool:
        """Tell whether this is one step of few rows, which reads large layers' parameters as they are.

        That is faster than to look at them and read the packed copy, but not than the packed copy alone.
        """
        if self.frozen or torch.is_grad_enabled() or not isinstance(input, Tensor) or self._is_dropping():
            return False
        if input.dim() != 3:
            return input.dim() == 2 and input.size(0) == 1
        T, B = (input.size(1), input.size(0)) if self.batch_first else (input.size(0), input.size(1))
        return T == 1 and 0 < B <= _core.UNPACKED_ROWS

    def _run(self, input: Tensor, hx: States | None, lengths: Any, resets: Any) -> tuple[Tensor, States] | str:
        """Run padded input, or say why that cannot be done here."""
        rows = lengths is None and resets is None and self._may_read_rows(input)
        weights, sizes, now = self._current(rows=rows)
        if isinstance(now, str):
            return now
        dtype = weights[0].dtype
        why = _fit.tensor(input, "input", dtype)
        if why is not None:
            return why
        batched = input.dim() == 3
        if (not batched and input.dim() != 2) or input.size(-1) != sizes.input_size or input.size(0) == 0:
            return "torch refuses this input"
        batch_first = self.batch_first and batched
        x = input if batched else input.unsqueeze(1)
        T, B = (x.size(1), x.size(0)) if batch_first else (x.size(0), x.size(1))
        if T == 0:
            return "torch refuses this input"
        h_0 = c_0 = None
        if hx is not None:
            state = _state(hx, sizes, B, batched, dtype)
            if isinstance(state, str):
                return state
            h_0, c_0 = state
        steps = None if lengths is None else _checks.lengths(lengths, T, B if batched else None)
        flags = None
        if resets is not None:
            if sizes.directions == 2:
                raise ValueError("resets need a unidirectional layer: the reverse direction would read across them")
            wanted = (B, T) if batch_first else (T, B) if batched else (T,)
            flags = _checks.resets(_fit.flags(resets), wanted, "one for every step of every row")
            flags = flags.T if batch_first else flags.reshape(T, B)
        dropout, seed = self._dropout()
        call = Call(now.plan, sizes, batch_first, steps, flags, pool(self.threads), dropout, seed)
        if _fit.wants_gradient(x, h_0, c_0, *weights):
            output, h_n, c_n = Run.apply(call, x, h_0, c_0, *weights)
        elif rows and now.rows is not None:
            output, h_n, c_n = step(call, now.rows, x, h_0, c_0)
        else:
            output, h_n, c_n = forward(call, x, h_0, c_0, call.tape() if dropout else None)
        if batched:
            return output, (h_n, c_n)
        return output.squeeze(1), (h_n.squeeze(1), c_n.squeeze(1))

    def _run_packed(self, input: PackedSequence, hx: States | None) -> tuple[PackedSequence, States] | str:
        """Run packed input, only the steps there are; or say why that cannot be done here."""
        data, sizes, order, back = input
        why = _fit.tensor(data, "input.data", data.dtype)
        if why is not None:
            return why
        if data.dim() != 2 or data.size(0) != int(sizes.sum()):
            raise ValueError(
                f"a PackedSequence with {int(sizes.sum())} steps (its batch_sizes) needs data of as many rows, got "
                f"{tuple(data.shape)}: were lengths longer than the padded data packed?"
            )
        if hx is not None and order is not None:
            hx = self.permute_hidden(hx, order)
        found = self._run_rows(data, sizes, hx)
        if isinstance(found, str):
            return found
        made, states = found
        if back is not None:
            states = self.permute_hidden(states, back)
        return PackedSequence(made, sizes, order, back), states

    def _run_rows(self, data: Tensor, batch_sizes: Tensor, hx: States | None) -> tuple[Tensor, States] | str:
        """Run packed rows: where they are, or padded for the way through if a tape is to be kept."""
        weights, sizes, now = self._current()
        if isinstance(now, str):
            return now
        if self._is_dropping() or _fit.wants_gradient(data, *(hx or ()), *weights):
            padded, lengths = torch._VF._pad_packed_sequence(data, batch_sizes, self.batch_first, 0.0, len(batch_sizes))
            found = self._run(padded, hx, lengths, None)
            if isinstance(found, str):
                return found
            made, _ = torch._VF._pack_padded_sequence(found[0], lengths, self.batch_first)
            return made, found[1]
        why = _fit.tensor(data, "input.data", weights[0].dtype)
        if why is not None:
            return why
        rows = batch_sizes.numpy()
        if data.size(1) != sizes.input_size or len(rows) == 0 or rows[-1] < 1 or (rows[1:] > rows[:-1]).any():
            return "torch refuses this input"
        B = int(rows[0])
        h_0 = c_0 = None
        if hx is not None:
            state = _state(hx, sizes, B, True, weights[0].dtype)
            if isinstance(state, str):
                return state
            h_0, c_0 = state
        call = Call(now.plan, sizes, False, np.searchsorted(-rows, -np.arange(B)), None, pool(self.threads), 0.0, 0)
        output, h_n, c_n = forward_packed(call, data, np.cumsum(rows) - rows, h_0, c_0)
        return output, (h_n, c_n)

    def __getstate__(self) -> dict[str, Any]:
        state: dict[str, Any] = super().__getstate__()
        state.pop("_packed", None)  # made again when needed
        return state


def _state(hx: States, sizes: Sizes, B: int, batched: bool, dtype: torch.dtype) -> States | str:
    """Check hx and return it with a batch axis, or say why torch has to look at it."""
    if not isinstance(hx, tuple | list) or len(hx) != 2:
        return "torch refuses this hx"
    h_0, c_0 = hx
    why = _fit.tensor(h_0, "hx[0]", dtype) or _fit.tensor(c_0, "hx[1]", dtype)
    if why is not None:
        return why
    if not batched:
        if h_0.dim() != 2 or c_0.dim() != 2:
            return "torch refuses this hx"
        h_0, c_0 = h_0.unsqueeze(1), c_0.unsqueeze(1)
    states = sizes.num_layers * sizes.directions
    if h_0.shape != (states, B, sizes.proj_size or sizes.hidden_size) or c_0.shape != (states, B, sizes.hidden_size):
        return "torch refuses this hx"
    return h_0, c_0
