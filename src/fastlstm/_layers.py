"""Where pickles of 0.1.0 before its release look for `LSTM`."""

from ._lstm import LSTM as LSTM
