"""A character model trained on the sources of Python's standard library, to the same bits on every machine.

Sizes and rates are those of examples/train_text, and the text is read as there. What that leaves to NumPy's BLAS and
exponential, whose last bits are the machine's own, is done here by layers of the package: the linear layer is an LSTM
whose gates are nailed, e^x is sigmoid(x) / sigmoid(-x), and sums have an order.
"""

from __future__ import annotations

import decimal
import functools
import hashlib
import math
from typing import Any

import numpy as np
from train_text import adam, corpus
from train_text.corpus import ALPHABET, Numbers
from train_text.model import EMBEDDING
from train_text.training import ROWS, STEPS

import fastlstm

from .ablations import Adam, Parameters
from .gates import OPEN, SHUT, Array
from .weights import drawn, spread

CHARACTERS = len(ALPHABET)


class TextError(Exception):
    """The sources of this Python's library are not those that a study was made with."""


#: Modules that are the same, letter for letter, from Python 3.11 to 3.13.
TRAINING_MODULES = (
    "_compression",
    "_markupbase",
    "_py_abc",
    "_threading_local",
    "_weakrefset",
    "__future__",
    "difflib",
    "heapq",
    "optparse",
    "tracemalloc",
)
HELD_OUT_MODULES = ("graphlib", "pyclbr", "string", "weakref")


def source(modules: tuple[str, ...], digest: str) -> Numbers:
    """Read modules of the standard library, whose text has to have this digest."""
    text = corpus.read(modules)
    if corpus.digest(text) != digest:
        raise TextError(f"the sources of {', '.join(modules)} are not those of Python 3.11 to 3.13; run it with one")
    return text


def exponential(x: Array) -> Array:
    """Return e^x for x <= 0."""
    made: Array = fastlstm.sigmoid(x) / fastlstm.sigmoid(-x)
    return made


def probabilities(logits: Array) -> Array:
    """Return the softmax of [N, V] over V, added up from the first to the last."""
    powers = exponential(logits - logits.max(axis=1, keepdims=True))
    total = functools.reduce(np.add, powers.T)
    made: Array = powers / total[:, np.newaxis]
    return made


def nats(shares: Array) -> float:
    """Return the mean of -log p: correctly rounded logarithms, which no libm has a say in."""
    with decimal.localcontext(decimal.Context(prec=20)):
        return -math.fsum(float(decimal.Decimal(share).ln()) for share in shares.ravel().tolist()) / shares.size


def fingerprint(weights: dict[str, Parameters]) -> str:
    """Return the same digits for the same weights, to the bit."""
    made = hashlib.sha256()
    for part in weights.values():
        for array in part.values():
            made.update(array.astype("<f4").tobytes())
    return made.hexdigest()[:16]


class Net:
    """An embedding, an LSTM, and a linear layer."""

    def __init__(self, H: int, candidate: str, seed: int) -> None:
        rng = np.random.default_rng([seed, 5])
        self.weights: dict[str, Parameters] = {
            "embedding": {"weight": spread(rng, (CHARACTERS, EMBEDDING), math.sqrt(3)).astype(np.float32)},
            "layer": drawn(EMBEDDING, H, 1.0, seed, np.float32),
            "head": {
                "weight": spread(rng, (CHARACTERS, H), 1 / math.sqrt(H)).astype(np.float32),
                "bias": np.zeros(CHARACTERS, np.float32),
            },
        }
        self.layer = fastlstm.LSTM(EMBEDDING, H, form=fastlstm.Form(candidate=candidate))
        self.head = fastlstm.LSTM(H, CHARACTERS, form=fastlstm.Form(candidate="affine", cell="affine"))
        self._head_weights = {name: np.zeros_like(array) for name, array in self.head.state_dict().items()}
        gates = self._head_weights["bias_ih_l0"].reshape(4, CHARACTERS)
        gates[0], gates[1], gates[3] = OPEN, SHUT, OPEN
        self.use()

    def use(self) -> None:
        """Take the weights as they are now."""
        candidate = slice(2 * CHARACTERS, 3 * CHARACTERS)
        self._head_weights["weight_ih_l0"][candidate] = self.weights["head"]["weight"]
        self._head_weights["bias_ih_l0"][candidate] = self.weights["head"]["bias"]
        self.layer.load_state_dict(self.weights["layer"])
        self.head.load_state_dict(self._head_weights)

    def embed(self, text: Numbers) -> Array:
        """Return what the LSTM reads."""
        return self.weights["embedding"]["weight"][text]

    def loss(self, text: Numbers) -> float:
        """Return nats a character over a text that is read from its beginning."""
        logits = self.head(self.layer(self.embed(text[:-1, np.newaxis]))[0])[0][:, 0]
        return nats(probabilities(logits)[np.arange(len(text) - 1), text[1:]])

    def gradients(self, given: Numbers, coming: Numbers, before: Any) -> tuple[dict[str, Parameters], Any]:
        """Go forward and backward over a chunk, [T, B]; return gradients of the mean loss, and the states after it."""
        h, after, tape = self.layer.forward(self.embed(given), before)
        logits, _, head_tape = self.head.forward(h)
        error = probabilities(logits.reshape(-1, CHARACTERS))
        error[np.arange(len(error)), coming.ravel()] -= 1
        error /= np.float32(len(error))
        head = self.head.backward(head_tape, error.reshape(logits.shape))
        layer = self.layer.backward(tape, head.input)
        embedding = np.zeros_like(self.weights["embedding"]["weight"])
        np.add.at(embedding, given, layer.input)
        candidate = slice(2 * CHARACTERS, 3 * CHARACTERS)
        return {
            "embedding": {"weight": embedding},
            "layer": layer.parameters,
            "head": {
                "weight": head.parameters["weight_ih_l0"][candidate],
                "bias": head.parameters["bias_ih_l0"][candidate],
            },
        }, after


def trained(text: Numbers, H: int, candidate: str, steps: int, seed: int, T: int = STEPS, B: int = ROWS) -> Net:
    """Train by truncated backpropagation, as train_text does: B readers, T characters at a time."""
    net, rng = Net(H, candidate, seed), np.random.default_rng([seed, 6])
    optimiser, taken = Adam(net.weights, adam.RATE), 0
    while taken < steps:
        reading = corpus.Pass(text, B, T, int(rng.integers(T)))
        states = None
        for chunk in range(min(reading.chunks, steps - taken)):
            gradients, states = net.gradients(*reading.chunk(chunk), states)
            optimiser.step(net.weights, gradients)
            net.use()
            taken += 1
    return net
