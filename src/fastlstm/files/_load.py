"""inspect and load."""

from __future__ import annotations

import errno
import os
import warnings
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from .. import _checks, _integers, _weights
from .._forms import Form
from .._lstm import LSTM
from .._settings import Settings
from .._thread_pool import ThreadPool
from .._types import Array, Float32, Float64
from ._layer import Layer, Layers, integers_of, printable

if TYPE_CHECKING:
    from ._budget import Budget
    from ._detect import Format


class AssumptionWarning(UserWarning):
    """`load` assumes what the file does not say; ``form=`` says it instead."""


def inspect(
    path: str | os.PathLike[str],
    *,
    config: Mapping[str, Any] | str | os.PathLike[str] | None = None,
    max_bytes: int | None = None,
) -> Layers:
    """List the LSTMs of a file, without reading their numbers.

    Parameters
    ----------
    path : path
        A file of safetensors, torch (state dicts, checkpoints, TorchScript), Keras (``.keras``, h5), ONNX, Flax
        (msgpack) or NumPy (npz). Its content tells which, not its name.
    config : mapping, str or path, optional
        The configuration of a Keras model, for files that have its weights alone: what ``model.to_json()`` or
        ``model.get_config()`` returned, or the path of a file with it.
    max_bytes : int, optional
        What reading it may take of memory, instead of 64 MiB and 4 times the file's size (in which compressed arrays
        count by their own size, up to 20 times what they are packed in). For files that you trust.

    Returns
    -------
    Layers
        A list of `Layer` records that prints as a table: names, kinds, sizes, dtypes, forms, and what does not fit.
        Its `ignored` names what a torch file would run elsewhere, which is neither imported nor run here.

    Raises
    ------
    OSError
        For a file that cannot be opened, or that is not a regular file: a directory, a pipe, a device.
    ValueError
        For one that is of no known format, damaged, or claims more than it holds.
    MemoryError
        For one that would take more memory than it may.
    ModuleNotFoundError
        Where its reader is not installed; the message names the extra.

    Notes
    -----
    Nothing in a file is ever executed, whatever it holds. Source: ``src/fastlstm/files``; formats:
    ``docs/files.md``.

    Examples
    --------
    >>> import fastlstm, numpy as np, os, tempfile
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     path = os.path.join(folder, "weights.npz")
    ...     np.savez(path, **fastlstm.LSTM(4, 3, num_layers=2).state_dict())
    ...     print(fastlstm.inspect(path))
    (no prefix): LSTM of npz, I=4 H=3 L=2 D=1 P=0, float32
    """
    file, format, budget = _detected(path, max_bytes)
    return _guarded(file, format, budget, _configuration(config))


def load(
    path: str | os.PathLike[str],
    prefix: str | None = None,
    *,
    dtype: Float32 | Float64 | np.dtype[np.floating[Any]] | None = None,
    batch_first: bool | None = None,
    form: Form | None = None,
    threads: int | ThreadPool = 1,
    isa: str | None = None,
    config: Mapping[str, Any] | str | os.PathLike[str] | None = None,
    max_bytes: int | None = None,
    weights: str | None = None,
) -> LSTM:
    """Make a layer of the weights in a file.

    Parameters
    ----------
    path : path
        As for `inspect`.
    prefix : str, optional
        Name of the LSTM as `inspect` lists it, or its last part, or that of the only module it lies in; not needed
        where there is only one.
    dtype : dtype_like, optional
        ``"float32"`` or ``"float64"``: convert to it. Needed for weights stored as float16 or bfloat16, or in more than
        one dtype; without it the layer has the dtype of the file.
    batch_first : bool, optional
        As for `LSTM`. False if not given, or what `save` wrote.
    form : Form, optional
        Instead of the form that the file tells or that is assumed.
    threads, isa
        As for `LSTM`.
    config, max_bytes
        As for `inspect`.
    weights : str, optional
        As for `LSTM`, a float32 layer if no `dtype` is given. ``"auto"``: as the file stores the matrices, where that
        is in 16 bits or as integers of 8, which loses nothing; else as without. ``inspect`` tells which, and
        `LSTM.note` of a layer that was loaded without. ``"int8"`` and ``"int8-fast"`` take a file's integers as they
        are, others what they stand for.

    Returns
    -------
    LSTM
        With its weights: all layers and directions of a torch LSTM, both of a Keras Bidirectional, one of a cell.

    Raises
    ------
    OSError, ModuleNotFoundError, MemoryError
        As for `inspect`.
    ValueError
        As for `inspect`; for no LSTM under the prefix or more than one, with the list of them; for parameters that are
        missing, too many or of wrong shapes; for weights that are NaN or infinite, or do not fit in `weights`; for
        integers without scales, and for scales and zero points that cannot be.
    TypeError
        For weights of other dtypes than float32 and float64 without `dtype` or `weights`.

    Warns
    -----
    fastlstm.files.AssumptionWarning
        Where the file does not tell the form and a default is assumed; not with `form`.
    UserWarning
        Where the model does something around the layer that is left to the caller: a state that it computes or holds
        fixed, a sequence that it reads backwards.

    Notes
    -----
    Accuracy: the numbers of the file, bit for bit, unless `dtype` rounds them to float32. One bias stands as bias_ih,
    beside a bias_hh of zeros. Source: ``src/fastlstm/files``.

    Examples
    --------
    >>> import fastlstm, numpy as np, os, tempfile
    >>> weights = {f"encoder.{name}": w for name, w in fastlstm.LSTM(4, 3).state_dict().items()}
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     path = os.path.join(folder, "weights.npz")
    ...     np.savez(path, **weights)
    ...     fastlstm.load(path, "encoder", dtype="float64")
    LSTM(4, 3, dtype='float64')
    """
    if dtype is None and weights is not None and weights != _weights.AUTO:
        dtype = "float32"
    wanted = None if dtype is None else _checks.float_dtype(dtype)
    if weights != _weights.AUTO:
        weights = _weights.checked(weights, wanted or np.dtype(np.float32))
    file, format, budget = _detected(path, max_bytes)
    layer = _chosen(file, _guarded(file, format, budget, _configuration(config)), prefix)
    where = f"{layer.name!r} in {file}" if layer.name else str(file)
    wanted = _wanted(layer, wanted, where, auto=weights == _weights.AUTO)
    if form is None and layer.form is None:
        raise ValueError(f"{where}: say which form, form=fastlstm.Form(...), since {layer.note}")
    if form is None and layer.assumed:
        warnings.warn(f"{where}: {layer.assumed}; form= says it", AssumptionWarning, stacklevel=2)
    if layer.caution:
        warnings.warn(f"{where}: {layer.caution}", UserWarning, stacklevel=2)
    arrays = _guarded_arrays(file, format, layer, budget)  # before anything as large as the file claims is made
    converted = _converted(layer, arrays, wanted, where)
    if weights == _weights.AUTO:
        weights = _stored_in(layer, wanted, converted)
    settings = Settings(
        layer.input_size,
        layer.hidden_size,
        layer.num_layers,
        layer.bias,
        layer.options.get("batch_first", False) if batch_first is None else batch_first,  # type: ignore[arg-type]
        layer.options.get("dropout", 0.0),
        layer.directions == 2,
        layer.proj_size,
        wanted,
        1,
        isa,
        form or layer.form or Form(),
        weights,
    )
    lstm: LSTM[Any] = LSTM._of(converted, settings, threads)
    if weights is None and wanted == np.float32 and layer.weights:
        lstm.note = layer.stored_note
    return lstm


def _wanted(layer: Layer, wanted: np.dtype[Any] | None, where: str, *, auto: bool) -> np.dtype[Any]:
    """Return the layer's dtype: what is asked for, or what the file has."""
    if wanted is not None:
        return wanted
    if layer.dtype in ("float32", "float64"):
        return np.dtype(layer.dtype)
    if auto and "float64" not in layer.dtype:
        return np.dtype(np.float32)  # which holds them all
    keep = f"; or weights='auto', which keeps {layer.weights}" if layer.weights else ""
    raise TypeError(
        f"{where} is stored as {layer.dtype}: say what to convert it to, dtype='float32' (exact for float16 and "
        f"bfloat16) or dtype='float64'{keep}"
    )


def _stored_in(layer: Layer, dtype: np.dtype[Any], arrays: Mapping[str, Array]) -> str | None:
    """Return what "auto" stores the matrices in: as the file does, if they are what it says."""
    if not layer.weights or dtype != np.float32:
        return None
    if not integers_of(arrays) and not _weights.are_exact(arrays, layer.weights):  # in parts, or the file is wrong
        return None
    if layer.weights in _weights.INTEGERS and not _weights.fit_integers(
        layer.input_size, layer.directions * layer.hidden_size
    ):
        return None  # what the integers stand for
    return layer.weights


def _converted(layer: Layer, arrays: Mapping[str, Array], dtype: np.dtype[Any], where: str) -> dict[str, Array]:
    """Return parameters for `load_state_dict`: in a dtype, matrices of integers as they are, or in float64 in that."""
    integers = integers_of(arrays)
    of_integers = {*integers, *_integers.beside(integers)}
    made = {name: array for name, array in arrays.items() if name in of_integers}
    with np.errstate(over="ignore"):  # what becomes infinite is refused below
        made |= {name: array.astype(dtype, copy=False) for name, array in arrays.items() if name not in of_integers}
        made |= {f"{name}{_integers.SCALE}": arrays[f"{name}{_integers.SCALE}"].astype(np.float32) for name in integers}
    check_finite(made, where)
    for name in integers:
        try:
            found = _integers.of(made, name, layer.parameters[name].shape)
        except (ValueError, TypeError) as error:
            raise ValueError(f"{where}: {error}") from None
        if dtype == np.float64:
            made[name] = found._replace(scales=arrays[f"{name}{_integers.SCALE}"].reshape(-1)).array(dtype)
    return made if dtype == np.float32 else {name: made[name] for name in made.keys() - of_integers | {*integers}}


def check_finite(arrays: Mapping[str, Array], where: str) -> None:
    """Refuse weights that are NaN or infinite: nothing but NaN would come of them."""
    for name, array in arrays.items():
        wrong = np.count_nonzero(~np.isfinite(array))
        if wrong:
            raise ValueError(f"{where}: {wrong} of {array.size} values of {name} are NaN or infinite in {array.dtype}")


def _detected(path: object, max_bytes: int | None) -> tuple[Path, Format, Budget]:
    from . import _detect, _foreign  # with all readers of ours; importing the package stays quick

    if not isinstance(path, str | os.PathLike):
        raise TypeError(f"path should be a str or os.PathLike, got: {type(path).__name__}")
    if max_bytes is not None:
        max_bytes = _checks.size(max_bytes, "max_bytes")
    file = Path(os.fsdecode(path))
    try:
        head, budget = _detect.opened(file, max_bytes)
    except PermissionError:
        if file.is_dir():  # Windows does not open one at all
            raise IsADirectoryError(errno.EISDIR, _foreign.folder(file), str(file)) from None
        raise
    with _guard(file, ""):
        return file, _detect.detect(file, head, budget), budget


def _configuration(config: Mapping[str, Any] | str | os.PathLike[str] | None) -> Mapping[str, Any] | str | bytes | None:
    """Read a configuration that is in a file."""
    if config is None or isinstance(config, Mapping) or (isinstance(config, str) and config.lstrip().startswith("{")):
        return config
    if not isinstance(config, str | os.PathLike):
        raise TypeError(f"config should be a mapping, JSON or a path, got: {type(config).__name__}")
    path = Path(config)
    if path.exists() and not path.is_file():
        raise OSError(errno.EINVAL, "is not a regular file", str(path))
    return path.read_bytes()


def _guarded(path: Path, format: Format, budget: Budget, config: Mapping[str, Any] | str | bytes | None) -> Layers:
    with _guard(path, format.name):
        if config is not None and format.configured is None:
            raise ValueError("config= is for Keras's files")
        found = format.configured(budget, config) if format.configured and config is not None else format.layers(budget)
        return found if isinstance(found, Layers) else Layers(found)


def _guarded_arrays(path: Path, format: Format, layer: Layer, budget: Budget) -> dict[str, Array]:
    arrays = {}
    with _guard(path, format.name):
        for name, stored in layer.parameters.items():
            budget.keep(name, stored.nbytes)
            with budget.hold(name, stored.held):
                arrays[name] = stored.read()
    return arrays


@contextmanager
def _guard(path: Path, format: str) -> Iterator[None]:
    """Read; whatever goes wrong inside a damaged file, or in its reader, becomes one kind of error."""
    what = f"{path} cannot be read{f' as {format}' if format else ''}"
    try:
        yield
    except ModuleNotFoundError:
        raise
    except MemoryError as error:
        raise MemoryError(f"{what}: {_told(error)}") from error
    except Exception as error:
        raise ValueError(f"{what}: {_told(error)}") from error


def _told(error: Exception) -> str:
    text = printable(" ".join(str(error)[:2000].split()))
    return text if isinstance(error, ValueError | MemoryError) and text else f"{type(error).__name__} {text}".strip()


def _chosen(path: Path, layers: Layers, prefix: str | None) -> Layer:
    """Choose by prefix; an error lists what there is."""
    listed = "".join(f"\n  {layer}" for layer in layers[:50])
    if prefix is not None and not isinstance(prefix, str):
        raise TypeError(f"prefix should be a str, got: {type(prefix).__name__}")
    if prefix is None:
        found = [layer for layer in layers if not layer.problem] or layers
    else:
        name = prefix.rstrip("./")
        found = [layer for layer in layers if layer.name == name] or [
            layer for layer in layers if layer.name.startswith((f"{name}.", f"{name}/"))
        ]
        found = found or [layer for layer in layers if layer.name.endswith((f".{name}", f"/{name}"))]
    what = f"prefix={prefix!r}" if prefix is not None else "it"
    if not layers:
        raise ValueError(f"{path}: no LSTM was found in it{_else(layers)}")
    if len(found) != 1:
        many = "more than one LSTM: say which with prefix=" if found else "no LSTM"
        raise ValueError(f"{path}: {what} has {many}; the file has:{listed}{_else(layers)}")
    if found[0].problem:
        raise ValueError(f"{path}: {found[0]}")
    return found[0]


def _else(layers: Layers) -> str:
    return f"\n  ignored: {layers.ignored_names}" if layers.ignored else ""
