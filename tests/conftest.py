"""--may-skip: where something that a run is there for is missing, the run fails and does not pass it by."""

import re

import pytest

SURPRISES = pytest.StashKey[list[str]]()


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption("--may-skip", metavar="REGEX", help="fail if a test is skipped for any other reason")


def pytest_configure(config: pytest.Config) -> None:
    if config.getoption("--may-skip") is not None and not hasattr(config, "workerinput"):  # xdist's workers report
        config.stash[SURPRISES] = []
        config.pluginmanager.register(Skips(config), "may-skip")


class Skips:
    """Collects the tests that were skipped for a reason that is not allowed, and fails the run if there are any."""

    def __init__(self, config: pytest.Config) -> None:
        self.allowed = re.compile(config.getoption("--may-skip"))
        self.surprises = config.stash[SURPRISES]

    def look(self, report: pytest.TestReport | pytest.CollectReport) -> None:
        if report.skipped and isinstance(report.longrepr, tuple) and not hasattr(report, "wasxfail"):
            reason = report.longrepr[2].removeprefix("Skipped: ")
            if not self.allowed.search(reason):
                self.surprises.append(f"{report.nodeid}: {reason}")

    pytest_runtest_logreport = look
    pytest_collectreport = look

    def pytest_sessionfinish(self, session: pytest.Session) -> None:
        if self.surprises and session.exitstatus == pytest.ExitCode.OK:
            session.exitstatus = pytest.ExitCode.TESTS_FAILED

    def pytest_terminal_summary(self, terminalreporter: pytest.TerminalReporter) -> None:
        if self.surprises:
            terminalreporter.section("skipped, which --may-skip does not allow", red=True)
            for line in self.surprises:
                terminalreporter.line(line)
