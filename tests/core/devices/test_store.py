"""The store compared with a simple model of who holds what, in long random sequences."""

from __future__ import annotations

from itertools import pairwise

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, rule

from devicemgr.concurrency.steps import run_steps
from devicemgr.core.allocation.plan import DevicesToReuse, Request, plan_allocation
from devicemgr.core.checkpoint.kubelet_format import Checkpoint, Entry, render
from devicemgr.core.checkpoint.own_section import OwnSection, load_snapshot
from devicemgr.core.devices.endpoint import Endpoint
from devicemgr.core.devices.pod_devices import Assignment, in_order
from devicemgr.core.devices.store import MAX_REMOVED, DeviceStore, Snapshot
from devicemgr.daemon.checkpoint.writer import parse_saved
from devicemgr.errors import AllocationRefused
from devicemgr.model import Container, ContainerKind, Device, Owner, PluginOptions, Pod, RunOptions
from devicemgr.rpc.deviceplugin.convert import answer_from_bytes, answer_to_bytes, device_to_wire
from devicemgr.rpc.deviceplugin.device_list import DeviceListDecoder
from devicemgr.rpc.stubs import v1beta1 as wire
from tests.helpers import apply_list, render_section

R = "vendor.com/gpu"
IDS = [f"dev{n}" for n in range(6)]
PODS = st.sampled_from(["a", "b", "c", "d"])


def published(store):
    """What the status of a node shows."""
    return {name: (one.capacity, one.allocatable) for name, one in store.capacity().items()}, store.removed


class StateMachine(RuleBasedStateMachine):
    """No device is ever held twice, none leaks, and the counts add up."""

    def __init__(self):
        super().__init__()
        self.store, self.generation = DeviceStore(), 0
        self.listed, self.held = {}, {}
        self.seen = self.reported = None
        self.connect()

    @rule()
    def connect(self):
        self.generation += 1
        self.decoder = DeviceListDecoder()
        self.store.connect(Endpoint(resource=R, generation=self.generation, socket="a.sock"))
        self.serving = True

    @rule(
        ids=st.lists(st.sampled_from(IDS), unique=True),
        bad=st.sets(st.sampled_from(IDS)),
        late=st.booleans(),
        whole=st.booleans(),
    )
    def report(self, ids, bad, late, whole):
        """A late list, of an older generation, changes nothing (LIM-2). Most lists are given as a difference."""
        entries = [Device(id=id, health="Unhealthy" if id in bad else "Healthy", numa_nodes=(len(id),)) for id in ids]
        raw = bytes(wire.ListAndWatchResponse(devices=[device_to_wire(device) for device in entries]))
        report = entries if whole else run_steps(self.decoder.decoding(raw))
        events = apply_list(self.store, R, self.generation - late, report)
        assert bool(events) == (self.serving and not late)
        if events:
            self.listed = {id: id not in bad for id in ids}

    @rule(late=st.booleans())
    def stop(self, late):
        stopped = self.store.stop_endpoint(R, self.generation - late, reason="gone", now=0)
        assert bool(stopped) == (self.serving and not late)
        if not late and self.serving:
            self.serving = False
            self.listed = dict.fromkeys(self.listed, False)

    @rule(pod=PODS, count=st.integers(1, 4))
    def admit(self, pod, count):
        owner = Owner(pod, "main")
        try:
            plan = plan_allocation(self.store, Request(owner=owner, resource=R, count=count))
        except AllocationRefused:
            return
        if plan.devices:
            taken = {id for ids in self.held.values() for id in ids}
            assert not taken & set(plan.devices)
            assert all(self.listed[id] for id in plan.devices)
            self.store.reserve(owner, R, plan.devices)
            answer = RunOptions(envs={"IDS": ",".join(plan.devices)})
            self.store.commit(owner, R, plan.devices, answer, raw=answer_to_bytes(answer))
            self.store.add_pod(Pod(name=pod, uid=pod, containers=(Container(name="main", limits={R: count}),)))
            self.held[pod] = set(plan.devices)

    @rule()
    def restart(self):
        """Restore it from the text of the file: exactly what is held is held again."""
        before = self.store.snapshot()
        checkpoint = Checkpoint(
            entries=tuple(
                Entry(owner=owner, resource=resource, devices=one.devices, answer=one.raw)
                for owner, resource, one in before.assignments
            ),
            registered={name: in_order(ids) for name, ids in before.registered.items()},
        )
        state = OwnSection(pods=before.pods, options=before.options, removed=before.removed)
        found = load_snapshot(parse_saved(render(checkpoint, section=render_section(state))), answer_from_bytes)
        self.store = DeviceStore()
        self.store.restore(found.snapshot, now=0)
        after = self.store.snapshot()
        assert (after.assignments, after.pods) == (before.assignments, before.pods)
        wanted = before.registered.keys() | {resource for _, resource, _ in before.assignments}
        assert after.options == {name: options for name, options in before.options.items() if name in wanted}
        assert after.registered == dict.fromkeys(before.registered, ())
        self.listed, self.serving = {}, False

    @rule(pod=PODS)
    def remove(self, pod):
        freed = self.store.remove_pod(pod)
        assert set(freed.get(R, ())) == self.held.pop(pod, set())

    @invariant()
    def counts_add_up(self):
        counts = self.store.counts(R)
        taken = {id for ids in self.held.values() for id in ids}
        healthy = {id for id, good in self.listed.items() if good}
        assert (counts.capacity, counts.allocatable) == (len(self.listed), len(healthy))
        assert (counts.allocated, counts.available) == (len(taken), len(healthy - taken))
        assert list(self.store.free_devices(R).all()) == sorted(healthy - taken)
        assert set(self.store.snapshot().registered.get(R, ())) == healthy

    @invariant()
    def what_must_be_on_disk_is_the_same_only_within_one_version(self):
        """Otherwise the change would not be written. Removing the last one is a change, too."""
        now = self.store.snapshot()
        if self.seen is not None and self.seen[0] is self.store and self.seen[1].version == now.version:
            assert now == self.seen[1]
        self.seen = self.store, now

    @invariant()
    def what_plugins_have_reported_is_the_same_within_one_count_of_reports(self):
        """Otherwise nobody would look again."""
        health, status = self.store.health_of(R, IDS), published(self.store)
        if self.reported is not None and self.reported[:2] == (self.store, self.store.reports):
            assert (health, status) == self.reported[2:]
        self.reported = self.store, self.store.reports, health, status

    @invariant()
    def nothing_is_left_of_what_was_given_back(self):
        """No leaks in the internal tables."""
        store, owners = self.store, {Owner(pod, "main") for pod, ids in self.held.items() if ids}
        assert store._assignments.keys() == store._reserved.keys() == owners
        assert store._owners.keys() == {owner.pod_uid for owner in owners}
        assert {id for held in store._holders.values() for id in held} == {
            id for ids in self.held.values() for id in ids
        }
        assert all(store._holders.values())


TestStateMachine = StateMachine.TestCase
TestStateMachine.settings = settings(max_examples=100, stateful_step_count=40, deadline=None, derandomize=True)


@pytest.mark.parametrize("first", [[Device(id="a")], [Device(id="a", health="Unhealthy")], []])
def test_the_version_grows_with_each_change_that_must_be_on_disk_and_only_then(first):
    """LW-2: including a first list without healthy devices, because then the resource becomes registered."""
    store = DeviceStore(grace=10.0)

    def grows(change):
        before = store.version
        change()
        assert store.version >= before
        return store.version > before

    endpoint = Endpoint(resource=R, generation=1, socket="a.sock")
    assert grows(lambda: store.connect(endpoint))
    assert grows(lambda: apply_list(store, R, 1, first))
    assert not grows(lambda: apply_list(store, R, 1, first))
    assert grows(lambda: store.stop_endpoint(R, 1, reason="gone", now=0.0))
    assert not grows(lambda: store.stop_endpoint(R, 1, reason="gone", now=1.0))
    assert not grows(lambda: store.sweep(now=10.0))
    assert grows(lambda: store.sweep(now=11.0))
    assert not grows(lambda: store.sweep(now=12.0))
    assert not grows(lambda: store.acknowledge_removed("other"))
    assert grows(lambda: store.acknowledge_removed(R))
    assert not grows(lambda: store.acknowledge_removed(R))


def test_pods_that_come_and_go_are_no_reports_and_the_end_of_a_grace_period_is_one():
    store, owner = DeviceStore(grace=10.0), Owner("pod", "main")
    store.connect(Endpoint(resource=R, generation=1, socket="a.sock"))
    apply_list(store, R, 1, [Device(id="a")])
    before = store.reports, published(store)
    store.reserve(owner, R, ["a"])
    store.commit(owner, R, ("a",), RunOptions())
    store.add_pod(Pod(name="pod", uid="pod", containers=(Container(name="main", limits={R: 1}),)))
    store.remove_pod("pod")
    assert (store.reports, published(store)) == before
    seen = [store.reports]
    for change in (
        lambda: store.stop_endpoint(R, 1, reason="gone", now=0.0),
        lambda: store.sweep(now=11.0),
        lambda: store.acknowledge_removed(R),
        lambda: store.connect(Endpoint(resource=R, generation=2, socket="a.sock")),
        lambda: apply_list(store, R, 2, [Device(id="a")]),
    ):
        change()
        seen.append(store.reports)
    assert seen == sorted(set(seen))


def test_a_resource_is_known_by_its_list_or_holders_and_published_even_when_its_zero_was_acknowledged():
    """CAP-5: the node goes on listing a removed resource with 0."""
    store = DeviceStore(grace=10.0)
    assert (store.is_known(R), store.is_published(R)) == (False, False)
    store.connect(Endpoint(resource=R, generation=1, socket="a.sock"))
    assert (store.is_known(R), store.is_published(R)) == (False, False)
    apply_list(store, R, 1, [Device(id="a"), Device(id="b")])
    assert (store.is_known(R), store.is_published(R)) == (True, True)
    owner = Owner("pod", "main")
    store.reserve(owner, R, ["a", "b"])
    store.commit(owner, R, ("a", "b"), RunOptions())
    again = plan_allocation(store, Request(owner=owner, resource=R, count=2))  # it holds all healthy devices already
    assert (again.held, again.devices) == (("a", "b"), ())
    store.stop_endpoint(R, 1, reason="gone", now=0.0)
    store.sweep(now=11.0)
    assert (store.is_known(R), store.is_published(R), store.healthy(R)) == (True, True, None)
    store.acknowledge_removed(R)
    assert (store.is_known(R), store.is_published(R), store.capacity()) == (True, True, {})
    store.release(owner, R)
    assert not store.is_known(R)


@pytest.mark.parametrize("report", [True, False])
def test_the_zero_of_a_removed_resource_stays_until_its_new_plugin_has_a_list_or_has_ended(report):
    """LIM-5, REG-13: a registration alone must not take it back, or the node would go on showing what there was."""
    store = DeviceStore(grace=10.0)
    store.connect(Endpoint(resource=R, generation=1, socket="a.sock"))
    apply_list(store, R, 1, [Device(id="a")])
    store.stop_endpoint(R, 1, reason="gone", now=0.0)
    store.sweep(now=11.0)
    store.connect(Endpoint(resource=R, generation=2, socket="a.sock"))
    assert store.removed == {R}
    assert (store.capacity()[R].capacity, store.is_published(R)) == (0, True)
    if report:
        apply_list(store, R, 2, [Device(id="a")])
    else:
        store.stop_endpoint(R, 2, reason="gone", now=12.0)
    assert store.removed == frozenset()
    assert store.capacity()[R].allocatable == int(report)


def test_only_so_many_acknowledged_zeroes_are_remembered():
    store = DeviceStore(grace=0.0)
    for number in range(MAX_REMOVED + 1):
        name = f"vendor.com/r{number}"
        store.connect(Endpoint(resource=name, generation=number + 1, socket="a.sock"))
        store.stop_endpoint(name, number + 1, reason="gone", now=0.0)
        store.sweep(now=1.0)
        store.acknowledge_removed(name)
    assert [store.is_published(f"vendor.com/r{number}") for number in (0, 1, MAX_REMOVED)] == [False, True, True]


def test_confirming_a_pod_is_a_change_that_must_be_on_disk():
    """ALLOC-10. Otherwise, after a crash, its devices would be checked twice, or never."""
    store, pod, versions = DeviceStore(), Pod(name="p", uid="p", containers=()), [0]
    for confirmed in (False, False, True, True, False):
        store.add_pod(pod, confirmed=confirmed)
        versions.append(store.version)
        assert store.unconfirmed == (set() if confirmed else {"p"})
    assert [b > a for a, b in pairwise(versions)] == [True, False, True, False, True]
    store.remove_pod("p")
    assert store.unconfirmed == set()


def test_an_answer_that_replaces_another_is_counted_instead_of_it():
    """In the size of all answers together."""
    store, owner = DeviceStore(), Owner("pod", "main")
    for raw, size in ((b"xyz", 3), (b"x", 1), (None, 0), (b"xy", 2)):
        store.record(owner, R, Assignment(devices={"a": None}, answer=RunOptions(), raw=raw))
        assert store.answers_size == size
    store.record(owner, "v.com/nic", Assignment(devices={"n": None}, answer=RunOptions(), raw=b"12345"))
    assert store.answers_size == 7
    store.release(owner, R)
    assert store.answers_size == 5
    store.remove_pod("pod")
    assert store.answers_size == 0


def test_releasing_what_is_not_held_changes_nothing():
    store = DeviceStore()
    owner, other = Owner("pod", "main"), Owner("pod", "other")
    assert store.release(owner, R) == ()
    store.reserve(owner, R, ["a"])
    version = store.version
    assert (store.release(other, R), store.release(owner, "v.com/nic")) == ((), ())
    assert (store.version, store.holders(R, "a")) == (version, {owner})
    assert store.release(owner, R) == ("a",)
    assert store.remove_pod("pod") == {}


def test_a_restored_resource_has_no_plugin_and_the_options_it_was_saved_with():
    store = DeviceStore()
    options = PluginOptions(pre_start_required=True)
    store.restore(Snapshot(registered={R: ("a",), "other": ()}, options={R: options}), now=5.0)
    restored = {name: store.endpoint(name) for name in (R, "other")}
    assert [one.resource for one in restored.values()] == [R, "other"]
    assert [one.socket for one in restored.values()] == ["", ""]
    assert [one.options for one in restored.values()] == [options, PluginOptions()]


def test_a_limited_number_of_removed_resources_is_kept():
    """They are in the checkpoint, and any plug-in can register a resource and end."""
    store = DeviceStore(grace=1.0)
    names = [f"v.com/r{number}" for number in range(MAX_REMOVED + 2)]
    for generation, name in enumerate(names):
        store.connect(Endpoint(resource=name, generation=generation, socket="a.sock"))
        store.stop_endpoint(name, generation, reason="gone", now=generation * 10.0)
        store.sweep(now=generation * 10.0 + 5)
    assert store.removed == frozenset(names[2:])


KINDS = st.sampled_from(list(ContainerKind))
LIMITS = st.dictionaries(st.sampled_from(["v/a", "v/b", "v/c"]), st.integers(1, 3), max_size=3)


@given(st.lists(st.lists(st.tuples(KINDS, LIMITS), min_size=1, max_size=4), max_size=3))
@example([[(ContainerKind.INIT, {"v/a": 2, "v/b": 1}), (ContainerKind.MAIN, {"v/a": 1, "v/b": 2})]] * 2)
@example([[(ContainerKind.SIDECAR, {"v/a": 1}), (ContainerKind.INIT, {"v/a": 2}), (ContainerKind.MAIN, {"v/a": 1})]])
def test_pods_from_a_kubelets_checkpoint_request_what_they_requested(specs):
    """CKPT-3 has no kinds of containers. What they share is derived from what they hold, and never counted twice."""
    store = DeviceStore()
    for resource in ("v/a", "v/b", "v/c"):
        store.connect(Endpoint(resource=resource, generation=1, socket="a.sock"))
        apply_list(store, resource, 1, [Device(id=f"d{n}") for n in range(40)])
    for number, spec in enumerate(specs):
        spec = sorted(spec, key=lambda one: one[0] is ContainerKind.MAIN)  # main containers start last
        containers = tuple(Container(name=f"c{n}", kind=kind, limits=limits) for n, (kind, limits) in enumerate(spec))
        admit(store, Pod(name=f"p{number}", uid=f"p{number}", containers=containers))
    entries = tuple(
        Entry(owner=owner, resource=resource, devices=one.devices, answer=b"")
        for owner, resource, one in store.snapshot().assignments
    )
    found = load_snapshot(parse_saved(render(Checkpoint(entries=entries))), lambda data: RunOptions())
    restored = DeviceStore()
    restored.restore(found.snapshot, now=0)
    assert +restored.requested == +store.requested
    for pod in store.pods:
        assert dict(restored.request_of(pod.uid)) == dict(store.request_of(pod.uid))
        restored.add_pod(pod)  # now it has a name
        assert +restored.requested == +store.requested
    for pod in store.pods:
        restored.remove_pod(pod.uid)
    assert not +restored.requested


def admit(store, pod):
    """Allocate as the kubelet does, with a plug-in that answers at once."""
    reusable = DevicesToReuse()
    for container in pod.containers:
        owner = Owner(pod.uid, container.name)
        for resource, count in container.limits.items():
            request = Request(owner=owner, resource=resource, count=count, reusable=reusable.of(resource))
            devices = plan_allocation(store, request).devices
            store.reserve(owner, resource, devices)
            store.commit(owner, resource, devices, RunOptions())
            reusable.update_after(container, resource, devices)
    store.add_pod(pod)
