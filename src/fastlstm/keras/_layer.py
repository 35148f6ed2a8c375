"""The layer."""

from __future__ import annotations

import inspect
from typing import Any

import keras
import numpy as np
from numpy.typing import NDArray

import fastlstm

from ._activations import COUNTERPARTS
from ._masks import checked, steps
from ._packed import Packed
from ._tensors import VIEWS, view

Array = NDArray[Any]


@keras.saving.register_keras_serializable(package="fastlstm")
class LSTM(keras.layers.LSTM):
    """`keras.layers.LSTM`, computed by fastlstm wherever fastlstm can.

    Constructor, weights, config, call arguments and results are those of `keras.layers.LSTM`; only who computes
    is different. Where fastlstm cannot, the call runs on Keras's own code, and `fallback` says why.

    Parameters
    ----------
    units : int
        H: hidden units.
    activation, recurrent_activation, use_bias, ... :
        All arguments of `keras.layers.LSTM`, with its defaults.
    time_major : bool
        An argument of Keras 2, which its files have: False is dropped.

    Attributes
    ----------
    fallback : str or None
        Why the latest call ran on Keras's own code; None if it ran on fastlstm, or if there was no call yet.

    Raises
    ------
    ValueError
        When made or called: what Keras refuses; for ``time_major=True``; for an initial state or a mask of a wrong
        shape; for an input with another number of features than the first one.

    Notes
    -----
    On fastlstm run: float32 and float64 with the numpy and torch backends, with and without a mask of any pattern, with
    gradients on the torch backend; with the jax backend calls outside ``jax.jit`` and ``jax.grad``. Activations:
    sigmoid, tanh, linear, relu, leaky_relu, elu, hard_sigmoid, softplus, softsign.

    On Keras's own code run: dropout in training, mixed precision, integer input, traced or compiled functions (among
    them ``model.predict`` and ``model.fit`` on jax), tensors that are not in the CPU's memory, TensorFlow and OpenVINO,
    a mask with ``unroll=True``, and ``use_cudnn=True``, which is then refused as Keras refuses it.

    Accuracy: float32 outputs are within about 1e-6 of the exact result for units up to 1024, and do not depend on the
    batch that a row travels in. The packed copy of the weights is compared with the variables, bit by bit, in every
    call: however they were changed, it is never stale. Differentiable once.

    Examples
    --------
    >>> import numpy as np, fastlstm.keras
    >>> layer = fastlstm.keras.LSTM(3, return_sequences=True)
    >>> tuple(layer(np.ones((2, 7, 4), "float32")).shape)
    (2, 7, 3)
    >>> layer.fallback is None  # it ran on fastlstm
    True
    """

    fallback: str | None = None
    _packed: Packed | None = None

    def __init__(self, *args: Any, time_major: bool = False, **kwargs: Any) -> None:
        if time_major:
            raise ValueError("time_major=True is not there in Keras 3: the input is (batch, time, features)")
        super().__init__(*args, **kwargs)

    def inner_loop(self, sequences: Any, initial_state: Any, mask: Any, training: bool = False) -> tuple[Any, Any, Any]:
        """Run the time loop: the step of `keras.layers.RNN.call` that differs.

        Parameters
        ----------
        sequences : tensor [B, T, I]
            The input.
        initial_state : pair of tensors [B, H]
            h_0 and c_0.
        mask : tensor of bool [B, T], or None
            True where a step counts.
        training : bool
            Whether dropout applies.

        Returns
        -------
        last_output, outputs, states
            Tensors [B, H] and [B, T, H], and a list of h_n and c_n, both [B, H].
        """
        if isinstance(mask, list | tuple):
            mask = mask[0]
        self.fallback = self._obstacle(sequences, initial_state, mask, training)
        if self.fallback is not None:
            return super().inner_loop(sequences, initial_state, mask, training)
        B, T, _ = sequences.shape
        valid = None if mask is None else checked(_values(mask), B, T)
        if self.go_backwards and valid is not None:
            valid = valid[:, ::-1]
        tensors = [sequences, *_checked_states(initial_state, B, self.units)]
        variables = self._variables()
        weights = [_values(variable) for variable in variables]
        activations = COUNTERPARTS[self.recurrent_activation], COUNTERPARTS[self.activation]
        # Read once: another thread may call the layer with other weights meanwhile.
        packed = self._packed
        packed = Packed(weights, activations) if packed is None else packed.next(weights, activations)
        self._packed = packed
        if keras.backend.backend() == "torch":
            from . import _torch

            def run(x: Any, h: Any, c: Any, lengths: Array | None) -> tuple[Any, ...]:
                return _torch.run(packed.lstm, lengths, [x, h, c], variables)

            return self._arrange(keras.ops, run, tensors, valid)
        # Keras's own operations would round float64 to float32.
        last, outputs, states = self._arrange(np, packed.run, [_values(tensor) for tensor in tensors], valid)
        return _tensor(last), _tensor(outputs), [_tensor(state) for state in states]

    def _arrange(
        self, xp: Any, run: Any, tensors: list[Any], valid: NDArray[np.bool_] | None
    ) -> tuple[Any, Any, list[Any]]:
        """Bring the steps into the order in which they run, and the outputs into the order in which they are shown."""
        x, h, c = tensors
        if self.go_backwards:
            x = xp.flip(x, axis=1)
        if valid is None:
            outputs, h_n, c_n = run(x, h, c, None)
            return outputs[:, -1], outputs, [h_n, c_n]
        plan = steps(valid)
        if plan.order is not None:
            x = xp.take_along_axis(x, plan.order, axis=1)
        outputs, h_n, c_n = run(x, h, c, plan.lengths)
        outputs = xp.take_along_axis(outputs, plan.latest, axis=1)
        if self.zero_output_for_mask:
            outputs = xp.where(valid[..., None], outputs, xp.zeros_like(outputs))
        else:
            # Before a row's first step Keras shows zeros on torch, but the initial state on numpy and jax.
            before = xp.zeros_like(outputs) if xp is keras.ops else h[:, None]
            outputs = xp.where(plan.started, outputs, before)
        return outputs[:, -1], outputs, [h_n, c_n]

    def _variables(self) -> list[Any]:
        cell = self.cell
        return [variable.value for variable in (cell.kernel, cell.recurrent_kernel, cell.bias) if variable is not None]

    def _obstacle(self, sequences: Any, initial_state: Any, mask: Any, training: bool) -> str | None:
        """Tell why fastlstm cannot run this call, or None."""
        if keras.backend.backend() not in VIEWS:
            return f"the {keras.backend.backend()} backend"
        if self.use_cudnn is True:
            return "use_cudnn=True"
        if training and (self.dropout or self.recurrent_dropout):
            return "dropout in training"
        for name in ("activation", "recurrent_activation"):
            if getattr(self, name) not in COUNTERPARTS:
                return f"{name}={getattr(getattr(self, name), '__name__', getattr(self, name))!r} has no counterpart"
        if mask is not None and self.unroll:
            return "a mask with unroll=True"
        tensors = [sequences, *initial_state, *self._variables()]
        kinds = {keras.backend.standardize_dtype(tensor.dtype) for tensor in tensors}
        if len(kinds) > 1 or not kinds <= {"float32", "float64"}:
            return f"{', '.join(sorted(kinds))}: input, states and weights should all be float32, or all float64"
        if any(view(tensor) is None for tensor in (*tensors, *(() if mask is None else (mask,)))):
            return "tensors without values here: symbolic, traced, compiled, or not in the CPU's memory"
        return None


def _values(tensor: Any) -> Array:
    """View a tensor that is known to have values."""
    array = view(tensor)
    assert array is not None
    return array


def _tensor(array: Array) -> Any:
    return keras.ops.convert_to_tensor(array, dtype=array.dtype.name)


def _checked_states(initial_state: Any, B: int, H: int) -> list[Any]:
    """Check (h_0, c_0); one row serves all, as it does in Keras."""
    if len(initial_state) != 2:
        raise ValueError(f"initial_state should be a pair (h_0, c_0), got: {len(initial_state)} of them")
    for k, state in enumerate(initial_state):
        if tuple(state.shape) not in ((B, H), (1, H)):
            raise ValueError(f"Expected initial_state[{k}] size {(B, H)} = (B, units), got {tuple(state.shape)}")
    return [state if state.shape[0] == B else keras.ops.broadcast_to(state, (B, H)) for state in initial_state]


# Python and Keras look at it where they tell the arguments; it is not inherited by classes with their own __init__.
LSTM.__init__.__signature__ = inspect.signature(keras.layers.LSTM.__init__)  # type: ignore[attr-defined]
LSTM.__module__ = fastlstm.__name__ + ".keras"  # saved models name it: it should outlive the layout of this package
