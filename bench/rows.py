"""From results to rows: the physical limit, the ratio to the better rival, and whether the goal was met."""

from collections.abc import Mapping, Sequence

import numpy as np

from bench.arena import LIMITS, Entry, Result
from bench.contenders.limits_ import FLOPS, footprint
from bench.report import Cell, Row
from bench.works import Case, Work

RIVALS = ("torch", "onnxruntime")
TRAINING_RIVALS = ("torch", "jax")  # ONNX Runtime's package has no backward pass
_ALL = (*RIVALS, "jax")

Results = Mapping[str, Result]


def rivals(work: Work, names: Sequence[str] = RIVALS) -> dict[str, Entry]:
    """Enter all rivals for a work: with its threads, and also with one, which small sizes often prefer.

    Parameters
    ----------
    work : Work
        What they shall run.
    names : sequence of str
        Who can run it.

    Returns
    -------
    dict of str to Entry
        Under the names of their columns.
    """
    entries: dict[str, Entry] = {name: (name, work) for name in names}
    if work.threads > 1:
        alone = Work(work.kind, work.case)
        entries |= {f"{name}, 1 thread": (name, alone) for name in names}
    return entries


def limits(case: Case, threads: int) -> dict[str, Entry]:
    """Enter the limits of the machine for a case.

    Parameters
    ----------
    case : Case
        Says what must be read.
    threads : int
        How many threads may work.

    Returns
    -------
    dict of str to Entry
        Under "fma" and "read".
    """
    return {kind: (LIMITS, Work(kind, case, threads)) for kind in ("fma", "read")}


def peak(results: Results, threads: int) -> float:
    """Tell how many floating point operations per second were possible in the same rounds.

    Parameters
    ----------
    results : mapping of str to Result
        With an entry "fma".
    threads : int
        How many threads that entry had.

    Returns
    -------
    float
        With all threads together.
    """
    return FLOPS * threads / seconds(results["fma"])


def bandwidth(results: Results, case: Case) -> float:
    """Tell how many bytes of weights per second could be read in the same rounds.

    Parameters
    ----------
    results : mapping of str to Result
        With an entry "read".
    case : Case
        Whose weights were read.

    Returns
    -------
    float
        With all threads together.
    """
    return footprint(case) / seconds(results["read"])


def seconds(result: Result) -> float:
    """Return the time of someone who must be there.

    Parameters
    ----------
    result : Result
        Ours, or a limit's.

    Returns
    -------
    float
        Median seconds per call.
    """
    if result.seconds is None:
        raise RuntimeError(result.error)
    return result.seconds


def better(results: Results) -> float | None:
    """Return the time of the better rival, with as many threads as suit it.

    Parameters
    ----------
    results : mapping of str to Result
        Of everyone.

    Returns
    -------
    float or None
        Median seconds per call; None if no rival was there.
    """
    times = [result.seconds for name, result in results.items() if name.startswith(_ALL)]
    return min((time for time in times if time is not None), default=None)


def micro(result: Result) -> Cell:
    """Make a cell of a time.

    Parameters
    ----------
    result : Result
        Anyone's.

    Returns
    -------
    float or None
        Microseconds per call.
    """
    return None if result.seconds is None else result.seconds * 1e6


def centile(result: Result, percent: float) -> Cell:
    """Make a cell of one of the slower calls.

    Parameters
    ----------
    result : Result
        With a round for each call.
    percent : float
        How many of the calls were faster, 0..100; 100 is for the slowest of all.

    Returns
    -------
    float or None
        Microseconds.
    """
    return float(np.percentile(result.times, percent)) * 1e6 if result.rounds else None


def race(row: Row, results: Results, ours: str, limit: float, *, goal: float, share: float | None = None) -> Row:
    """Complete the row of a race against the rivals.

    Parameters
    ----------
    row : dict of str to Cell
        The cells that say what was run.
    results : mapping of str to Result
        Of everyone.
    ours : str
        The name of our result.
    limit : float
        Seconds per call that the machine needs in any case.
    goal : float
        How many times faster than the better rival we want to be.
    share : float, optional
        Which share of the limit we want to reach, 0..1.

    Returns
    -------
    dict of str to Cell
        With the times, the share of the limit, the ratio to the better rival (above 1: we are faster), the ratio that
        the limit leaves possible, the goal, and whether it was met.
    """
    time, rival = seconds(results[ours]), better(results)
    ratio = None if rival is None else rival / time
    reached = limit / time
    met = ratio is not None and ratio >= goal and (share is None or reached >= share)
    columns: Row = {f"{ours} us": time * 1e6}
    columns |= {f"{name} us": micro(result) for name, result in results.items() if name.startswith(_ALL)}
    columns |= {
        "of limit": f"{reached:.0%}",
        "ratio": ratio,
        "possible": None if rival is None else rival / limit,
        "goal": f"{goal:g}x" if share is None else f"{goal:g}x {share:.0%}",
        "met": met,
    }
    return row | columns
