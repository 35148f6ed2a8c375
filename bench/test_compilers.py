"""GCC against Clang on the C core: most wheels for macOS and Windows are Clang's."""

from dataclasses import replace
from pathlib import Path

import pytest

from bench import instructions
from bench.building import lacking
from bench.clock import now
from bench.conftest import Record
from bench.rows import micro, seconds
from bench.works import BATCHES, SEQUENCES, TRAININGS, Case, Work
from fastlstm.bench.arena import Arena, Entry, Result
from fastlstm.bench.report import Row

pytestmark = pytest.mark.benchmark(timer=now)

TOOLS = ("gcc", "clang", "cmake")
# How much more than GCC's Clang's may take.
MORE = 1.05
WORKS = [("sequence", case) for case in BATCHES if case.H in {128, 256}]
WORKS += [("training", case) for case in TRAININGS if (case.H, case.B) == (128, 32)]
WORKS += [("sequence", case) for case in SEQUENCES if case.H in {128, 256}]
# Emulated, so a tenth of the steps.
COUNTED = [Work(kind, replace(case, T=case.T // 10)) for kind, case in WORKS if case.H == 128]


@pytest.mark.skipif(bool(lacking(*TOOLS)), reason=lacking(*TOOLS))
@pytest.mark.parametrize(("kind", "case"), WORKS, ids=lambda value: getattr(value, "name", ""))
def test_compilers(arena: Arena, record: Record, kind: str, case: Case) -> None:
    """Both build the core when they are first asked, which takes a while; the answers have the same bits."""
    entries: dict[str, Entry] = {name: (name, Work(kind, case)) for name in ("gcc", "clang")}
    results = arena.play(entries, alike=entries)
    ratio = seconds(results["clang"]) / seconds(results["gcc"])
    row: Row = {"of": kind, "T": str(case.T), "B": str(case.B), "H": str(case.H)}
    row |= {f"{name} us": micro(result) for name, result in results.items()}
    row |= {"clang / gcc": ratio, "goal": f"<= {MORE:g}", "met": ratio <= MORE}
    record("The C core by GCC and by Clang: I=H, 1 thread", row, results)


@pytest.mark.skipif(bool(lacking(*instructions.TOOLS)), reason=lacking(*instructions.TOOLS))
def test_instructions(record: Record, tmp_path: Path) -> None:
    """The same on AArch64, in instructions executed."""
    counted, nothing = instructions.counts(tmp_path, COUNTED), {"emulated": Result()}
    for work in COUNTED:
        gcc, clang = (counted[name][work] for name in ("gcc", "clang"))
        row: Row = {"of": work.kind, "T": str(work.case.T), "B": str(work.case.B), "H": str(work.case.H)}
        row |= {"gcc, millions": gcc * 1e-6, "clang, millions": clang * 1e-6, "clang / gcc": clang / gcc}
        row |= {"goal": f"<= {MORE:g}", "met": clang <= MORE * gcc}
        record("The C core by GCC and by Clang on AArch64, instructions executed by qemu: I=H", row, nothing)
