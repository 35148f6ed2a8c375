"""The models: each an LSTM, inputs for it, and what the whole model says with the LSTM's weights in another type."""

from __future__ import annotations

import io
import pickle
import re
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt
from textgen.fetch import FetchError

import fastlstm

from .published import Published

Floats = npt.NDArray[np.float32]

SPEECH = Path("/usr/share/sounds/alsa")  # of Debian's package alsa-utils

SILERO = "silero_vad_16k_op15.onnx"
CHARS2VEC = Published(
    "chars2vec",
    "0.1.7",
    "chars2vec-0.1.7.tar.gz",
    "df05b0765e406e1bdb9f9537adf7fccb24db4a81956aea5c25a707a03a6a8094",
)
DDDDOCR = Published(
    "ddddocr",
    "1.5.6",
    "ddddocr-1.5.6-py3-none-any.whl",
    "f13865b00e42de5c2507c1889ba73c2bacd218a49d15b928c2a5c82667062ac5",
)


class Case(NamedTuple):
    """A published model."""

    title: str
    lstm: fastlstm.LSTM
    x: Floats
    lengths: npt.NDArray[np.int64] | None
    says: Callable[[fastlstm.LSTM], str]  # with weights of another type


def silero() -> Case:
    """silero-vad: whether frames of 32 ms are speech, a probability of 0.5 or more."""
    from service import audio, fetch, model

    try:
        vad = model.Model(fetch.fetch())
    except fetch.MissingError as error:
        raise FetchError(str(error)) from error
    files = _speech()
    inputs = [vad.features(model.frames(audio.read_wav(path))) for path in files]
    x, lengths = _padded(inputs)
    runs = np.arange(len(x))[:, None] < lengths

    def probabilities(lstm: fastlstm.LSTM) -> Floats:
        made: Floats = vad.probabilities(lstm(x, lengths=lengths)[0])[runs]
        return made

    exact = probabilities(vad.lstm)

    def says(lstm: fastlstm.LSTM) -> str:
        ours = probabilities(lstm)
        changed = int(((ours >= 0.5) != (exact >= 0.5)).sum())
        return f"{changed} of {len(exact)} decisions changed, probabilities by at most {abs(ours - exact).max():.1e}"

    return Case(f"silero-vad 6.2.3, {len(files)} recordings", vad.lstm, x, lengths, says)


def textgenrnn() -> Case:
    """textgenrnn, character by character: the mean loss on the Zen of Python."""
    from textgen import texts, weights
    from textgen.model import TextModel

    found = weights.published()
    windows, answers = texts.questions(texts.encode(text, found.vocabulary)[0] for text in texts.zen())
    stack = fastlstm.LSTM(100, 128, num_layers=2)
    second = {name.replace("_l0", "_l1"): array for name, array in found.lstm_2.items()}
    stack.load_state_dict(found.lstm_1 | second)

    def loss(lstm: fastlstm.LSTM) -> float:
        layers = []
        for given in (found.lstm_1, found.lstm_2):
            layers.append(fastlstm.LSTM(given["weight_ih_l0"].shape[1], 128))
            layers[-1].load_state_dict(given)
        first, second = (layer.astype(weights=lstm.weights) for layer in layers)

        def engine(inputs: Any) -> tuple[Floats, Floats]:
            h = first(inputs[1])[0]
            return h, second(h)[0]

        told = TextModel(found, engine)(windows).log_probabilities
        return -float(told[np.arange(len(answers)), answers].mean(dtype=np.float64))

    exact = loss(stack)
    x = found.embedding[np.ascontiguousarray(windows.T)]
    title = f"textgenrnn 2.0.0, {len(answers)} characters"
    return Case(title, stack, x, None, lambda lstm: f"{loss(lstm):.6f} nats a character, float32 {exact:.6f}")


def resemblyzer() -> Case:
    """Resemblyzer's voice encoder: vectors of windows of 1.6 s."""
    import torch
    from torch_models import sound, voices

    encoder = voices.load()
    frames = torch.cat([sound.windows(sound.read(path)) for path in _speech()]).numpy()
    lstm = fastlstm.LSTM(sound.BANDS, 256, num_layers=3, batch_first=True)
    lstm.load_state_dict(encoder.lstm.state_dict())
    weight, bias = (tensor.detach().numpy() for tensor in (encoder.linear.weight, encoder.linear.bias))

    def vectors(lstm: fastlstm.LSTM) -> npt.NDArray[np.float64]:
        h = lstm(frames)[1][0][-1]
        made = np.maximum(h @ weight.T + bias, 0).astype(np.float64)
        return made / np.linalg.norm(made, axis=1, keepdims=True)

    exact = vectors(lstm)

    def says(lstm: fastlstm.LSTM) -> str:
        return f"cosine of the vectors {(vectors(lstm) * exact).sum(1).min():.8f} or more"

    return Case(f"Resemblyzer 0.1.4, {len(frames)} windows", lstm, frames, None, says)


class _Plain(pickle.Unpickler):
    """Reads numbers, texts and containers, and nothing that runs."""

    def find_class(self, module: str, name: str) -> Any:
        raise pickle.UnpicklingError(f"{module}.{name} is not plain data")


def chars2vec() -> Case:
    """chars2vec's eng_50: vectors of the words in Python's own documentation, and the ten nearest of each."""
    from pydoc_data import topics

    folder = "chars2vec-0.1.7/chars2vec/trained_models/eng_50"
    _, letters = _Plain(io.BytesIO(CHARS2VEC.member(f"{folder}/model.pkl"))).load()
    with tempfile.TemporaryDirectory() as temporary:
        path = Path(temporary, "weights.h5")
        path.write_bytes(CHARS2VEC.member(f"{folder}/weights.h5"))
        first, second = (fastlstm.load(path, found.name, form=found.form) for found in fastlstm.inspect(path))
    upper = {name.replace("_l0", "_l1"): array for name, array in second.state_dict().items()}
    lstm = fastlstm.LSTM(first.input_size, 50, num_layers=2, form=first.form)
    lstm.load_state_dict(first.state_dict() | upper)
    words = sorted(set(re.findall(r"[a-z]{3,}", " ".join(topics.topics.values()).lower())))
    one_hot = np.eye(first.input_size, dtype=np.float32)
    x, lengths = _padded([one_hot[[letters[letter] for letter in word]] for word in words])

    def nearest(lstm: fastlstm.LSTM) -> npt.NDArray[np.int64]:
        vectors = lstm(x, lengths=lengths)[1][0][-1].astype(np.float64)
        squares = (vectors**2).sum(1)
        distances = squares[:, None] + squares - 2 * vectors @ vectors.T
        np.fill_diagonal(distances, np.inf)
        return np.argsort(distances, axis=1, kind="stable")[:, :10]

    exact = nearest(lstm)

    def says(lstm: fastlstm.LSTM) -> str:
        ours = nearest(lstm)
        kept = sum(len(set(a) & set(b)) for a, b in zip(ours, exact, strict=True)) / exact.size
        first = int((ours[:, 0] != exact[:, 0]).sum())
        return f"{100 * kept:.2f} % of the ten nearest kept, the nearest changed for {first} of {len(words)} words"

    return Case(f"chars2vec 0.1.7 (eng_50), {len(words)} words", lstm, x, lengths, says)


def ddddocr() -> Case:
    """Read images with ddddocr's common_old.onnx, integers of 8 bits, of which onnxruntime runs the whole file."""
    import onnx
    import onnxruntime

    content = DDDDOCR.member("ddddocr/common_old.onnx")
    with tempfile.TemporaryDirectory() as temporary:
        path = Path(temporary, "common_old.onnx")
        path.write_bytes(content)
        lstm = fastlstm.load(path)
    model = onnx.load_from_string(content)
    node = next(node for node in model.graph.node if node.op_type == "DynamicQuantizeLSTM")
    name = model.graph.output[0].name
    model.graph.output.append(onnx.ValueInfoProto(name=node.input[0]))
    whole = _session(onnxruntime, model)
    at = list(model.graph.node).index(node)
    del model.graph.node[: at + 1]  # what comes after it, from its output on
    del model.graph.input[:], model.graph.output[1:]
    kind, shape = onnx.TensorProto.FLOAT, ["T", 2, 1, lstm.hidden_size]
    model.graph.input.append(onnx.helper.make_tensor_value_info(node.output[0], kind, shape))
    rest = _session(onnxruntime, model)
    theirs, inputs = zip(*(whole.run([name, node.input[0]], {"input1": image}) for image in _images()), strict=True)
    x, lengths = _padded([array[:, 0] for array in inputs])

    def read(scores: Floats) -> list[int]:
        best = scores.reshape(len(scores), -1).argmax(1)
        return [int(k) for k, before in zip(best, [0, *best[:-1]], strict=True) if k not in (0, before)]

    def says(lstm: fastlstm.LSTM) -> str:
        y, same = lstm(x, lengths=lengths)[0], 0
        for row, (length, expected) in enumerate(zip(lengths, theirs, strict=True)):
            h = y[:length, row].reshape(length, 2, 1, -1)  # as ONNX has both directions
            same += read(rest.run([name], {node.output[0]: h})[0]) == read(expected)
        return f"{same} of {len(theirs)} images read as onnxruntime reads them"

    return Case(f"ddddocr 1.5.6 (common_old), {len(theirs)} images", lstm, x, lengths, says)


def _session(onnxruntime: Any, model: Any) -> Any:
    options = onnxruntime.SessionOptions()
    options.log_severity_level = 3  # initializers that are left over
    return onnxruntime.InferenceSession(model.SerializeToString(), options, providers=["CPUExecutionProvider"])


def _images(count: int = 200) -> list[Floats]:
    """Draw four to six letters and figures with lines across and noise, 64 high, as the package hands them over."""
    from PIL import Image, ImageDraw, ImageFont

    rng, made = np.random.default_rng(0), []
    for _ in range(count):
        text = rng.choice(list("abcdefghjkmnpqrstuvwxyz23456789"), rng.integers(4, 7))
        image = Image.new("L", (40 * len(text) + 20, 64), 255)
        draw = ImageDraw.Draw(image)
        for k, letter in enumerate(text):
            at = 10 + 40 * k + rng.integers(-4, 5), rng.integers(2, 14)
            draw.text(
                at, letter, fill=int(rng.integers(0, 120)), font=ImageFont.load_default(int(rng.integers(32, 48)))
            )
        for _ in range(3):
            draw.line([*rng.integers(0, image.size, (2, 2)).ravel()], fill=int(rng.integers(60, 200)), width=2)
        pixels = np.asarray(image) + rng.normal(0, 12, (64, image.size[0]))
        made.append(np.float32(np.clip(pixels, 0, 255) / 127.5 - 1)[None, None])
    return made


def _speech() -> list[Path]:
    found = sorted(SPEECH.glob("*.wav"))
    if not found:
        raise FetchError(f"there are no recordings in {SPEECH}: apt-get install alsa-utils (Debian)")
    return found


def _padded(rows: list[Floats]) -> tuple[Floats, npt.NDArray[np.int64]]:
    lengths = np.array([len(row) for row in rows])
    x = np.zeros((lengths.max(), len(rows), rows[0].shape[1]), np.float32)
    for k, row in enumerate(rows):
        x[: len(row), k] = row
    return x, lengths


CASES = {case.__name__: case for case in (silero, textgenrnn, resemblyzer, chars2vec, ddddocr)}
