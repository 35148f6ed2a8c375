"""The works that have names: sizes of our own, and those of layers that people have published.

A batch or a length that its source leaves open is one that fits its use: it is in the title.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace

from fastlstm.bench.works import Case

SIZES = 64, 128, 256, 512


def case_of(T: int, B: int, I: int, H: int, layers: int = 1, directions: int = 1) -> Case:
    """Name a case by its sizes, which then seed its numbers."""
    return Case(f"bench {T} {B} {I} {H} {layers} {directions}", T, B, I, H, layers, directions == 2)


def _plain(family: str, T: int, B: int) -> tuple[Case, ...]:
    return tuple(replace(case_of(T, B, size, size), family=family) for size in SIZES)


def _published(family: str, *rows: tuple[str, str, tuple[int, ...]]) -> tuple[Case, ...]:
    return tuple(replace(case_of(*sizes), family=family, title=title, source=source) for title, source, sizes in rows)


#: T, B, I, H, layers, directions of each.
FAMILIES: Mapping[str, tuple[Case, ...]] = {
    "step": _plain("step", 1, 1),
    "sequence": _plain("sequence", 100, 1),
    "batch": _plain("batch", 50, 32),
    "voice": _published(
        "voice",
        ("Silero VAD, a frame", "snakers4/silero-vad 6", (1, 1, 128, 128)),
        ("DTLN, a block of 8 ms", "breizhn/DTLN, DTLN_model.py", (1, 1, 257, 128, 2)),
        ("Resemblyzer, 12 partials", "resemble-ai/Resemblyzer, hparams.py", (160, 12, 40, 256, 3)),
        ("pyannote segmentation 3.0, 10 s", "pyannote/segmentation-3.0, config.yaml", (589, 1, 60, 128, 4, 2)),
        ("DPRNN, inside 150 chunks", "asteroid, DPRNNTasNet; arXiv:1910.06379", (100, 150, 128, 128, 1, 2)),
        ("Open-Unmix, 6 s", "sigsep/open-unmix-pytorch, model.py", (255, 1, 512, 256, 3, 2)),
        ("Kokoro, durations of 100 phonemes", "hexgrad/kokoro, DurationEncoder", (100, 1, 640, 256, 1, 2)),
        ("CTC-3l-250h, 3 s", "Graves, Mohamed, Hinton 2013, arXiv:1303.5778", (300, 1, 123, 250, 3, 2)),
        ("EESEN, 10 s", "Miao, Gowayyed, Metze 2015, arXiv:1507.08240", (1000, 1, 120, 320, 4, 2)),
    ),
    "ocr": _published(
        "ocr",
        ("CRNN, a word", "Shi, Bai, Yao 2015, arXiv:1507.05717", (24, 1, 512, 256, 2, 2)),
        ("docTR crnn_vgg16_bn, 128 words", "mindee/doctr, crnn/pytorch.py", (32, 128, 512, 128, 2, 2)),
        ("PaddleOCR lite, 6 lines", "PaddleOCR, rec_chinese_lite_train_v2.0.yml", (80, 6, 288, 48, 2, 2)),
        ("Tesseract, Lfx128 of a line", "tesseract-ocr/tessdoc, VGSLSpecs", (300, 1, 64, 128)),
    ),
    "tagging": _published(
        "tagging",
        ("BiLSTM-CNN-CRF, 10 sentences of 30", "Ma, Hovy 2016, arXiv:1603.01354", (30, 10, 130, 200, 1, 2)),
        ("BiLSTM-CRF, a sentence of 30", "Lample et al. 2016, arXiv:1603.01360", (30, 1, 150, 100, 1, 2)),
        ("Keras imdb_lstm, 32 reviews", "keras-team/keras, examples/imdb_lstm.py", (80, 32, 128, 128)),
        ("textgenrnn, a character", "minimaxir/textgenrnn", (1, 1, 100, 128, 2)),
    ),
    "policy": _published(
        "policy",
        ("A3C LSTM, an action", "Mnih et al. 2016, arXiv:1602.01783", (1, 1, 256, 256)),
        ("RecurrentPPO on CartPole, an action", "sb3_contrib, MlpLstmPolicy", (1, 1, 4, 256)),
        ("torch-ac memory, 16 environments", "lcswillems/rl-starter-files, model.py", (1, 16, 64, 64)),
    ),
    "audio": _published(
        "audio",
        ("NAM LSTM 1x8, 64 samples at 48 kHz", "sdatkinson/neural-amp-modeler", (64, 1, 1, 8)),
        ("NAM LSTM 2x16, 64 samples at 48 kHz", "sdatkinson/neural-amp-modeler", (64, 1, 1, 16, 2)),
        ("LSTM32, a sample", "Wright et al. 2019, DAFx: Real-Time Black-Box Modelling", (1, 1, 1, 32)),
        ("Proteus LSTM40, 128 samples at 48 kHz", "GuitarML/Proteus", (128, 1, 1, 40)),
    ),
    "ticks": _published(
        "ticks",
        ("DeepLOB, a window", "zcakhaa/DeepLOB; Zhang, Zohren, Roberts 2018, arXiv:1808.03668", (82, 1, 192, 64)),
        ("2x128, a tick", "latencies published for VOLLO", (1, 1, 128, 128, 2)),
        ("3x256, a tick", "latencies published for VOLLO", (1, 1, 256, 256, 3)),
        ("3x480, a tick", "latencies published for VOLLO", (1, 1, 480, 480, 3)),
    ),
    "sensors": _published(
        "sensors",
        ("Telemanom, 70 windows", "khundman/telemanom, config.yaml; SMAP", (250, 70, 25, 80, 2)),
        ("LSTM-HAR, a window", "guillaume-chevalier/LSTM-Human-Activity-Recognition", (128, 1, 32, 32, 2)),
        ("LSTM of 270 days", "Kratzert et al. 2019, arXiv:1907.08456", (270, 1, 32, 256)),
    ),
}
PLAIN = "step", "sequence", "batch"
PUBLISHED = "published"  # all that are not ours


def cases(names: list[str]) -> list[Case]:
    """List the cases of families, each once."""
    found: list[Case] = []
    for name in names:
        members = [each for each in FAMILIES if each not in PLAIN] if name == PUBLISHED else [name]
        found += [case for member in members for case in FAMILIES[member]]
    return list(dict.fromkeys(found))


def quick() -> list[Case]:
    """List one small case of each of our own families."""
    return [FAMILIES[name][SIZES.index(128)] for name in PLAIN]
