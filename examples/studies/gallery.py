"""The gates of published models, each on input of its own kind: docs/gallery.md."""

from __future__ import annotations

import functools
import io
import pickle
import re
import tempfile
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray
from textgen import texts
from textgen.fetch import FetchError

import fastlstm

from .record import Study

Floats = NDArray[np.float32]

#: Two articles of the Universal Declaration of Human Rights.
ARTICLES = (
    "人人生而自由\uff0c在尊严和权利上一律平等。他们赋有理性和良心\uff0c并应以兄弟关系的精神相对待。",
    "人人有资格享有本宣言所载的一切权利和自由\uff0c不分种族、肤色、性别、语言、宗教、政治或其他见解。",
)
NEARLY_NOTHING = 0.1  # that a step writes
POINTS = 20  # of the half-lives of a layer, from the shortest to the longest


class Seen(NamedTuple):
    """A model's layers, and what it is shown: [T, B, I], of which `lengths` count."""

    lstms: list[fastlstm.LSTM]
    x: Floats
    lengths: NDArray[np.int64]


def _rows(rows: list[Floats]) -> tuple[Floats, NDArray[np.int64]]:
    lengths = np.array([len(row) for row in rows])
    x = np.zeros((lengths.max(), len(rows), rows[0].shape[1]), np.float32)
    for k, row in enumerate(rows):
        x[: len(row), k] = row
    return x, lengths


def _layer(state: dict[str, Any], prefix: str = "") -> fastlstm.LSTM:
    """Make a layer of torch's names."""
    found = {name.removeprefix(prefix): np.asarray(array) for name, array in state.items() if name.startswith(prefix)}
    H, I = found["weight_hh_l0"].shape[1], found["weight_ih_l0"].shape[1]
    layers = sum(bool(re.fullmatch(r"weight_ih_l\d+", name)) for name in found)
    lstm = fastlstm.LSTM(I, H, num_layers=layers, bidirectional="weight_ih_l0_reverse" in found)
    lstm.load_state_dict(found)
    return lstm


def silero() -> Seen:
    """Show it the recordings."""
    from deaf import detector, sound

    return Seen([detector.model().lstm], *_rows([detector.features(clip) for clip in sound.recordings()]))


def resemblyzer() -> Seen:
    """Show it windows of 1.6 s of the recordings."""
    from deaf import detector
    from deaf import sound as recorded
    from torch_models import sound, voices

    windows = [sound.windows(clip / 32768).numpy() for clip in recorded.recordings()]
    x = detector.coarse(np.concatenate(windows).astype(np.float64)).swapaxes(0, 1)
    state = {name: tensor.numpy() for name, tensor in voices.load().lstm.state_dict().items()}
    return Seen([_layer(state)], np.ascontiguousarray(x), np.full(x.shape[1], len(x)))


def textgenrnn() -> Seen:
    """Show it the Zen of Python, line by line."""
    from .published import published_model

    model = published_model()
    lines = [texts.encode(line, model.vocabulary)[0] for line in texts.zen()]
    return Seen(
        [_layer(model.lstm_1), _layer(model.lstm_2)], *_rows([model.embedding[np.array(line)] for line in lines])
    )


def chars2vec() -> Seen:
    """Show it the words of the Zen of Python."""
    from precision import cases

    folder = "chars2vec-0.1.7/chars2vec/trained_models/eng_50"
    _, letters = cases._Plain(io.BytesIO(cases.CHARS2VEC.member(f"{folder}/model.pkl"))).load()
    with tempfile.TemporaryDirectory() as temporary, warnings.catch_warnings():
        warnings.simplefilter("ignore", fastlstm.files.AssumptionWarning)
        path = Path(temporary, "weights.h5")
        path.write_bytes(cases.CHARS2VEC.member(f"{folder}/weights.h5"))
        lstms = [fastlstm.load(path, found.name, form=found.form) for found in fastlstm.inspect(path)]
    one_hot = np.eye(lstms[0].input_size, dtype=np.float32)
    words = sorted(set(re.findall(r"[a-z]{3,}", " ".join(texts.zen()).lower())))
    return Seen(lstms, *_rows([one_hot[[letters[letter] for letter in word]] for word in words]))


def naampy() -> Seen:
    """Show it sixteen first names."""
    from torch_models import names

    model = names.load()
    embedding = model.embedding.weight.detach().numpy()
    numbers, lengths = names.encode(names.WOMEN + names.MEN)
    state = {name: tensor.numpy() for name, tensor in model.lstm.state_dict().items()}
    return Seen([_layer(state)], np.ascontiguousarray(embedding[numbers.numpy().T]), lengths.numpy())


class _Arrays(pickle.Unpickler):
    """Reads arrays and plain containers, and nothing else that runs."""

    def find_class(self, module: str, name: str) -> Any:
        if module == "numpy" and name in ("ndarray", "dtype"):
            return getattr(np, name)
        if module == "numpy.core.multiarray" and name == "_reconstruct":
            return np.empty(0).__reduce__()[0]
        raise pickle.UnpicklingError(f"{module}.{name} is not an array")


def g2pm() -> Seen:
    """Show it two articles of the Universal Declaration of Human Rights, in Chinese."""
    from precision.cases import _Plain
    from precision.published import Published

    wheel = Published(
        "g2pM",
        "0.1.2.5",
        "g2pM-0.1.2.5-py3-none-any.whl",
        "9e920b82df4002f96d8679720c7a858d10816d438dbd61b8b6b621a80a976361",
    )
    state = _Arrays(io.BytesIO(wheel.member("g2pM/np_ckpt.pkl")), encoding="latin1").load()
    numbers = _Plain(io.BytesIO(wheel.member("g2pM/char2idx.pkl"))).load()
    rows = [state["embedding.weight"][[numbers.get(letter, 1) for letter in article]] for article in ARTICLES]
    return Seen([_layer(state, "lstm.")], *_rows(rows))


def dksplit() -> Seen:
    """Show it the lines of the Zen of Python without spaces: it cuts such strings into words."""
    import onnx
    from onnx import numpy_helper
    from precision.published import Published

    wheel = Published(
        "dksplit",
        "1.0.2",
        "dksplit-1.0.2-py3-none-any.whl",
        "428a4a4c342aeea83e50c806bb51d54aff574e603e0f71f984237300e4307c3d",
    )
    content = wheel.member("dksplit/models/dksplit-int8.onnx")
    held = {each.name: numpy_helper.to_array(each) for each in onnx.load_from_string(content).graph.initializer}
    zero, scale = (held[f"embedding.weight_{name}"] for name in ("zero_point", "scale"))
    embedding = (held["embedding.weight_quantized"].astype(np.float32) - np.float32(zero)) * scale
    with tempfile.TemporaryDirectory() as temporary, warnings.catch_warnings():
        warnings.simplefilter("ignore", fastlstm.files.AssumptionWarning)
        path = Path(temporary, "model.onnx")
        path.write_bytes(content)
        lstms = [fastlstm.load(path, found.name) for found in fastlstm.inspect(path)]
    letters = {letter: k + 2 for k, letter in enumerate("abcdefghijklmnopqrstuvwxyz0123456789")}
    lines = [re.sub("[^a-z]", "", line.lower())[:64] for line in texts.zen()]
    return Seen(lstms, *_rows([embedding[[letters[letter] for letter in line]] for line in lines]))


MODELS: dict[str, Callable[[], Seen]] = {
    show.__name__: show for show in (silero, resemblyzer, textgenrnn, chars2vec, naampy, g2pm, dksplit)
}


@functools.cache
def _seen(model: str) -> Seen:
    return MODELS[model]()


def gates(model: str) -> dict[str, Any]:
    """Count what the gates of each layer do, over all its units and steps: a row a layer and direction."""
    seen, made = _seen(model), []
    x = seen.x
    for lstm in seen.lstms:
        if lstm.batch_first:
            raise FetchError(f"{model}: a layer of another layout")
        trace = lstm.trace(x, lengths=seen.lengths)
        x = trace.output
        made += [_counted(trace, layer, direction) for layer, direction in np.ndindex(trace.i.shape[:2])]
    return {"rows": made, "sequences": len(seen.lengths), "steps": int(seen.lengths.sum())}


def _counted(trace: fastlstm.GateTrace[Any], layer: int, direction: int) -> dict[str, Any]:
    i, f, g, o = (getattr(trace, gate)[layer, direction][trace.valid] for gate in "ifgo")
    lives = np.sort(trace.half_life()[layer, direction])
    lives = lives[np.round(np.linspace(0, len(lives) - 1, POINTS + 1)).astype(int)]
    before = trace.c_prev[layer, direction][trace.valid]
    both, against = (i >= 0.5) & (f >= 0.5), g * before < 0
    return {
        "units": i.shape[1],
        "below": {name: int((gate < 0.1).sum()) for name, gate in (("i", i), ("f", f), ("o", o))},
        "above": {name: int((gate > 0.9).sum()) for name, gate in (("i", i), ("f", f), ("o", o))},
        "writes nothing": int((np.abs(i * g) < NEARLY_NOTHING).sum()),
        "candidate is nothing": int((np.abs(g) < NEARLY_NOTHING).sum()),
        "takes away": int((both & against).sum()),
        "adds": int((both & ~against).sum()),
        "forgets": int((f < 0.5).sum()),
        "counted": int(i.size),
        "half-life": [float(f"{min(life, 1e9):.6g}") for life in lives],
    }


STUDY: Study = {model: ({"model": model}, gates) for model in MODELS}
