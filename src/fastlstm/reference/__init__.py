"""The LSTM in plain NumPy, forward and backward: slow, complete and written to be read beside the equations.

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

The backward pass goes the same way back, line by line. Write dv for the gradient of the loss with respect to v, z for
what an activation is applied to, so that i = sigmoid(z_i), and m for o * tanh(c'), what is shown before a projection::

    dm   = W_hr^T dh'                    without a projection: dm = dh'
    dc'  = dc' from the next step + dm * o * (1 - tanh(c')^2)
    dz_i = dc' * g * i * (1 - i)         what would have been written, times the filter's slope
    dz_f = dc' * c * f * (1 - f)         what would have been kept
    dz_g = dc' * i * (1 - g^2)
    dz_o = dm * tanh(c') * o * (1 - o)   what would have been shown
    dc   = dc' * f                       the cell recurrence: f alone, backwards as well
    dx, dh = W^T dz, U^T dz              the gate recurrence: slopes and matrices
    dW, dU, db, dW_hr                    sums of dz x^T, dz h^T, dz, dh' m^T over all steps and rows

Other forms of the cell (`fastlstm.Form`) have other activations, peepholes or coupled gates; `_forms` has them beside
the standard cell of `_cell`. With another activation, its slope stands where s (1 - s) or 1 - t^2 stands above.

Shapes are written with these letters, in the docstrings and at the lines of code:

    T steps, B rows of a batch, I inputs, H hidden units (cells), P projected units, L layers, D directions;
    R = P with a projection, otherwise R = H: the size of h, and of the output.

Weights hold their four gates in the order i, f, g, o, as torch does: rows 0..H-1 of ``weight_ih`` are W_i, and so on.

Everything is computed in the dtype of the input, float32 or float64, and all arrays of a call share that dtype:
nothing is cast silently. Products are NumPy's ``@``, so the last bits may depend on the batch and on the BLAS behind
it; the promise of equal bits belongs to the compiled kernels, which are tested against this module's float64 results.

Read `_cell` first, one step; then `_forward`, steps, layers and directions; then `_backward`, all of it backwards.
`_step` and `_checks` look at arguments.
"""

from ._activations import activate, sigmoid, slope
from ._backward import cell_backward, gates_backward, layer_backward, lstm_backward
from ._forward import layer_forward, layer_forward_train, lstm_forward, lstm_forward_train, to_float64
from ._records import CellGradients, Gates, Gradients, LayerTape, Tape
from ._step import cell_forward, cell_forward_gates

__all__ = [
    "CellGradients",
    "Gates",
    "Gradients",
    "LayerTape",
    "Tape",
    "activate",
    "cell_backward",
    "cell_forward",
    "cell_forward_gates",
    "gates_backward",
    "layer_backward",
    "layer_forward",
    "layer_forward_train",
    "lstm_backward",
    "lstm_forward",
    "lstm_forward_train",
    "sigmoid",
    "slope",
    "to_float64",
]
