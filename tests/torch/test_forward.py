"""fastlstm.torch.LSTM gives torch's results for every configuration and layout, and fastlstm's own bits."""

import itertools

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.cases import CELLS, LAYERS, Case, Data, make_data
from tests.support import assert_same_bits, by_name, each_dtype, lstm_of, results
from tests.torch.support import assert_equal_bits, assert_same_values, fast_lstm, import_torch, run_torch, twins

torch = import_torch()
pytestmark = pytest.mark.filterwarnings("ignore:LSTM with projections")  # torch's, about its own code

HAVE_STEPS = tuple(case for case in (*CELLS, *LAYERS) if case.T)  # torch refuses T = 0
FLAGS = ("bias", "batch_first", "bidirectional")
CONFIGURATIONS = [
    {"num_layers": layers, "proj_size": proj_size} | dict(zip(FLAGS, flags, strict=True))
    for layers, proj_size in itertools.product((1, 2, 3), (0, 2))
    for flags in itertools.product((True, False), repeat=3)
]
each_configuration = pytest.mark.parametrize(
    "options", CONFIGURATIONS, ids=lambda o: "-".join(f"{k}={v:d}" for k, v in o.items())
)


def run_fast(case: Case, data: Data, **options):
    """Run the case's module on the whole case: output, h_n, c_n, as arrays."""
    lstm = fast_lstm(torch, case, data, **options)
    with torch.no_grad():
        x, *hx = (torch.from_numpy(array) for array in (data.input, data.h_0, data.c_0))
        output, (h_n, c_n) = lstm(x, tuple(hx), lengths=data.lengths, resets=data.resets)
        # weights are packed now: the short way
        assert_equal_bits(lstm(x, tuple(hx), lengths=data.lengths, resets=data.resets), (output, (h_n, c_n)))
    assert lstm.fallback is None
    return output.numpy(), h_n.numpy(), c_n.numpy()


@each_dtype
@by_name(HAVE_STEPS)
def test_a_case_gives_torchs_results_and_the_bits_of_fastlstm(case, dtype):
    data = make_data(case, dtype)
    got = run_fast(case, data)
    assert_same_values([torch.from_numpy(a) for a in got], [torch.from_numpy(a) for a in run_torch(torch, case, data)])
    assert_same_bits(got, results(lstm_of(case, data), data))


@each_dtype
@each_configuration
def test_every_configuration_with_and_without_batch_and_states(options, dtype):
    theirs, ours = twins(torch, 4, 5, dtype=getattr(torch, dtype), **options)
    states = options["num_layers"] * (1 + options["bidirectional"])
    x = torch.randn(3, 6, 4, dtype=theirs.weight_ih_l0.dtype)
    rows = 3 if options["batch_first"] else 6
    h_0 = torch.randn(states, rows, options["proj_size"] or 5, dtype=x.dtype)
    c_0 = torch.randn(states, rows, 5, dtype=x.dtype)
    calls = [(x,), (x, (h_0, c_0)), (x, [h_0, c_0]), (x[0],), (x[0], (h_0[:, 0], c_0[:, 0]))]
    for call in calls:
        for grad in (False, True):
            with torch.set_grad_enabled(grad):
                assert_same_values(ours(*call), theirs(*call))
            assert ours.fallback is None


@pytest.mark.parametrize("batch_first", [False, True])
def test_no_rows(batch_first):
    theirs, ours = twins(torch, 4, 5, num_layers=2, bidirectional=True, batch_first=batch_first)
    x = torch.zeros(0, 3, 4) if batch_first else torch.zeros(3, 0, 4)
    expected = theirs(x)
    assert_same_values(ours(x), expected)
    assert ours.fallback is None
    assert_same_values(ours(x, (torch.zeros(4, 0, 5), torch.zeros(4, 0, 5))), expected)
    assert ours.fallback is None


def test_one_step_and_one_row():
    theirs, ours = twins(torch, 1, 1)
    assert_same_values(ours(torch.ones(1, 1, 1)), theirs(torch.ones(1, 1, 1)))


LAYOUTS = {
    "transposed": lambda t: t.transpose(0, 1).contiguous().transpose(0, 1),
    "every axis apart": lambda t: torch.stack([t, t], -1)[..., 0],
    "inside a larger one": lambda t: torch.nn.functional.pad(t, (1, 2, 1, 0, 2, 1))[2:-1, 1:, 1:-2],
    "first axis last": lambda t: t.movedim(0, -1).contiguous().movedim(-1, 0),
}


@pytest.mark.parametrize("batch_first", [False, True])
@pytest.mark.parametrize("layout", LAYOUTS.values(), ids=LAYOUTS)
def test_layouts_of_input_and_states_do_not_change_a_bit(layout, batch_first):
    _, ours = twins(torch, 4, 5, num_layers=2, batch_first=batch_first)
    x = torch.randn(3, 3, 4)
    hx = torch.randn(2, 3, 5), torch.randn(2, 3, 5)
    expected = ours(x, hx)
    moved = layout(x), tuple(layout(t) for t in hx)
    assert torch.equal(moved[0], x)
    assert_equal_bits(ours(*moved), expected)
    with torch.no_grad():
        for call in (moved, (x, moved[1]), (moved[0], hx)):
            assert_equal_bits(ours(*call), expected)
    assert ours.fallback is None


@each_dtype
@pytest.mark.parametrize("kind", ["LSTM", "batch_first", "LSTMCell"])
def test_calls_without_gradients_take_the_short_way(monkeypatch, kind, dtype):
    """The same bits, with no more than the extension in between."""
    cell, real = kind == "LSTMCell", getattr(torch, dtype)
    options = {} if cell else {"num_layers": 2, "bidirectional": True, "proj_size": 3}
    if kind == "batch_first":
        options["batch_first"] = True
    _, ours = twins(torch, 4, 5, cell=cell, dtype=real, **options)
    x = torch.randn((2, 4) if cell else (2, 6, 4), dtype=real)
    rows = (2,) if cell else (4, 2 if kind == "batch_first" else 6)
    h, c = torch.randn(*rows, 5 if cell else 3, dtype=real), torch.randn(*rows, 5, dtype=real)
    calls = ((x,), (x, (h, c)))
    expected = [ours(*call) for call in calls]
    if ours._plans.kept.direct is None:
        pytest.skip("torch before 2.10 has not the table that it needs")
    monkeypatch.setattr(type(ours), "_run", None)
    with torch.no_grad():
        for call, values in zip(calls, expected, strict=True):
            assert_equal_bits(ours(*call), values)
        with pytest.raises(TypeError, match="not callable"):
            ours(x.flip(0), [h, c])  # a list: the other way


def test_expanded_input_and_states():
    theirs, ours = twins(torch, 4, 5, num_layers=2)
    x = torch.randn(3, 1, 4).expand(3, 6, 4)
    hx = torch.randn(1, 1, 5).expand(2, 6, 5), torch.randn(2, 1, 5).expand(2, 6, 5)
    expected = ours(x.contiguous(), tuple(t.contiguous() for t in hx))
    assert_equal_bits(ours(x, hx), expected)
    assert_same_values(expected, theirs(x, hx))
    one = torch.randn(1).expand(3, 6, 4)
    assert_same_values(ours(one), theirs(one))


def test_parameters_in_any_layout():
    theirs, ours = twins(torch, 4, 5, proj_size=2)
    for name, parameter in list(ours.named_parameters()):
        apart = torch.stack([parameter.detach(), torch.zeros_like(parameter)], -1)[..., 0]
        turned = apart if apart.dim() == 1 else parameter.detach().t().contiguous().t()
        assert not turned.is_contiguous()
        setattr(ours, name, torch.nn.Parameter(turned))
    x = torch.randn(3, 2, 4)
    assert_same_values(ours(x), theirs(x))
    assert ours.fallback is None
    with torch.no_grad():
        for module in (ours, theirs):
            module.weight_hh_l0[3] *= 3
    assert_same_values(ours(x), theirs(x))


def test_input_and_states_are_left_as_they_are_and_results_are_new():
    _, ours = twins(torch, 4, 5)
    x, hx = torch.randn(3, 2, 4), (torch.randn(1, 2, 5), torch.randn(1, 2, 5))
    before = [t.clone() for t in (x, *hx)]
    first = ours(x, hx)
    kept = [t.clone() for t in (first[0], *first[1])]
    ours(x * 2, hx)
    assert_equal_bits([x, *hx], before)
    assert_equal_bits(first, kept)


@settings(max_examples=60, deadline=None)
@given(st.data())
def test_any_shape_and_strides(draw):
    sizes = st.integers(1, 20)
    T, B, I, H = (draw.draw(sizes) for _ in range(4))
    options = {
        "num_layers": draw.draw(st.integers(1, 2)),
        "bias": draw.draw(st.booleans()),
        "bidirectional": draw.draw(st.booleans()),
        "batch_first": draw.draw(st.booleans()),
        "proj_size": draw.draw(st.integers(0, H - 1)),
    }
    theirs, ours = twins(torch, I, H, seed=draw.draw(st.integers(0, 99)), **options)
    shape = (B, T, I) if options["batch_first"] else (T, B, I)
    order = draw.draw(st.permutations(range(3)))
    steps = [draw.draw(st.integers(1, 3)) for _ in range(3)]
    base = torch.randn([shape[axis] * steps[axis] for axis in order])
    x = base.permute([order.index(axis) for axis in range(3)])[tuple(slice(None, None, step) for step in steps)]
    assert x.shape == shape
    got = ours(x)
    assert ours.fallback is None
    assert_same_values(got, theirs(x))
    assert_equal_bits(got, ours(x.contiguous()))


def test_results_share_no_memory_with_the_module():
    _, ours = twins(torch, 4, 5)
    with torch.no_grad():
        output, (h_n, c_n) = ours(torch.randn(1, 2, 4))
    pointers = {t.untyped_storage().data_ptr() for t in (output, h_n, c_n, *ours.parameters())}
    assert len(pointers) == 3 + len(list(ours.parameters()))
