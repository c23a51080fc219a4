"""The whole manager, with a real plug-in and real files, compared with a simple model of who was given what.

Long random sequences of admissions, ends, reports, restarts and damaged files; after each step: no device is held by
two pods, none leaks, the counts add up, and every pod holds what its admission said.
"""

from __future__ import annotations

import tempfile
from contextlib import ExitStack, contextmanager
from unittest import mock

import trio
from hypothesis import HealthCheck, Phase, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, rule

from devicemgr import Container, ContainerKind, Device, Numa, Pod, Policy, Scope, Topology, open_device_manager
from devicemgr.core.checkpoint.kubelet_format import FILE_NAME
from devicemgr.daemon.checkpoint import writer
from devicemgr.events import DeviceListApplied
from devicemgr.testing import open_simulated_plugin
from devicemgr.testing.portal import open_portal
from tests.helpers import until

GPU, NIC = "vendor.com/gpu", "vendor.com/nic"
IDS = [f"d{number}" for number in range(6)]
PODS = st.sampled_from(["a", "b", "c", "d"])
SIDES = st.sampled_from([GPU, NIC])
CONTAINERS = st.lists(
    st.tuples(st.sampled_from(ContainerKind), st.dictionaries(SIDES, st.integers(0, 3), min_size=1)),
    min_size=1,
    max_size=3,
)
TOPOLOGIES = [
    Topology(),
    Topology(policy=Policy.BEST_EFFORT, scope=Scope.CONTAINER, numa=Numa(nodes=(0, 1))),
    Topology(policy=Policy.RESTRICTED, scope=Scope.POD, numa=Numa(nodes=(0, 1))),
]


def pod_of(name, containers):
    made = [Container(name=f"c{n}", kind=kind, limits=limits) for n, (kind, limits) in enumerate(containers)]
    return Pod(name=name, uid=name, containers=tuple(made))


class World(RuleBasedStateMachine):
    topology = Topology()

    def __init__(self):
        super().__init__()
        self.told = {}  # by pod, container and resource the devices of its admission
        self.pods = {}
        self.listed = {GPU: {}, NIC: {}}
        self.stack = ExitStack()
        self.stack.enter_context(mock.patch.object(writer, "COPY_DELAY", 0.01))
        self.root = self.stack.enter_context(tempfile.TemporaryDirectory(prefix="dm-"))
        self.portal = self.stack.enter_context(open_portal())
        opened = open_device_manager(self.root, topology=self.topology, restart_wait=0)
        self.manager = self.stack.enter_context(self.portal.enter(opened))
        self.plugins = {
            resource: self.stack.enter_context(
                self.portal.enter(open_simulated_plugin(self.manager.layout.plugins, resource, devices=0))
            )
            for resource in self.listed
        }
        self.register()

    def teardown(self):
        self.stack.close()

    def register(self):
        for resource, plugin in self.plugins.items():
            with self.sending_a_list(resource):
                self.portal.call(plugin.restore_socket)
                self.portal.call(plugin.register)

    @contextmanager
    def sending_a_list(self, resource):
        """In this context the plug-in sends a list; at its end the manager has applied it."""
        before = self.portal.call(self.last_list, resource)
        yield
        self.portal.call(self.until_list_after, resource, before)

    def last_list(self, resource):
        """The number of the event."""
        applied = [one for one in self.manager.events() if isinstance(one.event, DeviceListApplied)]
        return max((one.sequence for one in applied if one.event.resource == resource), default=0)

    async def until_list_after(self, resource, before):
        with trio.fail_after(10):
            await until(self.manager, lambda: self.last_list(resource) > before)

    @rule(resource=SIDES, ids=st.sets(st.sampled_from(IDS)), bad=st.sets(st.sampled_from(IDS), max_size=2))
    def report(self, resource, ids, bad):
        self.listed[resource] = {id: id not in bad for id in ids}
        devices = [
            Device(id=id, health="Unhealthy" if id in bad else "Healthy", numa_nodes=(int(id[1:]) % 2,))
            for id in sorted(ids)
        ]
        with self.sending_a_list(resource):
            self.portal.call(self.plugins[resource].set_devices, devices)

    @rule(name=PODS, containers=CONTAINERS)
    def admit(self, name, containers):
        pod = pod_of(name, containers)
        admission = self.portal.call(self.manager.admit, pod)
        got = {run.name: {r: set(ids) for r, ids in run.devices.items()} for run in admission.containers}
        if name in self.told:
            assert not admission.admitted or got == self.told[name], "it keeps what it holds"
        elif admission.admitted:
            self.check_choice(pod, got)
            self.told[name], self.pods[name] = got, pod

    def check_choice(self, pod, got):
        """As many as requested, healthy and free; of the pod's own devices only those left by an init container."""
        left = {GPU: set(), NIC: set()}
        mine = {GPU: set(), NIC: set()}
        for container in pod.containers:
            assert set(got[container.name]) == {resource for resource, count in container.limits.items() if count}
            for resource, ids in got[container.name].items():
                assert len(ids) == container.limits[resource]
                assert all(self.listed[resource].get(id) for id in ids)
                assert not ids & self.held(resource)
                assert not ids & (mine[resource] - left[resource])
                mine[resource] |= ids
                left[resource] = left[resource] | ids if container.kind is ContainerKind.INIT else left[resource] - ids

    @rule(name=PODS)
    def remove(self, name):
        assert self.portal.call(self.manager.remove, "default", name) == (name in self.told)
        self.told.pop(name, None)
        self.pods.pop(name, None)

    @rule(names=st.sets(PODS))
    def retain(self, names):
        gone = self.portal.call(self.manager.retain, names)
        assert {pod.name for pod in gone} == self.told.keys() - names
        self.told = {name: held for name, held in self.told.items() if name in names}

    @rule(resource=SIDES, call=st.sampled_from(["allocate", "pre-start"]))
    def fail_next(self, resource, call):
        """Whatever was allocated to a pod before the failure is released."""
        self.portal.call(self.manager.faults.fail_calls, call, resource=resource)

    @rule(damaged=st.booleans())
    def restart(self, damaged):
        if damaged:
            self.portal.call(self.wait_doubled)
            self.portal.call(self.manager.faults.corrupt_checkpoint)
        self.portal.call(self.manager.faults.restart)
        self.register()

    async def wait_doubled(self):
        """A damaged file loses nothing once the last change is a moment old."""
        await self.manager.flush()
        path = self.manager.layout.plugins / FILE_NAME
        with trio.fail_after(10):
            while path.with_name(f".{FILE_NAME}.previous").read_bytes() != path.read_bytes():  # noqa: ASYNC110 - a file
                await trio.sleep(0.01)

    def held(self, resource):
        return {id for pod in self.told.values() for runs in pod.values() for id in runs.get(resource, ())}

    @invariant()
    def every_pod_holds_what_it_was_told(self):
        status = {
            pod.name: {c.name: {r: set(ids) for r, ids in c.devices.items()} for c in pod.containers}
            for pod in self.portal.call(self.manager.pods)
        }
        assert status == self.told

    @invariant()
    def the_counts_add_up(self):
        capacity = self.portal.call(self.manager.capacity)
        for resource, listed in self.listed.items():
            counts, healthy = capacity[resource], {id for id, good in listed.items() if good}
            assert (counts.capacity, counts.allocatable) == (len(listed), len(healthy))
            assert counts.allocated == len(self.held(resource))
            assert counts.available == len(healthy - self.held(resource))


def machine(topology):
    case = type(f"World_{topology.policy.name}", (World,), {"topology": topology}).TestCase
    case.settings = settings(
        max_examples=25,
        stateful_step_count=25,
        deadline=None,
        derandomize=True,
        phases=(Phase.explicit, Phase.generate),
        suppress_health_check=[HealthCheck.too_slow],
    )
    return case


TestNoPolicy, TestBestEffort, TestRestrictedPods = map(machine, TOPOLOGIES)
