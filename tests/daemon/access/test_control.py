"""What access control reports and refuses, exactly when, and in which words: operators and callers read them."""

from __future__ import annotations

import os
from itertools import pairwise
from pathlib import Path
from time import thread_time

import pytest
import trio

from devicemgr import Callers, PeerLimits
from devicemgr.concurrency.turns import TURN
from devicemgr.daemon.access.control import AccessControl
from devicemgr.daemon.access.plugin_policy import PluginPolicy
from devicemgr.daemon.access.quotas import MAX_DEBT, MAX_PAUSE, MAX_PROCESSES, MAX_QUEUE_TIME, Quotas
from devicemgr.daemon.access.reports import PeerReports
from devicemgr.daemon.access.socket_policy import SocketPolicy
from devicemgr.daemon.event_log import EventLog
from devicemgr.errors import PermissionDenied, QuotaExceeded, UnreadLimitExceeded
from devicemgr.events import CallsDenied, ConnectionBroken, PeerLimitReached
from devicemgr.model import Peer

REGISTER, LIST = "/v1beta1.Registration/Register", "/v1.PodResourcesLister/List"
GPU = "vendor.com/gpu"
OWN, ONE, OTHER = (Peer(pid=pid, uid=5, gids=frozenset({5})) for pid in (1, 8, 9))
STRANGER = Peer(pid=10, uid=6, gids=frozenset({6}))
CALLERS = Callers(uids=frozenset({5}))
FAST = {"registration_rate": 1.0, "registration_burst": 1, "time_share": 0.1, "time_burst": 1.0}


class World:
    """Policies, and the events they have recorded."""

    def __init__(self, **peer_limits):
        self.now, self.seen, self.log = 0.0, 0, EventLog()
        self.clock = lambda: self.now
        self.reports = PeerReports(self.log, clock=lambda: self.clock())
        self.quotas = Quotas(
            PeerLimits(**FAST | peer_limits), self.reports, own_pid=OWN.pid, clock=lambda: self.clock()
        )

    def socket_policy(self, *, quota_exempt=False):
        return SocketPolicy("dir/a.sock", CALLERS, self.quotas, self.reports, quota_exempt=quota_exempt)

    def plugin_policy(self):
        return PluginPolicy(GPU, CALLERS, self.quotas, self.reports)

    def recorded(self):
        """The events since the last call."""
        events = [recorded.event for recorded in self.log.after(self.seen)]
        self.seen += len(events)
        return events


def reached(limit, who, consequence, times=1):
    return PeerLimitReached(limit=limit, peer=who, times=times, consequence=consequence)


# --- the lists of a process ---


async def order_of_work(peers):
    """Whose turns follow one another when a list of each is worked on at the same time; and the world."""
    world, turns = World(time_burst=2 * TURN), []
    policies = [world.plugin_policy() for _ in peers]

    def work(number):
        for _ in range(4):
            turns.append(number)
            began = thread_time()
            while thread_time() - began < TURN:
                pass
            yield

    async with trio.open_nursery() as nursery:
        for number, (policy, peer) in enumerate(zip(policies, peers, strict=True)):
            assert policy.admit(peer)
            nursery.start_soon(policy.work_on_list, work(number))
    return turns, world


async def test_lists_of_one_process_are_worked_on_one_after_the_other():
    """However many streams it has, it gets the turns of one."""
    turns, world = await order_of_work([ONE, ONE, ONE])
    assert len([1 for before, now in pairwise(turns) if before != now]) == 2
    assert world.quotas.pause(ONE) > 0, "and it has paid for them"


@pytest.mark.parametrize("peers", [[ONE, OTHER], [OWN, OWN]], ids=["two-processes", "our-own"])
async def test_lists_of_different_processes_take_turns(peers):
    turns, _ = await order_of_work(peers)
    assert turns.index(1) < 4 > turns[::-1].index(0)


async def test_a_stream_that_ends_in_the_middle_of_its_list_leaves_room_for_the_next():
    world = World()
    one, other, did = world.plugin_policy(), world.plugin_policy(), []
    assert one.admit(ONE)
    assert other.admit(ONE)

    def endless():
        while True:
            did.append("step")
            yield

    def short():
        did.append("other")
        yield

    async with trio.open_nursery() as nursery:
        with trio.CancelScope() as scope:

            async def end():
                while not did:
                    await trio.lowlevel.checkpoint()
                nursery.start_soon(other.work_on_list, short())
                scope.cancel()

            nursery.start_soon(end)
            await one.work_on_list(endless())
    assert did[-1] == "other"


# --- the quota of a process ---


def test_its_registrations_form_a_queue_of_three_seconds():
    world, who = World(), "process 8 of user 5"
    waits = [world.quotas.charge_registration(ONE) for _ in range(1 + int(MAX_QUEUE_TIME) + 1)]
    assert waits == [0.0, 1.0, 2.0, 3.0, 4.0], "one that finds three seconds still stands there"
    assert world.recorded() == [reached("registration_rate", who, "the registration waits 1.00 s")]
    with pytest.raises(QuotaExceeded) as refused:
        world.quotas.charge_registration(ONE)
    assert str(refused.value) == "too many registrations of one process: try again in 4 s"
    assert world.recorded() == [], "it is reported once a second"
    world.now = 1.0
    assert world.quotas.charge_registration(ONE) == 4.0
    world.now = 1.5
    with pytest.raises(QuotaExceeded):
        world.quotas.charge_registration(ONE)
    world.now = 2.0
    assert world.quotas.charge_registration(OTHER) == world.quotas.charge_registration(OWN) == 0.0
    world.quotas.charge_registration(ONE)
    assert [event.times for event in world.recorded()] == [5, 2], "those that were not reported are counted"


def test_a_refused_registration_is_reported():
    world = World(registration_rate=0.4)
    for _ in range(3):
        world.quotas.charge_registration(ONE)
    world.recorded()
    world.now = 0.9
    with pytest.raises(QuotaExceeded):
        world.quotas.charge_registration(ONE)
    assert world.recorded() == []
    world.now = 1.0
    with pytest.raises(QuotaExceeded):
        world.quotas.charge_registration(ONE)
    assert [event.consequence for event in world.recorded()] == ["the registration is refused"]


def test_what_it_owes_is_reported_and_capped():
    world, who = World(), "process 8 of user 5"
    world.quotas.charge(OWN, 1e6)
    assert world.quotas.pause(OWN) == 0.0
    world.quotas.charge(ONE, 1.02)
    assert world.quotas.pause(ONE) == pytest.approx(0.2)
    assert world.recorded() == [reached("time_share", who, "nothing is read from it for 0.20 s")]
    world.quotas.charge(ONE, 1e6)
    assert world.quotas.pause(ONE) == MAX_PAUSE
    world.now = MAX_DEBT - 0.5
    assert world.quotas.pause(ONE) == pytest.approx(0.5)
    with pytest.raises(QuotaExceeded, match="too much time: try again in 3 s"):
        world.quotas.charge(ONE, 0.29)
        world.quotas.begin_request(ONE)


def test_a_request_is_refused_beyond_three_seconds_and_not_at_three():
    world, who = World(time_share=0.5, time_burst=0.5), "process 8 of user 5"
    world.quotas.charge(ONE, 0.5 + 0.5 * MAX_QUEUE_TIME)
    assert world.quotas.begin_request(ONE) == MAX_PAUSE
    assert [event.consequence for event in world.recorded()] == ["nothing is read from it for 1.00 s"]
    world.quotas.charge(ONE, 1.0)
    world.now = 1.0
    with pytest.raises(QuotaExceeded) as refused:
        world.quotas.begin_request(ONE)
    assert str(refused.value) == "the requests of this process take too much time: try again in 4 s"
    assert world.recorded() == [reached("time_share", who, "the request is refused")]
    assert world.quotas.begin_request(OTHER) == 0.0
    world.quotas.charge(OWN, 100.0)
    assert world.quotas.begin_request(OWN) == 0.0


def test_what_cannot_be_read_is_reported_once_a_second_for_each_process():
    world = World()
    for peer in (ONE, ONE, OTHER, ONE):
        world.reports.connection_broken(peer, "no sense")
    world.now = 1.0
    world.reports.connection_broken(ONE, "still none")
    assert world.recorded() == [
        ConnectionBroken(pid=8, uid=5, times=1, problem="no sense"),
        ConnectionBroken(pid=9, uid=5, times=1, problem="no sense"),
        ConnectionBroken(pid=8, uid=5, times=3, problem="still none"),
    ]
    world.reports.limit_reached("time_share", ONE, "waits")
    assert len(world.recorded()) == 1, "it is another thing than a limit"


def test_the_least_recently_used_quota_is_dropped():
    world = World()
    peers = [Peer(pid=pid, uid=5, gids=frozenset()) for pid in range(2, MAX_PROCESSES + 2)]
    assert {world.quotas.charge_registration(peer) for peer in peers} == {0.0}
    assert world.quotas.charge_registration(peers[0]) > 0, "there is room for so many"
    world.quotas.charge_registration(Peer(pid=MAX_PROCESSES + 2, uid=5, gids=frozenset()))
    assert world.quotas.charge_registration(peers[0]) > 0, "it was used again"
    assert world.quotas.charge_registration(peers[2]) > 0
    assert world.quotas.charge_registration(peers[1]) == 0.0


# --- our own sockets ---


def test_connections_of_a_process_and_of_all_are_counted_and_given_back():
    world = World(connections=2, all_connections=3)
    policy = world.socket_policy()
    assert [policy.admit(ONE) for _ in range(3)] == [True, True, False]
    closed = "on dir/a.sock, the connection was closed"
    assert world.recorded() == [reached("connections", "process 8 of user 5", closed)]
    assert [policy.admit(OTHER) for _ in range(2)] == [True, False]
    assert world.recorded() == [reached("all_connections", "process 9 of user 5", closed)]
    policy.leave(ONE)
    assert [policy.admit(OTHER) for _ in range(2)] == [True, False]
    policy.leave(OTHER)
    assert [policy.admit(OTHER) for _ in range(2)] == [True, False], "one that left makes room for one"
    for peer in (ONE, OTHER, OTHER):
        policy.leave(peer)
    assert not policy._connections, "nothing is remembered of who has gone"


async def test_another_user_is_denied_and_hears_who_may_call(autojump_clock):
    world = World()
    policy = world.socket_policy()
    other = Peer(pid=11, uid=6, gids=frozenset())
    for stranger in (other, STRANGER, STRANGER):
        with pytest.raises(PermissionDenied) as denied:
            await policy.begin_call(stranger, LIST)
    assert str(denied.value) == (
        f"user 6 may not call {LIST} on dir/a.sock: only the manager's own user and root may, "
        "and the group of --allow-group"
    )
    assert world.recorded() == [
        CallsDenied(socket="dir/a.sock", method=LIST, pid=pid, uid=6, times=1) for pid in (11, 10)
    ], "each process, once a second"


async def seconds_until_it_may_begin(policy, peer, method):
    began = trio.current_time()
    await policy.begin_call(peer, method)
    return trio.current_time() - began


async def test_a_request_waits_for_its_time_and_a_registration_in_its_queue(autojump_clock):
    world = World()
    world.clock = trio.current_time
    policy = world.socket_policy()
    for _ in range(2):
        policy.charge_call(ONE, LIST, 0.6)
        policy.charge_call(OTHER, REGISTER, 0.6)
    assert policy.pause(ONE) == MAX_PAUSE
    assert policy.pause(OTHER) == 0.0, "a registration has a rate of its own"
    assert [await seconds_until_it_may_begin(policy, ONE, REGISTER) for _ in range(2)] == [0.0, 1.0]
    assert policy.pause(ONE) == pytest.approx(MAX_PAUSE), "and does not wait for what its process owes"
    policy.charge(ONE, 0.1)
    assert await seconds_until_it_may_begin(policy, ONE, LIST) == pytest.approx(2.0), "one pause after the other"
    assert policy.pause(ONE) == 0.0
    policy.charge(OTHER, 1.2)
    assert policy.pause(OTHER) == MAX_PAUSE


async def test_requests_that_wait_are_asked_for_one_by_one_and_begin_in_order(autojump_clock, monkeypatch):
    """A thousand that woke up at each moment without debt took a third of a processor. The times are sums of powers of
    two: a mock clock does not move for a rounding error."""
    world, begun, asked = World(time_share=1 / 8, time_burst=1.0), [], []
    world.clock = trio.current_time
    policy, begin_request = world.socket_policy(), world.quotas.begin_request
    monkeypatch.setattr(world.quotas, "begin_request", lambda peer: asked.append(peer) or begin_request(peer))

    async def request(number):
        await trio.sleep(number / 2**20)  # they come in this order
        await policy.begin_call(ONE, LIST)
        policy.charge_call(ONE, LIST, 1 / 64)
        begun.append((number, trio.current_time()))

    began = trio.current_time()
    policy.charge(ONE, 1.0)
    async with trio.open_nursery() as nursery:
        for number in range(50):
            nursery.start_soon(request, number)
    assert begun == [(number, began + number / 8) for number in range(50)]
    assert len(asked) < 3 * len(begun)


async def test_callers_of_a_quota_exempt_socket_never_wait(autojump_clock):
    world = World(unread_size=100)
    policy = world.socket_policy(quota_exempt=True)
    policy.charge(ONE, 100.0)
    policy.charge_call(ONE, LIST, 100.0)
    assert world.quotas.pause(ONE) == 0.0
    world.quotas.charge(ONE, 100.0)  # by another policy
    assert policy.pause(ONE) == await seconds_until_it_may_begin(policy, ONE, LIST) == 0.0
    for _ in range(5):
        policy.hold(ONE, 90)


def test_unread_answers_are_limited():
    world = World(unread_size=100)
    policy = world.socket_policy()
    policy.hold(ONE, 1000)  # the first one may be as long as it likes
    policy.release(ONE, 1000)
    assert not policy._unread
    policy.hold(ONE, 60)
    policy.hold(ONE, 40)
    policy.hold(OTHER, 40)
    with pytest.raises(UnreadLimitExceeded) as refused:
        policy.hold(ONE, 1)
    assert str(refused.value) == "100 bytes of answers to this process wait to be read"
    not_sent = "on dir/a.sock, an answer of 1 bytes was not sent"
    assert world.recorded() == [reached("unread_size", "process 8 of user 5", not_sent)]
    policy.release(ONE, 40)
    policy.hold(ONE, 40)


async def test_what_a_caller_sends_that_cannot_be_received_is_reported(autojump_clock):
    world = World()
    policy = world.socket_policy()
    for _ in range(2):
        policy.message_too_long("registration_size", 200, 100)
        policy.message_too_long("answer_size", 300, 30)
    policy.unreadable(ONE, "no sense")
    assert world.recorded() == [
        reached("registration_size", "dir/a.sock", "a call with a message of 200 bytes ended; 100 are the limit"),
        reached("answer_size", "dir/a.sock", "a call with a message of 300 bytes ended; 30 are the limit"),
        ConnectionBroken(pid=8, uid=5, times=1, problem="on dir/a.sock, no sense"),
    ]


# --- those of plug-ins ---


def test_a_plugins_socket_must_be_served_by_a_user_who_may_call():
    world = World()
    assert world.plugin_policy().admit(ONE)
    assert not world.plugin_policy().admit(STRANGER)
    for peer in (OWN, ONE):
        policy = world.plugin_policy()
        policy.admit(peer)
        assert policy.quota_exempt is (peer is OWN), "our own time need not be measured"


def test_a_plugin_that_exceeds_a_limit_is_reported_by_its_name():
    world = World()
    policy = world.plugin_policy()
    policy.message_too_long("answer_size", 200, 100)
    policy.too_many_fields(100)
    policy.unreadable(ONE, "no sense")
    policy.lists_skipped(7)
    assert world.recorded() == [
        reached("answer_size", GPU, "the call with a message of 200 bytes ended; 100 are the limit"),
        reached("answer_fields", GPU, "the call with an answer of more than 100 fields ended"),
        ConnectionBroken(pid=8, uid=5, times=1, problem=f"serving {GPU}, no sense"),
        reached("report_rate", GPU, "lists came too fast: only the latest was applied", times=7),
    ]
    policy.lists_skipped(3)
    policy.lists_skipped(4)
    assert world.recorded() == []
    policy.leave(ONE)
    (rest,) = world.recorded()
    assert rest.times == 7, "with its connection the counting ends, and adds up"


def test_the_managers_own_process_is_this_one():
    quotas = Quotas(PeerLimits(), PeerReports(EventLog()), clock=lambda: 0.0)
    own, other = (Peer(pid=pid, uid=0, gids=frozenset()) for pid in (os.getpid(), os.getpid() + 1))
    assert (quotas.is_own_process(own), quotas.is_own_process(other)) == (True, False)


async def test_lists_have_a_rate_and_wait_for_the_plugins_time_too(autojump_clock):
    world = World(report_rate=4.0, report_burst=2)
    policy = world.plugin_policy()
    policy.admit(ONE)
    assert [policy.next_list() for _ in range(3)] == [0.0, 0.0, pytest.approx(0.25)]
    await trio.sleep(0.25)
    assert [policy.next_list() for _ in range(2)] == [0.0, pytest.approx(0.25)]
    slow = World(report_rate=1.0, report_burst=1).plugin_policy()
    slow.admit(ONE)
    assert [slow.next_list() for _ in range(2)] == [0.0, MAX_PAUSE]
    owing = World().plugin_policy()
    owing.admit(ONE)
    owing.charge(ONE, 1.05)
    assert owing.pause(ONE) == owing.next_list() == pytest.approx(0.5)


async def test_policies_share_the_quotas_and_have_names(autojump_clock):
    log = EventLog()
    access = AccessControl(CALLERS, PeerLimits(**FAST, connections=1), log)
    socket = access.socket_limits(Path("/var/lib/kubelet/x/a.sock"), message_size=100).policy
    plugin = access.plugin_policy(GPU)
    assert access.socket_limits(Path("/x/a.sock"), message_size=100, quota_exempt=True).policy.quota_exempt
    assert not socket.quota_exempt
    plugin.lists_skipped(1)
    assert [socket.admit(ONE) for _ in range(2)] == [True, False]
    plugin.unreadable(ONE, "no sense")
    with pytest.raises(PermissionDenied):
        await socket.begin_call(STRANGER, LIST)
    events = [recorded.event for recorded in log.after(0)]
    assert [type(event) for event in events] == [PeerLimitReached, PeerLimitReached, ConnectionBroken, CallsDenied]
    assert [events[0].peer, events[2].problem] == [GPU, f"serving {GPU}, no sense"]
    assert events[1].consequence == "on x/a.sock, the connection was closed"
    assert not plugin.admit(STRANGER), "they share the callers, too"
    plugin.charge(ONE, 10.0)
    assert socket.pause(ONE) > 0
