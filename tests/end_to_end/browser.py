"""A headless Chromium, if there is one, and what it shows of the page."""

from __future__ import annotations

import shutil
from contextlib import contextmanager, suppress

import pytest

FLAGS = (
    "--headless=new",
    "--no-sandbox",
    "--disable-dev-shm-usage",
    "--disable-gpu",
    "--disable-background-networking",
)

LONGEST_SCRIPT = 100
"""Seconds: more than anything is waited for."""


def missing() -> str:
    """Why there is no browser; empty if there is one."""
    names = [name for name in ("chromium", "chromedriver") if not shutil.which(name)]
    return f"{' and '.join(names)} not installed" if names else ""


@contextmanager
def open_browser():
    webdriver = pytest.importorskip("selenium.webdriver")
    options = webdriver.ChromeOptions()
    options.binary_location = shutil.which("chromium")
    for flag in FLAGS:
        options.add_argument(flag)
    options.set_capability("goog:loggingPrefs", {"browser": "ALL"})
    driver = webdriver.Chrome(options=options, service=webdriver.ChromeService(shutil.which("chromedriver")))
    try:
        driver.set_script_timeout(LONGEST_SCRIPT)
        yield Browser(driver)
    finally:
        with suppress(OSError):
            driver.quit()


class Browser:
    """``run`` evaluates JavaScript; ``until`` waits for a true value, by the page's own clock."""

    def __init__(self, driver):
        self.driver = driver

    def open(self, url, *, width=1200, media=None):
        size = {"width": width, "height": 900, "deviceScaleFactor": 1, "mobile": False}
        self.driver.execute_cdp_cmd("Emulation.setDeviceMetricsOverride", size)
        features = [{"name": name, "value": value} for name, value in (media or {}).items()]
        self.driver.execute_cdp_cmd("Emulation.setEmulatedMedia", {"features": features})
        self.driver.get("about:blank")
        self.problems()  # those of the page before
        self.driver.get(url)

    def run(self, expression):
        return self.driver.execute_script(f"return ({expression})")

    def until(self, expression, seconds=60.0):
        """Looks after every frame. Returns the value, and the seconds that it took."""
        script = f"""
            const done = arguments[arguments.length - 1], began = performance.now();
            const look = () => {{
                const value = ({expression});
                const seconds = (performance.now() - began) / 1000;
                if (value || seconds > {seconds}) done([value, seconds]);
                else requestAnimationFrame(look);
            }};
            look();"""
        value, took = self.driver.execute_async_script(script)
        assert value, f"not within {seconds} s: {expression}\n{self.run('document.body.innerText')[:3000]}"
        return value, took

    def problems(self):
        """What the browser has complained about."""
        return [entry["message"] for entry in self.driver.get_log("browser") if "favicon" not in entry["message"]]
