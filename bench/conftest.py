"""Fixtures of the benchmarks, their options, and the tables at the end."""

import os
import platform
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path

import pytest
from pytest_benchmark.fixture import BenchmarkFixture

from bench.clock import replay
from bench.contenders import MODULES
from bench.works import Case
from fastlstm.bench.arena import Arena, Result
from fastlstm.bench.report import Report, Row

REPORT = pytest.StashKey[Report]()

Record = Callable[[str, Row | list[Row], Mapping[str, Result]], None]


def pytest_addoption(parser: pytest.Parser) -> None:
    """Add our options to pytest's."""
    group = parser.getgroup("bench")
    group.addoption("--quick", action="store_true", help="few short rounds of the small cases: does it work at all?")
    group.addoption("--bench-markdown", type=Path, metavar="FILE", help="write the tables as Markdown, too")
    group.addoption("--bench-json", type=Path, metavar="FILE", help="write the tables as JSON, too")


@pytest.hookimpl(tryfirst=True)
def pytest_configure(config: pytest.Config) -> None:
    """Begin the report, and let pytest-benchmark show only columns that mean something here."""
    config.stash[REPORT] = Report()
    if not config.option.benchmark_columns:
        config.option.benchmark_columns = ["min", "median", "max", "rounds"]


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """With ``--quick``, leave out the larger cases."""
    if not config.getoption("--quick"):
        return
    large = [item for item in items if isinstance(item, pytest.Function) and _size(item) > 64]
    config.hook.pytest_deselected(items=large)
    items[:] = [item for item in items if item not in large]


def _size(item: pytest.Function) -> int:
    case = item.callspec.params.get("case") if hasattr(item, "callspec") else None
    return case.H if isinstance(case, Case) else 0


@pytest.fixture(scope="session")
def arena(pytestconfig: pytest.Config) -> Iterator[Arena]:
    """Provide the one arena in which all rows are played, with quick rounds for ``--quick``."""
    arena = (
        Arena(rounds=3, seconds=0.002, modules=MODULES) if pytestconfig.getoption("--quick") else Arena(modules=MODULES)
    )
    yield arena
    report = pytestconfig.stash[REPORT]
    report.header += [f"{_processor()}, {os.cpu_count()} CPUs, Python {platform.python_version()}"]
    report.header += arena.versions
    report.header += [f"{arena.disturbed} of {arena.played} rounds were disturbed by other processes"]
    arena.close()


@pytest.fixture
def record(benchmark: BenchmarkFixture, pytestconfig: pytest.Config) -> Iterator[Record]:
    """Provide ``record(table, rows, results)``, which ends a test: it enters a row or more. The first result is ours.

    The test fails if anyone gave a wrong answer or broke down; a rival that is not installed is only missed.
    """
    report = pytestconfig.stash[REPORT]

    def record(table: str, rows: Row | list[Row], results: Mapping[str, Result]) -> None:
        row, *more = rows if isinstance(rows, list) else [rows]
        for each in (row, *more):
            report.add(table, each)
        errors = {result.error for result in results.values() if result.error}
        report.notes += sorted(errors.difference(report.notes))
        benchmark.group = table
        benchmark.extra_info.update(row)
        replay(benchmark, next(iter(results.values())).times)
        assert not [error for error in errors if "not here" not in error]

    yield record
    # A test that failed had nothing to time; pytest-benchmark need not complain as well.
    benchmark.skipped = benchmark.stats is None


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter, config: pytest.Config) -> None:
    """Print the tables, and write them where they are wanted."""
    report = config.stash[REPORT]
    if not report.tables:
        return
    terminalreporter.section("fastlstm and its rivals")
    terminalreporter.write_line(report.text())
    for option, write in (("--bench-markdown", report.markdown), ("--bench-json", report.json)):
        if (path := config.getoption(option)) is not None:
            path.write_text(write())


def _processor() -> str:
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
    except OSError:
        lines = []
    names = [line.partition(":")[2].strip() for line in lines if line.startswith("model name")]
    return names[0] if names else platform.machine()
