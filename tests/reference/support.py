"""What the tests of the reference share."""

from typing import Any

from tests.cases import Data


def layer_arguments(data: Data, suffix: str = "_l0") -> dict[str, Any]:
    """Return the weights of one layer and direction under the names of `layer_forward` and `cell_forward`."""
    names = {name for name in data.state_dict if name.endswith(suffix)}
    return {name.removesuffix(suffix): data.state_dict[name] for name in names}
