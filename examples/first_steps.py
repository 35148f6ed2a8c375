"""A first training program, in NumPy alone: an LSTM learns to remember the first of 40 symbols."""

import argparse

import numpy as np

import fastlstm

T, B, H = 40, 32, 8

parser = argparse.ArgumentParser(description=__doc__)
parser.add_argument("--forget-bias", type=float, default=3.0, help="what it starts from (default: 3)")
parser.add_argument("--plot", metavar="PNG", help="draw what it learned (needs matplotlib)")
options = parser.parse_args()


def sequences(rng, count):
    """Draw symbols, 1 or -1, and a mark on the first one, [T, count, 2]; and the first symbols, [count, 1]."""
    x = np.zeros((T, count, 2), np.float32)
    x[:, :, 0] = 2 * rng.integers(0, 2, (T, count)) - 1
    x[0, :, 1] = 1
    return x, x[0, :, :1].copy()


# The layer. Its projection gives the answer, one number. Its forget gates start open.
lstm = fastlstm.LSTM(2, H, proj_size=1, seed=0)
weights = {name: array.copy() for name, array in lstm.state_dict().items()}
weights["bias_ih_l0"][H : 2 * H] += options.forget_bias  # the gates' order is i, f, g, o
mean = {name: np.zeros_like(array) for name, array in weights.items()}
square = {name: np.zeros_like(array) for name, array in weights.items()}

# Training, by Adam.
rng = np.random.default_rng(0)
steps, losses = range(1, 301), []
print("step   loss  right")
for step in steps:
    lstm.load_state_dict(weights)
    x, first = sequences(rng, B)
    output, _, tape = lstm.forward(x)
    error = output[-1] - first  # only the last answer counts
    grad_output = np.zeros_like(output)
    grad_output[-1] = 2 / B * error
    for name, gradient in lstm.backward(tape, grad_output).parameters.items():
        mean[name] += 0.1 * (gradient - mean[name])
        square[name] += 0.01 * (gradient * gradient - square[name])
        size = np.sqrt(square[name] / (1 - 0.99**step)) + 1e-8
        weights[name] -= 0.01 / (1 - 0.9**step) * mean[name] / size
    losses.append(np.square(error).mean())
    if step == 1 or step % 50 == 0:
        print(f"{step:4}  {losses[-1]:.3f}  {(output[-1] * first > 0).mean():5.0%}  {'#' * round(20 * losses[-1])}")

# From a file, as a live stream, on new sequences: one step at a time, the same bits as all at once.
fastlstm.save(lstm, "first_steps.npz")
loaded = fastlstm.load("first_steps.npz")
x, first = sequences(np.random.default_rng(1), 200)
stream = loaded.stream(batch_size=200)
cells = []
for row in x:
    answer = stream.step(row)
    cells.append(stream.state[1][0])
print(f"\n{(answer * first > 0).mean():.0%} of 200 new sequences right")
print("the same bits as all steps at once:", (answer == lstm(x)[0][-1]).all())

# What it remembers by: the cell that lies farthest apart in the end.
after = [np.stack(cells)[:, first[:, 0] == symbol].mean(1) for symbol in (1, -1)]
unit = int(np.abs(after[0][-1] - after[1][-1]).argmax())
print(f"\ncell {unit}, mean\nafter     1     -1")
for t in (0, 1, 2, 5, 10, 20, 39):
    print(f"{t:4}  {after[0][t, unit]:6.2f} {after[1][t, unit]:6.2f}")

if options.plot:
    import matplotlib.pyplot as plt

    figure, (left, right) = plt.subplots(1, 2, figsize=(9, 3.5))
    left.plot(steps, losses)
    left.set(xlabel="step of training", ylabel="loss")
    right.plot(after[0][:, unit], label="first symbol 1")
    right.plot(after[1][:, unit], label="first symbol -1")
    right.set(xlabel="step of the sequence", ylabel=f"cell {unit}, mean")
    right.legend()
    figure.savefig(options.plot, bbox_inches="tight")
