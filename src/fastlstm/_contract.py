"""The version of the numerical contract (docs/contract.md): another number, other bits."""

from typing import Final

from . import _core

CONTRACT: Final = _core.contract()
