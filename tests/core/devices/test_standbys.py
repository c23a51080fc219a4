"""Several live plug-ins of one resource: each has its own last list, and that of the one that serves counts."""

from __future__ import annotations

import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, rule

from devicemgr.concurrency.steps import CHUNK, run_steps
from devicemgr.core.devices.endpoint import Endpoint
from devicemgr.core.devices.resource import MAX_COMPARED
from devicemgr.core.devices.store import MAX_STANDBYS, DeviceStore
from devicemgr.errors import PeerLimitExceeded
from devicemgr.events import (
    DeviceHealthChanged,
    DeviceListApplied,
    EndpointStopped,
    PluginEnded,
    PluginPromoted,
    PluginStandsBy,
)
from devicemgr.model import Device, DeviceList, Owner, PluginOptions, RunOptions
from devicemgr.rpc.deviceplugin.convert import device_to_wire
from devicemgr.rpc.deviceplugin.device_list import DeviceListDecoder
from devicemgr.rpc.stubs import v1beta1 as wire
from tests.helpers import GPU, apply_list

A, B, C = 1, 2, 3
OWNER = Owner("pod", "main")


def connect(store, generation, *devices, socket=None, **options):
    """A plug-in answers on a socket of its own; with devices, it has sent a list."""
    endpoint = Endpoint(
        resource=GPU, generation=generation, socket=socket or f"{generation}.sock", options=PluginOptions(**options)
    )
    events = store.connect(endpoint)
    return [*events, *report(store, generation, *devices)] if devices else events


def report(store, generation, *devices):
    """``dev!`` is unhealthy."""
    listed = [Device(id=d.rstrip("!"), health="Unhealthy" if d.endswith("!") else "Healthy") for d in devices]
    return apply_list(store, GPU, generation, listed)


def end(store, generation, now=0.0):
    return store.stop_endpoint(GPU, generation, reason="gone", now=now)


def hold(store, *ids):
    store.reserve(OWNER, GPU, ids)
    store.commit(OWNER, GPU, ids, RunOptions())


def listed(store):
    return {id: id in store.healthy(GPU) for id in store.devices(GPU)}


def seen(store):
    """Everything that a stand-by must not touch."""
    free = list(store.free_devices(GPU).all())
    return store.counts(GPU), dict(store.devices(GPU)), free, store.version, store.reports, store.snapshot()


@pytest.fixture
def both():
    """A stands by, and B serves."""
    store = DeviceStore(grace=10.0)
    connect(store, A, "a1", "a2", "both", pre_start_required=True)
    connect(store, B, "b1", "both")
    return store


def test_the_newest_serves_and_the_one_before_stands_by():
    """REG-10, D37-1."""
    store = DeviceStore()
    connect(store, A, "a1")
    events = connect(store, B)
    assert [event for event in events if isinstance(event, PluginStandsBy)] == [
        PluginStandsBy(resource=GPU, endpoint="1.sock", generation=A)
    ]
    assert (store.endpoint(GPU).generation, store.counts(GPU).standbys) == (B, ("1.sock",))
    assert listed(store) == {"a1": True}, "until the new one sends its own list (REG-9)"


def test_the_list_of_a_standby_is_kept_and_changes_nothing_else(both):
    """LIM-2, LIM-41."""
    hold(both, "both")
    before = seen(both)
    for devices in (["a1!", "a2", "both!"], [], ["other"]):
        assert report(both, A, *devices) == []
        assert seen(both) == before
    end(both, B)
    assert listed(both) == {"other": True}


def test_so_is_one_that_is_given_as_a_difference(both):
    first = DeviceList(devices=[Device(id="a"), Device(id="b")])
    run_steps(both.applying(GPU, A, first))
    gone, new = first.devices[:1], [Device(id="c")]
    second = DeviceList(devices=[first.devices[1], *new], base=first.token, removed=gone, added=new)
    before = seen(both)
    assert run_steps(both.applying(GPU, A, second)) == []
    assert seen(both) == before
    end(both, B)
    assert listed(both) == {"b": True, "c": True}


def test_what_is_wrong_with_a_standbys_list_is_reported(both):
    """LIM-16."""
    (event,) = apply_list(both, GPU, A, [Device(id="x"), Device(id="x")])
    assert event.problem == "duplicate device id: counted once"


def test_until_a_newer_plugin_has_sent_a_list_those_of_the_older_one_count():
    """B serves and has sent none, so that of A is in force. What breaks meanwhile only A knows (REG-9)."""
    store = DeviceStore()
    connect(store, A)
    first = DeviceList(devices=[Device(id="a"), Device(id="b")])
    run_steps(store.applying(GPU, A, first))
    connect(store, B)
    hold(store, "b")
    second = DeviceList(devices=first.devices[:1], base=first.token, removed=first.devices[1:])
    applied, changed = run_steps(store.applying(GPU, A, second))
    assert (applied.removed, changed.health, listed(store)) == (("b",), "Unknown", {"a": True})
    assert store.snapshot().registered[GPU] == ("a",)
    report(store, A, "a!")
    assert list(store.free_devices(GPU).all()) == []
    report(store, B, "a", "b")
    before = seen(store)
    assert report(store, A, "other") == []
    assert seen(store) == before


def test_of_two_that_stand_by_the_list_of_the_newer_one_counts_until_the_newest_has_sent_one():
    store = DeviceStore()
    connect(store, A, "a")
    connect(store, B)
    connect(store, C)
    report(store, A, "a", "a2")
    assert listed(store) == {"a": True, "a2": True}
    report(store, B, "b")
    assert report(store, A, "a") == []
    assert listed(store) == {"b": True}


def test_a_list_of_one_that_stands_by_makes_the_resource_known():
    store = DeviceStore()
    connect(store, A)
    connect(store, B)
    assert store.capacity() == {}
    report(store, A, "a")
    assert store.is_known(GPU)
    assert store.capacity()[GPU].allocatable == 1


def test_when_the_one_that_serves_ends_the_list_of_the_newest_standby_is_in_force_in_the_same_step(both):
    """LIM-41, REG-11, LW-8, LW-11, LW-12: with health events, and without a grace period. The options change, too."""
    hold(both, "both", "b1")
    report(both, A, "a1!", "a2", "both!")
    version, reports = both.version, both.reports
    events = end(both, B)
    assert events == [
        PluginEnded(resource=GPU, endpoint="2.sock", generation=B, reason="gone"),
        PluginPromoted(resource=GPU, endpoint="1.sock", generation=A),
        DeviceListApplied(
            resource=GPU,
            generation=A,
            capacity=3,
            allocatable=1,
            added=("a1", "a2"),
            removed=("b1",),
            changed=("both",),
            unhealthy=("a1", "both"),
        ),
        DeviceHealthChanged(pod_uid="pod", container="main", resource=GPU, device="b1", health="Unknown"),
        DeviceHealthChanged(pod_uid="pod", container="main", resource=GPU, device="both", health="Unhealthy"),
    ]
    assert (both.version, both.reports) == (version + 1, reports + 1)
    assert list(both.free_devices(GPU).all()) == ["a2"]
    assert both.options_of(GPU).pre_start_required
    counts = both.counts(GPU)
    assert (counts.capacity, counts.allocatable, counts.endpoint, counts.standbys) == (3, 1, "serving", ())
    assert both.sweep(now=1000.0) == []
    assert end(both, B) == report(both, B, "late") == []


def test_the_next_list_of_a_promoted_plugin_may_be_a_difference(both):
    first = DeviceList(devices=[Device(id="a"), Device(id="b")])
    run_steps(both.applying(GPU, A, first))
    end(both, B)
    second = DeviceList(devices=first.devices[:1], base=first.token, removed=first.devices[1:])
    (event,) = run_steps(both.applying(GPU, A, second))
    assert (event.removed, event.allocatable, listed(both)) == (("b",), 1, {"a": True})


def test_equal_lists_change_nobodys_health():
    """A rolling update that is undone, RS-02."""
    store = DeviceStore()
    connect(store, A, "d1", "d2")
    hold(store, "d1")
    connect(store, B)
    assert store.health_of(GPU, ["d1"]) == {"d1": "Healthy"}, "though B has sent no list yet"
    report(store, B, "d1", "d2")
    _ended, _promoted, applied = end(store, B)
    assert (applied.added, applied.removed, applied.changed, applied.omitted) == ((), (), (), 0)


def test_the_end_of_a_standby_changes_nothing_else(both):
    """LIM-4, LIM-40: whoever serves goes on."""
    connect(both, C, "c1")
    before, version = listed(both), both.version
    assert end(both, A) == [PluginEnded(resource=GPU, endpoint="1.sock", generation=A, reason="gone")]
    assert (listed(both), both.version, both.endpoint(GPU).generation) == (before, version, C)
    assert end(both, A) == []
    end(both, C)
    assert both.endpoint(GPU).generation == B


def test_the_newest_of_several_standbys_takes_over(both):
    """LIM-40: the kubelet takes any."""
    connect(both, C, "c1")
    for ended, serves, devices in ((C, B, {"b1", "both"}), (B, A, {"a1", "a2", "both"})):
        end(both, ended)
        assert (both.endpoint(GPU).generation, listed(both).keys()) == (serves, devices)


def test_only_the_end_of_the_last_one_starts_the_grace_period(both):
    """LW-8, LW-11, RS-14."""
    end(both, B, now=5.0)
    (stopped,) = end(both, A, now=100.0)
    assert stopped == EndpointStopped(resource=GPU, generation=A, reason="gone")
    assert (both.counts(GPU).capacity, both.counts(GPU).allocatable) == (3, 0)
    assert both.sweep(now=110.0) == []
    assert both.sweep(now=110.1) != []


def test_a_standby_without_a_list_takes_over_and_the_list_before_stays_until_its_own_comes():
    """The newest one is to serve, as when it registered (REG-9)."""
    store = DeviceStore()
    connect(store, A, "a1")
    connect(store, B)
    connect(store, C, "c1")
    hold(store, "c1")
    _ended, promoted = end(store, C)
    assert (promoted.generation, listed(store)) == (B, {"c1": True})
    applied, changed = report(store, B, "b1")
    assert (applied.added, applied.removed, changed.health) == (("b1",), ("c1",), "Unknown")


def test_the_same_socket_again_takes_over_from_the_one_that_serves(both):
    """LIM-42: it does not stand by, and A still does."""
    old = both.endpoint(GPU)
    events = connect(both, C, socket="2.sock")
    assert (old.state.value, old.last_list) == ("draining", None)
    assert not [event for event in events if isinstance(event, PluginStandsBy)]
    assert both.counts(GPU).standbys == ("1.sock",)
    assert listed(both) == {"b1": True, "both": True}
    assert end(both, B) == report(both, B, "late") == []


def test_a_standby_that_registers_again_serves_and_the_other_one_stands_by():
    store = DeviceStore()
    connect(store, A, "a1")
    standby = store.endpoint(GPU)
    connect(store, B, "b1")
    connect(store, C, socket="1.sock")
    assert standby.state.value == "draining"
    assert (store.endpoint(GPU).generation, store.counts(GPU).standbys) == (C, ("2.sock",))


def test_a_socket_is_the_same_by_any_of_its_names(both):
    new = Endpoint(resource=GPU, generation=C, socket="c.sock", aliases=frozenset(["the inode"]))
    again = Endpoint(resource=GPU, generation=4, socket="link.sock", aliases=frozenset(["the inode"]))
    both.connect(new)
    both.connect(again)
    assert new.state.value == "draining"


def test_one_standby_too_many_is_the_end_of_the_oldest():
    store = DeviceStore()
    endpoints = []
    for generation in range(1, MAX_STANDBYS + 3):
        connect(store, generation, "d")
        endpoints.append(store.endpoint(GPU))
    assert [one.state.value for one in endpoints] == ["draining", *["standby"] * MAX_STANDBYS, "serving"]
    assert report(store, 1, "late") == end(store, 1) == []


LONG = [Device(id=f"d{n}") for n in range(MAX_COMPARED)]


@pytest.mark.parametrize("count", [MAX_COMPARED, MAX_COMPARED + 1])
def test_a_long_list_is_not_compared_when_its_plugin_takes_over(count):
    """It would be one long step."""
    store = DeviceStore()
    connect(store, A)
    apply_list(store, GPU, A, [*LONG, Device(id="one more")][:count])
    connect(store, B, "d0!", "b")
    applied = end(store, B)[2]
    named = (applied.added, applied.removed, applied.changed)
    if count > MAX_COMPARED:
        assert (named, applied.omitted) == (((), (), ()), count)
    else:
        assert (len(applied.added), applied.removed, applied.changed) == (20, ("b",), ("d0",))
    assert len(store.snapshot().registered[GPU]) == count


def between_the_steps(steps, what):
    """``what`` happens after each step; returns the events of the list."""
    while True:
        try:
            next(steps)
        except StopIteration as done:
            return done.value
        what()


MANY = [Device(id=f"m{n}") for n in range(3 * CHUNK)]


@pytest.mark.parametrize("at", range(1, 12))
def test_who_serves_may_change_while_a_list_is_examined(both, at):
    """At any step: a list of the one that serves then is in force, and compared with the list that it replaces."""
    steps, count = both.applying(GPU, A, DeviceList(devices=MANY)), 0

    def promote():
        nonlocal count
        count += 1
        if count == at:
            end(both, B)

    events = between_the_steps(steps, promote)
    if count < at:
        assert events == []
        end(both, B)
    else:
        (applied,) = events
        assert (applied.capacity, applied.removed) == (len(MANY), ("a1", "a2", "both"))
    assert listed(both) == dict.fromkeys((device.id for device in MANY), True)


@pytest.mark.parametrize("at", range(1, 8))
def test_a_list_of_one_that_stands_by_by_then_does_not_count(both, at):
    steps, count = both.applying(GPU, B, DeviceList(devices=MANY)), 0

    def replace():
        nonlocal count
        count += 1
        if count == at:
            connect(both, C, "c1")

    events = between_the_steps(steps, replace)
    if count < at:  # the list had been applied by then
        assert listed(both) == dict.fromkeys((device.id for device in MANY), True)
        return
    assert (events, listed(both)) == ([], {"c1": True})
    end(both, C)
    assert len(listed(both)) == len(MANY)


# --- in any order ---------------------------------------------------------------------------------------


class Plugins(RuleBasedStateMachine):
    """Plug-ins come, report and end in any order; beside them a list of who is connected, the newest last."""

    def __init__(self):
        super().__init__()
        self.store, self.generation = DeviceStore(grace=10.0, max_standbys=2), 0
        self.live, self.decoders, self.lists = [], {}, {}
        self.in_force, self.held, self.seen = None, set(), None

    @rule(socket=st.sampled_from("abcd"), preferred=st.booleans())
    def register(self, socket, preferred):
        self.generation += 1
        connect(self.store, self.generation, socket=socket, get_preferred_allocation_available=preferred)
        others = [one for one in self.live if one[1] != socket]
        self.live = [*others[-2:], (self.generation, socket, preferred)]
        self.decoders[self.generation] = DeviceListDecoder()

    @rule(
        back=st.integers(0, 5),
        ids=st.lists(st.sampled_from("uvwxyz"), unique=True),
        bad=st.sets(st.sampled_from("uvwxyz")),
    )
    def list(self, back, ids, bad):
        """Most are given as a difference; a late one, of a plug-in that is not connected any more, changes nothing."""
        generation = self.generation - back
        if generation not in self.decoders:
            return
        entries = [Device(id=id, health="Unhealthy" if id in bad else "Healthy") for id in ids]
        raw = bytes(wire.ListAndWatchResponse(devices=[device_to_wire(device) for device in entries]))
        events = apply_list(self.store, GPU, generation, run_steps(self.decoders[generation].decoding(raw)))
        if generation in self.generations():
            self.lists[generation] = {id: id not in bad for id in ids}
            if counts := not any(newer > generation and newer in self.lists for newer in self.generations()):
                self.in_force = self.lists[generation]
            assert bool(events) is counts
        else:
            assert events == []

    @rule(back=st.integers(0, 5))
    def end(self, back):
        generation = self.generation - back
        was = self.generations()
        assert bool(end(self.store, generation)) == (generation in was)
        self.live = [one for one in self.live if one[0] != generation]
        if was and not self.live:
            self.in_force = None if self.in_force is None else dict.fromkeys(self.in_force, False)
        self.put_in_force()

    @rule(id=st.sampled_from("uvwxyz"))
    def hold_or_release(self, id):
        owner = Owner(id, "main")
        if id in self.held:
            self.store.release(owner, GPU)
            self.held.discard(id)
        elif (self.in_force or {}).get(id):
            self.store.reserve(owner, GPU, [id])
            self.held.add(id)

    def generations(self):
        return [generation for generation, _, _ in self.live]

    def put_in_force(self):
        if self.live and (listed := self.lists.get(self.live[-1][0])) is not None:
            self.in_force = listed

    @invariant()
    def the_newest_serves_and_its_list_is_in_force(self):
        assert self.store.counts(GPU).standbys == tuple(socket for _, socket, _ in self.live[:-1])
        if self.live:
            assert self.store.endpoint(GPU).generation == self.live[-1][0]
            assert self.store.options_of(GPU).get_preferred_allocation_available == self.live[-1][2]
        healthy = None if self.in_force is None else {id for id, good in self.in_force.items() if good}
        assert self.store.devices(GPU).keys() == (self.in_force or {}).keys()
        assert self.store.healthy(GPU) == healthy
        assert set(self.store.free_devices(GPU).all()) == (healthy or set()) - self.held
        assert set(self.store.snapshot().registered.get(GPU, ())) == (healthy or set())
        expected = {id: "Healthy" if good else "Unhealthy" for id, good in (self.in_force or {}).items()}
        known = self.store.health_of(GPU, "uvwxyz")
        assert known == {
            id: expected.get(id, "Unknown") if self.live and self.is_fresh() else "Unknown" for id in known
        }

    def is_fresh(self):
        """Did the list in force not survive the end of all plug-ins?"""
        return not self.store._resources[GPU].in_force or not self.store._resources[GPU].in_force.is_stale

    @invariant()
    def what_must_be_on_disk_is_the_same_only_within_one_version(self):
        now = self.store.snapshot()
        if self.seen is not None and self.seen.version == now.version:
            assert now == self.seen
        self.seen = now

    @invariant()
    def memory_is_counted(self):
        lists = {id(one): one for one in self.alive_lists()}
        assert sum(self.store._listed_sizes.values()) == sum(one.memory for one in lists.values())

    def alive_lists(self):
        for state in self.store._resources.values():
            yield from (one.last_list for one in state.live if one.last_list)
            yield from [state.in_force] if state.in_force else []


TestPlugins = Plugins.TestCase
TestPlugins.settings = settings(max_examples=100, stateful_step_count=40, deadline=None, derandomize=True)


# --- memory ---------------------------------------------------------------------------------------------


def hold_list(store, generation, size, *, resource=GPU, devices=0):
    run_steps(store.applying(resource, generation, DeviceList(devices=[Device(id="x")] * devices, size=size)))


def connect_others(store, *resources):
    for resource in resources:
        store.connect(Endpoint(resource=resource, generation=1, socket="s"))


def test_the_lists_of_all_plugins_share_one_limit():
    store = DeviceStore(grace=10.0, listed_size=100)
    connect_others(store, "a", "b", "c")
    hold_list(store, 1, 60, resource="a")
    hold_list(store, 1, 40, resource="b")
    hold_list(store, 1, 60, resource="a")
    with pytest.raises(PeerLimitExceeded) as refused:
        hold_list(store, 1, 41, resource="b")
    assert (
        str(refused.value)
        == "a list of 41 bytes beside those of others, 60; 100 are the limit (--peer-limit listed-size)"
    )
    assert (refused.value.status, refused.value.limit) == ("RESOURCE_EXHAUSTED", "listed_size")
    store.stop_endpoint("a", 1, reason="gone", now=0.0)
    with pytest.raises(PeerLimitExceeded):
        hold_list(store, 1, 41, resource="b")
    store.sweep(now=11.0)
    hold_list(store, 1, 99, resource="b")
    with pytest.raises(PeerLimitExceeded):
        hold_list(store, 1, 2, resource="c")
    hold_list(store, 1, 1, resource="c")


def test_a_device_with_a_short_id_takes_memory_too():
    store = DeviceStore(listed_size=1280)
    connect_others(store, "a", "b")
    run_steps(store.applying("a", 1, DeviceList(devices=[Device(id=f"{n}") for n in range(10)], size=60)))
    with pytest.raises(PeerLimitExceeded, match="a list of 128 bytes"):
        hold_list(store, 1, 5, resource="b", devices=1)


def test_each_standby_has_a_list_in_memory_and_a_list_is_counted_once():
    store = DeviceStore(listed_size=100)
    connect(store, A)
    hold_list(store, A, 40)
    connect(store, B)  # the list of A is in force, and A's own
    hold_list(store, B, 60)
    with pytest.raises(PeerLimitExceeded, match="41 bytes beside those of others, 60"):
        hold_list(store, A, 41)
    hold_list(store, A, 1)
    hold_list(store, B, 99)
    end(store, A)
    hold_list(store, B, 100)


def test_a_list_in_force_whose_plugin_has_ended_takes_memory_too():
    store = DeviceStore(listed_size=100)
    connect(store, A)
    hold_list(store, A, 60)
    connect(store, B)
    connect(store, C)
    hold_list(store, C, 40)
    end(store, C)  # whose list stays until B has sent one
    with pytest.raises(PeerLimitExceeded, match="41 bytes beside those of others, 60"):
        hold_list(store, B, 41)
    hold_list(store, B, 40)  # instead of the one in force


def test_a_list_in_force_of_one_that_stands_by_is_replaced_in_memory():
    store = DeviceStore(listed_size=100)
    connect(store, A)
    hold_list(store, A, 40)
    connect(store, B)
    hold_list(store, A, 100)
    with pytest.raises(PeerLimitExceeded, match="1 bytes beside those of others, 100"):
        hold_list(store, B, 1)


def test_lists_that_are_examined_at_the_same_time_share_the_limit():
    store = DeviceStore(listed_size=200 * len(MANY))
    connect_others(store, "a", "b")
    first, second = (store.applying(name, 1, DeviceList(devices=MANY, size=128)) for name in "ab")
    next(first)
    with pytest.raises(PeerLimitExceeded):
        next(second)
    first.close()
    run_steps(store.applying("b", 1, DeviceList(devices=MANY, size=128)))
