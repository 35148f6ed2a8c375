"""torch's files with more in them than a state dict: foreign objects, whole modules, scripts, weights kept in parts."""

import argparse
import collections
import datetime
import enum
import functools
import pathlib
import pickle
import subprocess
import sys
import types
import warnings
import zipfile

import numpy as np
import pytest

import fastlstm
from fastlstm.files import _torch_script
from tests.cases import assert_close
from tests.files.support import legacy_checkpoint, zip_checkpoint
from tests.support import assert_same_bits, run_python
from tests.torch.support import import_torch

torch = import_torch()
pytestmark = [
    pytest.mark.filterwarnings("ignore:.*:FutureWarning"),
    pytest.mark.filterwarnings("ignore:.*:DeprecationWarning"),
    pytest.mark.filterwarnings("ignore:.*:UserWarning"),
]

each_writer = pytest.mark.parametrize("zipped", [True, False], ids=["zip", "before-1.6"])
X = np.random.default_rng(0).standard_normal((5, 2, 4)).astype(np.float32)


class Net(torch.nn.Module):
    """Around an LSTM."""

    def __init__(self, *arguments, **options):
        super().__init__()
        self.encoder = torch.nn.Sequential(torch.nn.Linear(4, 4), torch.nn.LSTM(4, 3, *arguments, **options))
        self.note = {"anything": object}


class Settings(list):
    """A class of lists with attributes."""

    def __init__(self, values):
        super().__init__(values)
        self.flags = {"x": self}


class Slots:
    __slots__ = ("a", "b")

    def __init__(self):
        self.a, self.b = 1, [2]


class Colour(enum.Enum):
    RED = 1


class Keywords:
    def __new__(cls, *, a):
        return super().__new__(cls)

    def __getnewargs_ex__(self):
        return (), {"a": 1}


def assert_weights(lstm, module):
    assert set(lstm.state_dict()) == set(module.state_dict())
    for name, tensor in module.state_dict().items():
        assert_same_bits(lstm.state_dict()[name], tensor.numpy(), name)


def foreign():
    """Objects of all kinds that checkpoints have in them."""
    counted = collections.Counter("aab")
    return {
        "namespace": argparse.Namespace(lr=0.1, path=pathlib.PurePosixPath("/x")),
        "path": pathlib.Path("somewhere"),
        "date": datetime.datetime(2020, 1, 1),
        "scalar": np.float64(0.5),
        "array": np.arange(6, dtype="f4").reshape(2, 3),
        "sets": ({1, 2}, frozenset("ab")),
        "counted": counted,
        "default": collections.defaultdict(list, {"a": [1]}),
        "deque": collections.deque([1, 2]),
        "partial": functools.partial(print, 1, end=""),
        "complex": 1 + 2j,
        "bytes": (b"abc", bytearray(b"abc")),
        "range": (range(3), slice(1, 2)),
        "large": 2**500,
        "enum": Colour.RED,
        "class": Colour,
        "settings": Settings([1, "b"]),
        "slots": Slots(),
        "keywords": Keywords(a=1),
        "keys": {(1, 2): 3, None: 4, 1.5: 5, True: 6, b"b": 7, Colour.RED: 8, 9: 10},
        "types": (torch.float32, torch.device("cpu"), torch.Size([1, 2]), torch.strided),
        "generator": torch.get_rng_state(),
        "sparse": torch.eye(3).to_sparse(),
        "numbers": [torch.ones(2, dtype=getattr(torch, kind)) for kind in ("int64", "bool", "complex64", "uint8")],
    }


@each_writer
@pytest.mark.parametrize("protocol", [2, 3, 4, 5])
def test_foreign_objects_are_read_over(zipped, protocol, tmp_path):
    module = torch.nn.LSTM(4, 3, 2)
    checkpoint = {"before": foreign(), "state_dict": module.state_dict(), "after": foreign()}
    torch.save(checkpoint, tmp_path / "w", pickle_protocol=protocol, _use_new_zipfile_serialization=zipped)
    (layer,) = found = fastlstm.inspect(tmp_path / "w")
    assert layer.name == "state_dict"
    here = __name__
    assert {"argparse.Namespace", f"{here}.Settings", f"{here}.Slots"} <= set(found.ignored)
    asked = {"__builtin__.getattr", "builtins.getattr"}  # for a member, by enums of Python 3.11 before 3.11.4
    assert {f"{here}.Colour", *asked} & set(found.ignored)
    assert str(found).splitlines()[-1].startswith("ignored, neither imported nor run: ")
    assert_weights(fastlstm.load(tmp_path / "w"), module)


@pytest.mark.parametrize("name", sorted(foreign()))
def test_each_foreign_object(name, tmp_path):
    module = torch.nn.LSTM(4, 3)
    torch.save({"x": foreign()[name], "state_dict": module.state_dict()}, tmp_path / "w")
    assert_weights(fastlstm.load(tmp_path / "w"), module)


def test_nothing_foreign_is_imported(tmp_path):
    """Not even where it could be: a module of that name does not run."""
    (tmp_path / "noisy.py").write_text("print('imported')\nclass Thing: pass\n", encoding="utf-8")
    code = f"import sys; sys.path.insert(0, {str(tmp_path)!r})\n"
    write = "import noisy, torch; torch.save({'x': noisy.Thing(), **torch.nn.LSTM(4, 3).state_dict()}, PATH)"
    assert run_python(code + write.replace("PATH", repr(str(tmp_path / "w")))).strip() == "imported"
    read = f"import fastlstm\nfound = fastlstm.inspect({str(tmp_path / 'w')!r})\n"
    read += (
        f"print(found.ignored, fastlstm.load({str(tmp_path / 'w')!r}), 'noisy' in sys.modules, 'torch' in sys.modules)"
    )
    assert run_python(code + read).strip() == "('noisy.Thing',) LSTM(4, 3) False False"


def test_lightning_checkpoint(tmp_path, monkeypatch):
    """Its hyperparameters are objects of packages that are not there when it is read."""
    for name in ("omegaconf", "omegaconf.listconfig"):
        monkeypatch.setitem(sys.modules, name, types.ModuleType(name))
    kind = type("ListConfig", (), {"__module__": "omegaconf.listconfig"})
    monkeypatch.setattr(sys.modules["omegaconf.listconfig"], "ListConfig", kind, raising=False)
    config = kind()
    config.__dict__ |= {"_content": [1, 2], "_parent": None, "_metadata": config}
    net = Net(2, bidirectional=True)
    torch.save(
        {
            "epoch": 3,
            "pytorch-lightning_version": "2.0.0",
            "state_dict": net.state_dict(),
            "loops": {"fit_loop": {"state_dict": {}}},
            "callbacks": {
                "ModelCheckpoint{'monitor': 'x'}": {"best_model_score": torch.tensor(0.5), "path": pathlib.Path("a")}
            },
            "optimizer_states": [{"state": {0: {"exp_avg": torch.ones(3)}}, "param_groups": [{"params": [0]}]}],
            "hyper_parameters": {"layers": config, "args": argparse.Namespace(x=np.int64(3))},
        },
        tmp_path / "w.ckpt",
    )
    found = fastlstm.inspect(tmp_path / "w.ckpt")
    assert [layer.name for layer in found] == ["state_dict.encoder.1"]
    assert "omegaconf.listconfig.ListConfig" in found.ignored
    assert_weights(fastlstm.load(tmp_path / "w.ckpt"), net.encoder[1])


# ---------------------------------------------------------------------------------------------------- whole modules


@each_writer
@pytest.mark.parametrize("protocol", [2, 4, 5])
@pytest.mark.parametrize("around", ["alone", "in a dictionary", "in a list", "parallel"])
def test_whole_modules(zipped, protocol, around, tmp_path):
    net = Net(2, batch_first=True, dropout=0.25)
    saved, name = {
        "alone": (net, "encoder.1"),
        "in a dictionary": ({"model": net, "epoch": 1}, "model.encoder.1"),
        "in a list": ([1, (net, net)], "1.0.encoder.1"),
        "parallel": (torch.nn.DataParallel(net), "module.encoder.1"),
    }[around]
    torch.save(saved, tmp_path / "w", pickle_protocol=protocol, _use_new_zipfile_serialization=zipped)
    (layer,) = found = fastlstm.inspect(tmp_path / "w")
    assert (layer.name, found.ignored) == (name, ())
    lstm = fastlstm.load(tmp_path / "w")
    assert_weights(lstm, net.encoder[1])
    assert (lstm.batch_first, lstm.dropout) == (True, 0.25)  # which the file tells
    assert fastlstm.load(tmp_path / "w", batch_first=False).batch_first is False


def test_whole_cells_and_optimizers(tmp_path):
    model = torch.nn.ModuleDict({"a": torch.nn.LSTMCell(4, 3), "b": torch.nn.GRUCell(4, 3)})
    optimizer = torch.optim.Adam(model.parameters())
    torch.save({"model": model, "optimizer": optimizer}, tmp_path / "w")
    found = {layer.name: layer for layer in fastlstm.inspect(tmp_path / "w")}
    assert set(found) == {"model.a", "model.b"}
    assert found["model.a"].problem == ""
    assert "GRU" in found["model.b"].problem
    assert_same_bits(
        fastlstm.load(tmp_path / "w", "model.a").state_dict()["weight_hh_l0"], model["a"].weight_hh.detach().numpy()
    )


@each_writer
@pytest.mark.parametrize("wrapped", [torch.compile, torch.fx.symbolic_trace], ids=["compile", "fx"])
def test_modules_made_of_arguments(wrapped, zipped, tmp_path):
    """Their pickles give the modules inside to a function that makes the one outside."""
    net = torch.nn.Sequential(torch.nn.LSTM(4, 3, batch_first=True))
    torch.save(wrapped(net), tmp_path / "w", _use_new_zipfile_serialization=zipped)
    assert_weights(fastlstm.load(tmp_path / "w"), net[0])
    assert fastlstm.load(tmp_path / "w").batch_first


def test_modules_that_were_switched(tmp_path):
    from fastlstm.torch import LSTM

    module = LSTM(4, 3, batch_first=True)
    torch.save(module, tmp_path / "w")
    lstm = fastlstm.load(tmp_path / "w")
    assert_weights(lstm, module)
    assert lstm.batch_first


# ------------------------------------------------------------------------------------------------------- TorchScript

_SCRIPTS = """
import warnings
warnings.simplefilter("ignore")
import torch

class Net(torch.nn.Module):
    def __init__(self, **options):
        super().__init__()
        torch.manual_seed(0)
        self.first = torch.nn.LSTM(4, 3, 2, **options)
        self.second = torch.nn.LSTM(6 if options.get("bidirectional") else 3, 2, bias=False)
        self.gru = torch.nn.GRU(2, 2)
    def forward(self, x):
        return self.gru(self.second(self.first(x)[0])[0])[0]

class Cell(torch.nn.Module):
    def __init__(self):
        super().__init__()
        torch.manual_seed(0)
        self.cell = torch.nn.LSTMCell(4, 3)
    def forward(self, x):
        return self.cell(x)[0]

x = torch.ones(5, 2, 4)
options = {"bidirectional": True, "batch_first": True}
for name, module in (("net", Net(**options)), ("one", Net()), ("cell", Cell())):
    module.eval()
    given = x[0] if name == "cell" else x
    torch.save(module.state_dict(), f"{FOLDER}/{name}.pt")
    torch.jit.script(module).save(f"{FOLDER}/{name}.script")
    torch.jit.trace(module, given).save(f"{FOLDER}/{name}.trace")
    torch.jit.freeze(torch.jit.script(module)).save(f"{FOLDER}/{name}.frozen")
    torch.jit.freeze(torch.jit.trace(module, given)).save(f"{FOLDER}/{name}.frozen_trace")
    torch.jit.optimize_for_inference(torch.jit.script(module)).save(f"{FOLDER}/{name}.optimized")
    torch.jit.script(module).save(f"{FOLDER}/{name}.extra", _extra_files={"a.json": "{}"})
"""


@pytest.fixture(scope="module")
def scripts(tmp_path_factory):
    folder = tmp_path_factory.mktemp("scripts")
    (folder / "main.py").write_text(f"FOLDER = {str(folder)!r}" + _SCRIPTS, encoding="utf-8")
    subprocess.run([sys.executable, folder / "main.py"], check=True, timeout=300)
    return folder


@pytest.mark.parametrize("kind", ["script", "trace", "frozen", "frozen_trace", "optimized", "extra"])
@pytest.mark.parametrize("name", ["net", "one", "cell"])
def test_scripts_of_classes_of_the_main_script(name, kind, scripts):
    path = scripts / f"{name}.{kind}"
    expected = torch.load(scripts / f"{name}.pt")
    found = [layer for layer in fastlstm.inspect(path) if not layer.problem]
    if name == "cell" and kind == "frozen_trace":  # in which no LSTM is left
        assert found == []
        assert fastlstm.inspect(path).ignored == ("constants of frozen code that calls no LSTM",)
        return
    if name == "cell":
        (layer,) = found
        assert layer.kind == "LSTMCell"
        assert_same_bits(fastlstm.load(path).state_dict()["weight_hh_l0"], expected["cell.weight_hh"].numpy())
        return
    assert len(found) == 2
    for layer, own in zip(found, ("first", "second"), strict=True):
        if kind in ("script", "trace", "extra"):  # the others know no names
            assert layer.name == own
        lstm = fastlstm.load(path, layer.name)
        weights = {k.removeprefix(f"{own}."): v.numpy() for k, v in expected.items() if k.startswith(own)}
        assert set(lstm.state_dict()) == set(weights)
        for parameter, array in weights.items():
            assert_same_bits(lstm.state_dict()[parameter], array, parameter)
        assert lstm.batch_first == (name == "net" and own == "first"), layer


def test_frozen_code_that_is_no_call_of_constants(tmp_path, scripts):
    """Code from elsewhere makes a reason, not an error."""
    source = zipfile.ZipFile(scripts / "one.frozen_trace")
    (code,) = [name for name in source.namelist() if name.endswith(".py")]
    text = source.read(code).decode()
    for changed in (
        text.replace("CONSTANTS.c0,", "CONSTANTS.c99999,"),
        text.replace("CONSTANTS.c0,", "torch.neg(CONSTANTS.c0),"),
        text.replace(", True, 2, 0.", ", True, 3, 0."),
        text.replace(", True, 2, 0.", ", maybe, 2, 0."),
        text.replace(", True, 2, 0.", ", True, 99999, 0."),
        text.replace("torch.lstm(", "torch.lstm(" + "(" * 100_000),
        text.replace("torch.lstm(", "torch.lstm()#"),
    ):
        assert changed != text
        with zipfile.ZipFile(tmp_path / "w", "w") as archive:
            for name in source.namelist():
                archive.writestr(name, changed if name == code else source.read(name))
        found = fastlstm.inspect(tmp_path / "w")
        assert "not found among the constants" in found[0].problem
        assert not any(layer.problem == "" and layer.hidden_size == 3 for layer in found)


def test_code_is_looked_through_once(tmp_path, monkeypatch):
    """However many modules there are: a small file may have a lot of packed code, and as many modules."""
    looked = []
    whole = _torch_script._options_of_classes
    monkeypatch.setattr(_torch_script, "_options_of_classes", lambda code: looked.append(code) or whole(code))
    code = "".join(
        f"class L{k}(Module):\n  batch_first : Final[bool] = True\n  dropout : Final[float] = 0.5\n" for k in range(9)
    )
    made = b"".join(b"c__torch__.m\nL%d\n)\x81}X\x0c\x00\x00\x00weight_ih_l0Nsba" % (k % 9) for k in range(90))
    with zipfile.ZipFile(tmp_path / "w", "w", zipfile.ZIP_STORED) as archive:
        archive.writestr("a/data.pkl", b"\x80\x02]" + made + b".")
        archive.writestr("a/constants.pkl", b"\x80\x02).")
        archive.writestr("a/code/__torch__/m.py", code, zipfile.ZIP_DEFLATED)
    assert fastlstm.inspect(tmp_path / "w") == []
    assert looked == [code]
    assert whole(code) == {f"L{k}": {"batch_first": True, "dropout": 0.5} for k in range(9)}


# ------------------------------------------------------------------------------------------------- weights in parts


def parametrized(kind, *names):
    """Return an LSTM whose weights are kept in parts, after a step of training."""
    from torch.nn.utils import prune

    utils = torch.nn.utils
    torch.manual_seed(0)
    module = torch.nn.LSTM(4, 3, 2, bidirectional=True)
    for name in names:
        if kind == "pruned":
            prune.random_unstructured(module, name, 0.4)
        elif "spectral" in kind:
            made = utils.spectral_norm if kind.startswith("old") else utils.parametrizations.spectral_norm
            made(module, name)
        else:
            dim = {"all": None, "columns": 1, "rows": 0}[kind.split()[-1]]
            made = utils.weight_norm if kind.startswith("old") else utils.parametrizations.weight_norm
            made(module, name, dim=dim)
    optimizer = torch.optim.SGD(module.parameters(), 0.5)
    module(torch.from_numpy(X))[0].square().sum().backward()
    optimizer.step()
    return module.eval()


@pytest.mark.parametrize("writer", ["state dict", "module", "safetensors", "npz"])
@pytest.mark.parametrize(
    "kind",
    [f"{age} weight {dim}" for age in ("old", "new") for dim in ("all", "columns", "rows")]
    + ["old spectral", "new spectral", "pruned"],
)
def test_weights_kept_in_parts(kind, writer, tmp_path):
    module = parametrized(kind, "weight_hh_l0", "weight_ih_l1_reverse", "weight_hh_l1")
    path = tmp_path / "w"
    if writer == "module":
        if kind.startswith("new"):
            pytest.skip("torch does not pickle modules with parametrizations")
        torch.save(module, path)
    elif writer == "state dict":
        torch.save(module.state_dict(), path)
    else:
        arrays = {name: tensor.numpy() for name, tensor in module.state_dict().items()}
        if writer == "npz":
            np.savez(tmp_path / "w", **arrays)
            path = tmp_path / "w.npz"
        else:
            pytest.importorskip("safetensors.numpy", reason="pip install safetensors").save_file(arrays, path)
    (layer,) = fastlstm.inspect(path)
    expected = {"weight": "weight_norm", "spectral": "spectral_norm", "pruned": "pruning"}[
        kind.split()[kind != "pruned"]
    ]
    assert f"weight_hh_l0 is computed of the parts of {expected}" in layer.note
    lstm = fastlstm.load(path)
    with torch.no_grad():
        theirs = module(torch.from_numpy(X))[0].numpy()
    assert_close(lstm(X)[0], theirs, "torch")
    for name in ("weight_hh_l0", "weight_ih_l1_reverse"):
        np.testing.assert_allclose(lstm.state_dict()[name], getattr(module, name).detach().numpy(), rtol=2e-6)
    assert_same_bits(lstm.state_dict()["weight_ih_l0"], module.weight_ih_l0.detach().numpy())


def test_weight_norm_of_halves(tmp_path):
    module = torch.nn.utils.weight_norm(torch.nn.LSTM(4, 3), "weight_hh_l0")
    expected = module.weight_hh_l0.detach().numpy()
    for kind in ("float16", "bfloat16", "float64"):
        torch.save({k: v.to(getattr(torch, kind)) for k, v in module.state_dict().items()}, tmp_path / "w")
        assert fastlstm.inspect(tmp_path / "w")[0].dtype == kind
        made = fastlstm.load(tmp_path / "w", dtype="float32").state_dict()["weight_hh_l0"]
        np.testing.assert_allclose(made, expected, rtol={"float16": 2e-3, "bfloat16": 2e-2, "float64": 1e-6}[kind])


def test_parts_that_do_not_tell_the_weight(tmp_path):
    class Symmetric(torch.nn.Module):
        def forward(self, x):
            return x * 2

    orthogonal = torch.nn.utils.parametrizations.orthogonal(torch.nn.LSTM(4, 3), "weight_hh_l0")
    own = torch.nn.LSTM(4, 3)
    torch.nn.utils.parametrize.register_parametrization(own, "weight_hh_l0", Symmetric())
    both = torch.nn.utils.parametrizations.weight_norm(torch.nn.LSTM(4, 3), "weight_hh_l0")
    torch.nn.utils.parametrizations.spectral_norm(both, "weight_hh_l0")
    for module in (orthogonal, own, both):
        torch.save(module.state_dict(), tmp_path / "w")
        (layer,) = fastlstm.inspect(tmp_path / "w")
        assert "weight_hh_l0 is kept in parts (" in layer.problem
        assert "remove_parametrizations" in layer.problem
        with pytest.raises(ValueError, match="kept in parts"):
            fastlstm.load(tmp_path / "w")
    square = torch.nn.utils.spectral_norm(torch.nn.LSTM(12, 3), "weight_ih_l0", dim=1)
    torch.save(square.state_dict(), tmp_path / "w")
    with pytest.raises(ValueError, match="of a square matrix they do not tell along which axis"):
        fastlstm.load(tmp_path / "w")
    wrong = torch.nn.LSTM(4, 3).state_dict()
    wrong["weight_hh_l0_g"], wrong["weight_hh_l0_v"] = torch.ones(7, 1), wrong.pop("weight_hh_l0")
    torch.save(wrong, tmp_path / "w")
    with pytest.raises(ValueError, match="weight_hh_l0"):
        fastlstm.load(tmp_path / "w")


def test_weights_under_dropout(tmp_path):
    """As fastai does: the weights lie around the LSTM, which has a copy with holes."""
    state_dict = torch.nn.LSTM(4, 3).state_dict()
    saved = {f"rnns.0.module.{name}": tensor for name, tensor in state_dict.items()}
    saved["rnns.0.weight_hh_l0_raw"] = state_dict["weight_hh_l0"].clone()
    saved["rnns.0.module.weight_hh_l0"] = torch.zeros(12, 3)
    torch.save(saved, tmp_path / "w")
    (layer,) = fastlstm.inspect(tmp_path / "w")
    assert layer.name == "rnns.0.module"
    assert_same_bits(fastlstm.load(tmp_path / "w").state_dict()["weight_hh_l0"], state_dict["weight_hh_l0"].numpy())


# --------------------------------------------------------------------------------------------------------- quantized


def quantized(kind, *arguments, **options):
    torch.manual_seed(0)
    model = torch.nn.Sequential(collections.OrderedDict(lstm=torch.nn.LSTM(*arguments, **options)))
    return torch.ao.quantization.quantize_dynamic(model, {torch.nn.LSTM}, dtype=kind)


def dequantised(model):
    """Return the weights as torch dequantises them."""
    module, made = model.lstm, {}
    for number, cell in enumerate(module._all_weight_values):
        layer, backward = divmod(number, 1 + module.bidirectional)
        suffix = f"_l{layer}{'_reverse' if backward else ''}"
        state = cell.param.__getstate__()[0]
        for name, packed in zip(("weight_ih", "weight_hh"), state[4], strict=True):
            weight = packed.__getstate__()[0][0]
            made[name + suffix] = (weight.dequantize() if weight.is_quantized else weight).detach().numpy()
    return made


@pytest.mark.parametrize("kind", ["qint8", "float16"])
@pytest.mark.parametrize("writer", ["state dict", "module", "script"])
@pytest.mark.parametrize(
    "shape", [(4, 3, 1, False), (4, 3, 3, False), (4, 3, 2, True), (3, 3, 2, False), (3, 3, 1, True)]
)
def test_quantized_layers_are_dequantised(kind, writer, shape, tmp_path):
    I, H, layers, two = shape
    try:
        model = quantized(getattr(torch, kind), I, H, layers, bidirectional=two, batch_first=True)
    except RuntimeError as error:
        pytest.skip(f"torch cannot quantize here: {error}")
    if writer == "script":
        torch.jit.script(model).save(tmp_path / "w")
    else:
        torch.save(model if writer == "module" else model.state_dict(), tmp_path / "w")
    (layer,) = fastlstm.inspect(tmp_path / "w")
    assert (layer.name, layer.kind) == ("lstm", "quantized.dynamic.LSTM")
    if writer == "state dict" and I == H and layers * (1 + two) == 2:
        assert "does not tell one layer of two directions from two layers of one" in layer.problem
        return
    assert ("dequantised" if kind == "qint8" else "float16") in layer.note
    lstm = fastlstm.load(tmp_path / "w")
    assert (lstm.num_layers, lstm.bidirectional) == (layers, two)
    for name, array in dequantised(model).items():
        assert_same_bits(lstm.state_dict()[name], array, name)
    assert lstm.batch_first == (writer != "state dict")
    stored = "int8" if kind == "qint8" else "float16"
    assert layer.weights == stored
    assert lstm.note == f"for matrices in {stored}: weights='auto' keeps them so"
    for asked in "auto", stored:
        kept = fastlstm.load(tmp_path / "w", weights=asked)
        assert kept.weights == stored
        for name, array in dequantised(model).items():
            assert_same_bits(getattr(kept, name), array, name)
    if kind == "qint8":  # as they are, not rounded once more
        first = model.lstm._all_weight_values[0].param.__getstate__()[0][4][0].__getstate__()[0][0]
        assert (kept.state_dict()["weight_ih_l0"] == first.int_repr().numpy()).all()
        assert (kept.state_dict()["weight_ih_l0_scale"] == np.float32(first.q_scale())).all()


@pytest.mark.parametrize("kind", ["qint8", "float16"])
@pytest.mark.parametrize("whole", [False, True])
def test_quantized_cells(kind, whole, tmp_path):
    torch.manual_seed(0)
    parts = {"lstm": torch.nn.LSTMCell(4, 3), "gru": torch.nn.GRUCell(4, 3), "rnn": torch.nn.RNNCell(4, 3)}
    plain = torch.nn.ModuleDict(parts)
    try:
        model = torch.ao.quantization.quantize_dynamic(
            plain, {type(module) for module in parts.values()}, dtype=getattr(torch, kind)
        )
    except RuntimeError as error:
        pytest.skip(f"torch cannot quantize here: {error}")
    torch.save(model if whole else model.state_dict(), tmp_path / "w")
    (layer,) = fastlstm.inspect(tmp_path / "w")
    assert (layer.name, layer.kind) == ("lstm", "quantized.dynamic.LSTMCell")
    plain, kept = fastlstm.load(tmp_path / "w"), fastlstm.load(tmp_path / "w", weights="auto")
    assert (plain.weights, kept.weights) == ("float32", "int8" if kind == "qint8" else "float16")
    for which in "ih", "hh":
        weight, bias = getattr(model["lstm"], f"_packed_weight_{which}").__getstate__()[0]
        expected = (weight.dequantize() if weight.is_quantized else weight).numpy()
        for lstm in plain, kept:
            assert_same_bits(getattr(lstm, f"weight_{which}_l0"), expected)
            assert_same_bits(getattr(lstm, f"bias_{which}_l0"), bias.detach().numpy())


def test_quantized_tensors(tmp_path):
    state_dict = torch.nn.LSTM(4, 3).state_dict()
    saved = dict(state_dict)
    saved["weight_ih_l0"] = torch.quantize_per_tensor(state_dict["weight_ih_l0"], 0.01, 7, torch.quint8)
    scales, zeros = torch.linspace(0.01, 0.02, 12), torch.arange(12)
    saved["weight_hh_l0"] = torch.quantize_per_channel(state_dict["weight_hh_l0"], scales, zeros, 0, torch.qint8)
    for zipped in (True, False):
        torch.save(saved, tmp_path / "w", _use_new_zipfile_serialization=zipped)
        made = fastlstm.load(tmp_path / "w").state_dict()
        for name in ("weight_ih_l0", "weight_hh_l0"):
            assert_same_bits(made[name], saved[name].dequantize().numpy(), name)
        kept = fastlstm.load(tmp_path / "w", weights="auto")
        assert kept.weights == "int8"
        state = kept.state_dict()
        for name in ("weight_ih_l0", "weight_hh_l0"):
            assert_same_bits(getattr(kept, name), saved[name].dequantize().numpy(), name)
            distances = np.int64(state[name]) - np.int64(state[f"{name}_zero_point"])[:, None]
            theirs = saved[name].int_repr().numpy().astype(int)
            assert (distances == theirs - (7 if name == "weight_ih_l0" else np.arange(12)[:, None])).all()


def test_quantized_tensors_that_no_layer_has(tmp_path):
    """Along columns, in 32 bits, or one of two: dequantised, whatever is asked for."""
    state_dict = torch.nn.LSTM(4, 3).state_dict()
    ones = torch.ones(4) * 0.01, torch.zeros(4, dtype=torch.int64)
    others = {
        "columns": torch.quantize_per_channel(state_dict["weight_ih_l0"], *ones, 1, torch.qint8),
        "wide": torch.quantize_per_tensor(state_dict["weight_ih_l0"], 1e-6, 0, torch.qint32),
        "one": state_dict["weight_ih_l0"],
    }
    for other in others.values():
        hh = torch.quantize_per_tensor(state_dict["weight_hh_l0"], 0.01, 0, torch.qint8)
        torch.save(state_dict | {"weight_ih_l0": other, "weight_hh_l0": hh}, tmp_path / "w")
        made = fastlstm.load(tmp_path / "w", weights="auto")
        assert made.weights == "float32"
        expected = other.dequantize() if other.is_quantized else other
        assert_same_bits(made.weight_ih_l0, expected.numpy())
        assert_same_bits(made.weight_hh_l0, hh.dequantize().numpy())


def test_storages_that_are_not_read(tmp_path):
    """Two numbers in a byte: of no use for an LSTM, and no obstacle to another."""
    packed = torch.quantize_per_channel(torch.ones(12, 4), torch.ones(12), torch.zeros(12), 0, torch.quint4x2)
    module = torch.nn.LSTM(4, 3)
    torch.save({"table": packed, "lstm": module.state_dict()}, tmp_path / "w")
    assert_weights(fastlstm.load(tmp_path / "w"), module)
    torch.save(module.state_dict() | {"weight_ih_l0": packed}, tmp_path / "w")
    with pytest.raises(ValueError, match="numbers of QUInt4x2Storage are not read"):
        fastlstm.load(tmp_path / "w")


@each_writer
def test_negated_tensors(zipped, tmp_path):
    """Which torch writes as they lie in memory, with a bit that says so."""
    weights = torch.nn.LSTM(4, 3).state_dict()
    negated = {name: torch.complex(torch.zeros_like(w), w).conj().imag for name, w in weights.items()}
    assert all(w.is_neg() for w in negated.values())
    torch.save(negated, tmp_path / "w", _use_new_zipfile_serialization=zipped)
    for name, array in fastlstm.load(tmp_path / "w").state_dict().items():
        assert_same_bits(array, negated[name].resolve_neg().numpy(), name)


def test_types_that_are_not_read_are_named(tmp_path):
    state_dict = torch.nn.LSTM(4, 3).state_dict()
    for kind in ("float8_e4m3fn", "complex64", "int8", "uint16"):
        if hasattr(torch, kind):
            torch.save({name: tensor.to(getattr(torch, kind)) for name, tensor in state_dict.items()}, tmp_path / "w")
            (layer,) = fastlstm.inspect(tmp_path / "w")
            assert f"got: {kind}" in layer.problem


# ------------------------------------------------------------------------------------------------------------- bombs


def doubled(levels):
    """Return the start of a pickle: a tuple of itself twice, so many levels deep, whose text or hash takes forever."""
    return b"K\x01" + b"".join(b"q" + bytes([k, 0x68, k]) + b"\x86" for k in range(levels))


STORAGE = b"X\x07\0\0\0storagectorch\nFloatStorage\n"


@pytest.mark.parametrize("around", [zip_checkpoint, legacy_checkpoint])
@pytest.mark.parametrize(
    "pickled",
    [
        pytest.param(doubled(60) + b"(K\x01e.", id="appended to"),
        pytest.param(doubled(60) + b"(K\x01K\x01u.", id="items for"),
        pytest.param(doubled(60) + b")R.", id="called"),
        pytest.param(doubled(60) + b")\x81.", id="made"),
        pytest.param(doubled(60) + b"}b.", id="with a state"),
        pytest.param(doubled(60) + b"Q.", id="a storage"),
        pytest.param(b"(" + STORAGE + doubled(60) + b"X\x03\0\0\0cpuK\x01tQ.", id="a storage's key"),
        pytest.param(
            b"(" + STORAGE + b"X\x01\0\0\x000" + b"X\x03\0\0\0cpu" + doubled(60) + b"tQ.", id="a storage's count"
        ),
        pytest.param(b"(" + doubled(60) + doubled(60) + b"K\x01K\x01K\x01tQ.", id="a storage's type"),
        pytest.param(b"ctorch._utils\n_rebuild_tensor_v2\n(" + 4 * doubled(60) + b"tR.", id="a tensor"),
        pytest.param(b"}" + doubled(60) + b"K\x01s.", id="a key"),
        pytest.param(b"ccollections\nOrderedDict\n(" + doubled(60) + b"tR.", id="a dictionary"),
        pytest.param(b"cx\ny\n" + doubled(60) + b"\x85R" + doubled(60) + b"b.", id="a placeholder"),
        pytest.param(doubled(60) + b"\x93.", id="a name"),
    ],
)
def test_what_takes_forever_to_show_or_hash(pickled, around, tmp_path):
    around(tmp_path / "w", b"\x80\x02" + pickled)
    with pytest.raises(ValueError, match=r"cannot be read as torch|no LSTM"):
        fastlstm.load(tmp_path / "w")


def test_storage_keys_before_1_6_that_take_forever(tmp_path):
    system = {"protocol_version": 1001, "little_endian": True, "type_sizes": {}}
    head = b"".join(pickle.dumps(part, 2) for part in (0x1950A86A20F9469CFC6C, 1001, system, {}))
    (tmp_path / "w").write_bytes(head + b"\x80\x02](" + doubled(60) + b"e.")
    with pytest.raises(ValueError, match="list of storages"):
        fastlstm.load(tmp_path / "w")


def test_byteorder_is_not_inflated(tmp_path):
    for method in (zipfile.ZIP_DEFLATED, zipfile.ZIP_BZIP2, zipfile.ZIP_STORED):
        with zipfile.ZipFile(tmp_path / "w", "w") as archive:
            archive.writestr("x/data.pkl", b"\x80\x02}.")
            archive.writestr(zipfile.ZipInfo("x/byteorder"), bytes(2**20), method)
        with pytest.raises(ValueError, match=r"x/byteorder (is compressed|has 1048576 bytes)"):
            fastlstm.inspect(tmp_path / "w")
    for order, message in ((b"big", "big-endian"), (b"", "big-endian"), (b"little", "")):
        with zipfile.ZipFile(tmp_path / "w", "w") as archive:
            archive.writestr("x/data.pkl", b"\x80\x02}.")
            archive.writestr("x/byteorder", order)
        if message:
            with pytest.raises(ValueError, match=message):
                fastlstm.inspect(tmp_path / "w")
        else:
            assert fastlstm.inspect(tmp_path / "w") == []


def test_more_out_of_a_file_than_is_in_it(tmp_path):
    one = torch.zeros(1)
    weights = {}
    for k in range(600):
        weights |= {f"weight_ih_l{k}": one.expand(400, 100), f"weight_hh_l{k}": one.expand(400, 100)}
    torch.save(weights, tmp_path / "w")
    with pytest.raises(MemoryError, match="max_bytes="):
        fastlstm.load(tmp_path / "w")
    assert fastlstm.load(tmp_path / "w", max_bytes=2**29).num_layers == 600


def test_names_that_multiply(tmp_path):
    deep = {str(k): torch.zeros(1) for k in range(2000)}
    for _ in range(60):
        deep = {"x" * 60: deep}
    torch.save(deep, tmp_path / "w")
    assert fastlstm.inspect(tmp_path / "w") == []
    torch.save({"x" * 10_000: deep}, tmp_path / "w")
    with pytest.raises(ValueError, match=r"a name of \d+ letters"):
        fastlstm.inspect(tmp_path / "w")
    wide = {str(k): one for k, one in enumerate([torch.zeros(1)] * 30_000)}
    torch.save({"x" * 4000: wide}, tmp_path / "w")
    with pytest.raises(MemoryError, match="the names of its arrays"):
        fastlstm.inspect(tmp_path / "w")


def test_pickles_that_grow(tmp_path):
    for body in (b"}" * 2_000_000, b"(" * 2_000_000, b"]" * 2_000_000, b"cx\ny\n)R" * 200_000):
        zip_checkpoint(tmp_path / "w", b"\x80\x02" + body + b".")
        with pytest.raises(MemoryError, match="a pickle would take"):
            fastlstm.inspect(tmp_path / "w")


def test_numbers_out_of_proportion(tmp_path):
    number = b"\x8b" + (100_000).to_bytes(4, "little") + b"\x7f" * 100_000
    zip_checkpoint(tmp_path / "w", b"\x80\x02}" + number + b"K\x01s.")
    with pytest.raises(ValueError, match="a number too large for weights"):
        fastlstm.inspect(tmp_path / "w")


def test_names_that_a_terminal_would_obey(tmp_path):
    name = "evil\x1b[2J\nname"
    torch.save({f"{name}.{k}": v for k, v in torch.nn.LSTM(4, 3).state_dict().items()}, tmp_path / "w")
    (layer,) = found = fastlstm.inspect(tmp_path / "w")
    assert layer.name == name
    assert str(found).isprintable()
    assert fastlstm.load(tmp_path / "w", name).hidden_size == 3


def test_archives_without_checksums(tmp_path):
    module = torch.nn.LSTM(4, 3)
    before = torch.serialization.get_crc32_options()
    torch.serialization.set_crc32_options(False)
    try:
        torch.save(module.state_dict(), tmp_path / "w")
    finally:
        torch.serialization.set_crc32_options(before)
    assert_weights(fastlstm.load(tmp_path / "w"), module)


def test_many_foreign_names(tmp_path):
    body = b"".join(b"cmodule\nname%d\n)R0" % k for k in range(1000)) + b"cevil\n\x1b[2J\n)R0"
    zip_checkpoint(tmp_path / "w", b"\x80\x02" + body + b"}.")
    found = fastlstm.inspect(tmp_path / "w")
    assert len(found.ignored) == 1001
    assert str(found).endswith(", and 981 more")
    assert "\x1b" not in str(found)
    with pytest.raises(ValueError, match=r"no LSTM was found in it\s+ignored: 'evil.*, and 981 more$"):
        fastlstm.load(tmp_path / "w")


def test_two_arrays_of_one_name(tmp_path):
    torch.save({"a": {"b": torch.zeros(1)}, "a.b": torch.ones(1)}, tmp_path / "w")
    with pytest.raises(ValueError, match=r"two arrays of the name 'a\.b'"):
        fastlstm.inspect(tmp_path / "w")


def test_whole_modules_are_not_run(tmp_path):
    """A module that makes a folder when it is unpickled."""

    class Bad(torch.nn.Module):
        def __reduce__(self):
            return pathlib.Path.mkdir, (tmp_path / "marker",)

    torch.save({"bad": Bad(), "good": torch.nn.LSTM(4, 3)}, tmp_path / "w")
    assert fastlstm.load(tmp_path / "w").hidden_size == 3
    assert not (tmp_path / "marker").exists()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        torch.load(tmp_path / "w", weights_only=False)
    assert (tmp_path / "marker").exists()
