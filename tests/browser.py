"""A real browser without a window, for the tests of pages."""

import shutil
from typing import Any

import pytest


def started(*flags: str) -> Any:
    """Start Chromium; skip where it or Selenium is missing."""
    webdriver = pytest.importorskip("selenium.webdriver", reason="pip install --group service-test")
    paths = [shutil.which("chromium") or shutil.which("google-chrome"), shutil.which("chromedriver")]
    if None in paths:
        pytest.skip("needs a browser (apt-get install chromium chromium-driver)")
    options = webdriver.ChromeOptions()
    options.binary_location = paths[0]
    usual = ("--headless=new", "--no-sandbox", "--disable-dev-shm-usage", "--force-device-scale-factor=1")
    for flag in (*usual, "--window-size=1200,1400", *flags):
        options.add_argument(flag)
    options.set_capability("goog:loggingPrefs", {"browser": "ALL"})
    return webdriver.Chrome(options=options, service=webdriver.ChromeService(paths[1]))
