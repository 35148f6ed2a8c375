"""LSTMCell: torch.nn.LSTMCell with fastlstm inside."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor

from .._sizes import Sizes
from . import _accept, _autograd
from ._accept import States, Unfit, ZeroTensor
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
        self.fallback = str(why)
        return super().forward(input, hx)

    def _here(self, input: Tensor, hx: States | None) -> States:
        """Do a step here, or raise Unfit."""
        _accept.surroundings()
        _accept.no_autocast()
        plans: Plans | None = self.__dict__.get("_plans")
        if plans is None:
            sizes = Sizes(self.input_size, self.hidden_size, bias=bool(self.bias), cell=True)
            plans = self.__dict__.setdefault("_plans", Plans(sizes))
        kept = plans.kept  # another thread may put another in its place
        if kept is not None and kept.direct is not None and not torch.is_grad_enabled():
            found = kept.direct.step(self._parameters, input, hx, self.frozen)
            if found is not None:
                return found
        return self._run(plans, input, hx)

    def _run(self, plans: Plans, input: Tensor, hx: States | None) -> States:
        own, sizes = self._parameters, plans.sizes
        kept = plans.of([own[n] if n in own else getattr(self, n) for n in sizes.shapes], frozen=self.frozen)
        given, states = _accept.step(input, hx, sizes, kept.dtype)
        _, h_n, c_n = _autograd.run(Call(kept.plan, sizes, False), given.x, *states, kept.parameters)
        shape = (given.B, sizes.H) if given.batched else (sizes.H,)
        return h_n.view(shape), c_n.view(shape)

    def __getstate__(self) -> dict[str, Any]:
        state = self.__dict__.copy()
        state.pop("_plans", None)  # made again when needed
        return state
