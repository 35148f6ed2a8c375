"""Run two published models on plain torch and after `accelerate`, in turns: `python examples/torch_models`.

Errors are those of the LSTM's last states and of the answer, against the same model in float64 on torch's own code.
"""

from __future__ import annotations

import argparse
import copy
import statistics
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

if not __package__:  # started as a folder: make the folder importable as the package it is
    sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

try:
    import torch
    from textgen.fetch import FetchError
    from torch import Tensor

    from torch_models import names, sound, voices
except ModuleNotFoundError as error:
    sys.exit(f"torch_models: {error.name} is missing: pip install torch")

import fastlstm.torch


def compare(model: torch.nn.Module, inputs: tuple[Tensor, ...], rounds: int) -> None:
    """Time a model as it is and accelerated; print medians and errors."""
    ours = copy.deepcopy(model)
    print(f"  {fastlstm.torch.accelerate(ours)}")
    doubles = [t.double() if t.is_floating_point() else t for t in inputs]
    exact = _with_states(copy.deepcopy(model).double(), doubles)
    times: dict[str, list[float]] = {"torch": [], "fastlstm": []}
    pair = {"torch": model, "fastlstm": ours}
    for _ in range(rounds):  # in turns, so that a slow moment of the machine meets everybody
        for name, each in pair.items():
            times[name].append(_clock(each, inputs))
    base = statistics.median(times["torch"])
    for name, each in pair.items():
        errors = [float((a.double() - b).abs().max()) for a, b in zip(_with_states(each, inputs), exact, strict=True)]
        median = statistics.median(times[name])
        print(
            f"  {name:8}  {1e3 * median:8.2f} ms   x torch {base / median:5.2f}   "
            f"largest error: h_n {errors[1]:.1e}, c_n {errors[2]:.1e}, answer {errors[0]:.1e}"
        )


def _clock(model: Callable[..., Any], inputs: tuple[Tensor, ...]) -> float:
    start = time.perf_counter()
    model(*inputs)
    return time.perf_counter() - start


def _with_states(model: Any, inputs: Any) -> tuple[Tensor, Tensor, Tensor]:
    """Run a model; return its answer, and h_n and c_n of its LSTM."""
    seen: list[tuple[Tensor, Tensor]] = []
    hook = model.lstm.register_forward_hook(lambda module, given, result: seen.append(result[1]))
    answer = model(*inputs)
    hook.remove()
    return (answer, *seen[0])


def main() -> None:
    """Measure both models and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=30, help="runs of each model each way")
    parser.add_argument("--threads", type=int, default=1, help="threads of torch and fastlstm")
    options = parser.parse_args()
    torch.set_num_threads(options.threads)
    try:
        encoder, namer = voices.load(), names.load()
    except FetchError as error:
        sys.exit(f"torch_models: {error}")
    with torch.no_grad():
        recordings = sorted(sound.SPEECH.glob("*_*.wav"))
        waves = [sound.read(path) for path in recordings] or [sound.voice(3, pitch) for pitch in (110, 220)]
        frames = torch.cat([sound.windows(samples) for samples in waves])
        print(f"voice encoder, 3 layers, H=256, {'speech' if recordings else 'synthetic'}, B=1, T=160")
        compare(encoder, (frames[:1],), options.rounds)
        print(f"voice encoder, B={len(frames)}, T=160")
        compare(encoder, (frames,), options.rounds)
        print("names, 2 bidirectional layers, H=256, packed lengths, B=1")
        compare(namer, names.encode(names.MEN[:1]), options.rounds)
        many = (names.WOMEN + names.MEN) * 8
        print(f"names, B={len(many)}, T=4..14")
        compare(namer, names.encode(many), options.rounds)


if __name__ == "__main__":
    main()
