"""A second hint provider beside the device manager, as the kubelet has its CPU and memory managers (ALLOC-3, TM-14)."""

from __future__ import annotations

import pytest

from devicemgr import Callers, Container, Device, PeerLimits, Pod
from devicemgr.core.allocation.explanation import Explanation, render
from devicemgr.core.devices.endpoint import Endpoint
from devicemgr.core.devices.store import DeviceStore
from devicemgr.core.topology.hints import Hint
from devicemgr.core.topology.numa import Numa
from devicemgr.core.topology.policy import Policy, Scope, Topology
from devicemgr.daemon.access.control import AccessControl
from devicemgr.daemon.event_log import EventLog
from devicemgr.daemon.pods.allocator import Allocator
from devicemgr.daemon.pods.pod_admission import PodAdmission
from devicemgr.daemon.pods.topology_manager import TopologyManager
from devicemgr.errors import AdmissionRefused, AllocationRefused
from devicemgr.model import Answer, Owner, RunOptions
from tests.helpers import apply_list

GPU = "vendor.com/gpu"
NUMA = Numa(nodes=(0, 1))
POD = Pod(name="p", uid="p", containers=tuple(Container(name=name, limits={GPU: 1}) for name in ("a", "b")))


class Plugins:
    """The device manager's plug-ins: each answers Allocate at once."""

    def client_of(self, resource):
        return self

    async def allocate(self, devices):
        return Answer(options=RunOptions(), raw=b"")


class CpuManager:
    """Has all its free processors on ``node``, and gives each container one."""

    def __init__(self, node):
        self.hints = {"cpu": [Hint(1 << node, preferred=True), Hint(0b11, preferred=False)]}
        self.calls, self.allocated = [], []

    async def prepare(self, containers):
        self.calls.append(("prepare", *(container.name for container in containers)))

    def get_topology_hints(self, admission, container):
        self.calls.append(("get_topology_hints", container.name))
        return self.hints

    def get_pod_topology_hints(self, admission):
        self.calls.append(("get_pod_topology_hints", admission.pod.name))
        return self.hints

    async def allocate(self, admission, container):
        taken = container.name, admission.affinities.get(container.name)
        self.allocated.append(taken)
        admission.undo.callback(self.allocated.remove, taken)


class Node:
    """Two devices on each of two nodes, and a topology manager of two providers."""

    def __init__(self, policy, scope, cpus):
        self.topology = Topology(policy=policy, scope=scope, numa=NUMA)
        self.store, self.cpus = DeviceStore(), cpus
        self.store.connect(Endpoint(resource=GPU, generation=1, socket="gpu.sock"))
        apply_list(
            self.store, GPU, 1, [Device(id=f"{node}-{n}", numa_nodes=(node,)) for node in (0, 1) for n in (0, 1)]
        )
        log = EventLog()
        access = AccessControl(Callers.default(), PeerLimits(), log)
        devices = Allocator(store=self.store, endpoints=Plugins(), access=access, log=log, numa=NUMA)
        self.manager = TopologyManager([devices, cpus], log, self.topology)

    async def admit(self):
        admission = PodAdmission(POD, Explanation.about(POD, time=0.0, topology=self.topology))
        try:
            await self.manager.allocate_pod(admission)
        except AllocationRefused:
            admission.roll_back()
            raise
        finally:
            self.explanation = "\n".join(render(admission.explanation.as_json()))

    @property
    def held(self):
        return set(self.store.held(GPU))


@pytest.mark.parametrize("scope", [Scope.CONTAINER, Scope.POD])
async def test_devices_are_chosen_beside_what_the_other_provider_has(scope):
    """ALLOC-3: without the other provider the devices would be on node 0."""
    node = Node(Policy.SINGLE_NUMA_NODE, scope, CpuManager(1))
    await node.admit()
    assert node.held == {"1-0", "1-1"}
    assert node.cpus.allocated == [("a", frozenset({1})), ("b", frozenset({1}))]
    assert f"{GPU} could be served on nodes {{0}} (preferred)" in node.explanation
    assert "cpu could be served on nodes {1} (preferred)" in node.explanation


async def test_every_provider_is_asked_for_hints_in_the_scope_of_the_policy():
    node = Node(Policy.RESTRICTED, Scope.CONTAINER, CpuManager(0))
    await node.admit()
    assert [call for call in node.cpus.calls if call[0] != "prepare"] == [
        ("get_topology_hints", "a"),
        ("get_topology_hints", "b"),
    ]
    node = Node(Policy.RESTRICTED, Scope.POD, CpuManager(0))
    await node.admit()
    assert [call for call in node.cpus.calls if call[0] != "prepare"] == [("get_pod_topology_hints", "p")]
    assert node.cpus.calls[0] == ("prepare", "a", "b")


async def test_the_policy_none_asks_no_provider_for_hints_and_allocates_by_all():
    node = Node(Policy.NONE, Scope.NONE, CpuManager(1))
    await node.admit()
    assert node.held == {"0-0", "0-1"}
    assert node.cpus.allocated == [("a", None), ("b", None)]
    assert {call[0] for call in node.cpus.calls} == {"prepare"}


async def test_providers_without_a_node_in_common_refuse_the_pod():
    node = Node(Policy.RESTRICTED, Scope.CONTAINER, CpuManager(1))
    node.store.reserve(Owner("other", "main"), GPU, ["1-0", "1-1"])
    with pytest.raises(AdmissionRefused, match="Topology locality"):
        await node.admit()
    assert (node.held, node.cpus.allocated) == ({"1-0", "1-1"}, [])


async def test_a_refusal_of_the_second_provider_releases_what_the_first_gave():
    """LIM-26: also what the second one gave to an earlier container."""

    class Full(CpuManager):
        async def allocate(self, admission, container):
            if container.name == "b":
                assert node.held == {"1-0", "1-1"}
                raise AllocationRefused("no processor is free", rule="ALLOC-E9")
            await super().allocate(admission, container)

    node = Node(Policy.BEST_EFFORT, Scope.CONTAINER, Full(1))
    with pytest.raises(AllocationRefused, match="no processor is free"):
        await node.admit()
    assert (node.held, node.cpus.allocated) == (set(), [])
