"""A real browser without a window, for the tests of pages."""

import ctypes
import shutil
import signal
import sys
from typing import Any

import pytest

_PR_SET_PDEATHSIG = 1


def started(*flags: str) -> Any:
    """Start Chromium; skip where it or Selenium is missing. It ends with this process, however that ends."""
    webdriver = pytest.importorskip("selenium.webdriver", reason="pip install --group service-test")
    paths = [shutil.which("chromium") or shutil.which("google-chrome"), shutil.which("chromedriver")]
    if None in paths:
        pytest.skip("needs a browser (apt-get install chromium chromium-driver)")
    options = webdriver.ChromeOptions()
    options.binary_location = paths[0]
    # The browser ends with the driver, whose end closes the pipe; a port would keep it.
    usual = ("--headless=new", "--no-sandbox", "--disable-dev-shm-usage", "--remote-debugging-pipe")
    for flag in (*usual, "--force-device-scale-factor=1", "--window-size=1200,1400", *flags):
        options.add_argument(flag)
    options.set_capability("goog:loggingPrefs", {"browser": "ALL"})
    how = {"preexec_fn": _end_with_parent} if sys.platform == "linux" else {}
    return webdriver.Chrome(options=options, service=webdriver.ChromeService(paths[1], popen_kw=how))


_libc = ctypes.CDLL(None) if sys.platform == "linux" else None


def _end_with_parent() -> None:
    """Let the system end the driver when who started it is gone, which may have had no time to do so."""
    assert _libc is not None
    _libc.prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)
