"""LSTMs that other libraries have quantised, on their own integers: errors against float64, as a table in Markdown.

`python examples/precision/integers.py`. What an integer stands for is exact: the model's answer is that of float64 with
these weights. Each library's error is its largest difference from it; the inputs are normal, 30 steps of 4 rows.
"""

from __future__ import annotations

import argparse
import datetime
import importlib.metadata
import sys
import tempfile
import warnings
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

import fastlstm

Floats = npt.NDArray[np.floating[Any]]
#: I, H, whether there are two directions.
SIZES = ((40, 64, True), (80, 256, False), (128, 512, False))
STEPS, ROWS = 30, 4


class Result(NamedTuple):
    """Errors of one quantised LSTM."""

    library: str
    what: str
    sizes: tuple[int, int, bool]
    theirs: float
    ours: float


def _error(found: Floats, exact: Floats) -> float:
    return float(np.abs(found - exact).max())


def _wide(lstm: fastlstm.LSTM[Any], weights: fastlstm.LSTM[Any]) -> fastlstm.LSTM[Any]:
    """Return a layer of float64 with what the integers of another stand for."""
    made = fastlstm.LSTM(lstm.input_size, lstm.hidden_size, bidirectional=lstm.bidirectional, dtype="float64")
    made.load_state_dict({name: array.astype(np.float64) for name, array in weights.state_dict().items()})
    return made


def of_onnxruntime(sizes: tuple[int, int, bool]) -> Iterator[Result]:
    """Quantise by onnxruntime's `quantize_dynamic`, which makes a DynamicQuantizeLSTM: per tensor and per row."""
    import onnxruntime
    from onnxruntime.quantization import quantize_dynamic

    import fastlstm.onnx

    I, H, two = sizes
    lstm = fastlstm.LSTM(I, H, bidirectional=two, seed=0)
    x = np.random.default_rng(1).standard_normal((STEPS, ROWS, I)).astype(np.float32)
    with tempfile.TemporaryDirectory() as folder:
        plain, path = Path(folder, "plain.onnx"), Path(folder, "eight.onnx")
        fastlstm.onnx.export(lstm, plain)
        for what, rows in (("per tensor", False), ("per row", True)):
            quantize_dynamic(plain, path, per_channel=rows)
            (node,), (wide,) = fastlstm.onnx.load(path), fastlstm.onnx.load(path, weights="float32")
            exact = _wide(lstm, wide.lstm)(x.astype(np.float64))[0]
            session = onnxruntime.InferenceSession(path.read_bytes(), providers=["CPUExecutionProvider"])
            theirs = session.run(["output"], {"input": x})[0]
            yield Result("onnxruntime", what, sizes, _error(theirs, exact), _error(node.lstm(x)[0], exact))


def of_torch(sizes: tuple[int, int, bool]) -> Iterator[Result]:
    """Quantise by torch's `quantize_dynamic`, which makes a quantized.dynamic.LSTM: per tensor and per row."""
    import torch

    import fastlstm.torch

    I, H, two = sizes
    ao = torch.ao.quantization
    torch.manual_seed(0)
    plain = torch.nn.Sequential(torch.nn.LSTM(I, H, bidirectional=two))
    x = torch.randn(STEPS, ROWS, I)
    configs = {"per tensor": ao.default_dynamic_qconfig, "per row": ao.per_channel_dynamic_qconfig}
    for what, config in configs.items():
        model = ao.quantize_dynamic(plain, {torch.nn.LSTM: config})
        with torch.no_grad():
            theirs = model(x)[0].numpy()
            fastlstm.torch.accelerate(model)
            ours = model(x)[0].numpy()
        lstm = fastlstm.LSTM(I, H, bidirectional=two)
        lstm.load_state_dict(_dequantised(model[0]))
        exact = _wide(lstm, lstm)(x.numpy().astype(np.float64))[0]
        yield Result("torch", what, sizes, _error(theirs, exact), _error(ours, exact))


def _dequantised(module: Any) -> dict[str, Floats]:
    """Return the weights of one of torch's layers, as torch unpacks and dequantises them."""
    pairs = [cell.param.__getstate__()[0][4] for cell in module._all_weight_values]
    state: dict[str, Floats] = {}
    for end, pair in zip(("", "_reverse"), pairs, strict=False):
        for which, packed in zip(("ih", "hh"), pair, strict=True):
            weight, bias = packed.__getstate__()[0]
            state |= {f"weight_{which}_l0{end}": weight.dequantize().numpy()}
            state |= {f"bias_{which}_l0{end}": bias.detach().numpy()}
    return state


LIBRARIES: dict[str, Callable[[tuple[int, int, bool]], Iterator[Result]]] = {
    "onnxruntime": of_onnxruntime,
    "torch": of_torch,
}


def main() -> int:
    """Print the table; 1 if a library is not there."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("libraries", nargs="*", choices=[*LIBRARIES, []], help="all if not given")
    given = parser.parse_args()
    warnings.simplefilter("ignore")  # torch's, of what it will move elsewhere
    missing = 0
    print(f"fastlstm {fastlstm.__version__}, {datetime.date.today()}\n")
    print("| quantised by | scales | I, H | its error | ours | times |")
    print("| --- | --- | --- | ---: | ---: | ---: |")
    for name in given.libraries or LIBRARIES:
        try:
            for sizes in SIZES:
                for each in LIBRARIES[name](sizes):
                    size = f"{sizes[0]}, {sizes[1]}" + (", two directions" if sizes[2] else "")
                    library = f"{each.library} {importlib.metadata.version(name).split('+')[0]}"
                    errors = f"{each.theirs:.1e} | {each.ours:.1e} | {each.theirs / each.ours:.0f}"
                    print(f"| {library} | {each.what} | {size} | {errors} |", flush=True)
        except ModuleNotFoundError as error:
            missing = 1
            print(f"integers: {name}: {error.name} is missing: pip install {name}", file=sys.stderr)
    return missing


if __name__ == "__main__":
    sys.exit(main())
