"""Rounding errors of a layer beside torch's: `python -m tests.proofs.rms_error`, or `make prove-errors`.

For each number of units, the root mean square of the error of all outputs over 100 steps, against the float64
reference, of ours and of torch's on the same numbers, with one row and with many: torch adds in another order then.
Exits with 1 where ours is over the bound of ``cases.TOLERANCES``, which holds from `DECISIVE` units on: below, the
activations' errors count more than those of sums.
"""

import argparse
from dataclasses import replace

import numpy as np
import torch

import fastlstm
from fastlstm import reference
from tests.cases import SPEED_SEQUENCE, TOLERANCES, Array, Case, make_data

DRAWS = 2
ROWS = (1, 16)
DECISIVE = 256


def errors(case: Case) -> tuple[float, float]:
    """Return the root mean square error of our outputs and of torch's, over some draws."""
    squares = np.zeros(2)
    for draw in range(DRAWS):
        data = make_data(replace(case, name=f"{case.name}, {draw}"), "float32")
        x, weights = data.input.astype(np.float64), reference.to_float64(data.state_dict)
        right, _ = reference.lstm_forward(x, None, weights, num_layers=1)
        answers = ours(case, data.input, data.state_dict), torchs(case, data.input, data.state_dict)
        squares += [np.mean((answer - right) ** 2) for answer in answers]
    our_error, torch_error = np.sqrt(squares / DRAWS)
    return float(our_error), float(torch_error)


def ours(case: Case, x: Array, weights: dict[str, Array]) -> Array:
    """Compute a sequence from zero states."""
    lstm = fastlstm.LSTM(case.I, case.H)
    lstm.load_state_dict(weights)
    output, _ = lstm(x)
    return output


def torchs(case: Case, x: Array, weights: dict[str, Array]) -> Array:
    """Compute the same with torch."""
    lstm = torch.nn.LSTM(case.I, case.H)
    lstm.load_state_dict({name: torch.from_numpy(array) for name, array in weights.items()})
    with torch.inference_mode():
        output: Array = lstm(torch.from_numpy(x))[0].numpy()
    return output


def main() -> int:
    """Compare all sizes."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("sizes", nargs="*", type=int, help="numbers of units; 32 to 1024 if none")
    sizes = parser.parse_args().sizes
    bound = TOLERANCES["rms of torch's"].float32
    print(f"fastlstm {fastlstm.isa()}, torch {torch.__version__} {torch.backends.cpu.get_cpu_capability()}")
    print(f"{'H':>5} {'B':>3} {'ours':>9} {'torch':>9} {'ratio':>6}")
    wrong = 0
    for case in (replace(case, B=rows) for case in SPEED_SEQUENCE for rows in ROWS):
        if sizes and case.H not in sizes:
            continue
        our_error, torch_error = errors(case)
        ratio = our_error / torch_error
        over = case.H >= DECISIVE and not ratio <= bound
        wrong += over
        verdict = f"  more than {bound:g}" if over else ""
        print(f"{case.H:5} {case.B:3} {our_error:9.2e} {torch_error:9.2e} {ratio:6.2f}{verdict}", flush=True)
    return int(wrong > 0)


if __name__ == "__main__":
    raise SystemExit(main())
