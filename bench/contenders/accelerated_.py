"""Ours in torch: the modules of `torch_modules` after ``fastlstm.torch.accelerate``."""

import torch

import fastlstm.torch
from fastlstm.bench.contenders import Answer, Loop, torch_modules
from fastlstm.bench.works import Array, Data, Work

label = "fastlstm.torch"


def version() -> str:
    """Say what is measured."""
    return f"{fastlstm.__version__} ({fastlstm.isa()}) in torch {torch.__version__}"


def prepare(work: Work, data: Data, *, frozen: bool = False) -> tuple[Loop, Answer]:
    """Prepare a work of a kind that begins with "model"."""
    modules: list[torch.nn.Module] = []

    def change(module: torch.nn.Module) -> None:
        fastlstm.torch.accelerate(module, frozen=frozen)
        modules.append(module)

    loop, answer = torch_modules.prepare(work, data, change)

    def ours() -> Array:
        result = answer()
        (module,) = modules
        if module.fallback is not None:
            raise RuntimeError(f"torch's own code has run: {module.fallback}")
        return result

    return loop, ours
