"""The command line: ``fastlstm info | inspect | convert | compare | bench | completion``."""

from __future__ import annotations

import argparse
import io
import json
import os
import sys
import warnings
from collections.abc import Sequence
from contextlib import redirect_stderr, redirect_stdout
from typing import Any

from . import __version__, _completion, _inspect_command, _weights, _whole_command, files
from ._isa import config, show_config
from .bench import options
from .files._layer import printable
from .files._save import FORMATS, format_of, write_layers


def main(arguments: Sequence[str] | None = None) -> int:
    """Run a command; return 0, 1 after an error, or 130 after Ctrl-C. Wrong usage exits with 2, as argparse does.

    Without a command the help is printed, and 0 returned. ``bench --fail-above`` returns 3 for what is slower.

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
    if sys.stdout is None or sys.stderr is None:  # closed, as of a service: nobody reads, which is no error
        with open(os.devnull, "w", encoding="utf-8") as nowhere:
            out, err = redirect_stdout(sys.stdout or nowhere), redirect_stderr(sys.stderr or nowhere)
            with out, err:
                return main(arguments)
    if arguments is None and isinstance(sys.stdout, io.TextIOWrapper):
        sys.stdout.reconfigure(errors="backslashreplace")  # names in files have letters that encodings lack
    parser = _parser()
    given = parser.parse_args(arguments)
    if given.command is None:
        parser.print_help()
        return 0
    try:
        with warnings.catch_warnings(record=True) as told:
            warnings.simplefilter("always")
            try:
                status = given.run(given)
                sys.stdout.flush()  # what cannot be written is told here, not when Python ends
            finally:
                for message in dict.fromkeys(str(warning.message) for warning in told):  # each once
                    print(f"fastlstm {given.command}: warning: {message}", file=sys.stderr)
    except BrokenPipeError:  # who reads has enough, as `head` has: nothing to tell, nowhere to write
        _give_output_up()
        return 1
    except KeyboardInterrupt:
        return 130  # what a shell gives for Ctrl-C
    except (OSError, ValueError, TypeError, ImportError, MemoryError) as error:
        print(f"fastlstm {given.command}: {error or type(error).__name__}", file=sys.stderr)
        _give_output_up()
        return 1
    return status or 0


def _give_output_up() -> None:
    """Forget what cannot be written: Python would try once more at its end, and complain."""
    try:
        sys.stdout.flush()
    except OSError:
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="fastlstm", description="LSTM weights: what is in a file, and into another.")
    parser.add_argument("--version", action="version", version=f"fastlstm {__version__}")
    commands = parser.add_subparsers(dest="command", metavar="COMMAND")
    told = "Messages name the arguments of fastlstm.load: prefix= is --prefix here. It takes more, such as form=."

    info = commands.add_parser("info", help="version, instruction sets, which of them is in use")
    info.add_argument("--json", action="store_true", help="the same for programs")
    info.set_defaults(run=_info)

    reading = argparse.ArgumentParser(add_help=False)
    reading.add_argument(
        "--config", metavar="JSON", help="a Keras model's configuration, for files of its weights alone"
    )
    reading.add_argument("--max-bytes", type=int, metavar="N", help="memory that reading may take, for files you trust")

    inspect = commands.add_parser("inspect", parents=[reading], epilog=told, help="list the LSTMs of a file")
    inspect.add_argument("file", metavar="FILE")
    inspect.add_argument("--json", action="store_true", help="the same for programs")
    _inspect_command.add_arguments(inspect)
    inspect.set_defaults(run=_inspect)

    writes = "write LSTMs of a file to npz, safetensors, ONNX, or for programs in C"
    convert = commands.add_parser("convert", parents=[reading], epilog=told, help=writes)
    convert.add_argument("source", metavar="IN")
    convert.add_argument("target", metavar="OUT", help="ends in .npz, .safetensors, .onnx or .flw, or anyhow with --to")
    convert.add_argument(
        "--to", choices=FORMATS, help="the format; c: a flat file, for fl_plan_load; c-header: the weights as constants"
    )
    convert.add_argument(
        "--byte-order", choices=("little", "big"), help="with --to c: that of the machines it is for, if not this one's"
    )
    which = convert.add_mutually_exclusive_group()
    which.add_argument("--prefix", help="which LSTM, as inspect names it")
    which.add_argument("--all", action="store_true", help="all LSTMs that can be loaded, under their names")
    convert.add_argument("--dtype", choices=("float32", "float64"), help="convert the numbers to it")
    convert.add_argument(
        "--weights",
        choices=("float32", *_weights.names(), _weights.AUTO),
        help="store the matrices so, rounded; auto: as IN does, if in 16 or 8 bits. Every format keeps it",
    )
    convert.set_defaults(run=_convert)
    _add_compare(commands, reading, told)
    does = "time this machine, fastlstm, and what else is installed: torch, onnxruntime, keras, NumPy and more"
    bench = commands.add_parser("bench", help=does)
    options.add_arguments(bench)
    bench.set_defaults(run=_bench)
    does = 'print what a shell needs to complete this command line, such as eval "$(fastlstm completion bash)"'
    completion = commands.add_parser("completion", help=does)
    completion.add_argument("shell", metavar="SHELL", choices=_completion.SHELLS, help=", ".join(_completion.SHELLS))
    completion.set_defaults(run=lambda given: print(_completion.script(given.shell, _parser()), end=""))
    return parser


def _add_compare(commands: Any, reading: argparse.ArgumentParser, told: str) -> None:
    does = "tell what weights of fewer bytes would do to the answers of an LSTM of a file"
    compare = commands.add_parser("compare", parents=[reading], epilog=f"{told} input is --data.", help=does)
    compare.add_argument("file", metavar="MODEL")
    compare.add_argument("--prefix", help="which LSTM, as inspect names it")
    compare.add_argument(
        "--weights", type=_names, metavar="NAMES", help="such as float16,bfloat16; all but float32 if not given"
    )
    compare.add_argument(
        "--data",
        metavar="FILE",
        help="inputs as the LSTM takes them, [T, B, I] or [T, I]: .npy, or .npz of x and perhaps h_0, c_0, lengths, "
        "resets; random numbers if not given, which say little",
    )
    compare.add_argument("--json", action="store_true", help="all figures, step by step")
    compare.add_argument("--plot", metavar="FILE", help="draw them along time: .png, .svg or .pdf; needs matplotlib")
    compare.set_defaults(run=_compare)


def _names(text: str) -> list[str]:
    from ._compare import checked_names

    try:
        return list(checked_names(text.split(",")))
    except ValueError as error:
        raise argparse.ArgumentTypeError(str(error)) from None


def _reading(given: argparse.Namespace) -> dict[str, Any]:
    """Return how a file is to be read, for `inspect` and `load`."""
    return {"config": given.config, "max_bytes": given.max_bytes}


def _info(given: argparse.Namespace) -> None:
    if given.json:
        print(json.dumps(config(), indent=1))
    else:
        show_config()


def _inspect(given: argparse.Namespace) -> None:
    _inspect_command.check(given)
    _whole_command.check(given)
    if given.json and given.data is not None:
        raise ValueError(f"--json goes without {'--health' if given.health else '--data'}")
    found = files.inspect(given.file, **_reading(given))
    print(json.dumps(found.as_dict(), indent=1, allow_nan=False) if given.json else found)
    if given.whole:
        _whole_command.run(given, _inspect_command.labels_of(given))
    elif given.data is not None:
        _inspect_command.run(files.load(given.file, given.prefix, dtype="float32", **_reading(given)), given)


def _convert(given: argparse.Namespace) -> None:
    to = given.to or format_of(given.target, "OUT")
    if given.byte_order and to != "c":
        raise ValueError(f"--byte-order is for --to c: {to} files are the same for every machine")
    names = [given.prefix]
    if given.all:
        found = files.inspect(given.source, **_reading(given))
        for layer in found:
            if layer.problem:
                print(f"fastlstm convert: left out: {layer}", file=sys.stderr)
        names = [layer.name for layer in found if not layer.problem]
        if not names:
            raise ValueError(f"{given.source} has no LSTM that can be loaded")
    lstms = {
        name if given.all else "": files.load(
            given.source, name, dtype=given.dtype, weights=given.weights, **_reading(given)
        )
        for name in names
    }
    write_layers(lstms, given.target, to, given.byte_order)
    for name, lstm in lstms.items():
        print(f"{printable(given.target)}: {f'{printable(name)}: ' if name else ''}{lstm}")
        if lstm.note and given.weights is None:
            print(f"fastlstm convert: note: {lstm.note.replace('weights=', '--weights ')}", file=sys.stderr)


def _bench(given: argparse.Namespace) -> int:
    options.check(given)
    if given.compare is not None:
        from .bench.compare import run as compare

        return compare(given.compare, given.json, given.fail_above)
    if sys.platform == "win32":
        told = "nobody has run this on Windows yet; rounds that other processes disturb are not recognised here"
        print(f"fastlstm bench: note: {told}", file=sys.stderr)
    from .bench.processes import ended_as_by_ctrl_c

    with ended_as_by_ctrl_c():
        if given.against is not None:
            from .bench.against import run as race

            return race(given)
        from .bench.command import run  # all other commands do without

        run(given)
        return 0


def _compare(given: argparse.Namespace) -> None:
    from ._compare_command import run

    run(files.load(given.file, given.prefix, dtype="float32", weights="auto", **_reading(given)), given)
