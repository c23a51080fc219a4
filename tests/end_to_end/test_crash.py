"""The crash driver, for a short while; ``python -m tests.end_to_end.crash`` goes on for longer."""

from __future__ import annotations


def test_after_kill_9_nothing_that_was_promised_is_lost(start):
    driver = start("-m", "tests.end_to_end.crash", "--kills", 25)
    status = driver.wait()
    assert status == 0, "".join(driver.lines)
