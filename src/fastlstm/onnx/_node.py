"""An LSTM node of a model, built where its weights are constants."""

from __future__ import annotations

from typing import Any, Final, NamedTuple

import numpy as np
from onnx import NodeProto

from .._lstm import LSTM
from .._stream import Stream
from .._types import Array
from .._weights import INTEGERS
from ._attributes import Attributes
from ._layer import Layer, Outputs
from ._operators import STATES, is_quantized
from ._semantics import Semantics


class _OfModel:
    """The default of a call's states: what the model has."""

    def __repr__(self) -> str:
        return "<of the model>"


_OF_MODEL: Final = _OfModel()


class States(NamedTuple):
    """What a model does about sequence_lens, initial_h and initial_c; what is under neither is not there or is zero."""

    constants: dict[str, Array]
    computed: dict[str, str]
    """Where each comes from."""

    @property
    def nbytes(self) -> int:
        """What the constants take."""
        return sum(array.nbytes for array in self.constants.values())


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
        Those of sequence_lens, initial_h and initial_c that the model holds fixed: a call uses them by default. States
        of zeros, which the operator starts from anyway, are not among them.
    computed : dict of str to str
        Those that come only when the model runs, each with where from: every call has to say what they are.

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
        attributes: Attributes | None,
        built: tuple[Layer, States] | str | None,
    ) -> None:
        self.name: str = name
        self.proto: NodeProto = proto
        self.opset: int = opset
        self.semantics: Semantics = semantics
        self.attributes: Attributes | None = attributes
        self.reason: str | None = built if isinstance(built, str) else None
        self._layer: Layer | None
        self._layer, states = built if isinstance(built, tuple) else (None, States({}, {}))
        self.constants: dict[str, Array] = states.constants
        self.computed: dict[str, str] = states.computed

    def _built(self) -> Layer:
        if self._layer is None:
            raise ValueError(f"{self.name} was not built: {self.reason}")
        return self._layer

    @property
    def lstms(self) -> tuple[LSTM, ...]:
        """The LSTM that computes the node; one per direction where their activations differ; none: see reason."""
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
        self,
        X: object,
        sequence_lens: object = _OF_MODEL,
        initial_h: object = _OF_MODEL,
        initial_c: object = _OF_MODEL,
    ) -> Outputs:
        """Compute the operator's three outputs.

        Parameters
        ----------
        X : array [T, B, I], [B, T, I] with layout 1
            Of the node's dtype. B is free, whatever the model was made for; T and B may be 0.
        sequence_lens : array of int [B], optional
            Steps of each row, 0..T. By default, and for None, the model's constant, else T for all.
        initial_h, initial_c : array [D, B, H], [B, D, H] with layout 1; optional
            By default, and for None, the model's constants, else zeros. What the model computes, or takes as an input
            of its own (see `computed`), has no default: give it, or None.

        Returns
        -------
        Y : array [T, D, B, H], [B, T, D, H] with layout 1
            h at every step, zeros past a row's length, in the order of the input's time in both directions.
        Y_h, Y_c : array [D, B, H], [B, D, H] with layout 1
            The state after a row's last step: its first in time, in the reverse direction.

        Raises
        ------
        ValueError
            For a wrong shape, lengths outside 0..T, or a node that was not built; where a state or lengths that the
            model computes are left out.
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
        layer = self._built()
        if not self.constants and not self.computed:
            return layer(X, *(None if state is _OF_MODEL else state for state in (sequence_lens, initial_h, initial_c)))
        given = zip(STATES, (sequence_lens, initial_h, initial_c), strict=True)
        return layer(X, *(self._state(name, value) for name, value in given))

    def stream(self, batch_size: int = 1, initial_h: object = _OF_MODEL, initial_c: object = _OF_MODEL) -> Stream:
        """Step through live sequences: the node's bits, without the work of a call for every step.

        Parameters
        ----------
        batch_size : int
            B: how many sequences advance together.
        initial_h, initial_c : array [1, B, H], [B, 1, H] with layout 1; optional
            As for a call.

        Returns
        -------
        fastlstm.Stream
            Its `step` takes [B, I], or [I] where B is 1, and returns h; its `state` is the pair (Y_h, Y_c), [1, B, H].

        Raises
        ------
        ValueError
            For a node that reads a sequence from its end, or whose lengths are constants of the model; otherwise as for
            a call.
        TypeError
            For float16 and bfloat16: a stream does not round what it returns.

        Examples
        --------
        >>> import numpy as np, fastlstm, fastlstm.onnx
        >>> (node,) = fastlstm.onnx.load(fastlstm.onnx.export(fastlstm.LSTM(4, 3)))
        >>> x = np.ones((5, 1, 4), np.float32)
        >>> stream = node.stream()
        >>> bool((np.stack([stream.step(row) for row in x]) == node(x)[0][:, 0]).all())
        True
        """
        layer = self._built()
        if self.attributes and self.attributes.direction != "forward":
            raise ValueError(f"{self.name} reads a sequence from its end ({self.attributes.direction}): no steps")
        if "sequence_lens" in self.constants:
            raise ValueError(f"{self.name} has constant sequence_lens: a stream would not end where they do")
        if layer.dtype != layer.lstms[0].dtype:
            raise TypeError(f"{self.name} is of {layer.dtype}: step through .lstm.stream() and round what it returns")
        stream = self.lstm.stream(batch_size)
        given = (self._state(name, value) for name, value in (("initial_h", initial_h), ("initial_c", initial_c)))
        stream.state = layer.states(next(given), next(given), stream.batch_size)
        return stream

    def _state(self, name: str, value: object) -> object:
        """Return a call's lengths or state: the given, else the model's."""
        if value is _OF_MODEL and name in self.computed:
            none = "T for all" if name == "sequence_lens" else "zeros"
            raise ValueError(
                f"{name} should be given, or None for {none}: {self.name} takes it from the model, where "
                f"{self.computed[name]}"
            )
        return self.constants.get(name) if value is _OF_MODEL or value is None else value

    def __repr__(self) -> str:
        if self.reason is not None:
            return f"Node({self.name!r}, not built: {self.reason})"
        told = [repr(self.name), str(self.input_size), str(self.hidden_size)]
        direction = self.attributes.direction if self.attributes else "forward"
        if direction != "forward":
            told.append(direction)
        stored = self._built().lstms[0]._settings.weights
        if is_quantized(self.proto) and stored not in INTEGERS:
            told.append("dequantised")
        if stored is not None:
            told.append(f"weights={stored!r}")
        if self.computed:
            told.append(f"needs {' and '.join(self.computed)}")
        return f"Node({', '.join(told)})"
