"""torch.nn.LSTM on a case, forward and backward, for the tests that compare with it where it is installed."""

import warnings
from collections.abc import Callable, Iterator
from dataclasses import replace
from typing import Any

import numpy as np
import pytest

from tests.cases import Array, Case, Data, assert_close
from tests.support import assert_same_bits


def import_torch() -> Any:
    """Return torch, on one thread; without it the test is skipped."""
    torch = pytest.importorskip("torch", reason="pip install torch")
    torch.set_num_threads(1)
    return torch


def torch_lstm(torch: Any, case: Case, data: Data) -> Any:
    """Return an nn.LSTM with the weights of the case."""
    dtype = getattr(torch, data.input.dtype.name)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        lstm = torch.nn.LSTM(case.I, case.H, bias=case.bias, proj_size=case.P, dtype=dtype, **case.config)
    lstm.load_state_dict({name: torch.from_numpy(array) for name, array in data.state_dict.items()})
    return lstm


def twins(torch: Any, *args: Any, cell: bool = False, seed: int = 0, **options: Any) -> tuple[Any, Any]:
    """Return a module of torch's and one of fastlstm.torch's with equal parameters."""
    import fastlstm.torch as fast

    makes = (torch.nn.LSTMCell, fast.LSTMCell) if cell else (torch.nn.LSTM, fast.LSTM)
    torch.manual_seed(seed)
    theirs, ours = (make(*args, **options) for make in makes)
    ours.load_state_dict(theirs.state_dict())
    return theirs, ours


def fast_lstm(torch: Any, case: Case, data: Data, **options: Any) -> Any:
    """Return a fastlstm.torch.LSTM with the weights of the case."""
    import fastlstm.torch as fast

    dtype = getattr(torch, data.input.dtype.name)
    lstm = fast.LSTM(case.I, case.H, bias=case.bias, proj_size=case.P, dtype=dtype, **case.config, **options)
    lstm.load_state_dict({name: torch.from_numpy(array) for name, array in data.state_dict.items()})
    return lstm


def arrays(results: Any) -> list[Array]:
    """Return every tensor among nested results, packed ones too, as arrays in order; None is left out."""
    return list(_arrays(results))


def _arrays(results: Any) -> Iterator[Array]:
    if isinstance(results, tuple | list):
        for one in results:
            yield from _arrays(one)
    elif results is not None:
        yield results.detach().numpy()


def assert_same_values(actual: Any, expected: Any, tolerance: str = "torch") -> None:
    """Raise AssertionError unless nested results are equal: integers exactly, floats within a tolerance."""
    ours, theirs = arrays(actual), arrays(expected)
    assert len(ours) == len(theirs)
    for one, other in zip(ours, theirs, strict=True):
        assert one.dtype == other.dtype
        if one.dtype.kind == "f":
            assert_close(one, other, tolerance)
        else:
            assert np.array_equal(one, other)


def assert_equal_bits(actual: Any, expected: Any) -> None:
    """Raise AssertionError unless nested results are equal to the bit."""
    assert_same_bits(tuple(arrays(actual)), tuple(arrays(expected)))


def assert_refused_alike(theirs: Callable[[], Any], ours: Callable[[], Any]) -> None:
    """Raise AssertionError unless both raise the same class, and ours with at least the words of theirs."""
    with pytest.raises(Exception) as expected:  # noqa: PT011  whatever torch raises
        theirs()
    with pytest.raises(expected.type) as got:
        ours()
    assert got.type is expected.type
    assert str(expected.value).splitlines()[0] in str(got.value)


def run_torch(torch: Any, case: Case, data: Data) -> tuple[Array, Array, Array]:
    """Run torch on a case: output, h_n, c_n."""
    with torch.no_grad():
        *results, _ = _run(torch, case, data, *(torch.from_numpy(a) for a in (data.input, data.h_0, data.c_0)))
    output, h_n, c_n = (tensor.numpy() for tensor in results)
    return output, h_n, c_n


def torch_gradients(torch: Any, case: Case, data: Data, incoming: tuple[Array, Array, Array]) -> dict[str, Array]:
    """Return torch's gradients for a case under "input", "h_0", "c_0" and the names of the state dict."""
    leaves = [torch.tensor(array, requires_grad=True) for array in (data.input, data.h_0, data.c_0)]
    *results, parameters = _run(torch, case, data, *leaves)
    inputs = dict(zip(("input", "h_0", "c_0"), leaves, strict=True)) | parameters
    incoming_tensors = [torch.from_numpy(gradient) for gradient in incoming]
    gradients = torch.autograd.grad(results, list(inputs.values()), incoming_tensors, materialize_grads=True)
    return {name: gradient.numpy() for name, gradient in zip(inputs, gradients, strict=True)}


# Everything below goes from tensors to tensors, differentiably.


def _run(torch: Any, case: Case, data: Data, x: Any, h_0: Any, c_0: Any) -> tuple[Any, Any, Any, dict[str, Any]]:
    """Return output, h_n, c_n and the parameters. Torch takes no dropout masks: with them, one layer at a time."""
    if data.dropout_masks is None:
        lstm = torch_lstm(torch, case, data)
        return (*_run_module(torch, lstm, case, data, x, h_0, c_0), dict(lstm.named_parameters()))
    h_n, c_n, parameters = [], [], {}
    for k in range(case.num_layers):
        weights = {n.replace(f"_l{k}", "_l0"): w for n, w in data.state_dict.items() if f"_l{k}" in n}
        layer = replace(case, num_layers=1, I=x.shape[-1])
        lstm = torch_lstm(torch, layer, replace(data, state_dict=weights))
        of_layer = slice(k * case.directions, (k + 1) * case.directions)
        x, h, c = _run_module(torch, lstm, layer, data, x, h_0[of_layer], c_0[of_layer])
        if k < case.num_layers - 1:
            x = x * torch.from_numpy(data.dropout_masks[k])
        h_n.append(h)
        c_n.append(c)
        parameters |= {n.replace("_l0", f"_l{k}"): parameter for n, parameter in lstm.named_parameters()}
    return x, torch.cat(h_n), torch.cat(c_n), parameters


def _run_module(torch: Any, lstm: Any, case: Case, data: Data, x: Any, h_0: Any, c_0: Any) -> tuple[Any, Any, Any]:
    """Run an nn.LSTM without lengths or resets, with lengths as a packed sequence, or with resets row by row."""
    if data.resets is not None:
        return _run_steps(torch, lstm, case, data, x, h_0, c_0)
    if data.lengths is not None:
        return _run_packed(torch, lstm, case, data, x, h_0, c_0)
    output, (h_n, c_n) = lstm(x, (h_0, c_0))
    return output, h_n, c_n


def _run_packed(torch: Any, lstm: Any, case: Case, data: Data, x: Any, h_0: Any, c_0: Any) -> tuple[Any, Any, Any]:
    """Run torch on the rows that have a step at all; the others, which torch refuses, keep their state."""
    assert data.lengths is not None
    rows = torch.from_numpy(np.flatnonzero(data.lengths))
    row_axis = 0 if case.batch_first else 1
    packed = torch.nn.utils.rnn.pack_padded_sequence(
        x.index_select(row_axis, rows),
        torch.from_numpy(data.lengths)[rows],
        batch_first=case.batch_first,
        enforce_sorted=False,
    )
    result, (h, c) = lstm(packed, (h_0[:, rows], c_0[:, rows]))
    padded, _ = torch.nn.utils.rnn.pad_packed_sequence(result, batch_first=case.batch_first, total_length=case.T)
    nothing = x.new_zeros((*x.shape[:2], padded.shape[-1]))
    return nothing.index_copy(row_axis, rows, padded), h_0.index_copy(1, rows, h), c_0.index_copy(1, rows, c)


def _run_steps(torch: Any, lstm: Any, case: Case, data: Data, x: Any, h_0: Any, c_0: Any) -> tuple[Any, Any, Any]:
    """Run torch one row and one step at a time, with the state zeroed in between where it is reset."""
    assert data.resets is not None
    lengths = np.full(case.B, case.T) if data.lengths is None else data.lengths
    rows, h_n, c_n = [], [], []
    for row in range(case.B):
        h, c = h_0[:, row], c_0[:, row]
        steps = []
        for t in range(lengths[row]):
            at = (row, t) if case.batch_first else (t, row)
            if data.resets[at]:
                h, c = torch.zeros_like(h), torch.zeros_like(c)
            y, (h, c) = lstm(x[at][None], (h, c))
            steps.append(y)
        padding = x.new_zeros((case.T - lengths[row], case.R))
        rows.append(torch.cat([*steps, padding]))
        h_n.append(h)
        c_n.append(c)
    return torch.stack(rows, 0 if case.batch_first else 1), torch.stack(h_n, 1), torch.stack(c_n, 1)
