"""Write the files of tests/data/keras: the same models, saved by many versions of Keras, with what Keras computes.

    make keras-files                                      # every version, in an environment of its own, minutes
    python tests/proofs/keras_files.py keras-3.5.0        # one of them
    python tests/proofs/keras_files.py --folder /tmp/ke   # where the environments go, and stay

Each version becomes one archive: its files, and arrays.npz with the input and the output of every layer.
"""

from __future__ import annotations

import argparse
import os
import subprocess
import sys
import tarfile
import tempfile
from pathlib import Path
from typing import Any

DATA = Path(__file__).resolve().parents[1] / "data" / "keras"
_OLD_JAX = ("jax==0.4.30", "jaxlib==0.4.30", "numpy<2", "h5py", "packaging")

#: By name: what pip installs, and the module that is Keras there.
VERSIONS: dict[str, tuple[tuple[str, ...], str]] = {
    **{f"keras-{v}": ((f"keras=={v}", *_OLD_JAX), "keras") for v in ("3.0.5", "3.3.3", "3.4.1", "3.5.0", "3.6.0")},
    "keras-3.9.2": (("keras==3.9.2", *_OLD_JAX), "keras"),
    "keras-3.15.1": (("keras==3.15.1", "jax", "h5py", "packaging"), "keras"),
    **{f"tf-{v}": ((f"tensorflow-cpu=={v}.*",), "keras") for v in ("2.12", "2.13", "2.14", "2.15")},
    **{f"tf_keras-{v}": ((f"tensorflow-cpu=={v}.*", f"tf_keras=={v}.*"), "tf_keras") for v in ("2.16", "2.21")},
}

T, I = 5, 4


def write(module: str, target: Path) -> None:
    """Make the models, save them in every way, and keep what their layers compute; runs under the Keras at hand."""
    import importlib.util

    import numpy as np

    os.environ.setdefault("KERAS_BACKEND", "jax" if importlib.util.find_spec("jax") else "numpy")
    keras = importlib.import_module(module)
    draw = np.random.default_rng(0)
    kept: dict[str, Any] = {}
    with tempfile.TemporaryDirectory() as folder:
        for name, (model, watched) in models(keras).items():
            model.set_weights([draw.uniform(-0.5, 0.5, weight.shape) for weight in model.get_weights()])
            for label, layer in watched.items():
                features = layer_input(layer)
                x = draw.standard_normal((2, T, features)).astype("float32")
                kept[f"{name}/{label}/x"], kept[f"{name}/{label}/y"] = x, np.asarray(layer(x))
            for suffix in ("keras", "h5", "weights.h5"):
                save(keras, model, Path(folder) / f"{name}.{suffix}")
            if name != "subclassed":
                (Path(folder) / f"{name}.json").write_text(model.to_json(), "utf-8")
        np.savez(Path(folder) / "arrays.npz", **kept)
        (Path(folder) / "version.txt").write_text(str(keras.__version__), "utf-8")
        with tarfile.open(target, "w:xz", preset=9) as archive:
            for path in sorted(Path(folder).iterdir()):
                archive.add(path, path.name, filter=anonymous)


def anonymous(member: tarfile.TarInfo) -> tarfile.TarInfo:
    """Leave out who wrote a file, and when."""
    member.uid = member.gid = member.mtime = 0
    member.uname = member.gname = ""
    return member


def layer_input(layer: Any) -> int:
    """Return the number of features that a layer takes: of the first kernel."""
    return int(layer.get_weights()[0].shape[0])


def save(keras: Any, model: Any, path: Path) -> None:
    """Save a model, if this Keras can save it so."""
    try:
        if path.name.endswith(".weights.h5"):
            model.save_weights(str(path))
        elif path.suffix == ".keras" and keras.__version__.startswith("2.12"):
            model.save(str(path), save_format="keras_v3")  # not yet by the name alone
        else:
            model.save(str(path))
    except (NotImplementedError, TypeError, ValueError) as error:
        path.unlink(missing_ok=True)
        print(f"  {path.name}: {str(error).splitlines()[0][:120]}")


def models(keras: Any) -> dict[str, tuple[Any, dict[str, Any]]]:
    """Return the models by name, each with the layers to watch under the names that `inspect` should give them."""
    return {"plain": plain(keras), "wrapped": wrapped(keras), "nested": nested(keras), "subclassed": subclassed(keras)}


def registered(keras: Any, package: str, layer: type) -> Any:
    """Register a class as Keras wants it, whose function has moved."""
    home = keras.saving if hasattr(keras.saving, "register_keras_serializable") else keras.utils
    return home.register_keras_serializable(package=package, name=layer.__name__)(layer)


def plain(keras: Any) -> tuple[Any, dict[str, Any]]:
    """LSTMs of several activations, one with a name of its own, and classes of other packages."""
    L = keras.layers
    ours = registered(keras, "fastlstm", type("LSTM", (L.LSTM,), {}))
    theirs = registered(keras, "pkg", type("MyLSTM", (L.LSTM,), {}))
    layers = [
        L.LSTM(3, activation="relu", name="enc", return_sequences=True),
        L.LSTM(2, recurrent_activation="hard_sigmoid", return_sequences=True),
        theirs(3, activation="softsign", return_sequences=True, name="theirs"),
        L.Dense(3),
        ours(2, recurrent_activation="linear", use_bias=False, return_sequences=True, name="ours"),
        L.LSTM(3, activation="elu", go_backwards=True, return_sequences=True, name="turned"),
    ]
    model = keras.Sequential([L.Input((T, I)), *layers], name="plain")
    return model, {layer.name: layer for layer in layers if layer.name != layers[3].name}


def wrapped(keras: Any) -> tuple[Any, dict[str, Any]]:
    """Cells in RNNs, stacks of them, both in a Bidirectional."""
    L = keras.layers
    one, two = L.LSTMCell(2, activation="softsign", name="one"), L.LSTMCell(3, activation="relu", name="two")
    layers = [
        L.Bidirectional(L.LSTM(2, recurrent_activation="hard_sigmoid", return_sequences=True), name="both"),
        L.RNN(L.LSTMCell(3, recurrent_activation="hard_sigmoid"), return_sequences=True, name="cell"),
        L.Bidirectional(L.RNN(L.LSTMCell(2, activation="relu"), return_sequences=True), name="both_cells"),
        L.Bidirectional(L.LSTM(3, activation="elu", return_sequences=True), merge_mode="sum"),
        L.RNN([one, two], return_sequences=True, name="stack"),
    ]
    model = keras.Sequential([L.Input((T, I)), *layers], name="wrapped")
    return model, {layer.name: layer for layer in layers}


def nested(keras: Any) -> tuple[Any, dict[str, Any]]:
    """Models in models, with equal names inside, and an LSTM in a TimeDistributed."""
    L = keras.layers

    def inner(name: str, activation: str) -> tuple[Any, Any]:
        lstm = L.LSTM(2, activation=activation, return_sequences=True, name="deep")
        x = keras.Input((T, I))
        return keras.Model(x, lstm(x), name=name), lstm

    (first, deep_1), (second, deep_2) = inner("first", "relu"), inner("second", "softsign")
    x = keras.Input((T, I))
    top = L.LSTM(3, activation="elu", return_sequences=True)
    words = L.LSTM(2, recurrent_activation="linear", name="words")
    joined = L.Concatenate()([second(x), first(x)])
    expanded = L.Reshape((T, 1, 4))(joined)
    y = L.TimeDistributed(words, name="each")(expanded)
    model = keras.Model(x, top(y), name="nested")
    return model, {"first/deep": deep_1, "second/deep": deep_2, top.name: top}


def subclassed(keras: Any) -> tuple[Any, dict[str, Any]]:
    """Make a model that is a class: its configuration says nothing of its layers."""
    import numpy as np

    class Subclassed(keras.Model):  # type: ignore[misc]
        def __init__(self, **options: Any) -> None:
            super().__init__(**options)
            self.encoder = keras.layers.LSTM(2, activation="relu", return_sequences=True)
            self.decoder = keras.layers.LSTM(3, return_sequences=True)

        def call(self, x: Any) -> Any:
            return self.decoder(self.encoder(x))

    model = registered(keras, "pkg", Subclassed)()
    model(np.zeros((2, T, I), "float32"))
    return model, {"encoder": model.encoder, "decoder": model.decoder}


def environment(name: str, folder: Path) -> Path:
    """Return the Python of a version's environment, made if need be."""
    place = folder / name
    if not (place / "done").exists():
        subprocess.run([sys.executable, "-m", "venv", place], check=True)
        subprocess.run(
            [place / "bin/python", "-m", "pip", "install", "-q", "--no-input", *VERSIONS[name][0]], check=True
        )
        (place / "done").touch()
    return place / "bin" / "python"


def main() -> None:
    """Write the archives that are asked for."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("names", nargs="*", help=f"which versions, of: {', '.join(VERSIONS)}; all if none is given")
    parser.add_argument("--folder", type=Path, default=Path(tempfile.gettempdir()) / "keras-files")
    parser.add_argument("--write", nargs=2, help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.write:
        write(options.write[0], Path(options.write[1]))
        return
    DATA.mkdir(exist_ok=True)
    for name in options.names or VERSIONS:
        print(name)
        command = [environment(name, options.folder), __file__, "--write", VERSIONS[name][1], DATA / f"{name}.tar.xz"]
        subprocess.run(command, check=True, env=os.environ | {"TF_CPP_MIN_LOG_LEVEL": "3"})


if __name__ == "__main__":
    main()
