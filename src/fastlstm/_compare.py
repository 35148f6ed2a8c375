"""compare: what weights of fewer bytes do to a layer's answers."""

from __future__ import annotations

import dataclasses
import importlib
import os
import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import ArrayLike, NDArray

from . import _weights
from ._call import Frame, Steps
from ._extras import missing
from ._lstm import LSTM
from ._types import Array

Metric = Callable[[NDArray[np.float32], NDArray[np.float32]], float]

_TENTHS = 10


class Figures(NamedTuple):
    """Sizes of differences."""

    largest: NDArray[np.float64]
    rms: NDArray[np.float64]


@dataclasses.dataclass(frozen=True, eq=False, repr=False)
class Difference:
    """What one type of weights does, against float32; letters as in the shapes of `LSTM`.

    Attributes
    ----------
    weights : str
        The type.
    steps : Figures
        Of each layer's own output, step by step: ``largest`` and ``rms``, [L, D, T].
    y, h_n, c_n : Figures
        Of each layer's own output over all steps, and of its last state, [L, D].
    drift : array [L, D]
        How the difference of the output grows: its rms over the last tenth of each row's steps, by that over their
        second tenth, in the order in which the direction reads them. 1 if both are 0, NaN if no row has 10 steps.
    unknown : array of int [L, D]
        How many numbers of the output are NaN in both answers: they are in none of the figures.
    weight_errors : dict of str to float
        The largest error of a number of each matrix.
    saturated : dict of str to float
        Of each matrix that is kept as integers with scales: the share of them at either end of their range.
    metric : float or None
        What the caller's metric returned.
    """

    weights: str
    steps: Figures
    y: Figures
    h_n: Figures
    c_n: Figures
    drift: NDArray[np.float64]
    unknown: NDArray[np.int64]
    weight_errors: dict[str, float]
    saturated: dict[str, float]
    metric: float | None

    def __repr__(self) -> str:
        return f"Difference({self.weights}, largest of y {_short(self.y.largest[-1].max())})"


@dataclasses.dataclass(frozen=True, eq=False, repr=False)
class Comparison(Mapping[str, Difference]):
    """What `compare` returns: a `Difference` for each type of weights, under its name; prints as a table.

    Attributes
    ----------
    layer : str
        What was compared.
    T, B : int
        Steps and rows of the input.
    differences : dict of str to Difference
        In the order that was asked for.

    Examples
    --------
    >>> import numpy as np, fastlstm
    >>> result = fastlstm.compare(fastlstm.LSTM(4, 3, seed=0), np.ones((20, 2, 4), np.float32), "bfloat16")
    >>> result["bfloat16"].steps.rms.shape
    (1, 1, 20)
    """

    layer: str
    T: int
    B: int
    differences: dict[str, Difference]

    def __getitem__(self, weights: str) -> Difference:
        return self.differences[weights]

    def __iter__(self) -> Iterator[str]:
        return iter(self.differences)

    def __len__(self) -> int:
        return len(self.differences)

    def __repr__(self) -> str:
        return f"Comparison({self.layer}, {list(self)})"

    def __str__(self) -> str:
        told = [f"{self.layer}, {self.T} steps, {self.B} rows: differences from float32", "", *self._summary()]
        if any(each.drift.size > 1 for each in self.values()):
            told += ["", *self._by_layer()]
        unknown = max((int(each.unknown.sum()) for each in self.values()), default=0)
        if unknown:
            told += ["", f"{unknown} numbers of y are NaN in both answers: they are in none of the figures"]
        return "\n".join(told)

    def _summary(self) -> list[str]:
        """Return a line for each type: y and drift are the last layer's, states and weights those of all."""
        titles = ["weights", "largest of y", "rms of y", "h_n", "c_n", "drift", "a weight"]
        saturated = any(each.saturated for each in self.values())
        metric = any(each.metric is not None for each in self.values())
        lines = [[*titles, *(["saturated"] if saturated else []), *(["metric"] if metric else [])]]
        for name, each in self.items():
            last = each.y.largest[-1].max(), np.sqrt(np.mean(each.y.rms[-1] ** 2))
            states = each.h_n.largest.max(), each.c_n.largest.max()
            line = [name, *map(_short, (*last, *states)), _ratio(each.drift[-1].max())]
            line.append(_short(max(each.weight_errors.values())))
            line += [_percent(max(each.saturated.values(), default=np.nan))] if saturated else []
            line += ["-" if each.metric is None else f"{each.metric:.6g}"] if metric else []
            lines.append(line)
        return _table(lines)

    def _by_layer(self) -> list[str]:
        lines = [["weights", "layer", "largest of y", "rms of y", "h_n", "c_n", "drift"]]
        for name, each in self.items():
            for layer, direction in np.ndindex(each.drift.shape):
                at = layer, direction
                figures = each.y.largest[at], each.y.rms[at], each.h_n.largest[at], each.c_n.largest[at]
                which = f"{layer} reverse" if direction else str(layer)
                lines.append([name, which, *map(_short, figures), _ratio(each.drift[at])])
        return _table(lines)

    def as_dict(self) -> dict[str, Any]:
        """Return all figures in plain dicts and lists, as JSON has them; what is not finite as ``"nan"`` or ``"inf"``.

        Returns
        -------
        dict
            The attributes by their names; ``weights`` is a dict, by type.

        Examples
        --------
        >>> import numpy as np, fastlstm
        >>> result = fastlstm.compare(fastlstm.LSTM(4, 3, seed=0), np.ones((2, 1, 4), np.float32), "float32")
        >>> result.as_dict()["weights"]["float32"]["h_n"]
        {'largest': [[0.0]], 'rms': [[0.0]]}
        """
        found = {name: {k: _plain(v) for k, v in vars(each).items()} for name, each in self.items()}
        return {"layer": self.layer, "T": self.T, "B": self.B, "weights": found}

    def plot(self, path: str | os.PathLike[str]) -> None:
        """Draw how the differences go along time: a panel for each layer, a line for each type and direction.

        Parameters
        ----------
        path : path
            What to write; its ending tells the format: png, svg, pdf.

        Raises
        ------
        ModuleNotFoundError
            Without matplotlib, which is in the extra ``plot``.
        ValueError
            For an ending that matplotlib does not know.
        OSError
            For a file that cannot be written.
        """
        try:
            figures = importlib.import_module("matplotlib.figure")
        except ModuleNotFoundError as error:
            raise missing("matplotlib", "plot", error) from error
        layers = len(next(iter(self.values())).drift)
        figure = figures.Figure(figsize=(8, min(1.5 + 2 * layers, 60)), layout="constrained")
        panels = figure.subplots(layers, 1, sharex=True, squeeze=False)[:, 0]
        for layer, panel in enumerate(panels):
            for name, each in self.items():
                for direction, rms in enumerate(each.steps.rms[layer]):
                    panel.plot(rms, label=f"{name} reverse" if direction else name, linewidth=1)
            if any((each.steps.rms[layer] > 0).any() for each in self.values()):
                panel.set_yscale("log")
            panel.set_ylabel(f"layer {layer}")
        panels[0].legend(fontsize="small")
        panels[-1].set_xlabel("step")
        figure.suptitle(f"rms difference of y from float32, {self.B} rows", fontsize="medium")
        figure.savefig(os.fspath(path))


def compare(
    lstm: LSTM[Any],
    x: ArrayLike,
    weights: str | Sequence[str] | None = None,
    *,
    hx: tuple[ArrayLike, ArrayLike] | None = None,
    lengths: ArrayLike | None = None,
    resets: ArrayLike | None = None,
    metric: Metric | None = None,
) -> Comparison:
    """Tell what weights of fewer bytes would do to a layer's answers, in figures.

    Parameters
    ----------
    lstm : LSTM
        Of float32, or with weights that are stored in fewer bytes already: its own float32 answer,
        ``lstm.astype(weights="float32")(x)``, is what all are compared with.
    x : array [T, B, I], [B, T, I] with batch_first, or [T, I] unbatched
        Real inputs: what rounding does to an answer depends on them.
    weights : str or sequence of str, optional
        Names that `LSTM.astype` takes; all but float32 if not given.
    hx, lengths, resets
        As for calling the layer. Steps past a row's length are in none of the figures.
    metric : callable, optional
        ``metric(y_float32, y_reduced) -> float``, of the last layer's outputs as the layer returns them: a loss,
        decisions that change, whatever counts in the end.

    Returns
    -------
    Comparison
        A `Difference` for each name: ``result["float16"].y.largest``. It prints as a table, and draws with `plot`.

    Raises
    ------
    TypeError
        For something that is not an LSTM, names that are not strings, a metric that does not return a number.
    ValueError
        For unknown names, the same twice, or none; a layer of float64; weights that do not fit; and as for calling.

    Notes
    -----
    Differences are those of the float32 results, in float64. Each layer reads what the layer below has made of its
    own reduced weights, as in use. Equal numbers, infinities too, have a difference of exactly 0; where only one of the
    answers is NaN, the figures that it is in are NaN. Source: ``src/fastlstm/_compare.py``; measured cases:
    ``docs/precision.md``.

    Examples
    --------
    >>> import numpy as np, fastlstm
    >>> lstm = fastlstm.LSTM(4, 3, num_layers=2, seed=0)
    >>> x = np.random.default_rng(0).standard_normal((50, 2, 4)).astype(np.float32)
    >>> result = fastlstm.compare(lstm, x, ["float16", "float32"], metric=lambda a, b: float((a > 0).mean()))
    >>> bool(0 < result["float16"].y.largest[-1, 0] < 1e-3), float(result["float32"].y.largest.max())
    (True, 0.0)
    """
    plain = _plain_layer(lstm)
    names = checked_names(weights)
    if weights is None and not _weights.fit_integers(plain._sizes.I, plain._sizes.D * plain._sizes.H):
        names = tuple(name for name in names if name not in _weights.INTEGERS)
    if metric is not None and not callable(metric):
        raise TypeError(f"metric should be callable, got: {type(metric).__name__}")
    call = plain._call(x, hx, lengths, resets)
    reduced = {name: lstm.astype(weights=name) for name in names}  # of what it has: integers stay as they are
    answers = list(_answers(plain, call.steps))
    frame = call.frame
    differences = {name: _difference(plain, answers, each, call.steps, frame, metric) for name, each in reduced.items()}
    return Comparison(repr(plain), frame.T, frame.B, differences)


def checked_names(weights: object) -> tuple[str, ...]:
    """Check names of types of weights; None: all but float32."""
    if weights is None:
        return _weights.names()
    if isinstance(weights, str):
        weights = (weights,)
    if not isinstance(weights, Sequence) or not all(isinstance(name, str) for name in weights):
        raise TypeError(f"weights should be a name such as 'float16', or a sequence of names, got: {weights!r}")
    if not weights or len(set(weights)) < len(weights):
        raise ValueError(f"weights should be one or more different names, got: {list(weights)}")
    for name in weights:
        _weights.checked(name, np.dtype(np.float32))
    return tuple(weights)


def _plain_layer(lstm: object) -> LSTM[Any]:
    """Check the layer, and return it with its weights in float32."""
    if not isinstance(lstm, LSTM):
        raise TypeError(f"lstm should be a fastlstm.LSTM, got: {type(lstm).__name__}")
    if lstm.dtype != np.float32:
        raise ValueError(f"lstm should be a layer of float32, got: dtype={lstm.dtype.name!r}")
    return lstm if lstm.weights == "float32" else lstm.astype(weights="float32")


class _Answer(NamedTuple):
    """What one layer makes of a call."""

    y: Array  # [T, B, D*R]
    h_n: Array  # [D, B, R]
    c_n: Array  # [D, B, H]


def _answers(lstm: LSTM[Any], steps: Steps) -> Iterator[_Answer]:
    """Run a stack layer by layer: the bits are those of the stack."""
    x, D = steps.x, lstm._sizes.D
    for layer in range(lstm.num_layers):
        hx = None
        if steps.h_0 is not None and steps.c_0 is not None:
            part = slice(layer * D, (layer + 1) * D)
            hx = steps.h_0[part], steps.c_0[part]
        x, states = LSTM.__call__(_alone(lstm, layer), x, hx, lengths=steps.lengths, resets=steps.resets)
        yield _Answer(x, *states)


def _alone(lstm: LSTM[Any], layer: int) -> LSTM[Any]:
    """Make one layer of a stack a layer of its own, with the stack's threads."""
    width = lstm.input_size if layer == 0 else lstm._sizes.R * lstm._sizes.D
    settings = lstm._settings._replace(input_size=width, num_layers=1, batch_first=False, dropout=0.0)
    of_layer = re.compile(rf"_l{layer}(?![0-9])")
    parameters = {of_layer.sub("_l0", name): a for name, a in lstm.state_dict().items() if of_layer.search(name)}
    made = LSTM.__new__(LSTM)
    made._load(settings, parameters)
    made._share(lstm._workers)
    return made


def _difference(
    plain: LSTM[Any], answers: list[_Answer], reduced: LSTM[Any], steps: Steps, frame: Frame, metric: Metric | None
) -> Difference:
    """Compare one type of weights with the answers in float32."""
    found: dict[str, list[Any]] = {name: [] for name in ("steps", "y", "h_n", "c_n", "drift", "unknown")}
    clocks, always = _clocks(frame, steps.lengths), np.ones((1, frame.B), np.bool_)
    for exact, ours in zip(answers, _answers(reduced, steps), strict=True):
        for d, clock in enumerate(clocks):
            half = slice(d * frame.sizes.R, (d + 1) * frame.sizes.R)
            y = _Squares.of(exact.y[:, :, half], ours.y[:, :, half], clock.runs)
            found["steps"].append(y.each_step())
            found["y"].append(y.over(clock.runs))
            found["drift"].append(y.growth(clock))
            found["unknown"].append(y.unknown)
            for name, a, b in (("h_n", exact.h_n, ours.h_n), ("c_n", exact.c_n, ours.c_n)):
                found[name].append(_Squares.of(a[d : d + 1], b[d : d + 1], always).over(always))
    return Difference(
        reduced.weights,
        **{name: _stacked(each, frame) for name, each in found.items()},
        weight_errors=_weight_errors(plain, reduced),
        saturated=_saturated(reduced.state_dict()),
        metric=None if metric is None else _measured(metric, frame.outside(answers[-1].y), frame.outside(ours.y)),
    )


class _Clock(NamedTuple):
    """Which steps of which rows count for a direction, [T, B]: all that run, their second tenth, their last."""

    runs: NDArray[np.bool_]
    early: NDArray[np.bool_]
    late: NDArray[np.bool_]


def _clocks(frame: Frame, lengths: NDArray[np.int64] | None) -> list[_Clock]:
    t = np.arange(frame.T)[:, None]
    ends = np.full(frame.B, frame.T) if lengths is None else lengths
    runs = t < ends
    long = runs & (ends >= _TENTHS)
    clocks = []
    for read in (t, ends - 1 - t)[: frame.sizes.D]:  # steps that a direction has read before
        tenth = _TENTHS * read // np.maximum(ends, 1)
        clocks.append(_Clock(runs, long & (tenth == 1), long & (tenth == _TENTHS - 1)))
    return clocks


class _Squares(NamedTuple):
    """Differences of [T, B, R], for each step and row: the largest, the sum of squares, and of how many."""

    largest: NDArray[np.float64]
    sums: NDArray[np.float64]
    counts: NDArray[np.int64]
    unknown: int

    @classmethod
    def of(cls, exact: Array, ours: Array, runs: NDArray[np.bool_]) -> _Squares:
        both_nan = np.isnan(exact) & np.isnan(ours)
        with np.errstate(invalid="ignore"):  # of infinities
            sizes = np.abs(exact.astype(np.float64) - ours)
        sizes[(exact == ours) | both_nan | ~runs[:, :, None]] = 0.0
        counts = np.where(runs, exact.shape[2] - both_nan.sum(2), 0)
        largest = sizes.max(2, initial=0.0)
        return cls(largest, np.square(sizes).sum(2), counts, int((both_nan & runs[:, :, None]).sum()))

    def each_step(self) -> Figures:
        return Figures(self.largest.max(1, initial=0.0), _rms(self.sums.sum(1), self.counts.sum(1)))

    def over(self, which: NDArray[np.bool_]) -> Figures:
        largest = np.asarray(self.largest[which].max(initial=0.0))
        return Figures(largest, _rms(self.sums[which].sum(), self.counts[which].sum()))

    def growth(self, clock: _Clock) -> float:
        if not (self.counts[clock.early].any() and self.counts[clock.late].any()):
            return np.nan
        early, late = (float(self.over(which).rms) for which in (clock.early, clock.late))
        if early == 0:
            return 1.0 if late == 0 else late * np.inf
        return late / early


def _rms(sums: Any, counts: Any) -> NDArray[np.float64]:
    return np.asarray(np.sqrt(sums / np.maximum(counts, 1)))


def _stacked(each: list[Any], frame: Frame) -> Any:
    """Arrange what was found for layers and directions: [L, D, ...]."""
    if isinstance(each[0], Figures):
        return Figures(*(_stacked(list(arrays), frame) for arrays in zip(*each, strict=True)))
    array = np.array(each)
    return array.reshape(frame.sizes.L, frame.sizes.D, *array.shape[1:])


def _measured(metric: Metric, exact: Array, ours: Array) -> float:
    found: Any = metric(exact, ours)
    try:
        return float(found)
    except (TypeError, ValueError):
        raise TypeError(f"metric should return a number, got: {type(found).__name__}") from None


def _weight_errors(plain: LSTM[Any], reduced: LSTM[Any]) -> dict[str, float]:
    """Look at attributes, which are float32 however the matrices are stored."""
    return {
        name: float(np.abs(getattr(plain, name).astype(np.float64) - getattr(reduced, name)).max())
        for name in plain._sizes.shapes
        if _weights.is_stored(name)
    }


def _saturated(state_dict: Mapping[str, Array]) -> dict[str, float]:
    """Tell the share of integers at either end of a range that is the same on both sides of zero."""
    whole = {name: array for name, array in state_dict.items() if _weights.is_stored(name) and array.dtype.kind == "i"}
    return {name: float(np.mean(np.abs(a.astype(np.int64)) >= np.iinfo(a.dtype).max)) for name, a in whole.items()}


def _plain(value: object) -> Any:
    """Return figures as JSON has them."""
    if isinstance(value, Figures):
        return {name: _plain(array) for name, array in value._asdict().items()}
    if isinstance(value, np.ndarray):
        return _plain(value.tolist())
    if isinstance(value, dict):
        return {name: _plain(each) for name, each in value.items()}
    if isinstance(value, list):
        return [_plain(each) for each in value]
    return str(value) if isinstance(value, float) and not np.isfinite(value) else value


def _short(number: Any) -> str:
    return "0" if number == 0 else f"{number:.2e}"


def _ratio(number: Any) -> str:
    return "-" if np.isnan(number) else f"{number:.2f}"


def _percent(share: Any) -> str:
    return "-" if np.isnan(share) else f"{100 * share:.2f}%"


def _table(lines: list[list[str]]) -> list[str]:
    """Align columns: names to the left, numbers to the right."""
    widths = [max(map(len, column)) for column in zip(*lines, strict=True)]
    texts = (
        [
            cell.rjust(width) if k else cell.ljust(width)
            for k, (cell, width) in enumerate(zip(line, widths, strict=True))
        ]
        for line in lines
    )
    return ["  ".join(text).rstrip() for text in texts]


for _thing in (compare, Comparison, Difference):
    _thing.__module__ = "fastlstm"  # what pickles name
del _thing
