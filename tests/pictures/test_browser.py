"""The browser of the tests: a run that is killed leaves none behind."""

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from tests.support import ROOT, runs

pytest.importorskip("selenium.webdriver", reason="pip install --group service-test")

PROGRAM = """
from tests.browser import started
browser = started()
print(browser.service.process.pid, flush=True)
input()
"""


def family(pid):
    """Return a process and all that come from it."""
    parents = {}
    for status in Path("/proc").glob("[0-9]*/stat"):
        try:
            parents[int(status.parent.name)] = int(status.read_text().rpartition(")")[2].split()[1])
        except OSError:  # it has ended
            continue
    found = [pid]
    for each in found:
        found += [child for child, parent in parents.items() if parent == each]
    return found


@pytest.mark.skipif(sys.platform != "linux", reason="Linux ends the driver of a process that is gone")
def test_killed_run_leaves_no_browser():
    with subprocess.Popen([sys.executable, "-c", PROGRAM], cwd=ROOT, stdin=-1, stdout=-1, text=True) as run:
        told = run.stdout.readline()
        if not told:
            pytest.skip("needs a browser (apt-get install chromium chromium-driver)")
        started = family(int(told))
        run.kill()
    assert len(started) > 2  # the driver, the browser and what that starts
    latest = time.monotonic() + 20
    while left := [pid for pid in started if runs(pid)]:
        if time.monotonic() > latest:
            for pid in left:
                os.kill(pid, signal.SIGKILL)
            pytest.fail(f"{len(left)} of {len(started)} processes are left")
        time.sleep(0.05)
