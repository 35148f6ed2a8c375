"""safetensors files."""

from __future__ import annotations

import dataclasses
import json
from pathlib import Path
from typing import Any

from .. import _checks, _extras
from .._forms import Form
from .._layers import LSTM
from . import _flax_names, _torch_names
from ._budget import Budget
from ._layer import Layer, layer_of
from ._stored import Array, Stored, from_bytes

#: The entry of a file's metadata that `save` writes: what the arrays do not tell.
KEY = "fastlstm"

_DTYPES = {"F16": "float16", "BF16": "bfloat16", "F32": "float32", "F64": "float64"}


def layers(path: Path, budget: Budget) -> list[Layer]:
    """List the LSTMs of a file."""
    safetensors = _extras.need("safetensors")
    file = safetensors.safe_open(path, "np")
    tensors = {name: _stored(safetensors, file, path, name) for name in file.keys()}  # noqa: SIM118  not a mapping
    ours = (file.metadata() or {}).get(KEY)
    if ours is not None:
        form, options = described(ours)
        return [layer_of("", "LSTM", "safetensors", tensors, form=form, options=options)]
    return [*_torch_names.layers(tensors, "safetensors"), *_flax_names.layers(tensors, "safetensors")]


def _stored(safetensors: Any, file: Any, path: Path, name: str) -> Stored:
    part = file.get_slice(name)
    shape, code = tuple(part.get_shape()), part.get_dtype()
    dtype = _DTYPES.get(code, code)

    def bfloat16() -> Array:  # NumPy cannot hold it: the library gives its bytes only
        data = dict(safetensors.deserialize(path.read_bytes()))[name]["data"]
        return from_bytes(data, dtype, shape)

    return Stored(shape, dtype, bfloat16 if dtype == "bfloat16" else lambda: file.get_tensor(name))


def metadata(lstm: LSTM) -> dict[str, str]:
    """Return the metadata that `save` writes."""
    entry = {"form": dataclasses.asdict(lstm.form), "batch_first": lstm.batch_first, "dropout": lstm.dropout}
    return {KEY: json.dumps(entry)}


def described(text: str) -> tuple[Form, dict[str, bool | float]]:
    """Read back what `metadata` wrote."""
    try:
        entry = json.loads(text)
        fields: dict[str, Any] = {
            name: tuple(value) if isinstance(value, list) else value for name, value in entry["form"].items()
        }
        batch_first = _checks.flag(entry["batch_first"], "batch_first")
        return Form(**fields), {"batch_first": batch_first, "dropout": float(entry["dropout"])}
    except (ValueError, TypeError, KeyError, AttributeError, RecursionError) as error:
        raise ValueError(f"the metadata's entry {KEY!r} is not one of fastlstm's: {error!r}") from None
