"""Any bytes as a file that `fastlstm.inspect` and `fastlstm.load` are asked to read: loaded, or refused with a reason.

A target for Atheris. Without it: python packaging/fuzz/files_fuzzer.py FILE... reads these files once.
"""

import contextlib
import importlib
import pkgutil
import sys
import tempfile
import warnings
from pathlib import Path

try:
    import atheris
except ImportError:
    atheris = None

with atheris.instrument_imports(include=["fastlstm"]) if atheris else contextlib.nullcontext():
    import fastlstm
    import fastlstm.files

    for module in pkgutil.iter_modules(fastlstm.files.__path__, "fastlstm.files."):
        importlib.import_module(module.name)  # readers are imported when they are needed: too late to be instrumented

MOST = 1 << 24  # what a layer may take, for the fuzzer's own memory limit to mean something


def read(path: Path) -> bool:
    """Inspect a file and load what is in it; False where it is refused, as it should be."""
    try:
        found = fastlstm.inspect(path, max_bytes=MOST)
        for layer in found:
            if not layer.problem:
                fastlstm.load(path, layer.name, dtype="float32", form=fastlstm.Form(), max_bytes=MOST)
    except ValueError:
        return False
    except MemoryError as error:
        if "max_bytes=" not in str(error):  # not by its own bound
            raise
        return False
    return all(not layer.problem for layer in found)


def main() -> None:
    """Run the fuzzer, or without it the files that are named."""
    warnings.simplefilter("ignore")
    if atheris is None:
        for name in sys.argv[1:]:
            print(name, "loaded" if read(Path(name)) else "refused")
        return
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "file"

        def one(data: bytes) -> None:
            path.write_bytes(data)
            read(path)

        atheris.Setup(sys.argv, one)
        atheris.Fuzz()


if __name__ == "__main__":
    main()
