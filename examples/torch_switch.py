"""One line switches a torch model to fastlstm: what it changes, that the answers stay, and what it saves.

Run it from anywhere::

    python examples/torch_switch.py [--rounds 30] [--threads 1]

A tagger of words (embedding, two-layer LSTM, linear head) answers one sentence and takes training steps, before and
after. Outputs, losses and parameters are compared before anything is timed; rounds go in turns.
"""

import argparse
import copy
import statistics
import time
from collections.abc import Callable

import torch
from torch import Tensor, nn

import fastlstm.torch

T, B, H, WORDS, TAGS = 50, 32, 128, 1000, 20

Job = Callable[[nn.Module], Tensor]


class Tagger(nn.Module):
    """Give each word of a sentence scores for its tags: nothing here knows of fastlstm."""

    def __init__(self) -> None:
        super().__init__()
        self.embedding = nn.Embedding(WORDS, H)
        self.lstm = nn.LSTM(H, H, num_layers=2)
        self.head = nn.Linear(H, TAGS)

    def forward(self, words: Tensor) -> Tensor:
        """Turn words [T, B] into scores [T, B, TAGS]."""
        output, _ = self.lstm(self.embedding(words))
        scores: Tensor = self.head(output)
        return scores


def jobs() -> dict[str, Job]:
    """Return what is compared: an answer, and a training step that returns its loss."""
    generator = torch.Generator().manual_seed(0)
    words = torch.randint(WORDS, (T, B), generator=generator)
    tags = torch.randint(TAGS, (T, B), generator=generator)

    def answer(model: nn.Module) -> Tensor:
        with torch.no_grad():
            scores: Tensor = model(words[:, :1])
        return scores

    def train(model: nn.Module) -> Tensor:
        loss = nn.functional.cross_entropy(model(words).flatten(0, 1), tags.flatten())
        model.zero_grad()
        loss.backward()
        with torch.no_grad():
            for parameter in model.parameters():
                parameter -= 0.1 * parameter.grad  # seen by the parameter's version, as any optimizer's step
        return loss.detach()

    return {f"answer, T={T} B=1": answer, f"training step, T={T} B={B}": train}


def check(plain: nn.Module, fast: nn.Module) -> None:
    """Raise AssertionError unless both models answer alike, before training steps and after them."""
    for _ in range(3):
        for job in jobs().values():
            torch.testing.assert_close(job(fast), job(plain))
    for ours, theirs in zip(fast.parameters(), plain.parameters(), strict=True):
        torch.testing.assert_close(ours, theirs)


def measure(models: dict[str, nn.Module], rounds: int) -> dict[str, dict[str, float]]:
    """Return the median seconds of each job on each model, in turns."""
    times: dict[str, dict[str, list[float]]] = {name: {each: [] for each in models} for name in jobs()}
    for _ in range(rounds):
        for name, job in jobs().items():
            for each, model in models.items():
                start = time.perf_counter()
                job(model)
                times[name][each].append(time.perf_counter() - start)
    return {name: {each: statistics.median(taken) for each, taken in row.items()} for name, row in times.items()}


def main() -> None:
    """Switch, compare, measure, print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=30, help="how often each is run")
    parser.add_argument("--threads", type=int, default=1, help="torch's threads, which fastlstm follows")
    options = parser.parse_args()
    torch.set_num_threads(options.threads)
    torch.manual_seed(0)
    plain = Tagger()
    fast = copy.deepcopy(plain)

    print(fastlstm.torch.accelerate(fast))  # the one line
    print(f"lstm: {type(plain.lstm)} -> {type(fast.lstm)}")
    check(plain, fast)
    print("answers, losses and parameters agree")
    for name, row in measure({"torch": plain, "fastlstm": fast}, options.rounds).items():
        ratio = row["torch"] / row["fastlstm"]
        print(
            f"{name:26}  torch {1e3 * row['torch']:7.2f} ms   fastlstm {1e3 * row['fastlstm']:7.2f} ms   {ratio:.2f}x"
        )


if __name__ == "__main__":
    main()
