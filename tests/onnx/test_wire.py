"""The bytes of a model file before the parser sees them: what they would take."""

from pathlib import Path

import pytest

import fastlstm
from fastlstm.onnx import load
from fastlstm.onnx._wire import weight
from tests.onnx.support import draw, onnx

N = 300_000


def varint(number: int) -> bytes:
    made = b""
    while number >= 0x80:
        made += bytes([number & 0x7F | 0x80])
        number >>= 7
    return made + bytes([number])


def field(number: int, content: bytes) -> bytes:
    return varint(number << 3 | 2) + varint(len(content)) + content


def model(graph: bytes) -> bytes:
    return b"\x08\x08" + field(8, b"\x10\x11") + field(7, graph)


#: Fields: 7 graph of a model; 1 node, 5 initializer, 11 input of a graph; 4 operator, 5 attribute of a node.
BOMBS = {
    "empty nodes": model(field(1, b"") * N),
    "nodes of LSTM": model(field(1, field(4, b"LSTM")) * N),
    "empty tensors": model(field(5, b"") * N),
    "empty inputs": model(field(11, b"") * N),
    "empty attributes": model(field(1, field(5, b"") * N)),
    "empty opsets": b"\x08\x08" + field(8, b"\x10\x11") * N + field(7, b""),
    "names": model(field(1, field(1, b"") * 10 * N)),
    "sizes": model(field(5, b"\x08\x01" * 10 * N)),
    "packed sizes": model(field(5, field(1, b"\x01" * 20 * N))),
    "packed numbers": model(field(1, field(5, field(8, b"\x01" * 20 * N)))),
    "functions": b"\x08\x08" + field(8, b"\x10\x11") + field(7, b"") + field(25, b"") * N,
}


@pytest.mark.parametrize("kind", BOMBS)
def test_parts_are_counted_before_they_are_made(kind: str, tmp_path: Path) -> None:
    path = tmp_path / "bomb.onnx"
    path.write_bytes(BOMBS[kind])
    for read in (load, fastlstm.inspect):
        with pytest.raises(MemoryError, match=r"would take .* max_bytes="):
            read(path)


def test_nodes_are_counted(tmp_path: Path) -> None:
    path = tmp_path / "nodes.onnx"
    path.write_bytes(model(field(1, field(4, b"LSTM")) * 60_000))
    with pytest.raises(MemoryError, match="the model's nodes would take"):
        load(path)


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (model(b"\x0b\x0c"), "a field of kind 3"),
        (model(field(1, b"")) + b"\x80", "it ends within a number"),
        (model(field(1, b"")) + b"\xff" * 11, "a number of more than 10 bytes"),
        (model(field(1, b"")) + b"\x0d\x00", "a field of 4 bytes"),
        (model(b"\x0a\x05"), "a field of 5 bytes at byte 10, where 0 are left"),
    ],
)
def test_bytes_that_are_no_messages(content: bytes, message: str, tmp_path: Path) -> None:
    path = tmp_path / "model.onnx"
    path.write_bytes(content)
    with pytest.raises(ValueError, match=f"is not an ONNX file, or not all of one: {message}"):
        load(path)


def test_graphs_inside_each_other(tmp_path: Path) -> None:
    inner = b""
    for _ in range(60):
        inner = field(1, field(5, field(6, inner)))
    path = tmp_path / "deep.onnx"
    path.write_bytes(model(inner))
    with pytest.raises(ValueError, match="messages inside more than 100 others"):
        load(path)


@pytest.mark.parametrize("typed", [False, True])
def test_numbers_of_floats_weigh_nothing_more(typed: bool) -> None:
    made = draw(1).model(constant=("W", "R", "B"))
    tensor = made.graph.initializer[0]
    numbers = onnx.numpy_helper.to_array(tensor)
    before = weight(made.SerializeToString(), 2**40)
    tensor.CopyFrom(
        onnx.helper.make_tensor("W", 1, [1000], [0.5] * 1000)
        if typed
        else onnx.numpy_helper.from_array(numbers.repeat(10, 0), "W")
    )
    assert (
        abs(weight(made.SerializeToString(), 2**40) - before) < 200
    )  # of the sizes, where the tensor has a thousand numbers
