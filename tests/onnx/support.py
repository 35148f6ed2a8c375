"""What the tests of fastlstm.onnx share: random nodes, the operator's text in float64, and onnxruntime."""

import re
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import pytest
from numpy.typing import DTypeLike

from tests.cases import Array

onnx: Any = pytest.importorskip("onnx", reason="pip install onnx")
INPUTS = ("X", "W", "R", "B", "sequence_lens", "initial_h", "initial_c", "P")

# what each activation is of x, alpha and beta, as the operator's text has it; then its defaults
ACTIVATIONS: dict[str, tuple[Callable[[Array, float, float], Array], tuple[float, ...]]] = {
    "Sigmoid": (lambda x, a, b: 1 / (1 + np.exp(-x)), ()),
    "Tanh": (lambda x, a, b: np.tanh(x), ()),
    "Relu": (lambda x, a, b: np.maximum(x, 0), ()),
    "Affine": (lambda x, a, b: a * x + b, (1.0, 0.0)),
    "LeakyRelu": (lambda x, a, b: np.where(x >= 0, x, a * x), (0.01,)),
    "ThresholdedRelu": (lambda x, a, b: np.where(x >= a, x, 0), (1.0,)),
    "ScaledTanh": (lambda x, a, b: a * np.tanh(b * x), (1.0, 1.0)),
    "HardSigmoid": (lambda x, a, b: np.clip(a * x + b, 0, 1), (0.2, 0.5)),
    "Elu": (lambda x, a, b: np.where(x >= 0, x, a * np.expm1(x)), (1.0,)),
    "Softsign": (lambda x, a, b: x / (1 + np.abs(x)), ()),
    "Softplus": (lambda x, a, b: np.logaddexp(0, x), ()),
}
NAMES = {re.sub(r"(?<!^)([A-Z])", r"_\1", name).lower(): name for name in ACTIVATIONS}  # by fastlstm's
ONNXRUNTIME_DEFAULTS = {"Affine": (0.0, 0.0), "ScaledTanh": (0.0, 0.0), "ThresholdedRelu": (0.0,)}


@dataclass(frozen=True)
class Drawn:
    """A random node with inputs that fit it."""

    inputs: tuple[Array | None, ...]
    attributes: dict[str, Any] = field(default_factory=dict)

    def node(self, outputs: tuple[str, ...] = ("Y", "Y_h", "Y_c")) -> Any:
        """Return the NodeProto."""
        names = [name if value is not None else "" for name, value in zip(INPUTS, self.inputs, strict=True)]
        while not names[-1]:
            names.pop()
        return onnx.helper.make_node("LSTM", names, outputs, name="drawn", **self.attributes)

    def model(self, opset: int = 22, constant: tuple[str, ...] = ()) -> Any:
        """Return a model of this node alone; some of its inputs as initializers, the others as inputs."""
        h = onnx.helper
        given = {name: value for name, value in zip(INPUTS, self.inputs, strict=True) if value is not None}
        kind = h.np_dtype_to_tensor_dtype(given["X"].dtype)
        inputs = [
            h.make_tensor_value_info(name, h.np_dtype_to_tensor_dtype(value.dtype), [None] * value.ndim)
            for name, value in given.items()
            if name not in constant
        ]
        ranks = {"Y": 4, "Y_h": 3, "Y_c": 3}
        outputs = [h.make_tensor_value_info(name, kind, [None] * rank) for name, rank in ranks.items()]
        tensors = [onnx.numpy_helper.from_array(given[name], name) for name in constant if name in given]
        graph = h.make_graph([self.node()], "drawn", inputs, outputs, tensors)
        return h.make_model(graph, opset_imports=[h.make_opsetid("", opset)], ir_version=8)

    def feeds(self, constant: tuple[str, ...] = ()) -> dict[str, Array]:
        """Return the inputs of `model`, by name."""
        pairs = zip(INPUTS, self.inputs, strict=True)
        return {name: value for name, value in pairs if value is not None and name not in constant}


def draw(
    seed: int,
    T: int = 5,
    B: int = 3,
    I: int = 4,
    H: int = 6,
    *,
    dtype: DTypeLike = "float32",
    bias: bool = True,
    lengths: bool = False,
    states: bool = False,
    peepholes: bool = False,
    **attributes: Any,
) -> Drawn:
    """Draw a node and its inputs: the same for every call with the same arguments."""
    rng = np.random.default_rng(seed)
    D = 2 if attributes.get("direction") == "bidirectional" else 1
    rows_first = attributes.get("layout", 0) == 1

    def normal(*shape: int, scale: float = 1.0) -> Array:
        return (scale * rng.standard_normal(shape)).astype(dtype)

    scale = 1 / np.sqrt(H)
    X = normal(B, T, I) if rows_first else normal(T, B, I)
    W, R = normal(D, 4 * H, I, scale=scale), normal(D, 4 * H, H, scale=scale)
    b, P = normal(D, 8 * H, scale=scale), normal(D, 3 * H, scale=scale)
    shape = (B, D, H) if rows_first else (D, B, H)
    h, c = normal(*shape), normal(*shape)
    steps = rng.integers(1, max(T, 1), B, endpoint=True).astype(np.int32) if T else np.zeros(B, np.int32)
    inputs = (
        *(X, W, R, b if bias else None),
        *(steps if lengths else None, h if states else None, c if states else None, P if peepholes else None),
    )
    return Drawn(inputs, {"hidden_size": H} | attributes)


def operator(drawn: Drawn, clip_at: str = "activations", zeros: bool = False, onnxruntime: bool = False) -> list[Array]:
    """Compute Y, Y_h, Y_c in float64, row by row and step by step, as the operator's text says it."""
    a = drawn.attributes
    X, W, R, B, lengths, h_0, c_0, P = (None if value is None else value.astype(np.float64) for value in drawn.inputs)
    assert X is not None
    assert W is not None
    assert R is not None
    if a.get("layout", 0) == 1:
        X, h_0, c_0 = (None if value is None else value.swapaxes(0, 1) for value in (X, h_0, c_0))
    D, H, (T, n_rows, _) = W.shape[0], R.shape[2], X.shape
    limit = np.float32(a.get("clip", np.inf))
    functions = _functions(a, D, onnxruntime)
    Y, Y_h, Y_c = np.zeros((T, D, n_rows, H)), np.zeros((D, n_rows, H)), np.zeros((D, n_rows, H))

    def clipped(x: Array, *places: str) -> Array:
        return np.clip(x, -limit, limit) if clip_at in places else x

    for d in range(D):
        f, g, hidden = functions[d]
        w, r = W[d], R[d]
        bias = np.zeros(4 * H) if B is None else B[d][: 4 * H] + B[d][4 * H :]
        p_i, p_o, p_f = np.zeros((3, H)) if P is None else P[d].reshape(3, H)
        for row in range(n_rows):
            n = T if lengths is None else int(lengths[row])
            h = np.zeros(H) if h_0 is None else h_0[d, row]
            c = np.zeros(H) if c_0 is None else c_0[d, row]
            backwards = a.get("direction") == "reverse" or d == 1
            for t in reversed(range(n)) if backwards else range(n):
                z_i, z_o, z_f, z_c = (w @ X[t, row] + r @ h + bias).reshape(4, H)
                i = f(clipped(z_i + p_i * c, "activations", "gates"))
                forget = 1 - i if a.get("input_forget") else f(clipped(z_f + p_f * c, "activations", "gates"))
                c = clipped(forget * c + i * g(clipped(z_c, "activations", "gates")), "state")
                o = f(clipped(z_o + p_o * c, "activations", "gates"))
                h = o * hidden(clipped(c, "activations"))
                Y[t, d, row] = h
            if n or not zeros:
                Y_h[d, row], Y_c[d, row] = h, c
    if a.get("layout", 0) == 1:
        return [Y.transpose(2, 0, 1, 3), Y_h.swapaxes(0, 1), Y_c.swapaxes(0, 1)]
    return [Y, Y_h, Y_c]


def _functions(attributes: dict[str, Any], D: int, onnxruntime: bool) -> list[list[Callable[[Array], Array]]]:
    """Return the functions f, g, h of each direction, with their parameters taken in order."""
    alphas, betas = (iter(np.float32(attributes.get(f"activation_{name}", ()))) for name in ("alpha", "beta"))
    made: list[Callable[[Array], Array]] = []
    for name in attributes.get("activations", ["Sigmoid", "Tanh", "Tanh"] * D):
        key = next(key for key in ACTIVATIONS if key.lower() == name.lower())
        function, defaults = ACTIVATIONS[key]
        if onnxruntime:
            defaults = ONNXRUNTIME_DEFAULTS.get(key, defaults)
        given = [float(next(values, default)) for values, default in zip((alphas, betas), defaults, strict=False)]
        a, b = (*given, 0.0, 0.0)[:2]
        made.append(lambda x, function=function, a=a, b=b: function(x, a, b))
    return [made[3 * d : 3 * d + 3] for d in range(D)]


def run_onnxruntime(model: Any, feeds: dict[str, Array], outputs: list[str] | None = None) -> list[Array]:
    """Run a model in onnxruntime, on one thread."""
    runtime: Any = pytest.importorskip("onnxruntime", reason="pip install onnxruntime")
    options = runtime.SessionOptions()
    options.intra_op_num_threads = options.inter_op_num_threads = 1
    options.log_severity_level = 3
    session = runtime.InferenceSession(model.SerializeToString(), options, providers=["CPUExecutionProvider"])
    return list(session.run(outputs, feeds))
