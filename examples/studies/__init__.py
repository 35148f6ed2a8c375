"""The numbers and the drawings of docs/gates.md: `python examples/studies`.

Each study gives cells, and each cell is computed from what stands in its settings alone, without a clock, a BLAS or a
sum whose order a machine could choose: so its result is the same everywhere, to the bit, and its hash says so. The
layers' own bits are promised (docs/contract.md); what is counted here are whole numbers, and what is added up is added
by `math.fsum`.

    unit.py         one unit: a switch times an update, beside an update alone
    published.py    the units of a published character model, on a text
    sentence.py     what its cells do along a sentence: the picture of README.md
    drift.py        what becomes of cells that can only add
    distance.py     how far back gradients reach
    ablations.py    LSTMs without one of their parts, trained on small tasks
    units.py        units of trained models by what they react to, found by correlation
    trained.py      a character model trained on the standard library's sources
    labels.py       what a place in code or English is
    gates.py        the gates of every step of a layer
    record.py       cells, their hashes, and the files in docs/studies/
    figures.py      the numbers of the page, and what it says with them
    svg.py          lines, bars and fields, as drawings: the writer of fastlstm bench
    pictures.py     a drawing for each study, from its file alone; those of units in units_pictures.py
"""
