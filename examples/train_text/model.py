"""The model and its gradients: everything around the LSTM, in NumPy.

    character -> embedding x -> LSTM -> h -> logits = V h + b -> softmax: probabilities of the next character

The loss is the mean of -log(probability of the character that came), in nats. Backwards, each line undoes one:

    dlogits = (probabilities - 1 at the character that came) / (T B)
    dV, db, dh = dlogits^T h, sum of dlogits, dlogits V
    dx and the LSTM's own      fastlstm.LSTM.backward
    dembedding                 each dx added to the row of its character
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

import fastlstm

from .corpus import ALPHABET, Numbers

Array = npt.NDArray[np.float32]
Parameters = dict[str, Array]
States = tuple[Array, Array]

EMBEDDING = 32
_LSTM = "lstm."  # begins the names of the LSTM's parameters


def initial(hidden: int, rng: np.random.Generator) -> Parameters:
    """Draw a model's parameters."""
    bound = 1 / np.sqrt(hidden)
    lstm = fastlstm.LSTM(EMBEDDING, hidden, seed=int(rng.integers(2**32)))
    return {
        "embedding": rng.standard_normal((len(ALPHABET), EMBEDDING)).astype(np.float32),
        "output.weight": rng.uniform(-bound, bound, (len(ALPHABET), hidden)).astype(np.float32),
        "output.bias": np.zeros(len(ALPHABET), np.float32),
    } | {_LSTM + name: array.copy() for name, array in lstm.state_dict().items()}


def no_state(hidden: int, rows: int) -> States:
    """Return the states of readers who have read nothing."""
    return np.zeros((1, rows, hidden), np.float32), np.zeros((1, rows, hidden), np.float32)


class Model:
    """The model; it reads `parameters` and does not change them."""

    def __init__(self, parameters: Parameters, threads: int = 1) -> None:
        self.lstm = fastlstm.LSTM(EMBEDDING, parameters["output.weight"].shape[1], threads=threads)
        self.use(parameters)

    def use(self, parameters: Parameters) -> None:
        """Take new parameters."""
        self.parameters = parameters
        self.lstm.load_state_dict(
            {name.removeprefix(_LSTM): array for name, array in parameters.items() if name.startswith(_LSTM)}
        )

    def logits(self, h: Array) -> Array:
        """Turn outputs of the LSTM, [N, H], into logits, [N, V]."""
        result: Array = h @ self.parameters["output.weight"].T + self.parameters["output.bias"]
        return result

    def loss(self, given: Numbers, coming: Numbers) -> float:
        """Return the loss over a text that is read from its beginning, [T, B], without gradients."""
        h, _ = self.lstm(self.parameters["embedding"][given])
        return _cross_entropy(self.logits(h.reshape(-1, h.shape[-1])), coming)[0]

    def gradients(self, given: Numbers, coming: Numbers, before: States) -> tuple[float, Parameters, States]:
        """Go forward and backward over a chunk, [T, B]; return loss, gradients and the states after it."""
        h, after, tape = self.lstm.forward(self.parameters["embedding"][given], before)
        flat = h.reshape(-1, h.shape[-1])  # N,H
        loss, dlogits = _cross_entropy(self.logits(flat), coming)
        dh = (dlogits @ self.parameters["output.weight"]).reshape(h.shape)
        assert tape is not None  # there is one unless train=False
        lstm = self.lstm.backward(tape, dh)
        dembedding = np.zeros_like(self.parameters["embedding"])
        np.add.at(dembedding, given, lstm.input)
        gradients = {"embedding": dembedding, "output.weight": dlogits.T @ flat, "output.bias": dlogits.sum(axis=0)}
        return loss, gradients | {_LSTM + name: array for name, array in lstm.parameters.items()}, after


def _cross_entropy(logits: Array, coming: Numbers) -> tuple[float, Array]:
    """Return the mean of -log softmax(logits)[coming], and its gradient."""
    places = np.arange(len(logits)), coming.ravel()
    shifted = logits - logits.max(axis=1, keepdims=True)  # no overflow
    powers = np.exp(shifted)
    total = powers.sum(axis=1, keepdims=True)
    loss = float((np.log(total[:, 0]) - shifted[places]).mean(dtype=np.float64))
    gradient = powers / total
    gradient[places] -= 1
    gradient /= np.float32(len(logits))
    return loss, gradient
