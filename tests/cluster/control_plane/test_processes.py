"""A real control plane, where its programs are."""

from __future__ import annotations

import fcntl
import os
import signal
import socket
import sys
from contextlib import suppress
from functools import partial
from pathlib import Path
from subprocess import PIPE

import pytest
import trio
import trio.testing

from devicemgr.cluster.control_plane.component import Component, last_words
from devicemgr.cluster.control_plane.processes import open_control_plane
from devicemgr.cluster.control_plane.programs import COMPONENTS, CONTROLLERS, SCHEDULER, Program, find_programs
from devicemgr.errors import AddressUnusable, ApiError, ControlPlaneFailed, DirectoryUnusable, ProgramUnavailable
from tests.helpers import small_disk

MAPS = "/api/v1/namespaces/default/configmaps"
PODS = "/api/v1/namespaces/default/pods"
PATIENCE = 120.0


def found(*more: str) -> dict[str, Program]:
    try:
        return trio.run(find_programs, [*COMPONENTS, *more])
    except ProgramUnavailable as missing:
        pytest.skip(str(missing))


@pytest.fixture(scope="module")
def programs():
    return found()


@pytest.fixture(scope="module")
def programs_with_scheduler():
    return found(SCHEDULER)


@pytest.fixture(scope="module")
def programs_with_controllers():
    return found(SCHEDULER, CONTROLLERS)


def config_map(name: str, **data: str) -> dict:
    return {"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": name}, "data": data}


async def add_node(api, name: str, **devices: str) -> None:
    """One that is ready, as its status says. Nobody is there."""
    has = {"cpu": "4", "memory": "4Gi", "pods": "10"} | {
        f"vendor.com/{kind}": number for kind, number in devices.items()
    }
    conditions = [{"type": "Ready", "status": "True"}]
    node = {"apiVersion": "v1", "kind": "Node", "metadata": {"name": name}}
    await api.create("/api/v1/nodes", node)
    status = {"capacity": has, "allocatable": has, "conditions": conditions}
    await api.patch(f"/api/v1/nodes/{name}/status", {"status": status})


def pod(name: str, **devices: str) -> dict:
    return {"apiVersion": "v1", "kind": "Pod", "metadata": {"name": name}, "spec": pod_spec(**devices)}


def pod_spec(**devices: str) -> dict:
    limits = {f"vendor.com/{kind}": number for kind, number in devices.items()}
    return {"containers": [{"name": "main", "image": "none", "resources": {"limits": limits}}]}


def condition(of: dict | None, kind: str) -> dict:
    conditions = (of or {}).get("status", {}).get("conditions", [])
    return next((one for one in conditions if one["type"] == kind), {})


def processes(directory: Path) -> dict[int, list[str]]:
    """The command lines of those that are told of the directory, by their ids."""
    found = {}
    for one in Path("/proc").glob("[0-9]*"):
        with suppress(OSError):
            argv = (one / "cmdline").read_text().split("\0")
            if any(f"{directory}/" in word for word in argv):
                found[int(one.name)] = argv
    return found


async def until_there_are(count: int, directory: Path) -> None:
    with trio.fail_after(PATIENCE):
        while len(processes(directory)) != count:  # noqa: ASYNC110 - the processes of others have no event
            await trio.sleep(0.02)


async def test_it_answers_those_it_knows_and_nothing_is_left_of_it(programs, tmp_path):
    async with open_control_plane(tmp_path, programs, nodes=["node-1"]) as cluster:
        async with cluster.client() as api:
            await api.create(MAPS, config_map("one", a="1"))
            await api.patch(f"{MAPS}/one", {"data": {"a": None, "b": "2"}})
            assert (await api.get(f"{MAPS}/one"))["data"] == {"b": "2"}
        async with cluster.client("system:node:node-1") as api:
            with pytest.raises(ApiError, match="403 Forbidden") as refused:
                await api.get(MAPS)
            assert (refused.value.code, refused.value.reason) == (403, "Forbidden")
        assert len(processes(tmp_path)) == 2
        secrets = [cluster.kubeconfig(), tmp_path / "tokens.csv", tmp_path / "apiserver.key"]
        assert [oct(file.stat().st_mode & 0o077) for file in secrets] == ["0o0"] * 3
        port = int(cluster.url.rpartition(":")[2])
    assert processes(tmp_path) == {}
    with socket.socket() as now_free:
        now_free.bind(("127.0.0.1", port))


async def test_an_object_is_waited_for_however_it_changes(programs, tmp_path):
    async with (
        open_control_plane(tmp_path, programs) as cluster,
        cluster.client() as api,
        trio.open_nursery() as nursery,
    ):
        seen: list[object] = []

        async def wait_until(holds) -> None:
            found = await api.wait_until(f"{MAPS}/one", holds)
            seen.append(found and found["data"])

        assert await api.wait_until(f"{MAPS}/one", lambda one: one is None) is None
        nursery.start_soon(wait_until, lambda one: one is not None)
        nursery.start_soon(wait_until, lambda one: one is not None and one["data"]["a"] == "2")
        await api.create(MAPS, config_map("other", a="2"))
        await api.create(MAPS, config_map("one", a="1"))
        await api.patch(f"{MAPS}/one", {"data": {"a": "2"}})
        await wait_until(lambda one: one is not None and one["data"]["a"] == "2")
        nursery.start_soon(wait_until, lambda one: one is None)
        await api.delete(f"{MAPS}/one")
    assert {"a": "2"} in seen
    assert seen[-1] is None
    assert len(seen) == 4


async def test_a_component_that_ends_ends_the_block_with_its_last_words(programs, tmp_path):
    with pytest.raises(ControlPlaneFailed, match="kube-apiserver has ended with status -9"):
        async with open_control_plane(tmp_path, programs):
            os.kill(next(pid for pid, argv in processes(tmp_path).items() if "kube-apiserver" in argv), signal.SIGKILL)
            await trio.sleep_forever()
    assert processes(tmp_path) == {}


async def test_a_scheduler_places_pods_where_their_devices_are(programs_with_scheduler, tmp_path):
    async with open_control_plane(tmp_path, programs_with_scheduler) as cluster, cluster.client() as api:
        await add_node(api, "node-1")
        await add_node(api, "node-2", gpu="1")
        for name in ("first", "second"):
            await api.create(PODS, pod(name, gpu="1"))
        with trio.fail_after(PATIENCE):
            placed = await api.wait_until(f"{PODS}/first", lambda one: condition(one, "PodScheduled") != {})
            other = await api.wait_until(f"{PODS}/second", lambda one: condition(one, "PodScheduled") != {})
        nodes = [one["spec"].get("nodeName") for one in (placed, other)]
        assert sorted(nodes, key=str) == [None, "node-2"]
        waits = condition(placed if nodes[0] is None else other, "PodScheduled")
        assert (waits["reason"], "2 Insufficient vendor.com/gpu" in waits["message"]) == ("Unschedulable", True)
        assert len(processes(tmp_path)) == 3
    assert processes(tmp_path) == {}


async def test_controllers_make_pods_of_a_deployment_and_end_a_namespace(programs_with_controllers, tmp_path):
    async with open_control_plane(tmp_path, programs_with_controllers) as cluster, cluster.client() as api:
        await api.create(PODS, pod("bare"))  # there is an account for it
        labels = {"app": "trainer"}
        template = {"metadata": {"labels": labels}, "spec": pod_spec(gpu="1")}
        spec = {"replicas": 2, "selector": {"matchLabels": labels}, "template": template}
        wanted = {"apiVersion": "apps/v1", "kind": "Deployment", "metadata": {"name": "trainer"}, "spec": spec}
        await api.create("/apis/apps/v1/namespaces/default/deployments", wanted)
        name = {"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": "other"}}
        await api.create("/api/v1/namespaces", name)
        await api.delete("/api/v1/namespaces/other")
        with trio.fail_after(PATIENCE):
            await api.wait_until(
                "/apis/apps/v1/namespaces/default/deployments/trainer",
                lambda one: one is not None and one["status"].get("unavailableReplicas") == 2,
            )
            await api.wait_until("/api/v1/namespaces/other", lambda one: one is None)
    assert processes(tmp_path) == {}


@pytest.mark.parametrize("component", COMPONENTS)
async def test_a_component_can_be_killed_for_a_while_and_nothing_is_lost(programs, tmp_path, component):
    async with open_control_plane(tmp_path, programs) as cluster:
        async with cluster.client() as api:
            await api.create(MAPS, config_map("one", a="1"))
        before = cluster.components[component].pid
        async with cluster.killed(component):
            assert cluster.components[component].pid is None
            assert len(processes(tmp_path)) == 1
        with trio.fail_after(PATIENCE):
            await cluster.wait_until_ready()
        assert cluster.components[component].pid not in (None, before)
        async with cluster.client() as api:
            assert (await api.get(f"{MAPS}/one"))["data"] == {"a": "1"}


async def test_a_component_starts_again_though_whoever_has_killed_it_does_not_wait_for_its_end(tmp_path):
    component = Component("etcd", Program(("sleep", "1000"), "3.7.0"), [], tmp_path)

    async def kill():
        async with component.killed():
            await trio.sleep_forever()

    async with trio.open_nursery() as running:
        running.start_soon(component.run)
        await component.wait_running()
        before = component.pid
        async with trio.open_nursery() as killing:
            killing.start_soon(kill)
            await trio.testing.wait_all_tasks_blocked()
            killing.cancel_scope.cancel()
        with trio.fail_after(PATIENCE):
            await component.wait_running()
        assert component.pid != before
        running.cancel_scope.cancel()


async def test_a_port_can_be_chosen_if_nobody_has_it(programs, tmp_path):
    (tmp_path / "two").mkdir()
    async with open_control_plane(tmp_path, programs) as cluster:
        port = int(cluster.url.rpartition(":")[2])
        with pytest.raises(AddressUnusable, match=f"127.0.0.1:{port}: Address already in use"):
            async with open_control_plane(tmp_path / "two", programs, port=port):
                pytest.fail("it is another one's")
    async with open_control_plane(tmp_path / "two", programs, port=port) as cluster:
        assert cluster.url == f"https://127.0.0.1:{port}"


async def test_a_component_that_cannot_start_says_why(tmp_path):
    unwilling = Program(("sh", "-c", "echo no such flag >&2; exit 3"), "3.7.0")
    patient = Program(("sh", "-c", "exec sleep 1000"), "1.37.2")
    with pytest.raises(ControlPlaneFailed, match="etcd has ended with status 3: no such flag"):
        async with open_control_plane(tmp_path, {"etcd": unwilling, "kube-apiserver": patient}):
            pytest.fail("it is not ready")


async def test_a_component_that_cannot_be_run_is_named(tmp_path):
    missing = Program((f"{tmp_path}/etcd",), "3.7.0")
    with pytest.raises(
        ControlPlaneFailed, match=f"(etcd|kube-apiserver) has ended with status 127: .*{tmp_path}/etcd: "
    ):
        async with open_control_plane(tmp_path, {"etcd": missing, "kube-apiserver": missing}):
            pytest.fail("it is not ready")


def test_what_a_program_says_before_its_stack_is_shown():
    said = '{"level":"panic","error":"no space left on device","stacktrace":"main.main' + "x" * 5000 + '"}\n'
    crashed = f"{said}panic: failed to create WAL\n\ngoroutine 1 [running]:\n{'main.main(0x1)' * 1000}\n"
    words = last_words(crashed)
    assert "no space left on device" in words
    assert words.endswith("\npanic: failed to create WAL")
    assert last_words("one line\n" * 5000).endswith("\none line\none line")
    assert last_words("\n") == ""


async def test_the_programs_of_a_cluster_are_in_use(programs, tmp_path):
    """So another version that is built does not remove them."""
    if not all(program.was_built_here for program in programs.values()):
        pytest.skip("those of others are nobody's to remove")
    path = Path(programs["etcd"].argv[0])
    before = locks_here(path)  # other clusters of this process, and of others, may use it, too
    async with open_control_plane(tmp_path, programs):
        assert locks_here(path) > before
        assert not is_free(path)
    assert locks_here(path) == before


def is_free(path: Path) -> bool:
    with path.open("rb") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            return False
    return True


def locks_here(path: Path) -> int:
    here = f" {os.getpid()} ", f":{path.stat().st_ino} "
    return sum(all(one in lock for one in here) for lock in Path("/proc/locks").read_text().splitlines())


async def test_on_a_full_disk_the_file_is_named(programs, tmp_path):
    with small_disk(tmp_path, "4k"):
        (tmp_path / "filler").write_bytes(b"x" * 4096)
        with pytest.raises(DirectoryUnusable, match=f"{tmp_path}/tokens.csv: No space left on device"):
            async with open_control_plane(tmp_path, programs):
                pytest.fail("it has no place")


@pytest.mark.parametrize(("size", "says"), [("16k", "There is no space left in"), ("10m", "no space left on device")])
async def test_a_component_for_which_there_is_no_space_says_so(programs, tmp_path, size, says):
    """With its last words, if there is a place for them."""
    with small_disk(tmp_path, size), pytest.raises(ControlPlaneFailed, match=f"etcd has ended(.|\n)*{says}"):
        async with open_control_plane(tmp_path, programs):
            pytest.fail("it has no place")


async def first_line(output: trio.abc.ReceiveStream) -> bytes:
    """However many pieces it comes in."""
    line = b""
    while not line.endswith(b"\n"):
        line += await output.receive_some(1) or b"\n"
    return line


STARTER = """
import pathlib, sys, trio
from devicemgr.cluster.control_plane.processes import open_control_plane
from devicemgr.cluster.control_plane.programs import find_programs

async def main():
    async with open_control_plane(pathlib.Path(sys.argv[1]), await find_programs()):
        print("ready", flush=True)
        await trio.sleep_forever()

trio.run(main)
"""


async def killed_when_ready(script: str, tmp_path: Path) -> None:
    start = partial(trio.run_process, [sys.executable, "-c", script, f"{tmp_path}/"], stdout=PIPE, check=False)
    async with trio.open_nursery() as nursery:
        process = await nursery.start(start)
        assert await first_line(process.stdout) == b"ready\n"
        assert processes(tmp_path)
        process.send_signal(signal.SIGKILL)
        await until_there_are(0, tmp_path)


async def test_nothing_is_left_when_its_starter_is_killed(programs, tmp_path):
    """Not even an API server, which waits for its etcd when it is asked to end."""
    await killed_when_ready(STARTER, tmp_path)


STARTER_OF_ONE = """
import os, pathlib, sys, trio
from devicemgr.cluster.control_plane.component import Component
from devicemgr.cluster.control_plane.programs import Program

async def main():
    directory = pathlib.Path(sys.argv[1])
    told = f'trap "" TERM HUP; echo ready > /proc/{os.getpid()}/fd/1; while :; do sleep 1000; done'
    await Component("etcd", Program(("sh", "-c", told), "3.7.0"), [sys.argv[1]], directory).run()

trio.run(main)
"""


async def test_nothing_is_left_of_a_program_of_others_that_takes_no_notice(tmp_path):
    """Nor of what that has started."""
    await killed_when_ready(STARTER_OF_ONE, tmp_path)
