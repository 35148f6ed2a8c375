"""A published character model, run by fastlstm and checked against float64: `make demo`, or `python examples/textgen`.

One idea a file, in the order of the work:

    fetch.py      get the model's package from the package index, run none of its code, check its hash
    weights.py    HDF5 in CuDNN's layout -> state_dicts with torch's names
    texts.py      the text to score; characters <-> numbers; the windows of 40
    model.py      embedding -> two LSTM layers -> attention -> softmax
    engines.py    who computes the two LSTM layers: fastlstm, the NumPy reference, torch, onnxruntime
    check.py      every number again in float64, with the bound on the difference
    generate.py   new text, character by character
    timing.py     how long each engine takes, once its answer is known to be right
    table.py      the table at the end
    demo.py       the command line
"""
