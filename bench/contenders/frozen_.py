"""Ours in torch, promised that parameters do not change past their version: ``accelerate(model, frozen=True)``."""

from bench.contenders import Answer, Loop, accelerated_
from bench.works import Data, Work

label = "fastlstm.torch, frozen"
version = accelerated_.version


def prepare(work: Work, data: Data) -> tuple[Loop, Answer]:
    """Prepare a work of a kind that begins with "model"."""
    return accelerated_.prepare(work, data, frozen=True)
