"""Write torch_golden_gradients.npz: what torch's autograd makes of the LSTMs in torch_golden.npz.

Run it with torch 2.13 from anywhere, again whenever torch_golden.npz changes::

    python tests/data/make_torch_golden_gradients.py

The file holds, for each entry NAME of torch_golden.npz, which has the weights and the inputs, gradients under
``NAME/<what they belong to>``: those that came in, of ``output`` (not for cells), ``h_n`` and ``c_n``, drawn from
N(0, 1), and those that torch computed from them, of ``input``, ``h_0``, ``c_0`` and of every weight under its name.
"""

import json
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch.nn.utils.rnn import pack_padded_sequence, pad_packed_sequence

FORWARD = Path(__file__).with_name("torch_golden.npz")
PATH = Path(__file__).with_name("torch_golden_gradients.npz")


def load(arrays: dict[str, np.ndarray], name: str) -> dict[str, torch.Tensor]:
    """Return the tensors of one entry under their own names."""
    prefix = f"{name}/"
    return {key.removeprefix(prefix): torch.tensor(a) for key, a in arrays.items() if key.startswith(prefix)}


def gradients(tensors: dict[str, torch.Tensor], options: dict[str, Any], is_cell: bool) -> dict[str, torch.Tensor]:
    """Run one module on its stored weights and inputs, and back."""
    options = options | {"dtype": getattr(torch, options.get("dtype", "float64"))}
    weights = {key: tensor for key, tensor in tensors.items() if key.startswith(("weight", "bias"))}
    n_in = tensors["input"].shape[-1]
    module = (torch.nn.LSTMCell if is_cell else torch.nn.LSTM)(n_in, tensors["c_0"].shape[-1], **options)
    module.load_state_dict(weights)
    x, h_0, c_0 = (tensors[key].requires_grad_() for key in ("input", "h_0", "c_0"))

    results: dict[str, torch.Tensor] = {}
    if is_cell:
        results["h_n"], results["c_n"] = module(x, (h_0, c_0))
    elif "lengths" in tensors:
        packed = pack_padded_sequence(x, tensors["lengths"], enforce_sorted=False)
        packed, (results["h_n"], results["c_n"]) = module(packed, (h_0, c_0))
        results["output"], _ = pad_packed_sequence(packed, total_length=len(x))
    else:
        results["output"], (results["h_n"], results["c_n"]) = module(x, (h_0, c_0))
    for key, tensor in results.items():
        torch.testing.assert_close(tensor.detach(), tensors[key])  # the same module as then

    incoming = {key: torch.randn_like(tensor) for key, tensor in results.items()}
    inputs = {"input": x, "h_0": h_0, "c_0": c_0, **dict(module.named_parameters())}
    computed = torch.autograd.grad(list(results.values()), list(inputs.values()), list(incoming.values()))
    return incoming | dict(zip(inputs, computed, strict=True))


def main() -> None:
    """Run everything and write the file."""
    torch.set_num_threads(1)
    stored = dict(np.load(FORWARD))
    arrays: dict[str, Any] = {"torch_version": torch.__version__.split("+")[0]}
    for seed, (name, options) in enumerate(json.loads(str(stored["configs"])).items()):
        torch.manual_seed(seed)
        results = gradients(load(stored, name), options, is_cell=name.startswith("cell"))
        arrays |= {f"{name}/{key}": tensor.numpy() for key, tensor in results.items()}
    np.savez_compressed(PATH, **arrays)
    print(f"{PATH.name}: {len(arrays)} arrays, {PATH.stat().st_size} bytes")


if __name__ == "__main__":
    main()
