"""The model's HDF5 file -> state_dicts with torch's names.

The two LSTM layers were trained with Keras's CuDNNLSTM. Its files look like those of Keras's LSTM, except that the bias
is twice as long, and mean something else: read as if they were plain, they give a model that babbles.
"""

from __future__ import annotations

import importlib
import io
import json
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from . import fetch

Floats = npt.NDArray[np.floating[Any]]
Singles = npt.NDArray[np.float32]
StateDict = dict[str, Singles]


class WeightsError(Exception):
    """The file does not hold what it should; the message names the part, what was expected and what came."""


@dataclass(frozen=True)
class Weights:
    """All parameters of the text model. V characters and the padding, E = 100, H = 128, C = E + H + H."""

    embedding: Singles  # (V + 1, E); row 0 is the padding
    lstm_1: StateDict  # E -> H
    lstm_2: StateDict  # H -> H
    attention: Singles  # (C,)
    dense: Singles  # (C, V + 1)
    dense_bias: Singles  # (V + 1,)
    vocabulary: Mapping[str, int]  # character -> 1..V; "<s>" begins and ends a text


def cudnn_to_torch(kernel: Singles, recurrent_kernel: Singles, bias: Singles) -> StateDict:
    """Turn the three arrays of a CuDNNLSTM layer into the four of a torch.nn.LSTM layer.

    The file says kernel (I, 4H), recurrent_kernel (H, 4H), bias (8H); along the last axis the gates stand in the order
    i, f, g, o, which is torch's. But CuDNN takes one flat buffer per gate and reads it row by row as (H, I), and Keras
    only poured its (I, H) block into that buffer, without transposing it. So the block is not the transpose of the
    gate's matrix: it holds the matrix's own numbers in their own order, under the wrong shape. The bias is CuDNN's two:
    the first 4H beside the input product, the last 4H beside the recurrent one.
    """
    size = recurrent_kernel.shape[0]
    _expect("recurrent_kernel", recurrent_kernel, (size, 4 * size))
    _expect("kernel", kernel, (kernel.shape[0], 4 * size))
    if bias.shape == (4 * size,):
        raise WeightsError(f"bias has shape {bias.shape}: this is a plain Keras LSTM, not CuDNN's, which has (8H,).")
    _expect("bias", bias, (8 * size,))

    def gates(blocks: Singles) -> Singles:
        return np.concatenate([block.reshape(size, -1) for block in np.split(blocks, 4, axis=1)])

    return {
        "weight_ih_l0": gates(kernel),
        "weight_hh_l0": gates(recurrent_kernel),
        "bias_ih_l0": bias[: 4 * size].copy(),
        "bias_hh_l0": bias[4 * size :].copy(),
    }


def published() -> Weights:
    """Return the published model's weights, fetched if need be.

    Raises
    ------
    fetch.FetchError
        If it is not in the cache and could not be fetched.
    """
    archive = fetch.fetch()
    return load_weights(*(fetch.read_member(archive, name) for name in (fetch.WEIGHTS_MEMBER, fetch.VOCABULARY_MEMBER)))


def load_weights(hdf5: bytes, vocabulary_json: bytes) -> Weights:
    """Read the model's two files; the shapes are checked against each other."""
    h5py: Any = importlib.import_module("h5py")
    vocabulary: dict[str, int] = json.loads(vocabulary_json)
    with h5py.File(io.BytesIO(hdf5), "r") as file:

        def array(name: str) -> Singles:
            if name not in file:
                raise WeightsError(f"{name} is not in the weights file.")
            return np.ascontiguousarray(file[name][()], dtype=np.float32)

        def lstm(name: str) -> StateDict:
            parts = [array(f"{name}/{name}/{part}:0") for part in ("kernel", "recurrent_kernel", "bias")]
            return cudnn_to_torch(*parts)

        weights = Weights(
            embedding=array("embedding/embedding/embeddings:0"),
            lstm_1=lstm("rnn_1"),
            lstm_2=lstm("rnn_2"),
            attention=array("attention/attention/attention_W:0").ravel(),
            dense=array("output/output/kernel:0"),
            dense_bias=array("output/output/bias:0"),
            vocabulary=vocabulary,
        )
    characters, embedding_size = weights.embedding.shape
    hidden_1, hidden_2 = (layer["weight_hh_l0"].shape[1] for layer in (weights.lstm_1, weights.lstm_2))
    channels = embedding_size + hidden_1 + hidden_2
    _expect("rnn_1 kernel", weights.lstm_1["weight_ih_l0"], (4 * hidden_1, embedding_size))
    _expect("rnn_2 kernel", weights.lstm_2["weight_ih_l0"], (4 * hidden_2, hidden_1))
    _expect("attention", weights.attention, (channels,))
    _expect("output kernel", weights.dense, (channels, characters))
    _expect("output bias", weights.dense_bias, (characters,))
    if sorted(vocabulary.values()) != list(range(1, characters)):
        raise WeightsError(f"the vocabulary does not number its characters 1..{characters - 1}.")
    return weights


def _expect(name: str, array: Singles, shape: tuple[int, ...]) -> None:
    if array.shape != shape:
        raise WeightsError(f"{name}: expected shape {shape}, got {array.shape}.")
