"""The longest list that is accepted is applied in turns, between which all other tasks run."""

from __future__ import annotations

import gc
from time import thread_time

import pytest
import trio

from devicemgr import Container, PeerLimits, Pod, Registration, open_device_manager
from devicemgr.concurrency.steps import run_steps
from devicemgr.concurrency.turns import TURN, run_in_turns
from devicemgr.core.devices.endpoint import Endpoint
from devicemgr.core.devices.store import DeviceStore
from devicemgr.rpc.deviceplugin.device_list import DeviceListDecoder
from devicemgr.rpc.wire_format import field_of_bytes
from tests.grpcio_peers import Plugin
from tests.helpers import apply_list, pod
from tests.processes import HANGS

GPU = "vendor.com/gpu"
COUNT = PeerLimits().devices


def device_list(bad=frozenset()):
    """The message, assembled by hand: the library takes ten seconds to encode so many devices."""
    words = {True: field_of_bytes(2, b"Unhealthy"), False: field_of_bytes(2, b"Healthy")}
    devices = (field_of_bytes(1, b"dev-%d" % n) + words[n in bad] for n in range(COUNT))
    return b"".join(field_of_bytes(1, device) for device in devices)


class Longest(trio.abc.Instrument):
    """CPU time of the longest step of any task."""

    def __init__(self):
        self.seconds, self._began = 0.0, float("inf")

    def before_task_step(self, task):
        self._began = thread_time()

    def after_task_step(self, task):
        self.seconds = max(self.seconds, thread_time() - self._began)


@pytest.fixture
def no_garbage():
    """A garbage collection could begin in any step."""
    gc.collect()
    gc.disable()
    yield
    gc.enable()


@pytest.fixture
def at_once(no_garbage):
    """Seconds for a long list on this machine, when nothing else runs."""
    raw, store = device_list(), DeviceStore()
    store.connect(Endpoint(resource=GPU, generation=1, socket="s"))
    began = thread_time()
    apply_list(store, GPU, 1, run_steps(DeviceListDecoder().decoding(raw)))
    store.free_devices(GPU)
    return thread_time() - began


async def test_other_work_does_not_wait_for_a_long_list(root_dir, at_once):
    longest, many = Longest(), range(0, COUNT, 2)
    lists = [device_list(), device_list({COUNT // 2}), device_list(set(many))]
    async with open_device_manager(root_dir, peer_limits=PeerLimits(time_burst=3600.0)) as manager:
        plugin = await trio.to_thread.run_sync(Plugin, root_dir / "device-plugins" / "gpu.sock")
        trio.lowlevel.add_instrument(longest)
        await manager.register(Registration(version="v1beta1", endpoint="gpu.sock", resource=GPU))
        for number, (raw, bad) in enumerate(zip(lists, (0, 1, len(many)), strict=True)):
            plugin.say(raw)
            await manager.wait_for_resource(GPU, capacity=COUNT, allocatable=COUNT - bad, timeout=HANGS)
            assert await manager.admit(pod(f"pod-{number}"))
            assert len(await manager.pod_resources.allocatable()) == COUNT - bad
            await manager.flush()
        refused = await manager.admit(Pod(name="p", uid="p", containers=(Container(name="c", limits={GPU: COUNT}),)))
        assert "Available" in refused.message
        trio.lowlevel.remove_instrument(longest)
        await trio.to_thread.run_sync(plugin.stop)
    assert longest.seconds < at_once / 3, f"{longest.seconds:.3f} s; all of it takes {at_once:.3f} s"


async def test_long_work_yields_and_is_charged_for_each_turn():
    charged, others = [], 0

    def work():
        for _ in range(20):
            began = thread_time()
            while thread_time() - began < TURN / 2:
                pass
            yield
        return "result"

    async def other():
        nonlocal others
        while True:
            others += 1
            await trio.lowlevel.checkpoint()

    async with trio.open_nursery() as nursery:
        nursery.start_soon(other)
        assert await run_in_turns(work(), charged.append) == "result"
        nursery.cancel_scope.cancel()
    assert others >= 4
    assert sum(charged) >= 5 * TURN
    assert len(charged) >= 5


async def test_short_work_is_done_without_a_checkpoint():
    with trio.CancelScope() as scope:
        scope.cancel()
        assert await run_in_turns(_ for _ in range(3)) is None
        assert not scope.cancelled_caught


async def test_cancelled_work_is_left_undone():
    did = []

    def work():
        while True:
            did.append(1)
            yield

    with trio.move_on_after(0.02) as scope:
        await run_in_turns(work())
    assert scope.cancelled_caught
    assert did
