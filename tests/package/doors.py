"""What every door of fastlstm gives for the same models and inputs: rows of data/frozen_bits.txt, as hashes.

    python -m tests.package.doors DOOR

prints a line for each row and dtype that the door has: the row, the dtype, the hash. A process for each door, since
Keras reads KERAS_BACKEND once.
"""

import json
import sys
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np

import fastlstm
from tests.frozen_bits import (
    DTYPES,
    GRAD_C,
    GRAD_H,
    GRAD_OUTPUT,
    KINDS,
    Array,
    Row,
    arguments,
    digest,
    layer_of,
    numbers,
    table,
)

#: Rows that every door can have: one layer, in one direction and in both, from a state.
NAMES = (
    "forward I=9 H=33 T=6 B=5 hx=1",
    "forward I=9 H=33 D=2 T=6 B=5 hx=1",
    "backward I=9 H=33 T=6 B=5 hx=1",
    "backward I=9 H=33 D=2 T=6 B=5 hx=1",
)
PARAMETERS = ("weight_ih", "weight_hh", "bias_ih")


def rows() -> list[Row]:
    """Find the rows in the table."""
    return [row for row in table() if row.name in NAMES]


def suffixes(row: Row) -> tuple[str, ...]:
    """Return how the names of a row's parameters end, one direction after the other."""
    return ("_l0", "_l0_reverse")[: row["D"]]


def gradients_of(results: tuple[Any, ...], dtype: str) -> list[Array]:
    """Return the numbers that come in as gradients of output, h_n and c_n."""
    streams = zip((GRAD_OUTPUT, GRAD_H, GRAD_C), results, strict=True)
    return [numbers(stream, tuple(result.shape), dtype, "plain") for stream, result in streams]


# ---- the doors: what frozen_bits.forward and .backward yield, each in its way


def numpy(row: Row, dtype: str) -> Iterator[Array]:
    """`fastlstm.LSTM`."""
    yield from KINDS[row.kind](row, dtype, fastlstm.isa())


def torch(row: Row, dtype: str, swap: bool = False) -> Iterator[Array]:
    """`fastlstm.torch.LSTM`."""
    import torch

    import fastlstm.torch

    kind = torch.nn.LSTM if swap else fastlstm.torch.LSTM
    lstm = kind(row["I"], row["H"], bidirectional=row["D"] == 2, dtype=getattr(torch, dtype))
    given = layer_of(row, dtype, fastlstm.isa()).state_dict()
    lstm.load_state_dict({name: torch.from_numpy(array.copy()) for name, array in given.items()})
    if swap:
        assert fastlstm.torch.accelerate(lstm) is not None
    assert isinstance(lstm, fastlstm.torch.LSTM)
    x, more = arguments(row, dtype)
    tensors = [torch.from_numpy(array).requires_grad_(row.kind == "backward") for array in (x, *more["hx"])]
    output, states = lstm(tensors[0], tuple(tensors[1:]))
    results = (output, *states)
    yield from (result.detach().numpy() for result in results)
    if row.kind == "backward":
        torch.autograd.backward(results, [torch.from_numpy(array) for array in gradients_of(results, dtype)])
        yield from (tensor.grad.numpy() for tensor in tensors)
        for suffix in suffixes(row):
            yield from (getattr(lstm, name + suffix).grad.numpy() for name in PARAMETERS)


def accelerated(row: Row, dtype: str) -> Iterator[Array]:
    """`torch.nn.LSTM` after `fastlstm.torch.accelerate`."""
    yield from torch(row, dtype, swap=True)


def keras(row: Row, dtype: str) -> Iterator[Array]:
    """`fastlstm.keras.LSTM`, in `keras.layers.Bidirectional` for two directions."""
    import keras

    import fastlstm.keras

    layer = fastlstm.keras.LSTM(row["H"], return_sequences=True, return_state=True, dtype=dtype)
    both = keras.layers.Bidirectional(layer, dtype=dtype) if row["D"] == 2 else layer
    both.build((row["B"], row["T"], row["I"]))
    given = layer_of(row, dtype, fastlstm.isa()).state_dict()
    weights = [
        array
        for end in suffixes(row)
        for array in (
            given["weight_ih" + end].T,
            given["weight_hh" + end].T,
            given["bias_ih" + end] + given["bias_hh" + end],
        )
    ]
    for variable, array in zip(both.trainable_variables, weights, strict=True):
        variable.assign(array)
    x, more = arguments(row, dtype)
    by_layer = [state for pair in zip(*more["hx"], strict=True) for state in pair]  # h and c of a direction
    # arrays that Keras would round to its own default are made tensors here
    tensors = [keras.ops.convert_to_tensor(array, dtype=dtype) for array in (x.swapaxes(0, 1), *by_layer)]
    if row.kind == "backward":
        tensors = [tensor.requires_grad_() for tensor in tensors]
    results = both(tensors[0], initial_state=tensors[1:])
    ran = (both.forward_layer, both.backward_layer) if row["D"] == 2 else (layer,)
    assert [one.fallback for one in ran] == [None] * len(ran)
    yield from in_order([keras.ops.convert_to_numpy(result) for result in results])
    if row.kind == "backward":
        yield from gradients_in_keras(row, dtype, both, tensors, results)


def in_order(arrays: list[Array]) -> tuple[Array, Array, Array]:
    """Return [B, T, ...] and h and c of each direction as [T, B, ...] and [D, B, H] twice."""
    return arrays[0].swapaxes(0, 1), np.stack(arrays[1::2]), np.stack(arrays[2::2])


def gradients_in_keras(row: Row, dtype: str, layer: Any, tensors: list[Any], results: list[Any]) -> Iterator[Array]:
    """Return the gradients; the backend is torch."""
    import torch

    shown = in_order([result.detach().numpy() for result in results])
    of_output, of_h, of_c = gradients_of(shown, dtype)
    incoming = [of_output.swapaxes(0, 1), *(state for pair in zip(of_h, of_c, strict=True) for state in pair)]
    torch.autograd.backward(results, [torch.from_numpy(array.copy()) for array in incoming])
    yield from in_order([tensor.grad.numpy() for tensor in tensors])
    for place, variable in enumerate(layer.trainable_variables):
        gradient = variable.value.grad.numpy()
        yield gradient if place % 3 == 2 else gradient.T


def onnx(row: Row, dtype: str) -> Iterator[Array]:
    """Run the operator of an exported model, by the node that `fastlstm.onnx.load` builds and by `run_node`."""
    import onnx.numpy_helper

    import fastlstm.onnx

    model = fastlstm.onnx.export(layer_of(row, dtype, fastlstm.isa()), initial_state=True)
    (node,) = fastlstm.onnx.load(model)
    x, more = arguments(row, dtype)
    results = node(x, initial_h=more["hx"][0], initial_c=more["hx"][1])
    constants = {tensor.name: onnx.numpy_helper.to_array(tensor) for tensor in model.graph.initializer}
    given = {"X": x, "initial_h": more["hx"][0], "initial_c": more["hx"][1]}
    inputs = [
        constants.get(label, given.get(name))
        for label, name in zip(node.proto.input, ("X", "W", "R", "B", "", "initial_h", "initial_c"), strict=False)
    ]
    for one, other in zip(results, fastlstm.onnx.run_node(node.proto, inputs), strict=True):
        assert one.tobytes() == other.tobytes()
    Y, Y_h, Y_c = results  # Y: [T, D, B, H]
    yield from (Y.swapaxes(1, 2).reshape(row["T"], row["B"], -1), Y_h, Y_c)


DOORS: dict[str, Callable[[Row, str], Iterator[Array]]] = {
    door.__name__: door for door in (numpy, torch, accelerated, keras, onnx)
}


def has(door: str, row: Row) -> bool:
    """Return whether a door has gradients, where the row is of them."""
    if row.kind == "forward" or door in ("numpy", "torch", "accelerated"):
        return True
    if door == "keras":
        import keras

        return str(keras.backend.backend()) == "torch"
    return False


def main() -> None:
    """Print the hashes of a door."""
    door = sys.argv[1]
    for row in rows():
        if has(door, row):
            print(json.dumps([row.name, {dtype: digest(DOORS[door](row, dtype)) for dtype in DTYPES}]))


if __name__ == "__main__":
    main()
