"""Training with sharded parameters: what each process of test_sharded runs, hence importable by itself."""

import gc
from itertools import product
from pathlib import Path
from typing import Any

import torch

STEPS = 4
ROWS = 8
# how the model is sharded, and when it is accelerated
CASES = list(product(("fully_shard", "fully_shard each", "FSDP", "FSDP, original parameters"), ("before", "after")))


class Model(torch.nn.Module):
    """Layers of both classes."""

    def __init__(self) -> None:
        super().__init__()
        self.lstm = torch.nn.LSTM(6, 8, num_layers=2, batch_first=True)
        self.cell = torch.nn.LSTMCell(8, 8)
        self.head = torch.nn.Linear(8, 3)

    def forward(self, x: Any) -> Any:
        """Go through the sequence, then over it again step by step."""
        output, _ = self.lstm(x)
        h = c = torch.zeros(len(x), 8)
        for t in range(output.size(1)):
            h, c = self.cell(output[:, t], (h, c))
        return self.head(h)


def train(model: Any, rank: int, processes: int, batch: tuple[Any, Any]) -> list[float]:
    """Return the losses of the whole batch while training on this process's rows, and then without gradients."""
    x, target = (t[rank::processes] for t in batch)
    optimizer = torch.optim.SGD(model.parameters(), 0.3)
    losses = []
    for step in range(STEPS + 1):
        with torch.set_grad_enabled(step < STEPS):
            loss = (model(x) - target).square().mean()
        if step < STEPS:
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
        whole = loss.detach().clone()
        if processes > 1:
            torch.distributed.all_reduce(whole)
        losses.append(float(whole) / processes)
    return losses


def make() -> tuple[Model, tuple[Any, Any]]:
    """Return the model and the batch: the same in every process."""
    torch.manual_seed(0)
    return Model(), (torch.randn(ROWS, 5, 6), torch.randn(ROWS, 3))


def shard(model: Any, how: str, processes: int) -> Any:
    """Return the model with its parameters shared out."""
    from torch.distributed import fsdp

    if how.startswith("FSDP"):
        cpu = torch.device("cpu")
        return fsdp.FullyShardedDataParallel(model, device_id=cpu, use_orig_params="original" in how)
    mesh = torch.distributed.init_device_mesh("cpu", (processes,))
    for part in [model.lstm, model.cell, model] if "each" in how else [model]:
        fsdp.fully_shard(part, mesh=mesh)
    return model


def run(rank: int, processes: int, folder: Path) -> None:
    """Train in every case; process 0 writes the losses, and where the layers ran."""
    import fastlstm.torch as fast

    torch.set_num_threads(1)
    store = torch.distributed.FileStore(str(folder / "store"), processes)
    torch.distributed.init_process_group("gloo", store=store, rank=rank, world_size=processes)
    found = {}
    try:
        for how, when in CASES:
            model, batch = make()
            layers = [model.lstm, model.cell]
            if when == "before":
                fast.accelerate(model)
            model = shard(model, how, processes)
            left = fast.accelerate(model).left if when == "after" else {}
            losses = train(model, rank, processes, batch)
            found[how, when] = (losses, [getattr(layer, "fallback", "torch") for layer in layers], left)
        if rank == 0:
            torch.save(found, folder / "found")
        torch.distributed.barrier()
    finally:
        gc.collect()
        torch.distributed.destroy_process_group()
