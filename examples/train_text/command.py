"""The command line and the progress bar: read, train, save, evaluate, write."""

from __future__ import annotations

import argparse
import os
import platform
import sys
from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, TextColumn, TimeRemainingColumn
from rich.progress import Progress as Bar

import fastlstm

from . import checkpoint, corpus, generate
from .checkpoint import CheckpointError
from .corpus import CorpusError, Numbers, Pass
from .model import Model
from .training import ROWS, STEPS, DivergedError, Progress, begin, settings, take_step

OK, WRONG, MISSING, STOPPED = 0, 1, 3, 130  # exit codes; 2 is argparse's own

SAVE_EVERY = 100  # steps: some seconds of work at most are lost
TELL_EVERY = 100
RECENT = 20  # losses that are averaged for the eye: one chunk is easier than another


def main(arguments: Sequence[str] | None = None) -> int:
    """Train and write; return the exit code."""
    options = _options(arguments)
    try:
        return _run(options)
    except (CheckpointError, CorpusError) as error:
        print(f"train_text: {error}", file=sys.stderr)
        return MISSING
    except DivergedError as error:
        print(f"train_text: training has failed: {error}.", file=sys.stderr)
        return WRONG
    except KeyboardInterrupt:
        kept = f"; --resume goes on from {options.checkpoint}" if options.checkpoint else ""
        print(f"\ntrain_text: stopped{kept}.", file=sys.stderr)
        return STOPPED
    except BrokenPipeError:  # the reader went away (`| head`): not an error, and there is nobody left to tell
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return OK


def _options(arguments: Sequence[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        prog="train_text",
        description="Train a character model on Python's own sources, with fastlstm and NumPy, and let it write.",
        epilog="exit codes: 0 done; 1 the training diverged; 3 a checkpoint cannot be used, or something is missing",
        formatter_class=argparse.ArgumentDefaultsHelpFormatter,
    )
    parser.add_argument(
        "--steps", type=_upto(1_000_000), default=1000, help="steps in all, those of a resumed run included"
    )
    parser.add_argument("--hidden", type=_upto(8192), default=128, help="hidden units")
    parser.add_argument(
        "--threads", type=_upto(4096), default=1, help="fastlstm's threads; the losses are the same bits"
    )
    parser.add_argument("--seed", type=_count, default=1, help="the same seed, the same losses, to the last bit")
    parser.add_argument(
        "--checkpoint", type=Path, metavar="FILE", help=f"saved here every {SAVE_EVERY} steps and at the end"
    )
    parser.add_argument("--resume", action="store_true", help="go on from the checkpoint")
    parser.add_argument("--generate", type=_count, default=400, metavar="N", help="characters to write at the end")
    options = parser.parse_args(arguments)
    if options.resume and options.checkpoint is None:
        parser.error("--resume needs --checkpoint FILE")
    return options


def _count(text: str) -> int:
    if not (text.isascii() and text.isdecimal()):
        raise argparse.ArgumentTypeError(f"expected a whole number, 0 or more, got {text!r}")
    return int(text)


def _upto(most: int) -> Callable[[str], int]:
    def number(text: str) -> int:
        if not 1 <= _count(text) <= most:
            raise argparse.ArgumentTypeError(f"expected a whole number, 1 to {most}, got {text!r}")
        return int(text)

    return number


def _run(options: argparse.Namespace) -> int:
    text, held_out = corpus.read(corpus.TRAINING_MODULES), corpus.read(corpus.HELD_OUT_MODULES)
    made_with = settings(options.hidden, options.seed, text)
    progress = _progress(options, made_with)
    model = Model(progress.parameters, options.threads)
    console = Console(highlight=False, soft_wrap=True)
    console.print(
        f"{len(text):,} characters, sources of Python {platform.python_version()}; fastlstm on {fastlstm.isa()}, "
        f"{options.hidden} hidden units, threads: {options.threads}, seed {options.seed}"
    )
    if progress.step:
        console.print(f"Resumed after step {progress.step}.")
    _train(console, model, progress, text, options, made_with)
    console.print(
        f"Loss of the last {RECENT} steps: {_recent(progress):.3f} nats a character; on modules never seen: "
        f"{model.loss(*_rows(held_out)):.3f}"
    )
    console.print(f"Fingerprint of all {progress.step} losses: {progress.fingerprint()}")
    if options.generate:
        _write(model, options, progress.step)
    return OK


def _progress(options: argparse.Namespace, made_with: checkpoint.Settings) -> Progress:
    path: Path | None = options.checkpoint
    if path is not None and options.resume:
        progress = checkpoint.load(path, made_with)
        if progress.step > options.steps:
            raise CheckpointError(f"The checkpoint {path} has taken {progress.step} steps already, more than --steps.")
        return progress
    if path is not None and path.exists():
        raise CheckpointError(f"{path} is there already: --resume goes on from it, or choose another name.")
    progress = begin(options.hidden, options.seed)
    if path is not None:  # now, and not after minutes of work, it shows whether it can be written
        checkpoint.save(path, progress, made_with)
    return progress


def _train(
    console: Console,
    model: Model,
    progress: Progress,
    text: Numbers,
    options: argparse.Namespace,
    made_with: checkpoint.Settings,
) -> None:
    columns = (
        BarColumn(),
        MofNCompleteColumn(),
        TextColumn("loss {task.fields[loss]}"),
        TextColumn("{task.fields[speed]} characters/s"),
        TimeRemainingColumn(),
    )
    with Bar(*columns, console=console) as bar:
        task = bar.add_task("", total=options.steps, completed=progress.step, loss="-", speed="-")
        while progress.step < options.steps:
            take_step(model, progress, text)
            speed = bar.tasks[0].speed
            told = "-" if speed is None else f"{speed * ROWS * STEPS:,.0f}"
            bar.update(task, advance=1, loss=f"{_recent(progress):.3f}", speed=told)
            if progress.step % TELL_EVERY == 0:
                console.print(f"step {progress.step:>6}   loss {_recent(progress):.3f}")
            if options.checkpoint and (progress.step % SAVE_EVERY == 0 or progress.step == options.steps):
                checkpoint.save(options.checkpoint, progress, made_with)


def _recent(progress: Progress) -> float:
    return float(np.mean(progress.losses[-RECENT:]))


def _rows(text: Numbers) -> tuple[Numbers, Numbers]:
    """Cut a text into rows that are read at once, from their beginnings to their ends."""
    return Pass(text, ROWS, (len(text) - 1) // ROWS, 0).chunk(0)


def _write(model: Model, options: argparse.Namespace, step: int) -> None:
    print("\nIt writes:\n\n" + generate.PROMPT.lstrip(), end="")
    for character in generate.write(model, options.generate, np.random.default_rng([options.seed, step])):
        print(character, end="", flush=True)
    print()
