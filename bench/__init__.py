"""The benchmarks: `make bench`, or `python -m pytest bench`.

What is run, who runs it, and how they take turns is in the package, `fastlstm.bench`; here, `works` has the cases,
`contenders/` who is of use in a checkout alone, `rows` compares them, and each `test_*.py` is one table with its goals.

``--quick`` only tries whether everything works; ``--bench-markdown FILE`` and ``--bench-json FILE`` keep the tables.
The columns: times are medians; "of limit" is the share of the machine's own limit that we reach, measured in the same
rounds; "ratio" is the better rival's time over ours; "possible" is what that ratio would be at the limit.

No goal fails a test: these are measurements, and machines are noisy. A wrong answer does.
"""
