"""load and inspect on files that the formats' own libraries wrote, and save: names, numbers, forms, what is chosen."""

import importlib.util
import os
import sys
import warnings

import numpy as np
import pytest

import fastlstm
from tests.cases import LAYERS, Case, assert_close, make_data
from tests.support import assert_same_bits, by_name, each_dtype, lstm_of, results, run_python
from tests.torch.support import import_torch, run_torch, torch_lstm

pytestmark = pytest.mark.filterwarnings("ignore:LSTM with projections is not supported with oneDNN:UserWarning")

# What a file has to tell: layers, directions, projection, bias; batch_first is for the caller to know.
STORED = tuple(
    case
    for case in LAYERS
    if case.name
    in {
        "plain",
        "no-bias",
        "projection",
        "three-layers",
        "two-layers-bidirectional",
        "two-layers-bidirectional-no-bias",
    }
)
EVERYTHING = next(case for case in LAYERS if case.name == "everything")
FORMS = (
    fastlstm.Form(("hard_sigmoid", 1 / 6, 0.5)),
    fastlstm.Form("relu", ("scaled_tanh", 1.7159, 2 / 3), "softsign"),
    fastlstm.Form(peepholes=True, coupled=True, clip=3.5, clip_at="gates"),
    fastlstm.Form(summed=True),
)


def weights_of(case, dtype="float32"):
    return make_data(case, dtype).state_dict


def assert_same_weights(lstm, state_dict):
    assert list(lstm.state_dict()) == list(state_dict)
    for name, array in lstm.state_dict().items():
        assert_same_bits(array, np.asarray(state_dict[name]), name)


# ---------------------------------------------------------------------------------------------------------------- torch


@by_name(STORED)
@each_dtype
@pytest.mark.parametrize("zipped", [True, False], ids=["zip", "before-1.6"])
def test_torch_state_dict(case, dtype, zipped, tmp_path):
    torch = import_torch()
    data = make_data(case, dtype)
    module = torch_lstm(torch, case, data)
    torch.save(module.state_dict(), tmp_path / "w", _use_new_zipfile_serialization=zipped)
    lstm = fastlstm.load(tmp_path / "w")
    assert_same_weights(lstm, data.state_dict)
    assert_close(results(lstm, data)[0], run_torch(torch, case, data)[0], "torch")


@pytest.mark.parametrize("zipped", [True, False], ids=["zip", "before-1.6"])
def test_torch_checkpoint_of_many_modules(zipped, tmp_path):
    torch = import_torch()
    model = torch.nn.ModuleDict(
        {
            "embedding": torch.nn.Embedding(7, 4),
            "encoder": torch.nn.LSTM(4, 3, num_layers=2, bidirectional=True),
            "cell": torch.nn.LSTMCell(6, 5, bias=False),
            "gru": torch.nn.GRU(4, 3),
            "rnn": torch.nn.RNN(4, 3),
        }
    )
    optimizer = torch.optim.Adam(model.parameters())
    model["cell"](torch.ones(1, 6))[0].sum().backward()
    optimizer.step()
    checkpoint = {"state_dict": model.state_dict(), "optimizer": optimizer.state_dict(), "epoch": 3, "size": (4, 3.5)}
    torch.save(checkpoint, tmp_path / "w.pt", _use_new_zipfile_serialization=zipped)

    found = {layer.name: layer for layer in fastlstm.inspect(tmp_path / "w.pt")}
    assert set(found) == {f"state_dict.{name}" for name in ("encoder", "cell", "gru", "rnn")}
    encoder, cell = found["state_dict.encoder"], found["state_dict.cell"]
    assert (encoder.input_size, encoder.hidden_size, encoder.num_layers, encoder.directions) == (4, 3, 2, 2)
    assert (cell.kind, cell.bias, cell.hidden_size, cell.dtype) == ("LSTMCell", False, 5, "float32")
    assert "GRU" in found["state_dict.gru"].problem
    assert "RNN" in found["state_dict.rnn"].problem

    expected = {name: tensor.numpy() for name, tensor in model["encoder"].state_dict().items()}
    assert_same_weights(fastlstm.load(tmp_path / "w.pt", "state_dict.encoder"), expected)
    weights = fastlstm.load(tmp_path / "w.pt", "state_dict.cell.").state_dict()
    assert_same_bits(weights["weight_hh_l0"], model["cell"].weight_hh.detach().numpy())
    with pytest.raises(ValueError, match=r"more than one LSTM: say which with prefix=(?s:.*)encoder(?s:.*)cell"):
        fastlstm.load(tmp_path / "w.pt")
    with pytest.raises(ValueError, match="GRU"):
        fastlstm.load(tmp_path / "w.pt", "state_dict.gru")
    assert_same_weights(fastlstm.load(tmp_path / "w.pt", "encoder"), expected)  # by its last part


def test_torch_script_weights_without_its_code(tmp_path):
    torch = import_torch()
    module = torch.nn.LSTM(4, 3, num_layers=2, proj_size=2)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        script = torch.jit.script(torch.nn.Sequential(torch.nn.Linear(5, 4), module))
        torch.jit.save(script, tmp_path / "w.jit")
    (layer,) = fastlstm.inspect(tmp_path / "w.jit")
    assert (layer.name, layer.format, layer.proj_size) == ("1", "TorchScript", 2)
    expected = {name: tensor.numpy() for name, tensor in module.state_dict().items()}
    assert_same_weights(fastlstm.load(tmp_path / "w.jit"), expected)


@pytest.mark.parametrize("zipped", [True, False], ids=["zip", "before-1.6"])
def test_torch_views_into_a_storage(zipped, tmp_path):
    torch = import_torch()
    state_dict = weights_of(STORED[0])
    flat = torch.from_numpy(np.concatenate([array.ravel() for array in state_dict.values()]))
    views, start = {}, 0
    for name, array in state_dict.items():
        views[name] = flat[start : start + array.size].view(array.shape)
        start += array.size
    views["weight_hh_l0"] = views["weight_hh_l0"].clone().t().contiguous().t()  # column by column
    torch.save(views, tmp_path / "w.pt", _use_new_zipfile_serialization=zipped)
    assert_same_weights(fastlstm.load(tmp_path / "w.pt"), state_dict)


@pytest.mark.parametrize("kind", ["float16", "bfloat16"])
@pytest.mark.parametrize("writer", ["torch", "safetensors"])
def test_half_precision_is_converted_when_asked_for(kind, writer, tmp_path):
    torch = import_torch()
    state_dict = {name: tensor.to(getattr(torch, kind)) for name, tensor in torch.nn.LSTM(4, 3).state_dict().items()}
    if writer == "torch":
        torch.save(state_dict, tmp_path / "w")
    else:
        pytest.importorskip("safetensors.torch", reason="pip install safetensors").save_file(state_dict, tmp_path / "w")
    assert fastlstm.inspect(tmp_path / "w")[0].dtype == kind
    with pytest.raises(TypeError, match=rf"stored as {kind}: say what to convert it to, dtype='float32'"):
        fastlstm.load(tmp_path / "w")
    lstm = fastlstm.load(tmp_path / "w", dtype="float64")
    assert_same_weights(lstm, {name: tensor.double().numpy() for name, tensor in state_dict.items()})


def test_torch_files_need_no_torch(tmp_path):
    torch = import_torch()
    torch.save(torch.nn.LSTM(4, 3).state_dict(), tmp_path / "w.pt")
    script = (
        f"import sys; sys.modules['torch'] = None; import fastlstm; print(fastlstm.load({str(tmp_path / 'w.pt')!r}))"
    )
    assert run_python(script).strip() == "LSTM(4, 3)"


# ------------------------------------------------------------------------------------------------- safetensors and npz


def saved(writer, arrays, path):
    """Write arrays with a format's own library."""
    if writer == "safetensors":
        library = pytest.importorskip("safetensors.numpy", reason="pip install safetensors")
        library.save_file(arrays, path)
    else:
        with path.open("wb") as file:  # savez adds .npz to a name
            getattr(np, writer)(file, **arrays)


each_writer = pytest.mark.parametrize("writer", ["safetensors", "savez", "savez_compressed"])


@by_name(STORED)
@each_dtype
@each_writer
def test_torch_names(case, dtype, writer, tmp_path):
    data = make_data(case, dtype)
    arrays = {f"model.lstm.{name}": array for name, array in data.state_dict.items()}
    saved(writer, arrays | {"other.weight": np.zeros(3, "int8")}, tmp_path / "w")
    (layer,) = fastlstm.inspect(tmp_path / "w")
    sizes = (layer.input_size, layer.hidden_size, layer.proj_size, layer.num_layers, layer.directions, layer.bias)
    assert sizes == (case.I, case.H, case.P, case.num_layers, case.directions, case.bias)
    assert (layer.name, layer.dtype, layer.problem) == ("model.lstm", dtype, "")
    for prefix in (None, "model.lstm", "model", "model.lstm."):
        assert_same_weights(fastlstm.load(tmp_path / "w", prefix), data.state_dict)
    assert_same_bits(results(fastlstm.load(tmp_path / "w"), data), results(lstm_of(case, data), data))


def test_npz_of_other_orders(tmp_path):
    state_dict = weights_of(STORED[0])
    turned = {name: np.asfortranarray(array).astype(">f4") for name, array in state_dict.items()}
    saved("savez", turned, tmp_path / "w")
    assert_same_weights(fastlstm.load(tmp_path / "w"), state_dict)


def test_dtype_and_batch_first(tmp_path):
    state_dict = weights_of(STORED[0], "float64")
    saved("savez", state_dict, tmp_path / "w")
    lstm = fastlstm.load(tmp_path / "w", dtype="float32", batch_first=True, threads=2)
    assert (lstm.dtype, lstm.batch_first, lstm.threads) == (np.float32, True, 2)
    assert_same_weights(lstm, {name: array.astype("float32") for name, array in state_dict.items()})
    mixed = state_dict | {"bias_hh_l0": state_dict["bias_hh_l0"].astype("float32")}
    saved("savez", mixed, tmp_path / "mixed")
    with pytest.raises(TypeError, match="stored as float32, float64: say what to convert it to"):
        fastlstm.load(tmp_path / "mixed")


def test_inspect_prints_a_line_for_each(tmp_path):
    arrays = {f"{prefix}.{name}": array for prefix in "ab" for name, array in weights_of(STORED[0]).items()}
    del arrays["b.bias_hh_l0"]
    saved("savez", arrays, tmp_path / "w")
    lines = str(fastlstm.inspect(tmp_path / "w")).splitlines()
    assert len(lines) == 2
    assert lines[0].startswith("a: LSTM of npz, I=5 H=9 L=1 D=1 P=0, float32")
    assert "missing: bias_hh_l0" in lines[1]


# ----------------------------------------------------------------------------------------------------------------- Flax


# In a process of its own, since jax warns of every later fork. Writes each cell's parameters, by Flax's
# serialization and flattened by NumPy, and what the cell makes of an input.
_FLAX = """
import flax.linen, jax, numpy as np, optax
from flax import nnx, serialization
from flax.training.train_state import TrainState

x = np.random.default_rng(0).standard_normal((2, 4)).astype(np.float32)


def flattened(tree, path=""):
    if not isinstance(tree, dict):
        return {path: tree}
    return {k: v for key, child in tree.items() for k, v in flattened(child, f"{path}/{key}".lstrip("/")).items()}


def write(name, tree, result):
    tree = jax.tree.map(np.asarray, tree)
    (c, h), output = result
    np.savez(f"{FOLDER}/{name}.results", x=x, c=c, h=h, output=output)
    np.savez(f"{FOLDER}/{name}", **flattened(tree))
    for size in (2**30, 16):  # whole arrays, then pieces of 16 bytes
        serialization.MAX_CHUNK_SIZE = size
        with open(f"{FOLDER}/{name}.{size}.msgpack", "wb") as file:
            file.write(serialization.msgpack_serialize(tree))


normal = flax.linen.initializers.normal()
for name in ("LSTMCell", "OptimizedLSTMCell"):
    cell = getattr(flax.linen, name)(3, bias_init=normal)
    carry = cell.initialize_carry(jax.random.key(0), x.shape)
    tree = cell.init(jax.random.key(1), carry, x)
    write(f"linen.{name}", tree, cell.apply(tree, carry, x))
    cell = getattr(nnx, name)(4, 3, bias_init=normal, rngs=nnx.Rngs(0))
    carry = cell.initialize_carry(x.shape, nnx.Rngs(1))
    write(f"nnx.{name}", {"params": nnx.to_pure_dict(nnx.state(cell, nnx.Param))}, cell(carry, x))

long = np.random.default_rng(1).standard_normal((2, 5, 4)).astype(np.float32)
state = lambda name, tree: open(f"{FOLDER}/{name}.msgpack", "wb").write(serialization.to_bytes(tree))
serialization.MAX_CHUNK_SIZE = 2**30
for name in ("LSTMCell", "OptimizedLSTMCell"):
    kind = getattr(flax.linen, name)
    rnn = flax.linen.Bidirectional(*(flax.linen.RNN(kind(3, bias_init=normal)) for _ in range(2)))
    tree = rnn.init(jax.random.key(2), long)
    output = rnn.apply(tree, long)
    for optimizer in (optax.chain(optax.clip(1.0), optax.adamw(1e-3)), optax.sgd(1e-3, momentum=0.9)):
        train = TrainState.create(apply_fn=rnn.apply, params=tree["params"], tx=optimizer)
        train = train.apply_gradients(grads=jax.tree.map(np.ones_like, tree["params"]))
    output = rnn.apply({"params": train.params}, long)
    adam = optax.adam(1e-3)
    state(f"linen.both.{name}", train)
    own = {"weights": train.params, "state": adam.init(train.params)}
    state(f"own.both.{name}", own)
    np.savez(f"{FOLDER}/linen.both.{name}.results", x=long, output=output)
    cells = [getattr(nnx, name)(4, 3, bias_init=normal, rngs=nnx.Rngs(k)) for k in (3, 4)]
    rnn = nnx.Bidirectional(*map(nnx.RNN, cells), rngs=nnx.Rngs(0))
    np.savez(f"{FOLDER}/nnx.both.{name}.results", x=long, output=rnn(long))
    state(f"nnx.both.{name}", {"model": nnx.to_pure_dict(nnx.state(rnn, nnx.Param))})
    optimizer = nnx.Optimizer(rnn, adam, wrt=nnx.Param)
    state(f"nnx.moments.{name}", nnx.to_pure_dict(nnx.state(optimizer)))
"""


@pytest.fixture(scope="module")
def flax_files(tmp_path_factory):
    if importlib.util.find_spec("flax") is None or importlib.util.find_spec("optax") is None:
        pytest.skip("pip install flax")  # which brings optax
    folder = tmp_path_factory.mktemp("flax")
    run_python(f"FOLDER = {str(folder)!r}" + _FLAX)
    return folder


@pytest.mark.parametrize("cell", ["linen.LSTMCell", "linen.OptimizedLSTMCell", "nnx.LSTMCell", "nnx.OptimizedLSTMCell"])
def test_flax_cells(cell, flax_files):
    paths = [flax_files / f"{cell}.npz", *(flax_files / f"{cell}.{size}.msgpack" for size in (2**30, 16))]
    expected = np.load(flax_files / f"{cell}.results.npz")
    assert b"chunked" in paths[-1].read_bytes()
    for path in paths:
        (layer,) = fastlstm.inspect(path)
        assert (layer.name, layer.input_size, layer.hidden_size, layer.problem) == ("params", 4, 3, "")
        ours, (h_n, c_n) = fastlstm.load(path)(expected["x"][None])
        for actual, name in ((ours, "output"), (h_n, "h"), (c_n, "c")):
            assert_close(actual[0], expected[name], "files")


@pytest.mark.parametrize("name", ["LSTMCell", "OptimizedLSTMCell"])
@pytest.mark.parametrize(("kind", "prefix"), [("linen", "params"), ("own", "weights"), ("nnx", "model")])
def test_flax_bidirectional_without_the_optimizer(kind, prefix, name, flax_files):
    """Its halves are one layer, and moments that have the names of weights are none."""
    path = flax_files / f"{kind}.both.{name}.msgpack"
    (layer,) = fastlstm.inspect(path)
    assert (layer.name, layer.kind, layer.directions, layer.problem) == (prefix, "Bidirectional", 2, "")
    expected = np.load(flax_files / f"{'nnx' if kind == 'nnx' else 'linen'}.both.{name}.results.npz")
    lstm = fastlstm.load(path, batch_first=True)
    assert_close(lstm(expected["x"])[0], expected["output"], "files")


@pytest.mark.parametrize("name", ["LSTMCell", "OptimizedLSTMCell"])
def test_flax_optimizers_alone_have_no_layers(name, flax_files):
    assert fastlstm.inspect(flax_files / f"nnx.moments.{name}.msgpack") == []


def test_flax_half_of_a_bidirectional(tmp_path):
    parts = {f"{side}{gate}/kernel": np.zeros((3, 3), "f4") for side in "ih" for gate in "ifgo"}
    for which in ("forward", "backward"):
        saved("savez", {f"a/{which}_rnn/cell/{name}": array for name, array in parts.items()}, tmp_path / "w")
        (layer,) = fastlstm.inspect(tmp_path / "w")
        assert (layer.name, layer.kind, layer.directions) == (f"a/{which}_rnn/cell", "LSTMCell", 1)
    both = {f"{which}_rnn/cell/{name}": array for which in ("forward", "backward") for name, array in parts.items()}
    saved("savez", both, tmp_path / "w")
    assert [(layer.name, layer.directions) for layer in fastlstm.inspect(tmp_path / "w")] == [("", 2)]
    wrong = both | {"backward_rnn/cell/ii/kernel": np.zeros((4, 3), "f4")}
    saved("savez", wrong, tmp_path / "w")
    (layer,) = fastlstm.inspect(tmp_path / "w")
    assert "gates differ" in layer.problem


# ----------------------------------------------------------------------------------------------------------------- ONNX


@pytest.mark.parametrize("bidirectional", [False, True])
def test_onnx_node(bidirectional, tmp_path):
    onnx = pytest.importorskip("onnx", reason="pip install onnx")
    case = Case("onnx-file", T=7, B=3, I=5, H=9, bidirectional=bidirectional)
    state_dict = weights_of(case)

    def stacked(*names):
        order = [0, 3, 1, 2]  # i o f c
        ends = ("_l0", "_l0_reverse")[: case.directions]
        return np.stack(
            [
                np.concatenate([np.concatenate([np.split(state_dict[n + e], 4)[k] for k in order]) for n in names])
                for e in ends
            ]
        )

    arrays = {"W": stacked("weight_ih"), "R": stacked("weight_hh"), "B": stacked("bias_ih", "bias_hh")}
    direction = "bidirectional" if bidirectional else "forward"
    node = onnx.helper.make_node("LSTM", ["X", *arrays], ["Y"], "rnn", hidden_size=case.H, direction=direction)
    value = onnx.helper.make_tensor_value_info
    graph = onnx.helper.make_graph(
        [node],
        "graph",
        [value("X", 1, ["T", "B", case.I])],
        [value("Y", 1, ["T", case.directions, "B", case.H])],
        [onnx.numpy_helper.from_array(array, name) for name, array in arrays.items()],
    )
    onnx.save(
        onnx.helper.make_model(graph, opset_imports=[onnx.helper.make_opsetid("", 22)], ir_version=10), tmp_path / "m"
    )
    (layer,) = fastlstm.inspect(tmp_path / "m")
    assert (layer.name, layer.format, layer.directions) == ("rnn", "ONNX", case.directions)
    assert_same_weights(fastlstm.load(tmp_path / "m", "rnn"), state_dict)


# ----------------------------------------------------------------------------------------------------------------- save


each_suffix = pytest.mark.parametrize("suffix", [".npz", ".safetensors"])


@by_name(STORED)
@each_dtype
@each_suffix
def test_save_gives_the_same_layer_back(case, dtype, suffix, tmp_path):
    data = make_data(case, dtype)
    lstm = lstm_of(case, data)
    path = tmp_path / f"w{suffix}"
    fastlstm.save(lstm, path)
    again = fastlstm.load(path)
    assert repr(again) == repr(lstm)
    assert_same_weights(again, data.state_dict)
    assert_same_bits(results(again, data), results(lstm, data))


@pytest.mark.parametrize("form", [fastlstm.Form(), *FORMS], ids=repr)
@pytest.mark.parametrize(("batch_first", "dropout"), [(True, 0.25), (False, 0.0), (True, 0.0), (False, 0.5)])
@each_suffix
def test_save_keeps_form_and_options(form, batch_first, dropout, suffix, tmp_path):
    lstm = fastlstm.LSTM(4, 3, num_layers=2, batch_first=batch_first, dropout=dropout, form=form, seed=0)
    path = tmp_path / f"w{suffix}"
    fastlstm.save(lstm, path)
    again = fastlstm.load(path)
    assert again.form == form
    assert (again.batch_first, again.dropout) == (batch_first, dropout)
    assert_same_weights(again, lstm.state_dict())
    assert not fastlstm.load(path, batch_first=False).batch_first
    fastlstm.save(again, tmp_path / f"again{suffix}")
    assert (tmp_path / f"again{suffix}").read_bytes() == path.read_bytes()


def test_save_to_onnx(tmp_path):
    pytest.importorskip("onnx", reason="pip install onnx")
    lstm = fastlstm.LSTM(4, 3, bidirectional=True, form=fastlstm.Form("sigmoid", "relu"), seed=0)
    fastlstm.save(lstm, tmp_path / "w.onnx")
    again = fastlstm.load(tmp_path / "w.onnx")
    assert again.form == lstm.form
    assert_same_weights(again, lstm.state_dict())


def test_saved_npz_is_one_of_numpy(tmp_path):
    lstm = fastlstm.LSTM(4, 3, seed=0)
    fastlstm.save(lstm, tmp_path / "w.npz")
    with np.load(tmp_path / "w.npz", allow_pickle=False) as arrays:
        assert_same_weights(lstm, dict(arrays))
        lstm.load_state_dict(dict(arrays))
    np.savez(tmp_path / "plain", **lstm.state_dict())
    assert (tmp_path / "plain.npz").read_bytes() == (tmp_path / "w.npz").read_bytes()
    form = fastlstm.LSTM(4, 3, form=FORMS[1])
    fastlstm.save(form, tmp_path / "w.npz")
    with np.load(tmp_path / "w.npz", allow_pickle=False) as arrays:
        assert set(arrays) == {*form.state_dict(), "fastlstm"}
        np.savez_compressed(tmp_path / "repacked", **arrays)
    assert fastlstm.load(tmp_path / "repacked.npz").form == FORMS[1]


def test_saving_needs_numpy_alone(tmp_path):
    script = "import sys\nfor name in ('safetensors', 'torch', 'onnx', 'msgpack', 'h5py'): sys.modules[name] = None\n"
    script += f"import fastlstm, os; os.chdir({str(tmp_path)!r})\n"
    script += "for path in ('a.npz', 'a.safetensors', 'A.NPZ'):\n"
    script += "    fastlstm.save(fastlstm.LSTM(4, 3), path); print(fastlstm.load(path))"
    assert run_python(script).split("\n")[:3] == ["LSTM(4, 3)"] * 3


def test_saved_file_is_one_of_safetensors_that_torch_takes(tmp_path):
    torch = import_torch()
    library = pytest.importorskip("safetensors.torch", reason="pip install safetensors")
    for case in STORED:
        for dtype in ("float32", "float64"):
            lstm = lstm_of(case, make_data(case, dtype))
            fastlstm.save(lstm, tmp_path / "w.safetensors")
            loaded = library.load_file(tmp_path / "w.safetensors")
            assert_same_weights(lstm, {name: loaded[name].numpy() for name in lstm.state_dict()})
            with library.safe_open(tmp_path / "w.safetensors", "np") as file:
                assert set(file.metadata()) == {"fastlstm"}
            module = torch.nn.LSTM(
                case.I, case.H, case.num_layers, case.bias, bidirectional=case.bidirectional, proj_size=case.P
            )
            module.to(getattr(torch, dtype)).load_state_dict(loaded)


@pytest.mark.parametrize(
    "name", ["w", "w.pt", "w.h5", "w.keras", "w.npy", "w.", ".npz", "w.npz.gz", "npz", "w.safetensor"]
)
def test_save_refuses_other_endings(name, tmp_path):
    with pytest.raises(ValueError, match=r"path should end in \.npz, \.safetensors, \.onnx or \.flw, got: "):
        fastlstm.save(fastlstm.LSTM(4, 3), tmp_path / name)
    assert not os.listdir(tmp_path)


def test_save_takes_paths_of_every_type(tmp_path):
    lstm = fastlstm.LSTM(4, 3, seed=0)

    class Pathlike:
        def __fspath__(self):
            return os.fsencode(tmp_path / "c.npz")

    for path in (str(tmp_path / "a.npz"), tmp_path / "b.npz", Pathlike()):
        fastlstm.save(lstm, path)
    assert sorted(os.listdir(tmp_path)) == ["a.npz", "b.npz", "c.npz"]
    for path in (None, 3, os.fsencode(tmp_path / "d.npz")):
        with pytest.raises(TypeError, match=r"path should be a str or os\.PathLike"):
            fastlstm.save(lstm, path)


@each_suffix
def test_save_replaces_whole_files_only(suffix, tmp_path, monkeypatch):
    path, link = tmp_path / f"w{suffix}", tmp_path / f"link{suffix}"
    fastlstm.save(fastlstm.LSTM(4, 3, seed=0), path)
    old = path.read_bytes()
    link.symlink_to(path)
    fastlstm.save(fastlstm.LSTM(4, 3, seed=1), link)
    assert link.is_symlink()
    new = path.read_bytes()
    assert new != old

    def full(descriptor):
        raise OSError(28, "No space left on device")

    with monkeypatch.context() as patch:
        patch.setattr(os, "fsync", full)
        with pytest.raises(OSError, match=r"cannot write: No space left on device(?s:.*)w\."):
            fastlstm.save(fastlstm.LSTM(4, 3, seed=2), path)
    assert path.read_bytes() == new
    (tmp_path / f"folder{suffix}").mkdir()
    for bad in (tmp_path / "none" / path.name, tmp_path / f"folder{suffix}"):
        with pytest.raises(OSError, match="cannot write"):
            fastlstm.save(fastlstm.LSTM(4, 3, seed=2), bad)
    assert sorted(os.listdir(tmp_path)) == sorted([f"folder{suffix}", link.name, path.name])


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="no pipes with names here")
@each_suffix
def test_save_leaves_pipes_and_devices(suffix, tmp_path):
    os.mkfifo(tmp_path / f"w{suffix}")
    (tmp_path / f"link{suffix}").symlink_to(tmp_path / f"w{suffix}")
    for name in ("w", "link"):
        with pytest.raises(OSError, match=r"cannot write: a pipe or a device is there"):
            fastlstm.save(fastlstm.LSTM(4, 3), tmp_path / f"{name}{suffix}")
    assert (tmp_path / f"w{suffix}").is_fifo()


@pytest.mark.skipif(os.name != "posix", reason="modes of files are posix's")
@each_suffix
def test_save_keeps_who_may_read(suffix, tmp_path):
    path = tmp_path / ("w" * (255 - len(suffix)) + suffix)  # as long as a name may be
    fastlstm.save(fastlstm.LSTM(4, 3), path)
    path.chmod(0o600)
    fastlstm.save(fastlstm.LSTM(4, 3), path)
    assert path.stat().st_mode & 0o777 == 0o600


def test_save_refuses_what_load_would(tmp_path):
    lstm = fastlstm.LSTM(4, 3)
    wrong = dict(lstm.state_dict())
    wrong["bias_hh_l0"] = np.full(12, np.nan, np.float32)
    lstm.load_state_dict(wrong)
    for suffix in (".npz", ".safetensors", ".onnx"):
        with pytest.raises(ValueError, match=r"12 of 12 values of bias_hh_l0 are NaN or infinite"):
            fastlstm.save(lstm, tmp_path / f"w{suffix}")
    with pytest.raises(TypeError, match=r"lstm should be a fastlstm\.LSTM, got: LSTMCell"):
        fastlstm.save(fastlstm.LSTMCell(4, 3), tmp_path / "w.npz")
    assert not os.listdir(tmp_path)


def test_a_module_that_is_called_fastlstm(tmp_path):
    """Its arrays are no description of ours."""
    weights = weights_of(STORED[0])
    for writer in ("savez", "safetensors"):
        saved(writer, {f"fastlstm.{name}": array for name, array in weights.items()}, tmp_path / "w")
        assert_same_weights(fastlstm.load(tmp_path / "w", "fastlstm"), weights)


def description(dropout):
    return f'{{"form": {{}}, "batch_first": false, "dropout": {dropout}}}'


@pytest.mark.parametrize(
    "text",
    [
        *("", "{}", "[]", "null", '{"form": {"gate": "no"}}', "[" * 3000, '{"form": 1}'),
        *map(description, ("7", "-1", "NaN", "Infinity", "1e999", '"0.5"', "true", "null")),
    ],
)
@each_suffix
def test_a_description_that_is_none(text, suffix, tmp_path):
    weights = fastlstm.LSTM(4, 3).state_dict()
    path = tmp_path / f"w{suffix}"
    if suffix == ".npz":
        np.savez(path, **weights, fastlstm=np.array(text))
    else:
        library = pytest.importorskip("safetensors.numpy", reason="pip install safetensors")
        library.save_file(weights, path, metadata={"fastlstm": text})
    with pytest.raises(ValueError, match="is not one of fastlstm's"):
        fastlstm.load(path)


# --------------------------------------------------------------------------------------------------------------- extras


@pytest.mark.parametrize(
    ("module", "head"),
    [
        ("onnx", b"\x08\x0a\x12\x00"),
    ],
)
def test_missing_reader_names_its_package(module, head, tmp_path, monkeypatch):
    (tmp_path / "w").write_bytes(head)
    monkeypatch.setitem(sys.modules, module, None)
    with pytest.raises(ModuleNotFoundError, match=rf"^this file needs {module}: pip install {module}$"):
        fastlstm.inspect(tmp_path / "w")
