"""LSTMCell: torch.nn.LSTMCell with fastlstm inside."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor

from .. import _core
from . import _fit
from ._autograd import Run
from ._packed import Packed, Sizes, Snapshot
from ._run import Call, contiguous
from ._switch import Switched, be_leaf

States = tuple[Tensor, Tensor]


class LSTMCell(Switched, torch.nn.LSTMCell):
    """torch.nn.LSTMCell, computed by fastlstm on the CPU; same arguments, parameters, results, errors and state_dict.

    Parameters
    ----------
    *args, **kwargs
        Those of `torch.nn.LSTMCell`.
    frozen : bool, default False
        As for `LSTM`.

    Attributes
    ----------
    frozen : bool
        If True, a step does not look at the parameters' values, which takes as long as the step itself. As for `LSTM`.
    fallback : str or None
        Why the last call ran on torch's own code; None if it ran here. As for `LSTM`.

    Notes
    -----
    A step runs on the caller's thread. Parameters are shared with torch; what is said of `LSTM` holds here.

    Examples
    --------
    >>> import torch, fastlstm.torch
    >>> cell = fastlstm.torch.LSTMCell(4, 3)
    >>> h, c = cell(torch.zeros(5, 4))
    >>> h.shape, cell.fallback
    (torch.Size([5, 3]), None)
    """

    if TYPE_CHECKING:  # torch's own says Any

        def __call__(self, input: Tensor, hx: States | None = None) -> States: ...

    frozen: bool = False
    fallback: str | None = None
    _theirs = torch.nn.LSTMCell

    def __init__(self, *args: Any, frozen: bool = False, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        be_leaf(self)
        if frozen:
            self.frozen = True

    def forward(self, input: Tensor, hx: States | None = None) -> States:
        """Do one step.

        Parameters
        ----------
        input : Tensor [B, I] or [I]
        hx : pair of Tensors (h, c), each [B, H] or [H], optional
            The state; zeros if not given.

        Returns
        -------
        (h', c') : pair of Tensors [B, H] or [H]

        Raises
        ------
        ValueError, RuntimeError
            What torch raises.
        """
        if torch.compiler.is_compiling() or torch._C._len_torch_dispatch_stack():
            return super().forward(input, hx)  # a few operators, which the compiler fuses
        found = _fit.situation() or self._step(input, hx)
        if isinstance(found, str):
            if found.endswith(_fit.ZEROS):
                return self.forward(_fit.real(input), _fit.real(hx))
            self.fallback = found
            return super().forward(input, hx)
        if self.fallback is not None:
            self.fallback = None
        return found

    def _step(self, input: Tensor, hx: States | None) -> States | str:
        """Do a step, or say why that cannot be done here."""
        fast: _core.TensorCell | None = self.__dict__.get("_fast")
        if fast is not None and not torch.is_grad_enabled():
            found = fast.step(self._parameters, input, hx, self.frozen)
            if found is not None:
                return found
        return self._run(input, hx)

    def _run(self, input: Tensor, hx: States | None) -> States | str:
        packed: Packed | None = self.__dict__.get("_packed")
        if packed is None:
            sizes = Sizes(self.input_size, self.hidden_size, 0, 1, 1, bool(self.bias))
            packed = self.__dict__.setdefault("_packed", Packed(sizes))
        found = self._parameters
        names = ("weight_ih", "weight_hh", "bias_ih", "bias_hh") if self.bias else ("weight_ih", "weight_hh")
        weights: list[Tensor] = [found[n] if n in found else getattr(self, n) for n in names]
        before = packed.last
        now = packed.current(weights, frozen=self.frozen)
        if packed.last is not before:
            self._keep(packed.last, names)
        if isinstance(now, str):
            return now
        dtype = weights[0].dtype
        why = _fit.tensor(input, "input", dtype)
        if why is not None:
            return why
        shape = input.shape
        rank = len(shape)
        if (rank != 2 and rank != 1) or shape[-1] != packed.sizes.input_size:
            return "torch refuses this input"
        rows = shape[0] if rank == 2 else 1
        made = (rows, packed.sizes.hidden_size) if rank == 2 else (packed.sizes.hidden_size,)
        h = c = None
        if hx is not None:
            if not isinstance(hx, tuple | list) or len(hx) != 2:
                return "torch refuses this hx"
            h, c = hx
            why = _fit.tensor(h, "hx[0]", dtype) or _fit.tensor(c, "hx[1]", dtype)
            if why is not None:
                return why
            if h.shape != made or c.shape != made:
                return "torch refuses this hx"
        if _fit.wants_gradient(input, h, c, *weights):
            call = Call(now.plan, packed.sizes, False, None, None, None, 0.0, 0)
            states = (1, rows, packed.sizes.hidden_size)
            state = (None, None) if h is None or c is None else (h.reshape(states), c.reshape(states))
            _, h_n, c_n = Run.apply(call, input.reshape(1, rows, packed.sizes.input_size), *state, *weights)
            return h_n.reshape(made), c_n.reshape(made)
        h_n, c_n = input.new_empty(made), input.new_empty(made)
        x, h, c = input.contiguous(), contiguous(h), contiguous(c)  # held until C has read them
        now.plan.run_cell_at(
            rows,
            x.data_ptr(),
            0 if h is None else h.data_ptr(),
            0 if c is None else c.data_ptr(),
            h_n.data_ptr(),
            c_n.data_ptr(),
        )
        return h_n, c_n

    def _keep(self, last: Snapshot | None, names: tuple[str, ...]) -> None:
        """Keep what the fast path needs; it has no eye for parameters with gaps between their values."""
        self.__dict__.pop("_fast", None)
        if last is None or not isinstance(last.seen, _core.Seen) or (last.look is not None and last.look.others):
            return
        digest = None if last.look is None else last.look.digest
        self.__dict__["_fast"] = _core.TensorCell(
            last.plan, last.seen, digest, last.held, Tensor, torch.empty_like, names
        )

    def __getstate__(self) -> dict[str, Any]:
        state = self.__dict__.copy()
        for name in ("_packed", "_fast"):  # made again when needed
            state.pop(name, None)
        return state
