"""What torch's forward refuses is refused in torch's words, and more clearly where torch's say little."""

import pytest

from tests.torch.support import assert_refused_alike, import_torch, twins

torch = import_torch()

zeros = torch.zeros
LSTM_CALLS = {
    "four axes": (zeros(1, 1, 1, 4),),
    "one axis": (zeros(4),),
    "no axes": (zeros(()),),
    "inputs": (zeros(5, 2, 7),),
    "inputs, unbatched": (zeros(5, 7),),
    "no steps": (zeros(0, 2, 4),),
    "no steps, unbatched": (zeros(0, 4),),
    "dtype": (zeros(5, 2, 4, dtype=torch.float64),),
    "integers": (zeros(5, 2, 4, dtype=torch.int64),),
    "h_0 of other rows": (zeros(5, 2, 4), (zeros(1, 9, 3), zeros(1, 2, 3))),
    "c_0 of other rows": (zeros(5, 2, 4), (zeros(1, 2, 3), zeros(1, 9, 3))),
    "h_0 of other units": (zeros(5, 2, 4), (zeros(1, 2, 4), zeros(1, 2, 3))),
    "h_0 of other layers": (zeros(5, 2, 4), (zeros(2, 2, 3), zeros(2, 2, 3))),
    "2-D states": (zeros(5, 2, 4), (zeros(1, 3), zeros(1, 3))),
    "3-D states, unbatched": (zeros(5, 4), (zeros(1, 1, 3), zeros(1, 1, 3))),
    "states of two ranks": (zeros(5, 2, 4), (zeros(1, 2, 3), zeros(1, 3))),
}


@pytest.mark.parametrize("grad", [False, True])
@pytest.mark.parametrize("call", LSTM_CALLS.values(), ids=LSTM_CALLS)
def test_what_torch_refuses(call, grad):
    theirs, ours = twins(torch, 4, 3)
    with torch.set_grad_enabled(grad):
        ours(zeros(5, 2, 4))
        assert_refused_alike(lambda: theirs(*call), lambda: ours(*call))


def test_no_steps_batch_first():
    theirs, ours = twins(torch, 4, 3, batch_first=True)
    assert_refused_alike(lambda: theirs(zeros(2, 0, 4)), lambda: ours(zeros(2, 0, 4)))


NO_TENSORS = {"nothing": (), "None": (None,), "a list": ([[1.0] * 4],), "hx is a number": (zeros(5, 2, 4), 3)}


@pytest.mark.parametrize("call", NO_TENSORS.values(), ids=NO_TENSORS)
def test_what_is_no_tensor(call):
    for module in twins(torch, 4, 3):
        with pytest.raises((TypeError, AttributeError)):
            module(*call)


STATES = {
    "none": (),
    "one": (zeros(1, 2, 3),),
    "three": (zeros(1, 2, 3),) * 3,
    "a list of three": [zeros(1, 2, 3)] * 3,
    "None for h_0": (None, zeros(1, 2, 3)),
    "None for c_0": (zeros(1, 2, 3), None),
    "stacked": zeros(2, 1, 2, 3),
}


@pytest.mark.parametrize("grad", [False, True])
@pytest.mark.parametrize("hx", STATES.values(), ids=STATES)
def test_states_that_are_no_pair(hx, grad):
    theirs, ours = twins(torch, 4, 3)
    with torch.set_grad_enabled(grad):
        ours(zeros(5, 2, 4))
        assert_refused_alike(lambda: theirs(zeros(5, 2, 4), hx), lambda: ours(zeros(5, 2, 4), hx))


@pytest.mark.parametrize(
    ("packed", "dtype"), [(False, torch.float64), (False, torch.int64), (True, torch.float64)], ids=str
)
@pytest.mark.parametrize("which", [0, 1])
def test_states_of_another_dtype_are_refused_with_the_remedy(which, dtype, packed):
    theirs, ours = twins(torch, 4, 3)
    hx = [zeros(1, 2, 3), zeros(1, 2, 3)]
    hx[which] = hx[which].to(dtype)
    x = torch.nn.utils.rnn.pack_padded_sequence(zeros(5, 2, 4), [5, 3]) if packed else zeros(5, 2, 4)
    call = x, tuple(hx)
    assert_refused_alike(lambda: theirs(*call), lambda: ours(*call))
    words = rf"LSTM: hx\[{which}\] has dtype {dtype}, the parameters torch.float32. Convert it: hx = tuple"
    with pytest.raises(RuntimeError, match=words):
        ours(*call)


def test_a_refused_call_leaves_the_module_as_it_was():
    _, ours = twins(torch, 4, 3)
    x = torch.randn(5, 2, 4)
    expected = ours(x)[0]
    with pytest.raises(RuntimeError, match="Expected 4, got 7"):
        ours(zeros(5, 2, 7))
    assert torch.equal(ours(x)[0], expected)
    assert ours.fallback is None


CELL_CALLS = {
    "three axes": (zeros(1, 1, 4),),
    "inputs": (zeros(2, 7),),
    "h of three axes": (zeros(2, 4), (zeros(1, 2, 3), zeros(1, 2, 3))),
    "h of other rows": (zeros(2, 4), (zeros(5, 3), zeros(5, 3))),
    "h of one row, not broadcast": (zeros(2, 4), (zeros(1, 3), zeros(1, 3))),
    "h of other units": (zeros(2, 4), (zeros(2, 9), zeros(2, 9))),
    "c of other units": (zeros(2, 4), (zeros(2, 3), zeros(2, 9))),
    "one state": (zeros(2, 4), (zeros(2, 3),)),
    "three states": (zeros(2, 4), (zeros(2, 3),) * 3),
    "dtype": (zeros(2, 4, dtype=torch.float64),),
    "dtype of h": (zeros(2, 4), (zeros(2, 3, dtype=torch.float64), zeros(2, 3))),
}


@pytest.mark.parametrize("grad", [False, True])
@pytest.mark.parametrize("call", CELL_CALLS.values(), ids=CELL_CALLS)
def test_what_torchs_cell_refuses(call, grad):
    theirs, ours = twins(torch, 4, 3, cell=True)
    with torch.set_grad_enabled(grad):
        ours(zeros(2, 4))
        assert_refused_alike(lambda: theirs(*call), lambda: ours(*call))
