"""The fixture for Trio tests."""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from pytest_trio import trio_fixture

from .pytest_fixtures import settings_of

if TYPE_CHECKING:
    from ..daemon.manager import DeviceManager


@trio_fixture  # type: ignore[untyped-decorator]
async def device_manager(request: pytest.FixtureRequest, device_manager_dir: Path) -> AsyncIterator[DeviceManager]:
    """A manager inside the test's own Trio program, on real sockets in a directory of its own."""
    from ..daemon.supervisor import open_device_manager

    async with open_device_manager(device_manager_dir, **settings_of(request)) as manager:
        yield manager
