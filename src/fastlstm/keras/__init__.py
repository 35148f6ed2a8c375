"""A Keras 3 layer that computes with fastlstm: `LSTM`, where `keras.layers.LSTM` stood; `accelerate` for whole models.

`trace` runs a model once and keeps the gates of its LSTMs.

Needs Keras 3 and a backend that is installed: ``pip install keras torch``, and ``KERAS_BACKEND=torch``.
"""

try:
    import keras as _keras
except ModuleNotFoundError as _error:
    from .._extras import missing as _missing

    _told = _missing("keras", "fastlstm.keras", _error)
    _told.add_note("KERAS_BACKEND=torch, jax or numpy chooses the backend; Keras's own choice is tensorflow")
    raise _told from _error

if int(_keras.__version__.partition(".")[0]) < 3:
    raise ImportError(f'fastlstm.keras needs Keras 3, found {_keras.__version__}: pip install "keras>=3.12"')

from ._accelerate import accelerate
from ._layer import LSTM
from ._trace import trace

__all__ = ["LSTM", "accelerate", "trace"]
