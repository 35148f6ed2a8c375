"""Run the tests of fastlstm.keras with every backend: Keras reads its name once, when it is imported."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

from tests.keras.support import BACKEND
from tests.support import ROOT

HERE = Path(__file__).parent


@pytest.mark.parametrize("backend", ["numpy", "torch", "jax"])
def test_backend(backend):
    if backend not in ("numpy", BACKEND):
        pytest.importorskip(backend, reason=f"pip install {backend}")
    files = [str(path) for path in sorted(HERE.glob("test_*.py")) if path != Path(__file__)]
    command = [sys.executable, "-m", "pytest", "-q", "-x", "-p", "no:cacheprovider", *files]
    environment = os.environ | {"KERAS_BACKEND": backend}
    result = subprocess.run(command, env=environment, cwd=ROOT, capture_output=True, text=True, check=False)
    assert result.returncode == 0, result.stdout[-4000:] + result.stderr[-4000:]


@pytest.mark.parametrize(
    ("missing", "message"),
    [
        ("keras", "fastlstm.keras needs keras: pip install keras"),
        ("keras.src", "fastlstm.keras needs keras, whose own import fails: "),
    ],
)
def test_without_keras_or_a_part_of_it_the_error_says_so(missing, message):
    script = (
        f"import sys; sys.modules[{missing!r}] = None\n"
        "try:\n    import fastlstm.keras\n"
        f"except ImportError as error:\n    assert str(error).startswith({message!r}), error\n"
        "    assert 'KERAS_BACKEND' in error.__notes__[0]\n"
        "else:\n    raise AssertionError('imported')"
    )
    subprocess.run([sys.executable, "-c", script], check=True)


def test_a_backend_that_is_not_supported_runs_on_keras():
    pytest.importorskip("tensorflow", reason="pip install tensorflow-cpu")
    script = (
        "import numpy as np, keras, fastlstm.keras\n"
        "layer = fastlstm.keras.LSTM(3)\n"
        "assert layer(np.ones((2, 7, 4), 'float32')).shape == (2, 3)\n"
        "assert layer.fallback == 'the tensorflow backend', layer.fallback"
    )
    subprocess.run([sys.executable, "-c", script], check=True, env=os.environ | {"KERAS_BACKEND": "tensorflow"})
