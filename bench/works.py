"""The cases of the tables, and what they are of: `fastlstm.bench.works`."""

from collections.abc import Iterable

from fastlstm.bench.works import (
    CHECKED_STEPS,
    COMPANIES,
    GRADIENTS,
    LEARNING_RATE,
    TRAINED_STEPS,
    VOCABULARY,
    ZERO_SHARE,
    Array,
    Case,
    Data,
    Work,
    companies,
    make,
)
from tests import cases

__all__ = ["ACTIVATIONS", "BATCHES", "CROWDED", "LENGTHS", "SEQUENCES", "STEPS", "TINY_STEPS", "TRAININGS"]
__all__ += ["ADAPTER", "CELL_LOOPS", "LOOKED_AT", "MODELS", "PACKED", "REPACKED", "ZERO_SHARE"]
__all__ += ["ADVANCED", "BOTH_WAYS", "STACKS", "TOKENS", "VOCABULARY", "ZEROS", "ZEROS_SEQUENCE"]
__all__ += ["COMPANIES", "PUBLIC", "SESSIONS", "WINDOWS", "companies"]
__all__ += ["CHECKED_STEPS", "GRADIENTS", "LEARNING_RATE", "TRAINED_STEPS", "Array", "Case", "Data", "Work", "make"]


def _sized(given: Iterable[cases.Case]) -> tuple[Case, ...]:
    return tuple(Case(case.name, case.T, case.B, case.I, case.H) for case in given)


STEPS, SEQUENCES, BATCHES = map(_sized, (cases.SPEED_STEP, cases.SPEED_SEQUENCE, cases.SPEED_BATCH))
TRAININGS = _sized(cases.SPEED_TRAINING)
# Python's own cost shows best where the arithmetic is next to nothing.
TINY_STEPS = (Case("step-h8", T=1, B=1, I=8, H=8), STEPS[0])
CROWDED = tuple(case for case in SEQUENCES if case.H in {64, 128, 256})
LENGTHS = Case("lengths-h128", T=200, B=32, I=128, H=128)
MODELS = tuple(Case(f"model-b{b}-h{n}", T=50, B=b, I=n, H=n, num_layers=2) for b in (32, 1) for n in (64, 256, 512))
REPACKED = next(case for case in MODELS if case.B == 32 and case.H == 256)
PACKED = tuple(Case(f"packed-h{n}", T=100, B=32, I=n, H=n, ragged=True) for n in (64, 128, 256))
CELL_LOOPS = tuple(Case(f"cells-h{n}", T=50, B=1, I=n, H=n) for n in (32, 64, 128, 256))
LOOKED_AT = tuple(Case(f"look-h{n}", T=50, B=1, I=n, H=n) for n in (64, 128, 256, 512, 1024))
ADAPTER = Case("adapter-h32", T=1, B=1, I=32, H=32)
BOTH_WAYS = Case("both-ways-h256", T=50, B=16, I=256, H=256, num_layers=2, bidirectional=True)
STACKS = tuple(Case(f"stack-{layers}x256", T=100, B=1, I=256, H=256, num_layers=layers) for layers in (2, 3, 6))
ADVANCED = tuple(
    Case(f"advance-{layers}x{n}", T=1, B=1, I=n, H=n, num_layers=layers) for layers, n in ((1, 64), (2, 128))
)
# Each with the same layer on a single input, which shows what of the time is not the input's part.
ZEROS = Case("zeros-h128", T=1, B=1, I=128, H=128), Case("zeros-i1", T=1, B=1, I=1, H=128)
ZEROS_SEQUENCE = Case("zeros-t100", T=100, B=1, I=128, H=128), Case("zeros-t100-i1", T=100, B=1, I=1, H=128)
# The first layer, and both, of the character model of the demo.
TOKENS = tuple(Case(f"tokens-{n}x128", T=40, B=1, I=100, H=128, num_layers=n) for n in (1, 2))
# B is how many are in a call.
SESSIONS = tuple(Case(f"sessions-b{b}-h{n}", T=1, B=b, I=n, H=n) for n, b in ((32, 64), (128, 64), (256, 64)))
SESSIONS += tuple(Case(f"sessions-b{b}-h128", T=1, B=b, I=128, H=128) for b in (8, 512))
# T is the length of the window.
WINDOWS = tuple(
    Case(f"window-{layers}x{n}", T=length, B=1, I=n, H=n, num_layers=layers)
    for layers, n, length in ((1, 64, 20), (2, 128, 50), (3, 256, 100))
)
# All but the first are those that makers of FPGA accelerators publish latencies of.
PUBLIC = tuple(
    Case(f"public-{layers}x{n}", T=1, B=1, I=n, H=n, num_layers=layers)
    for layers, n in ((1, 64), (2, 128), (3, 256), (3, 480), (6, 320), (3, 960))
)
# Both fit the L1 cache together with their results. Their difference is free of the cost of a call.
ACTIVATIONS = (Case("activation-2048", T=1, B=1, I=2048, H=1), Case("activation-512", T=1, B=1, I=512, H=1))
