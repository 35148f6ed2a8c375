"""The benchmarks: `make bench`, or `python -m pytest bench`.

One idea per file: `works` says what is run, `truth` what the right answer is, `contenders/` who runs it (one file per
competitor), `worker` is the process that each contender gets, `arena` lets them take turns, `rows` compares them,
`report` prints what came out, and each `test_*.py` is one table with its goals.

``--quick`` only tries whether everything works; ``--bench-markdown FILE`` and ``--bench-json FILE`` keep the tables.
The columns: times are medians; "of limit" is the share of the machine's own limit that we reach, measured in the same
rounds; "ratio" is the better rival's time over ours; "possible" is what that ratio would be at the limit.

No goal fails a test: these are measurements, and machines are noisy. A wrong answer does.
"""
