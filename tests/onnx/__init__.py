"""Tests of fastlstm.onnx: they are skipped without onnx, before a module imports what needs it."""

import pytest

pytest.importorskip("onnx", reason="pip install onnx")
