"""The fixture for Trio tests."""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from pytest_trio import trio_fixture

from .fixtures import open_manager_for

if TYPE_CHECKING:
    from ...daemon.manager import DeviceManager


@pytest.hookimpl(tryfirst=True)
def pytest_runtest_setup(item: pytest.Item) -> None:
    """Report it before pytest-trio does, in a hundred lines."""
    if (
        isinstance(item, pytest.Function)
        and "device_manager" in item.fixturenames
        and not item.get_closest_marker("trio")
    ):
        fixtures = item._fixtureinfo.name2fixturedefs["device_manager"]
        if fixtures[-1].func.__module__ == __name__:
            pytest.fail(
                "the fixture device_manager is for Trio tests: mark this async test with @pytest.mark.trio, or set "
                "trio_mode = true; an ordinary test has device_manager_sync",
                pytrace=False,
            )


@trio_fixture  # type: ignore[untyped-decorator]
async def device_manager(request: pytest.FixtureRequest, device_manager_dir: Path) -> AsyncIterator[DeviceManager]:
    """A manager inside the test's own Trio program, on real sockets in a directory of its own."""
    async with open_manager_for(request, device_manager_dir) as manager:
        yield manager
