"""Train one model in several processes with DistributedDataParallel over gloo, its LSTM on fastlstm.

    python examples/distributed/train.py [--processes 2] [--steps 150]

Each process gets its rows of every batch; gradients are averaged, so that all go on with the same parameters. Beside
the losses stand those of a single process that gets the whole batch: the two differ only by rounding, since a batch
that is cut sums its gradients in another order.
"""

from __future__ import annotations

import argparse
import gc
import tempfile
from pathlib import Path
from typing import Literal, NamedTuple

import torch
from torch import Tensor, distributed, nn
from torch.nn.parallel import DistributedDataParallel

import fastlstm.torch

SYMBOLS, LENGTH, ROWS = 8, 6, 16  # T = 6, and B = 16 in all, whatever the number of processes

Order = Literal["before", "after", "never"]


class Settings(NamedTuple):
    """What a run depends on besides its number of processes."""

    steps: int = 150
    accelerate: Order = "before"  # before or after the model is wrapped; both are the same to DistributedDataParallel


class Recall(nn.Module):
    """Name the first symbol of a sequence after having seen the last: nothing but memory."""

    def __init__(self) -> None:
        super().__init__()
        self.embedding = nn.Embedding(SYMBOLS, 16)
        self.lstm = nn.LSTM(16, 32, num_layers=2)
        self.head = nn.Linear(32, SYMBOLS)

    def forward(self, symbols: Tensor) -> Tensor:
        """Turn symbols [T, B] into logits [B, SYMBOLS]."""
        output, _ = self.lstm(self.embedding(symbols))
        return self.head(output[-1])


def batch(step: int) -> Tensor:
    """Draw the symbols [T, B] of a step: the same in every process."""
    return torch.randint(SYMBOLS, (LENGTH, ROWS), generator=torch.Generator().manual_seed(step))


def train(rank: int, processes: int, settings: Settings) -> list[float]:
    """Train on this process's rows of each batch; return the losses of the whole batches."""
    torch.manual_seed(0)
    model: nn.Module = Recall()
    if settings.accelerate == "before":
        fastlstm.torch.accelerate(model, threads=1)
    if processes > 1:
        model = DistributedDataParallel(model)
    if settings.accelerate == "after":
        fastlstm.torch.accelerate(model, threads=1)
    optimizer = torch.optim.Adam(model.parameters(), lr=0.003)
    losses = []
    for step in range(settings.steps):
        mine = batch(step).chunk(processes, dim=1)[rank]
        loss = nn.functional.cross_entropy(model(mine), mine[0])
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        whole = loss.detach().clone()
        if processes > 1:
            distributed.all_reduce(whole)
        losses.append(float(whole) / processes)
    return losses


def run(processes: int, settings: Settings) -> list[float]:
    """Train in this many processes, in this one for 1; return the losses of the whole batches."""
    if ROWS % processes:
        raise ValueError(f"processes should divide the {ROWS} rows of a batch, got {processes}")
    if processes == 1:
        return train(0, 1, settings)
    with tempfile.TemporaryDirectory() as folder:
        torch.multiprocessing.spawn(_process, (processes, settings, Path(folder)), nprocs=processes)
        losses: list[float] = torch.load(Path(folder) / "losses")
        return losses


def _process(rank: int, processes: int, settings: Settings, folder: Path) -> None:
    torch.set_num_threads(1)  # the processes share the cores among them
    store = distributed.FileStore(str(folder / "store"), processes)  # no port to be found, no network
    distributed.init_process_group("gloo", store=store, rank=rank, world_size=processes)
    try:
        losses = train(rank, processes, settings)
        if rank == 0:
            torch.save(losses, folder / "losses")
        distributed.barrier()  # nobody leaves while another still averages
    finally:
        gc.collect()
        distributed.destroy_process_group()


def main() -> None:
    """Train twice and print both losses."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--processes", type=int, default=2, help="processes that share a batch")
    parser.add_argument("--steps", type=int, default=150, help="steps of the optimizer")
    options = parser.parse_args()
    torch.set_num_threads(1)
    settings = Settings(options.steps)
    alone, together = run(1, settings), run(options.processes, settings)
    print(f"step   one process   {options.processes} processes")
    for step in range(0, options.steps, max(1, options.steps // 10)):
        print(f"{step:4}   {alone[step]:11.6f}   {together[step]:11.6f}")
    print(f"largest difference: {max(abs(a - b) for a, b in zip(alone, together, strict=True)):.1e}")


if __name__ == "__main__":
    main()
