"""What the tests of files share: layouts of torch and Keras 2; published packages, fetched with pip into the cache."""

import json
import pickle
import zipfile
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pytest
from precision.published import Published
from textgen import fetch

from tests.cases import Array, Case, make_data


@dataclass(frozen=True)
class Package:
    """One file of a package index, by its hash."""

    name: str
    version: str
    archive: str
    sha256: str

    def path(self) -> Path:
        """Return where it lies, fetched if need be; without a connection the test is skipped."""
        try:
            return self._published().path()
        except fetch.FetchError as error:
            pytest.skip(str(error))

    def _published(self) -> Published:
        return Published(self.name, self.version, self.archive, self.sha256)

    def extracted(self, member: str, folder: Path) -> Path:
        """Write one member of the archive into a folder, and nothing else."""
        self.path()
        content = self._published().member(member)
        made = folder / member.replace("/", "-")
        made.write_bytes(content)
        return made


CHARS2VEC = Package(
    "chars2vec",
    "0.1.7",
    "chars2vec-0.1.7.tar.gz",
    "df05b0765e406e1bdb9f9537adf7fccb24db4a81956aea5c25a707a03a6a8094",
)
SILERO = Package(
    "silero-vad",
    "6.2.3",
    "silero_vad-6.2.3-py3-none-any.whl",
    "7b7f5436cfcb02fae583a05b512ea96467fd449fe54cb49a5e4f06c51a1e43b8",
)


def zip_checkpoint(path: Path, pickled: bytes, storages: Iterable[bytes] = ()) -> None:
    """Write torch's archive around a pickle."""
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("archive/data.pkl", pickled)
        for key, content in enumerate(storages):
            archive.writestr(f"archive/data/{key}", content)


def legacy_checkpoint(path: Path, pickled: bytes) -> None:
    """Write a file of torch before 1.6 around a pickle."""
    system: dict[str, object] = {"protocol_version": 1001, "little_endian": True, "type_sizes": {}}
    head = [pickle.dumps(part, 2) for part in (0x1950A86A20F9469CFC6C, 1001, system)]
    path.write_bytes(b"".join([*head, pickled, pickle.dumps([], 2)]))


def to_cudnn(state_dict: dict[str, Array]) -> tuple[Array, Array, Array]:
    """Lay torch's arrays out as Keras's CuDNNLSTM does, by Keras's own recipe and not by the demo's.

    Keras turns a plain kernel block k (I, H) into CuDNN's by ``k.T.reshape(k.shape, order="C")``, a recurrent block by
    ``k.T``; a plain block is the transpose of torch's.
    """
    plain = {name: [block.T for block in np.split(array, 4)] for name, array in state_dict.items()}
    kernels = [k.T.reshape(k.shape, order="C") for k in plain["weight_ih_l0"]]
    recurrents = [k.T for k in plain["weight_hh_l0"]]
    bias = np.concatenate([state_dict["bias_ih_l0"], state_dict["bias_hh_l0"]])
    return np.concatenate(kernels, axis=1), np.concatenate(recurrents, axis=1), bias


def keras_2(
    path: Path, version: str, recurrent_activation: str | None = None, *, cudnn: bool = False, group: str = ""
) -> dict[str, Array]:
    """Write weights as Keras 2 does; return them under torch's names."""
    import h5py

    state_dict = make_data(Case("keras-file", T=6, B=2, I=4, H=3), "float32").state_dict
    if cudnn:
        parts = to_cudnn(state_dict)
    else:
        state_dict["bias_hh_l0"] = np.zeros_like(state_dict["bias_hh_l0"])
        parts = state_dict["weight_ih_l0"].T, state_dict["weight_hh_l0"].T, state_dict["bias_ih_l0"]
    config = {"name": "lstm_1", "units": 3, "activation": "tanh", "recurrent_activation": recurrent_activation}
    with h5py.File(path, "w") as file:
        file.attrs["keras_version"] = version.encode()
        if recurrent_activation:
            entry = {"class_name": "CuDNNLSTM" if cudnn else "LSTM", "config": config}
            file.attrs["model_config"] = json.dumps({"class_name": "Sequential", "config": [entry]}).encode()
        names = [f"lstm_1/{name}:0" for name in ("kernel", "recurrent_kernel", "bias")]
        layer = file.create_group(f"{group}lstm_1")
        layer.attrs["weight_names"] = [name.encode() for name in names]
        for name, array in zip(names, parts, strict=True):
            layer[name] = array
        file.create_group("optimizer_weights")["lstm_1/recurrent_kernel:0"] = parts[1]
    return state_dict
