"""What the first layer makes of every token."""

from __future__ import annotations

from typing import Any, Generic, Self

import numpy as np
from numpy.typing import ArrayLike

from . import _checks, _core
from ._layer import Origin
from ._types import Array, F


class Table(_core.TableCore, Generic[F]):
    """The input's part of the pre-activations for each of V tokens; made by `LSTM.table`.

    Where it is given, integers in 0..V-1 stand for rows of the embedding that it was made of: the bits of the lookup
    followed by the layer, without the lookup and without the product. It belongs to the weights that it was made with.
    It does not change: any number of calls, streams, pools and windows may use it at once. For inference only.

    Attributes
    ----------
    size : int
        V: how many tokens it has; ``len(table)`` too.
    nbytes : int
        Bytes that it takes.
    current : bool
        Whether the layer still has the weights that this table was made with.

    Examples
    --------
    >>> import numpy as np, fastlstm
    >>> lstm = fastlstm.LSTM(4, 3, seed=0)
    >>> embedding = np.random.default_rng(0).standard_normal((100, 4), np.float32)
    >>> table, tokens = lstm.table(embedding), np.array([7, 7, 99])
    >>> bool((lstm(tokens, table=table)[0] == lstm(embedding[tokens])[0]).all())  # not close: equal
    True
    """

    def __new__(cls, plan: _core.Plan, embedding: Array, workers: _core.Workers | None, origin: Origin) -> Self:
        return super().__new__(cls, plan, embedding, workers)

    def __init__(self, plan: _core.Plan, embedding: Array, workers: _core.Workers | None, origin: Origin) -> None:
        _checks.made_once(self)
        self._origin, self._dtype = origin, origin.dtype

    @property
    def dtype(self) -> np.dtype[F]:
        """float32 or float64: the layer's."""
        return self._dtype

    @property
    def current(self) -> bool:
        """Whether the layer still has the weights that this table was made with; False after `load_state_dict`."""
        return self._origin.current

    def __len__(self) -> int:
        return self.size

    def __repr__(self) -> str:
        return f"Table({self.size} tokens, {self.nbytes} bytes)"

    def __reduce__(self) -> Any:
        raise TypeError("a Table cannot be pickled or copied: make it again from the LSTM and the embedding")


def embedding_of(value: ArrayLike, I: int, dtype: np.dtype[Any]) -> Array:
    """Check what a table is made of: [V, I]."""
    array = _checks.floats(value, "embedding", dtype)
    if array.ndim != 2 or array.shape[1] != I or not len(array):
        raise ValueError(f"Expected embedding size (V, {I}) = (V, I) with V > 0, got {array.shape}")
    return _checks.readable(array)


def serving(table: object, plan: _core.Plan) -> Table[Any]:
    """Check that a table is one, of these very weights."""
    if not isinstance(table, Table):
        raise TypeError(f"table should be a Table, which LSTM.table makes, got: {type(table).__name__}")
    if not table.serves(plan):
        why = "of another layer" if table.current else "of weights that its layer has no longer"
        raise ValueError(f"table is {why}: make one of these weights, table = lstm.table(embedding)")
    return table
