"""The kubelet as a process: it lives with a plug-in and with pods, and leaves nothing behind."""

from __future__ import annotations

import os
import subprocess
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager, suppress
from pathlib import Path

import pytest
import trio

from devicemgr import Device
from devicemgr.cli.status.kubelet import kubelet_data
from devicemgr.cluster.control_plane.processes import ControlPlane
from devicemgr.rpc.pod_resources.client import read_pod_resources
from devicemgr.testing import open_simulated_plugin

from .pods import NODE, PODS
from .process import Kubelet, NodeConfig, Runtime, open_kubelet, open_runtime
from .view import make_view

GPU = "vendor.com/gpu"
CHANGED_BY_KUBELETS = ("vm/overcommit_memory", "kernel/panic", "kernel/panic_on_oops")


@pytest.fixture
def clean_node(cluster, portal) -> AsyncIterator[None]:
    """The node is not left to the next test."""
    yield

    async def forget() -> None:
        async with cluster.client() as api:
            await api.delete(f"/api/v1/nodes/{NODE}")

    portal.call(forget)


@asynccontextmanager
async def node(cluster: ControlPlane, directory: Path, **options: object) -> AsyncIterator[tuple[Kubelet, Runtime]]:
    """A kubelet whose directory is ``directory/root``, with two NUMA nodes."""
    for name in ("root", "scratch", "work"):
        (directory / name).mkdir()
    view = make_view(directory / "root", directory / "scratch", [[10, 20], [20, 10]])
    config = NodeConfig(NODE, **options)
    socket, kubeconfig = directory / "cri.sock", cluster.kubeconfig(f"system:node:{NODE}")
    async with open_runtime(directory / "work", socket) as runtime:
        async with open_kubelet(
            directory / "work", config, runtime=socket, kubeconfig=kubeconfig, view=view
        ) as kubelet:
            yield kubelet, runtime


def pod(name: str, gpus: int, **container: object) -> dict:
    limits = {GPU: str(gpus)}
    one = {"name": "main", "image": "none", "resources": {"limits": limits}, **container}
    spec = {"nodeName": NODE, "terminationGracePeriodSeconds": 1, "automountServiceAccountToken": False}
    return {"apiVersion": "v1", "kind": "Pod", "metadata": {"name": name}, "spec": {**spec, "containers": [one]}}


def of_the_machine() -> dict[str, object]:
    """What a kubelet may leave on a machine."""
    kernel = {name: (Path("/proc/sys") / name).read_text() for name in CHANGED_BY_KUBELETS}
    places = {place: sorted(os.listdir(place)) for place in ("/var/lib", "/var/log", "/run") if Path(place).is_dir()}
    mounts = Path("/proc/self/mounts").read_text()
    groups = subprocess.run(["find", "/sys/fs/cgroup", "-name", "*kube*"], capture_output=True, text=True).stdout
    return {"kernel": kernel, "places": places, "mounts": mounts, "groups": groups}


def processes(directory: Path) -> list[list[str]]:
    """Those of our program that are told of the directory."""
    found = []
    for one in Path("/proc").glob("[0-9]*"):
        with suppress(OSError):
            argv = (one / "cmdline").read_text().split("\0")
            if "go_kubelet" in argv[0] and any(f"{directory}/" in word for word in argv):
                found.append(argv)
    return found


@pytest.mark.usefixtures("clean_node")
def test_a_plug_in_and_pods_meet_a_kubelet_and_nothing_is_left_of_it(cluster, portal, root_dir):
    before = of_the_machine()

    async def story() -> None:
        async with node(cluster, root_dir) as (kubelet, _), cluster.client() as api:
            assert len(processes(root_dir)) == 2
            async with open_simulated_plugin(root_dir / "root/device-plugins", GPU, devices=2) as plugin:
                await plugin.register()
                await api.wait_until(
                    f"/api/v1/nodes/{NODE}", lambda node: node["status"]["allocatable"].get(GPU) == "2"
                )
                await api.create(PODS, pod("p", 1))
                await api.wait_until(f"{PODS}/p", lambda one: one["status"].get("phase") == "Running")
                assert [name for name, _ in plugin.calls] == ["GetDevicePluginOptions", "ListAndWatch", "Allocate"]
                await kubelet.log.wait_until(lambda: kubelet.knows_what_runs)
                await api.create(PODS, pod("q", 2))
                refused = await api.wait_until(f"{PODS}/q", lambda one: one["status"].get("phase") == "Failed")
                assert refused["status"]["reason"] == "UnexpectedAdmissionError"
                assert "Requested: 2, Available: 1" in refused["status"]["message"]
                for name in ("p", "q"):
                    await api.delete(f"{PODS}/{name}")
                    await api.wait_until(f"{PODS}/{name}", lambda one: one is None)

    portal.call(story)
    assert processes(root_dir) == []
    assert of_the_machine() == before


@pytest.mark.usefixtures("clean_node")
def test_status_reads_what_its_pods_hold(cluster, portal, root_dir):
    """``status --pod-resources``. A device that only an init container has asked for is held, and not listed (PR-3)."""
    devices = [Device(id=f"d{number}", numa_nodes=(number % 2,)) for number in range(4)]

    async def status() -> dict:
        return kubelet_data(await read_pod_resources(root_dir / "root/pod-resources/kubelet.sock"))

    async def story() -> None:
        async with node(cluster, root_dir) as (kubelet, _), cluster.client() as api:
            async with open_simulated_plugin(root_dir / "root/device-plugins", GPU, devices=devices) as plugin:
                await plugin.register()
                await api.wait_until(
                    f"/api/v1/nodes/{NODE}", lambda node: node["status"]["allocatable"].get(GPU) == "4"
                )
                idle = await status()
                assert (idle["api"], idle["pods"], idle["memory"], idle["notes"]) == ("v1", [], {}, [])
                assert idle["resources"] == {GPU: counted(4, 0, free=["d0", "d1", "d2", "d3"])}
                one = pod("p", 1)
                (main,) = one["spec"]["containers"]
                one["spec"]["initContainers"] = [
                    {**main, "name": "init", "command": ["exit"], "resources": {"limits": {GPU: "2"}}}
                ]
                await api.create(PODS, one)
                await api.wait_until(f"{PODS}/p", lambda one: one["status"].get("phase") == "Running")
                (container,) = (busy := await status())["pods"][0]["containers"]
                (held,) = container["devices"][GPU]
                assert (container["name"], container["numa_nodes"]) == ("main", {GPU: {held: [int(held[1]) % 2]}})
                free = [device.id for device in devices if device.id != held]
                assert busy["resources"] == {GPU: counted(4, 1, free=free)}
                await kubelet.log.wait_until(lambda: kubelet.knows_what_runs)
                await api.create(PODS, pod("q", 3))
                refused = await api.wait_until(f"{PODS}/q", lambda one: one["status"].get("phase") == "Failed")
                assert "Requested: 3, Available: 2" in refused["status"]["message"]
                plugin.set_health(held, "Unhealthy")
                await api.wait_until(
                    f"/api/v1/nodes/{NODE}", lambda node: node["status"]["allocatable"].get(GPU) == "3"
                )
                broken = await status()
                assert broken["resources"] == {GPU: counted(3, 1, free=free, not_allocatable=[held])}
                for name in ("p", "q"):
                    await api.delete(f"{PODS}/{name}")
                    await api.wait_until(f"{PODS}/{name}", lambda one: one is None)

    portal.call(story)


def counted(allocatable: int, allocated: int, *, free: list[str], not_allocatable: Sequence[str] = ()) -> dict:
    return {
        "allocatable": allocatable,
        "allocated": allocated,
        "available": len(free),
        "free": free,
        "not_allocatable": list(not_allocatable),
    }


@pytest.mark.usefixtures("clean_node")
def test_containers_exit_when_they_are_told_to_and_the_working_directory_keeps_its_files(cluster, portal, root_dir):
    """A kubelet that removes a container deletes its log by a pattern: without the log's path, all files there are."""

    async def story() -> None:
        async with node(cluster, root_dir) as (_, runtime), cluster.client() as api:
            kept = root_dir / "work/empty/kept"
            kept.touch()
            await api.create(PODS, pod("p", 0))
            await api.wait_until(f"{PODS}/p", lambda one: one["status"].get("phase") == "Running")
            await runtime.exit("p", code=3)
            again = await api.wait_until(
                f"{PODS}/p", lambda one: one["status"]["containerStatuses"][0]["restartCount"] == 1
            )
            assert again["status"]["containerStatuses"][0]["lastState"]["terminated"]["exitCode"] == 3
            await api.delete(f"{PODS}/p")
            await api.wait_until(f"{PODS}/p", lambda one: one is None)
            assert kept.exists()

    portal.call(story)


@pytest.mark.usefixtures("clean_node")
def test_it_sees_the_numa_nodes_of_the_story(cluster, portal, root_dir):
    async def story() -> None:
        options = {"policy": "single-numa-node", "policy_options": {"prefer-closest-numa-nodes": "true"}}
        async with node(cluster, root_dir, **options) as (kubelet, _):
            (machine,) = [kind for kind in kubelet.log.kinds if kind.startswith("Machine: ")]
            assert "Distances:[10 20]" in machine
            assert "Distances:[20 10]" in machine

    portal.call(story)


@pytest.mark.usefixtures("clean_node")
def test_its_end_by_itself_is_an_error(cluster, portal, root_dir):
    async def story() -> None:
        with pytest.raises(RuntimeError, match="has ended with -9"):
            async with node(cluster, root_dir) as (kubelet, _):
                kubelet.kill()
                await trio.sleep_forever()

    portal.call(story)
    assert processes(root_dir) == []


async def test_a_kubelet_that_does_not_start_says_why(cluster, tmp_path):
    with pytest.raises(RuntimeError, match="has ended with 1") as ended:
        async with node(cluster, tmp_path, policy="no-such-policy"):
            pytest.fail("it has started")
    assert "no-such-policy" in str(ended.value)
