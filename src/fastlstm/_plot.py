"""plot: what traces show, as a page or a picture."""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator, Mapping
from typing import Any

import numpy as np

from ._pictures.draw import checked_seconds, draw, ending_of
from ._pictures.labels import Labels, checked_labels
from ._pictures.overview import MAX_BYTES, Choice, Overview, carries_on, checked_choice, length_of
from ._trace import GateTrace

OfOne = GateTrace[Any] | Iterable[GateTrace[Any]]  # LSTM


def plot(
    traces: OfOne | Mapping[str, OfOne],
    path: str | os.PathLike[str],
    *,
    labels: Any = None,
    seconds: float | None = None,
    rows: Any = None,
    steps: tuple[int, int] | None = None,
    title: str | None = None,
    max_bytes: int = MAX_BYTES,
) -> None:
    """Draw the gates over time: as a page for a browser, or as a picture.

    Parameters
    ----------
    traces : GateTrace, iterable of them, or mapping of names to these
        Traces of an iterable that carry on from the state that the one before left are one in time; others stand beside
        each other. An iterator may make them one by one: no more than one is held. A mapping is what
        `fastlstm.torch.trace` returns.
    path : path
        What to write; its ending tells what: ``.html``, a page that needs no network; ``.png``, ``.svg``, ``.pdf``, by
        matplotlib, which is in the extra ``plot``.
    labels : str or sequence, optional
        Names of all T steps: the characters of a text, a list of tokens; a list of lists, one for each row. With a
        mapping of traces: for all of them, or a mapping of their names.
    seconds : float, optional
        How long a step is, for a time axis in seconds.
    rows : int or sequence of int, optional
        Which rows a page has; if not given, as many of the first as fit. A picture shows the first of them.
    steps : pair of int, optional
        From which step on, and up to which (without it), to look at a part closely. All if not given.
    title : str, optional
        The heading.
    max_bytes : int, optional
        What the numbers of a page may take, 48 MiB if not given: columns get wider, and rows fewer, until they fit.

    Raises
    ------
    ValueError
        For labels that are not one for each step; for rows or steps that are not there; for a trace without steps; for
        units that do not fit into `max_bytes`; for another ending of the path.
    TypeError
        For what is no trace, and other types.
    OSError
        For a file that cannot be written: nothing of it is left.
    ModuleNotFoundError
        For a picture without matplotlib.

    Notes
    -----
    Up to 2048 steps are shown one by one. Of more, a column is 2, 4, 8, ... of them, with their mean, least and
    largest; all steps count, and the page says how many a column is. A NaN is shown as one, and told.

    Examples
    --------
    >>> import numpy as np, fastlstm, pathlib, tempfile
    >>> trace = fastlstm.LSTM(4, 3, seed=0).trace(np.ones((5, 4), np.float32))
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     path = pathlib.Path(folder, "gates.html")
    ...     fastlstm.plot(trace, path, labels="hello")
    ...     path.read_text(encoding="utf-8")[:15]
    '<!doctype html>'
    """
    ending_of(path)
    checked_seconds(seconds)
    choice = checked_choice(rows, steps, max_bytes)
    given = traces if isinstance(traces, Mapping) else {"": traces}
    choice = choice._replace(max_bytes=max(1, choice.max_bytes // max(1, len(given))))  # each its part
    overviews: dict[str, Overview] = {}
    names: dict[str, Labels | None] = {}
    for name, each in given.items():
        own = labels.get(name) if isinstance(labels, Mapping) else labels
        found = list(overviews_of(each, choice))
        for call, (overview, lengths) in enumerate(found):
            key = f"{name}, call {call + 1}".lstrip(", ") if len(found) > 1 else name
            of = f" of {key}" if key else ""
            names[key] = checked_labels(own, overview, lengths.tolist(), of)
            overviews[key] = overview
    if isinstance(labels, Mapping) and labels.keys() - given.keys():
        raise ValueError(f"labels should be of {', '.join(map(repr, given))}, got: {', '.join(map(repr, labels))}")
    if not overviews:
        raise ValueError("traces should have at least one trace, got none")
    nbytes = sum(overview.nbytes for overview in overviews.values())
    if nbytes > max_bytes:
        raise ValueError(
            f"a page of {len(overviews)} calls takes {nbytes} bytes, more than max_bytes={max_bytes}: plot fewer of "
            "them, or allow more"
        )
    draw(path, overviews, names, title, seconds)


def overviews_of(traces: Any, choice: Choice) -> Iterator[tuple[Overview, Any]]:
    """Make an overview of each call, with the lengths of its rows."""
    alone = isinstance(traces, GateTrace)
    if not alone and not isinstance(traces, Iterable):
        raise TypeError(f"traces should be a GateTrace, which LSTM.trace makes, got: {type(traces).__name__}")
    overview, before, lengths = None, None, np.zeros(0, np.int64)
    for trace in [traces] if alone else traces:
        if not isinstance(trace, GateTrace):
            raise TypeError(f"traces should be of GateTrace, which LSTM.trace makes, got: {type(trace).__name__}")
        if overview is None or before is None or not carries_on(trace, before):
            if overview is not None:
                yield overview, lengths
            overview = Overview(trace, choice, length_of(trace) if alone else None)
            lengths = np.zeros(len(trace.lengths), np.int64)
        overview.add(trace)
        lengths = lengths + trace.lengths
        before = trace
    if overview is not None:
        yield overview, lengths
