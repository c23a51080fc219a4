"""What is promised of sizes is within all peer limits: derived from them, and done with a plug-in on real sockets."""

from __future__ import annotations

from dataclasses import fields, replace

import pytest

from devicemgr import Device, PeerLimits
from devicemgr.concurrency.steps import run_steps
from devicemgr.events import PeerLimitReached
from devicemgr.model import API_VERSION, DeviceSpec, Mount, PluginOptions, Registration, RunOptions
from devicemgr.peer_limits import KUBELET_MESSAGE
from devicemgr.rpc.deviceplugin.client import register_plugin
from devicemgr.rpc.deviceplugin.convert import answer_to_bytes
from devicemgr.rpc.deviceplugin.device_list import DeviceListDecoder
from devicemgr.rpc.stubs import v1beta1 as wire
from tests.helpers import pod
from tests.processes import HANGS

GPU = "vendor.com/gpu"
OPTIONS = PluginOptions(get_preferred_allocation_available=True)
USUAL = PeerLimits()


def listed(devices):
    """The bytes of a list."""
    return bytes(wire.ListAndWatchResponse(devices=[wire.Device(id=d.id, health=d.health) for d in devices]))


def ids(count, length):
    return [f"{number:x}".rjust(length, "-") for number in range(count)]


MANY = ids(2000, 46)
ANSWER = RunOptions(
    envs={f"DEVICE_{n}": f"/dev/vendor/{n}" for n in range(2000)},
    mounts=tuple(Mount(container_path=f"/opt/{n}", host_path=f"/var/lib/vendor/{n}" * 5) for n in range(4000)),
    device_specs=tuple(DeviceSpec(container_path=f"/dev/{n}", host_path=f"/dev/{n}") for n in range(2000)),
)


# --- derived -----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("size", "length"), [(KUBELET_MESSAGE, 3), (USUAL.message_size, 51)], ids=["the kubelet's 4 MiB", "16 MiB"]
)
def test_a_list_of_as_many_devices_as_it_has_room_for(size, length):
    """Every list of healthy devices that the kubelet takes, with ids of three characters or more; and longer ones.
    There is room for as much by others."""
    entry = listed([Device(id="x" * length)])
    raw = entry * (size // len(entry))
    assert len(raw) <= USUAL.message_size
    assert len(run_steps(DeviceListDecoder(USUAL).decoding(raw)).devices) == size // len(entry)
    assert 2 * len(raw) <= USUAL.listed_size


def test_answers_about_as_many_devices_as_a_pod_may_want():
    preferred = bytes(
        wire.PreferredAllocationResponse(
            container_responses=[wire.ContainerPreferredAllocationResponse(device_i_ds=MANY)]
        )
    )
    assert len(preferred) <= USUAL.answer_size
    assert len(MANY) < USUAL.answer_fields
    assert 4 * len(answer_to_bytes(ANSWER)) <= USUAL.answers_size
    assert 4 * USUAL.id_length <= USUAL.answer_size, "an id of the longest characters there are"


def test_an_answer_of_the_largest_size_does_not_end_its_call_while_it_waits():
    assert USUAL.unread_size >= USUAL.message_size


@pytest.mark.parametrize(
    ("smaller", "larger"),
    [("message_size", "listed_size"), ("answer_size", "answers_size"), ("id_length", "answer_size")],
)
def test_bounds_that_contradict_each_other_are_refused(smaller, larger):
    with pytest.raises(ValueError, match=rf"{smaller} \(\d+\) must be at most {larger} \(\d+\): .*; set both"):
        replace(USUAL, **{smaller: getattr(USUAL, larger) + 1})
    with pytest.raises(ValueError, match="set both"):
        PeerLimits(**{larger: getattr(USUAL, smaller) - 1})


def test_no_bound_is_left_out_here():
    """A new one is to be thought about in this file, unless it is no size."""
    sizes = {field.name for field in fields(PeerLimits) if "rate" not in field.name and "burst" not in field.name}
    derived = {"message_size", "answer_size", "answer_fields", "answers_size", "unread_size", "listed_size", "devices"}
    derived |= {"id_length"}
    no_sizes = {"resources", "standbys", "time_share", "connections", "all_connections", "scrapers"}
    narrower = {"registration_size", "slow_size"}  # on purpose: see the README
    assert sizes == derived | no_sizes | narrower


# --- done --------------------------------------------------------------------------------------------------------


async def registered(manager, plugin, count):
    # Both ends are here, so the answer comes when the list has been encoded.
    asked = Registration(version=API_VERSION, endpoint=plugin.endpoint, resource=GPU)
    await register_plugin(plugin.registry, asked, seconds=HANGS)
    await manager.wait_for_resource(GPU, allocatable=count, timeout=HANGS)


def reached(manager):
    return [one.event for one in manager.events() if isinstance(one.event, PeerLimitReached)]


async def test_100000_devices_in_16_mib(manager, open_plugin):
    devices = [Device(id=id) for id in ids(100_000, 150)]
    entry = listed(devices[:1])
    assert 0.95 * USUAL.message_size <= len(entry) * len(devices) <= USUAL.message_size
    async with open_plugin(GPU, devices=devices) as plugin:
        await registered(manager, plugin, len(devices))
        assert (await manager.admit(pod(gpu=2))).admitted
    assert reached(manager) == []


async def test_long_answers(manager, open_plugin):
    """Both calls for a pod that wants 2,000 devices with ids of 46 characters; and its end makes room again."""
    async with open_plugin(GPU, devices=[Device(id=id) for id in MANY + ids(10, 40)], options=OPTIONS) as plugin:

        async def prefer(available, must_include, size):
            return tuple(reversed(MANY))[:size]

        async def allocate(devices):
            assert set(devices) == set(MANY)
            return ANSWER

        plugin.on_preferred, plugin.on_allocate = prefer, allocate
        await registered(manager, plugin, 2010)
        for _ in range(2):
            admission = await manager.admit(pod(gpu=2000))
            assert admission.admitted, admission.message
            assert admission.containers[0].options == ANSWER
            await manager.remove("default", "p")
    assert reached(manager) == []
