"""Sessions with torch: their states in two tensors, gathered by index, one step of the batch, scattered."""

from itertools import cycle, islice
from typing import Any

import numpy as np
import torch

from fastlstm.bench.contenders import Answer, Loop
from fastlstm.bench.contenders.torch_fewer import changed, dtype_of
from fastlstm.bench.works import COMPANIES, Array, Data, Work, companies


def prepare(work: Work, data: Data) -> tuple[Loop, Answer]:
    """Prepare the kinds "sessions", an LSTMCell, and "sessions_layer", an LSTM of one step."""
    weights = {name: torch.from_numpy(array) for name, array in data.weights.items()}
    cell: Any = torch.nn.LSTMCell(work.case.I, work.case.H).eval()
    lstm: Any = torch.nn.LSTM(work.case.I, work.case.H).eval()
    cell.load_state_dict({name.removesuffix("_l0"): tensor for name, tensor in weights.items()})
    lstm.load_state_dict(weights)
    cell, lstm, dtype = changed(cell, work.weights), changed(lstm, work.weights), dtype_of(work.weights)
    inputs, calls = torch.from_numpy(data.x).to(dtype), list(torch.from_numpy(companies(work.case)))
    steps, everyone, _ = data.x.shape
    h, c = torch.zeros(2, everyone, work.case.H, dtype=dtype)

    def step_cell(ids: torch.Tensor, x: torch.Tensor) -> torch.Tensor:
        h_n, c_n = cell(x, (h.index_select(0, ids), c.index_select(0, ids)))
        h.index_copy_(0, ids, h_n)
        c.index_copy_(0, ids, c_n)
        return h_n

    def step_layer(ids: torch.Tensor, x: torch.Tensor) -> torch.Tensor:
        _, (h_n, c_n) = lstm(x[None], (h.index_select(0, ids)[None], c.index_select(0, ids)[None]))
        h.index_copy_(0, ids, h_n[0])
        c.index_copy_(0, ids, c_n[0])
        return h_n[0]

    step = step_layer if work.kind == "sessions_layer" else step_cell

    def loop(n: int) -> None:
        torch.set_num_threads(work.threads)  # of the whole process, where other works may be prepared
        x = inputs[0, : work.case.B]
        with torch.inference_mode():
            for ids in islice(cycle(calls), n):
                step(ids, x)

    def answer() -> Array:
        torch.set_num_threads(work.threads)
        output = np.empty((steps, everyone, work.case.H), np.float32)
        with torch.inference_mode():
            h.zero_()
            c.zero_()
            for k, ids in enumerate(calls):
                t = k // COMPANIES
                output[t, ids] = step(ids, inputs[t, ids]).float()
        return output

    return loop, answer
