"""A real browser without a window, for the tests of pages."""

import shutil
from typing import Any

import pytest

from tests.support import END_WITH_PARENT


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
    service = webdriver.ChromeService(paths[1], popen_kw={"preexec_fn": END_WITH_PARENT})
    return webdriver.Chrome(options=options, service=service)
