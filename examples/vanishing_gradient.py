"""How far back in time a gradient reaches: an LSTM with its forget filters open or half shut, and a plain recurrence.

Run it from anywhere::

    python examples/vanishing_gradient.py [--plot vanishing_gradient.png]

All networks have 64 units and 16 inputs, random weights and random inputs. The loss looks at the last state h alone,
along a random direction; the gradient of that loss with respect to the input k steps earlier says how much the network
could learn from there. The table shows its norm, root mean square over the rows, as a share of that at distance 0.

Each LSTM comes twice: with the whole gradient, and with what went back from step to step through c alone, f by f.

So does the plain recurrence, h' = tanh(W x + U h), which hands its gradient back through U^T and the slope of tanh at
every step: with weights drawn like the LSTM's, and with an orthogonal U, the best case: then only the slopes shrink it.
"""

import argparse
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from fastlstm import reference

Array = NDArray[np.floating[Any]]

T, B, I, H = 101, 32, 16, 64
DISTANCES = (0, 1, 2, 5, 10, 20, 50, 100)
FORGET_BIASES = (0.0, 1.0, 3.0)


def norms_by_distance(gradients: Array) -> Array:
    """Return the norms of gradients (T, B, I) over I, root mean square over B, nearest step first, as shares of it."""
    norms: Array = np.sqrt((gradients**2).sum(axis=2).mean(axis=1))[::-1]
    return norms / norms[0]


def lstm_norms(forget_bias: float, x: Array, direction: Array, rng: np.random.Generator) -> tuple[Array, Array]:
    """Measure an LSTM whose biases are 0 but for the forget gate's: the whole gradient, and that through c alone."""
    bound = 1 / np.sqrt(H)
    weights = {
        "weight_ih_l0": rng.uniform(-bound, bound, (4 * H, I)),
        "weight_hh_l0": rng.uniform(-bound, bound, (4 * H, H)),
        "bias_ih_l0": np.repeat([0.0, forget_bias, 0.0, 0.0], H),  # i, f, g, o
        "bias_hh_l0": np.zeros(4 * H),
    }
    _, _, tape = reference.lstm_forward_train(x, None, weights, num_layers=1)
    whole = reference.lstm_backward(tape, None, grad_h_n=direction[np.newaxis]).input

    through_c = np.zeros_like(x)
    kept = tape.layers["_l0"]
    dm, dc = direction, np.zeros((B, H))
    for t in reversed(range(T)):
        gates = reference.Gates(*(gate[t] for gate in kept.gates))
        dz, dc = reference.gates_backward(gates, kept.c[t], dm, dc)
        through_c[t] = dz @ weights["weight_ih_l0"]
        dm = np.zeros((B, H))  # instead of U^T dz: nothing goes back through h
    return norms_by_distance(whole), norms_by_distance(through_c)


def tanh_norms(orthogonal: bool, x: Array, direction: Array, rng: np.random.Generator) -> Array:
    """Measure h' = tanh(W x + U h), whose gradient goes back by dz = dh' (1 - h'^2), dx = W^T dz, dh = U^T dz."""
    bound = 1 / np.sqrt(H)
    w, u = rng.uniform(-bound, bound, (H, I)), rng.uniform(-bound, bound, (H, H))
    if orthogonal:
        u, _ = np.linalg.qr(u)
    h, states = np.zeros((B, H)), []
    for t in range(T):
        h = np.tanh(x[t] @ w.T + h @ u.T)
        states.append(h)
    dh, dx = direction, np.zeros_like(x)
    for t in reversed(range(T)):
        dz = dh * (1 - states[t] ** 2)
        dx[t], dh = dz @ w, dz @ u
    return norms_by_distance(dx)


def measure() -> dict[str, Array]:
    """Return the norms of each network, at distances 0..T-1."""
    rng = np.random.default_rng(0)
    x = rng.standard_normal((T, B, I))
    direction = rng.standard_normal((B, H))
    rows = {}
    for bias in FORGET_BIASES:
        whole, through_c = lstm_norms(bias, x, direction, np.random.default_rng(1))
        rows |= {f"LSTM, forget bias {bias:.0f}": whole, f"LSTM, forget bias {bias:.0f}, through c alone": through_c}
    rows["tanh"] = tanh_norms(False, x, direction, np.random.default_rng(1))
    rows["tanh, orthogonal U"] = tanh_norms(True, x, direction, np.random.default_rng(1))
    return rows


def table(rows: dict[str, Array]) -> str:
    """Return the norms at some distances as a Markdown table."""
    lines = [
        "| steps back | " + " | ".join(str(k) for k in DISTANCES) + " |",
        "|---|" + "---|" * len(DISTANCES),
    ]
    for name, norms in rows.items():
        lines.append(f"| {name} | " + " | ".join(f"{norms[k]:.2g}" for k in DISTANCES) + " |")
    return "\n".join(lines)


def plot(rows: dict[str, Array], path: Path) -> None:
    """Draw the norms against the distance."""
    import matplotlib

    matplotlib.use("Agg")
    from matplotlib import pyplot

    figure, axes = pyplot.subplots(figsize=(7, 4))
    for name, norms in rows.items():
        axes.semilogy(norms, label=name)
    axes.set(xlabel="steps back", ylabel="gradient norm, share of that at the last step", ylim=(1e-12, 10))
    axes.legend()
    figure.savefig(path, dpi=150, bbox_inches="tight")


def main() -> None:
    """Measure, print, draw."""
    parser = argparse.ArgumentParser(description="How far back in time a gradient reaches.")
    parser.add_argument("--plot", type=Path, metavar="PNG", help="draw the curves too (needs matplotlib)")
    arguments = parser.parse_args()
    rows = measure()
    print(table(rows))
    if arguments.plot:
        plot(rows, arguments.plot)


if __name__ == "__main__":
    main()
