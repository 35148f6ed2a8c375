"""A fixture of both files: torch, where it is installed."""

from typing import Any

import pytest

from tests.torch.support import import_torch


@pytest.fixture(name="torch")
def load_torch() -> Any:
    """Torch, or the test is skipped."""
    return import_torch()
