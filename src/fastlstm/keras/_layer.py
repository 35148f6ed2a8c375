"""The layer."""

from __future__ import annotations

import inspect
from collections.abc import Callable
from functools import partial
from typing import Any

import keras
import numpy as np

import fastlstm

from .. import _weights
from .._types import Array
from . import _accept
from ._masks import steps
from ._plans import Plans, plans
from ._tensors import tensor


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
    weights : str, optional
        For inference: what to store the packed kernels in, ``"float16"``, ``"bfloat16"``, ``"int8"`` or
        ``"int8-fast"``, as for `fastlstm.LSTM`; ``"auto"``: as the layer computes, where that is in 16 bits
        (``dtype="mixed_float16"``, ``"float16"``, ...).

    Attributes
    ----------
    stored_as : str or None
        What the packed kernels are stored in, by `weights`; None: as the variables are, and keep being.
    fallback : str or None
        Why the latest call ran on Keras's own code; None if it ran on fastlstm, or if there was no call yet.

    Raises
    ------
    ValueError
        When made or called: what Keras refuses; for ``time_major=True``; for an initial state or a mask of a wrong
        shape; for an input with another number of features than the first one; for unknown `weights`, or in a layer of
        float64.
    RuntimeError
        With `weights`, where a gradient is wanted or only Keras's own code can run: its answer would be of weights
        that are not rounded.

    Notes
    -----
    On fastlstm run: float32 and float64 with the numpy and torch backends, with and without a mask of any pattern, with
    gradients on the torch backend; with the jax backend calls outside ``jax.jit`` and ``jax.grad``. Activations:
    sigmoid, tanh, linear, relu, leaky_relu, elu, hard_sigmoid, softplus, softsign.

    With `weights` results are, to the bit, those of the float32 layer with the rounded kernels. Layers of mixed
    precision, float16 and bfloat16 run then, too: in float32, with biases as the variables have them, and each result
    rounded once.

    On Keras's own code run: dropout in training, mixed precision, integer input, traced or compiled functions (among
    them ``model.predict`` and ``model.fit`` on jax), tensors that are not in the CPU's memory, TensorFlow and OpenVINO,
    a mask with ``unroll=True``, and ``use_cudnn=True``, which is then refused as Keras refuses it.

    Accuracy: float32 outputs are within about 1e-6 of the exact result for units up to 1024, and do not depend on the
    batch that a row travels in. The packed copy of the weights is compared with the variables in every call, by a sum
    of every byte: however they were changed, it is not stale. Differentiable once.

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
    stored_as: str | None = None
    _plans: Plans | None = None

    def __init__(self, *args: Any, time_major: bool = False, weights: str | None = None, **kwargs: Any) -> None:
        if time_major:
            raise ValueError("time_major=True is not supported by Keras 3: the input should be (batch, time, features)")
        super().__init__(*args, **kwargs)
        if weights == _weights.AUTO:
            weights = self.compute_dtype if self.compute_dtype in _accept.HALVES else None
        wide = "float64" in (self.compute_dtype, self.variable_dtype)
        self.stored_as = _weights.checked(weights, np.dtype(np.float64 if wide else np.float32))

    def get_config(self) -> dict[str, Any]:
        """Return the arguments that the layer was made with."""
        config: dict[str, Any] = super().get_config()
        return config if self.stored_as is None else config | {"weights": self.stored_as}

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
        try:
            call = _accept.call(self, sequences, initial_state, mask, training)
        except _accept.Unfit as unfit:
            if self.stored_as is not None and not _accept.is_symbolic():
                raise RuntimeError(
                    f"weights={self.stored_as!r} needs fastlstm's own code, which cannot run here: {unfit}"
                ) from None
            self.fallback = str(unfit)
        else:
            if self.fallback is not None:
                self.fallback = None
            return self._run(call)
        return super().inner_loop(sequences, initial_state, mask, training)

    def _run(self, call: _accept.Call) -> tuple[Any, Any, list[Any]]:
        if self._plans is None:
            self._plans = plans(call.weights)
        lstm = self._plans.of(call.weights, call.activations, self.stored_as)
        valid = call.valid[:, ::-1] if call.valid is not None and self.go_backwards else call.valid
        if keras.backend.backend() == "torch":
            from . import _torch

            if _torch.wants_gradient(*call.tensors, *call.variables):
                if self.stored_as is not None:
                    raise RuntimeError(
                        f"weights={self.stored_as!r} is for inference, but a gradient is wanted: call model.predict, "
                        "or under torch.no_grad(); to train, make the layer without weights="
                    )
                return self._arrange(keras.ops, partial(_torch.run, lstm, call.variables), call.tensors, valid)
        # Keras's own operations would round float64 to float32.
        last, outputs, states = self._arrange(np, partial(_on_arrays, lstm), call.arrays, valid)
        last, outputs, *states = (self._given(array, call.made) for array in (last, outputs, *states))
        return last, outputs, states

    @staticmethod
    def _given(array: Array, dtype: str | None) -> Any:
        """Make a tensor of a result, rounded to a dtype if that is not the result's own."""
        made = tensor(array)
        return made if dtype is None else keras.ops.cast(made, dtype)

    def _arrange(
        self, xp: Any, run: Callable[..., Any], tensors: list[Any], valid: Array | None
    ) -> tuple[Any, Any, list[Any]]:
        """Bring the steps into the order in which they run, and the outputs into the order in which they are shown."""
        x, *states = tensors
        h, c = (s if len(s) == len(x) else xp.broadcast_to(s, (len(x), s.shape[1])) for s in states)
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
            before = xp.zeros_like(outputs) if keras.backend.backend() == "torch" else h[:, None]
            outputs = xp.where(plan.started, outputs, before)
        return outputs[:, -1], outputs, [h_n, c_n]


def _on_arrays(lstm: fastlstm.LSTM, x: Array, h_0: Array, c_0: Array, lengths: Array | None) -> tuple[Array, ...]:
    """Run on [B, T, I], [B, H], [B, H]: outputs [B, T, H], h_n [B, H] and c_n [B, H]."""
    outputs, (h_n, c_n) = lstm(x, (h_0[None], c_0[None]), lengths=lengths)
    return outputs, h_n[0], c_n[0]


# Python and Keras look at it where they tell the arguments; it is not inherited by classes with their own __init__.
LSTM.__init__.__signature__ = inspect.signature(keras.layers.LSTM.__init__)  # type: ignore[attr-defined]
LSTM.__module__ = fastlstm.__name__ + ".keras"  # saved models name it: it should outlive the layout of this package
