"""Who may call, and how much: the credentials of peers, and the limits of :mod:`devicemgr.peer_limits`."""

from __future__ import annotations

import itertools
import os
import socket
from contextlib import ExitStack
from dataclasses import replace
from time import thread_time

import pytest
import trio

from devicemgr import Callers, PeerLimits, open_device_manager
from devicemgr.core.topology.policy import Policy
from devicemgr.daemon.access.plugin_policy import PluginPolicy
from devicemgr.daemon.access.quotas import MAX_DEBT, MAX_PAUSE, Quotas
from devicemgr.daemon.access.reports import PeerReports
from devicemgr.daemon.event_log import EventLog, RecordedEvent
from devicemgr.daemon.serving.metrics import MAX_RESOURCE_LABELS, Metrics
from devicemgr.errors import ManagerUnavailable, QuotaExceeded, RegistrationRefused, RpcFailed
from devicemgr.events import (
    AllocateAnswerFlagged,
    CallsDenied,
    ConnectionBroken,
    DeviceListNormalised,
    EndpointStopped,
    PeerLimitReached,
    RegistrationRequested,
)
from devicemgr.model import Device, DeviceSpec, Mount, Peer, Registration, RunOptions
from devicemgr.rpc.admin.client import connect_manager
from devicemgr.rpc.deviceplugin.client import register_plugin
from devicemgr.rpc.stubs.devicemgr.v1 import AdminStub
from devicemgr.rpc.stubs.v1 import PodResourcesListerStub
from devicemgr.rpc.transport.channel import open_channel
from devicemgr.testing import open_simulated_plugin
from tests.helpers import pod

GPU, NIC = "vendor.com/gpu", "vendor.com/nic"
STRANGERS_ONLY = Callers(uids=frozenset({54321}))


def happened(manager, kind):
    return [one.event for one in manager.events() if isinstance(one.event, kind)]


def reached(manager, limit):
    return [event for event in happened(manager, PeerLimitReached) if event.limit == limit]


def peer_limits(**values):
    """The manager of the test has these peer limits."""
    return pytest.mark.device_manager(peer_limits=PeerLimits(**values))


# --- who ---------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("callers", "peer", "may"),
    [
        (Callers.default(), Peer(pid=1, uid=os.geteuid(), gids=frozenset()), True),
        (Callers.default(), Peer(pid=1, uid=0, gids=frozenset()), True),
        (Callers.default(), Peer(pid=1, uid=54321, gids=frozenset({0})), False),
        (Callers.default(77), Peer(pid=1, uid=54321, gids=frozenset({5, 77})), True),
        (Callers.default(77), Peer(pid=1, uid=54321, gids=frozenset({5})), False),
    ],
)
def test_the_managers_user_and_root_may_call_and_members_of_one_group(callers, peer, may):
    assert callers.include(peer) is may


async def test_other_users_are_denied_on_every_socket(root_dir):
    """API-7."""
    async with open_device_manager(root_dir, callers=STRANGERS_ONLY) as manager:
        registration = Registration(version="v1beta1", endpoint="a.sock", resource=GPU)
        with pytest.raises(RegistrationRefused, match=f"user {os.geteuid()} may not call"):
            await register_plugin(manager.layout.registration_socket, registration)
        async with connect_manager(manager.layout.admin_socket) as client:
            for _ in range(20):
                with pytest.raises(RpcFailed, match="may not call") as refused:
                    await client.status()
                assert refused.value.status == "PERMISSION_DENIED"
        events = happened(manager, CallsDenied)
        assert [(one.uid, one.pid) for one in events] == [(os.geteuid(), os.getpid())] * len(events)
        assert {one.socket for one in events} == {"device-plugins/kubelet.sock", "devicemgr/admin.sock"}
        assert len(events) <= 4, "not an event for each of 21 calls"


async def test_a_socket_that_another_user_serves_is_not_used(root_dir):
    async with open_device_manager(root_dir, callers=STRANGERS_ONLY) as manager:
        async with open_simulated_plugin(manager.layout.plugins, GPU) as plugin:
            with pytest.raises(RegistrationRefused, match="is served by a process of user"):
                await manager.register(Registration(version="v1beta1", endpoint=plugin.endpoint, resource=GPU))


# --- how much ----------------------------------------------------------------------------------------


@peer_limits(connections=3)
async def test_the_connections_of_a_process_are_limited(device_manager):
    manager = device_manager

    with ExitStack() as stack:
        connections = [stack.enter_context(trio.socket.socket(socket.AF_UNIX)) for _ in range(5)]
        for connection in connections:
            await connection.connect(str(manager.layout.registration_socket))
        with trio.fail_after(60):
            for connection in connections[3:]:
                while await connection.recv(1000):  # first the settings of HTTP/2, then the end
                    pass
        for connection in connections[:3]:
            await connection.recv(1000)
            with pytest.raises(BlockingIOError):
                os.read(connection.fileno(), 1000)
    assert [event.times for event in reached(manager, "connections")] == [1]
    async with open_simulated_plugin(manager.layout.plugins, GPU) as plugin:
        with trio.fail_after(60):
            while True:  # until the manager has seen them close
                try:
                    await plugin.register()
                    break
                except (ManagerUnavailable, RegistrationRefused):
                    await trio.lowlevel.checkpoint()


@peer_limits(all_connections=1)
async def test_the_connections_of_all_processes_are_limited(device_manager):
    manager = device_manager
    with socket.socket(socket.AF_UNIX) as first, socket.socket(socket.AF_UNIX) as second:
        first.connect(str(manager.layout.registration_socket))
        second.connect(str(manager.layout.registration_socket))
        with trio.fail_after(60):
            while not reached(manager, "all_connections"):
                await trio.lowlevel.checkpoint()


def quotas_with(log, now, **limits):
    """The manager's process is 1."""
    reports = PeerReports(log, clock=lambda: now[0])
    return Quotas(PeerLimits(**limits), reports, own_pid=1, clock=lambda: now[0])


def test_registrations_of_one_process_form_a_queue():
    now, log = [0.0], EventLog()
    quotas = quotas_with(log, now, registration_rate=2.0, registration_burst=3)
    one, other, own = (Peer(pid=pid, uid=0, gids=frozenset()) for pid in (8, 9, 1))
    assert [quotas.charge_registration(one) for _ in range(5)] == [0.0, 0.0, 0.0, 0.5, 1.0]
    assert quotas.charge_registration(other) == 0.0
    assert [quotas.charge_registration(own) for _ in range(5)] == [0.0] * 5
    assert [(one.event.limit, one.event.times) for one in log.after(0)] == [("registration_rate", 1)]
    now[0] = 10.0
    assert quotas.charge_registration(one) == 0.0


def test_a_process_has_a_share_of_the_managers_time():
    now, log = [0.0], EventLog()
    quotas = quotas_with(log, now, time_share=0.1, time_burst=1.0)
    greedy, own = (Peer(pid=pid, uid=0, gids=frozenset()) for pid in (8, 1))

    def pause_after(peer, seconds):
        quotas.charge(peer, seconds)
        return quotas.pause(peer)

    assert pause_after(greedy, 1.0) == 0.0
    assert pause_after(greedy, 0.05) == pytest.approx(0.5)
    assert pause_after(greedy, 5.0) == MAX_PAUSE
    assert pause_after(own, 100.0) == 0.0
    now[0] = MAX_DEBT
    assert quotas.pause(greedy) == 0.0, "what it owes is capped"
    assert {one.event.limit for one in log.after(0)} == {"time_share"}


def test_requests_of_a_process_that_owes_too_much_are_refused():
    now, log = [0.0], EventLog()
    quotas = quotas_with(log, now, time_share=0.1, time_burst=1.0)
    greedy, own = (Peer(pid=pid, uid=0, gids=frozenset()) for pid in (8, 1))
    assert quotas.begin_request(greedy) == 0.0
    quotas.charge(greedy, 1.35)
    with pytest.raises(QuotaExceeded, match="too much time: try again in 4 s"):
        quotas.begin_request(greedy)
    now[0] = 1.0
    assert quotas.begin_request(greedy) == MAX_PAUSE
    assert quotas.begin_request(own) == 0.0
    assert len(log.after(0)) == 2


@peer_limits(time_share=1.0, time_burst=1.0)
@pytest.mark.parametrize("path", ["pod-resources/kubelet.sock", "devicemgr/admin.sock"])
async def test_the_time_of_an_answer_is_charged(device_manager, path, monkeypatch, autojump_clock):
    """Each step of answering takes two seconds here. Callers of admin.sock have no limit."""
    clock = itertools.count(step=2.0)
    monkeypatch.setattr("devicemgr.rpc.transport.metering.thread_time", lambda: next(clock))
    monkeypatch.setattr(Quotas, "is_own_process", lambda self, peer: False)
    async with open_channel(device_manager.layout.root / path) as channel:
        for _ in range(2):
            if path.startswith("pod"):
                await channel.stub(PodResourcesListerStub).list()
            else:
                await channel.stub(AdminStub).status()
    assert bool(reached(device_manager, "time_share")) is path.startswith("pod")


@peer_limits(resources=1)
async def test_one_name_too_many_is_refused_and_others_go_on(device_manager):
    manager = device_manager
    async with open_simulated_plugin(manager.layout.plugins, GPU) as plugin:
        async with open_simulated_plugin(manager.layout.plugins, NIC) as other:
            await plugin.register()
            with pytest.raises(RegistrationRefused, match=f"no room for {NIC}"):
                await other.register()
            await plugin.register()
            await manager.wait_for_resource(GPU, allocatable=1)
    assert [event.peer for event in reached(manager, "resources")] == [NIC]


@pytest.mark.parametrize(
    ("count", "limit"),
    [
        pytest.param(11, "devices", marks=peer_limits(devices=10)),
        pytest.param(40, "message_size", marks=peer_limits(message_size=200)),
    ],
)
async def test_a_list_beyond_a_limit_ends_its_stream(device_manager, count, limit):
    manager = device_manager
    async with open_simulated_plugin(manager.layout.plugins, GPU, devices=count) as plugin:
        await plugin.register()
        await manager.wait_for_resource(GPU, capacity=0, allocatable=0)
        assert len(reached(manager, limit)) == 1
        (stopped,) = happened(manager, EndpointStopped)
        assert "than" in stopped.reason
        plugin.set_devices([Device(id=f"d{n}") for n in range(5)])
        await plugin.register()
        await manager.wait_for_resource(GPU, capacity=5, allocatable=5)


@peer_limits(listed_size=8000, message_size=1000)
async def test_the_sum_of_all_lists_is_limited_and_a_removed_resource_makes_room(device_manager, autojump_clock):
    manager = device_manager
    forty = [Device(id=f"d{n}") for n in range(40)]
    async with open_simulated_plugin(manager.layout.plugins, GPU, devices=forty) as plugin:
        async with open_simulated_plugin(manager.layout.plugins, NIC, devices=forty) as other:
            await plugin.register()
            await manager.wait_for_resource(GPU, capacity=40)
            await other.register()
            await manager.wait_for_resource(NIC, capacity=0)
            assert [event.peer for event in reached(manager, "listed_size")] == [NIC]
            plugin.set_devices(forty[:5])
            await manager.wait_for_resource(GPU, capacity=5)
            await other.register()
            await manager.wait_for_resource(NIC, capacity=40)


@peer_limits(slow_size=100)
async def test_what_must_be_decoded_the_slow_way_is_limited(device_manager):
    manager = device_manager
    listed = [Device(id="", health="Healthy")] * 40  # an entry without an id is of an unusual shape
    async with open_simulated_plugin(manager.layout.plugins, GPU, devices=listed) as plugin:
        await plugin.register()
        await manager.wait_for_resource(GPU, capacity=0)
        assert len(reached(manager, "slow_size")) == 1


@peer_limits(id_length=5)
async def test_a_device_with_too_long_an_id_is_left_out(device_manager):
    manager = device_manager
    listed = [Device(id="123456"), Device(id="12345")]
    async with open_simulated_plugin(manager.layout.plugins, GPU, devices=listed) as plugin:
        await plugin.register()
        await manager.wait_for_resource(GPU, capacity=1)
        (mended,) = happened(manager, DeviceListNormalised)
        assert mended.devices == ("123456",)
        plugin.set_devices([*listed, Device(id="ok")])  # which comes as a difference
        await manager.wait_for_resource(GPU, capacity=2)


@peer_limits(answer_size=1000, id_length=100)
async def test_an_answer_too_long_for_the_checkpoint_refuses_the_pod(device_manager):
    manager = device_manager
    async with open_simulated_plugin(manager.layout.plugins, GPU) as plugin:
        await plugin.register()
        await manager.wait_for_resource(GPU, allocatable=1)
        plugin.on_allocate = answering(RunOptions(envs={"A": "x" * 900}))
        assert (await manager.admit(pod(gpu=1))).admitted
        await manager.remove("default", "p")
        plugin.on_allocate = answering(RunOptions(envs={"A": "x" * 1000}))
        refused = await manager.admit(pod(gpu=1))
        assert not refused.admitted
        assert "an answer of 1012 bytes; 1000 are the limit" in refused.message
        assert manager.capacity()[GPU].available == 1
        assert len(reached(manager, "answer_size")) == 1


def answering(answer):
    async def allocate(devices):
        return answer

    return allocate


async def test_suspicious_texts_of_an_answer_are_reported_and_passed_on(manager, open_plugin):
    """The kubelet passes them on; a plug-in can name any path of the host anyway."""
    odd = RunOptions(
        envs={"A\nB": "two\nlines"},
        mounts=(Mount(container_path="/x/../../etc", host_path="/etc"),),
        device_specs=(DeviceSpec(container_path="/dev/x", host_path="dev/x"),),
    )
    async with open_plugin(GPU) as plugin:
        await plugin.register()
        await manager.wait_for_resource(GPU, allocatable=1)
        plugin.on_allocate = answering(odd)
        admission = await manager.admit(pod(gpu=1))
        (container,) = admission.containers
        assert container.options == odd
        (event,) = happened(manager, AllocateAnswerFlagged)
        assert event.texts == (
            "environment variable 'A\\nB' has control characters",
            "mount's container path '/x/../../etc' contains '..'",
            "device's host path 'dev/x' is not absolute",
        )


async def test_events_about_peers_are_counted_in_metrics_and_label_values_are_limited(manager):
    metrics = Metrics(Policy.NONE)
    events = [
        PeerLimitReached(limit="connections", peer="process 1", times=3, consequence="x"),
        CallsDenied(socket="s", method="m", pid=1, uid=2, times=4),
        ConnectionBroken(pid=1, uid=2, times=5, problem="x"),
        AllocateAnswerFlagged(resource=GPU, texts=("x",)),
        *(
            RegistrationRequested(version="v", endpoint="e", resource=f"v.com/n{n}")
            for n in range(MAX_RESOURCE_LABELS + 10)
        ),
    ]
    for event in events:
        metrics(RecordedEvent(0, 0.0, event))
    text = (await metrics.render(manager)).decode()
    assert 'devicemgr_peer_limits_reached_total{limit="connections"} 3.0' in text
    assert "devicemgr_calls_denied_total 4.0" in text
    assert "devicemgr_connections_broken_total 5.0" in text
    assert f'devicemgr_allocate_answers_flagged_total{{resource_name="{GPU}"}} 1.0' in text
    assert 'kubelet_device_plugin_registration_total{resource_name="other"} 11.0' in text


@peer_limits(answers_size=5000, answer_size=4000, id_length=100)
async def test_the_sum_of_all_answers_is_limited_and_a_removed_pod_makes_room(device_manager):
    manager = device_manager
    async with open_simulated_plugin(manager.layout.plugins, GPU, devices=3) as plugin:
        await plugin.register()
        await manager.wait_for_resource(GPU, allocatable=3)
        plugin.on_allocate = answering(RunOptions(envs={"A": "x" * 3000}))
        first, second = (replace(pod(gpu=1), name=name, uid=name) for name in ("first", "second"))
        assert (await manager.admit(first)).admitted
        refused = await manager.admit(second)
        assert (
            "an answer of 3009 bytes for vendor.com/gpu beside those for other pods, 3009; 5000 are the limit "
            "(--peer-limit answers-size)" in refused.message
        )
        assert [event.peer for event in reached(manager, "answers_size")] == [GPU]
        assert manager.capacity()[GPU].available == 2
        await manager.remove("default", "first")
        assert (await manager.admit(second)).admitted


@peer_limits(answer_fields=100)
async def test_an_answer_of_too_many_fields_refuses_the_pod(device_manager):
    """Decoding them would keep everything else waiting. The answer counts as one field, each CDI device as two."""
    manager = device_manager
    async with open_simulated_plugin(manager.layout.plugins, GPU) as plugin:
        await plugin.register()
        await manager.wait_for_resource(GPU, allocatable=1)
        plugin.on_allocate = answering(RunOptions(cdi_devices=tuple(map(str, range(50)))))
        refused = await manager.admit(pod(gpu=1))
        assert "an answer of more than 100 fields" in refused.message
        assert [event.peer for event in reached(manager, "answer_fields")] == [GPU]
        plugin.on_allocate = answering(RunOptions(cdi_devices=tuple(map(str, range(49)))))
        assert (await manager.admit(pod(gpu=1))).admitted


# --- buckets and tallies ---------------------------------------------------------------------------------


async def test_the_time_of_a_list_that_cannot_be_decoded_is_charged_too():
    now = [0.0]
    quotas = quotas_with(EventLog(), now, time_share=0.01, time_burst=0.01)
    policy = PluginPolicy("vendor.com/gpu", Callers.default(), quotas, PeerReports(EventLog()))
    peer = Peer(pid=8, uid=0, gids=frozenset())
    assert policy.admit(peer)

    def reading():
        began = thread_time()
        while thread_time() - began < 0.05:
            pass
        yield
        raise ValueError("too many")

    with pytest.raises(ValueError, match="too many"):
        await policy.work_on_list(reading())
    assert policy.pause(peer) == MAX_PAUSE
    now[0] = 3.0
    assert policy.pause(peer) > 0, "0.04 s at a hundredth of the time"
