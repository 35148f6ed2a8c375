"""What `torch_` makes of its modules for weights in fewer bytes than float32.

"int8" is what ``quantize_dynamic`` makes, with the engine that it takes by itself; "int8-onednn" the same with another
engine. "bfloat16" and "float16" are the module in that type, which then has inputs and outputs of it, too: they are
converted outside the timer.
"""

import os
from typing import Any

import torch

from fastlstm.bench.contenders import NO_AVX512

if NO_AVX512:  # its products of 8 bits look at nothing else, once, when they are first asked for
    os.environ.setdefault("FBGEMM_ENABLE_INSTRUCTIONS", "AVX2")
_ENGINE = torch.backends.quantized.engine


def changed(module: torch.nn.Module, weights: str) -> Any:
    """Change a module of inference."""
    if weights == "float32":
        return module
    if (dtype := dtype_of(weights)) != torch.float32:
        return module.to(dtype)
    engine = weights.removeprefix("int8").removeprefix("-")
    torch.backends.quantized.engine = engine or _ENGINE
    # what is inside a module is exchanged, not the module itself
    (made,) = torch.ao.quantization.quantize_dynamic(torch.nn.ModuleList([module]), {type(module)}, dtype=torch.qint8)
    if isinstance(made, type(module)):
        raise RuntimeError(f"quantize_dynamic has left {type(module).__name__} as it was")
    return made


def dtype_of(weights: str) -> torch.dtype:
    """Tell the type that inputs have to be of."""
    return {"float16": torch.float16, "bfloat16": torch.bfloat16}.get(weights, torch.float32)
