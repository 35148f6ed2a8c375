"""Write the weights of an LSTM as the small binary file that the C and C++ programs beside this read.

    python write_weights.py MODEL WEIGHTS [--prefix NAME]    any file that fastlstm.load reads: safetensors, npz, ...

The file, in the byte order of the machine, without padding:

    8 bytes    "fastlstm"
    7 uint64   bits of a real (32 or 64), I, H, P, L, D, 1 with biases or 0 without
    reals      for each layer, for each direction: weight_ih [4H, I_l], weight_hh [4H, R], then, where the LSTM has
               them, bias_ih [4H], bias_hh [4H] and weight_hr [P, H]; the gates in the order i, f, g, o
"""

from __future__ import annotations

import argparse
import os
import sys
from pathlib import Path

import numpy as np

import fastlstm

MAGIC = b"fastlstm"
ORDER = ("weight_ih", "weight_hh", "bias_ih", "bias_hh", "weight_hr")


def write(lstm: fastlstm.LSTM, path: str | os.PathLike[str]) -> None:
    """Write the weights of `lstm`, of the standard form, to a new file."""
    if lstm.form != fastlstm.Form():
        raise ValueError(f"this file has no room for a form, got: {lstm.form}")
    weights = lstm.state_dict()
    directions = ("", "_reverse") if lstm.bidirectional else ("",)
    sizes = lstm.input_size, lstm.hidden_size, lstm.proj_size, lstm.num_layers, len(directions)
    with open(path, "wb") as file:
        file.write(MAGIC)
        file.write(np.array([8 * lstm.dtype.itemsize, *sizes, "bias_ih_l0" in weights], np.uint64).tobytes())
        for layer in range(lstm.num_layers):
            for direction in directions:
                names = (f"{part}_l{layer}{direction}" for part in ORDER)
                file.writelines(weights[name].tobytes() for name in names if name in weights)


def main() -> int:
    """Run the command line."""
    parser = argparse.ArgumentParser(description="Write an LSTM's weights for the C and C++ examples.")
    parser.add_argument("model", type=Path, help="a file that fastlstm.load reads")
    parser.add_argument("weights", type=Path, help="the file to write")
    parser.add_argument("--prefix", help="which LSTM, where the model has several")
    options = parser.parse_args()
    try:
        lstm = fastlstm.load(options.model, options.prefix)
        write(lstm, options.weights)
    except (OSError, ValueError, ModuleNotFoundError) as error:
        print(f"write_weights: {error}", file=sys.stderr)
        return 1
    print(f"{options.weights}: {lstm}, {lstm.dtype}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
