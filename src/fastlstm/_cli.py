"""The command line: ``fastlstm info | inspect | convert``."""

from __future__ import annotations

import argparse
import importlib
import sys
from collections.abc import Sequence
from pathlib import Path

from . import __version__, files
from ._extras import need
from ._isa import show_config
from .files._save import write_whole


def main(arguments: Sequence[str] | None = None) -> int:
    """Run a command; return 0, or 1 after an error told in one line. Wrong usage exits with 2, as argparse does.

    Parameters
    ----------
    arguments : sequence of str, optional
        Those of the command line if not given.

    Returns
    -------
    int
        The exit code.

    Examples
    --------
    >>> from fastlstm._cli import main
    >>> main(["info"])  # doctest: +ELLIPSIS
    fastlstm ...
    0
    """
    given = _parser().parse_args(arguments)
    try:
        given.run(given)
    except (OSError, ValueError, TypeError, ImportError, MemoryError) as error:
        text = str(error) or type(error).__name__
        print(f"fastlstm {given.command}: {'; '.join(line.strip() for line in text.splitlines())}", file=sys.stderr)
        return 1
    return 0


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="fastlstm", description="LSTM weights: what is in a file, and into another.")
    parser.add_argument("--version", action="version", version=f"fastlstm {__version__}")
    commands = parser.add_subparsers(dest="command", required=True, metavar="COMMAND")

    info = commands.add_parser("info", help="version, instruction sets, which of them is in use")
    info.set_defaults(run=lambda given: show_config())

    inspect = commands.add_parser("inspect", help="list the LSTMs of a file")
    inspect.add_argument("file", metavar="FILE")
    inspect.set_defaults(run=lambda given: print(files.inspect(given.file)))

    convert = commands.add_parser("convert", help="write one LSTM of a file to safetensors or ONNX")
    convert.add_argument("source", metavar="IN")
    convert.add_argument("target", metavar="OUT", help="ends in .safetensors or .onnx")
    convert.add_argument("--prefix", help="which LSTM, as inspect names it")
    convert.add_argument("--dtype", choices=("float32", "float64"), help="convert the numbers to it")
    convert.set_defaults(run=_convert)
    return parser


def _convert(given: argparse.Namespace) -> None:
    target = Path(given.target)
    if target.suffix not in (".safetensors", ".onnx"):
        raise ValueError(f"OUT should end in .safetensors or .onnx, got: {given.target}")
    lstm = files.load(given.source, given.prefix, dtype=given.dtype)
    if target.suffix == ".onnx":
        need("onnx")
        model = importlib.import_module("fastlstm.onnx").export(lstm)
        write_whole(model.SerializeToString(), target)
    else:
        files.save(lstm, target)
    print(f"{given.target}: {lstm}")
