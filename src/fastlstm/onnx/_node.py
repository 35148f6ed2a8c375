"""An LSTM node of a model, built where its weights are constants."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray
from onnx import NodeProto

from .. import LSTM
from ._attributes import Attributes
from ._layer import Layer, Outputs
from ._semantics import Semantics

Array = NDArray[Any]


class Node:
    """An LSTM node of a model, as `load` finds it.

    Attributes
    ----------
    name : str
        The node's name, or a made one where it has none; with the path to its subgraph before it.
    proto : onnx.NodeProto
        The node itself.
    opset : int
        The version of the operator set that the node is written in.
    semantics : Semantics
        How it is read where runtimes differ.
    attributes : Attributes or None
        The operator's attributes; None where they are wrong.
    reason : str or None
        Why the node was not built; None if it was. An input that is not constant is named with what it comes from.
    constants : dict of str to array
        Those of sequence_lens, initial_h and initial_c that the model holds fixed: a call uses them by default.

    Notes
    -----
    float16 and bfloat16 nodes are computed in float32, which holds all their values, and each result is rounded once.

    Examples
    --------
    >>> import fastlstm, fastlstm.onnx
    >>> model = fastlstm.onnx.export(fastlstm.LSTM(4, 3, bidirectional=True))
    >>> (node,) = fastlstm.onnx.load(model)
    >>> node.attributes.direction, node.input_size, node.hidden_size, node.dtype.name
    ('bidirectional', 4, 3, 'float32')
    """

    def __init__(
        self,
        name: str,
        proto: NodeProto,
        opset: int,
        semantics: Semantics,
        built: tuple[Attributes, Layer, dict[str, Array]] | str,
        attributes: Attributes | None = None,
    ) -> None:
        self.name, self.proto, self.opset, self.semantics = name, proto, opset, semantics
        self.reason: str | None
        self.attributes: Attributes | None
        self._layer: Layer | None
        self.constants: dict[str, Array]
        if isinstance(built, str):
            self.reason, self.attributes, self._layer, self.constants = built, attributes, None, {}
        else:
            self.reason = None
            self.attributes, self._layer, self.constants = built

    def _built(self) -> Layer:
        if self._layer is None:
            raise ValueError(f"{self.name} was not built: {self.reason}")
        return self._layer

    @property
    def lstms(self) -> tuple[LSTM, ...]:
        """The LSTM that computes the node; two, forward and reverse, where their activations differ. Empty: see reason."""
        return () if self._layer is None else self._layer.lstms

    @property
    def lstm(self) -> LSTM:
        """The LSTM with the node's weights; ValueError where it was not built, or needs two.

        It reads [T, B, I], [B, T, I] with layout 1. A node of direction "reverse" is an LSTM that reads the sequence
        backwards: calling the node turns it, calling the LSTM does not.
        """
        made = self._built().lstms
        if len(made) != 1:
            raise ValueError(f"{self.name} has other activations in its reverse direction: two LSTMs, see .lstms")
        return made[0]

    @property
    def input_size(self) -> int:
        """I: features of an input; ValueError where the node was not built."""
        return self._built().lstms[0].input_size

    @property
    def hidden_size(self) -> int:
        """H: hidden units; ValueError where the node was not built."""
        return self._built().lstms[0].hidden_size

    @property
    def dtype(self) -> np.dtype[Any]:
        """Of weights, inputs and outputs; ValueError where the node was not built."""
        return self._built().dtype

    def __call__(
        self, X: object, sequence_lens: object = None, initial_h: object = None, initial_c: object = None
    ) -> Outputs:
        """Compute the operator's three outputs.

        Parameters
        ----------
        X : array [T, B, I], [B, T, I] with layout 1
            Of the node's dtype. B is free, whatever the model was made for; T and B may be 0.
        sequence_lens : array of int [B], optional
            Steps of each row, 0..T. By default the model's constant, else T for all.
        initial_h, initial_c : array [D, B, H], [B, D, H] with layout 1; optional
            By default the model's constants, else zeros.

        Returns
        -------
        Y : array [T, D, B, H], [B, T, D, H] with layout 1
            h at every step, zeros past a row's length, in the order of the input's time in both directions.
        Y_h, Y_c : array [D, B, H], [B, D, H] with layout 1
            The state after a row's last step: its first in time, in the reverse direction.

        Raises
        ------
        ValueError
            For a wrong shape, lengths outside 0..T, or a node that was not built.
        TypeError
            For a wrong dtype: nothing is cast silently.

        Notes
        -----
        Errors are those of `fastlstm.LSTM`: about 1e-6 in float32; half types add the rounding of the result.

        Examples
        --------
        >>> import numpy as np, fastlstm, fastlstm.onnx
        >>> (node,) = fastlstm.onnx.load(fastlstm.onnx.export(fastlstm.LSTM(4, 3)))
        >>> Y, Y_h, Y_c = node(np.ones((5, 2, 4), np.float32), sequence_lens=[5, 2])
        >>> bool((Y_h[0, 1] == Y[1, 0, 1]).all())
        True
        """
        layer, constants = self._built(), self.constants
        return layer(
            X,
            constants.get("sequence_lens") if sequence_lens is None else sequence_lens,
            constants.get("initial_h") if initial_h is None else initial_h,
            constants.get("initial_c") if initial_c is None else initial_c,
        )

    def __repr__(self) -> str:
        if self.reason is not None:
            return f"Node({self.name!r}, not built: {self.reason})"
        told = [repr(self.name), str(self.input_size), str(self.hidden_size)]
        direction = self.attributes.direction if self.attributes else "forward"
        if direction != "forward":
            told.append(direction)
        return f"Node({', '.join(told)})"
