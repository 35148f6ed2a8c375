"""What is run: a `Work` names it, and `make` gives every contender the same weights and inputs.

Every process makes its arrays itself, from the seed that is the case's name, so nothing large has to travel.
The kinds, which the contenders tell apart:

- ``sequence``: the whole input of the case in one call, from zero states; ``lengths``: the same with unequal lengths;
- ``step``: one step with a new output; ``step_out``: into a given one; ``step_cell``: with states in and out;
  ``step_c``: ours without Python; ``step_advanced``: with the time between two inputs in use; ``step_both``: all of it;
- ``step_zeros``, ``sequence_zeros``: most inputs are exactly 0, in C or in one call; ``sequence_dense``: the same rows
  among others without zeros; ``step_unlooked``, ``sequence_unlooked``: dense inputs, but one weight is infinite, so
  that zeros are not looked for;
- ``tokens``, ``tokens_step``: rows of an embedding, in one call or one by one; ``tokens_table``, ``tokens_step_table``:
  from a table instead;
- ``step_call``: one step as a call of the layer with states in and out, which threads can share;
- ``sessions``: one step of some of the open sessions, in another company every time; ``sessions_alone``: ours, each by
  itself; ``sessions_layer``: torch's with nn.LSTM in place of LSTMCell;
- ``window``: the next input of a sliding window as long as the case; ``window_advanced``: the same, with the time
  between two inputs in use; ``window_again``: the whole window computed again;
- ``training``: the whole input forward, then backward: the gradients of the input and of all parameters;
- ``repack``: only the taking in of new weights, as after each step of an optimizer; its answer is that of ``training``;
- ``model``: a module of torch's under no_grad, on a PackedSequence if the case is ragged; ``model_training``: forward,
  loss, backward, SGD: the gradients of the parameters in each of `TRAINED_STEPS`; ``model_cells``: an LSTMCell in a
  loop; ``model_repack``: one row's first step after an optimizer's, its answer that of ``model`` after other weights;
- ``sigmoid``, ``tanh``: as many elements as the case has inputs;
- ``fma``, ``read``: the limits of the machine for the case.
"""

import zlib
from dataclasses import dataclass, field, replace
from typing import Any, TypeAlias

import numpy as np
from numpy.typing import NDArray

Array: TypeAlias = NDArray[Any]

VOCABULARY = 465
# A step is checked over this many steps, so that the state which it carries is checked too.
CHECKED_STEPS = 4
# Calls until every session had a turn, so that most of them are away from any one call.
COMPANIES = 4
# Of 128 inputs 96, as in the LSTM of a detector of speech.
ZERO_SHARE = 0.75
# Rows without zeros beside one with many.
COMPANY = 16
NO_GRADIENT = np.zeros(0, np.float32)
# Two, so that what the second one computes shows whether it saw what the first one's optimizer did to the weights; and
# a rate at which it did something, without a loss that grows.
TRAINED_STEPS = 2
LEARNING_RATE = 1e-5
# In this order every contender gives its gradients, one after the other in one flat array.
GRADIENTS = ("input", "weight_ih_l0", "weight_hh_l0", "bias_ih_l0", "bias_hh_l0")


@dataclass(frozen=True)
class Case:
    """An LSTM and the size of what it gets; the name seeds its numbers."""

    name: str
    T: int
    B: int
    I: int
    H: int
    num_layers: int = 1
    bidirectional: bool = False
    ragged: bool = False
    """Rows of unequal lengths: 1, T and whatever falls between, unsorted."""
    file: str = ""
    """An npz of the weights, under torch's names; random ones without it."""
    family: str = ""
    title: str = ""
    """What people call it."""
    source: str = ""
    """Where its sizes are from."""

    @property
    def directions(self) -> int:
        """D."""
        return 2 if self.bidirectional else 1

    @property
    def suffixes(self) -> list[list[str]]:
        """What torch's names end in: of each layer, the directions'."""
        return [[f"_l{layer}", f"_l{layer}_reverse"][: self.directions] for layer in range(self.num_layers)]

    @property
    def config(self) -> dict[str, Any]:
        """The options of `fastlstm.LSTM` and `torch.nn.LSTM`."""
        return {"num_layers": self.num_layers, "bidirectional": self.bidirectional}

    def weight_shapes(self) -> dict[str, tuple[int, ...]]:
        """Return torch's names, in torch's order, with their shapes."""
        shapes: dict[str, tuple[int, ...]] = {}
        for layer, ways in enumerate(self.suffixes):
            inputs = self.I if layer == 0 else self.H * self.directions
            for suffix in ways:
                shapes |= {f"weight_ih{suffix}": (4 * self.H, inputs), f"weight_hh{suffix}": (4 * self.H, self.H)}
                shapes |= {f"bias_ih{suffix}": (4 * self.H,), f"bias_hh{suffix}": (4 * self.H,)}
        return shapes


@dataclass(frozen=True)
class Work:
    """One thing to run: a case, the way to run it, how many threads may work, and how the matrices are stored.

    What is stored in fewer bytes than float32 has the same right answer, and a bound of its own for how far it may be
    from it: `truth.BOUNDS` has the names.
    """

    kind: str
    case: Case
    threads: int = 1
    weights: str = "float32"
    form: str = ""
    """Which of a contender's ways to do it; empty for the one that it has, or the usual one."""

    def __str__(self) -> str:
        """Name the work in messages."""
        more = (self.form, "" if self.weights == "float32" else self.weights)
        return " ".join([self.kind, self.case.name, *filter(None, more)])


@dataclass(frozen=True)
class Data:
    """The arrays of a work.

    Attributes
    ----------
    x : ndarray of float32, shape (T, B, I), or (n,) for an activation
        The input.
    weights : dict of str to ndarray of float32
        The parameters under torch's names.
    lengths : ndarray of int64, shape (B,)
        Valid steps of each row: T, except for the kind "lengths" and ragged cases.
    grad_output : ndarray of float32, shape (T, B, H)
        Where the backward pass starts: the gradient with respect to the output. For "model_training" what the output
        should be: the loss is the sum of the squared differences. Empty for kinds that only go forward.
    embedding, ids : ndarray of float32, shape (V, I), and of int64, shape (T, B)
        For tokens: the input is ``embedding[ids]``. Empty otherwise.
    """

    x: Array
    weights: dict[str, Array]
    lengths: Array
    grad_output: Array
    embedding: Array = field(default_factory=lambda: NO_GRADIENT)
    ids: Array = field(default_factory=lambda: np.zeros(0, np.int64))


def companies(case: Case) -> Array:
    """Say which sessions are stepped together: (CHECKED_STEPS * COMPANIES, B), indices for one call after another.

    The first `COMPANIES` calls are everyone's first step, the next their second, and so on. Companies change, lest a
    session that got another's state kept it for good.
    """
    everyone = np.tile(np.arange(COMPANIES * case.B), (CHECKED_STEPS, 1))
    return np.random.default_rng(case.B).permuted(everyone, axis=1).reshape(-1, case.B)


def make(work: Work) -> Data:
    """Make the arrays of a work: the same ones in every process."""
    case = work.case
    if work.kind in {"sigmoid", "tanh"}:
        # A spread of 2.5 reaches both the steep and the flat parts, as gates do.
        x = 2.5 * np.random.default_rng(case.I).standard_normal(case.I)
        return Data(x.astype(np.float32), {}, np.zeros(0, np.int64), NO_GRADIENT)
    if work.kind.startswith(("step", "tokens_step")):
        case = replace(case, T=CHECKED_STEPS)
    if work.kind.startswith("sessions"):
        case = replace(case, T=CHECKED_STEPS, B=COMPANIES * case.B)
    if work.kind.startswith("window"):
        case = replace(case, T=case.T + CHECKED_STEPS - 1)
    if work.kind == "lengths":
        case = replace(case, ragged=True)
    rng = np.random.default_rng(zlib.crc32(case.name.encode()))
    bound = 1 / np.sqrt(case.H)
    weights = {name: _rounded(rng.uniform(-bound, bound, shape)) for name, shape in case.weight_shapes().items()}
    if case.file:
        with np.load(case.file) as given:
            weights = {name: given[name] for name in weights}
    x = _rounded(rng.standard_normal((case.T, case.B, case.I)))
    lengths = np.full(case.B, case.T)
    if case.ragged:  # torch refuses to pack an empty row
        lengths = rng.integers(1, case.T, case.B, endpoint=True)
        lengths[:2] = [1, case.T][: case.B]
        lengths = rng.permutation(lengths)
    grad_output = NO_GRADIENT
    if work.kind in {"training", "repack", "model_training"}:
        grad_output = _rounded(rng.standard_normal((case.T, case.B, case.H * case.directions)))
    made = Data(x, weights, lengths.astype(np.int64), grad_output)
    return _special(work.kind, case, made)


def _rounded(array: Array) -> Array:
    return array.astype(np.float32)


def _special(kind: str, case: Case, data: Data) -> Data:
    """Give some kinds what makes them special: zeros, an infinite weight, tokens."""
    rng = np.random.default_rng(case.I)
    if kind in {"step_zeros", "sequence_zeros", "sequence_dense"}:
        zeros = rng.permuted(np.broadcast_to(np.arange(case.I) < ZERO_SHARE * case.I, data.x.shape), axis=-1)
        return replace(data, x=np.where(zeros, np.float32(0), data.x))
    if kind.endswith("_unlooked"):
        weights = {name: array.copy() for name, array in data.weights.items()}
        # The first input gate is open, not shut: shut, its cell would fade into subnormal numbers, which are slow.
        weights["weight_ih_l0"][0, 0] = np.copysign(np.inf, data.x[0, 0, 0])
        return replace(data, weights=weights)
    if kind.startswith("tokens"):
        embedding = rng.standard_normal((VOCABULARY, case.I)).astype(np.float32)
        ids = rng.integers(0, VOCABULARY, (case.T, case.B))
        return replace(data, x=embedding[ids], embedding=embedding, ids=ids)
    return data
