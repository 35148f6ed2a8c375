"""Types: in public signatures a layer of float32 takes and gives arrays of float32, and type checkers know it."""

from typing import TYPE_CHECKING, Any, Literal, TypeAlias

import numpy as np
from numpy.typing import NDArray

if TYPE_CHECKING:
    from typing_extensions import TypeVar  # the default, which typing has from Python 3.13 on

    F = TypeVar("F", bound=np.floating[Any], default=Any)
else:
    from typing import TypeVar

    F = TypeVar("F")

Array = NDArray[Any]
States = tuple[Array, Array]
Shape = tuple[int, ...]

Float32: TypeAlias = Literal["float32"] | type[np.float32]
Float64: TypeAlias = Literal["float64"] | type[float] | type[np.float64]
