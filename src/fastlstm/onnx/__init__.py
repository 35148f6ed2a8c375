"""ONNX's LSTM operator on fastlstm: the nodes of a model as callables, single nodes, and export.

`load` lists every LSTM node of a model and builds those whose weights are constants; `run_node` runs one node with
the operator's inputs and outputs in order; `trace` runs a whole model once and keeps the gates of its nodes; `export`
writes an LSTM as a model for other runtimes. All forms of the operator from opset 7 on run natively: both layouts,
peepholes, every activation, clip, coupled gates. Weights of 8 bits (onnxruntime's DynamicQuantizeLSTM, and what is
behind DequantizeLinear) are multiplied as the integers that they are. Where onnxruntime does not do what the operator's
text says, `Semantics` chooses.

Needs onnx 1.19 or later: ``pip install onnx``.

>>> import numpy as np, fastlstm, fastlstm.onnx
>>> model = fastlstm.onnx.export(fastlstm.LSTM(4, 3, seed=0))
>>> (node,) = fastlstm.onnx.load(model)
>>> node
Node('lstm_l0', 4, 3)
>>> Y, Y_h, Y_c = node(np.ones((5, 2, 4), np.float32))
>>> Y.shape, Y_h.shape, Y_c.shape
((5, 1, 2, 3), (1, 2, 3), (1, 2, 3))
"""

try:
    import onnx as _onnx
except ModuleNotFoundError as _error:
    from .._extras import missing as _missing

    raise _missing("onnx", "fastlstm.onnx", _error) from _error
if tuple(int(part) for part in _onnx.__version__.split(".")[:2]) < (1, 19):  # the first that reads bfloat16 as such
    raise ImportError(f"fastlstm.onnx needs onnx 1.19 or later, found {_onnx.__version__}")

from ._attributes import Attributes
from ._export import export
from ._load import load
from ._node import Node
from ._run import run_node
from ._semantics import Semantics
from ._trace import trace

__all__ = ["Attributes", "Node", "Semantics", "export", "load", "run_node", "trace"]
