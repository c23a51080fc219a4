"""CPU time is charged as it is spent, and what a policy counts balances in the end."""

from __future__ import annotations

import os
import time
from collections import defaultdict
from time import thread_time

import pytest
import trio
from grpclib import GRPCError, Status
from trio.testing import wait_all_tasks_blocked

from devicemgr.errors import PermissionDenied, UnreadLimitExceeded
from devicemgr.rpc.transport import metering
from devicemgr.rpc.transport.channel import PeerNotAdmitted, open_channel
from devicemgr.rpc.transport.limits import ConnectionLimits, PeerPolicy
from devicemgr.rpc.transport.metering import metered
from devicemgr.rpc.transport.server import ACCEPT_TIME, open_server
from tests.rpc.transport.made_up import ANSWERS, UNARY, Methods, Raw, Service, unary
from tests.rpc.transport.raw_peer import message, raw_client, request


@pytest.fixture
def path(root_dir):
    return root_dir / "s.sock"


class Clock:
    """CPU time that advances when a test says so."""

    def __init__(self, monkeypatch):
        self.now = 0.0
        monkeypatch.setattr(metering, "thread_time", lambda: self.now)

    def spend(self, seconds):
        self.now += seconds


@pytest.fixture
def clock(monkeypatch):
    return Clock(monkeypatch)


async def test_each_step_is_charged_when_it_is_over(clock):
    charged, event = [], trio.Event()

    async def answer():
        clock.spend(1)
        await trio.lowlevel.checkpoint()
        assert sum(charged) == 1, "before the answer is there"
        clock.spend(2)
        await event.wait()
        clock.spend(4)
        return "answer"

    async with trio.open_nursery() as nursery:
        results = []

        async def run():
            results.append(await metered(answer(), charged.append))

        nursery.start_soon(run)
        await wait_all_tasks_blocked()
        assert sum(charged) == 3
        clock.spend(100)  # others' time
        event.set()
    assert results == ["answer"]
    assert sum(charged) == 7


async def test_steps_of_a_cancelled_task_are_charged(clock):
    charged = []

    async def answer():
        try:
            clock.spend(1)
            await trio.sleep_forever()
        finally:
            clock.spend(2)
            with trio.CancelScope(shield=True):
                await trio.lowlevel.checkpoint()
            clock.spend(4)

    async def run():
        await metered(answer(), charged.append)

    with trio.CancelScope() as scope:
        async with trio.open_nursery() as nursery:
            nursery.start_soon(run)
            await wait_all_tasks_blocked()
            scope.cancel()
    assert scope.cancelled_caught
    assert sum(charged) == 7


@pytest.mark.parametrize("error", [KeyError("x"), GRPCError(Status.ABORTED), StopAsyncIteration()])
async def test_errors_propagate_and_their_steps_are_charged(clock, error):
    charged = []

    async def answer():
        await trio.lowlevel.checkpoint()
        clock.spend(3)
        raise error

    with pytest.raises(type(error)) as caught:
        await metered(answer(), charged.append)
    assert caught.value is error
    assert sum(charged) == 3


async def test_an_error_that_is_thrown_in_can_be_caught(clock):
    """As an inner timeout does."""

    async def answer():
        with trio.move_on_after(0):
            await trio.sleep_forever()
        clock.spend(1)
        return "went on"

    charged = []
    assert await metered(answer(), charged.append) == "went on"
    assert sum(charged) == 1


async def test_closing_closes_what_is_inside():
    closed = []

    async def answer():
        try:
            await trio.sleep_forever()
        finally:
            closed.append(True)

    async def outer():
        await metered(answer(), lambda seconds: None)

    coroutine = outer()
    coroutine.send(None)  # by hand: it waits, and is then given up
    coroutine.close()
    assert closed == [True]


async def test_real_time_is_about_what_was_spent():
    charged = []

    async def answer():
        until = thread_time() + 0.05
        while thread_time() < until:
            pass
        await trio.lowlevel.checkpoint()

    began = thread_time()
    await metered(answer(), charged.append)
    assert 0.05 <= sum(charged) <= thread_time() - began


class Counting(PeerPolicy):
    """Counts what is admitted, held and charged, and refuses what a test says. The peer is always this process."""

    def __init__(self):
        self.connections = self.held = self.most_held = 0
        self.spent, self.charged = defaultdict(float), []
        self.refuse_call = self.refuse_to_hold = None
        self.call_pause = 0.0
        self.pauses = []
        self.problems = []

    @property
    def quota_exempt(self):
        return False

    def admit(self, peer):
        assert peer.pid == os.getpid()
        self.connections += 1
        return True

    def leave(self, peer):
        assert peer.pid == os.getpid()
        self.connections -= 1

    def pause(self, peer):
        assert peer.pid == os.getpid()
        return self.pauses.pop() if self.pauses else 0.0

    def charge(self, peer, seconds):
        assert peer.pid == os.getpid()
        assert seconds >= 0
        self.charged.append(seconds)

    async def begin_call(self, peer, method):
        assert (peer.pid, method[:5]) == (os.getpid(), "/t.T/")
        if self.refuse_call:
            raise self.refuse_call
        await trio.sleep(self.call_pause)

    def charge_call(self, peer, method, seconds):
        assert peer.pid == os.getpid()
        assert seconds >= 0
        self.spent[method] += seconds

    def hold(self, peer, size):
        assert peer.pid == os.getpid()
        if self.refuse_to_hold:
            raise self.refuse_to_hold
        self.held += size
        self.most_held = max(self.held, self.most_held)

    def release(self, peer, size):
        assert peer.pid == os.getpid()
        self.held -= size
        assert self.held >= 0

    def unreadable(self, peer, problem):
        self.problems.append(problem)


async def test_after_everything_the_balance_is_even(path, autojump_clock):
    policy = Counting()
    never = trio.Event()

    async def fails(stream):
        await stream.send_message(Raw(bytes(100)))
        raise GRPCError(Status.ABORTED)

    async def floods(stream):
        while True:
            await stream.send_message(Raw(bytes(10_000)))

    async def waits(stream):
        await never.wait()

    methods = Methods(Fails=(ANSWERS, fails), Floods=(ANSWERS, floods), Waits=(UNARY, waits))
    services = [methods, type("Both", (), {"__mapping__": Service(trio.Event).__mapping__})()]
    async with open_server(path, services, limits=ConnectionLimits(policy=policy)):
        for ending in ("leave", "cut", "deadline"):
            async with open_channel(path) as channel, trio.open_nursery() as nursery:
                assert await unary(channel, "Echo", bytes(1000)) == bytes(1000)
                with pytest.raises(GRPCError):
                    async with channel.request("/t.T/Fails", ANSWERS, Raw, Raw) as stream:
                        await stream.send_message(Raw())
                        async for _ in stream:
                            pass
                timeout = 3 if ending == "deadline" else None
                with pytest.raises(GRPCError) if ending != "leave" else trio.CancelScope():
                    async with channel.request("/t.T/Floods", ANSWERS, Raw, Raw, timeout=timeout) as stream:
                        await stream.send_message(Raw())
                        await stream.recv_message()
                        await wait_all_tasks_blocked()
                        assert policy.held == 10_000, "what waits for the window"
                        if ending == "cut":
                            channel.close()
                        if ending != "leave":
                            await trio.sleep(5)
                            while True:
                                await stream.recv_message()
                await wait_all_tasks_blocked()
                assert policy.held == 0
                nursery.cancel_scope.cancel()
        await wait_all_tasks_blocked()
        assert policy.connections == 0
    assert policy.held == 0
    assert policy.spent["/t.T/Echo"] > 0
    assert policy.charged.count(ACCEPT_TIME) == 3
    assert len(policy.charged) > 10, "each read"


async def test_refusals_are_answers_and_even(path):
    policy = Counting()
    async with open_server(path, [Service(trio.Event)], limits=ConnectionLimits(policy=policy)):
        async with open_channel(path) as channel:
            policy.refuse_call = PermissionDenied("you may not")
            with pytest.raises(GRPCError, match="you may not") as caught:
                await unary(channel, "Echo")
            assert caught.value.status is Status.PERMISSION_DENIED
            policy.refuse_call, policy.refuse_to_hold = None, UnreadLimitExceeded("read first")
            with pytest.raises(GRPCError, match="read first") as caught:
                await unary(channel, "Echo")
            assert caught.value.status is Status.RESOURCE_EXHAUSTED
            policy.refuse_to_hold = None
            assert await unary(channel, "Echo", b"x") == b"x"
    assert (policy.connections, policy.held) == (0, 0)


async def test_a_call_may_have_to_wait(path, autojump_clock):
    policy = Counting()
    policy.call_pause = 7.0
    async with open_server(path, [Service(trio.Event)], limits=ConnectionLimits(policy=policy)):
        async with open_channel(path) as channel:
            assert await unary(channel, "Echo", b"x") == b"x"
            assert trio.current_time() == pytest.approx(7)
            with pytest.raises(GRPCError) as caught:
                await unary(channel, "Echo", timeout=3)
            assert caught.value.status is Status.DEADLINE_EXCEEDED
            assert trio.current_time() == pytest.approx(10)


async def test_nothing_is_read_while_the_policy_pauses(path, autojump_clock):
    policy = Counting()
    policy.pauses = [2.0, 0.5, 1.5]
    async with open_server(path, [Service(trio.Event)], limits=ConnectionLimits(policy=policy)):
        async with open_channel(path) as channel:
            assert await unary(channel, "Echo", b"x") == b"x"
            assert trio.current_time() == pytest.approx(4)


async def test_a_client_that_is_not_admitted_is_closed_and_not_counted(path):
    class Nobody(Counting):
        def admit(self, peer):
            return False

    policy = Nobody()
    async with open_server(path, [Service(trio.Event)], limits=ConnectionLimits(policy=policy)):
        async with open_channel(path) as channel:
            with pytest.raises(GRPCError) as caught:
                await unary(channel, "Echo")
            assert caught.value.status is Status.UNAVAILABLE
    assert policy.connections == 0
    async with open_server(path, [Service(trio.Event)]):
        refused = f"{path} is served by a process of user {os.geteuid()}, who may not serve it"
        with pytest.raises(PeerNotAdmitted, match=refused):
            async with open_channel(path, limits=ConnectionLimits(policy=policy)):
                pass
    assert policy.connections == 0


async def test_nonsense_is_reported_and_ends_the_connection(path):
    policy = Counting()
    async with open_server(path, [Service(trio.Event)], limits=ConnectionLimits(policy=policy)):
        async with raw_client(path) as peer:
            await peer.send(peer.headers(1, request("/t.T/Hang")), peer.data(1, message(b"")))
            await peer.stream.send_all(b"\0\0\x01\x04\0\0\0\0\x00\0")  # settings of one byte
            await peer.frames_until_end()
        assert len(policy.problems) == 1
        await wait_all_tasks_blocked()
        assert policy.connections == 0


def test_the_clock_is_the_threads():
    """The time of a worker thread is not this caller's."""
    assert metering.thread_time is time.thread_time
