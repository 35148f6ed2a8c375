"""A Keras 3 layer that computes with fastlstm: `LSTM`, where `keras.layers.LSTM` stood; `accelerate` for whole models.

Needs Keras: ``pip install "fastlstm[keras]"``.
"""

try:
    import keras
except ImportError as error:
    raise ImportError('fastlstm.keras needs Keras 3 and a backend: pip install "fastlstm[keras]"') from error

if int(keras.__version__.partition(".")[0]) < 3:
    raise ImportError(f'fastlstm.keras needs Keras 3, got: {keras.__version__}. pip install "fastlstm[keras]"')

from ._accelerate import accelerate
from ._layer import LSTM

__all__ = ["LSTM", "accelerate"]
