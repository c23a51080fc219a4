"""How pods and devices appear in the PodResources API, in a pod's status, and in the fit check."""

from __future__ import annotations

from devicemgr.concurrency.steps import run_steps
from devicemgr.core.allocation.container_options import as_data
from devicemgr.core.devices.endpoint import Endpoint
from devicemgr.core.devices.store import DeviceStore
from devicemgr.core.views.node_status import (
    InsufficientResource,
    first_insufficient_resource,
    remove_missing_extended_resources,
    reset_extended_resources,
    sanitize_node_allocatable,
    should_reset_extended_resources,
)
from devicemgr.core.views.pod_resources import (
    V1_KINDS,
    V1ALPHA1_KINDS,
    DeviceOnNode,
    PodResourcesEntry,
    allocatable_devices,
    devices_of_pod,
    named_pods,
    on_nodes,
)
from devicemgr.core.views.pod_status import pod_statuses
from devicemgr.model import (
    Container,
    ContainerKind,
    ContainerStatus,
    Device,
    DeviceSpec,
    Mount,
    Owner,
    Pod,
    PodStatus,
    RunOptions,
)
from tests.helpers import apply_list

GPU, NIC = "v.com/gpu", "v.com/nic"
POD = Pod(
    namespace="n",
    name="p",
    uid="u",
    containers=(
        Container(name="main", limits={GPU: 2}),
        Container(name="idle", limits={}),
        Container(name="setup", kind=ContainerKind.INIT, limits={GPU: 1}),
        Container(name="proxy", kind=ContainerKind.SIDECAR, limits={NIC: 1}),
    ),
)
LISTS = {
    GPU: [Device(id="g10", numa_nodes=(1, 0)), Device(id="g2", numa_nodes=(-1,)), Device(id="g3", numa_nodes=(1,))],
    NIC: [Device(id="n0"), Device(id="n1", health="Unhealthy", numa_nodes=(0,))],
}
HELD = {"main": {GPU: ("g10", "g2")}, "setup": {GPU: ("g2",)}, "proxy": {NIC: ("n0",)}}


def store():
    found = DeviceStore()
    for resource, devices in LISTS.items():
        found.connect(Endpoint(resource=resource, generation=1, socket="s.sock"))
        apply_list(found, resource, 1, devices)
    for container, held in HELD.items():
        for resource, ids in held.items():
            found.reserve(Owner("u", container), resource, ids)
            found.commit(Owner("u", container), resource, ids, RunOptions())
    found.add_pod(POD)
    return found


def test_a_device_is_listed_once_for_each_of_its_nodes():
    """PR-4: in the order of the nodes. A node -1 is no node."""
    listed = {(0, 1): [0, 1], (1, 0): [0, 1], (-1, 3): [3], (-1,): [None], (): [None], None: [None]}
    for nodes, places in listed.items():
        assert list(on_nodes(GPU, "g", nodes)) == [DeviceOnNode(GPU, "g", place) for place in places]


def test_what_the_containers_of_a_pod_hold():
    """PR-3, PR-7: sidecars first, then main containers, in the order of the spec, including those without devices."""
    main = ("main", (DeviceOnNode(GPU, "g2", None), DeviceOnNode(GPU, "g10", 0), DeviceOnNode(GPU, "g10", 1)))
    proxy = ("proxy", (DeviceOnNode(NIC, "n0", None),))
    assert run_steps(devices_of_pod(store(), POD, V1_KINDS)) == PodResourcesEntry("n", "p", (proxy, main, ("idle", ())))
    assert run_steps(devices_of_pod(store(), POD, V1ALPHA1_KINDS)) == PodResourcesEntry("n", "p", (main, ("idle", ())))


def test_only_pods_with_a_name_are_listed():
    found = store()
    found.add_pod(Pod(namespace="", name="", uid="x", containers=()))
    assert [(pod.namespace, pod.name) for pod in run_steps(named_pods(found, V1_KINDS))] == [("n", "p")]


def test_allocatable_devices_are_healthy_and_their_plugin_serves():
    """PR-5: held or not."""
    found = store()
    listed = [(one.resource, one.device, one.node) for one in run_steps(allocatable_devices(found))]
    assert listed == [(GPU, "g2", None), (GPU, "g3", 1), (GPU, "g10", 0), (GPU, "g10", 1), (NIC, "n0", None)]
    found.stop_endpoint(GPU, 1, reason="gone", now=0.0)
    assert [one.device for one in run_steps(allocatable_devices(found))] == ["n0"]


def test_the_health_of_what_each_container_holds():
    """LIM-7, LIM-20: of every container, in the order of the ids; Unknown if no plug-in reports the device."""
    found = store()
    apply_list(found, GPU, 1, [Device(id="g10", health="Unhealthy")])
    (status,) = run_steps(pod_statuses(found))
    assert status == PodStatus(
        namespace="n",
        name="p",
        uid="u",
        containers=(
            ContainerStatus(name="main", health={GPU: {"g2": "Unknown", "g10": "Unhealthy"}}),
            ContainerStatus(name="idle", health={}),
            ContainerStatus(name="setup", health={GPU: {"g2": "Unknown"}}),
            ContainerStatus(name="proxy", health={NIC: {"n0": "Healthy"}}),
        ),
    )
    assert list(status.containers[0].health[GPU]) == ["g2", "g10"]


def test_an_answer_as_data():
    answer = RunOptions(
        envs={"A": "1"},
        mounts=(Mount(container_path="/c", host_path="/h", read_only=True),),
        device_specs=(DeviceSpec(container_path="/d", host_path="/e", permissions="rw"),),
        annotations={"a": "b"},
        cdi_devices=("v.com/gpu=0",),
    )
    assert as_data(answer) == {
        "envs": {"A": "1"},
        "mounts": [{"container_path": "/c", "host_path": "/h", "read_only": True}],
        "device_specs": [{"container_path": "/d", "host_path": "/e", "permissions": "rw"}],
        "annotations": {"a": "b"},
        "cdi_devices": ["v.com/gpu=0"],
    }


def test_only_a_checkpoint_is_a_checkpoint():
    """LIM-17."""
    assert should_reset_extended_resources([])
    assert should_reset_extended_resources(["gpu.sock", "kubelet_internal_checkpoint.corrupt"])
    assert not should_reset_extended_resources(["gpu.sock", "kubelet_internal_checkpoint"])


def test_quantities_before_a_plugin_reports_and_after_it_has_stopped():
    """CAP-6, CAP-7, CAP-8."""
    assert reset_extended_resources({"cpu": 8, GPU: 4}) == {"cpu": 8, GPU: 0}
    assert sanitize_node_allocatable({"cpu": 8, GPU: 1, NIC: 3}, {GPU: 2, NIC: 2, "v.com/x": 1, "v.com/y": 0}) == {
        "cpu": 8, GPU: 2, NIC: 3, "v.com/x": 1, "v.com/y": 0,
    }  # fmt: skip
    assert remove_missing_extended_resources({"cpu": 1, GPU: 1, NIC: 1}, {NIC: 0}) == {"cpu": 1, NIC: 1}


def test_a_pod_fits_up_to_the_last_device_and_the_first_resource_by_name_is_the_reason():
    """CAP-9."""
    assert first_insufficient_resource({GPU: 2}, {GPU: 3}, {GPU: 5}) is None
    assert first_insufficient_resource(
        {NIC: 2, GPU: 3, "cpu": 1}, {GPU: 3}, {GPU: 5, NIC: 1, "cpu": 1}
    ) == InsufficientResource(resource=GPU, requested=3, used=3, capacity=5)
    assert first_insufficient_resource({"cpu": 1}, {}, {}) == InsufficientResource(
        resource="cpu", requested=1, used=0, capacity=0
    )
    assert first_insufficient_resource({GPU: 0}, {GPU: 9}, {GPU: 5}) is None, "nothing always fits"
