"""A clock for what is spoken over TCP."""

from __future__ import annotations

import pytest
from trio.testing import MockClock


@pytest.fixture
def autojump_clock() -> MockClock:
    """On a busy machine, what is sent is under way in the kernel for a moment, also on loopback, while no task has
    anything to do."""
    return MockClock(autojump_threshold=0.02)
