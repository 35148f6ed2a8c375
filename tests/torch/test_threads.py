"""Threads of a call, calls from many threads, forks: the same bits."""

import copy
import threading
from concurrent.futures import ThreadPoolExecutor

import pytest

from tests.support import needs_fork, run_python
from tests.torch.support import assert_equal_bits, import_torch, twins

torch = import_torch()

import fastlstm.torch as fast  # noqa: E402  torch first

OPTIONS = {"num_layers": 2, "bidirectional": True}


@pytest.fixture
def torchs_threads():
    before = torch.get_num_threads()
    yield torch.set_num_threads
    torch.set_num_threads(before)


def trained(lstm, x):
    """Return results and gradients."""
    output, final = lstm(x)
    return [output, *final, *torch.autograd.grad(output.square().sum(), list(lstm.parameters()))]


def test_the_bits_do_not_depend_on_threads(torchs_threads):
    _, lstm = twins(torch, 20, 40, **OPTIONS)
    x = torch.randn(9, 16, 20)
    expected = trained(lstm, x)
    for number in (2, 3):
        torchs_threads(number)
        assert_equal_bits(trained(lstm, x), expected)
        assert_equal_bits(lstm(x, lengths=[9] * 16)[0], expected[0])
    torchs_threads(1)
    for number in (1, 2, 5):
        other = fast.LSTM(20, 40, threads=number, **OPTIONS)
        other.load_state_dict(lstm.state_dict())
        assert_equal_bits(trained(other, x), expected)


def test_two_python_threads_on_one_module(torchs_threads):
    _, lstm = twins(torch, 20, 40, **OPTIONS)
    cell = fast.LSTMCell(20, 40)
    inputs = [torch.randn(9, 16, 20) for _ in range(4)]
    expected = [(trained(lstm, x), cell(x[0])) for x in inputs]
    for number in (1, 2):
        torchs_threads(number)
        fresh, fresh_cell = copy.deepcopy(lstm), copy.deepcopy(cell)  # not packed yet: the threads race for that too
        start = threading.Barrier(len(inputs))

        def work(x, fresh=fresh, fresh_cell=fresh_cell, start=start):
            start.wait()
            for _ in range(3):
                with torch.no_grad():
                    fresh(x), fresh_cell(x[0], (x[1, :, :1].repeat(1, 40),) * 2)
                found = trained(fresh, x), fresh_cell(x[0])
            return found

        with ThreadPoolExecutor(len(inputs)) as pool:
            for got, wanted in zip(pool.map(work, inputs), expected, strict=True):
                assert_equal_bits(got, wanted)


def test_a_step_while_another_thread_packs():
    """What is kept may be gone after any look at it."""
    cell, x = fast.LSTMCell(4, 5), torch.randn(3, 4)
    with torch.no_grad():
        expected = cell(x)
        plans, reads = cell._plans, []

        class Taken(type(plans)):
            @property
            def kept(self):
                reads.append(self)
                return vars(self)["kept"] if len(reads) == 1 else None

            @kept.setter
            def kept(self, value):
                vars(self)["kept"] = value

        plans.__class__ = Taken
        assert_equal_bits(cell(x), expected)
    assert reads


def test_backward_on_another_thread():
    _, lstm = twins(torch, 4, 5)
    x = torch.randn(6, 3, 4)
    expected = trained(lstm, x)[3:]
    loss = lstm(x)[0].square().sum()
    with ThreadPoolExecutor(1) as pool:
        got = pool.submit(torch.autograd.grad, loss, list(lstm.parameters())).result()
    assert_equal_bits(got, expected)


FORK = """
import torch
import fastlstm.torch
from tests.support import child
torch.set_num_threads({parent})
torch.manual_seed(1)
lstm = fastlstm.torch.LSTM(20, 40, num_layers=2, threads={threads})
x = torch.randn(9, 16, 20)
with torch.no_grad():
    expected = lstm(x)[0]
    child(lambda: torch.equal(lstm(x)[0], expected) and lstm.fallback is None)
    assert torch.equal(lstm(x)[0], expected)
"""


@needs_fork
@pytest.mark.parametrize(("parent", "threads"), [(2, None), (1, 2)])
def test_after_a_fork(parent, threads):
    run_python(FORK.format(parent=parent, threads=threads))


def test_data_loader_workers_may_run_a_module():
    run_python("""
import torch
import fastlstm.torch

class Encoded(torch.utils.data.Dataset):
    def __init__(self):
        self.lstm = fastlstm.torch.LSTM(4, 5)
        self.lstm(torch.zeros(6, 1, 4))

    def __len__(self):
        return 4

    def __getitem__(self, index):
        with torch.no_grad():
            return self.lstm(torch.full((6, 4), float(index)))[0]

if __name__ == "__main__":
    data = Encoded()
    loaded = torch.cat(list(torch.utils.data.DataLoader(data, num_workers=1)))
    assert torch.equal(loaded, torch.stack([data[k] for k in range(4)]))
""")
