"""The soak, small and short; ``python -m tests.end_to_end.soak`` is the real one."""

from __future__ import annotations


def test_a_busy_node_keeps_its_promises_and_leaks_nothing(start):
    driver = start("-m", "tests.end_to_end.soak", "--seconds", 12, "--plugins", 40)
    status = driver.wait()
    assert status == 0, "".join(driver.lines)
