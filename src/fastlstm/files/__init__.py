"""Weights from files: what is in one, a layer out of it, a layer into one.

>>> import fastlstm, os, tempfile
>>> lstm = fastlstm.LSTM(4, 3, seed=0)
>>> with tempfile.TemporaryDirectory() as folder:
...     path = os.path.join(folder, "lstm.npz")
...     fastlstm.save(lstm, path)
...     fastlstm.load(path)
LSTM(4, 3)
"""

from ._layer import Layer, Layers
from ._load import AssumptionWarning, inspect, load
from ._save import save

__all__ = ["AssumptionWarning", "Layer", "Layers", "inspect", "load", "save"]
