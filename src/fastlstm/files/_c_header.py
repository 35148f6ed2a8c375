"""A header in C with the weights inside, as constants: for programs without files."""

from __future__ import annotations

import os
import re
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, Final

import numpy as np

from .. import _forms, _weights
from .._integers import Integers
from .._lstm import LSTM
from .._types import Array

_KINDS: Final = [f"FL_{name.upper()}" for name in _forms.ACTIVATIONS]
_CLIPS: Final = ("FL_CLIP_NONE", *(f"FL_CLIP_{name.upper()}" for name in _forms.CLIPS))
_COLUMNS: Final = 120


def content(lstm: LSTM[Any], path: str | os.PathLike[str]) -> bytes:
    """Return the header's text; its names begin with that of the file."""
    name = prefix(path)
    return "".join(f"{line}\n" for line in _lines(lstm, name)).encode("ascii")


def prefix(path: str | os.PathLike[str]) -> str:
    """Return an identifier made of a file's name, which nothing of fastlstm.h begins with."""
    made = re.sub(r"[^0-9A-Za-z]+", "_", Path(os.fsdecode(path)).stem).strip("_")
    return made if re.match(r"(?!fl_|fl$)[A-Za-z]", made, re.IGNORECASE) else f"lstm_{made}".rstrip("_")


def _lines(lstm: LSTM[Any], name: str) -> Iterator[str]:
    sizes = lstm._sizes
    guard = f"{name.upper()}_WEIGHTS_H"
    yield f"/* The weights of {lstm!r}, by `fastlstm convert`:"
    yield f" * fl_plan_create(&plan, &{name}_config, {name}_weights, NULL). */"
    yield from (f"#ifndef {guard}", f"#define {guard}", "", "#include <stddef.h>", "#include <fastlstm.h>", "")
    kind = {"float32": "float", "float64": "double"}[lstm.dtype.name]
    parameters = _weights.packable(lstm._parameters)
    for parameter, given in parameters.items():
        if isinstance(given, Integers):
            yield from _integers(f"{name}_{parameter}", given)
        else:
            yield from _array(kind, f"{name}_{parameter}", given)
    yield f"static const fl_form {name}_form = {{"
    yield from (f"  {part}," for part in _form(lstm.form))
    yield "};"
    yield f"static const fl_weights {name}_weights[] = {{"
    integers = lstm._settings.weights in _weights.INTEGERS
    for row in sizes.rows({parameter: f"{name}_{parameter}" for parameter in sizes.shapes}):
        yield f"  {{{', '.join(entry or 'NULL' for entry in _fields(row, integers))}}},"
    yield "};"
    told = f"FL_{lstm.dtype.name.upper()}, {sizes.I}, {sizes.H}, {sizes.P}, {sizes.L}, {sizes.D}, &{name}_form"
    told += f", FL_WEIGHTS_{(lstm._settings.weights or 'real').upper().replace('-', '_')}"
    yield f"static const fl_config {name}_config = {{{told}}};"
    yield from ("", "#endif")


def _fields(row: Sequence[str | None], integers: bool) -> list[str | None]:
    """Return all fields of fl_weights: compilers warn of initializers that leave some out."""
    ih, hh, bias_ih, bias_hh, hr, ph = row
    matrices = ih, hh, hr
    if not integers:
        return [*row, None, None, None]
    return [None, None, bias_ih, bias_hh, None, ph, *(matrix and f"&{matrix}" for matrix in matrices)]


def _integers(name: str, given: Integers) -> Iterator[str]:
    """Write a matrix as a constant fl_integers, after the arrays that it points to."""
    yield from _array("int8_t", f"{name}_values", given.values)
    yield from _array("float", f"{name}_scales", given.scales)
    if given.zeros is not None:
        yield from _array("int8_t", f"{name}_offsets", given.zeros)
    offsets = "NULL" if given.zeros is None else f"{name}_offsets"
    yield f"static const fl_integers {name} = {{{name}_values, {name}_scales, {offsets}, 1}};"


def _array(kind: str, name: str, array: Array) -> Iterator[str]:
    yield f"static const {kind} {name}[] = {{"
    yield from _numbers(array)
    yield "};"


def _form(form: _forms.Form) -> Iterator[str]:
    *activations, peepholes, coupled, clip_at, clip, summed = _forms.packed(form)
    for kind, alpha, beta in activations:
        yield f"{{{_KINDS[kind]}, {_exact(alpha)}, {_exact(beta)}}}"
    yield f"{int(peepholes)}, {int(coupled)}, {_CLIPS[clip_at]}, {_exact(clip)}, {int(summed)}"


def _numbers(array: Array) -> Iterator[str]:
    """Write numbers, those with a point in base 16, which no compiler rounds, as many on a line as fit."""
    ending = "f," if array.dtype == np.float32 else ","
    line = ""
    for number in array.ravel().tolist():
        entry = (str(number) if isinstance(number, int) else _exact(number)) + ending
        if len(line) + len(entry) > _COLUMNS:
            yield line
            line = ""
        line += entry
    yield line


def _exact(number: float) -> str:
    """Return a literal of a finite number."""
    digits, exponent = number.hex().split("p")
    return f"{digits.rstrip('0').rstrip('.') if '.' in digits else digits}p{int(exponent)}"
