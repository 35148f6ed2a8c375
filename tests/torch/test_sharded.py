"""FSDP in two processes over gloo: parameters that are freed after each use and gathered again, past their version."""

import tempfile
from pathlib import Path

import numpy as np
import pytest

from tests.cases import assert_close
from tests.torch.support import import_torch

torch = import_torch()
if not torch.distributed.is_available() or not torch.distributed.is_gloo_available():
    pytest.skip("this build of torch has no gloo", allow_module_level=True)
pytest.importorskip("torch.distributed.fsdp")
if not hasattr(torch.distributed.fsdp, "fully_shard"):
    pytest.skip("this torch has no fully_shard", allow_module_level=True)

from tests.torch import sharded  # noqa: E402


@pytest.fixture(scope="module")
def found():
    with tempfile.TemporaryDirectory() as folder:
        torch.multiprocessing.spawn(sharded.run, (2, Path(folder)), nprocs=2)
        return torch.load(Path(folder) / "found")


@pytest.fixture(scope="module")
def alone():
    model, batch = sharded.make()
    return np.array(sharded.train(model, 0, 1, batch), np.float32)


@pytest.mark.parametrize(("how", "when"), sharded.CASES)
def test_two_processes_have_the_losses_of_plain_torch_in_one(found, alone, how, when):
    losses, fallbacks, left = found[how, when]
    assert left == {}
    assert fallbacks == [None, None]
    assert_close(np.array(losses, np.float32), alone, "torch, trained")
    assert losses[-1] < losses[0]
