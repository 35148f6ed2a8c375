"""What is run: a `Work` names it, and `make` gives every contender the same weights and inputs.

Every process makes its arrays itself, from the seed that is the case's name, so nothing large has to travel.
The kinds, which the contenders tell apart:

- ``sequence``: the whole input of the case in one call, from zero states; ``lengths``: the same with unequal lengths;
- ``step``: one step with a new output; ``step_out``: into a given one; ``step_cell``: with states in and out;
  ``step_c``: ours without Python;
- ``training``: the whole input forward, then backward: the gradients of the input and of all parameters;
- ``repack``: only the taking in of new weights, as after each step of an optimizer; its answer is that of ``training``;
- ``sigmoid``, ``tanh``: as many elements as the case has inputs;
- ``fma``, ``read``: the limits of the machine for the case.
"""

from dataclasses import dataclass, replace

import numpy as np

from tests.cases import SPEED_BATCH, SPEED_SEQUENCE, SPEED_STEP, SPEED_TRAINING, Array, Case, make_data, make_gradients

__all__ = ["ACTIVATIONS", "BATCHES", "CROWDED", "LENGTHS", "SEQUENCES", "STEPS", "TINY_STEPS", "TRAININGS"]
__all__ += ["GRADIENTS", "Array", "Case", "Data", "Work", "make"]

STEPS, SEQUENCES, BATCHES, TRAININGS = SPEED_STEP, SPEED_SEQUENCE, SPEED_BATCH, SPEED_TRAINING
# Python's own cost shows best where the arithmetic is next to nothing.
TINY_STEPS = (Case("step-h8", T=1, B=1, I=8, H=8), SPEED_STEP[0])
CROWDED = tuple(case for case in SPEED_SEQUENCE if case.H in {64, 128, 256})
LENGTHS = Case("lengths-h128", T=200, B=32, I=128, H=128)
# Both fit the L1 cache together with their results. Their difference is free of the cost of a call.
ACTIVATIONS = (Case("activation-2048", T=1, B=1, I=2048, H=1), Case("activation-512", T=1, B=1, I=512, H=1))

# A step is checked over this many steps, so that the state which it carries is checked too.
CHECKED_STEPS = 4
NO_GRADIENT = np.zeros(0, np.float32)
# In this order every contender gives its gradients, one after the other in one flat array.
GRADIENTS = ("input", "weight_ih_l0", "weight_hh_l0", "bias_ih_l0", "bias_hh_l0")


@dataclass(frozen=True)
class Work:
    """One thing to run: a case, the way to run it, and how many threads may work."""

    kind: str
    case: Case
    threads: int = 1

    def __str__(self) -> str:
        """Name the work in messages."""
        return f"{self.kind} {self.case.name}"


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
        Valid steps of each row: T, except for the kind "lengths".
    grad_output : ndarray of float32, shape (T, B, H)
        Where the backward pass starts: the gradient with respect to the output. Empty for kinds that only go forward.
    """

    x: Array
    weights: dict[str, Array]
    lengths: Array
    grad_output: Array


def make(work: Work) -> Data:
    """Make the arrays of a work: the same ones in every process.

    Parameters
    ----------
    work : Work
        What will be run.

    Returns
    -------
    Data
        Its input, weights, lengths and gradient.
    """
    case = work.case
    if work.kind in {"sigmoid", "tanh"}:
        # A spread of 2.5 reaches both the steep and the flat parts, as gates do.
        x = 2.5 * np.random.default_rng(case.I).standard_normal(case.I)
        return Data(x.astype(np.float32), {}, np.zeros(0, np.int64), NO_GRADIENT)
    if work.kind.startswith("step"):
        case = replace(case, T=CHECKED_STEPS)
    if work.kind == "lengths":
        case = replace(case, ragged=True)
    data = make_data(case, "float32")
    # torch refuses to pack an empty row.
    lengths = np.full(case.B, case.T) if data.lengths is None else np.maximum(data.lengths, 1)
    grad_output = NO_GRADIENT
    if work.kind in {"training", "repack"}:
        grad_output, *_ = make_gradients(case, "float32")
    return Data(data.input, data.state_dict, lengths.astype(np.int64), grad_output)
