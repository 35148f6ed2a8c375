"""Ours in torch, promised that parameters do not change past their version: ``accelerate(model, frozen=True)``."""

from bench.contenders import accelerated_
from fastlstm.bench.contenders import Answer, Loop
from fastlstm.bench.works import Data, Work

label = "fastlstm.torch, frozen"
version = accelerated_.version


def prepare(work: Work, data: Data) -> tuple[Loop, Answer]:
    """Prepare a work of a kind that begins with "model"."""
    return accelerated_.prepare(work, data, frozen=True)
