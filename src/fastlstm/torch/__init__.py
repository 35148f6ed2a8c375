"""torch.nn.LSTM and LSTMCell on fastlstm: one line to switch a model, nothing else changes.

`accelerate` makes the LSTMs of a module tree run and train here, with the very same parameters; `restore` undoes it.
`LSTM` and `LSTMCell` are torch's classes with fastlstm inside, for new models.

Needs torch 2.4 or later: ``pip install torch``.

>>> import torch, fastlstm.torch
>>> model = torch.nn.Sequential(torch.nn.LSTM(8, 16))
>>> fastlstm.torch.accelerate(model)
Accelerated(swapped=['0'], left={})
"""

try:
    import torch as _torch
except ModuleNotFoundError as _error:
    from .._extras import missing as _missing

    raise _missing("torch", "fastlstm.torch", _error) from _error

if tuple(int(part) for part in _torch.__version__.split("+")[0].split(".")[:2]) < (2, 4):
    raise ImportError(f"fastlstm.torch needs torch 2.4 or later, found {_torch.__version__}")

from ._accelerate import Accelerated, FrozenAdvice, accelerate, accelerated, restore
from ._cell import LSTMCell
from ._lstm import LSTM
from ._operator import decompositions
from ._trace import trace

__all__ = [
    "LSTM",
    "Accelerated",
    "FrozenAdvice",
    "LSTMCell",
    "accelerate",
    "accelerated",
    "decompositions",
    "restore",
    "trace",
]
