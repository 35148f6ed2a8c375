"""Keras's files: `.keras` archives, `.weights.h5`, and the h5 files of Keras 2 (and CuDNNLSTM) -> layers."""

from __future__ import annotations

import dataclasses
import re
from collections import Counter, defaultdict
from collections.abc import Iterator, Mapping
from pathlib import Path

import numpy as np

from .._forms import Form
from .._types import Array
from ._budget import Budget
from ._h5 import Tree
from ._keras_config import Configuration, Told, assumed, configuration, misfit, parsed, told
from ._keras_model import SIDES, Model, Owner
from ._layer import Layer, layer_of
from ._stored import Stored
from ._zip import Archive

_NAMED = re.compile(r"(?:(?P<cell>.*)/)?(?P<part>kernel|recurrent_kernel|bias)(?::0)?", re.DOTALL)
_NUMBERED = re.compile(r"(?P<cell>.*)/vars/(?P<part>\d{1,6})", re.DOTALL)
_PARTS = {"0": "kernel", "1": "recurrent_kernel", "2": "bias"}
_SIDE = re.compile(r"(forward|backward)_.*", re.DOTALL)
_KERAS_1 = re.compile(r"(?:.*/)?(?P<layer>[^/]+)_(?P<part>[WUb]_[icfo])(?::0)?", re.DOTALL)
_PLUMBING = ("layers", "_layer_checkpoint_dependencies", "cell", "cells")


@dataclasses.dataclass(frozen=True)
class Cell:
    """The arrays of one cell, kernel, recurrent_kernel and bias, and where they lie."""

    place: tuple[str, ...]  #: its groups, from the model on
    names: tuple[str | None, ...]  #: what the file calls the layers around it; None for a half of a Bidirectional
    side: str  #: forward or backward, if it looks like such a half
    whole: tuple[str, ...]  #: where that Bidirectional lies
    arrays: Mapping[str, Stored]
    numbered: bool = False  #: Keras 3's layout
    named: bool = False  #: whether the names are the layers' own, and not made of their classes
    owner: Owner | None = None


def archive_layers(archive: Archive, config: object = None) -> list[Layer]:
    """List the LSTMs of a `.keras` archive."""
    budget = archive.budget
    metadata = parsed(archive.read("metadata.json"), budget)
    model = archive.read("config.json") if config is None else config
    version = metadata.get("keras_version", "") if isinstance(metadata, dict) else ""
    found = configuration(model, budget, version if isinstance(version, str) else "")
    return _layers(Tree(bytes(archive.read("model.weights.h5")), budget), found, found.version, "Keras 3")


def h5_layers(path: Path, budget: Budget, config: object = None) -> list[Layer]:
    """List the LSTMs of an h5 file, of a whole model or of its weights."""
    tree = Tree(path, budget)
    root = tree.attributes.get("", {})
    version = root.get("keras_version") or tree.attributes.get("model_weights", {}).get("keras_version", "")
    given = root.get("model_config") if config is None else config
    found = None if given is None else configuration(given, budget, version)
    return _layers(tree, found, found.version if found else version, "Keras h5")


def _layers(tree: Tree, config: Configuration | None, version: str, format: str) -> list[Layer]:
    cells = list(_cells(tree))
    if config:
        cells = _owned(cells, config, Model(config.model, _groups(tree)))
    groups = _paired(cells)
    names = [_name(group) for group in groups]
    same: dict[str, list[int]] = defaultdict(list)
    for k, name in enumerate(names):
        same[name].append(k)
    for name, several in same.items():
        if len(several) > 1:
            for k, rest in zip(several, _different([groups[k][0].place for k in several]), strict=True):
                names[k] = f"{name}/{rest}"
    made = [_layer(group, name, bool(config), version, format) for group, name in zip(groups, names, strict=True)]
    return made + list(_of_keras_1(tree, format))


def _paired(cells: list[Cell]) -> list[list[Cell]]:
    """Put the two halves of a Bidirectional together where it holds one cell each; all others stay by themselves."""
    halves: dict[tuple[str, ...], list[Cell]] = defaultdict(list)
    for cell in cells:
        if cell.side:
            halves[cell.whole].append(cell)
    made = []
    for cell in cells:
        pair = sorted(halves.get(cell.whole, ()), key=lambda half: half.side == "backward") if cell.side else []
        if [half.side for half in pair] != ["forward", "backward"]:
            made.append([cell])
        elif cell is pair[0]:
            made.append(pair)
    return made


def _name(group: list[Cell]) -> str:
    """Name a layer as the model does; a half by itself, as of a stack of cells in a Bidirectional, after its side."""
    cell = group[0]
    names = cell.owner.names if cell.owner else cell.names
    return "/".join(name or cell.side for name in names if name or len(group) == 1)


def _different(places: list[tuple[str, ...]]) -> list[str]:
    """Tell places apart by those of their parts that differ."""
    common = [column[0] for column in zip(*places, strict=False) if len(set(column)) == 1]
    return ["/".join(part for part in place if part not in common) for place in places]


def _groups(tree: Tree) -> dict[tuple[str, ...], set[str]]:
    """List in each group those that have arrays somewhere in them."""
    made: dict[tuple[str, ...], set[str]] = defaultdict(set)
    for path in {tuple(path.split("/")[:-1]) for path in tree.datasets}:
        for k, part in enumerate(path):
            made[path[:k]].add(part)
    return made


def _owned(cells: list[Cell], config: Configuration, model: Model) -> list[Cell]:
    """Find each cell in the configuration; one that two cells would be is neither's."""
    found = [_owner(cell, model, config.version) for cell in cells]
    claims = Counter(_key(owner) for owner, _ in found if owner)
    made = []
    for cell, (owner, certain) in zip(cells, found, strict=True):
        if owner and certain and claims[_key(owner)] > 1:
            owner = None
        side = owner.side if owner else cell.side
        made.append(dataclasses.replace(cell, owner=owner, side=side))
    return made


def _key(owner: Owner) -> tuple[object, ...]:
    return tuple((key, id(node)) for key, node in owner.path)


def _owner(cell: Cell, model: Model, version: str) -> tuple[Owner | None, bool]:
    """Return a cell's place in the configuration; False if there are several, which all say the same."""
    if cell.numbered:
        owner = model.by_place(cell.place)
        if cell.named and (owner is None or owner.names != cell.names):
            owner = model.by_names(cell.names, cell.side)
        return owner, True
    options = model.by_name(cell.place[0], cell.place[1:], cell.side)
    if len({told(option, version) for option in options}) > 1:
        return None, True
    return (options[0] if options else None), len(options) == 1


def _layer(cells: list[Cell], name: str, known: bool, version: str, format: str) -> Layer:
    """Make the record of one layer: of one cell, or of the two of a Bidirectional."""
    kind = "LSTM"
    try:
        parameters: dict[str, Stored] = {}
        said = []
        for cell, suffix in zip(cells, ("_l0", "_l0_reverse"), strict=False):
            made, cudnn = _parameters(cell, suffix)
            parameters |= made
            said.append(_told(cell, known, version, cudnn))
        kind = "Bidirectional" if len(cells) > 1 else said[0].kind
        if len({each.form for each in said}) > 1:
            raise ValueError("its two halves have different activations")
    except ValueError as error:
        return layer_of(name, kind, format, {}, problem=str(error))
    notes = dict.fromkeys(note for each in said for note in each.notes)
    cautions = dict.fromkeys(caution for each in said for caution in each.cautions)
    if len(cells) == 1 and cells[0].side == "backward":
        cautions["it runs backwards: the input is to be reversed"] = None
    return layer_of(
        name,
        kind,
        format,
        parameters,
        form=said[0].form,
        note="; ".join(notes),
        assumed=said[0].assumed,
        caution="; ".join(cautions),
    )


def _told(cell: Cell, known: bool, version: str, cudnn: bool) -> Told:
    """Say what is known of a cell's form, and how."""
    owner = cell.owner
    if owner:
        H = cell.arrays["recurrent_kernel"].shape[0]
        wrong = misfit(owner, cell.arrays["kernel"].shape[0], H, "bias" in cell.arrays)
        said = told(owner, version)
        if not wrong and not cudnn:
            return said
        if not wrong:
            return dataclasses.replace(said, kind="CuDNNLSTM", form=Form())
        return Told("LSTM", Form() if cudnn else None, (wrong,))
    if cudnn:
        return Told("CuDNNLSTM", Form())
    if known:
        return Told("LSTM", None, ("the model's configuration does not tell which of its layers this is",))
    form, note = assumed(version)
    return Told("LSTM", form, assumed=note) if form else Told("LSTM", None, (note,))


def _cells(tree: Tree) -> Iterator[Cell]:
    """Find what has the names, or in Keras 3's files the shapes, of an LSTM's arrays."""
    named: dict[str, dict[str, Stored]] = defaultdict(dict)
    numbered: dict[str, dict[str, Stored]] = defaultdict(dict)
    for path, stored in tree.datasets.items():
        if path.startswith(("optimizer_weights/", "optimizer/")):
            continue  # it has arrays under the same names
        if found := _NUMBERED.fullmatch(path):
            numbered[found["cell"]][_PARTS.get(found["part"], found["part"])] = stored
        elif found := _NAMED.fullmatch(path):
            named[found["cell"] or ""][found["part"]] = stored
    for place, arrays in named.items():
        if "recurrent_kernel" in arrays:
            yield _named_cell(place, arrays)
    for place, arrays in numbered.items():
        kernels = [arrays[part].shape for part in ("kernel", "recurrent_kernel") if part in arrays]
        fits = [len(shape) for shape in kernels] == [2, 2] and kernels[1][1] == 4 * kernels[1][0]
        if fits or ("lstm" in place and "recurrent_kernel" in arrays):
            yield _numbered_cell(tree, place, arrays)


def _named_cell(place: str, arrays: Mapping[str, Stored]) -> Cell:
    """Name a cell after the group of its layer; the halves of a Bidirectional are told by their names."""
    group, *rest = place.removeprefix("model_weights/").split("/")
    at, side = next(((k, found[1]) for k, part in enumerate(rest) if (found := _SIDE.fullmatch(part))), (0, ""))
    return Cell((group, *rest), (group,), side, (group, *rest[:at]), arrays)


def _numbered_cell(tree: Tree, place: str, arrays: Mapping[str, Stored]) -> Cell:
    """Name a cell after its layers: groups are numbered by class, the names are attributes since Keras 3.6."""
    parts = tuple(place.split("/"))
    names: list[str | None] = []
    at, named = 0, True
    for k, part in enumerate(parts):
        if part in SIDES:
            at = k
            names.append(None)
        elif part not in _PLUMBING:
            own = tree.attributes.get("/".join((*parts[: k + 1], "vars")), {}).get("name")
            named = named and own is not None
            names.append(own or part)
    side = SIDES.get(parts[at], "")
    return Cell(parts, tuple(names), side, parts[:at], arrays, numbered=True, named=named)


def _of_keras_1(tree: Tree, format: str) -> Iterator[Layer]:
    """Tell the LSTMs of Keras 1, which kept each gate's arrays by themselves."""
    found: dict[str, set[str]] = defaultdict(set)
    for path in tree.datasets:
        if match := _KERAS_1.fullmatch(path):
            found[match["layer"]].add(match["part"])
    for name, parts in found.items():
        if {"U_i", "U_c", "U_f", "U_o"} <= parts:
            problem = "it is of Keras 1, with a matrix for each gate: load it with Keras 2 and save it again"
            yield layer_of(name, "LSTM", format, {}, problem=problem)


def _parameters(cell: Cell, suffix: str) -> tuple[dict[str, Stored], bool]:
    """Turn Keras's arrays, gates i, f, g, o side by side, into torch's; tell whether they were CuDNN's."""
    if missing := [name for name in ("kernel", "recurrent_kernel") if name not in cell.arrays]:
        raise ValueError(f"missing: {', '.join(missing)}")
    if more := cell.arrays.keys() - {"kernel", "recurrent_kernel", "bias"}:
        raise ValueError(f"it has more arrays than an LSTM: {', '.join(sorted(more))}")
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
