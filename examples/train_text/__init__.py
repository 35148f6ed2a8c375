"""A character model trained from nothing on Python's own sources: `make train`, or `python examples/train_text`.

One idea a file, in the order of the work:

    corpus.py       the text: sources of the standard library; characters <-> numbers; chunks of 32 places at once
    model.py        embedding -> fastlstm.LSTM -> softmax over the next character, and all of it backwards
    adam.py         clipping, and Adam's step
    training.py     truncated backpropagation: chunk after chunk, the state carried along
    checkpoint.py   all that training has changed, in one .npz that is whole or not there
    generate.py     new text, character by character
    command.py      the command line and the progress bar

The same seed gives the same losses to the last bit, with any number of threads, in one run or resumed. That rests on
this: fastlstm's gradients are the same bits for any number of threads; NumPy's BLAS, which computes the products of the
output layer, is held to one thread by `__main__.py`, so that its order of adding is fixed; NumPy's other loops have one
order in any case. Another CPU or another build of NumPy may choose other loops there, and so other last bits; another
release of Python has other sources.
"""
