"""Fixtures for ordinary tests, and those that both kinds of tests share."""

from __future__ import annotations

import tempfile
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import AbstractAsyncContextManager, AbstractContextManager, contextmanager
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING, Any, TypedDict, Unpack, cast, overload

import pytest

if TYPE_CHECKING:
    from ...daemon.manager import DeviceManager
    from ...daemon.threads.blocking import Program
    from ...model import Device, PluginOptions
    from ..conformance.subject.command import Command
    from ..plugin.simulated import SimulatedPlugin
    from ..portal import BlockingManager, BlockingPlugin, BlockingProcess, Portal


@contextmanager
def short_directory() -> Iterator[Path]:
    """The path of a unix socket has at most 107 bytes."""
    with tempfile.TemporaryDirectory(prefix="dm-") as directory:
        yield Path(directory)


@pytest.fixture
def device_manager_dir() -> Iterator[Path]:
    """The root directory of the test's manager. Its path is short."""
    with short_directory() as directory:
        yield directory


@pytest.fixture(scope="session")
def _devicemgr_portal() -> Iterator[Portal]:
    from ..portal import open_portal

    with open_portal(use_mock_clock=True) as portal:
        yield portal


def open_manager_for(request: pytest.FixtureRequest, directory: Path) -> AbstractAsyncContextManager[DeviceManager]:
    """The manager that ``@pytest.mark.device_manager(…)`` asks for; the closest mark counts. A wrong setting is
    reported in one line."""
    from ...daemon.supervisor import open_device_manager

    settings: dict[str, Any] = {}
    for mark in request.node.iter_markers("device_manager"):
        if mark.args:
            pytest.fail(f"@pytest.mark.device_manager: write NAME={mark.args[0]!r}, with the name", pytrace=False)
        settings = {**mark.kwargs, **settings}
    try:
        return open_device_manager(directory, **settings)
    except (TypeError, ValueError) as error:
        problem = f"@pytest.mark.device_manager: {error}"
    pytest.fail(problem, pytrace=False)


_HOW_TO_SET = {
    "module": "write pytestmark = pytest.mark.device_manager(…) in the module",
    "session": "in conftest.py write def pytest_sessionstart(session): "
    "session.add_marker(pytest.mark.device_manager(…))",
}
"""How a shared manager is configured, by the scope of its fixture."""


@pytest.hookimpl(tryfirst=True)
def pytest_runtest_setup(item: pytest.Item) -> None:
    """A mark that does not reach the manager would have no effect, and it would not be noticed."""
    scopes = _manager_scopes(item)
    reached = [node for scope in scopes.values() for node in _node_of(scope, item).listchain()]
    for node, _ in item.iter_markers_with_node("device_manager"):
        if scopes and node not in reached:
            name, scope = max(scopes.items(), key=lambda one: (one[1] == "session", one))
            where = "this test" if node is item else node.name
            pytest.fail(
                f"@pytest.mark.device_manager of {where} does not reach {name}, which all tests of the {scope} share: "
                f"{_HOW_TO_SET[scope]}, or use device_manager[_sync]",
                pytrace=False,
            )


def _manager_scopes(item: pytest.Item) -> dict[str, str]:
    """The scope of each fixture of ours that the test uses and that opens a manager."""
    if not isinstance(item, pytest.Function):
        return {}
    in_a_thread = ("device_manager_sync", "module_device_manager_sync", "session_device_manager_sync", "kube_node")
    ours = ("device_manager", *in_a_thread)
    found = {name: item._fixtureinfo.name2fixturedefs.get(name, ())[-1:] for name in ours}
    return {
        name: one.scope
        for name, (*last,) in found.items()
        for one in last
        if one.func.__module__.startswith(f"{__package__}.")
    }


def _node_of(scope: str, item: pytest.Item) -> pytest.Item | pytest.Collector:
    """Where a fixture of this scope looks for its marks."""
    return {"session": item.session, "module": item.getparent(pytest.Module)}.get(scope) or item


@contextmanager
def _in_portal(request: pytest.FixtureRequest, directory: Path, portal: Portal) -> Iterator[BlockingManager]:
    with portal.manager(open_manager_for(request, directory)) as manager:
        yield manager
        manager.faults.resume_clock()  # other tests share the program


@pytest.fixture
def device_manager_sync(
    request: pytest.FixtureRequest, device_manager_dir: Path, _devicemgr_portal: Portal
) -> Iterator[BlockingManager]:
    """A manager for ordinary tests: that of ``device_manager``, in a thread, with its methods without ``await``."""
    with _in_portal(request, device_manager_dir, _devicemgr_portal) as manager:
        yield manager


@pytest.fixture(scope="module")
def module_device_manager_sync(request: pytest.FixtureRequest, _devicemgr_portal: Portal) -> Iterator[BlockingManager]:
    """The same manager for all tests of a module: they see each other's pods and plug-ins."""
    with short_directory() as directory, _in_portal(request, directory, _devicemgr_portal) as manager:
        yield manager


@pytest.fixture(scope="session")
def session_device_manager_sync(request: pytest.FixtureRequest, _devicemgr_portal: Portal) -> Iterator[BlockingManager]:
    """The same manager for all tests."""
    with short_directory() as directory, _in_portal(request, directory, _devicemgr_portal) as manager:
        yield manager


@pytest.fixture
def module_device_manager(module_device_manager_sync: BlockingManager) -> DeviceManager:
    """The manager of ``module_device_manager_sync``, for Trio tests."""
    from ..portal import AwaitedManager

    return cast("DeviceManager", AwaitedManager(module_device_manager_sync))


@pytest.fixture
def session_device_manager(session_device_manager_sync: BlockingManager) -> DeviceManager:
    """The manager of ``session_device_manager_sync``, for Trio tests."""
    from ..portal import AwaitedManager

    return cast("DeviceManager", AwaitedManager(session_device_manager_sync))


class _SyncOrAsync:
    """What ``open_one`` opens for a manager: with ``async with`` in Trio tests, with ``with`` in ordinary ones."""

    def __init__(
        self,
        open_one: Callable[[DeviceManager], AbstractAsyncContextManager[Any]],
        manager: Any,
        blocking: Callable[[Program, Any], Any],
    ) -> None:
        self._open_one = open_one
        self._manager = manager
        self._blocking = blocking
        self._opened: Any = None

    async def __aenter__(self) -> Any:
        from ..portal import AwaitedManager

        if isinstance(self._manager, AwaitedManager):
            self._opened = self._manager._enter(self._open_one(self._manager._target))
        else:
            self._opened = self._open_one(self._manager)
        return await self._opened.__aenter__()

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> bool | None:
        suppressed: bool | None = await self._opened.__aexit__(kind, error, traceback)
        return suppressed

    def __enter__(self) -> Any:
        from ..portal import BlockingManager

        if not isinstance(self._manager, BlockingManager):
            raise TypeError("in a Trio test write 'async with'; 'with' is for device_manager_sync")
        portal = self._manager._portal
        self._opened = portal.enter(self._open_one(self._manager._target))
        return self._blocking(portal, self._opened.__enter__())

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> bool | None:
        suppressed: bool | None = self._opened.__exit__(kind, error, traceback)
        return suppressed


class _Simulated(TypedDict, total=False):
    devices: int | Iterable[Device]
    timeout: float
    options: PluginOptions
    endpoint: str | None


class _Started(TypedDict, total=False):
    capacity: int | None
    allocatable: int | None
    timeout: float
    change: str | None
    isolate: bool
    bind: Sequence[str]
    env: Mapping[str, str] | None


class SimulatedPluginFactory:
    """``with simulated_plugin(device_manager_sync, "vendor.com/gpu", devices=4) as plugin:``, there and registered.

    In Trio tests ``async with simulated_plugin(device_manager, …)``. What it takes is what
    :func:`~devicemgr.testing.open_registered_plugin` takes.
    """

    @overload
    def __call__(
        self, manager: BlockingManager, resource: str, **given: Unpack[_Simulated]
    ) -> AbstractContextManager[BlockingPlugin]: ...
    @overload
    def __call__(
        self, manager: DeviceManager, resource: str, **given: Unpack[_Simulated]
    ) -> AbstractAsyncContextManager[SimulatedPlugin]: ...
    def __call__(self, manager: Any, resource: str, **given: Any) -> Any:
        from ..plugin.process import open_registered_plugin
        from ..portal import BlockingPlugin

        return _SyncOrAsync(lambda plain: open_registered_plugin(plain, resource, **given), manager, BlockingPlugin)


class PluginProcessFactory:
    """``with plugin_process(device_manager_sync, ["./plugin", "{dir}"], "vendor.com/gpu") as process:``.

    Started, and its resource published; ended with the block. ``process.output`` is what it has written. What it takes
    is what :func:`~devicemgr.testing.open_plugin_process` takes.
    """

    @overload
    def __call__(
        self, manager: BlockingManager, argv: Sequence[str], resource: str, **given: Unpack[_Started]
    ) -> AbstractContextManager[BlockingProcess]: ...
    @overload
    def __call__(
        self, manager: DeviceManager, argv: Sequence[str], resource: str, **given: Unpack[_Started]
    ) -> AbstractAsyncContextManager[Command]: ...
    def __call__(self, manager: Any, argv: Sequence[str], resource: str, **given: Any) -> Any:
        from ..plugin.process import open_plugin_process
        from ..portal import BlockingProcess

        return _SyncOrAsync(lambda plain: open_plugin_process(plain, argv, resource, **given), manager, BlockingProcess)


@pytest.fixture(scope="session")
def simulated_plugin() -> SimulatedPluginFactory:
    """A simulated device plug-in, all of which can be changed while it runs."""
    return SimulatedPluginFactory()


@pytest.fixture(scope="session")
def plugin_process() -> PluginProcessFactory:
    """The program of a plug-in, started and ended."""
    return PluginProcessFactory()
