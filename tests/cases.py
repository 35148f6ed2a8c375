"""Named shapes, seeded data for them, and the one table of tolerances. Shared by the tests and by the benchmarks.

Letters as everywhere: T steps, B rows, I inputs, H hidden units, P projected units (0: none), R = P or H.
"""

import zlib
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, DTypeLike, NDArray

Array = NDArray[Any]


@dataclass(frozen=True)
class Case:
    """One LSTM and the input it gets. The name says what the case exercises, and seeds its data."""

    name: str
    T: int
    B: int
    I: int
    H: int
    P: int = 0
    num_layers: int = 1
    bidirectional: bool = False
    bias: bool = True
    batch_first: bool = False
    ragged: bool = False
    """Rows of unequal lengths: 0, T and whatever falls between, unsorted."""
    resets: bool = False
    """About every fourth state is reset, among them those of row 0 at step 0 and half-way."""
    dropout: float = 0.0
    """Share of what goes up from each layer but the last that is zeroed, by masks that `Data` holds."""
    scale: float = 1.0
    """Multiplies torch's initial range of the weights; from about 10 on most gates are saturated."""
    form: Any = None
    """A `fastlstm.Form`, or None: the standard cell."""

    @property
    def R(self) -> int:  # noqa: N802  the letter of the shapes
        """Size of h and of the output of one direction."""
        return self.P or self.H

    @property
    def directions(self) -> int:
        """Number of directions, D."""
        return 2 if self.bidirectional else 1

    @property
    def config(self) -> dict[str, Any]:
        """The options that `fastlstm.LSTM`, `reference.lstm_forward` and, but for the form, `torch.nn.LSTM` share."""
        form = {} if self.form is None else {"form": self.form}
        options = {"num_layers": self.num_layers, "bidirectional": self.bidirectional, "batch_first": self.batch_first}
        return options | form

    def weight_shapes(self) -> dict[str, tuple[int, ...]]:
        """Return torch's state_dict names, in torch's order, with their shapes."""
        shapes: dict[str, tuple[int, ...]] = {}
        for layer in range(self.num_layers):
            n_in = self.I if layer == 0 else self.R * self.directions
            for suffix in (f"_l{layer}", f"_l{layer}_reverse")[: self.directions]:
                shapes[f"weight_ih{suffix}"] = (4 * self.H, n_in)
                shapes[f"weight_hh{suffix}"] = (4 * self.H, self.R)
                if self.form is not None and self.form.peepholes:
                    shapes[f"weight_ph{suffix}"] = (3 * self.H,)
                if self.bias:
                    shapes[f"bias_ih{suffix}"] = (4 * self.H,)
                    shapes[f"bias_hh{suffix}"] = (4 * self.H,)
                if self.P:
                    shapes[f"weight_hr{suffix}"] = (self.P, self.H)
        return shapes


@dataclass(frozen=True)
class Data:
    """Everything one call needs. The shapes are those of the case, `batch_first` included."""

    input: Array
    h_0: Array
    c_0: Array
    state_dict: dict[str, Array]
    lengths: Array | None
    resets: Array | None
    dropout_masks: list[Array] | None = None

    @property
    def hx(self) -> tuple[Array, Array]:
        """The initial states as torch takes them."""
        return self.h_0, self.c_0

    def astype(self, dtype: DTypeLike) -> "Data":
        """Return the same values in another dtype; to float64 this is exact."""
        weights = {name: array.astype(dtype) for name, array in self.state_dict.items()}
        states = self.h_0.astype(dtype), self.c_0.astype(dtype)
        masks = None if self.dropout_masks is None else [mask.astype(dtype) for mask in self.dropout_masks]
        return Data(self.input.astype(dtype), *states, weights, self.lengths, self.resets, masks)


def make_data(case: Case, dtype: DTypeLike) -> Data:
    """Draw weights, input and states of a case: the same numbers every time, rounded to `dtype`.

    Parameters
    ----------
    case : Case
        Its name seeds the generator.
    dtype : dtype
        float32 or float64. The float64 values use all their bits, so that code which rounds them to float32 on its way
        is found out; to compare a float32 result with float64 arithmetic use
        ``make_data(case, "float32").astype("float64")``.

    Returns
    -------
    Data
        Weights from U(-1/sqrt(H), 1/sqrt(H)) as torch draws them, times `case.scale`; input and c_0 from N(0, 1); h_0
        from U(-1, 1), where every output of an LSTM without projection lies.
    """
    rng = np.random.default_rng(zlib.crc32(case.name.encode()))
    bound = case.scale / np.sqrt(case.H)
    state_dict = {name: rng.uniform(-bound, bound, shape) for name, shape in case.weight_shapes().items()}
    n_states = case.num_layers * case.directions
    h_0 = rng.uniform(-1, 1, (n_states, case.B, case.R))
    c_0 = rng.standard_normal((n_states, case.B, case.H))
    x = rng.standard_normal((case.T, case.B, case.I))
    lengths = resets = None
    if case.ragged:
        lengths = rng.integers(0, case.T, case.B, endpoint=True)
        lengths[:2] = [0, case.T][: case.B]
        lengths = rng.permutation(lengths)
    if case.resets:
        resets = rng.random((case.T, case.B)) < 0.25
        resets[[0, case.T // 2], 0] = True
    masks = None
    if case.dropout:
        shape = (case.num_layers - 1, *output_shape(case))
        masks = list((rng.random(shape) >= case.dropout) / (1 - case.dropout))
    if case.batch_first:
        x = np.ascontiguousarray(x.swapaxes(0, 1))
        resets = None if resets is None else np.ascontiguousarray(resets.T)
    return Data(x, h_0, c_0, state_dict, lengths, resets, masks).astype(dtype)


def output_shape(case: Case) -> tuple[int, int, int]:
    """Return the shape of a case's output, and of its dropout masks."""
    rows = (case.B, case.T) if case.batch_first else (case.T, case.B)
    return (*rows, case.R * case.directions)


def make_gradients(case: Case, dtype: DTypeLike) -> tuple[Array, Array, Array]:
    """Draw the gradients that a backward pass starts from: of output, h_n and c_n, from N(0, 1), always the same."""
    rng = np.random.default_rng(zlib.crc32(f"gradients of {case.name}".encode()))
    n_states = case.num_layers * case.directions
    shapes = output_shape(case), (n_states, case.B, case.R), (n_states, case.B, case.H)
    grad_output, grad_h_n, grad_c_n = (rng.standard_normal(shape).astype(dtype) for shape in shapes)
    return grad_output, grad_h_n, grad_c_n


# 1 is the least; 7, 8, 9 and so on lie around the widths of SIMD registers and of packed blocks; 257 is past 256.
ODD_SIZES = (1, 3, 7, 8, 9, 17, 25, 33, 100, 257)

# One step of one layer: every odd size once as hidden units, once as inputs, once as rows.
CELLS = (
    *(Case(f"cell-h{n}", T=1, B=2, I=5, H=n) for n in ODD_SIZES),
    *(Case(f"cell-i{n}", T=1, B=2, I=n, H=6) for n in ODD_SIZES),
    *(Case(f"cell-b{n}", T=1, B=n, I=5, H=6) for n in ODD_SIZES),
    Case("cell-no-bias", T=1, B=3, I=5, H=9, bias=False),
)

# Each option alone, then together with the others.
LAYERS = (
    Case("plain", T=7, B=3, I=5, H=9),
    Case("one-of-each", T=1, B=1, I=1, H=1),
    Case("no-steps", T=0, B=3, I=5, H=9),
    Case("no-rows", T=7, B=0, I=5, H=9),
    Case("no-bias", T=7, B=3, I=5, H=9, bias=False),
    Case("batch-first", T=7, B=3, I=5, H=9, batch_first=True),
    Case("many-steps", T=300, B=2, I=5, H=17),
    Case("many-units", T=20, B=2, I=33, H=257),
    Case("projection", T=7, B=3, I=5, H=9, P=4),
    Case("projection-to-one", T=7, B=3, I=5, H=9, P=1),
    Case("two-layers", T=7, B=3, I=5, H=9, num_layers=2),
    Case("three-layers", T=7, B=3, I=5, H=9, num_layers=3),
    Case("bidirectional", T=7, B=3, I=5, H=9, bidirectional=True),
    Case("two-layers-bidirectional", T=7, B=3, I=5, H=9, num_layers=2, bidirectional=True),
    Case("two-layers-projection", T=7, B=3, I=5, H=9, P=4, num_layers=2),
    Case("two-layers-bidirectional-no-bias", T=7, B=3, I=5, H=9, num_layers=2, bidirectional=True, bias=False),
    Case("everything", T=8, B=5, I=7, H=10, P=3, num_layers=2, bidirectional=True, batch_first=True, ragged=True),
    Case("ragged", T=7, B=6, I=5, H=9, ragged=True),
    Case("ragged-batch-first", T=7, B=6, I=5, H=9, ragged=True, batch_first=True),
    Case("ragged-projection", T=7, B=6, I=5, H=9, P=4, ragged=True),
    Case("ragged-two-layers-bidirectional", T=7, B=6, I=5, H=9, num_layers=2, bidirectional=True, ragged=True),
    Case("resets", T=12, B=3, I=5, H=9, resets=True),
    Case("resets-two-layers-projection", T=12, B=3, I=5, H=9, P=4, num_layers=2, resets=True),
    Case("resets-ragged-batch-first", T=12, B=6, I=5, H=9, num_layers=2, resets=True, ragged=True, batch_first=True),
)

# Dropout between the layers, in training only: the forward pass that keeps what the backward pass needs, and that one.
DROPOUT = (
    Case("dropout", T=7, B=3, I=5, H=9, num_layers=2, dropout=0.5),
    Case("dropout-three-layers-batch-first", T=7, B=3, I=5, H=9, num_layers=3, dropout=0.2, batch_first=True),
    Case("dropout-bidirectional-projection", T=7, B=3, I=5, H=9, P=4, num_layers=2, bidirectional=True, dropout=0.5),
    Case("dropout-ragged", T=7, B=6, I=5, H=9, num_layers=2, bidirectional=True, ragged=True, dropout=0.5),
    Case("dropout-resets-ragged", T=12, B=6, I=5, H=9, num_layers=3, resets=True, ragged=True, dropout=0.5),
)


def find(name: str) -> Case:
    """Return the case of a layer of this name."""
    return next(case for case in LAYERS + DROPOUT if case.name == name)


# Few steps, no projection: with weights this large the recurrence is chaotic and would amplify every rounding, right or
# wrong; a projection would leave h unbounded on top.
SATURATED = (
    *(Case(f"saturated-h{n}", T=1, B=3, I=n, H=n, scale=30.0) for n in (1, 9, 100)),
    Case("saturated-layer", T=3, B=3, I=5, H=9, scale=30.0),
    Case("saturated-bidirectional", T=3, B=3, I=5, H=9, bidirectional=True, scale=30.0),
)

# What the benchmarks time, with as many inputs as units: a stream that steps, a sequence alone, a batch.
SPEED_STEP = tuple(Case(f"step-h{n}", T=1, B=1, I=n, H=n) for n in (32, 64, 128, 256, 512))
SPEED_SEQUENCE = tuple(Case(f"sequence-h{n}", T=100, B=1, I=n, H=n) for n in (32, 64, 128, 256, 512, 1024))
SPEED_BATCH = tuple(Case(f"batch-h{n}", T=50, B=32, I=n, H=n) for n in (64, 128, 256, 512, 1024))
SPEED = SPEED_STEP + SPEED_SEQUENCE + SPEED_BATCH
# And what they time forward and backward: batches, one sequence alone, a large batch.
SPEED_TRAINING = (
    *(Case(f"training-h{n}", T=50, B=32, I=n, H=n) for n in (64, 128, 256, 512)),
    Case("training-alone-h128", T=100, B=1, I=128, H=128),
    Case("training-b128-h256", T=50, B=128, I=256, H=256),
)


@dataclass(frozen=True)
class Tolerance:
    """Bound on |actual - expected| / (1 + |expected|), element by element, for results of either dtype."""

    float32: float
    float64: float
    reason: str


# Each bound is two to three times the largest error measured, over 9 to 200 draws of each case (one draw of the largest
# SPEED cases): it leaves room for another CPU, libm or BLAS, and still catches a wrong term in a sum. Errors are
# divided by 1 + |expected|: about absolute for h, in -1..1 but for projections, and relative for large cells.
TOLERANCES: dict[str, Tolerance] = {
    "hand-computed": Tolerance(
        1.2e-7, 2e-16, "One unit has four products and two activations to round: measured 4.0e-8 and 6.6e-17."
    ),
    "sigmoid": Tolerance(
        2.4e-7, 2.5e-16, "Quotient of a result and its exact value, hence relative: measured 1.2e-7 and 1.1e-16."
    ),
    "forward": Tolerance(
        1.5e-6, 3.5e-15, "CELLS and LAYERS against the float64 reference: off by up to 8.6e-7 and 1.2e-15."
    ),
    "forward, wide": Tolerance(
        1.2e-6, 4e-15, "Sums of up to 2048 terms, and gates in a row: off by up to 3.9e-7 and 1.5e-15."
    ),
    "forward, saturated": Tolerance(
        4e-5,
        2e-13,
        "SATURATED, sums 30 times larger: NumPy's reference in float32 is off by 1.5e-5, the kernels by 2.8e-6.",
    ),
    "regrouped": Tolerance(
        2.5e-7, 5e-16, "The same step in another batch: BLAS may add in another order: measured 9.5e-8 and 2.1e-16."
    ),
    "torch": Tolerance(
        2e-6, 4e-15, "CELLS and LAYERS, two results that each round on their own: measured 9.0e-7 and 1.7e-15."
    ),
    "torch, saturated": Tolerance(
        3e-5, 1e-13, "SATURATED, two results that each round large sums on their own: measured 1.1e-5 and 3.5e-14."
    ),
    "times torch's": Tolerance(
        1.3, float("nan"), "Errors of weights' gradients over torch's, which sums otherwise on AVX2: up to 1.11 there."
    ),
    "rms of torch's": Tolerance(
        1.1, float("nan"), "Errors of outputs over torch's, from 256 units on: both round sums in pieces or blocks."
    ),
    "torch, trained": Tolerance(
        7e-7, float("nan"), "Losses of 100 steps of Adam, in one process and in two: measured 2.6e-7, two ulps."
    ),
    "torch, reinforcement": Tolerance(
        6e-7, float("nan"), "Losses and parameters after 24 steps of Adam on rollouts of one's own: measured 2.4e-7."
    ),
    "torch, published": Tolerance(
        1.5e-5, float("nan"), "Trained layers, two or three deep, gates that amplify: measured 5.9e-6, on random names."
    ),
    "gradients, torch, published": Tolerance(
        2e-5, float("nan"), "Trained layers, 160 steps three deep and back: measured 9.1e-6, of the largest element."
    ),
    "golden": Tolerance(
        2.2e-7, 4e-16, "Stored torch results of at most 8 inputs and 4 units: measured 8.7e-8 and 1.4e-16."
    ),
    "onnx": Tolerance(
        6e-7, 1.2e-15, "Nodes of few units: the operator's text in float64, and onnxruntime: 2.3e-7 and 4.9e-16."
    ),
    "onnx, activations": Tolerance(
        4e-6, 8e-15, "Unbounded activations, as gates too: later steps multiply what one rounds: 1.3e-6 and 2.8e-15."
    ),
    "onnx, wide": Tolerance(
        6e-6, float("nan"), "A published model, 128 units, 20 steps: two results that each round: measured 2.6e-6."
    ),
    "gradients, wide": Tolerance(
        3.5e-6,
        6e-15,
        "SPEED_TRAINING, sums over up to 6400 rows, parameters by their largest: 1.3e-6, torch 1.6e-6, 2.5e-15.",
    ),
    "files, published": Tolerance(
        3e-5, float("nan"), "Published layers of large weights on noise, against float64 and torch: measured 1.2e-5."
    ),
    "files": Tolerance(
        2e-7, float("nan"), "Small layers of Keras and cells of Flax, which round on their own: measured 6.9e-8."
    ),
    "gates": Tolerance(
        6e-7, 1.2e-15, "Pre-activations given, so no sums: three activations and their products, 2.3e-7 and 4.9e-16."
    ),
    "gates, backward": Tolerance(
        1.2e-6, 2.2e-15, "Gates and cells given: products of up to four and one tanh, measured 4.7e-7 and 8.8e-16."
    ),
    "gradients, sums": Tolerance(
        1.4e-6, float("nan"), "Norm of a weight gradient's error, over that of the gradient: measured 5.7e-7."
    ),
    "bytes of a tape": Tolerance(
        0.04, float("nan"), "What is documented says about: states, padding, tables are up to 3.4 %, half of it here."
    ),
    "gradients, hand-computed": Tolerance(
        5e-8, 3.5e-16, "One unit, eight products to round for each dx: measured 2.1e-8 and 1.4e-16."
    ),
    "gradients, differences": Tolerance(
        float("nan"), 3e-11, "Differences of float64 results over steps of 5e-4: measured 1.2e-11. Useless in float32."
    ),
    "gradients": Tolerance(
        2e-6,
        1e-14,
        "CELLS, LAYERS, DROPOUT against the float64 reference: float32 NumPy is off by 8.4e-7, torch by 4.3e-15.",
    ),
    "gradients, saturated": Tolerance(
        1.2e-4,
        2.5e-13,
        "SATURATED, weights 30 times larger on the way back too: NumPy is off by 5.0e-5, torch by 1.1e-13.",
    ),
    "gradients, regrouped": Tolerance(
        6e-7, 1.7e-15, "The same gradients in another batch or in pieces, summed in another order: 2.5e-7 and 7.0e-16."
    ),
    "gradients, golden": Tolerance(
        5e-7, 7e-16, "Stored torch gradients of at most 8 inputs and 4 units: measured 2.0e-7 and 2.7e-16."
    ),
    "gradients, torch": Tolerance(
        2.5e-6, 1e-14, "CELLS, LAYERS, DROPOUT, two results that each round on their own: measured 1.1e-6 and 4.3e-15."
    ),
    "forms": Tolerance(
        4.5e-7, 1e-15, "FORM_CASES in the forms against the float64 reference: off by 1.9e-7 and 4.4e-16."
    ),
    "forms, gradients": Tolerance(
        1e-6, 2e-15, "FORM_CASES in the forms, against the float64 reference: measured 4.4e-7 and 8.0e-16."
    ),
    "forms, growing": Tolerance(
        5e-6, 1e-14, "The same in forms that bound neither gates nor cells, forward and back: 1.8e-6 and 2.9e-15."
    ),
    "forms, onnxruntime": Tolerance(
        1.2e-6, float("nan"), "onnxruntime has its own exp and log, and sums in its own order: measured 5.6e-7."
    ),
    "gradients, torch, saturated": Tolerance(
        1.2e-4, 2.5e-13, "SATURATED, two results that each round large sums on their own: measured 4.6e-5 and 1.1e-13."
    ),
    "keras": Tolerance(
        1.3e-6, 1e-7, "Small layers against Keras: measured 5.2e-7; Keras's float64 is rounded to float32: 4.0e-8."
    ),
    "keras, trained": Tolerance(
        2.5e-7, float("nan"), "Losses of 12 steps and predictions after them: measured 4.1e-8; an ulp is 1.2e-7."
    ),
    "gradients, keras": Tolerance(
        6e-7, 3e-7, "Small layers, every activation: measured 2.5e-7; in float64 Keras rounds to float32: 1.1e-7."
    ),
    "service": Tolerance(
        1e-5, float("nan"), "Probabilities of silero-vad, a bound users were told: measured 1.9e-6 on recorded speech."
    ),
    "service, resampled": Tolerance(
        float("nan"), 1.5e-4, "A tone of 8000 counts, cut off to whole ones before: one is 1.2e-4; measured 6.3e-5."
    ),
}

# Bounds in ULP, a unit of the exact result's last place (of the smallest normal number for results below it). What the
# docstrings promise: proofs/activations.py tries every float32; float64 is sampled, by the square of as many.
ULPS: dict[str, Tolerance] = {
    "sigmoid": Tolerance(
        1.75, 2.0, "csrc/kernels/activations.h: float32 measured over all inputs; float64 1.69, sampled."
    ),
    "tanh": Tolerance(
        2.0, 2.25, "csrc/kernels/activations.h: float32 measured over all inputs; float64 2.09, sampled."
    ),
    "one rounding": Tolerance(0.5, 0.5, "csrc/kernels/forms.h: alpha x, or alpha x + beta, fused."),
    "scaled_tanh": Tolerance(3.5, 3.5, "csrc/kernels/forms.h: tanh between two products: 3.38 and 3.26, sampled."),
    "elu": Tolerance(2.25, 2.25, "csrc/kernels/forms.h: 1.59 and 2.00, sampled."),
    "softsign": Tolerance(
        1.6, 1.6, "csrc/kernels/forms.h: a sum and a quotient: 1.49 and 1.48, sampled; 1.5 at the most."
    ),
    "softplus": Tolerance(2.75, 2.75, "csrc/kernels/forms.h: 2.5 and 2.58, sampled."),
}


@dataclass(frozen=True)
class Resource:
    """Bound on what a process takes, in the unit of its name."""

    most: float
    reason: str


RESOURCES: dict[str, Resource] = {
    "steps, bytes": Resource(
        2 << 20, "Growth over 10^5 steps of a pool or a window: measured 0; a lost 64-byte block a step is 6 MB."
    ),
    "idle, CPU seconds": Resource(
        0.02, "What a process takes while it sleeps 0.3 s: measured 0.0002; one worker that spins takes 0.3."
    ),
    "service, MiB": Resource(4, "Growth over the second half of a load test of 20 seconds: measured below 1."),
    "soak, bytes": Resource(
        4 << 20, "Growth over the second half of a run: the allocator's own; a lost 64-byte block a call is 30 MB."
    ),
}


def assert_close(actual: ArrayLike, expected: ArrayLike, tolerance: str) -> None:
    """Raise AssertionError unless `actual` is `expected` within ``TOLERANCES[tolerance]``; NaN equals NaN.

    Parameters
    ----------
    actual : array_like of float32 or float64, any shape
        Its dtype chooses the column of the table.
    expected : array_like, shape of `actual`
        May be of the wider dtype.
    tolerance : str
        Key of `TOLERANCES`.
    """
    actual, expected = np.asarray(actual), np.asarray(expected)
    assert actual.shape == expected.shape, f"expected shape {expected.shape}, got {actual.shape}"
    entry = TOLERANCES[tolerance]
    bound = {"float32": entry.float32, "float64": entry.float64}[actual.dtype.name]
    np.testing.assert_allclose(actual, expected, rtol=bound, atol=bound, err_msg=f"{tolerance}: {entry.reason}")


def assert_gradients_close(actual: Mapping[str, Array], expected: Mapping[str, Array], tolerance: str) -> None:
    """Compare gradients name by name, as `assert_close`; those of weights and biases in units of the largest element.

    They are sums over steps and rows: the rounding of a sum is that of its largest terms, also where they cancel.
    """
    assert set(actual) == set(expected)
    for name, gradient in actual.items():
        assert np.shape(gradient) == np.shape(expected[name]), name
        is_sum = name.startswith(("weight", "bias"))
        unit = max(1.0, float(np.max(np.abs(expected[name]), initial=0))) if is_sum else 1.0
        try:
            assert_close(gradient / unit, expected[name] / unit, tolerance)
        except AssertionError as error:
            raise AssertionError(f"gradient of {name}: {error}") from None
