"""The package's writer of drawings, read out of the tree: whoever draws what is kept needs nothing installed."""

import importlib.util
import sys
from pathlib import Path

_PATH = Path(__file__).resolve().parents[2] / "src" / "fastlstm" / "bench" / "svg.py"
_SPEC = importlib.util.spec_from_file_location("studies.fastlstm_svg", _PATH)
assert _SPEC is not None
assert _SPEC.loader is not None
_writer = importlib.util.module_from_spec(_SPEC)
sys.modules[_SPEC.name] = _writer
_SPEC.loader.exec_module(_writer)

Drawing, Scale = _writer.Drawing, _writer.Scale
