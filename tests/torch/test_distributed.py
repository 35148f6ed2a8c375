"""Training under DistributedDataParallel: two processes over gloo against one that has the whole batch."""

import pytest

from tests.cases import assert_close
from tests.torch.support import import_torch

torch = import_torch()
if not torch.distributed.is_available() or not torch.distributed.is_gloo_available():
    pytest.skip("this build of torch has no gloo", allow_module_level=True)

from distributed import train  # noqa: E402

STEPS = 100


@pytest.fixture(scope="module")
def alone():
    return torch.tensor(train.run(1, train.Settings(STEPS)), dtype=torch.float32).numpy()


def test_one_process_learns_as_plain_torch_does(alone):
    plain = torch.tensor(train.run(1, train.Settings(STEPS, "never")), dtype=torch.float32).numpy()
    assert_close(alone, plain, "torch, trained")
    assert alone[-1] < alone[0] / 4


@pytest.mark.parametrize("order", ["before", "after"])
def test_two_processes_have_the_losses_of_one(alone, order):
    together = torch.tensor(train.run(2, train.Settings(STEPS, order)), dtype=torch.float32).numpy()
    assert_close(together, alone, "torch, trained")


def test_rows_that_cannot_be_shared_out():
    with pytest.raises(ValueError, match="processes should divide the 16 rows of a batch, got 3"):
        train.run(3, train.Settings())
