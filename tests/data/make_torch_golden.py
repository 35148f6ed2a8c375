"""Write torch_golden.npz: small LSTMs as torch computes them, for machines without torch.

Run it with torch 2.13 from anywhere::

    python tests/data/make_torch_golden.py

The file holds, for each entry NAME below, every array of one call under ``NAME/<array>``: the weights under torch's
state_dict names, ``input``, ``h_0``, ``c_0``, if packed ``lengths``, and the results ``output``, ``h_n``, ``c_n``. The
entry ``configs`` is a JSON text: {NAME: arguments of the module}; ``torch_version`` says which torch it was.

Weights come from torch's own initialisation, not from `cases.py`, and are stored: the numbers remain what they are when
the generator of either changes. float64 entries say most; float32 ones show torch's own rounding.
"""

import json
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch.nn.utils.rnn import pack_padded_sequence, pad_packed_sequence

PATH = Path(__file__).with_name("torch_golden.npz")
SIZES: dict[str, Any] = {"input_size": 3, "hidden_size": 4}  # as small as can be: the file is part of the repository
N_STEPS, N_ROWS = 5, 2

LSTMS: dict[str, dict[str, Any]] = {
    "plain": {},
    "plain_float32": {"dtype": "float32"},
    "no_bias_batch_first": {"bias": False, "batch_first": True},
    "unbatched": {"batch_first": True},
    "two_layers_projection": {"num_layers": 2, "proj_size": 3},
    "bidirectional_projection_float32": {"bidirectional": True, "proj_size": 3, "dtype": "float32"},
    "packed_two_layers_bidirectional": {"num_layers": 2, "bidirectional": True},
}
LENGTHS = [2, 5, 1, 4]  # of the packed entry: unsorted; torch does not take 0

CELLS: dict[str, dict[str, Any]] = {
    "cell": {},
    "cell_float32_no_bias": {"bias": False, "dtype": "float32"},
}


def split_dtype(options: dict[str, Any]) -> tuple[dict[str, Any], torch.dtype]:
    """Return the options of the module without its dtype, and the dtype as torch names it."""
    rest = {name: value for name, value in options.items() if name != "dtype"}
    return rest, getattr(torch, options.get("dtype", "float64"))


def run_lstm(name: str, options: dict[str, Any]) -> dict[str, np.ndarray]:
    """Run one nn.LSTM on random input and states and return all its arrays."""
    options, dtype = split_dtype(options)
    lstm = torch.nn.LSTM(**SIZES, **options, dtype=dtype)
    lengths = LENGTHS if name.startswith("packed") else None
    n_states = lstm.num_layers * (2 if lstm.bidirectional else 1)
    rows: tuple[int, ...] = () if name == "unbatched" else (len(LENGTHS) if lengths else N_ROWS,)

    x = torch.randn(N_STEPS, *rows, lstm.input_size, dtype=dtype)
    if lstm.batch_first and rows:
        x = x.transpose(0, 1).contiguous()
    h_0 = torch.rand(n_states, *rows, lstm.proj_size or lstm.hidden_size, dtype=dtype) * 2 - 1
    c_0 = torch.randn(n_states, *rows, lstm.hidden_size, dtype=dtype)
    arrays = {"input": x, "h_0": h_0, "c_0": c_0, **lstm.state_dict()}
    if lengths is None:
        output, (h_n, c_n) = lstm(x, (h_0, c_0))
    else:
        packed, (h_n, c_n) = lstm(pack_padded_sequence(x, torch.tensor(lengths), enforce_sorted=False), (h_0, c_0))
        output, _ = pad_packed_sequence(packed, total_length=N_STEPS)
        arrays["lengths"] = torch.tensor(lengths)
    return to_numpy(arrays | {"output": output, "h_n": h_n, "c_n": c_n})


def run_cell(options: dict[str, Any]) -> dict[str, np.ndarray]:
    """Run one nn.LSTMCell on random input and states and return all its arrays; h' and c' are called h_n and c_n."""
    options, dtype = split_dtype(options)
    cell = torch.nn.LSTMCell(**SIZES, **options, dtype=dtype)
    x = torch.randn(N_ROWS, cell.input_size, dtype=dtype)
    h_0 = torch.rand(N_ROWS, cell.hidden_size, dtype=dtype) * 2 - 1
    c_0 = torch.randn(N_ROWS, cell.hidden_size, dtype=dtype)
    h_n, c_n = cell(x, (h_0, c_0))
    return to_numpy({"input": x, "h_0": h_0, "c_0": c_0, **cell.state_dict(), "h_n": h_n, "c_n": c_n})


def to_numpy(tensors: dict[str, torch.Tensor]) -> dict[str, np.ndarray]:
    """Turn tensors into arrays that own their memory."""
    return {name: tensor.detach().numpy().copy() for name, tensor in tensors.items()}


def main() -> None:
    """Run everything and write the file."""
    torch.set_num_threads(1)
    arrays: dict[str, Any] = {
        "configs": json.dumps(LSTMS | CELLS),
        "torch_version": torch.__version__.split("+")[0],
    }
    with torch.no_grad():
        for seed, (name, options) in enumerate((LSTMS | CELLS).items()):
            torch.manual_seed(seed)
            results = run_cell(options) if name in CELLS else run_lstm(name, options)
            arrays |= {f"{name}/{key}": array for key, array in results.items()}
    np.savez_compressed(PATH, **arrays)
    print(f"{PATH.name}: {len(arrays)} arrays, {PATH.stat().st_size} bytes")


if __name__ == "__main__":
    main()
