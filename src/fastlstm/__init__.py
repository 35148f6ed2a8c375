"""LSTM forward and backward passes on CPUs: fast, exact, and the same bits however the work is cut.

>>> import numpy as np, fastlstm
>>> lstm = fastlstm.LSTM(input_size=16, hidden_size=32, num_layers=2, seed=0)
>>> x = np.zeros((50, 8, 16), np.float32)  # T, B, I
>>> output, (h_n, c_n) = lstm(x)
>>> output.shape, h_n.shape, c_n.shape
((50, 8, 32), (2, 8, 32), (2, 8, 32))
"""

import importlib
from typing import TYPE_CHECKING, Any

from . import reference
from ._activations import gates_backward, gates_forward, sigmoid, tanh
from ._cell import LSTMCell
from ._forms import Form
from ._isa import isa, isas, show_config
from ._lstm import LSTM
from ._stream import Stream
from ._stream_pool import StreamPool
from ._table import Table
from ._tapes import ChunkGradients, Gradients, SparseTape, Tape
from ._thread_pool import ThreadPool
from ._trace import GateTrace
from ._window import SlidingWindow
from .files import inspect, load, save

__version__ = "0.1.0"

__all__ = [
    "LSTM",
    "ChunkGradients",
    "Comparison",
    "Difference",
    "Form",
    "GateTrace",
    "Gradients",
    "Health",
    "LSTMCell",
    "SlidingWindow",
    "SparseTape",
    "Stream",
    "StreamPool",
    "Table",
    "Tape",
    "ThreadPool",
    "__version__",
    "compare",
    "gates_backward",
    "gates_forward",
    "health",
    "inspect",
    "isa",
    "isas",
    "load",
    "plot",
    "reference",
    "save",
    "show_config",
    "sigmoid",
    "tanh",
]

#: What few programs use: where it is.
_LATER = {
    **dict.fromkeys(("Comparison", "Difference", "compare"), "._compare"),
    **dict.fromkeys(("Health", "health"), "._health"),
    "plot": "._plot",
}

for _thing in [globals()[name] for name in __all__ if name not in _LATER]:
    if callable(_thing):
        _thing.__module__ = __name__  # what pickles name: it should outlive the layout of this package
del _thing


if TYPE_CHECKING:
    from ._compare import Comparison, Difference, compare
    from ._health import Health, health
    from ._plot import plot
else:  # for a type checker every misspelt name would be an attribute

    def __getattr__(name: str) -> Any:
        """Import the adapters when they are first asked for: what they adapt takes seconds to import."""
        if name in _LATER:
            return getattr(importlib.import_module(_LATER[name], __name__), name)
        if name in ("keras", "onnx", "torch"):
            return importlib.import_module(f".{name}", __name__)
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
