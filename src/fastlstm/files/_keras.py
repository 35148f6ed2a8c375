"""Keras's files: `.keras` archives, `.weights.h5`, and the h5 files of Keras 2 (and CuDNNLSTM) -> layers."""

from __future__ import annotations

import dataclasses
import json
import re
from collections import defaultdict
from collections.abc import Iterable, Mapping
from pathlib import Path

import numpy as np

from ._budget import Budget
from ._h5 import Tree
from ._keras_config import Entry, entries, form_of
from ._layer import Layer, layer_of
from ._stored import Array, Stored
from ._zip import Archive

_NAMED = re.compile(r"(?:(?P<cell>.*)/)?(?P<part>kernel|recurrent_kernel|bias)(?::0)?", re.DOTALL)
_NUMBERED = re.compile(r"(?P<cell>.*)/vars/(?P<part>[012])", re.DOTALL)
_PARTS = {"0": "kernel", "1": "recurrent_kernel", "2": "bias"}
_HALVES = re.compile(r"(?P<before>.*/|)(?P<which>forward|backward)_[^/]*(?:/.*)?", re.DOTALL)


@dataclasses.dataclass(frozen=True)
class Cell:
    """The arrays of one cell: kernel, recurrent_kernel, bias; its place in the file, its layer, its direction."""

    place: str
    layer: str
    backward: bool | None  # None: not of a Bidirectional
    arrays: Mapping[str, Stored]


def archive_layers(archive: Archive) -> list[Layer]:
    """List the LSTMs of a `.keras` archive."""
    texts = [archive.read(name) for name in ("config.json", "metadata.json")]
    weights = bytes(archive.read("model.weights.h5"))
    config, metadata = (json.loads(text) for text in texts)
    version = str(metadata.get("keras_version", "")) if isinstance(metadata, dict) else ""
    return _layers(Tree(weights), entries(config), version, "Keras 3")


def h5_layers(path: Path, budget: Budget) -> list[Layer]:
    """List the LSTMs of an h5 file, of a whole model or of its weights."""
    tree = Tree(path)
    root = tree.attributes.get("", {})
    version = root.get("keras_version") or tree.attributes.get("model_weights", {}).get("keras_version", "")
    config = json.loads(root["model_config"]) if "model_config" in root else None
    return _layers(tree, entries(config), version, "Keras h5")


def _layers(tree: Tree, known: list[Entry], version: str, format: str) -> list[Layer]:
    groups: dict[tuple[str, bool], list[Cell]] = defaultdict(list)
    for cell in _cells(tree):
        groups[cell.layer, cell.backward is None].append(cell)
    made = []
    for (layer, single), cells in groups.items():
        if single:
            own = _shortest([cell.place for cell in cells])
            made += [
                _layer([cell], layer + rest, layer, known, version, format)
                for cell, rest in zip(cells, own, strict=True)
            ]
        else:
            made.append(
                _layer(sorted(cells, key=lambda cell: bool(cell.backward)), layer, layer, known, version, format)
            )
    return made


def _layer(cells: list[Cell], name: str, layer: str, known: list[Entry], version: str, format: str) -> Layer:
    """Make the record of one layer: of one cell, or of the two of a Bidirectional."""
    entry = _entry(cells, name, layer, known)
    two = len(cells) > 1 or cells[0].backward is not None
    kind = entry.kind if entry else "LSTM"
    kind = "Bidirectional" if two else kind
    try:
        if two and [cell.backward for cell in cells] != [False, True]:
            raise ValueError(f"a Bidirectional has two halves, got: {', '.join(cell.place for cell in cells)}")
        parameters: dict[str, Stored] = {}
        for cell, suffix in zip(cells, ("_l0", "_l0_reverse"), strict=False):
            made, cudnn = _parameters(cell, suffix)
            parameters |= made
            kind = "CuDNNLSTM" if cudnn and not two else kind
        cudnn_entry = dataclasses.replace(entry, kind="CuDNNLSTM") if entry else Entry(name, "CuDNNLSTM", {})
        form, note = form_of(cudnn_entry if cudnn else entry, version)
    except ValueError as error:
        return layer_of(name, kind, format, {}, problem=str(error))
    notes = [note] if note else []
    if entry and entry.merge_mode not in (None, "concat"):
        notes.append(f"merge_mode={entry.merge_mode!r}: the two halves of the output are to be merged so")
    if entry and not two and entry.config.get("go_backwards"):
        notes.append("go_backwards: the input is to be reversed")
    return layer_of(name, kind, format, parameters, form=form, note="; ".join(notes))


def _entry(cells: list[Cell], name: str, layer: str, known: list[Entry]) -> Entry | None:
    """Find a layer's configuration by its name; in nested layers the cell's name is the last part of the place."""
    names = [layer, name, *reversed(cells[0].place.split("/"))]
    return next((entry for wanted in names for entry in known if entry.name == wanted), None)


def _cells(tree: Tree) -> Iterable[Cell]:
    """Find what has the names, or in Keras 3's files the shapes, of an LSTM's arrays."""
    named: dict[str, dict[str, Stored]] = defaultdict(dict)
    numbered: dict[str, dict[str, Stored]] = defaultdict(dict)
    for path, stored in tree.datasets.items():
        if path.startswith(("optimizer_weights/", "optimizer/")):
            continue  # it has arrays under the same names
        if found := _NUMBERED.fullmatch(path):
            numbered[found["cell"]][_PARTS[found["part"]]] = stored
        elif found := _NAMED.fullmatch(path):
            named[found["cell"] or ""][found["part"]] = stored
    for place, arrays in named.items():
        if "recurrent_kernel" in arrays:
            inside = place.removeprefix("model_weights/")
            layer, _, rest = inside.partition("/")
            half = _HALVES.fullmatch(rest)
            yield Cell(inside, layer, half and half["which"] == "backward", arrays)
    for place, arrays in numbered.items():
        kernels = [arrays[part].shape for part in ("kernel", "recurrent_kernel") if part in arrays]
        fits = [len(shape) for shape in kernels] == [2, 2] and kernels[1][1] == 4 * kernels[1][0]
        if fits or ("lstm" in place and "recurrent_kernel" in arrays):
            yield _numbered_cell(tree, place, arrays)


def _numbered_cell(tree: Tree, place: str, arrays: Mapping[str, Stored]) -> Cell:
    """Name a cell of a Keras 3 file after its layer: groups are numbered by class, the names are attributes."""
    outer = place.removesuffix("/cell")
    half = _HALVES.fullmatch(outer)
    owner = half["before"].rstrip("/") if half else outer
    name = tree.attributes.get(f"{owner}/vars", {}).get("name") or owner.removeprefix("layers/").removeprefix(
        "_layer_checkpoint_dependencies/"
    )
    return Cell(outer, name, half and half["which"] == "backward", arrays)


def _shortest(places: list[str]) -> list[str]:
    """Tell the cells of one layer apart by the parts of their places that differ; one cell needs none."""
    parts = [place.split("/") for place in places]
    common = [column[0] for column in zip(*parts, strict=False) if len(set(column)) == 1] if len(parts) > 1 else []
    return ["" if len(parts) == 1 else "/" + "/".join(part for part in own if part not in common) for own in parts]


def _parameters(cell: Cell, suffix: str) -> tuple[dict[str, Stored], bool]:
    """Turn Keras's arrays, gates i, f, g, o side by side, into torch's; tell whether they were CuDNN's."""
    if missing := [name for name in ("kernel", "recurrent_kernel") if name not in cell.arrays]:
        raise ValueError(f"missing: {', '.join(missing)}")
    kernel, recurrent = cell.arrays["kernel"], cell.arrays["recurrent_kernel"]
    bias = cell.arrays.get("bias")
    if len(kernel.shape) != 2 or len(recurrent.shape) != 2 or recurrent.shape[1] != 4 * recurrent.shape[0]:
        raise ValueError(
            f"recurrent_kernel should have shape (H, 4H), kernel (I, 4H), got: {recurrent.shape} and {kernel.shape}"
        )
    H = recurrent.shape[0]
    if bias is not None and bias.shape == (8 * H,):
        made = {"weight_ih": _cudnn(kernel, H), "weight_hh": _cudnn(recurrent, H)}
        made |= {"bias_ih": bias.mapped((4 * H,), lambda b: b[: 4 * H])}
        made |= {"bias_hh": bias.mapped((4 * H,), lambda b: b[4 * H :])}
        return {f"{name}{suffix}": stored for name, stored in made.items()}, True
    made = {"weight_ih": kernel.transposed, "weight_hh": recurrent.transposed}
    if bias is not None:
        made |= {"bias_ih": bias, "bias_hh": bias.mapped(bias.shape, np.zeros_like)}
    return {f"{name}{suffix}": stored for name, stored in made.items()}, False


def _cudnn(stored: Stored, H: int) -> Stored:
    """Undo CuDNN's layout: a gate's block holds the numbers of the matrix (H, I) in its own order, not transposed."""
    if stored.shape[1] != 4 * H:
        raise ValueError(f"kernel should have shape (I, 4H) = (I, {4 * H}), got: {stored.shape}")

    def gates(array: Array) -> Array:
        return np.concatenate([block.reshape(H, -1) for block in np.split(array, 4, axis=1)])

    return stored.mapped(stored.shape[::-1], gates)
