"""The watcher hands a plug-in to the handler of its type: here to one that is not for device plug-ins."""

from __future__ import annotations

import pytest
import trio
import trio.testing

from devicemgr.daemon.access.callers import Callers
from devicemgr.daemon.access.control import AccessControl
from devicemgr.daemon.event_log import EventLog
from devicemgr.daemon.layout import Layout
from devicemgr.daemon.plugins.handler import DEVICE_PLUGIN, RegistrationHandle
from devicemgr.daemon.plugins.watcher import PluginWatcher
from devicemgr.errors import RegistrationRefused
from devicemgr.peer_limits import PeerLimits
from devicemgr.rpc.pluginregistration import PluginInfo
from devicemgr.testing import open_simulated_plugin

DRA_PLUGIN = "DRAPlugin"


class RecordingHandler:
    """Registers all valid plug-ins, and records the calls."""

    def __init__(self):
        self.calls = []

    def validate_plugin(self, plugin):
        self.calls.append(("validate", plugin.name, plugin.supported_versions, plugin.place.path.name))
        if "v1.DRAPlugin" not in plugin.supported_versions:
            raise RegistrationRefused("not a version of mine", rule="REG-16")

    async def register_plugin(self, plugin):
        await trio.lowlevel.checkpoint()
        self.calls.append(("register", plugin.name))
        return RegistrationHandle(plugin.name, 7)

    def deregister_plugin(self, handle, reason):
        self.calls.append(("deregister", handle.name, handle.generation, reason))


@pytest.fixture
def handlers():
    return {DEVICE_PLUGIN: RecordingHandler(), DRA_PLUGIN: RecordingHandler()}


@pytest.fixture
async def watcher(root_dir, handlers, nursery):
    layout, log = Layout(root_dir), EventLog()
    layout.plugins_registry.mkdir()
    access = AccessControl(Callers.default(), PeerLimits(), log)
    watcher = PluginWatcher(layout, handlers, access, log)
    nursery.start_soon(watcher.watch)
    return watcher


async def notified(root_dir, *, type, version="v1.DRAPlugin"):
    """What a plug-in of this type is notified of."""
    async with open_simulated_plugin(root_dir / "plugins_registry", "driver.example.com", endpoint="a.sock") as plugin:
        plugin.info = PluginInfo(type=type, name="driver.example.com", endpoint="", supported_versions=(version,))
        with trio.fail_after(10):
            while "NotifyRegistrationStatus" not in (calls := dict(plugin.calls)):
                await trio.testing.wait_all_tasks_blocked(0.01)
        return calls["NotifyRegistrationStatus"]


async def test_another_kind_of_plugin_is_validated_registered_and_deregistered_by_its_handler(
    root_dir, watcher, handlers
):
    """REG-16, REG-16a."""
    assert await notified(root_dir, type=DRA_PLUGIN) == (True, "")
    with trio.fail_after(10):
        while len(handlers[DRA_PLUGIN].calls) < 3:
            await trio.testing.wait_all_tasks_blocked(0.01)
    assert handlers[DRA_PLUGIN].calls == [
        ("validate", "driver.example.com", ("v1.DRAPlugin",), "a.sock"),
        ("register", "driver.example.com"),
        ("deregister", "driver.example.com", 7, "its socket was removed or recreated"),
    ]
    assert handlers[DEVICE_PLUGIN].calls == []


async def test_a_plugin_is_notified_of_its_handlers_refusal(root_dir, watcher, handlers):
    """REG-16."""
    assert await notified(root_dir, type=DRA_PLUGIN, version="v0") == (False, "not a version of mine")
    assert [call for call, *_ in handlers[DRA_PLUGIN].calls] == ["validate"]


async def test_an_unknown_type_is_refused_with_the_types_that_are_known(root_dir, watcher, handlers):
    """CC-037, REG-16."""
    registered, error = await notified(root_dir, type="CSIPlugin")
    assert not registered
    assert error == (
        f"no handler registered for plugin type 'CSIPlugin' at socket {root_dir}/plugins_registry/a.sock; "
        "known types: DRAPlugin, DevicePlugin"
    )
    assert not any(handler.calls for handler in handlers.values())
