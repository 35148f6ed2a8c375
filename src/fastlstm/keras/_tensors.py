"""Values of a backend's tensors, where there are values now."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Final

import keras
import numpy as np
from numpy.typing import NDArray

Array = NDArray[Any]


def view(tensor: Any) -> Array | None:
    """Return a tensor's values without copying them; None if it is symbolic, traced, or not in the CPU's memory."""
    return VIEWS[keras.backend.backend()](tensor)


def _numpy(tensor: Any) -> Array | None:
    return tensor if isinstance(tensor, np.ndarray) else None


def _torch(tensor: Any) -> Array | None:
    import torch

    # A tracer runs this very code with real tensors: their values would become constants of what it records.
    if torch.jit.is_tracing() or torch.compiler.is_compiling():
        return None
    # Tangents are no values, and a subclass has its own idea of what follows.
    if torch.autograd.forward_ad._current_level >= 0 or type(tensor) not in (torch.Tensor, torch.nn.Parameter):
        return None
    try:
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


#: Not TensorFlow: an eager tensor does not tell whether a tape is watching it, and what is computed outside TensorFlow
#: has no gradient there.
VIEWS: Final[dict[str, Callable[[Any], Array | None]]] = {"numpy": _numpy, "torch": _torch, "jax": _jax}
