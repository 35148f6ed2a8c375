"""The version of the numerical contract (docs/contract.md): another number, other bits."""

from typing import Final

CONTRACT: Final = 1
