"""The replacement of the fixture for Trio tests if pytest-trio is not installed."""

from __future__ import annotations

import pytest


@pytest.fixture
def device_manager() -> None:
    """Needs pytest-trio."""
    pytest.fail("the fixture device_manager needs pytest-trio: pip install pytest-trio; or use device_manager_sync")
