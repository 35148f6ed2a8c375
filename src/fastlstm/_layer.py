"""What LSTM and LSTMCell share: settings, parameters, and the plan that holds them packed."""

from __future__ import annotations

import sys
import types
import weakref
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, ClassVar, Generic, Self

import numpy as np
from numpy.typing import NDArray

from . import _core, _parameters, _plans, _weights
from ._forms import Form
from ._integers import Parameter
from ._settings import Settings
from ._sizes import Sizes
from ._trace_results import Traced
from ._types import Array, F

#: Attributes of a layer that it makes by itself; all others are its user's, and copied with it.
_OWN = {"_settings", "_sizes", "_plan", "_parameters", "_origin", "_core", "_memory", "_workers"}


class Origin:
    """Weights as a layer has them at one time: what its streams, pools and windows are made with, and go on with."""

    def __init__(
        self, layer: Layer[Any], s: Settings, sizes: Sizes, plan: _core.Plan, parameters: Mapping[str, Array]
    ) -> None:
        self._layer = weakref.ref(layer)
        self._settings, self._parameters = s, parameters
        self._fingerprint: bytes | None = None
        self.sizes = sizes
        self.plan = plan
        self.dtype: np.dtype[Any] = s.dtype

    @property
    def traced(self) -> Traced:
        """What a trace has to know of the layer."""
        return Traced(self.sizes, self._settings.form, self._parameters)

    @property
    def current(self) -> bool:
        """Whether the layer still has these weights; True as well when there is no layer any more."""
        layer = self._layer()
        return layer is None or layer._origin is self

    def fingerprint(self) -> bytes:
        """Hash sizes, form and weights, in one byte order: the same 16 bytes on every machine. Kept once computed."""
        if self._fingerprint is None:
            import hashlib  # what importing the package should not cost

            s = self._settings
            sizes = s.input_size, s.hidden_size, s.proj_size, s.num_layers, s.bidirectional, s.bias, s.dtype.name
            made = hashlib.sha256(f"{sizes} {s.form}".encode())
            if s.weights is not None:
                made.update(f" {s.weights}".encode())
            for name, array in _weights.entries(self._parameters):
                made.update(f" {name} ".encode())
                made.update((array if sys.byteorder == "little" else array.byteswap()).data)
            self._fingerprint = made.digest()[:16]
        return self._fingerprint


class Layer(Generic[F]):
    """What LSTM and LSTMCell share: settings, parameters, and the plan that holds them packed."""

    _is_cell: ClassVar[bool]

    note: str = ""  #: what `load` has to say of the file that the layer is from: that it has weights of fewer bytes

    _settings: Settings
    _sizes: Sizes
    _parameters: Mapping[str, Array]
    _plan: _core.Plan
    _origin: Origin

    @staticmethod
    def _checked_settings(s: Settings) -> Settings:
        """Check settings, be they arguments or what a pickle holds."""
        raise NotImplementedError

    def _draw(self, s: Settings, seed: int | None, forget_bias: object) -> None:
        """Start from random weights."""
        sizes = s.sizes(cell=self._is_cell)
        start = None
        if forget_bias is not None:
            start = _parameters.checked_forget_bias(forget_bias, s.dtype, bias=s.bias, coupled=s.form.coupled)
        drawn = _parameters.initial(sizes.shapes, s.hidden_size, s.dtype, seed)
        self._use(s, sizes, drawn if start is None else _parameters.with_forget_bias(drawn, start))

    def _load(self, s: Settings, state_dict: object) -> None:
        """Copy all weights out of a mapping."""
        sizes = s.sizes(cell=self._is_cell)
        self._use(s, sizes, _parameters.loaded(state_dict, sizes.shapes, s.dtype))

    def _use(self, s: Settings, sizes: Sizes, given: Mapping[str, Parameter]) -> None:
        """Pack first, then swap all together: calls under way finish with the old weights, an error changes nothing."""
        parameters = _weights.stored(given, s.weights)
        memory = self.__dict__.setdefault("_memory", _core.Memory())  # blocks outlive a change of weights
        plan = _plans.pack(sizes, parameters, memory, s.form, s.isa, s.weights)
        self.__dict__.update(self._made(s, sizes, plan, parameters))

    def _made(self, s: Settings, sizes: Sizes, plan: _core.Plan, parameters: Mapping[str, Array]) -> dict[str, Any]:
        """Return the attributes that belong together."""
        return {
            "_settings": s,
            "_sizes": sizes,
            "_plan": plan,
            "_parameters": parameters,
            "_origin": Origin(self, s, sizes, plan, parameters),
        }

    def _replaced(self, parameters: Mapping[str, Array]) -> Self:
        """Make another layer with other weights and the same settings, scratch and threads; this one stays as it is."""
        made = type(self).__new__(type(self))
        made.__dict__.update({name: self.__dict__[name] for name in ("_memory", "_workers") if name in self.__dict__})
        made._load(self._settings, parameters)
        return made

    @property
    def input_size(self) -> int:
        """I: features of an input."""
        return self._settings.input_size

    @property
    def hidden_size(self) -> int:
        """H: hidden units."""
        return self._settings.hidden_size

    @property
    def bias(self) -> bool:
        """Whether there are bias parameters."""
        return self._settings.bias

    @property
    def dtype(self) -> np.dtype[F]:
        """float32 or float64: of parameters, inputs, states and outputs."""
        return self._settings.dtype

    @property
    def form(self) -> Form:
        """The form of the cell."""
        return self._settings.form

    @property
    def weights(self) -> str:
        """What the matrices are stored in: the name of `dtype`, or that of a type of fewer bits."""
        return self._settings.weights or self._settings.dtype.name

    def astype(self, *, weights: str) -> Self:
        """Make another layer whose matrices are stored in another type; this one stays as it is.

        Parameters
        ----------
        weights : str
            ``"float16"`` or ``"bfloat16"``: rounded to nearest, ties to even, in half the memory, for inference.
            ``"int8"``, ``"int8-fast"``: integers of 8 bits with a scale for each row, in a quarter of the memory.
            ``"float32"``: 32 bits again, of what they were rounded to.

        Returns
        -------
        LSTM or LSTMCell
            With the same settings, and threads of its own.

        Raises
        ------
        ValueError
            For another name, a layer of float64, a weight that it cannot hold, and for 8 bits more than 16384 inputs or
            units.
        TypeError
            For something that is not a name.

        Notes
        -----
        With 16 bits results are, to the bit, those of a float32 layer that holds the rounded weights. With 8 bits the
        inputs and states are rounded, too, row by row, to 16 bits or, with ``"int8-fast"``, to 7 (docs/precision.md).
        Biases and peepholes stay float32.

        Examples
        --------
        >>> import numpy as np, fastlstm
        >>> lstm = fastlstm.LSTM(4, 3, seed=0)
        >>> half = lstm.astype(weights="float16")
        >>> x = np.ones((2, 1, 4), np.float32)
        >>> bool((half(x)[0] == half.astype(weights="float32")(x)[0]).all())
        True
        """
        if not isinstance(weights, str):
            raise TypeError(f"weights should be a name such as 'float16', got: {type(weights).__name__}")
        made = type(self).__new__(type(self))
        settings = self._checked_settings(self._settings._replace(weights=weights))
        made._load(settings, self.state_dict())
        return made

    @property
    def isa(self) -> str:
        """The instruction set that this object runs on."""
        return self._plan.isa

    def state_dict(self) -> dict[str, NDArray[Any]]:
        """Return the parameters under torch's names, gates in the order i, f, g, o.

        Returns
        -------
        dict of str to array
            Read-only arrays of the layer's dtype, not copies but for matrices in 16 bits, which are given in float32.
            Matrices in 8 bits are given as they are: integers of int8 or uint8, ``weight_ih_l0_scale`` with one float32
            for each row, and, where a model came with zero points that are not zero, ``weight_ih_l0_zero_point``; a row
            stands for ``scale * (integers - zero_point)``. (Names of reverse directions and cells go the same way:
            ``weight_ih_l0_reverse_scale``, ``weight_ih_scale``.) For who takes float32 alone, torch's modules say:
            ``lstm.astype(weights="float32").state_dict()``. New weights come in through `load_state_dict`. Each
            parameter is an attribute too (``lstm.weight_ih_l0``, a matrix in 8 bits as the float32 it stands for), but
            which there are depends on the sizes: type checkers know them here only.

        Examples
        --------
        >>> import fastlstm
        >>> {name: array.shape for name, array in fastlstm.LSTM(4, 3).state_dict().items()}
        {'weight_ih_l0': (12, 4), 'weight_hh_l0': (12, 3), 'bias_ih_l0': (12,), 'bias_hh_l0': (12,)}
        """
        return dict(_weights.entries(self._parameters))

    def load_state_dict(self, state_dict: object) -> None:
        """Take all parameters from a mapping with torch's names; anything that `numpy.asarray` reads will do.

        Parameters
        ----------
        state_dict : mapping of str to array_like
            Exactly the names of parameters, each of its shape and of the layer's dtype. A matrix may be given in 8
            bits, int8 or uint8, together with its scale and, unless it is zero, its zero point: single numbers, or one
            for each row. Layers with weights in 8 bits use such integers as they are, others what they stand for. The
            values are copied.

        Raises
        ------
        TypeError
            For something that is not a mapping, or a wrong dtype.
        ValueError
            For missing or unexpected names, a wrong shape, or scales and zero points that cannot be. The layer keeps
            its weights then.

        Notes
        -----
        Calls that are under way in other threads finish with the old weights. Streams, pools and windows that are open
        keep the weights that they were made with, to their end; their `current` is False from now on. To go on from a
        stream's state with the new weights, make a new stream and assign the state.

        Examples
        --------
        >>> import fastlstm
        >>> a, b = fastlstm.LSTM(4, 3), fastlstm.LSTM(4, 3)
        >>> a.load_state_dict(b.state_dict())
        """
        self._load(self._settings, state_dict)

    def fingerprint(self) -> str:
        """Hash sizes, form, dtype and weights: equal on every machine, and in practice for no two different models.

        Returns
        -------
        str
            32 hexadecimal digits. Computing them takes a millisecond or two per megabyte of weights, once; snapshots of
            streams and pools carry them.

        Examples
        --------
        >>> import fastlstm
        >>> a, b = fastlstm.LSTM(4, 3, seed=0), fastlstm.LSTM(4, 3, seed=1)
        >>> a.fingerprint() == b.fingerprint()
        False
        >>> b.load_state_dict(a.state_dict())
        >>> a.fingerprint() == b.fingerprint()
        True
        """
        return self._origin.fingerprint().hex()

    if not TYPE_CHECKING:  # for a type checker every misspelt name would be an attribute

        def __getattr__(self, name: str) -> Any:
            parameters = self.__dict__.get("_parameters")
            if parameters is None:
                raise AttributeError(f"{type(self).__name__!r} object has no {name!r}: call super().__init__() first")
            if name in parameters:
                return parameters[name]
            raise AttributeError(f"{type(self).__name__!r} object has no attribute {name!r}")

    def __setattr__(self, name: str, value: object) -> None:
        if name in self.__dict__.get("_parameters", ()):
            raise AttributeError(f"{name} cannot be assigned: new weights come in through load_state_dict")
        super().__setattr__(name, value)

    def __dir__(self) -> list[str]:
        return [*super().__dir__(), *self.__dict__.get("_parameters", ())]

    def __getstate__(self) -> dict[str, Any]:
        own = {"settings": tuple(self._settings), "parameters": self.state_dict()}
        state: Any = super().__getstate__()  # a copy of __dict__, and where a subclass has __slots__ a pair with theirs
        attributes = state[0] | state[1] if isinstance(state, tuple) else state
        return own | {"attributes": {name: value for name, value in attributes.items() if name not in _OWN}}

    def __setstate__(self, state: dict[str, Any]) -> None:
        try:
            given, parameters = Settings(*state["settings"]), state["parameters"]
            attributes = dict(state.get("attributes", {}))  # what the user has set
        except (TypeError, KeyError, ValueError, AttributeError):
            raise ValueError(f"this is not the state of a fastlstm.{type(self).__name__}") from None
        s = self._checked_settings(given)
        shapes = s.sizes(cell=self._is_cell).shapes
        wrong = [name for name in attributes if not isinstance(name, str) or name in _OWN or name in shapes]
        if wrong:
            raise ValueError(f"the state sets {wrong[0]!r}, which is not a setting")
        self._load(s, parameters)
        self.__dict__.pop("_workers", None)  # of an earlier life
        for name in attributes:
            if isinstance(getattr(type(self), name, None), types.MemberDescriptorType):  # a slot of a subclass
                super().__setattr__(name, attributes[name])
            else:
                self.__dict__[name] = attributes[name]

    def __repr__(self) -> str:
        return f"{type(self).__name__}({self._settings})"
