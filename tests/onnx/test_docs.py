"""fastlstm.onnx: the examples in its docstrings, and what it says without onnx."""

import doctest
import importlib
import pkgutil

import pytest

import fastlstm.onnx
from tests.onnx.support import onnx  # noqa: F401  skips without it
from tests.support import run_python

MODULES = ["fastlstm.onnx", *(name for _, name, _ in pkgutil.iter_modules(fastlstm.onnx.__path__, "fastlstm.onnx."))]


@pytest.mark.parametrize("name", MODULES)
def test_examples_in_docstrings(name: str) -> None:
    assert doctest.testmod(importlib.import_module(name)).failed == 0


def test_everything_public_is_documented() -> None:
    for name in fastlstm.onnx.__all__:
        thing = getattr(fastlstm.onnx, name)
        assert any(test.examples for test in doctest.DocTestFinder().find(thing)), name


@pytest.mark.parametrize(
    ("before", "message"),
    [
        ("sys.modules['onnx'] = None", "fastlstm.onnx needs onnx: pip install onnx"),
        ("import onnx; onnx.__version__ = '1.18.0'", "fastlstm.onnx needs onnx 1.19 or later, found 1.18.0"),
    ],
)
def test_without_onnx_or_with_an_old_one(before: str, message: str) -> None:
    script = f"""
import sys
{before}
try:
    import fastlstm.onnx
except ImportError as error:
    print(error)
"""
    assert run_python(script).strip() == message
