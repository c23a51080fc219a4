"""The life cycle of an endpoint, and that the README draws the same."""

from __future__ import annotations

import re
from pathlib import Path

from devicemgr.core.devices.endpoint import NEXT, Endpoint, State

README = Path(__file__).parent.parent.parent.parent / "README.md"


def test_the_readme_draws_the_table():
    drawn = set(re.findall(r"^    ([A-Z]+) --> ([A-Z]+): (.+)$", README.read_text(), re.MULTILINE))
    assert drawn == {(before.name, after.name, change.value) for (before, change), after in NEXT.items()}


def test_stopping_twice_keeps_the_first_stop_time():
    once = Endpoint(resource="vendor.com/gpu", generation=1, socket="a.sock").stopped(now=5)
    assert (once.state, once.stopped_at) == (State.STOPPED, 5)
    assert once.stopped(now=9) is once


def test_the_grace_period_must_have_passed_strictly():
    """LW-11."""
    serving = Endpoint(resource="vendor.com/gpu", generation=1, socket="a.sock")
    stopped = serving.stopped(now=50)
    assert not serving.is_expired(now=10_000)
    assert not stopped.is_expired(now=350)
    assert stopped.is_expired(now=350.001)
