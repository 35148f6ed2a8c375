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

from dataclasses import dataclass, field, replace

import numpy as np

from tests.cases import SPEED_BATCH, SPEED_SEQUENCE, SPEED_STEP, SPEED_TRAINING, Array, Case, make_data, make_gradients

__all__ = ["ACTIVATIONS", "BATCHES", "CROWDED", "LENGTHS", "SEQUENCES", "STEPS", "TINY_STEPS", "TRAININGS"]
__all__ += ["ADAPTER", "CELL_LOOPS", "LOOKED_AT", "MODELS", "PACKED", "REPACKED"]
__all__ += ["ADVANCED", "BOTH_WAYS", "STACKS", "TOKENS", "VOCABULARY", "ZEROS", "ZEROS_SEQUENCE"]
__all__ += ["COMPANIES", "PUBLIC", "SESSIONS", "WINDOWS", "companies"]
__all__ += ["CHECKED_STEPS", "GRADIENTS", "LEARNING_RATE", "TRAINED_STEPS", "Array", "Case", "Data", "Work", "make"]

STEPS, SEQUENCES, BATCHES, TRAININGS = SPEED_STEP, SPEED_SEQUENCE, SPEED_BATCH, SPEED_TRAINING
# Python's own cost shows best where the arithmetic is next to nothing.
TINY_STEPS = (Case("step-h8", T=1, B=1, I=8, H=8), SPEED_STEP[0])
CROWDED = tuple(case for case in SPEED_SEQUENCE if case.H in {64, 128, 256})
LENGTHS = Case("lengths-h128", T=200, B=32, I=128, H=128)
MODELS = tuple(Case(f"model-b{b}-h{n}", T=50, B=b, I=n, H=n, num_layers=2) for b in (32, 1) for n in (64, 256, 512))
REPACKED = next(case for case in MODELS if case.B == 32 and case.H == 256)
PACKED = tuple(Case(f"packed-h{n}", T=100, B=32, I=n, H=n, ragged=True) for n in (64, 128, 256))
CELL_LOOPS = tuple(Case(f"cells-h{n}", T=50, B=1, I=n, H=n) for n in (32, 64, 128, 256))
LOOKED_AT = tuple(Case(f"look-h{n}", T=50, B=1, I=n, H=n) for n in (64, 128, 256, 512, 1024))
ADAPTER = Case("adapter-h32", T=1, B=1, I=32, H=32)
BOTH_WAYS = Case("both-ways-h256", T=50, B=16, I=256, H=256, num_layers=2, bidirectional=True)
STACKS = tuple(Case(f"stack-{layers}x256", T=100, B=1, I=256, H=256, num_layers=layers) for layers in (2, 3, 6))
ADVANCED = tuple(
    Case(f"advance-{layers}x{n}", T=1, B=1, I=n, H=n, num_layers=layers) for layers, n in ((1, 64), (2, 128))
)
# Each with the same layer on a single input, which shows what of the time is not the input's part.
ZEROS = Case("zeros-h128", T=1, B=1, I=128, H=128), Case("zeros-i1", T=1, B=1, I=1, H=128)
ZEROS_SEQUENCE = Case("zeros-t100", T=100, B=1, I=128, H=128), Case("zeros-t100-i1", T=100, B=1, I=1, H=128)
# The first layer, and both, of the character model of the demo.
TOKENS = tuple(Case(f"tokens-{n}x128", T=40, B=1, I=100, H=128, num_layers=n) for n in (1, 2))
VOCABULARY = 465
# B is how many are in a call.
SESSIONS = tuple(Case(f"sessions-b{b}-h{n}", T=1, B=b, I=n, H=n) for n, b in ((32, 64), (128, 64), (256, 64)))
SESSIONS += tuple(Case(f"sessions-b{b}-h128", T=1, B=b, I=128, H=128) for b in (8, 512))
# T is the length of the window.
WINDOWS = tuple(
    Case(f"window-{layers}x{n}", T=length, B=1, I=n, H=n, num_layers=layers)
    for layers, n, length in ((1, 64, 20), (2, 128, 50), (3, 256, 100))
)
# All but the first are those that makers of FPGA accelerators publish latencies of.
PUBLIC = tuple(
    Case(f"public-{layers}x{n}", T=1, B=1, I=n, H=n, num_layers=layers)
    for layers, n in ((1, 64), (2, 128), (3, 256), (3, 480), (6, 320), (3, 960))
)
# Both fit the L1 cache together with their results. Their difference is free of the cost of a call.
ACTIVATIONS = (Case("activation-2048", T=1, B=1, I=2048, H=1), Case("activation-512", T=1, B=1, I=512, H=1))

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
class Work:
    """One thing to run: a case, the way to run it, how many threads may work, and how the matrices are stored.

    What is stored in fewer bytes than float32 has the same right answer, and a bound of its own for how far it may be
    from it: `truth.BOUNDS` has the names.
    """

    kind: str
    case: Case
    threads: int = 1
    weights: str = "float32"

    def __str__(self) -> str:
        """Name the work in messages."""
        return f"{self.kind} {self.case.name}" + (f" {self.weights}" if self.weights != "float32" else "")


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
    data = make_data(case, "float32")
    # torch refuses to pack an empty row.
    lengths = np.full(case.B, case.T) if data.lengths is None else np.maximum(data.lengths, 1)
    grad_output = NO_GRADIENT
    if work.kind in {"training", "repack", "model_training"}:
        grad_output, *_ = make_gradients(case, "float32")
    made = Data(data.input, data.state_dict, lengths.astype(np.int64), grad_output)
    return _special(work.kind, case, made)


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
