"""What both modules share besides the arithmetic: how torch's tools see them, and the way back to torch's class."""

from __future__ import annotations

import warnings
from typing import Any, ClassVar, NoReturn

import numpy as np
import torch

from .. import _parameters, _weights

MARK = "_accelerated"  # in the __dict__ of a module that `accelerate` switched
# what a module has only while it runs here
_OURS = (
    *(MARK, "_plans", "fallback", "threads", "frozen", "weights", "forget_bias", "tables", "no_table", "_tabled"),
    "__module__",
)
_RANGES: dict[torch.dtype, Any] = {torch.float64: np.float64, torch.float16: np.float16}  # of others it is float32's


class Switched:
    """Mixed into torch's class by `LSTM` and `LSTMCell`."""

    _theirs: ClassVar[type[torch.nn.Module]]  #: the class that the very class stands for
    weights: str | None = None
    forget_bias: float | None = None

    def _get_name(self) -> str:
        """Tell ``print(model)`` what runs here."""
        return f"fastlstm.{type(self).__name__}"

    def __setattr__(self, name: str, value: Any) -> None:
        super().__setattr__(name, checked_weights(value) if name == "weights" else value)

    def _set_weights(self, weights: str | None) -> None:
        """Set the attribute, checked, where it is given."""
        checked = checked_weights(weights)
        if checked is not None or "weights" in self.__dict__:
            self.weights = checked

    def _set_forget_bias(self, value: object) -> None:
        """Let the forget gates start there, now and whenever the parameters are drawn anew."""
        if value is not None:
            kind = _RANGES.get(next(self.parameters()).dtype, np.float32)  # type: ignore[attr-defined]
            bias: bool = self.bias  # type: ignore[attr-defined]
            self.forget_bias = _parameters.checked_forget_bias(value, np.dtype(kind), bias=bias, coupled=False)
            self._start_forget_gates()

    def reset_parameters(self) -> None:
        """Draw the parameters as torch does; forget gates start from `forget_bias`."""
        super().reset_parameters()  # type: ignore[misc]
        self._start_forget_gates()

    def _start_forget_gates(self) -> None:
        if self.forget_bias is None:
            return
        with torch.no_grad():
            for name, parameter in self.named_parameters():  # type: ignore[attr-defined]
                if name.startswith("bias_"):
                    parameter.chunk(4)[1].fill_(self.forget_bias if name.startswith("bias_ih") else 0.0)

    def extra_repr(self) -> str:
        """Tell ``print(model)`` the sizes as torch does, and what the matrices are stored in."""
        told: str = super().extra_repr()  # type: ignore[misc]
        return told if self.weights is None else f"{told}, weights={self.weights!r}"

    def _need_ours(self, why: Exception) -> NoReturn:
        """Refuse a call that torch's own code would answer with weights that are not rounded."""
        raise RuntimeError(f"weights={self.weights!r} needs fastlstm's own code, which cannot run here: {why}")

    def __prepare_scriptable__(self) -> Any:
        """Refuse: called by torch.jit.script before it reads any source."""
        name = type(self).__name__
        way = (
            "fastlstm.torch.restore(model) brings torch's own class back"
            if MARK in self.__dict__
            else f"take torch.nn.{name} with the same state_dict, and fastlstm.torch.accelerate and restore to switch"
        )
        raise RuntimeError(f"torch.jit.script cannot compile fastlstm.torch's {name}: {way}")

    @property
    def qconfig(self) -> Any:
        """What torch.ao.quantization puts on every module before it replaces those whose exact type it knows."""
        try:
            return self.__dict__["qconfig"]
        except KeyError:
            raise AttributeError("qconfig") from None

    @qconfig.setter
    def qconfig(self, value: Any) -> None:
        known = "qconfig" in self.__dict__
        self.__dict__["qconfig"] = value
        if "_theirs" not in type(self).__dict__:
            return  # a subclass: torch's quantizers leave those of torch's classes too
        if value is not None:
            give_back(self)  # the quantizer finds the class that it knows
        elif not known:
            name = type(self).__name__
            warnings.warn(
                f"fastlstm.torch: this {name} is not quantized: torch.ao.quantization looks modules up by their exact "
                f"type. Call fastlstm.torch.restore(model) before quantizing, or name fastlstm.torch.{name}",
                stacklevel=4,
            )

    @qconfig.deleter
    def qconfig(self) -> None:
        self.__dict__.pop("qconfig", None)


def checked_weights(weights: object) -> str | None:
    """Check what matrices are to be stored in; None: as the parameters are."""
    return _weights.checked(weights, np.dtype(np.float32))


def take(module: torch.nn.Module, ours: type[torch.nn.Module]) -> None:
    """Make a module one of ours."""
    module.__class__ = ours
    module.__dict__[MARK] = True
    be_leaf(module)


def be_leaf(module: Any) -> None:
    """Let torch.fx and what is built on it see a leaf where torch's own module is one.

    The test asks ``module.__module__``, of the object. Hooks then run when the graph runs, and only then.
    """
    theirs = type(module)._theirs
    if theirs.__module__.startswith(("torch.nn", "torch.ao.nn")):
        module.__dict__["__module__"] = theirs.__module__


def give_back(module: Any) -> None:
    """Give a module the class back that its class stands for."""
    theirs = type(module)._theirs
    for key in _OURS:
        module.__dict__.pop(key, None)
    module.__class__ = theirs
