"""Cancelled anywhere, a server and its client end with no other error, and leave no task, socket or file."""

from __future__ import annotations

import gc
import os

import pytest
import trio
from trio.testing import MockClock

from devicemgr.rpc.calls import dial, read_stream
from devicemgr.rpc.transport.channel import open_channel
from devicemgr.rpc.transport.limits import ConnectionLimits, PeerPolicy
from devicemgr.rpc.transport.server import open_server
from tests.rpc.transport.made_up import ANSWERS, BOTH, Raw, Service, unary

SMALL = {"stream_window": 2**16, "connection_window": 2**17, "outgoing": 2**14}


class CancelAtStep(trio.abc.Instrument):
    """Cancels ``scope`` just before the program's n-th step of any task."""

    def __init__(self, step):
        self.scope, self.steps, self._step = trio.CancelScope(), 0, step

    def before_task_step(self, task):
        self.steps += 1
        if self.steps == self._step:
            self.scope.cancel()


class Balance(PeerPolicy):
    """Counts what must balance in the end; every call waits a little."""

    def __init__(self):
        self.connections = self.held = 0
        self.charged, self.call_pause = 0.0, 0.01

    @property
    def quota_exempt(self):
        return False

    def admit(self, peer):
        self.connections += 1
        return True

    def leave(self, peer):
        self.connections -= 1

    def hold(self, peer, size):
        self.held += size

    def release(self, peer, size):
        self.held -= size

    def charge_call(self, peer, method, seconds):
        assert seconds >= 0
        self.charged += seconds

    async def begin_call(self, peer, method):
        await trio.sleep(self.call_pause)


async def everything(path, policy):
    """A unary call, a stream that is left early, a bidirectional one, large messages, and a graceful close."""
    limits = ConnectionLimits(**SMALL, policy=policy)
    async with open_server(path, [Service(trio.Event)], limits=limits, grace=1):
        async with dial(path, limits=limits) as channel, trio.open_nursery() as nursery:
            assert await unary(channel, "Echo", b"x") == b"x"
            nursery.start_soon(unary, channel, "Echo", bytes(10**5))
            async with channel.request("/t.T/CountAndHang", ANSWERS, Raw, Raw, timeout=60) as stream:
                await stream.send_message(Raw(b"2 40000"))
                await stream.recv_message()
            async with channel.request("/t.T/Each", BOTH, Raw, Raw) as stream:
                for data in (b"a", bytes(10**5)):
                    await stream.send_message(Raw(data))
                    await stream.recv_message()
                await stream.end()
                assert await stream.recv_message() is None
        async with open_channel(path, limits=limits) as channel:
            await read_stream(channel, "/t.T/Count", Raw(b"3 0"), Raw, lambda message: None, pace=lambda: 0.0)


async def cancelled_somewhere(instrument, path, policy):
    with instrument.scope:
        await everything(path, policy)
    assert len(trio.lowlevel.current_task().child_nurseries) == 0


def run_until(step, path):
    instrument, policy = CancelAtStep(step), Balance()
    descriptors = os.listdir("/proc/self/fd")
    clock = MockClock(autojump_threshold=0)
    trio.run(cancelled_somewhere, instrument, path, policy, instruments=[instrument], clock=clock)
    assert os.listdir("/proc/self/fd") == descriptors
    assert not path.parent.exists() or not os.listdir(path.parent)
    assert (policy.connections, policy.held) == (0, 0)
    return instrument


@pytest.mark.parametrize("first", range(4))
def test_cancelled_at_any_step_nothing_is_left(first, root_dir):
    step, cancelled = first + 1, True
    while cancelled:
        cancelled = run_until(step, root_dir / "s.sock").scope.cancelled_caught
        step += 4
    gc.collect()  # what was left open says so now, and warnings are errors
    assert step > 100  # the whole scenario ran in the end, and that was how many steps there are


async def test_five_hundred_connections_and_calls_leave_nothing(root_dir):
    path, policy = root_dir / "s.sock", Balance()
    policy.call_pause = 0.0
    async with open_server(path, [Service(trio.Event)], limits=ConnectionLimits(policy=policy)) as server:
        async with open_channel(path) as channel:
            await unary(channel, "Echo")
        before, tasks = len(os.listdir("/proc/self/fd")), trio.lowlevel.current_statistics().tasks_living
        for number in range(500):
            async with open_channel(path) as channel:
                assert await unary(channel, "Echo", b"x") == b"x"
                async with channel.request("/t.T/CountAndHang", ANSWERS, Raw, Raw) as stream:
                    await stream.send_message(Raw(b"1 0"))
                    if number % 2:
                        await stream.recv_message()
        await trio.testing.wait_all_tasks_blocked()
        assert not server._connections
        assert trio.lowlevel.current_statistics().tasks_living <= tasks
        assert len(os.listdir("/proc/self/fd")) <= before
    assert (policy.connections, policy.held) == (0, 0)


async def test_five_hundred_calls_on_one_connection_leave_nothing(root_dir):
    path = root_dir / "s.sock"
    async with open_server(path, [Service(trio.Event)]) as server, open_channel(path) as channel:
        await unary(channel, "Echo")
        tasks = trio.lowlevel.current_statistics().tasks_living
        for number in range(500):
            with trio.CancelScope() as scope:
                async with channel.request("/t.T/CountAndHang", ANSWERS, Raw, Raw) as stream:
                    await stream.send_message(Raw(b"1 100"))
                    if number % 3:
                        await stream.recv_message()
                    if number % 2:
                        scope.cancel()
                        await stream.recv_message()
        await trio.testing.wait_all_tasks_blocked()
        (theirs,) = server._connections
        for connection in (theirs, channel._connection):
            assert not connection._streams
            assert not connection._outgoing
        assert trio.lowlevel.current_statistics().tasks_living == tasks
        assert await unary(channel, "Echo", bytes(10**6)) == bytes(10**6)


async def test_servers_open_and_close(root_dir):
    before, tasks = len(os.listdir("/proc/self/fd")), trio.lowlevel.current_statistics().tasks_living
    for _ in range(100):
        async with open_server(root_dir / "s.sock", [Service(trio.Event)]):
            async with open_channel(root_dir / "s.sock") as channel:
                await unary(channel, "Echo")
    assert len(os.listdir("/proc/self/fd")) == before
    assert trio.lowlevel.current_statistics().tasks_living == tasks
