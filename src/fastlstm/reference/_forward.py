"""All steps, forward: a layer is a loop of cells, an LSTM a loop of layers.

Each is written once, in the form that keeps what the backward pass needs.
"""

from collections.abc import Mapping, Sequence

import numpy as np
from numpy.typing import ArrayLike

from ._checks import (
    check,
    check_float,
    check_form,
    check_lengths,
    check_masks,
    check_resets,
    check_weights,
    initial_states,
    split_state_dict,
)
from ._form import Form
from ._layout import Layout
from ._records import Array, Gates, LayerTape, Tape
from ._step import cell_forward_gates


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
    weight_ph: Array | None = None,
    form: Form | None = None,
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
    weight_ih, weight_hh, bias_ih, bias_hh, weight_hr, weight_ph, form
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
    output, h_n, c_n, _ = layer_forward_train(
        input,
        h_0,
        c_0,
        weight_ih,
        weight_hh,
        bias_ih,
        bias_hh,
        weight_hr,
        weight_ph=weight_ph,
        form=form,
        lengths=lengths,
        resets=resets,
        reverse=reverse,
    )
    return output, h_n, c_n


def layer_forward_train(
    input: Array,
    h_0: Array,
    c_0: Array,
    weight_ih: Array,
    weight_hh: Array,
    bias_ih: Array | None = None,
    bias_hh: Array | None = None,
    weight_hr: Array | None = None,
    *,
    weight_ph: Array | None = None,
    form: Form | None = None,
    lengths: ArrayLike | None = None,
    resets: ArrayLike | None = None,
    reverse: bool = False,
) -> tuple[Array, Array, Array, LayerTape]:
    """Run one layer in one direction, as `layer_forward`, and keep what `layer_backward` needs.

    Parameters
    ----------
    input, h_0, c_0, weight_ih, weight_hh, bias_ih, bias_hh, weight_hr, weight_ph, form, lengths, resets, reverse
        As in `layer_forward`.

    Returns
    -------
    output : ndarray, shape (T, B, R)
    h_n : ndarray, shape (B, R)
    c_n : ndarray, shape (B, H)
        As `layer_forward`.
    tape : LayerTape
        Copies of the input and the weights, and the states and gates of every step.

    Raises
    ------
    ValueError, TypeError
        As `layer_forward`.

    Examples
    --------
    >>> weights = np.zeros((4, 1)), np.zeros((4, 1)), np.full(4, 100.0)
    >>> x, zero = np.zeros((5, 2, 1)), np.zeros((2, 1))
    >>> output, h_n, c_n, tape = layer_forward_train(x, zero, zero, *weights, lengths=[5, 3])
    >>> tape.c[:, 0, 0]  # what each step of row 0 started from
    array([0., 1., 2., 3., 4.])
    """
    check_float("input", input)
    n_in, n_hidden, n_out = check_weights(input.dtype, weight_ih, weight_hh, bias_ih, bias_hh, weight_hr)
    if input.ndim != 3:
        raise ValueError(f"input: expected shape (T, B, I), got {input.shape}")
    n_steps, n_rows, _ = input.shape
    check("input", input, (n_steps, n_rows, n_in), input.dtype)
    check("h_0", h_0, (n_rows, n_out), input.dtype)
    check("c_0", c_0, (n_rows, n_hidden), input.dtype)
    form = check_form(form, weight_ph, n_hidden, input.dtype)
    row_lengths = np.full(n_rows, n_steps) if lengths is None else check_lengths(lengths, n_steps, (n_rows,))
    row_resets = np.zeros((n_steps, n_rows), bool) if resets is None else check_resets(resets, (n_steps, n_rows))
    if resets is not None and reverse:
        raise ValueError("resets: expected None for a layer that runs in reverse, got an array")

    weights = {
        "weight_ih": weight_ih,
        "weight_hh": weight_hh,
        "weight_ph": weight_ph,
        "bias_ih": bias_ih,
        "bias_hh": bias_hh,
        "weight_hr": weight_hr,
    }
    # A row takes part in its valid steps only. In reverse this lets it start, untouched until then, at its own end.
    valid = np.arange(n_steps)[:, np.newaxis] < row_lengths  # T,B
    tape = LayerTape(
        input=input.copy(),
        h=np.zeros((n_steps, n_rows, n_out), input.dtype),
        c=np.zeros((n_steps, n_rows, n_hidden), input.dtype),
        gates=Gates(*np.zeros((4, n_steps, n_rows, n_hidden), input.dtype)),
        valid=valid,
        cut=valid & row_resets,
        reverse=reverse,
        weights={name: array.copy() for name, array in weights.items() if array is not None},
        form=form,
    )

    h, c = h_0.copy(), c_0.copy()  # B,R  B,H
    output = np.zeros((n_steps, n_rows, n_out), input.dtype)  # T,B,R
    for t in reversed(range(n_steps)) if reverse else range(n_steps):
        h[tape.cut[t]] = 0
        c[tape.cut[t]] = 0
        now = valid[t]  # B
        tape.h[t, now], tape.c[t, now] = h[now], c[now]
        h[now], c[now], gates = cell_forward_gates(input[t, now], h[now], c[now], **tape.weights, form=form)
        for kept, gate in zip(tape.gates, gates, strict=True):
            kept[t, now] = gate
        output[t, now] = h[now]
    return output, h, c, tape


def lstm_forward(
    input: Array,
    hx: tuple[Array, Array] | None,
    state_dict: Mapping[str, Array],
    *,
    num_layers: int,
    bidirectional: bool = False,
    batch_first: bool = False,
    form: Form | None = None,
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
        above have ``_l1`` and so on, with D*R inputs each. For a form with peepholes also ``weight_ph_l0`` (3H,).
    num_layers : int
        L, at least 1.
    bidirectional : bool, default False
        Run each layer a second time, in reverse, with its own weights.
    batch_first : bool, default False
        Whether `input`, output and `resets` have B before T. Of no effect on unbatched input.
    form : Form, optional
        The form of the cell; None is the standard one.
    lengths : array_like of int, shape (B,), unbatched one int or shape (1,), optional
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
    output, states, _ = lstm_forward_train(
        input,
        hx,
        state_dict,
        num_layers=num_layers,
        bidirectional=bidirectional,
        batch_first=batch_first,
        form=form,
        lengths=lengths,
        resets=resets,
    )
    return output, states


def lstm_forward_train(
    input: Array,
    hx: tuple[Array, Array] | None,
    state_dict: Mapping[str, Array],
    *,
    num_layers: int,
    bidirectional: bool = False,
    batch_first: bool = False,
    form: Form | None = None,
    lengths: ArrayLike | None = None,
    resets: ArrayLike | None = None,
    dropout_masks: Sequence[Array] | None = None,
) -> tuple[Array, tuple[Array, Array], Tape]:
    """Compute a whole LSTM, as `lstm_forward`, and keep what `lstm_backward` needs.

    Parameters
    ----------
    input, hx, state_dict, num_layers, bidirectional, batch_first, form, lengths, resets
        As in `lstm_forward`.
    dropout_masks : sequence of L-1 ndarrays, each shape (T, B, D*R), with `batch_first` (B, T, D*R), unbatched (T, D*R)
        What the output of each layer but the last is multiplied with on its way up: for dropout of probability p, 0
        or 1 / (1 - p). None means no dropout.

    Returns
    -------
    output : ndarray, shape (T, B, D*R), with `batch_first` (B, T, D*R), unbatched (T, D*R)
    (h_n, c_n) : tuple of two ndarrays, shapes as in `hx`
        As `lstm_forward`.
    tape : Tape
        Copies of the inputs and the weights, and the states and gates of every step. It can be pickled.

    Raises
    ------
    ValueError
        As `lstm_forward`, and if `dropout_masks` are too few or too many or have another shape.
    TypeError
        As `lstm_forward`, and if a mask has not the dtype of `input`.

    Examples
    --------
    >>> weights = {"weight_ih_l0": np.zeros((8, 3)), "weight_hh_l0": np.zeros((8, 2))}
    >>> output, (h_n, c_n), tape = lstm_forward_train(np.ones((5, 4, 3)), None, weights, num_layers=1)
    >>> tape.layers["_l0"].gates.f.shape
    (5, 4, 2)
    """
    check_float("input", input)
    if input.ndim not in (2, 3):
        raise ValueError(f"input: expected 2 dimensions (unbatched) or 3 (batched), got shape {input.shape}")
    if resets is not None and bidirectional:
        raise ValueError("resets: expected None for a bidirectional LSTM, got an array")
    layers = split_state_dict(state_dict, num_layers, bidirectional)
    weights = {kind: array for kind, array in layers["_l0"].items() if kind != "weight_ph"}
    _, n_hidden, n_out = check_weights(input.dtype, **weights)

    layout = Layout(batched=input.ndim == 3, batch_first=batch_first)
    x = layout.steps_first(input)  # T,B,I
    n_steps, n_rows, _ = x.shape
    if lengths is not None:
        shape = () if not layout.batched and np.ndim(lengths) == 0 else (n_rows,)
        lengths = check_lengths(lengths, n_steps, shape).reshape(n_rows)  # B
    if resets is not None:
        resets = layout.steps_first(check_resets(resets, input.shape[:-1]))  # T,B
    h_0, c_0 = initial_states(hx, len(layers), n_hidden, n_out, x, layout)  # L*D,B,R  L*D,B,H
    directions = 2 if bidirectional else 1
    masks_shape = (*input.shape[:-1], directions * n_out)
    masks = check_masks(dropout_masks, num_layers - 1, masks_shape, input.dtype)
    tape = Tape({}, directions, [layout.steps_first(mask).copy() for mask in masks], layout)

    h_n, c_n = np.empty_like(h_0), np.empty_like(c_0)  # L*D,B,R  L*D,B,H
    for layer in range(num_layers):
        if layer > 0 and tape.dropout_masks:
            x = x * tape.dropout_masks[layer - 1]  # T,B,D*R
        halves = []
        for d, direction in enumerate(("", "_reverse")[:directions]):
            k, name = layer * directions + d, f"_l{layer}{direction}"
            half, h_n[k], c_n[k], tape.layers[name] = layer_forward_train(
                x,
                h_0[k],
                c_0[k],
                **layers[name],
                form=form,
                lengths=lengths,
                resets=resets,
                reverse=direction == "_reverse",
            )
            halves.append(half)  # T,B,R
        x = np.concatenate(halves, axis=-1)  # T,B,D*R: the input of the layer above
    of_states = layout.of_states
    return layout.as_given(x), (of_states.as_given(h_n), of_states.as_given(c_n)), tape


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
        check_float(name, array)
    return {name: array.astype(np.float64) for name, array in state_dict.items()}
