"""Forms of the cell: other activations, peepholes, coupled gates, clipping, sums."""

from __future__ import annotations

import dataclasses
import sys
from typing import Any, Final, TypeAlias

import numpy as np

from . import _checks, _core

Activation: TypeAlias = str | tuple[str] | tuple[str, float] | tuple[str, float, float]

_KINDS: Final = _core.activations()

#: Every activation's parameters when they are not given, alpha first; in the order of ``fl_activation_kind``.
ACTIVATIONS: Final[dict[str, tuple[float, ...]]] = {name: usual for name, usual, _ in _KINDS}

_NOT_BELOW_0: Final = {name for name, _, alpha_not_below_0 in _KINDS if alpha_not_below_0}

#: What a clip is applied to; in the order of ``fl_clip``, from 1 on.
CLIPS: Final = ("activations", "gates", "state")

_LARGEST: Final = float(np.finfo(np.float32).max)


@dataclasses.dataclass(frozen=True, repr=False)
class Form:
    """A form of the LSTM cell: which activations, and what is added to it.

    ::

        i = gate(W_i x + U_i h + b_i + p_i * c)       peepholes: the terms with p
        f = gate(W_f x + U_f h + b_f + p_f * c)       coupled: f = 1 - i instead
        g = candidate(W_g x + U_g h + b_g)
        c' = f * c + i * g                            summed: f * c + (i + g) instead
        o = gate(W_o x + U_o h + b_o + p_o * c')      the new cell
        h' = o * cell(c')                             (then W_hr h' with a projection)

    Parameters
    ----------
    gate : str or tuple
        Activation of i, f and o: a name, or (name, alpha) or (name, alpha, beta).
    candidate : str or tuple
        Activation of g.
    cell : str or tuple
        Activation of c' on its way to h'.
    peepholes : bool
        Gates see the cell too. The parameters are ``weight_ph_l{k}`` [3H]: the blocks of i, f, o.
    coupled : bool
        What is not written is kept: f = 1 - i. The forget gate's own weights are ignored, their gradients are zero.
    clip : float, optional
        Greater than zero: limits values to -clip..clip. For inference only.
    clip_at : str
        What it limits: ``"activations"`` every activation's input, c' on its way to h' among them; ``"gates"`` the
        inputs of i, f, g, o; ``"state"`` c' itself, which is carried on so.
    summed : bool
        The gate is added to the candidate, and does not multiply it: c' = f * c + (i + g). For studies of what the
        product does; no format has it.

    Attributes
    ----------
    gate, candidate, cell : str or tuple
        A name, or where an activation has parameters a tuple with all of them.
    peepholes, coupled, clip, clip_at
        As given; clip_at is ``"activations"`` where there is no clip.
    summed : bool
        As given.

    Raises
    ------
    TypeError
        For an activation that is neither a name nor a tuple, parameters that are not numbers, flags that are not bool.
    ValueError
        For an unknown name, too many parameters or one that is not finite in float32; for a clip that is not a finite
        number greater than zero; for an unknown clip_at.

    Notes
    -----
    The activations are those of the ONNX operators, with their defaults::

        sigmoid           1 / (1 + e^-x)
        tanh
        relu              max(0, x)
        hard_sigmoid      max(0, min(1, alpha x + beta))     alpha 0.2, beta 0.5; Keras 3 has 1/6 and 0.5
        affine            alpha x + beta                     alpha 1, beta 0
        leaky_relu        x if x >= 0 else alpha x           alpha 0.01
        thresholded_relu  x if x > alpha else 0              alpha 1
        scaled_tanh       alpha tanh(beta x)                 alpha 1, beta 1
        elu               x if x >= 0 else alpha (e^x - 1)   alpha 1
        softsign          x / (1 + |x|)
        softplus          log(1 + e^x)

    ``Form()`` is the standard cell, and runs on its kernels; the others run on kernels of their own, with the same
    promises about bits. Errors: ``docs/forms.md``. Source: ``csrc/kernels/forms.h``.

    Examples
    --------
    >>> import fastlstm
    >>> form = fastlstm.Form(gate=("hard_sigmoid", 0.2), peepholes=True)
    >>> form
    Form(gate=('hard_sigmoid', 0.2, 0.5), peepholes=True)
    >>> list(fastlstm.LSTM(4, 3, form=form).state_dict())
    ['weight_ih_l0', 'weight_hh_l0', 'weight_ph_l0', 'bias_ih_l0', 'bias_hh_l0']
    """

    gate: Activation = "sigmoid"
    candidate: Activation = "tanh"
    cell: Activation = "tanh"
    _: dataclasses.KW_ONLY
    peepholes: bool = False
    coupled: bool = False
    clip: float | None = None
    clip_at: str = "activations"
    summed: bool = False

    def __post_init__(self) -> None:
        for name in ("gate", "candidate", "cell"):
            object.__setattr__(self, name, _activation(getattr(self, name), name))
        for name in ("peepholes", "coupled", "summed"):
            object.__setattr__(self, name, _checks.flag(getattr(self, name), name))
        if self.clip_at not in CLIPS:
            raise ValueError(f"clip_at should be one of {', '.join(CLIPS)}, got: {self.clip_at!r}")
        if self.clip is None:
            object.__setattr__(self, "clip_at", "activations")  # equal forms compare equal
        else:
            object.__setattr__(self, "clip", _clip(self.clip))

    def __repr__(self) -> str:
        told = [
            f"{field.name}={getattr(self, field.name)!r}"
            for field in dataclasses.fields(self)
            if getattr(self, field.name) != field.default
        ]
        return f"Form({', '.join(told)})"


def checked(form: object) -> Form:
    """Check a ``form`` argument: None is the standard cell."""
    if form is None:
        return Form()
    if not isinstance(form, Form):
        raise TypeError(f"form should be a fastlstm.Form, got: {type(form).__name__}")
    return form


def parameters(activation: Activation) -> tuple[str, float, float]:
    """Return (name, alpha, beta) of an activation as a form holds it, 0 for what it does not have."""
    if isinstance(activation, str):
        return activation, 0.0, 0.0
    name, alpha, beta = (*activation, 0.0)[:3]
    return str(name), float(alpha), float(beta)


def packed(form: Form) -> tuple[Any, ...]:
    """Return a form as the compiled core takes it: three activations, two flags, where to clip, the clip, a flag."""
    kinds = list(ACTIVATIONS)
    parts = (parameters(activation) for activation in (form.gate, form.candidate, form.cell))
    activations = ((kinds.index(name), alpha, beta) for name, alpha, beta in parts)
    clip_at = 0 if form.clip is None else 1 + CLIPS.index(form.clip_at)
    return (*activations, form.peepholes, form.coupled, clip_at, form.clip or 0.0, form.summed)


def check_trainable(form: Form) -> None:
    """Raise ValueError for a form that has no backward pass."""
    if form.clip is not None:
        raise ValueError(f"clip={form.clip} is for inference only: call the layer, or forward(train=False)")
    for argument in ("gate", "candidate", "cell"):
        name, alpha, _ = parameters(getattr(form, argument))
        if name in _NOT_BELOW_0 and alpha < 0:
            raise ValueError(
                f"{argument}={name} with alpha={alpha} is for inference only: below 0 its value does not tell its slope"
            )


def _activation(value: Any, argument: str) -> Activation:
    """Check an activation; return its name, or a tuple of its name and all its parameters."""
    if not isinstance(value, str | tuple | list) or not value or not isinstance(next(iter(value)), str):
        raise TypeError(f"{argument} should be a name or a tuple (name, alpha, beta), got: {value!r}")
    given: list[Any] = [value] if isinstance(value, str) else list(value)
    name = given.pop(0)
    if name not in ACTIVATIONS:
        raise ValueError(f"{argument} should be one of {', '.join(ACTIVATIONS)}, got: {name!r}")
    defaults = ACTIVATIONS[name]
    if len(given) > len(defaults):
        what = ("no parameters", "one parameter, alpha", "two parameters, alpha and beta")[len(defaults)]
        raise ValueError(f"{argument}: {name} has {what}, got: {tuple(given)!r}")
    for number in given:
        if not _checks.is_number(number):
            raise TypeError(f"{argument}: parameters of {name} should be numbers, got: {number!r}")
        if not _checks.is_within(number, _LARGEST):
            raise ValueError(f"{argument}: parameters of {name} should be finite in float32, got: {number!r}")
    filled = (*map(float, given), *defaults[len(given) :])
    return (name, *filled) if filled else name


def _clip(value: Any) -> float:
    if not _checks.is_number(value):
        raise TypeError(f"clip should be a number, got: {type(value).__name__}")
    if not (value > 0 and _checks.is_within(value, sys.float_info.max)):
        raise ValueError(f"clip should be a finite number greater than zero, got: {value!r}")
    return float(value)
