"""What the reference needs to know of a form of the cell. `fastlstm.Form` is one; it checks what it is made of."""

from typing import NamedTuple, Protocol, TypeAlias

Activation: TypeAlias = str | tuple[str] | tuple[str, float] | tuple[str, float, float]


class Form(Protocol):
    """A form of the cell, as `fastlstm.Form` describes it."""

    @property
    def gate(self) -> Activation:
        """Activation of i, f and o: a name, or a tuple of a name and all its parameters."""

    @property
    def candidate(self) -> Activation:
        """Activation of g."""

    @property
    def cell(self) -> Activation:
        """Activation of c' on its way to h'."""

    @property
    def peepholes(self) -> bool:
        """Whether gates see the cell too."""

    @property
    def coupled(self) -> bool:
        """Whether f = 1 - i."""

    @property
    def clip(self) -> float | None:
        """Limit of the values that `clip_at` names."""

    @property
    def clip_at(self) -> str:
        """What is limited: "activations", "gates" or "state"."""

    @property
    def summed(self) -> bool:
        """Whether i and g are added, not multiplied."""


class _Standard(NamedTuple):
    gate: Activation = "sigmoid"
    candidate: Activation = "tanh"
    cell: Activation = "tanh"
    peepholes: bool = False
    coupled: bool = False
    clip: float | None = None
    clip_at: str = "activations"
    summed: bool = False


STANDARD: Form = _Standard()


def is_standard(form: Form) -> bool:
    """Tell whether the equations of the standard cell are those of this form."""
    return all(getattr(form, name) == getattr(STANDARD, name) for name in _Standard._fields if name != "clip_at")


def parameters(activation: Activation) -> tuple[str, float, float]:
    """Return (name, alpha, beta) of an activation, 0 for what it does not have."""
    if isinstance(activation, str):
        return activation, 0.0, 0.0
    name, alpha, beta = (*activation, 0.0, 0.0)[:3]
    return str(name), float(alpha), float(beta)
