"""What is found in a file: one record for each LSTM."""

from __future__ import annotations

import dataclasses
import re
from collections.abc import Iterable, Iterator, Mapping
from typing import Any

from .. import _weights
from .._forms import Form
from .._integers import SCALE, ZERO_POINT, beside
from .._sizes import Sizes
from ._stored import FLOATS, INTEGERS, Stored

_LONGEST_TEXT, _MOST_IGNORED = 1000, 20
_NAME = re.compile(r"(?:weight_(?:ih|hh|hr|ph)|bias_(?:ih|hh))_l(?P<layer>\d+)(?P<reverse>_reverse)?")


@dataclasses.dataclass(frozen=True)
class Layer:
    """One LSTM in a file.

    Attributes
    ----------
    name : str
        What `load` takes as its prefix.
    kind : str
        What it was: ``"LSTM"``, ``"LSTMCell"``, ``"Bidirectional"``, ``"CuDNNLSTM"``, ...
    format : str
        Of the file.
    input_size, hidden_size, num_layers, directions, proj_size : int
        I, H, L, D, P; all 0 where `problem` says why it cannot be loaded.
    bias : bool
        Whether there are bias parameters.
    dtype : str
        Of the numbers in the file; of the layer, where the file says what its matrices are to be stored in, or has them
        as integers.
    form : Form or None
        Of the cell; None where the file does not tell, as `note` explains.
    options : mapping
        More arguments of `LSTM` that the file knows.
    note : str
        What has to be known to use it, and is not in the weights.
    problem : str
        Why it cannot be loaded; empty if it can.
    assumed : str
        What the file does not say about `form` and `load` assumes, with a warning; empty if it is known.
    caution : str
        What the model does around the layer, which is left to the caller: `load` warns of it; empty if nothing.
    weights : str
        What ``load(..., weights="auto")`` stores the matrices in, since the file does: ``"float16"``, ``"bfloat16"``,
        ``"int8"``, ``"int8-fast"``; empty if the file has nothing but float32 or float64, or several types.
    """

    name: str
    kind: str
    format: str
    input_size: int = 0
    hidden_size: int = 0
    num_layers: int = 0
    directions: int = 0
    proj_size: int = 0
    bias: bool = False
    dtype: str = ""
    form: Form | None = Form()  # noqa: RUF009  frozen
    options: Mapping[str, bool | float] = dataclasses.field(default_factory=dict)
    note: str = ""
    problem: str = ""
    assumed: str = ""
    caution: str = ""
    weights: str = ""
    parameters: Mapping[str, Stored] = dataclasses.field(default_factory=dict, repr=False, compare=False)
    """Under torch's names. A matrix of integers has its scales beside it, ``weight_ih_l0_scale``, and where there are
    zero points ``weight_ih_l0_zero_point``."""

    def __str__(self) -> str:
        told = [f"{_shown(self.name) or '(no prefix)'}: {self.kind} of {self.format}"]
        if self.problem:
            return f"{told[0]}, cannot be loaded: {self.problem}"
        sizes = f"I={self.input_size} H={self.hidden_size} L={self.num_layers} D={self.directions} P={self.proj_size}"
        told += [sizes, self.dtype, *(() if self.bias else ("no bias",))]
        told += [repr(self.form) if self.form else "form unknown"] if self.form != Form() else []
        notes = "; ".join(filter(None, (self.note, self.stored_note, self.assumed, self.caution)))
        return ", ".join(told) + (f" ({notes})" if notes else "")

    @property
    def stored_note(self) -> str:
        """What the layer could have: weights as the file stores them; empty if that is float32 or float64."""
        return f"for matrices in {self.weights}: weights='auto' keeps them so" if self.weights else ""

    def as_dict(self) -> dict[str, Any]:
        """Return all attributes but the parameters, as JSON has them.

        Returns
        -------
        dict
            The attributes under their names: texts, flags and whole numbers. ``form`` is None or a dict of the form's
            attributes, in which an activation is its name, or a list of the name and its numbers.
        """
        told = {each.name: getattr(self, each.name) for each in dataclasses.fields(self) if each.name != "parameters"}
        form = None if self.form is None else dataclasses.asdict(self.form)
        return told | {"form": form, "options": dict(self.options)}


class Layers(list[Layer]):
    """All LSTMs of a file; prints one on a line.

    Parameters
    ----------
    layers : iterable of Layer
        Its items.
    ignored : iterable of str
        Names of what else the file holds and would run elsewhere: it was neither imported nor run.
    """

    def __init__(self, layers: Iterable[Layer] = (), ignored: Iterable[str] = ()) -> None:
        super().__init__(layers)
        self.ignored: tuple[str, ...] = tuple(ignored)

    @property
    def ignored_names(self) -> str:
        """The first of what was ignored, as a text."""
        more = len(self.ignored) - _MOST_IGNORED
        shown = [_shown(name) for name in self.ignored[:_MOST_IGNORED]]
        return ", ".join([*shown, *([f"and {more} more"] if more > 0 else [])])

    def as_dict(self) -> dict[str, Any]:
        """Return what is printed, as JSON has it.

        Returns
        -------
        dict
            ``layers``: what `Layer.as_dict` returns of each; ``ignored``: the names.
        """
        return {"layers": [layer.as_dict() for layer in self], "ignored": list(self.ignored)}

    def __str__(self) -> str:
        told = [str(layer) for layer in self] or ["no LSTM"]
        if self.ignored:
            told.append(f"ignored, neither imported nor run: {self.ignored_names}")
        return "\n".join(told)


def layer_of(
    name: str,
    kind: str,
    format: str,
    parameters: Mapping[str, Stored],
    *,
    form: Form | None = Form(),  # noqa: B008  frozen
    options: Mapping[str, bool | float] | None = None,
    note: str = "",
    problem: str = "",
    assumed: str = "",
    caution: str = "",
    weights: str = "",
) -> Layer:
    """Make a record of parameters under torch's names, or one that says why they make no LSTM.

    `weights` is what the file says of the matrices' type, where they do not tell it.
    """
    sizes: dict[str, int] = {}
    parameters = _undone(parameters)
    try:
        if not problem:
            sizes = _sizes(parameters)
            if form and "weight_ph_l0" in parameters:
                form = dataclasses.replace(form, peepholes=True)
            _check(parameters, sizes, bool(form and form.peepholes))
    except ValueError as error:
        problem, sizes = str(error), {}
    origins = dict.fromkeys(stored.origin for stored in parameters.values() if stored.origin)
    return Layer(
        name=name,
        kind=_shown(kind),
        format=format,
        **sizes,
        bias="bias_ih_l0" in parameters,
        dtype=_shown(_dtype(parameters, weights)),
        form=form,
        options=options or {},
        note=_shown("; ".join(filter(None, (note, *origins)))),
        problem=_shown(problem),
        assumed=_shown(assumed),
        caution=_shown(caution),
        weights=_stored_in(parameters, weights),
        parameters=parameters,
    )


def _undone(parameters: Mapping[str, Stored]) -> Mapping[str, Stored]:
    """Return the integers of matrices that would be dequantised, with their scales, if all matrices are such."""
    matrices = [name for name in parameters if _weights.is_stored(name)]
    if not all(parameters[name].integers for name in matrices):
        return parameters
    made = {name: stored for name, stored in parameters.items() if name not in matrices}
    for name in matrices:
        made |= {f"{name}{end}": stored for end, stored in (parameters[name].integers or {}).items()}
    return made


def integers_of(parameters: Mapping[str, object]) -> list[str]:
    """Return the names of the matrices that are integers: they have scales beside them."""
    return [name for name in parameters if _weights.is_stored(name) and f"{name}{SCALE}" in parameters]


def _dtype(parameters: Mapping[str, Stored], weights: str) -> str:
    """Tell what the numbers are stored in; float32 where all others are, and the matrices are told by `weights`."""
    integers = integers_of(parameters)
    floats = {name: stored for name, stored in parameters.items() if not name.endswith(ZERO_POINT)}
    kinds = {stored.dtype for name, stored in floats.items() if name not in integers}
    whole = integers and len(integers) == len([name for name in parameters if _weights.is_stored(name)])
    if (whole and kinds == {"float32"}) or (weights and not integers):
        return "float32"
    return ", ".join(sorted(kinds | {parameters[name].dtype for name in integers}))


def _stored_in(parameters: Mapping[str, Stored], told: str) -> str:
    """Return the type that all matrices are stored in, if a layer of float32 can keep them so."""
    integers = integers_of(parameters)
    matrices = [name for name in parameters if _weights.is_stored(name)]
    if told and not integers:
        return told
    kinds = {parameters[name].dtype for name in matrices}
    if integers:
        kinds = {told if told in _weights.INTEGERS else "int8"} if len(integers) == len(matrices) else set()
    others = {stored.dtype for name, stored in parameters.items() if name not in matrices}
    (kind,) = kinds if len(kinds) == 1 else ("",)
    return kind if kind in _weights.names() and "float64" not in others else ""


def printable(text: str) -> str:
    """Return a text without letters that a terminal would obey."""
    return text if text.isprintable() else ascii(text)


def _shown(text: str) -> str:
    """Return what a file says as it is told: printable and short."""
    return short(printable(text))


def short(text: str, longest: int = _LONGEST_TEXT) -> str:
    """Cut what only a file out of the ordinary makes long."""
    return text if len(text) <= longest else f"{text[:longest]}..."


def _sizes(parameters: Mapping[str, Stored]) -> dict[str, int]:
    """Tell I, H, L, D, P from names and from the shapes of the first layer."""
    for first in ("weight_ih_l0", "weight_hh_l0"):
        if first not in parameters:
            raise ValueError(f"missing: {first}")
    ih, hh = parameters["weight_ih_l0"].shape, parameters["weight_hh_l0"].shape
    projected = "weight_hr_l0" in parameters
    if len(ih) != 2 or len(hh) != 2 or 0 in (*ih, *hh):
        raise ValueError(f"weight_ih_l0 and weight_hh_l0 should have two dimensions each, got: {ih} and {hh}")
    if not projected and hh[0] in (hh[1], 3 * hh[1]):
        raise ValueError(
            f"weight_hh_l0 is {hh}: {hh[0] // hh[1]} gates and not 4, so {'RNN' if hh[0] == hh[1] else 'GRU'}"
        )
    if hh[0] % 4 or (hh[0] != 4 * hh[1] and not projected):
        raise ValueError(f"weight_hh_l0 should have shape (4H, H), got: {hh}")
    matches = [found for found in map(_NAME.fullmatch, parameters) if found]
    layers = 1 + max(int(found["layer"][:9]) for found in matches)
    if layers > len(parameters):
        raise ValueError(f"there is a layer {layers - 1}, but not all layers before it")
    return {
        "input_size": ih[1],
        "hidden_size": hh[0] // 4,
        "num_layers": layers,
        "directions": 2 if any(found["reverse"] for found in matches) else 1,
        "proj_size": hh[1] if projected else 0,
    }


def _check(parameters: Mapping[str, Stored], sizes: dict[str, int], peepholes: bool) -> None:
    """Refuse what is missing, too much, of a wrong shape, or not floating point."""
    H, P = sizes["hidden_size"], sizes["proj_size"]
    bias = any(name.startswith("bias") for name in parameters)
    expected = Sizes(sizes["input_size"], H, P, sizes["num_layers"], sizes["directions"], bias, peepholes).shapes
    told = (
        [f"missing: {', '.join(missing)}"] if (missing := [name for name in expected if name not in parameters]) else []
    )
    integers = [name for name in integers_of(parameters) if name in expected]
    known = expected.keys() | beside(integers)
    told += [f"unexpected: {', '.join(more)}"] if (more := [name for name in parameters if name not in known]) else []
    for name in expected.keys() & parameters.keys():
        stored = parameters[name]
        if stored.shape != expected[name]:
            told.append(f"{name} should have shape {expected[name]}, got: {stored.shape}")
        if name in integers:
            told += _wrong_integers(name, parameters)
        elif stored.dtype in INTEGERS and _weights.is_stored(name):
            told.append(f"{name} is of {stored.dtype}, which needs {name}{SCALE}")
        elif stored.dtype not in FLOATS:
            told.append(f"{name} should be floating point, got: {stored.dtype}")
    if P >= H:
        told.append(f"a projection should be to less than H = {H}, got: {P}")
    if told:
        raise ValueError("; ".join(sorted(told)))


def _wrong_integers(name: str, parameters: Mapping[str, Stored]) -> Iterator[str]:
    """Tell what is wrong with a matrix that has scales: its dtype; theirs and their shape; those of zero points."""
    matrix, scale = parameters[name], parameters[f"{name}{SCALE}"]
    zero = parameters.get(f"{name}{ZERO_POINT}")
    rows = matrix.shape[0] if matrix.shape else 0
    if matrix.dtype not in INTEGERS:
        yield f"{name} should be int8 or uint8, since it has {name}{SCALE}, got: {matrix.dtype}"
    if scale.dtype not in FLOATS:
        yield f"{name}{SCALE} should be floating point, got: {scale.dtype}"
    if zero and not re.fullmatch(r"u?int\d+", zero.dtype):
        yield f"{name}{ZERO_POINT} should be of integers, got: {zero.dtype}"
    for end, stored in (SCALE, scale), (ZERO_POINT, zero):
        if stored and stored.shape not in ((), (1,), (rows,), (rows, 1)):
            yield f"{name}{end} should have shape () or {(rows,)}, one for each row, got: {stored.shape}"
