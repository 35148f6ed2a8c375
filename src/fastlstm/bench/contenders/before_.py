"""Ours as it was: another build, in the folder that FASTLSTM_BEFORE names (``pip install --target``).

What drives it is this build's, which is there already.
"""

import importlib
import os
import sys
from pathlib import Path

FOLDER = os.environ.get("FASTLSTM_BEFORE", "")
if not FOLDER:
    raise ImportError("set FASTLSTM_BEFORE")

_package = {name: module for name, module in sys.modules.items() if name.partition(".")[0] == "fastlstm"}
for _name in _package:
    del sys.modules[_name]
sys.path.insert(0, FOLDER)
_build = importlib.import_module("fastlstm")
if not Path(str(_build.__file__)).is_relative_to(Path(FOLDER).resolve()):
    raise ImportError(f"there is no fastlstm in {FOLDER}")
sys.modules |= {name: module for name, module in _package.items() if name.startswith("fastlstm.bench")}
_ours = importlib.import_module("fastlstm.bench.contenders.fastlstm_")

label = "before: fastlstm"
version, prepare = _ours.version, _ours.prepare
