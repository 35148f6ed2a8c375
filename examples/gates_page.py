"""The gates of the demo's character model while it reads the Zen of Python, as a page for a browser."""

from __future__ import annotations

import argparse

import numpy as np
from textgen import texts, weights

import fastlstm

Traces = dict[str, "fastlstm.GateTrace[np.float32]"]


def traces(text: str, published: weights.Weights) -> tuple[Traces, str]:
    """Trace both layers along a text; return them, and the characters that the model knows."""
    known = "".join(character for character in text if character in published.vocabulary)
    output = published.embedding[[published.vocabulary[character] for character in known]]
    made: Traces = {}
    for name in ("lstm_1", "lstm_2"):
        state_dict = getattr(published, name)
        layer = fastlstm.LSTM(output.shape[1], state_dict["weight_hh_l0"].shape[1])
        layer.load_state_dict(state_dict)
        made[name] = layer.trace(output)
        output = made[name].output
    return made, known


def main(path: str) -> None:
    """Write the page."""
    made, text = traces(" ".join(texts.zen()), weights.published())
    fastlstm.plot(made, path, labels=text, title="The demo's character model reads the Zen of Python")
    print(f"{path}: open it in a browser")


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("path", nargs="?", default="gates.html", help="what to write (default: %(default)s)")
    main(parser.parse_args().path)
