"""An LSTM to an ONNX model."""

from __future__ import annotations

import os
from typing import Any, Final

import numpy as np
import onnx
from onnx import ModelProto, NodeProto, TensorProto, ValueInfoProto, checker, defs, helper, numpy_helper

from .. import _checks, _weights
from .._integers import Integers
from .._lstm import LSTM
from .._types import Array
from . import _semantics
from ._forms import attributes_of
from ._semantics import Semantics
from ._weights import WEIGHTS_KEY, integers_of, tensors_of

_OLDEST: Final = 7
_SCALES_OF_ROWS: Final = 13  # the operator set whose DequantizeLinear has them


def export(
    lstm: LSTM,
    path: str | os.PathLike[str] | None = None,
    *,
    opset: int = 17,
    initial_state: bool = False,
    lengths: bool = False,
    semantics: str | Semantics = "onnx",
) -> ModelProto:
    """Write an LSTM as an ONNX model: one LSTM node per layer, any T and B.

    Parameters
    ----------
    lstm : fastlstm.LSTM
        Any but one with a projection. Dropout is left out: the model is for inference. Weights in 16 or in 8 bits are
        written as the float32 of the same value, and the metadata ``fastlstm.weights`` tell their type. Integers that
        were rounded elsewhere, which float32 would not give back, are written as they are, before a DequantizeLinear;
        from opset 13 on. Before that they are what they stand for in float32, and nothing tells their type.
    path : path, optional
        Where to write the file.
    opset : int
        7 or more, as far as the installed onnx goes. The nodes say the same in all; runtimes differ in which they read.
    initial_state : bool
        Whether the model has the inputs h_0 and c_0 [L*D, B, H]; else the state starts at zero.
    lengths : bool
        Whether the model has the input lengths, int32 [B]; else all rows have T steps.
    semantics : str or Semantics
        Of the runtime that will read the model, where the two differ: a clip at the gates can only be written for
        ``"onnxruntime"``, one at the activations for ``"onnx"``.

    Returns
    -------
    onnx.ModelProto
        Inputs: input [T, B, I], or [B, T, I] with batch_first; then h_0, c_0, lengths if asked for. Outputs: output
        [T, B, D*H] or [B, T, D*H], h_n and c_n [L*D, B, H].

    Raises
    ------
    ValueError
        For a projection, which the operator does not have; for a form that these semantics cannot say; for an
        unknown opset.
    TypeError
        For something that is not a fastlstm.LSTM.

    Notes
    -----
    onnxruntime computes float32 only, gives zeros for h_n and c_n of rows without steps, and does not survive B = 0.
    Other runtimes' results are theirs: within rounding of this library's, not its bits.

    Examples
    --------
    >>> import fastlstm, fastlstm.onnx
    >>> model = fastlstm.onnx.export(fastlstm.LSTM(4, 3), initial_state=True)
    >>> [value.name for value in model.graph.input], [value.name for value in model.graph.output]
    (['input', 'h_0', 'c_0'], ['output', 'h_n', 'c_n'])
    """
    if not isinstance(lstm, LSTM):
        raise TypeError(f"lstm should be a fastlstm.LSTM, got: {type(lstm).__name__}")
    if lstm.proj_size:
        raise ValueError(f"lstm has proj_size={lstm.proj_size}: ONNX's LSTM operator has no projection")
    newest = defs.onnx_opset_version()
    if not _OLDEST <= _checks.integer(opset, "opset") <= newest:
        raise ValueError(f"opset should be in {_OLDEST}..{newest}, got: {opset}")
    graph = _Graph(
        lstm,
        _semantics.checked(semantics),
        _checks.flag(initial_state, "initial_state"),
        _checks.flag(lengths, "lengths"),
        integers=opset >= _SCALES_OF_ROWS,
    )
    imports = [helper.make_opsetid("", opset)]
    model = helper.make_model(
        graph.made(),
        producer_name="fastlstm",
        opset_imports=imports,
        ir_version=max(4, helper.find_min_ir_version_for(imports)),  # from 4 on initializers are not inputs too
    )
    if lstm._settings.weights is not None and not graph.loses_integers:
        helper.set_model_props(model, {WEIGHTS_KEY: lstm._settings.weights})
    checker.check_model(model)
    if path is not None:
        onnx.save_model(model, os.fspath(path))
    return model


class _Graph:
    """The graph of a model as it grows, layer by layer."""

    def __init__(self, lstm: LSTM, semantics: Semantics, initial_state: bool, lengths: bool, *, integers: bool) -> None:
        self._lstm, self._semantics = lstm, semantics
        self._initial_state, self._lengths = initial_state, lengths
        self._integers = not _weights.are_rounded_here(lstm._parameters)
        self.loses_integers = self._integers and not integers  # their scales have no place there
        self._integers &= integers
        self._D = lstm._sizes.D
        self._type = helper.np_dtype_to_tensor_dtype(lstm.dtype)
        self._nodes: list[NodeProto] = []
        self._tensors: list[TensorProto] = []

    def made(self) -> Any:
        """Return the graph."""
        lstm = self._lstm
        self._constant("flat", np.array([0, 0, -1], np.int64))  # 0: as it was; -1: the rest
        x = "input"
        if lstm.batch_first:
            self._nodes.append(helper.make_node("Transpose", [x], ["steps_first"], perm=[1, 0, 2]))
            x = "steps_first"
        last = lstm.num_layers - 1
        for layer in range(last):
            x = self._layer(layer, x, f"output_l{layer}")
        done = "output_steps_first" if lstm.batch_first else "output"
        self._layer(last, x, done)
        if lstm.batch_first:
            self._nodes.append(helper.make_node("Transpose", [done], ["output"], perm=[1, 0, 2]))
        for name in ("h_n", "c_n"):
            parts = [f"{name}_l{layer}" for layer in range(lstm.num_layers)]
            self._nodes.append(helper.make_node("Concat", parts, [name], axis=0))
        return helper.make_graph(self._nodes, "lstm", self._inputs(), self._outputs(), self._tensors)

    def _layer(self, layer: int, x: str, output: str) -> str:
        """Add a layer's node, and what makes [T, B, D*H] of its Y [T, D, B, H]."""
        lstm, D = self._lstm, self._D
        names = {"X": x}
        integers = integers_of(lstm, layer) if self._integers else {}
        for name, array in tensors_of(lstm, layer)._asdict().items():
            if array is None:
                names[name] = ""
            elif name in integers:
                names[name] = self._dequantized(f"{name}_l{layer}", integers[name])
            else:
                names[name] = self._constant(f"{name}_l{layer}", array)
        names["sequence_lens"] = "lengths" if self._lengths else ""
        names["initial_h"] = names["initial_c"] = ""
        if self._initial_state:
            rows = self._constant(f"rows_l{layer}", np.arange(layer * D, (layer + 1) * D))
            for name, state in (("initial_h", "h_0"), ("initial_c", "c_0")):
                names[name] = f"{state}_l{layer}"
                self._nodes.append(helper.make_node("Gather", [state, rows], [names[name]], axis=0))
        names["P"] = names.pop("P")  # the operator's last input
        inputs = list(names.values())
        while not inputs[-1]:
            inputs.pop()
        Y = f"Y_l{layer}"
        self._nodes += [
            helper.make_node(
                "LSTM",
                inputs,
                [Y, f"h_n_l{layer}", f"c_n_l{layer}"],
                name=f"lstm_l{layer}",
                hidden_size=lstm.hidden_size,
                direction="bidirectional" if D == 2 else "forward",
                **attributes_of(lstm.form, D, self._semantics),
            ),
            helper.make_node("Transpose", [Y], [f"{Y}_rows"], perm=[0, 2, 1, 3]),
            helper.make_node("Reshape", [f"{Y}_rows", "flat"], [output]),
        ]
        return output

    def _dequantized(self, name: str, matrices: list[Integers]) -> str:
        """Add a matrix as the integers of each direction, and the nodes that dequantise and join them."""
        made = []
        for d, (values, scales, zeros) in enumerate(matrices):
            own = f"{name}_{d}"
            labels = [self._constant(f"{own}_integers", values[np.newaxis]), self._constant(f"{own}_scale", scales)]
            if zeros is not None:
                labels.append(self._constant(f"{own}_zero_point", zeros))
            self._nodes.append(helper.make_node("DequantizeLinear", labels, [own], axis=1))
            made.append(own)
        self._nodes.append(helper.make_node("Concat", made, [name], axis=0))
        return name

    def _constant(self, name: str, array: Array) -> str:
        self._tensors.append(numpy_helper.from_array(array, name))
        return name

    def _inputs(self) -> list[ValueInfoProto]:
        sequence = ["B", "T"] if self._lstm.batch_first else ["T", "B"]
        made = [helper.make_tensor_value_info("input", self._type, [*sequence, self._lstm.input_size])]
        if self._initial_state:
            made += [helper.make_tensor_value_info(name, self._type, self._state()) for name in ("h_0", "c_0")]
        if self._lengths:
            made.append(helper.make_tensor_value_info("lengths", TensorProto.INT32, ["B"]))
        return made

    def _outputs(self) -> list[ValueInfoProto]:
        sequence = ["B", "T"] if self._lstm.batch_first else ["T", "B"]
        shapes: dict[str, list[Any]] = {
            "output": [*sequence, self._D * self._lstm.hidden_size],
            "h_n": self._state(),
            "c_n": self._state(),
        }
        return [helper.make_tensor_value_info(name, self._type, shape) for name, shape in shapes.items()]

    def _state(self) -> list[int | str]:
        return [self._lstm.num_layers * self._D, "B", self._lstm.hidden_size]
