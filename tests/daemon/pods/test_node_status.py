"""What the node publishes, whether a pod fits on it, and the metrics of all that (CAP, MET)."""

from __future__ import annotations

import pytest
import trio
from prometheus_client.parser import text_string_to_metric_families

from devicemgr import open_device_manager
from devicemgr.core.topology.policy import Policy, Scope, Topology
from devicemgr.core.views.node_status import (
    InsufficientResource,
    first_insufficient_resource,
    is_extended,
    sanitize_node_allocatable,
)
from devicemgr.daemon.serving.clients import open_listeners
from devicemgr.errors import AddressUnusable
from devicemgr.events import ManagerReady, SocketReplaced, SocketRestored
from devicemgr.model import NodeStatus
from devicemgr.testing import open_simulated_plugin
from tests.helpers import pod

GPU, NIC = "vendor.com/gpu", "vendor.com/nic"


async def test_the_node_publishes_what_the_plugins_report(manager, open_plugin):
    """CC-050…CC-054, CAP-5."""
    async with open_plugin(GPU, devices=4) as plugin:
        await plugin.register()
        for unhealthy, allocatable in ((0, 4), (1, 3), (0, 4), (2, 2), (1, 3), (0, 4)):
            for n in range(2):
                plugin.set_health(f"dev-{n}", "Unhealthy" if n < unhealthy else "Healthy")
            await manager.wait_for_resource(GPU, capacity=4, allocatable=allocatable)
        status = manager.node_status()
        assert (status.capacity, status.allocatable, status.removed) == ({GPU: 4}, {GPU: 4}, ())
        plugin.set_health("dev-0", "Unhealthy")
        await manager.wait_for_resource(GPU, allocatable=3)
        await manager.admit(pod(gpu=1))
        await manager.remove("default", "p")
        assert manager.node_status().allocatable == {GPU: 3}


async def test_without_a_checkpoint_what_the_node_published_before_is_void(manager, open_plugin):
    """CC-058, CAP-6: what an earlier run published does not count; the plug-in's report does."""
    before = NodeStatus(capacity={GPU: 8, NIC: 2, "cpu": 4}, allocatable={GPU: 8, NIC: 2, "cpu": 3})
    status = manager.node_status(before)
    assert (status.capacity, status.reset) == ({GPU: 0, NIC: 0, "cpu": 4}, True)
    async with open_plugin(GPU, devices=1) as plugin:
        await plugin.register()
        await manager.wait_for_resource(GPU, allocatable=1)
        await manager.flush()
        assert manager.node_status(before).allocatable == {GPU: 1, NIC: 0, "cpu": 4}
        await manager.faults.restart()
        status = manager.node_status(before)
        assert (status.capacity, status.reset) == ({GPU: 0, NIC: 2, "cpu": 4}, False), "there is a checkpoint now"


async def test_what_the_node_published_before_is_void_once_when_the_node_registers(manager):
    before = NodeStatus(capacity={GPU: 8, "cpu": 4}, allocatable={GPU: 8, "cpu": 3})
    assert manager.node_status(before).capacity == {GPU: 0, "cpu": 4}
    manager.acknowledge_reset()
    assert manager.node_status(before).capacity == before.capacity


async def test_a_removed_resource_is_a_zero_and_pods_do_not_fit(manager, open_plugin, autojump_clock):
    """CAP-3, CAP-9, LIM-5: OutOf, as in the kubelet, also when the zero was acknowledged: the node lists it (CAP-5)."""
    async with open_plugin(GPU, devices=1) as plugin:
        await plugin.register()
        await manager.wait_for_resource(GPU, allocatable=1)
    await trio.sleep(302)
    assert manager.node_status().removed == (GPU,)
    assert manager.node_status().capacity == {GPU: 0}
    refused = await manager.admit(pod(gpu=1))
    assert refused.reason == f"OutOf{GPU}"
    assert refused.message == (
        f"Pod was rejected: Node didn't have enough resource: {GPU}, requested: 1, used: 0, capacity: 0"
    )
    await manager.acknowledge_removed(GPU)
    assert manager.node_status().capacity == {}
    assert (await manager.admit(pod(gpu=1))).message == refused.message


async def test_a_running_pod_fits_while_its_plugin_is_away(manager, open_plugin):
    """CC-073, CAP-7: allocatable is corrected by what is held."""
    async with open_plugin(GPU, devices=1) as plugin:
        await plugin.register()
        await manager.wait_for_resource(GPU, allocatable=1)
        assert (await manager.admit(pod(gpu=1))).admitted
    await manager.wait_for_resource(GPU, allocatable=0)
    assert (await manager.admit(pod(gpu=1))).admitted


def test_the_first_insufficient_resource_by_name_is_reported():
    """CAP-8, CAP-9: resources that the node does not list are not checked, nor are native ones."""
    assert first_insufficient_resource(
        {"b.com/x": 2, "c.com/y": 1, "z.com/no": 5}, {"b.com/x": 1}, {"b.com/x": 2, "c.com/y": 0}
    ) == (InsufficientResource(resource="b.com/x", requested=2, used=1, capacity=2))
    assert first_insufficient_resource({"b.com/x": 0}, {"b.com/x": 9}, {"b.com/x": 2}) is None
    assert sanitize_node_allocatable({"a": 2}, {"a": 1, "b": 3}) == {"a": 2, "b": 3}
    assert not is_extended("cpu")
    assert not is_extended("kubernetes.io/batch")


# --- metrics ------------------------------------------------------------------------------------------

KUBELET = {
    "kubelet_device_plugin_registration": ("counter", {"resource_name"}),
    "kubelet_device_plugin_alloc_duration_seconds": ("histogram", {"resource_name", "le"}),
    "kubelet_pod_resources_endpoint_requests": ("counter", {"server_api_version"}),
    "kubelet_pod_resources_endpoint_requests_list": ("counter", {"server_api_version"}),
    "kubelet_pod_resources_endpoint_requests_get_allocatable": ("counter", {"server_api_version"}),
    "kubelet_pod_resources_endpoint_requests_get": ("counter", {"server_api_version"}),
    "kubelet_pod_resources_endpoint_errors_list": ("counter", {"server_api_version"}),
    "kubelet_pod_resources_endpoint_errors_get_allocatable": ("counter", {"server_api_version"}),
    "kubelet_pod_resources_endpoint_errors_get": ("counter", {"server_api_version"}),
    "kubelet_topology_manager_admission_requests": ("counter", set()),
    "kubelet_topology_manager_admission_errors": ("counter", set()),
    "kubelet_topology_manager_admission_duration_ms": ("histogram", {"le"}),
    "kubelet_container_aligned_compute_resources_count": ("counter", {"scope", "boundary"}),
    "kubelet_container_aligned_compute_resources_failure_count": ("counter", {"scope", "boundary"}),
    "kubelet_admission_rejections": ("counter", {"reason"}),
    "plugin_manager_total_plugins": ("gauge", {"socket_path", "state"}),
}


async def get(address, path):
    """One HTTP request over a plain connection."""
    host, port = address.removeprefix("http://").partition("/")[0].split(":")
    async with await trio.open_tcp_stream(host, int(port)) as stream:
        await stream.send_all(f"GET {path} HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n".encode())
        data = b"".join([chunk async for chunk in stream])
    head, _, body = data.decode().partition("\r\n\r\n")
    return int(head.split()[1]), body


@pytest.fixture
async def measured(root_dir):
    """A manager with metrics, and where they are."""
    topology = Topology(policy=Policy.SINGLE_NUMA_NODE, scope=Scope.CONTAINER)
    async with open_device_manager(root_dir, topology=topology, metrics_address=("127.0.0.1", 0)) as manager:
        (ready,) = [r.event for r in manager.events() if isinstance(r.event, ManagerReady)]
        yield manager, ready.sockets[-1]


async def test_every_metric_of_the_kubelet_has_its_name_type_and_labels(measured):
    """MET-1, MET-2, CC-150."""
    manager, address = measured
    async with open_simulated_plugin(manager.layout.plugins, GPU, devices=1) as plugin:
        await plugin.register()
        await manager.wait_for_resource(GPU, allocatable=1)
        found = open_simulated_plugin(manager.layout.plugins_registry, NIC, devices=1)
        async with found:
            await manager.wait_for_resource(NIC, allocatable=1)
            await manager.admit(pod(gpu=1))
            await manager.admit(pod("q", gpu=1))
            await manager.pod_resources.list_pods()
            await manager.pod_resources.list_pods_v1alpha1()
            await manager.pod_resources.allocatable()
            with pytest.raises(Exception, match="not found"):
                await manager.pod_resources.get_pod("a", "b")
            status, text = await get(address, "/metrics")
    assert status == 200
    families = {family.name: family for family in text_string_to_metric_families(text)}
    for name, (kind, labels) in KUBELET.items():
        assert families[name].type == kind, name
        for sample in families[name].samples:
            assert set(sample.labels) <= labels, name
    samples = {
        (sample.name, *sorted(sample.labels.items())): sample.value
        for family in families.values()
        for sample in family.samples
    }
    version = ("server_api_version", "v1")
    assert samples["kubelet_pod_resources_endpoint_requests_total", version] == 3
    assert samples["kubelet_pod_resources_endpoint_requests_total", ("server_api_version", "v1alpha1")] == 1
    for method in ("list", "get_allocatable", "get"):
        # The parser adds the suffix that these counters of the kubelet do not have.
        assert f'\nkubelet_pod_resources_endpoint_requests_{method}{{server_api_version="v1"}} 1.0\n' in text
    assert '\nkubelet_pod_resources_endpoint_errors_get{server_api_version="v1"} 1.0\n' in text
    assert samples["kubelet_device_plugin_registration_total", ("resource_name", GPU)] == 1
    assert ("kubelet_device_plugin_registration_total", ("resource_name", NIC)) not in samples
    assert samples["kubelet_admission_rejections_total", ("reason", "UnexpectedAdmissionError")] == 1
    assert samples["kubelet_topology_manager_admission_requests_total",] == 2
    assert samples["devicemgr_devices", ("resource_name", GPU), ("state", "allocated")] == 1
    where = ("boundary", "numa_node"), ("scope", "pod")
    assert samples["kubelet_container_aligned_compute_resources_count_total", *where] == 0
    states = {dict(key[1:])["state"] for key in samples if key[0] == "plugin_manager_total_plugins"}
    assert states == {"desired_state_of_world", "actual_state_of_world"}
    assert not [name for name, *_ in samples if name.endswith("_created")]
    buckets = [float(dict(key[1:])["le"]) for key in samples if key[0].endswith("alloc_duration_seconds_bucket")]
    assert sorted(buckets) == [0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, float("inf")]
    milliseconds = [float(dict(key[1:])["le"]) for key in samples if key[0].endswith("duration_ms_bucket")]
    assert sorted(milliseconds)[:-1] == pytest.approx([0.05 * 2**k for k in range(15)])


async def test_healthz_says_when_registration_is_impossible(measured):
    """REG-21: and it is healthy again once the socket is restored."""
    manager, address = measured
    assert await get(address, "/healthz") == (200, "ok\n")
    manager.layout.registration_socket.unlink()
    manager.layout.registration_socket.touch()  # before the manager restores it: registration is impossible now
    status, text = await get(address, "/healthz")
    assert (status, "device registration error" in text) == (500, True)
    with trio.fail_after(60):
        while not any(isinstance(one.event, SocketReplaced) for one in manager.events()):
            await manager.events_after(manager.events()[-1].sequence, wait=True)
    manager.layout.registration_socket.unlink()
    with trio.fail_after(60):
        while not any(isinstance(one.event, SocketRestored) for one in manager.events()):
            await manager.events_after(manager.events()[-1].sequence, wait=True)
    assert await get(address, "/healthz") == (200, "ok\n")


async def test_other_pages_methods_and_nonsense(measured):
    _, address = measured
    assert (await get(address, "/"))[0] == 404
    host, port = address.removeprefix("http://").partition("/")[0].split(":")
    for request, answer in (
        (b"POST /metrics HTTP/1.1\r\nHost: x\r\nContent-Length: 2\r\n\r\nhi", b"405"),
        (b"\x00\xff nonsense\r\n\r\n", b""),
        (b"HEAD /healthz HTTP/1.0\r\n\r\n", b"200"),
    ):
        async with await trio.open_tcp_stream(host, int(port)) as stream:
            await stream.send_all(request)
            assert answer in b"".join([part async for part in stream])
    assert (await get(address, "/healthz"))[0] == 200


async def test_an_address_that_is_taken_is_a_clear_error(measured):
    _, address = measured
    port = int(address.removeprefix("http://").partition("/")[0].rpartition(":")[2])
    with pytest.raises(AddressUnusable, match=f"cannot serve on 127.0.0.1:{port}"):
        await open_listeners("127.0.0.1", port)
