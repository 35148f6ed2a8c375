"""Where the axes of time and rows are: as the caller has them, and as the loops see them."""

from typing import NamedTuple, TypeVar

import numpy as np
from numpy.typing import NDArray

Scalar = TypeVar("Scalar", bound=np.generic)


class Layout(NamedTuple):
    """The caller's arrangement of a sequence. The loops always see (T, B, ...): an unbatched one is a batch of one row.

    States, (L*D, B, ...) or unbatched (L*D, ...), are never batch-first: they have a layout with `batch_first` False.
    """

    batched: bool
    batch_first: bool = False

    def steps_first(self, array: NDArray[Scalar]) -> NDArray[Scalar]:
        """Return the caller's array as (T, B, ...)."""
        if not self.batched:
            return array[:, np.newaxis]
        return array.swapaxes(0, 1) if self.batch_first else array

    def as_given(self, array: NDArray[Scalar]) -> NDArray[Scalar]:
        """Return an array (T, B, ...) as the caller arranges it."""
        if not self.batched:
            return array[:, 0]
        return array.swapaxes(0, 1) if self.batch_first else array

    @property
    def of_states(self) -> "Layout":
        """The layout of the initial and final states beside this sequence."""
        return Layout(self.batched)
