"""The LSTM in plain NumPy: slow, complete and written to be read beside the equations.

One step takes an input x and a state (h, c) to a new state (h', c')::

    i = sigmoid(W_i x + U_i h + b_i)     input gate:  0..1, how much of the candidate is written
    f = sigmoid(W_f x + U_f h + b_f)     forget gate: 0..1, how much of the cell is kept
    g = tanh   (W_g x + U_g h + b_g)     candidate:  -1..1, the update itself: adds to a cell or takes from it
    o = sigmoid(W_o x + U_o h + b_o)     output gate: 0..1, how much of the cell is shown
    c' = f * c + i * g                   a filter times what was known, plus a filter times a signed update
    h' = o * tanh(c')                    with a projection: h' = W_hr (o * tanh(c'))

The two activations have two jobs. A sigmoid is a *filter*: a differentiable value in 0..1 that lets a share of
something through. A tanh is a *signed update*: a value in -1..1 that can push a cell up or down.

The two states travel along two paths. The *cell recurrence* c -> c' is multiplied by f alone, with no matrix and no
squashing: while f is near 1 a cell, and the gradient that flows back along it, survive many steps. The *gate
recurrence* h -> i, f, g, o goes through matrices and activations: it decides what the cell keeps, takes in and shows.

Shapes are written with these letters, in the docstrings and at the lines of code:

    T steps, B rows of a batch, I inputs, H hidden units (cells), P projected units;
    R = P with a projection, otherwise R = H: the size of h, and of the output.

Weights hold their four gates in the order i, f, g, o, as torch does: rows 0..H-1 of ``weight_ih`` are W_i, and so on.

Everything is computed in the dtype of the input, float32 or float64, and all arrays of a call share that dtype:
nothing is cast silently. Products are NumPy's ``@``, so the last bits may depend on the batch and on the BLAS behind
it; the promise of equal bits belongs to the compiled kernels, which are tested against this module's float64 results.
"""

from collections.abc import Mapping
from typing import Any, NamedTuple, TypeAlias

import numpy as np
from numpy.typing import ArrayLike, NDArray

__all__ = ["Gates", "cell_forward", "cell_forward_gates", "layer_forward", "lstm_forward", "sigmoid", "to_float64"]

Array: TypeAlias = NDArray[np.floating[Any]]

# A layer has the first two of these always, the biases and the projection only if it was built with them.
_KINDS = ("weight_ih", "weight_hh", "bias_ih", "bias_hh", "weight_hr")


class Gates(NamedTuple):
    """The four gate activations of one step, each of shape (B, H), or (H,) for a single row."""

    i: Array  #: input gate, 0..1: how much of the candidate is written
    f: Array  #: forget gate, 0..1: how much of the cell is kept
    g: Array  #: candidate, -1..1: the update itself
    o: Array  #: output gate, 0..1: how much of the cell is shown


def sigmoid(x: ArrayLike) -> Array:
    """Compute 1 / (1 + exp(-x)), without overflow and without cancellation for any x.

    Parameters
    ----------
    x : array_like of float32 or float64, any shape
        Infinities give 0 and 1, NaN gives NaN.

    Returns
    -------
    ndarray, shape and dtype of `x`
        Values in 0..1.

    Raises
    ------
    TypeError
        If `x` is neither float32 nor float64.

    Examples
    --------
    >>> sigmoid([-1000.0, 0.0, 1000.0])
    array([0. , 0.5, 1. ])
    """
    x = np.asarray(x)
    _check_float("x", x)
    # exp only ever sees x <= 0, so it cannot overflow; for x < 0 the quotient e / (1 + e) keeps small results accurate.
    e = np.exp(-np.abs(x))
    result: Array = np.where(x < 0, e, 1) / (1 + e)
    return result


def cell_forward(
    x: Array,
    h: Array,
    c: Array,
    weight_ih: Array,
    weight_hh: Array,
    bias_ih: Array | None = None,
    bias_hh: Array | None = None,
    weight_hr: Array | None = None,
) -> tuple[Array, Array]:
    """Take one step of one layer: return the new state (h', c').

    Parameters
    ----------
    x : ndarray, shape (B, I) or (I,)
        Input of the step; float32 or float64, and every other array has the same dtype.
    h : ndarray, shape (B, R) or (R,)
        Hidden state before the step.
    c : ndarray, shape (B, H) or (H,)
        Cell state before the step.
    weight_ih : ndarray, shape (4H, I)
        Input weights W of the gates i, f, g, o, one below the other.
    weight_hh : ndarray, shape (4H, R)
        Recurrent weights U of the gates, in the same order.
    bias_ih, bias_hh : ndarray, shape (4H,), optional
        Biases; their sum is b in the equations. None counts as zero.
    weight_hr : ndarray, shape (P, H), optional
        Projection of the hidden state; then R = P, otherwise R = H.

    Returns
    -------
    h_next : ndarray, shape of `h`
    c_next : ndarray, shape of `c`
        New arrays; the arguments are never written to.

    Raises
    ------
    ValueError
        If a shape does not fit the others.
    TypeError
        If a dtype is not float32 or float64, or is not that of `x`.

    Examples
    --------
    With all weights zero each filter is half open and the update is 0, so the cell is halved:

    >>> h, c = cell_forward(np.ones(3), np.zeros(1), np.array([2.0]), np.zeros((4, 3)), np.zeros((4, 1)))
    >>> c
    array([1.])
    >>> bool(h[0] == 0.5 * np.tanh(1.0))
    True
    """
    h_next, c_next, _ = cell_forward_gates(x, h, c, weight_ih, weight_hh, bias_ih, bias_hh, weight_hr)
    return h_next, c_next


def cell_forward_gates(
    x: Array,
    h: Array,
    c: Array,
    weight_ih: Array,
    weight_hh: Array,
    bias_ih: Array | None = None,
    bias_hh: Array | None = None,
    weight_hr: Array | None = None,
) -> tuple[Array, Array, Gates]:
    """Take one step of one layer, as `cell_forward`, and return the gates that led to the new state too.

    Parameters
    ----------
    x, h, c, weight_ih, weight_hh, bias_ih, bias_hh, weight_hr
        As in `cell_forward`.

    Returns
    -------
    h_next : ndarray, shape of `h`
    c_next : ndarray, shape of `c`
    gates : Gates
        The activations i, f, g, o, each of the shape of `c`.

    Raises
    ------
    ValueError, TypeError
        As `cell_forward`.

    Examples
    --------
    >>> h, c, gates = cell_forward_gates(np.ones(3), np.zeros(1), np.ones(1), np.zeros((4, 3)), np.zeros((4, 1)))
    >>> gates.f, gates.g
    (array([0.5]), array([0.]))
    """
    _check_float("x", x)
    n_in, n_hidden, n_out = _check_weights(x.dtype, weight_ih, weight_hh, bias_ih, bias_hh, weight_hr)
    if x.ndim not in (1, 2):
        raise ValueError(f"x: expected shape (I,) or (B, I), got {x.shape}")
    batch = x.shape[:-1]  # (B,), or () for a single row
    _check("x", x, (*batch, n_in), x.dtype)
    _check("h", h, (*batch, n_out), x.dtype)
    _check("c", c, (*batch, n_hidden), x.dtype)

    w_i, w_f, w_g, w_o = np.split(weight_ih, 4)  # each H,I
    u_i, u_f, u_g, u_o = np.split(weight_hh, 4)  # each H,R
    b_i, b_f, b_g, b_o = np.split(_sum_biases(bias_ih, bias_hh, n_hidden, x.dtype), 4)  # each H

    # Gate recurrence: x and h decide, through matrices and activations.
    i = sigmoid(x @ w_i.T + h @ u_i.T + b_i)  # B,H
    f = sigmoid(x @ w_f.T + h @ u_f.T + b_f)  # B,H
    g = np.tanh(x @ w_g.T + h @ u_g.T + b_g)  # B,H
    o = sigmoid(x @ w_o.T + h @ u_o.T + b_o)  # B,H

    # Cell recurrence: c meets nothing but the filter f on its way to c'.
    c_next = f * c + i * g  # B,H
    h_next = o * np.tanh(c_next)  # B,H
    if weight_hr is not None:
        h_next = h_next @ weight_hr.T  # B,P
    return h_next, c_next, Gates(i, f, g, o)


def layer_forward(
    input: Array,
    h_0: Array,
    c_0: Array,
    weight_ih: Array,
    weight_hh: Array,
    bias_ih: Array | None = None,
    bias_hh: Array | None = None,
    weight_hr: Array | None = None,
    *,
    lengths: ArrayLike | None = None,
    resets: ArrayLike | None = None,
    reverse: bool = False,
) -> tuple[Array, Array, Array]:
    """Run one layer in one direction over all steps: `cell_forward` in a loop.

    Parameters
    ----------
    input : ndarray, shape (T, B, I)
        Inputs, float32 or float64; T = 0 and B = 0 are valid.
    h_0 : ndarray, shape (B, R)
        Hidden state before the first step.
    c_0 : ndarray, shape (B, H)
        Cell state before the first step.
    weight_ih, weight_hh, bias_ih, bias_hh, weight_hr
        As in `cell_forward`.
    lengths : array_like of int, shape (B,), optional
        Number of valid steps of each row, 0..T in any order. What the input holds beyond them is never read.
    resets : array_like of bool, shape (T, B), optional
        Where True, the state of the row is zero before that step. Ignored at steps beyond the row's length.
    reverse : bool, default False
        Go from the last valid step of each row to step 0 instead.

    Returns
    -------
    output : ndarray, shape (T, B, R)
        h' of each step, at the position of its input in both directions; 0 beyond the row's length.
    h_n : ndarray, shape (B, R)
    c_n : ndarray, shape (B, H)
        State after the last step taken: step length-1, in reverse step 0; the initial state where length is 0.

    Raises
    ------
    ValueError
        If a shape does not fit the others, a length is outside 0..T, or `resets` is combined with `reverse`.
    TypeError
        If a dtype is not float32 or float64, or is not that of `input`; if `lengths` are not integers; if `resets` are
        not bool.

    Examples
    --------
    A cell that keeps all (f = 1) and writes all (i = 1) of the update 1 (tanh of a large bias) counts the steps:

    >>> weights = np.zeros((4, 1)), np.zeros((4, 1)), np.full(4, 100.0)
    >>> x, zero = np.zeros((5, 2, 1)), np.zeros((2, 1))
    >>> output, h_n, c_n = layer_forward(x, zero, zero, *weights, lengths=[5, 3])
    >>> c_n
    array([[5.],
           [3.]])
    """
    _check_float("input", input)
    n_in, n_hidden, n_out = _check_weights(input.dtype, weight_ih, weight_hh, bias_ih, bias_hh, weight_hr)
    if input.ndim != 3:
        raise ValueError(f"input: expected shape (T, B, I), got {input.shape}")
    n_steps, n_rows, _ = input.shape
    _check("input", input, (n_steps, n_rows, n_in), input.dtype)
    _check("h_0", h_0, (n_rows, n_out), input.dtype)
    _check("c_0", c_0, (n_rows, n_hidden), input.dtype)
    row_lengths = np.full(n_rows, n_steps) if lengths is None else _check_lengths(lengths, n_steps, (n_rows,))
    row_resets = np.zeros((n_steps, n_rows), bool) if resets is None else _check_resets(resets, (n_steps, n_rows))
    if resets is not None and reverse:
        raise ValueError("resets: expected None for a layer that runs in reverse, got an array")

    h, c = h_0.copy(), c_0.copy()  # B,R  B,H
    output = np.zeros((n_steps, n_rows, n_out), input.dtype)  # T,B,R
    for t in reversed(range(n_steps)) if reverse else range(n_steps):
        # A row takes part in its valid steps only. In reverse this lets it start, untouched until then, at its own end.
        valid = t < row_lengths  # B
        h[valid & row_resets[t]] = 0
        c[valid & row_resets[t]] = 0
        h[valid], c[valid] = cell_forward(
            input[t, valid], h[valid], c[valid], weight_ih, weight_hh, bias_ih, bias_hh, weight_hr
        )
        output[t, valid] = h[valid]
    return output, h, c


def lstm_forward(
    input: Array,
    hx: tuple[Array, Array] | None,
    state_dict: Mapping[str, Array],
    *,
    num_layers: int,
    bidirectional: bool = False,
    batch_first: bool = False,
    lengths: ArrayLike | None = None,
    resets: ArrayLike | None = None,
) -> tuple[Array, tuple[Array, Array]]:
    """Compute a whole LSTM as ``torch.nn.LSTM`` does: layers upon each other, in one direction or two.

    L is the number of layers and D the number of directions, 2 if `bidirectional`, otherwise 1.

    Parameters
    ----------
    input : ndarray, shape (T, B, I), with `batch_first` (B, T, I), unbatched (T, I)
        Inputs, float32 or float64; T = 0 and B = 0 are valid.
    hx : tuple of two ndarrays (h_0, c_0), shapes (L*D, B, R) and (L*D, B, H), unbatched (L*D, R) and (L*D, H), or None
        Initial states, never batch-first; entry layer*D + direction. None means zeros.
    state_dict : mapping of str to ndarray
        Weights under torch's names: ``weight_ih_l0`` (4H, I), ``weight_hh_l0`` (4H, R), optionally ``bias_ih_l0`` and
        ``bias_hh_l0`` (4H,) and ``weight_hr_l0`` (P, H); the reverse direction's names end in ``_reverse``; the layers
        above have ``_l1`` and so on, with D*R inputs each.
    num_layers : int
        L, at least 1.
    bidirectional : bool, default False
        Run each layer a second time, in reverse, with its own weights.
    batch_first : bool, default False
        Whether `input`, output and `resets` have B before T. Of no effect on unbatched input.
    lengths : array_like of int, shape (B,), unbatched one int, optional
        Valid steps of each row, as in `layer_forward`.
    resets : array_like of bool, shape (T, B), with `batch_first` (B, T), unbatched (T,), optional
        Where True, the row's state is zero in all layers before that step. Not for bidirectional LSTMs, whose second
        direction would meet the resets from the wrong side.

    Returns
    -------
    output : ndarray, shape (T, B, D*R), with `batch_first` (B, T, D*R), unbatched (T, D*R)
        Output of the last layer: the forward half first, then the reverse half. 0 beyond a row's length.
    (h_n, c_n) : tuple of two ndarrays, shapes as in `hx`
        Last valid states of each layer and direction.

    Raises
    ------
    ValueError
        If a shape does not fit the others, `state_dict` lacks a name or has one too many, a length is outside 0..T, or
        `resets` is combined with `bidirectional`.
    TypeError
        If a dtype is not float32 or float64, or is not that of `input`; if `lengths` are not integers; if `resets` are
        not bool.

    Examples
    --------
    >>> weights = {"weight_ih_l0": np.zeros((8, 3)), "weight_hh_l0": np.zeros((8, 2))}
    >>> output, (h_n, c_n) = lstm_forward(np.ones((5, 4, 3)), None, weights, num_layers=1)
    >>> output.shape, h_n.shape, c_n.shape
    ((5, 4, 2), (1, 4, 2), (1, 4, 2))
    """
    _check_float("input", input)
    if input.ndim not in (2, 3):
        raise ValueError(f"input: expected 2 dimensions (unbatched) or 3 (batched), got shape {input.shape}")
    if resets is not None and bidirectional:
        raise ValueError("resets: expected None for a bidirectional LSTM, got an array")
    layers = _split_state_dict(state_dict, num_layers, bidirectional)

    # Inside, everything is (T, B, ...): an unbatched sequence is a batch of one row.
    batched = input.ndim == 3
    swapped = batched and batch_first
    x = input if batched else input[:, np.newaxis]  # T,B,I
    x = x.swapaxes(0, 1) if swapped else x  # T,B,I
    n_steps, n_rows, _ = x.shape
    if lengths is not None:
        lengths = _check_lengths(lengths, n_steps, (n_rows,) if batched else ()).reshape(n_rows)  # B
    if resets is not None:
        resets = _check_resets(resets, input.shape[:-1])
        resets = resets.T if swapped else resets.reshape(n_steps, n_rows)  # T,B
    h_0, c_0 = _initial_states(hx, layers, x, batched)  # L*D,B,R  L*D,B,H

    directions = ("", "_reverse") if bidirectional else ("",)
    h_n, c_n = np.empty_like(h_0), np.empty_like(c_0)  # L*D,B,R  L*D,B,H
    for layer in range(num_layers):
        halves = []
        for d, direction in enumerate(directions):
            k = layer * len(directions) + d
            reverse = direction == "_reverse"
            half, h_n[k], c_n[k] = layer_forward(
                x, h_0[k], c_0[k], **layers[k], lengths=lengths, resets=resets, reverse=reverse
            )
            halves.append(half)  # T,B,R
        x = np.concatenate(halves, axis=-1)  # T,B,D*R: the input of the layer above

    if not batched:
        return x[:, 0], (h_n[:, 0], c_n[:, 0])
    return (x.swapaxes(0, 1) if swapped else x), (h_n, c_n)


def to_float64(state_dict: Mapping[str, Array]) -> dict[str, Array]:
    """Copy weights to float64, exactly, to compute what float32 results are compared with.

    Parameters
    ----------
    state_dict : mapping of str to ndarray
        Arrays of float32 or float64, any shapes.

    Returns
    -------
    dict of str to ndarray
        The same names and values in float64.

    Raises
    ------
    TypeError
        If an array is neither float32 nor float64.

    Examples
    --------
    >>> to_float64({"weight": np.float32([0.5])})
    {'weight': array([0.5])}
    """
    for name, array in state_dict.items():
        _check_float(name, array)
    return {name: array.astype(np.float64) for name, array in state_dict.items()}


# Preparation and checks. All that computes is above.


def _sum_biases(bias_ih: Array | None, bias_hh: Array | None, n_hidden: int, dtype: np.dtype[Any]) -> Array:
    """Return b_ih + b_hh, shape (4H,), with zeros for a bias that is not there."""
    zeros = np.zeros(4 * n_hidden, dtype)
    return (zeros if bias_ih is None else bias_ih) + (zeros if bias_hh is None else bias_hh)


def _initial_states(
    hx: tuple[Array, Array] | None, layers: list[dict[str, Array]], x: Array, batched: bool
) -> tuple[Array, Array]:
    """Return (h_0, c_0) of shapes (L*D, B, R) and (L*D, B, H): `hx` checked and given its batch axis, or zeros."""
    n_rows = x.shape[1]
    _, n_hidden, n_out = _check_weights(x.dtype, **layers[0])
    if hx is None:
        return np.zeros((len(layers), n_rows, n_out), x.dtype), np.zeros((len(layers), n_rows, n_hidden), x.dtype)
    if len(hx) != 2:
        raise ValueError(f"hx: expected two arrays (h_0, c_0), got {len(hx)}")
    h_0, c_0 = hx
    batch = (n_rows,) if batched else ()
    _check("h_0", h_0, (len(layers), *batch, n_out), x.dtype)
    _check("c_0", c_0, (len(layers), *batch, n_hidden), x.dtype)
    return h_0.reshape(len(layers), n_rows, n_out), c_0.reshape(len(layers), n_rows, n_hidden)


def _split_state_dict(state_dict: Mapping[str, Array], num_layers: int, bidirectional: bool) -> list[dict[str, Array]]:
    """Return the weights of each layer and direction, in the order of `hx`, as keyword arguments of `layer_forward`."""
    if num_layers < 1:
        raise ValueError(f"num_layers: expected at least 1, got {num_layers}")
    # Layer 0 shows whether there are biases and a projection; all others must then have the same.
    kinds = [kind for kind in _KINDS if kind in ("weight_ih", "weight_hh") or f"{kind}_l0" in state_dict]
    suffixes = [f"_l{k}{end}" for k in range(num_layers) for end in (("", "_reverse") if bidirectional else ("",))]
    names = [kind + suffix for suffix in suffixes for kind in kinds]
    missing, unexpected = sorted(set(names) - set(state_dict)), sorted(set(state_dict) - set(names))
    if missing or unexpected:
        raise ValueError(
            f"state_dict: missing {missing}, unexpected {unexpected} for num_layers={num_layers}, "
            f"bidirectional={bidirectional}"
        )
    return [{kind: state_dict[kind + suffix] for kind in kinds} for suffix in suffixes]


def _check_weights(
    dtype: np.dtype[Any],
    weight_ih: Array,
    weight_hh: Array,
    bias_ih: Array | None = None,
    bias_hh: Array | None = None,
    weight_hr: Array | None = None,
) -> tuple[int, int, int]:
    """Check the weights of one layer against each other and return the sizes (I, H, R)."""
    _check_float("weight_ih", weight_ih)
    if weight_ih.ndim != 2 or weight_ih.shape[0] % 4:
        raise ValueError(f"weight_ih: expected shape (4H, I), got {weight_ih.shape}")
    n_hidden, n_in = weight_ih.shape[0] // 4, weight_ih.shape[1]
    n_out = n_hidden
    if weight_hr is not None:
        _check_float("weight_hr", weight_hr)
        if weight_hr.ndim != 2:
            raise ValueError(f"weight_hr: expected shape (P, H), got {weight_hr.shape}")
        n_out = weight_hr.shape[0]
    _check("weight_ih", weight_ih, (4 * n_hidden, n_in), dtype)
    _check("weight_hh", weight_hh, (4 * n_hidden, n_out), dtype)
    if bias_ih is not None:
        _check("bias_ih", bias_ih, (4 * n_hidden,), dtype)
    if bias_hh is not None:
        _check("bias_hh", bias_hh, (4 * n_hidden,), dtype)
    if weight_hr is not None:
        _check("weight_hr", weight_hr, (n_out, n_hidden), dtype)
    return n_in, n_hidden, n_out


def _check_lengths(lengths: ArrayLike, n_steps: int, shape: tuple[int, ...]) -> NDArray[np.integer[Any]]:
    """Return `lengths` as an integer array of this shape with values in 0..T."""
    array = np.asarray(lengths)
    if array.size == 0:
        array = array.astype(int)  # an empty list has no dtype of its own: NumPy makes it float64
    if not np.issubdtype(array.dtype, np.integer):
        raise TypeError(f"lengths: expected integers, got dtype {array.dtype}")
    if array.shape != shape:
        raise ValueError(f"lengths: expected shape {shape}, got {array.shape}")
    if np.any((array < 0) | (array > n_steps)):
        raise ValueError(f"lengths: expected values in 0..{n_steps}, got {array.tolist()}")
    return array


def _check_resets(resets: ArrayLike, shape: tuple[int, ...]) -> NDArray[np.bool_]:
    """Return `resets` as a bool array of this shape."""
    array = np.asarray(resets)
    if array.dtype != np.bool_:
        raise TypeError(f"resets: expected dtype bool, got {array.dtype}")
    if array.shape != shape:
        raise ValueError(f"resets: expected shape {shape}, got {array.shape}")
    return array


def _check_float(name: str, array: Array) -> None:
    """Raise TypeError unless `array` is a float32 or float64 array."""
    if not isinstance(array, np.ndarray):
        raise TypeError(f"{name}: expected a NumPy array, got {type(array).__name__}")
    if array.dtype not in (np.float32, np.float64):
        raise TypeError(f"{name}: expected dtype float32 or float64, got {array.dtype}")


def _check(name: str, array: Array, shape: tuple[int, ...], dtype: np.dtype[Any]) -> None:
    """Raise unless `array` is an array of this shape and dtype."""
    _check_float(name, array)
    if array.shape != shape:
        raise ValueError(f"{name}: expected shape {shape}, got {array.shape}")
    if array.dtype != dtype:
        raise TypeError(
            f"{name}: expected dtype {dtype} like the input, got {array.dtype}; convert one with .astype(np.{dtype})"
        )
