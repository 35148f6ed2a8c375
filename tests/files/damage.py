"""Damaged files: good ones of every format, ways to damage them, and a process with limits that tries them all."""

import io
import json
import os
import random
import subprocess
import sys
import warnings
import zipfile
from collections.abc import Iterator
from pathlib import Path

import numpy as np

import fastlstm
from tests.support import ROOT

#: Numbers that readers stumble over.
_NUMBERS = (0, 1, 2, 0x7F, 0x80, 0xFF, 0x7FFF, 0xFFFF, 2**31 - 1, 2**31, 2**32 - 1, 2**63 - 1, 2**63, 2**64 - 1)
#: What the process may take: address space, and seconds of the CPU for a file.
MEMORY, SECONDS = 4 * 2**30, 60


def write_seeds(folder: Path) -> list[Path]:
    """Write small good files of all formats whose libraries are installed."""
    lstm = fastlstm.LSTM(3, 2, num_layers=2, bidirectional=True, seed=0)
    single = fastlstm.LSTM(3, 2, batch_first=True, form=fastlstm.Form(gate="hard_sigmoid"), seed=1)
    arrays = lstm.state_dict()
    np.savez(folder / "plain.npz", **arrays)
    np.savez_compressed(folder / "compressed.npz", **{f"a.b.{name}": array for name, array in arrays.items()})
    fastlstm.save(single, folder / "saved.npz")
    fastlstm.save(lstm, folder / "saved.safetensors")
    fastlstm.save(single, folder / "saved.flw")
    for ending in ("npz", "safetensors", "flw"):
        fastlstm.save(_with_zero_points(), folder / f"integers.{ending}")
    for write in (_write_flax, _write_torch, _write_keras, _write_onnx):
        try:
            write(folder, lstm)
        except ImportError:
            continue
    return sorted(path for path in folder.iterdir() if path.is_file())


def _with_zero_points() -> fastlstm.LSTM:
    lstm = fastlstm.LSTM(3, 2, weights="int8", seed=2)
    state = lstm.state_dict()
    zeros = {f"{name}_zero_point": 3 for name in ("weight_ih_l0", "weight_hh_l0")}
    lstm.load_state_dict(state | zeros)
    return lstm


def _write_flax(folder: Path, lstm: fastlstm.LSTM) -> None:
    import msgpack

    def packed(array: np.ndarray) -> object:
        return msgpack.ExtType(1, msgpack.packb([array.shape, array.dtype.name, array.tobytes()]))

    weights = lstm.state_dict()
    gates = {
        f"{side}{gate}": {"kernel": packed(block.T)}
        for side, name in (("i", "weight_ih_l0"), ("h", "weight_hh_l0"))
        for gate, block in zip("ifgo", np.split(weights[name], 4), strict=True)
    }
    for gate, block in zip("ifgo", np.split(weights["bias_ih_l0"], 4), strict=True):
        gates[f"h{gate}"]["bias"] = packed(block)
    chunks = {"__msgpack_chunked_array__": True, "shape": {"0": 8, "1": 3}}
    chunks["chunks"] = {str(k): packed(part) for k, part in enumerate(np.split(weights["weight_ih_l0"], 4))}
    tree = {"step": 3, "rate": 0.5, "params": {"cell": gates}, "opt_state": {"0": {"mu": {"cell": gates}}}}
    tree["torch"] = {"weight_ih_l0": chunks, "weight_hh_l0": packed(weights["weight_hh_l0"])}
    (folder / "flax.msgpack").write_bytes(msgpack.packb(tree))


def _write_torch(folder: Path, lstm: fastlstm.LSTM) -> None:
    import torch

    module = torch.nn.LSTM(3, 2, 2, bidirectional=True)
    module.load_state_dict({name: torch.tensor(array) for name, array in lstm.state_dict().items()})
    checkpoint = {
        "state_dict": module.state_dict(),
        "set": {1, 2},
        "module": module,
        "halves": module.weight_ih_l0.half(),
    }
    for protocol in (2, 4):
        torch.save(checkpoint, folder / f"zip{protocol}.pt", pickle_protocol=protocol)
        torch.save(
            checkpoint, folder / f"legacy{protocol}.pt", pickle_protocol=protocol, _use_new_zipfile_serialization=False
        )
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        normed = torch.nn.utils.weight_norm(torch.nn.LSTM(3, 2), "weight_hh_l0")
        torch.save(normed.state_dict(), folder / "normed.pt")
        script = torch.jit.script(torch.nn.Sequential(module).eval())
        script.save(folder / "script.pt")
        torch.jit.freeze(script).save(folder / "frozen.pt")
        try:
            quantized = torch.ao.quantization.quantize_dynamic(torch.nn.Sequential(module), {torch.nn.LSTM})
        except RuntimeError:  # for some CPUs torch has none
            return
        torch.save(quantized.state_dict(), folder / "quantized.pt")


def _write_keras(folder: Path, lstm: fastlstm.LSTM) -> None:
    import h5py

    weights = lstm.state_dict()
    parts = {"kernel": weights["weight_ih_l0"].T, "recurrent_kernel": weights["weight_hh_l0"].T}
    parts["bias"] = weights["bias_ih_l0"]
    entry = {"class_name": "LSTM", "config": {"name": "lstm_1", "units": 2, "recurrent_activation": "sigmoid"}}
    config = json.dumps({"class_name": "Sequential", "config": [entry]})
    with h5py.File(folder / "keras2.h5", "w") as file:
        file.attrs["keras_version"], file.attrs["model_config"] = b"2.3.1", config.encode()
        for name, array in parts.items():
            file[f"lstm_1/lstm_1/{name}:0"] = array
    with h5py.File(folder / "gzip.h5", "w") as file:
        for name, array in parts.items():
            file.create_dataset(f"lstm_1/{name}:0", data=array, compression="gzip", shuffle=True)
    content = io.BytesIO()
    with h5py.File(content, "w") as file:
        for number, array in enumerate(parts.values()):
            file[f"layers/lstm/cell/vars/{number}"] = array
        file["layers/lstm/vars"] = h5py.SoftLink("/layers/lstm/cell/vars")
    entry["config"]["activation"] = "tanh"
    with zipfile.ZipFile(folder / "keras3.keras", "w") as archive:
        archive.writestr("metadata.json", json.dumps({"keras_version": "3.15.0"}))
        archive.writestr("config.json", config)
        archive.writestr("model.weights.h5", content.getvalue())


def _write_onnx(folder: Path, lstm: fastlstm.LSTM) -> None:
    import onnx

    from fastlstm.onnx import export

    onnx.save(export(lstm), folder / "model.onnx")


# ----------------------------------------------------------------------------------------------------------- damage


def damaged(content: bytes, draw: random.Random) -> bytes:
    """Return the content damaged in one of many ways; of archives often a member, so that its checksum is right."""
    if content.startswith(b"PK") and draw.random() < 0.6:
        return _damaged_member(content, draw)
    return draw.choice((_cut, _changed, _changed, _changed, _numbered, _numbered, _moved, _doubled))(content, draw)


def _cut(content: bytes, draw: random.Random) -> bytes:
    return content[: draw.randrange(len(content) + 1)]


def _changed(content: bytes, draw: random.Random) -> bytes:
    made = bytearray(content)
    for _ in range(draw.choice((1, 1, 1, 2, 4, 16, 64))):
        if made:
            made[_place(made, draw)] = draw.choice((0, 255, 1, draw.randrange(256), draw.choice(content)))
    return bytes(made)


def _numbered(content: bytes, draw: random.Random) -> bytes:
    """Put a number that is too large, or none, where one may be."""
    size = draw.choice((1, 2, 4, 8))
    number = (draw.choice(_NUMBERS) + draw.choice((-1, 0, 0, 1))) % 256**size
    made = bytearray(content)
    place = _place(made, draw)
    made[place : place + size] = number.to_bytes(size, draw.choice(("little", "big")))
    return bytes(made)


def _moved(content: bytes, draw: random.Random) -> bytes:
    """Take a piece out, or put it elsewhere."""
    start = _place(content, draw)
    end = min(len(content), start + draw.choice((1, 2, 8, 50, 300)))
    rest = content[:start] + content[end:]
    place = _place(rest, draw)
    return draw.choice((rest, rest[:place] + content[start:end] + rest[place:]))


def _doubled(content: bytes, draw: random.Random) -> bytes:
    start = _place(content, draw)
    end = min(len(content), start + draw.choice((1, 8, 50, 1000)))
    return content[:end] + content[start:end] * draw.choice((1, 2, 50)) + content[end:]


def _place(content: bytes | bytearray, draw: random.Random) -> int:
    """Choose a place, more often where heads are."""
    most = len(content) if draw.random() < 0.6 else min(len(content), 400)
    return draw.randrange(most) if most else 0


def _damaged_member(content: bytes, draw: random.Random) -> bytes:
    made = io.BytesIO()
    with zipfile.ZipFile(io.BytesIO(content)) as source, zipfile.ZipFile(made, "w") as target:
        members = source.infolist()
        victim = draw.choice([m for m in members if not m.filename.endswith((".debug_pkl", "/version"))])
        if draw.random() < 0.5:  # where what matters is
            victim = next((m for m in members if m.filename.endswith((".pkl", ".h5", "config.json"))), victim)
        for member in members:
            body = source.read(member)
            if member is victim:
                body = draw.choice((_cut, _changed, _changed, _changed, _numbered, _moved, _doubled))(body, draw)
            method = member.compress_type if draw.random() < 0.98 else draw.choice((0, 8, 12, 14))
            target.writestr(member.filename, body, method)
            if draw.random() < 0.002:
                with warnings.catch_warnings():
                    warnings.simplefilter("ignore")
                    target.writestr(member.filename, body, method)
    return made.getvalue()


def mutations(content: bytes, count: int, seed: int) -> Iterator[bytes]:
    """Yield damaged contents, the same for the same seed."""
    for number in range(count):
        yield damaged(content, random.Random(f"{seed} {number} {len(content)}"))


# ------------------------------------------------------------------------------------------------ the other process


def try_all(seed_file: Path, count: int, seed: int, broken: Path) -> tuple[int, int, int]:
    """Try damaged files in another process with limits; return how many were refused, out of memory, loaded.

    AssertionError for a process that ends otherwise, with what it said; the file at hand is left at `broken`.
    """
    command = [sys.executable, "-m", "tests.files.damage", str(seed_file), str(count), str(seed), str(broken)]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    assert done.returncode == 0, f"{seed_file.name}: exit status {done.returncode}: {done.stderr[-2000:]}"
    refused, memory, loaded = map(int, done.stdout.split())
    return refused, memory, loaded


def _limit() -> None:
    try:
        import resource
    except ImportError:  # a system without them
        return
    resource.setrlimit(resource.RLIMIT_AS, (MEMORY, MEMORY))
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))


def _limit_time() -> None:
    """Let the file at hand take so many seconds of the CPU; the signal ends the process."""
    if hasattr(os, "times") and sys.platform != "win32":
        import resource

        used = resource.getrusage(resource.RUSAGE_SELF)
        _, most = resource.getrlimit(resource.RLIMIT_CPU)
        resource.setrlimit(resource.RLIMIT_CPU, (int(used.ru_utime + used.ru_stime) + SECONDS, most))


def main() -> None:
    """Try them; ValueError, and MemoryError at the budget, are what may come."""
    seed_file, count, seed, broken = sys.argv[1:]
    _limit()
    warnings.simplefilter("ignore")
    refused = memory = loaded = 0
    for content in mutations(Path(seed_file).read_bytes(), int(count), int(seed)):
        Path(broken).write_bytes(content)
        _limit_time()
        try:
            found = fastlstm.inspect(broken)
            str(found)
            for layer in found:
                if not layer.problem:
                    fastlstm.load(broken, layer.name, dtype="float32", form=fastlstm.Form())
                    break
            loaded += any(not layer.problem for layer in found)
            refused += all(layer.problem for layer in found)
        except ValueError:
            refused += 1
        except MemoryError as error:
            if "max_bytes=" not in str(error):
                raise
            memory += 1
    print(refused, memory, loaded)


if __name__ == "__main__":
    main()
