"""The fixture for Trio tests."""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from pytest_trio import trio_fixture

from .pytest_fixtures import opened_for

if TYPE_CHECKING:
    from ..daemon.manager import DeviceManager


@trio_fixture  # type: ignore[untyped-decorator]
async def device_manager(request: pytest.FixtureRequest, device_manager_dir: Path) -> AsyncIterator[DeviceManager]:
    """A manager inside the test's own Trio program, on real sockets in a directory of its own."""
    async with opened_for(request, device_manager_dir) as manager:
        yield manager
