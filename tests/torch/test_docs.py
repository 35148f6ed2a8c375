"""The docstrings of fastlstm.torch: their examples run; and so does examples/torch_switch.py."""

import copy
import doctest
import importlib
import pkgutil
import runpy

import pytest

from tests.support import ROOT, run_python
from tests.torch.support import import_torch

torch = import_torch()

import fastlstm.torch as fast  # noqa: E402  torch first

MODULES = [fast.__name__, *(name for _, name, _ in pkgutil.iter_modules(fast.__path__, "fastlstm.torch."))]


@pytest.mark.filterwarnings("ignore:.*LeafSpec:FutureWarning")  # torch.export's, about itself
@pytest.mark.parametrize("name", MODULES)
def test_examples_in_docstrings(name):
    assert doctest.testmod(importlib.import_module(name)).failed == 0


def test_everything_public_has_an_example():
    for name in fast.__all__:
        if name != "Accelerated":  # what accelerate returns, whose example shows it
            assert any(test.examples for test in doctest.DocTestFinder().find(getattr(fast, name), name)), name


def test_the_example():
    example = runpy.run_path(str(ROOT / "examples" / "torch_switch.py"))
    plain = example["Tagger"]()
    ours = copy.deepcopy(plain)
    assert fast.accelerate(ours).swapped == ["lstm"]
    example["check"](plain, ours)
    assert ours.lstm.fallback is None
    assert example["measure"]({"torch": plain, "fastlstm": ours}, rounds=1).keys() == example["jobs"]().keys()


def test_the_example_notices_a_model_that_differs():
    example = runpy.run_path(str(ROOT / "examples" / "torch_switch.py"))
    plain = example["Tagger"]()
    with pytest.raises(AssertionError):
        example["check"](plain, example["Tagger"]())


@pytest.mark.parametrize(
    ("before", "message"),
    [
        ("sys.modules['torch'] = None", "fastlstm.torch needs torch: pip install torch"),
        ("import torch; torch.__version__ = '2.3.1+cpu'", "fastlstm.torch needs torch 2.4 or later, found 2.3.1+cpu"),
    ],
)
def test_without_torch_or_with_an_old_one(before, message):
    script = f"""
import sys
{before}
try:
    import fastlstm.torch
except ImportError as error:
    print(error)
"""
    assert run_python(script).strip() == message
