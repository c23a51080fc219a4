"""What a plug-in must not be able to do to the manager, and to an honest plug-in beside it."""

from __future__ import annotations

import os
import socket

import grpclib
import grpclib.const
import pytest
import trio

from devicemgr import Container, PeerLimits, Pod
from devicemgr.errors import RegistrationRefused
from devicemgr.events import DeviceListApplied, EndpointStopped, PeerLimitReached
from devicemgr.model import Device, Registration
from devicemgr.rpc.deviceplugin.service import DevicePluginService
from devicemgr.rpc.stubs import v1beta1 as wire
from devicemgr.rpc.transport.server import open_server
from tests.processes import HANGS

HONEST, EVIL = "vendor.com/honest", "vendor.com/evil"


class Raw:
    """A message of any bytes."""

    def __init__(self, data):
        self.data = data

    def SerializeToString(self):
        return self.data


class RawPlugin:
    """Answers options and ListAndWatch with the given bytes, and keeps the stream open."""

    def __init__(self, *, options=b"", devices=b""):
        self.options, self.devices = options, devices

    def __mapping__(self):
        unary, stream = grpclib.const.Cardinality.UNARY_UNARY, grpclib.const.Cardinality.UNARY_STREAM
        prefix = "/v1beta1.DevicePlugin/"
        return {
            prefix + "GetDevicePluginOptions": grpclib.const.Handler(self.answer_options, unary, wire.Empty, Raw),
            prefix + "ListAndWatch": grpclib.const.Handler(self.answer_devices, stream, wire.Empty, Raw),
        }

    async def answer_options(self, stream):
        await stream.recv_message()
        await stream.send_message(Raw(self.options))

    async def answer_devices(self, stream):
        await stream.recv_message()
        await stream.send_message(Raw(self.devices))


@pytest.fixture
async def honest(manager, open_plugin):
    async with open_plugin(HONEST, devices=2) as plugin:
        await plugin.register()
        await manager.wait_for_resource(HONEST, allocatable=2)
        yield plugin
        plugin.set_health("dev-0", "Unhealthy")
        await manager.wait_for_resource(HONEST, allocatable=1)


MALFORMED = [b"\x08", b"\x0a\x04\x0a\x02\xff\xfe", b"\x0a\x02\x08\x01", b"\x0b", b"\x0a\x05\x0a"]


@pytest.mark.parametrize("devices", MALFORMED)
async def test_a_list_that_is_not_a_message_ends_only_its_stream(manager, honest, devices):
    async with open_server(manager.layout.plugins / "evil.sock", [RawPlugin(devices=devices)]):
        await manager.register(Registration(version="v1beta1", endpoint="evil.sock", resource=EVIL))
        counts = await manager.wait_for_resource(EVIL, capacity=0)
        assert counts.endpoint == "stopped"


async def test_options_that_are_not_a_message_fail_the_registration(manager, honest):
    async with open_server(manager.layout.plugins / "evil.sock", [RawPlugin(options=b"\x08")]):
        with pytest.raises(
            RegistrationRefused,
            match="failed to get device plugin options: rpc error: code = Internal desc = malformed",
        ):
            await manager.register(Registration(version="v1beta1", endpoint="evil.sock", resource=EVIL))


class Flood(RawPlugin):
    """Sends all its lists as fast as they are read. Then the stream stays open, ends or fails."""

    def __init__(self, lists, then):
        super().__init__()
        self.lists, self.then = lists, then

    async def answer_devices(self, stream):
        await stream.recv_message()
        for data in self.lists:
            await stream.send_message(Raw(data))
        if self.then == "stays":
            await trio.sleep_forever()
        if self.then == "fails":
            raise grpclib.GRPCError(grpclib.Status.ABORTED, "enough")


def devices_message(count):
    return bytes(wire.ListAndWatchResponse(devices=[wire.Device(id=f"d{n}", health="Healthy") for n in range(count)]))


@pytest.mark.parametrize("then", ["stays", "ends", "fails"])
async def test_the_newest_of_a_flood_of_lists_is_applied(manager, honest, then):
    """At a limited rate, with one event a second, also if the stream ends immediately afterwards."""
    flood = Flood([devices_message(1 + n % 7) for n in range(5000)] + [devices_message(9)], then)
    async with open_server(manager.layout.plugins / "evil.sock", [flood]):
        started = trio.current_time()
        await manager.register(Registration(version="v1beta1", endpoint="evil.sock", resource=EVIL))
        await manager.wait_for_resource(EVIL, capacity=9, timeout=HANGS)
        took = trio.current_time() - started
    await manager.wait_for_resource(EVIL, allocatable=0)
    events = [one.event for one in manager.events()]
    applied = [e for e in events if isinstance(e, DeviceListApplied) and e.resource == EVIL]
    skipped = [e.times for e in events if isinstance(e, PeerLimitReached) and e.limit == "report_rate"]
    assert len(applied) + sum(skipped) == 5001
    assert len(skipped) <= 2 + took, "reported once a second, and at the end"
    assert len(applied) <= PeerLimits().report_burst + took * PeerLimits().report_rate + 1


@pytest.mark.parametrize("name", ["a" * 100, "é" * 200])
async def test_an_endpoint_too_long_for_a_socket_is_refused(manager, honest, name):
    with pytest.raises(RegistrationRefused, match="its path would be longer than 107 bytes"):
        await manager.register(Registration(version="v1beta1", endpoint=name, resource=EVIL))


async def test_a_loop_of_links_is_refused(manager, honest):
    os.symlink("loop.sock", manager.layout.plugins / "loop.sock")
    with pytest.raises(RegistrationRefused, match="is invalid|it is not a socket"):  # the latter with Python 3.13
        await manager.register(Registration(version="v1beta1", endpoint="loop.sock", resource=EVIL))


@pytest.mark.parametrize("kind", [socket.SOCK_DGRAM, socket.SOCK_SEQPACKET])
async def test_a_socket_of_another_kind_is_refused(manager, honest, kind):
    with socket.socket(socket.AF_UNIX, kind) as other:
        other.bind(str(manager.layout.plugins / "other.sock"))
        with pytest.raises(RegistrationRefused, match="failed to dial device plugin: cannot connect to"):
            await manager.register(Registration(version="v1beta1", endpoint="other.sock", resource=EVIL))


async def test_an_id_of_five_thousand_digits_is_an_id(manager, honest, open_plugin):
    async with open_plugin(EVIL, devices=[Device(id="1" * 5000), Device(id="2")]) as plugin:
        await plugin.register()
        await manager.wait_for_resource(EVIL, allocatable=2)


async def test_a_deleted_plugin_directory_is_created_again(manager):
    for path in manager.layout.plugins.iterdir():
        path.unlink()
    manager.layout.plugins.rmdir()
    with trio.fail_after(10):
        while not manager.layout.registration_socket.exists():
            await manager.events_after(len(manager.events()), wait=True)


async def test_a_list_that_is_cut_off_ends_the_stream_and_adds_no_device(manager, honest, open_plugin, monkeypatch):
    """LW-8: the kubelet cannot unmarshal it. With three bytes less it would be a valid list with another device."""
    devices = [wire.Device(id="a", health="Healthy"), wire.Device(id="b", health="Healthy")]
    whole, may_go_on = bytes(wire.ListAndWatchResponse(devices=devices)), trio.Event()

    async def lists(self, message):
        yield Raw(whole)
        await may_go_on.wait()
        yield Raw(whole[:-3])

    async with open_plugin(EVIL) as plugin:
        monkeypatch.setattr(DevicePluginService, "list_and_watch", lists)
        await plugin.register()
        await manager.wait_for_resource(EVIL, allocatable=2)
        may_go_on.set()
        counts = await manager.wait_for_resource(EVIL, allocatable=0)
        assert (counts.capacity, counts.endpoint) == (2, "stopped")
        (stopped,) = [one.event for one in manager.events() if isinstance(one.event, EndpointStopped)]
        assert "malformed" in stopped.reason


@pytest.mark.parametrize("answer", [b"\xff\xff\xff", b"\x0a\x03\xff\xff\xff", b"\x0a\x07\x0a\x05\x0a\x01A\x12\x05"])
async def test_an_answer_that_is_not_a_message_refuses_the_pod(manager, honest, open_plugin, monkeypatch, answer):
    """ALLOC-E9. Taken for an empty answer, it would start the container without its devices."""

    async def allocate(self, message):
        return Raw(answer)

    async with open_plugin(EVIL) as plugin:
        await plugin.register()
        await manager.wait_for_resource(EVIL, allocatable=1)
        monkeypatch.setattr(DevicePluginService, "allocate", allocate)
        pod = Pod(name="p", uid="p", containers=(Container(name="main", limits={EVIL: 1}),))
        refused = await manager.admit(pod)
        assert not refused.admitted
        assert "malformed" in refused.message
        assert manager.capacity()[EVIL].allocated == 0
