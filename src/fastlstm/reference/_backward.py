"""Backwards: the gradient of a loss with respect to all that went in, from its gradient with respect to what came out.

In the code dv stands for the gradient of the loss with respect to v, as in the derivation.
"""

import numpy as np

from ._activations import activate
from ._cell import standard_gradient
from ._checks import check, check_float, check_form, check_gradient, check_trainable, check_weights
from ._form import Form, is_standard
from ._forms import general_gradient, next_cell
from ._records import Array, CellGradients, Gates, Gradients, LayerTape, Tape


def gates_backward(
    gates: Gates,
    c: Array,
    grad_m: Array | None,
    grad_c_next: Array | None = None,
    *,
    weight_ph: Array | None = None,
    form: Form | None = None,
) -> tuple[Array, Array]:
    """Go back through the activations and Hadamard products of one step: all of a cell but its matrices.

    Parameters
    ----------
    gates : Gates, each shape (B, H) or (H,)
        Activations of the step; float32 or float64, and every other array has the same dtype.
    c : ndarray, shape (B, H) or (H,)
        Cell state before the step.
    grad_m : ndarray, shape of `c`, or None
        Gradient with respect to m = o * tanh(c'); without a projection m is h'. None counts as zero, here and below.
    grad_c_next : ndarray, shape of `c`, optional
        Gradient with respect to c', as it comes from the next step.
    weight_ph : ndarray, shape (3H,), optional
    form : Form, optional
        As in `cell_forward`.

    Returns
    -------
    grad_z : ndarray, shape (B, 4H) or (4H,)
        Gradient with respect to the pre-activations of the gates i, f, g, o, one beside the other.
    grad_c : ndarray, shape of `c`

    Raises
    ------
    ValueError
        If the shapes are not all the same; for a form with a clip, which has no backward pass.
    TypeError
        If a dtype is not float32 or float64, or is not that of `c`.

    Examples
    --------
    The cell recurrence hands the gradient back through the filter f alone, here half open:

    >>> half, zero = np.array([0.5]), np.array([0.0])
    >>> grad_z, grad_c = gates_backward(Gates(half, half, zero, half), np.array([2.0]), None, np.array([1.0]))
    >>> grad_c
    array([0.5])

    What the gates would have changed: f the 2.0 that was kept, with the slope 1/4; g, let in by half, with slope 1:

    >>> grad_z
    array([0. , 0.5, 0.5, 0. ])
    """
    check_float("c", c)
    for name, gate in zip(Gates._fields, gates, strict=True):
        check(name, gate, c.shape, c.dtype)
    form = check_form(form, weight_ph, c.shape[-1], c.dtype)
    check_trainable(form)
    dm = check_gradient("grad_m", grad_m, c.shape, c.dtype)
    dc_next = check_gradient("grad_c_next", grad_c_next, c.shape, c.dtype)
    if is_standard(form):
        return standard_gradient(gates, c, dm, dc_next)
    return general_gradient(gates, c, dm, dc_next, weight_ph, form)


def cell_backward(
    x: Array,
    h: Array,
    c: Array,
    gates: Gates,
    grad_h_next: Array | None,
    grad_c_next: Array | None,
    weight_ih: Array,
    weight_hh: Array,
    bias_ih: Array | None = None,
    bias_hh: Array | None = None,
    weight_hr: Array | None = None,
    *,
    weight_ph: Array | None = None,
    form: Form | None = None,
) -> CellGradients:
    """Go back through one step of one layer.

    Parameters
    ----------
    x, h, c, weight_ih, weight_hh, bias_ih, bias_hh, weight_hr, weight_ph, form
        What `cell_forward_gates` was given.
    gates : Gates, each of the shape of `c`
        What it returned.
    grad_h_next : ndarray, shape of `h`, or None
        Gradient with respect to h'; None counts as zero.
    grad_c_next : ndarray, shape of `c`, or None
        Gradient with respect to c', without the part that reaches it through h'; None counts as zero.

    Returns
    -------
    CellGradients
        New arrays: `x`, `h` and `c` in the shapes of what they belong to, `parameters` those of the weights and biases
        that were given, summed over the rows.

    Raises
    ------
    ValueError
        If a shape does not fit the others; for a form with a clip, which has no backward pass.
    TypeError
        If a dtype is not float32 or float64, or is not that of `x`.

    Examples
    --------
    >>> from fastlstm.reference import cell_forward_gates
    >>> arrays = np.ones(3), np.zeros(1), np.array([2.0])
    >>> weights = np.zeros((4, 3)), np.zeros((4, 1))
    >>> _, _, gates = cell_forward_gates(*arrays, *weights)
    >>> gradients = cell_backward(*arrays, gates, None, np.ones(1), *weights)
    >>> gradients.c  # half of the cell was kept
    array([0.5])
    >>> gradients.parameters["weight_ih"]  # one row for each of i, f, g, o; one column for each input
    array([[0. , 0. , 0. ],
           [0.5, 0.5, 0.5],
           [0.5, 0.5, 0.5],
           [0. , 0. , 0. ]])
    """
    check_float("x", x)
    n_in, n_hidden, n_out = check_weights(x.dtype, weight_ih, weight_hh, bias_ih, bias_hh, weight_hr)
    if x.ndim not in (1, 2):
        raise ValueError(f"x: expected shape (I,) or (B, I), got {x.shape}")
    batch = x.shape[:-1]  # (B,), or () for a single row
    check("x", x, (*batch, n_in), x.dtype)
    check("h", h, (*batch, n_out), x.dtype)
    check("c", c, (*batch, n_hidden), x.dtype)
    form = check_form(form, weight_ph, n_hidden, x.dtype)
    dh_next = check_gradient("grad_h_next", grad_h_next, h.shape, x.dtype)

    # h' = W_hr m
    dm = dh_next if weight_hr is None else dh_next @ weight_hr  # B,H
    dz, dc = gates_backward(gates, c, dm, grad_c_next, weight_ph=weight_ph, form=form)  # B,4H  B,H
    c_next = next_cell(form, gates.i, gates.f, gates.g, c)  # B,H

    # z = W x + U h + b: what went in gets the transposed matrices, the weights get the products with what went in.
    parameters = {"weight_ih": _sum_of_products(dz, x), "weight_hh": _sum_of_products(dz, h)}
    if weight_ph is not None:
        dz_i, dz_f, _, dz_o = np.split(dz, 4, axis=-1)  # each B,H
        seen = np.concatenate([dz_i * c, dz_f * c, dz_o * c_next], axis=-1)  # B,3H
        parameters["weight_ph"] = np.atleast_2d(seen).sum(axis=0)
    if bias_ih is not None:
        parameters["bias_ih"] = np.atleast_2d(dz).sum(axis=0)  # 4H
    if bias_hh is not None:
        parameters["bias_hh"] = np.atleast_2d(dz).sum(axis=0)  # 4H
    if weight_hr is not None:
        m = gates.o * activate(form.cell, c_next)  # B,H
        parameters["weight_hr"] = _sum_of_products(dh_next, m)
    return CellGradients(x=dz @ weight_ih, h=dz @ weight_hh, c=dc, parameters=parameters)


def layer_backward(
    tape: LayerTape, grad_output: Array | None, grad_h_n: Array | None = None, grad_c_n: Array | None = None
) -> Gradients:
    """Go back through one layer in one direction: `cell_backward` in a loop, from the last step taken to the first.

    Parameters
    ----------
    tape : LayerTape
        From `layer_forward_train`. It is not changed.
    grad_output : ndarray, shape (T, B, R), or None
        Gradient of the loss with respect to the output, in the dtype of the input. What it holds beyond a row's length
        is never read. None counts as zero, here and below.
    grad_h_n : ndarray, shape (B, R), optional
    grad_c_n : ndarray, shape (B, H), optional
        Gradients with respect to the last states, without the part that reaches them through the output.

    Returns
    -------
    Gradients
        `input` (T, B, I), `h_0` (B, R), `c_0` (B, H), and `parameters` under the names of `layer_forward`. A row of
        length 0 hands `grad_h_n` and `grad_c_n` straight to `h_0` and `c_0`; a reset lets nothing through to what was
        before it.

    Raises
    ------
    ValueError
        If a shape does not fit the tape.
    TypeError
        If `tape` is not a LayerTape, or a dtype is not that of the input.

    Examples
    --------
    All that was in the cell before is still there (f = 1), so all of the gradient reaches the initial state:

    >>> from fastlstm.reference import layer_forward_train
    >>> weights = np.zeros((4, 1)), np.zeros((4, 1)), np.full(4, 100.0)
    >>> x, zero = np.zeros((5, 2, 1)), np.zeros((2, 1))
    >>> *_, tape = layer_forward_train(x, zero, zero, *weights)
    >>> layer_backward(tape, None, grad_c_n=np.ones((2, 1))).c_0
    array([[1.],
           [1.]])
    """
    if not isinstance(tape, LayerTape):
        raise TypeError(f"tape: expected the LayerTape of layer_forward_train, got {type(tape).__name__}")
    n_steps, n_rows, n_out = tape.h.shape
    dtype = tape.input.dtype
    grad_output = check_gradient("grad_output", grad_output, (n_steps, n_rows, n_out), dtype)  # T,B,R
    dh = check_gradient("grad_h_n", grad_h_n, (n_rows, n_out), dtype).copy()  # B,R
    dc = check_gradient("grad_c_n", grad_c_n, tape.c.shape[1:], dtype).copy()  # B,H

    dx = np.zeros_like(tape.input)  # T,B,I
    parameters = {name: np.zeros_like(weight) for name, weight in tape.weights.items()}
    for t in range(n_steps) if tape.reverse else reversed(range(n_steps)):
        now = tape.valid[t]  # B
        # h' of this step went two ways: to the output, and on to the next step.
        dh[now] += grad_output[t, now]
        gates = Gates(*(gate[t, now] for gate in tape.gates))
        step = cell_backward(
            tape.input[t, now], tape.h[t, now], tape.c[t, now], gates, dh[now], dc[now], **tape.weights, form=tape.form
        )
        dx[t, now], dh[now], dc[now] = step.x, step.h, step.c
        for name, gradient in step.parameters.items():
            parameters[name] += gradient
        dh[tape.cut[t]] = 0
        dc[tape.cut[t]] = 0
    return Gradients(dx, dh, dc, parameters)


def lstm_backward(
    tape: Tape, grad_output: Array | None, grad_h_n: Array | None = None, grad_c_n: Array | None = None
) -> Gradients:
    """Go back through a whole LSTM: its layers, from the last to the first.

    Parameters
    ----------
    tape : Tape
        From `lstm_forward_train`. It is not changed, and serves as often as it is used.
    grad_output : ndarray, shape of the output: (T, B, D*R), with `batch_first` (B, T, D*R), unbatched (T, D*R), or None
        Gradient of the loss with respect to the output, in the dtype of the input. What it holds beyond a row's length
        is never read. None counts as zero, here and below.
    grad_h_n : ndarray, shape (L*D, B, R), unbatched (L*D, R), optional
    grad_c_n : ndarray, shape (L*D, B, H), unbatched (L*D, H), optional
        Gradients with respect to the last states, without the part that reaches them through the output.

    Returns
    -------
    Gradients
        `input`, `h_0` and `c_0` in the shapes of what they belong to, and `parameters` under the names of the state
        dict, in torch's order. What a row's length and resets mean is as in `layer_backward`.

    Raises
    ------
    ValueError
        If a shape does not fit the tape.
    TypeError
        If `tape` is not a Tape, or a dtype is not that of the input.

    Examples
    --------
    >>> from fastlstm.reference import lstm_forward_train
    >>> weights = {"weight_ih_l0": np.zeros((8, 3)), "weight_hh_l0": np.zeros((8, 2))}
    >>> output, (h_n, c_n), tape = lstm_forward_train(np.ones((5, 4, 3)), None, weights, num_layers=1)
    >>> gradients = lstm_backward(tape, np.ones_like(output))
    >>> gradients.input.shape, gradients.h_0.shape, list(gradients.parameters)
    ((5, 4, 3), (1, 4, 2), ['weight_ih_l0', 'weight_hh_l0'])
    """
    if not isinstance(tape, Tape):
        raise TypeError(f"tape: expected the Tape of lstm_forward_train, got {type(tape).__name__}")
    layout, of_states = tape.layout, tape.layout.of_states
    layers = list(tape.layers.values())
    n_steps, n_rows, n_out = layers[0].h.shape
    n_hidden, dtype = layers[0].c.shape[-1], layers[0].input.dtype
    batch = (n_rows,) if layout.batched else ()
    times = (n_rows, n_steps) if layout.batched and layout.batch_first else (n_steps, *batch)

    dy = check_gradient("grad_output", grad_output, (*times, tape.directions * n_out), dtype)
    dh_n = check_gradient("grad_h_n", grad_h_n, (len(layers), *batch, n_out), dtype)
    dc_n = check_gradient("grad_c_n", grad_c_n, (len(layers), *batch, n_hidden), dtype)
    dy = layout.steps_first(dy)  # T,B,D*R
    dh_n, dc_n = of_states.steps_first(dh_n), of_states.steps_first(dc_n)  # L*D,B,R  L*D,B,H

    gradients: list[Gradients] = []  # of each layer and direction, from the last to the first
    for layer in reversed(range(len(layers) // tape.directions)):
        halves = np.split(dy, tape.directions, axis=-1)  # each T,B,R
        # Both directions read the same input: its gradient is the sum of theirs.
        dx = np.zeros_like(layers[layer * tape.directions].input)  # T,B,I or, above layer 0, T,B,D*R
        for d in reversed(range(tape.directions)):
            k = layer * tape.directions + d
            gradients.append(layer_backward(layers[k], halves[d], dh_n[k], dc_n[k]))
            dx += gradients[-1].input
        # y = mask * x on the way up
        dy = dx * tape.dropout_masks[layer - 1] if layer > 0 and tape.dropout_masks else dx
    gradients.reverse()

    return Gradients(
        input=layout.as_given(dy),
        h_0=of_states.as_given(np.stack([each.h_0 for each in gradients])),
        c_0=of_states.as_given(np.stack([each.c_0 for each in gradients])),
        parameters={
            kind + name: gradient
            for name, each in zip(tape.layers, gradients, strict=True)
            for kind, gradient in each.parameters.items()
        },
    )


def _sum_of_products(dz: Array, x: Array) -> Array:
    """Return the sum over the rows of dz x^T, shape (N, K), for dz (B, N) and x (B, K), or a single row of each."""
    products: Array = np.atleast_2d(dz).T @ np.atleast_2d(x)
    return products
