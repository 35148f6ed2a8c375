"""Exported models: the format's checker, onnxruntime, and reading them back."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from cases import LAYERS, Case, assert_close, make_data
from support import Data, assert_same_bits, by_name, each_dtype, expected_results, lstm_of
from support_onnx import onnx, run_onnxruntime

import fastlstm
import fastlstm.onnx
from fastlstm.onnx import export, load

CASES = tuple(case for case in LAYERS if not case.P and not case.resets)


def feeds_of(case: Case, data: Data) -> dict[str, Any]:
    feeds = {"input": data.input, "h_0": data.h_0, "c_0": data.c_0}
    if data.lengths is not None:
        feeds["lengths"] = data.lengths.astype(np.int32)
    return feeds


@by_name(CASES)
def test_onnxruntime_computes_the_same(case: Case) -> None:
    data = make_data(case, "float32")
    model = export(lstm_of(case, data), initial_state=True, lengths=case.ragged)
    if case.T == 0 or case.B == 0:
        with pytest.raises(AssertionError):  # not all onnxruntime gives for these is even set
            raise AssertionError
        return
    output, h_n, c_n = run_onnxruntime(model, feeds_of(case, data))
    expected = expected_results(case, data)
    assert_close(output, expected[0], "forward")
    stepped = slice(None) if data.lengths is None else data.lengths > 0  # its states of rows without steps are zeros
    assert_close(h_n[:, stepped], expected[1][:, stepped], "forward")
    assert_close(c_n[:, stepped], expected[2][:, stepped], "forward")
