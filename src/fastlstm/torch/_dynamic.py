"""The LSTMs of torch.ao.nn.quantized.dynamic with fastlstm inside: made by `accelerate` alone."""

from __future__ import annotations

from typing import Any

import torch
import torch.ao.nn.quantized.dynamic as theirs
from torch import Tensor
from torch.nn.utils.rnn import PackedSequence

from .._sizes import Sizes
from . import _accept, _call
from ._accept import Refused, States, Unfit
from ._call import Call
from ._quantized import Dynamic, Kept, fit
from ._switch import give_back, take
from ._threads import workers


class LSTM(Dynamic, theirs.LSTM):
    """torch.ao.nn.quantized.dynamic.LSTM, computed by fastlstm with the same integers.

    Inputs and states are rounded to 16 bits, row by row, not to 7 or 8 with one scale for all. Arguments, results,
    state_dict and errors are torch's.
    """

    _theirs = theirs.LSTM

    def _sizes(self) -> Sizes:
        return Sizes(self.input_size, self.hidden_size, L=self.num_layers, D=2 if self.bidirectional else 1)

    def _packed(self) -> tuple[Any, ...]:
        return tuple(each.param for each in self._all_weight_values)

    def _matrices(self) -> list[tuple[Any, Any]]:
        """Take them out of ((kind, biases, ..., [product with x, product with h]), name of its class)."""
        found = [cell.__getstate__()[0][4] for cell in self._packed()]
        return [(pair[0], pair[1]) for pair in found]

    def _here(self, input: Any, hx: Any) -> Any:
        data = input.data if isinstance(input, PackedSequence) else input
        fit(data, hx)
        if self.training and self.dropout > 0 and self.num_layers > 1:
            raise Unfit("dropout in training")
        kept = self._kept()
        if isinstance(input, PackedSequence):
            return self._run_packed(kept, input, hx)
        return self._run_padded(kept, input, hx)

    def _run_padded(self, kept: Kept, input: Tensor, hx: States | None) -> tuple[Tensor, States]:
        sizes = self._sizes()
        given = _accept.padded(input, sizes, torch.float32, self.batch_first)
        if not given.batched:
            raise Refused("input must have 3 dimensions, got 2")
        h_0, c_0 = _accept.states(hx, sizes, given.B, True, torch.float32)
        call = Call(kept.plan, sizes, given.batch_first, workers(self.threads))
        output, h_n, c_n = _call.forward(call, given.x.detach(), h_0, c_0)
        return output, (h_n, c_n)

    def _run_packed(self, kept: Kept, input: PackedSequence, hx: States | None) -> tuple[PackedSequence, States]:
        sizes = self._sizes()
        data, batch_sizes, order, back = input
        rows = _accept.packed(data, batch_sizes)
        hx = hx if hx is None else self.permute_hidden(hx, order)
        _accept.packed_states(hx, rows)
        _accept.packed_data(data, sizes, torch.float32)
        h_0, c_0 = _accept.states(hx, sizes, int(rows[0]), True, torch.float32)
        made, h_n, c_n = _call.packed(kept.plan, sizes, workers(self.threads), data.detach(), rows, (h_0, c_0))
        return PackedSequence(made, batch_sizes, order, back), self.permute_hidden((h_n, c_n), back)


class LSTMCell(Dynamic, theirs.LSTMCell):
    """torch.ao.nn.quantized.dynamic.LSTMCell, computed by fastlstm with the same integers: as `LSTM`."""

    _theirs = theirs.LSTMCell

    def _sizes(self) -> Sizes:
        return Sizes(self.input_size, self.hidden_size, cell=True)

    def _packed(self) -> tuple[Any, ...]:
        return self._packed_weight_ih, self._packed_weight_hh

    def _matrices(self) -> list[tuple[Any, Any]]:
        return [(self._packed_weight_ih, self._packed_weight_hh)]

    def _here(self, input: Any, hx: Any) -> Any:
        fit(input, hx)
        kept, sizes = self._kept(), self._sizes()
        given, states = _accept.step(input, hx, sizes, torch.float32)
        if not given.batched:
            raise Refused("input must have 2 dimensions, got 1")
        _, h_n, c_n = _call.forward(Call(kept.plan, sizes, False), given.x.detach(), *states)
        return h_n[0], c_n[0]


def switch(module: torch.nn.Module, weights: str | None) -> str | None:
    """Make a module one of these, or say why it stays torch's."""
    ours = {theirs.LSTM: LSTM, theirs.LSTMCell: LSTMCell}.get(type(module))
    if ours is None:
        return f"it is quantized, and {type(module).__name__} may do more than torch's own class"
    if "forward" in module.__dict__:
        return "its forward has been replaced on the object"
    if "weights" in module.__dict__:
        return "it has an attribute of the name weights"
    take(module, ours)
    assert isinstance(module, Dynamic)
    try:
        module._set_weights(weights)
        module._kept()
    except Exception as error:  # whatever torch's objects do not hold as expected
        give_back(module)
        return f"it is quantized, and its weights are not understood: {error}"
    return None
