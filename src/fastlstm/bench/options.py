"""What ``fastlstm bench`` takes, and which rivals are there."""

from __future__ import annotations

import argparse
import contextlib
from collections.abc import Sequence
from dataclasses import dataclass
from importlib.util import find_spec

import numpy as np

from fastlstm import _weights
from fastlstm.bench.families import FAMILIES, PUBLISHED, case_of
from fastlstm.bench.works import Case

#: Rivals, and the module that shows that they are there.
RIVALS = {name: name for name in ("torch", "onnxruntime", "openvino", "jax", "tensorflow", "keras", "ncnn")}
RIVALS |= {"litert": "ai_edge_litert", "numpy": "numpy"}
ONEDNN = "onednn", "onednn-cpu-gomp"
_LETTERS = {"T": 1, "B": 1, "I": 0, "H": 0, "layers": 1, "directions": 1}  # 0: I is H, and H has to be given
_MOST = 2**24


@dataclass(frozen=True)
class Options:
    """What is asked for."""

    cases: Sequence[Case]
    rivals: Sequence[str]
    weights: Sequence[str]
    threads: int
    quick: bool
    footprint: bool = False


def shape(text: str) -> Case:
    """Read ``T=100,B=1,I=64,H=128,layers=2,directions=1``: what is not said is 1, and I is H."""
    given: dict[str, int] = {}
    for part in text.split(","):
        name, equals, number = part.strip().partition("=")
        if not equals or name not in _LETTERS or name in given:
            raise argparse.ArgumentTypeError(f"expected {', '.join(_LETTERS)}, each once and with =, got: {part!r}")
        if not number.isdecimal() or not 0 < int(number) <= _MOST:
            raise argparse.ArgumentTypeError(f"{name} should be a whole number from 1 to {_MOST}, got: {number!r}")
        given[name] = int(number)
    sizes = _LETTERS | given
    if not sizes["H"]:
        raise argparse.ArgumentTypeError(f"H is missing in {text!r}")
    if sizes["directions"] > 2:
        raise argparse.ArgumentTypeError(f"directions should be 1 or 2, got: {sizes['directions']}")
    return case_of(sizes["T"], sizes["B"], sizes["I"] or sizes["H"], sizes["H"], sizes["layers"], sizes["directions"])


def rivals(text: str) -> list[str]:
    """Read names of rivals; ``none``, or ``all`` that are known."""
    known = [*RIVALS, ONEDNN[0]]
    if text in {"none", "all"}:
        return known if text == "all" else []
    names = text.split(",")
    for name in names:
        if name not in known:
            raise argparse.ArgumentTypeError(f"expected none, all or some of {', '.join(known)}, got: {name!r}")
    return list(dict.fromkeys(names))


def families(text: str) -> list[str]:
    """Read names of families of works."""
    names, known = text.split(","), [*FAMILIES, PUBLISHED]
    for name in names:
        if name not in known:
            raise argparse.ArgumentTypeError(f"expected some of {', '.join(known)}, got: {name!r}")
    return list(dict.fromkeys(names))


def weights(text: str) -> list[str]:
    """Read types of weights."""
    names = text.split(",")
    try:
        for name in names:
            _weights.checked(name, np.dtype(np.float32))
    except ValueError as error:
        raise argparse.ArgumentTypeError(str(error)) from None
    return list(dict.fromkeys(["float32", *names]))


def threads(text: str) -> int:
    """Read a number of threads."""
    if not text.isdecimal() or not 0 < int(text) <= 1024:
        raise argparse.ArgumentTypeError(f"expected a whole number from 1 to 1024, got: {text!r}")
    return int(text)


def percent(text: str) -> float:
    """Read how many percent slower a row may be."""
    with contextlib.suppress(ValueError):
        if 0 <= (number := float(text)) <= 1000:
            return number
    raise argparse.ArgumentTypeError(f"expected a number of percent from 0 to 1000, got: {text!r}")


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add what the command takes."""
    parser.add_argument("--quick", action="store_true", help="three small works in few rounds: under a minute")
    parser.add_argument(
        "--rivals",
        type=rivals,
        metavar="NAMES",
        help="such as torch,onnxruntime; none; all that are installed if not given",
    )
    what = parser.add_mutually_exclusive_group()
    what.add_argument(
        "--shape",
        type=shape,
        action="append",
        metavar="SIZES",
        help="such as T=100,B=1,I=64,H=128,layers=2,directions=1 (1 if not given, I as H); may be given again",
    )
    what.add_argument(
        "--family",
        type=families,
        metavar="NAMES",
        help=f"works by name: {', '.join(FAMILIES)}; {PUBLISHED}: all from voice on, layers of published models",
    )
    what.add_argument("--model", metavar="FILE", help="the LSTMs of a file, with its weights: a step and 100 steps")
    parser.add_argument("--threads", type=threads, default=1, metavar="N", help="that each may use (1)")
    parser.add_argument(
        "--weights", type=weights, default=["float32"], metavar="NAMES", help="beside float32, such as int8,bfloat16"
    )
    two = parser.add_mutually_exclusive_group()
    two.add_argument(
        "--compare",
        nargs=2,
        metavar="FILE",
        help="measure nothing: compare what --json has written, the second file with the first",
    )
    two.add_argument(
        "--against",
        metavar="VERSION",
        help="race this fastlstm against another version, such as 0.1.0, or in a checkout a revision of it",
    )
    parser.add_argument(
        "--fail-above",
        type=percent,
        metavar="PERCENT",
        help="with these two: end with 3 if a row is slower by more, by its interval's lower end",
    )
    parser.add_argument(
        "--footprint",
        action="store_true",
        help="also what each costs to have: disk, import, memory, threads, CPU when idle; always without other options",
    )
    parser.add_argument("--plot", metavar="DIR", help="draw what was measured into a folder, as SVG")
    parser.add_argument("--json", metavar="FILE", help="write all figures there; - for standard output, and no tables")


def check(given: argparse.Namespace) -> None:
    """Refuse what does not go together, and would be passed over in silence."""
    if given.compare is not None:
        measuring = dict.fromkeys(("rivals", "family", "shape", "model")) | {
            "quick": False,
            "threads": 1,
            "footprint": False,
        }
        measuring |= {"weights": ["float32"]}
        named = [f"--{name}" for name, default in measuring.items() if getattr(given, name) != default]
        if named:
            raise ValueError(f"--compare measures nothing: it goes without {', '.join(named)}")
    if given.plot is not None and (given.compare is not None or given.against is not None):
        raise ValueError("--plot draws one run: it goes without --compare and --against")
    if given.against is not None and given.rivals is not None:
        raise ValueError("--against has one rival: it goes without --rivals")
    if given.against is not None and given.footprint:
        raise ValueError("--against only takes times: it goes without --footprint")
    if given.fail_above is not None and given.compare is None and given.against is None:
        raise ValueError("--fail-above goes with --compare or --against")


def installed() -> list[str]:
    """Name the rivals that are there, without importing them."""
    from importlib.metadata import PackageNotFoundError, distribution  # slow to import

    names = [name for name, module in RIVALS.items() if find_spec(module) is not None]
    with contextlib.suppress(PackageNotFoundError):
        distribution(ONEDNN[1])
        names.append(ONEDNN[0])
    return names
