"""save, and writing a file as a whole or not at all."""

from __future__ import annotations

import os
from pathlib import Path

from .. import _extras
from .._layers import LSTM
from ._load import check_finite


def save(lstm: LSTM, path: str | os.PathLike[str]) -> None:
    """Write a layer to a safetensors file, under torch's names.

    Parameters
    ----------
    lstm : LSTM
        Its weights, sizes, form, batch_first and dropout are kept; threads and isa belong to the machine.
    path : path
        Where to: a file that is there already is replaced when the new one is complete.

    Raises
    ------
    TypeError
        For something that is not an LSTM.
    ValueError
        For weights that are NaN or infinite, which `load` refuses.
    OSError
        For a path that cannot be written or a full disk; an old file is then as it was.
    ModuleNotFoundError
        Where safetensors is not installed; the message names the package.

    Notes
    -----
    Accuracy: `load` gives the same layer back, bit for bit. Source: ``src/fastlstm/files/_save.py``.

    Examples
    --------
    >>> import fastlstm, os, tempfile
    >>> lstm = fastlstm.LSTM(4, 3, batch_first=True)
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     fastlstm.save(lstm, os.path.join(folder, "lstm.safetensors"))
    ...     fastlstm.load(os.path.join(folder, "lstm.safetensors"))
    LSTM(4, 3, batch_first=True)
    """
    if not isinstance(lstm, LSTM):
        raise TypeError(f"lstm should be a fastlstm.LSTM, got: {type(lstm).__name__}")
    arrays = lstm.state_dict()
    check_finite(arrays, "lstm")
    writer = _extras.need("safetensors.numpy")
    from ._safetensors import metadata  # not before it is needed: importing the package stays quick

    write_whole(writer.save(arrays, metadata=metadata(lstm)), path)


def write_whole(content: bytes, path: str | os.PathLike[str]) -> None:
    """Write beside the file, then move over it: nobody ever sees half of it."""
    target = Path(os.path.realpath(path))  # a link stays a link
    temporary = target.with_name(f".{target.name}.{os.urandom(6).hex()}")
    try:
        try:
            with temporary.open("xb") as file:
                file.write(content)
                file.flush()
                os.fsync(file.fileno())
            os.replace(temporary, target)
        finally:
            temporary.unlink(missing_ok=True)
    except OSError as error:
        raise type(error)(error.errno, f"cannot write: {error.strerror}", str(path)) from None
