"""Values of a backend's tensors, where there are values now, and tensors of values."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Final

import keras
import numpy as np

from .._types import Array


def is_traced() -> bool:
    """Tell whether torch records what runs, values as constants, or looks for tangents, which are no values."""
    if keras.backend.backend() != "torch":
        return False
    import torch

    tracing = torch._C._is_tracing() or torch.compiler.is_compiling()
    return tracing or torch.autograd.forward_ad._current_level >= 0


def _numpy(tensor: Any) -> Array | None:
    return tensor if isinstance(tensor, np.ndarray) else None


def _torch(tensor: Any) -> Array | None:
    import torch

    if type(tensor) is not torch.Tensor and type(tensor) is not torch.nn.Parameter:
        return None  # a subclass has its own idea of what follows
    try:
        if tensor.dtype == torch.bfloat16:
            import ml_dtypes  # Keras needs it, too

            bits: Array = tensor.detach().view(torch.int16).numpy()
            return bits.view(ml_dtypes.bfloat16)
        array: Array = tensor.detach().numpy()
    except (AttributeError, RuntimeError, TypeError):  # not a tensor; fake or wrapped; on another device
        return None
    return array


def _jax(tensor: Any) -> Array | None:
    import jax

    if not isinstance(tensor, jax.Array) or isinstance(tensor, jax.core.Tracer):
        return None
    if any(device.platform != "cpu" for device in tensor.devices()):
        return None
    return np.asarray(tensor)


#: Each views a tensor's values without copying them; None if it is symbolic, traced, or not in the CPU's memory. Not
#: TensorFlow: an eager tensor does not tell whether a tape is watching it, and what is computed outside TensorFlow has
#: no gradient there.
VIEWS: Final[dict[str, Callable[[Any], Array | None]]] = {"numpy": _numpy, "torch": _torch, "jax": _jax}


def tensor(array: Array) -> Any:
    """Make values that nobody else has a tensor of the backend's."""
    backend = keras.backend.backend()
    if backend == "torch":
        import torch

        return torch.from_numpy(array)
    return array if backend == "numpy" else keras.ops.convert_to_tensor(array, dtype=array.dtype.name)
