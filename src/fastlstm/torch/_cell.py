"""LSTMCell: torch.nn.LSTMCell with fastlstm inside."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor

from .._sizes import Sizes
from . import _accept, _autograd
from ._accept import OtherDtype, Refused, States, Unfit, ZeroTensor
from ._call import Call
from ._plans import Plans
from ._switch import Switched, be_leaf


class LSTMCell(Switched, torch.nn.LSTMCell):
    """torch.nn.LSTMCell, computed by fastlstm on the CPU; same arguments, parameters, results, errors and state_dict.

    Parameters
    ----------
    *args, **kwargs
        Those of `torch.nn.LSTMCell`.
    frozen : bool, default False
        As for `LSTM`.
    weights, forget_bias : optional
        As for `LSTM`.

    Attributes
    ----------
    weights : str or None
        What the packed matrices are stored in. As for `LSTM`.
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

    def __init__(
        self,
        *args: Any,
        frozen: bool = False,
        weights: str | None = None,
        forget_bias: float | None = None,
        **kwargs: Any,
    ) -> None:
        super().__init__(*args, **kwargs)
        be_leaf(self)
        self._set_weights(weights)
        self._set_forget_bias(forget_bias)
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
            return self._in_graph(input, hx)
        try:
            found = self._here(input, hx)
        except Unfit as unfit:
            why = unfit.with_traceback(None)  # which would keep the tensors
        else:
            if self.fallback is not None:
                self.fallback = None
            return found
        if isinstance(why, ZeroTensor):
            return self.forward(_accept.real(input), _accept.real(hx))
        if self.weights is not None and not isinstance(why, Refused | OtherDtype):
            self._need_ours(why)
        self.fallback = str(why)
        return super().forward(input, hx)

    def _in_graph(self, input: Tensor, hx: States | None) -> States:
        """Put torch's few operators into a graph, which the compiler fuses; ours where the weights are rounded."""
        if self.weights is None:
            return super().forward(input, hx)
        own = self._parameters
        weights = [own[name] for name in ("weight_ih", "weight_hh", "bias_ih", "bias_hh")[: 4 if self.bias else 2]]
        if not _accept.graph(input.unsqueeze(0), hx, weights, self.input_size):
            raise RuntimeError("weights= needs fastlstm's own code, which cannot run in this graph")
        rows = (1, -1, self.hidden_size)
        h, c = (None, None) if hx is None else (hx[0].reshape(rows), hx[1].reshape(rows))
        x = input.reshape(1, -1, self.input_size)
        sizes = (1, False, bool(self.bias), False, 0.0, 0)
        _, h_n, c_n = torch.ops.fastlstm.lstm_stored(x, h, c, weights, None, None, None, *sizes, self.weights)
        shape = (*input.shape[:-1], self.hidden_size)
        return h_n.reshape(shape), c_n.reshape(shape)

    def _here(self, input: Tensor, hx: States | None) -> States:
        """Do a step here, or raise Unfit."""
        _accept.surroundings()
        if self.weights is not None and _accept.is_autocast_on():
            with torch.autocast("cpu", enabled=False):
                return self._widened(input, hx, input.dtype if hx is None else hx[1].dtype)
        _accept.no_autocast()
        if self.weights is not None and (dtype := self.weight_ih.dtype) in _accept.HALVES:
            _accept.of_one_dtype(input, hx, dtype)
            return self._widened(input, hx, dtype)
        return self._step(input, hx)

    def _widened(self, input: Tensor, hx: States | None, made: torch.dtype) -> States:
        """Do a step in a dtype that holds the parameters' values, and round the results once."""
        dtype = _accept.computed_in(self.weight_ih.dtype)
        h, c = self._step(_accept.widened(input, dtype), _accept.widened(hx, dtype))
        return h.to(made), c.to(made)

    def _step(self, input: Tensor, hx: States | None) -> States:
        plans: Plans | None = self.__dict__.get("_plans")
        if plans is None:
            sizes = Sizes(self.input_size, self.hidden_size, bias=bool(self.bias), cell=True)
            plans = self.__dict__.setdefault("_plans", Plans(sizes))
        kept = plans.kept  # another thread may put another in its place
        direct = None if kept is None or kept.weights != self.weights else kept.direct
        if direct is not None and not torch.is_grad_enabled():
            found = direct.step(self._parameters, input, hx, self.frozen)
            if found is not None:
                return found
        return self._run(plans, input, hx)

    def _run(self, plans: Plans, input: Tensor, hx: States | None) -> States:
        own, sizes = self._parameters, plans.sizes
        parameters = [own[n] if n in own else getattr(self, n) for n in sizes.shapes]
        kept = plans.of(parameters, frozen=self.frozen, weights=self.weights)
        given, states = _accept.step(input, hx, sizes, kept.dtype)
        _, h_n, c_n = _autograd.run(
            Call(kept.plan, sizes, False, weights=kept.weights), given.x, *states, kept.parameters
        )
        shape = (given.B, sizes.H) if given.batched else (sizes.H,)
        return h_n.view(shape), c_n.view(shape)

    def __getstate__(self) -> dict[str, Any]:
        state = self.__dict__.copy()
        state.pop("_plans", None)  # made again when needed
        return state
