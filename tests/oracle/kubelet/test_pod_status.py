"""What the API is told of a pod, by the kubelet and by a node of ours: the same, but for what is said here."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable, Iterator, Mapping, Sequence
from contextlib import AsyncExitStack
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any

import pytest
import trio

from devicemgr import open_device_manager
from devicemgr.cluster.api.client import ApiClient
from devicemgr.cluster.control_plane.processes import ControlPlane
from devicemgr.cluster.node.agent import open_node
from devicemgr.cluster.node.options import NodeOptions
from devicemgr.errors import RpcFailed
from devicemgr.model import PluginOptions
from devicemgr.testing import open_simulated_plugin

from .pods import NODE, PODS
from .process import PATIENCE, NodeConfig, open_kubelet, open_runtime
from .view import make_view

Object = dict[str, Any]
OURS, GPU, NIC = "ours", "vendor.com/gpu", "vendor.com/nic"
MAX_PODS = 3
"""That a node has room for."""
CANNOT_START = "CreateContainerConfigError"
NOT_COMPARED = {
    *("startTime", "hostIP", "hostIPs", "podIP", "podIPs"),
    *("resources", "allocatedResources"),  # of the pod as a whole, which a kubelet may change while it runs
}
NOT_COMPARED_OF_A_CONTAINER = {"containerID", "image", "imageID"}
TIMES = {"startedAt", "finishedAt", "lastTransitionTime", "lastProbeTime", "containerID"}


@pytest.fixture
async def api(cluster: ControlPlane) -> AsyncIterator[ApiClient]:
    async with cluster.client() as opened:
        yield opened


@pytest.fixture
async def nodes(cluster: ControlPlane, api: ApiClient, root_dir: Path) -> AsyncIterator[None]:
    """The kubelet's and ours, each with four devices, and one whose plug-in lets no container start."""
    made = {name: root_dir / name for name in ("root", "scratch", "work", "ours")}
    for directory in made.values():
        directory.mkdir()
    socket, kubeconfig = root_dir / "cri.sock", cluster.kubeconfig(f"system:node:{NODE}")
    view = make_view(made["root"], made["scratch"], [[10]])
    for name in (NODE, OURS):
        for pod in abandoned(name):
            await create(api, pod)
            await api.delete(path_of(pod))
    async with AsyncExitStack() as stack:
        await stack.enter_async_context(open_runtime(made["work"], socket))
        config = NodeConfig(NODE, max_pods=MAX_PODS)
        opened = open_kubelet(made["work"], config, runtime=socket, kubeconfig=kubeconfig, view=view)
        kubelet = await stack.enter_async_context(opened)
        manager = await stack.enter_async_context(open_device_manager(made["ours"]))
        there = (await api.get(f"/api/v1/nodes/{NODE}"))["status"]["capacity"]
        capacity = {name: there[name] for name in ("cpu", "pods")}
        await stack.enter_async_context(
            open_node(api, manager, NodeOptions(name=OURS, tainted=False, capacity=capacity))
        )
        for name, directory in ((NODE, made["root"] / "device-plugins"), (OURS, manager.layout.plugins)):
            await open_plugins(stack, directory)
            await api.wait_until(f"/api/v1/nodes/{name}", partial(has_devices, {GPU: "4", NIC: "1"}))
        await kubelet.log.wait_until(lambda: kubelet.knows_what_runs)
        yield
    for name in (NODE, OURS):
        await api.delete(f"/api/v1/nodes/{name}")


async def open_plugins(stack: AsyncExitStack, directory: Path) -> None:
    async def refuse(ids: Sequence[str]) -> None:
        raise RpcFailed("not yet")

    asks = PluginOptions(pre_start_required=True)
    gpu = await stack.enter_async_context(open_simulated_plugin(directory, GPU, devices=4))
    nic = await stack.enter_async_context(open_simulated_plugin(directory, NIC, devices=1, options=asks))
    nic.on_pre_start = refuse
    for plugin in (gpu, nic):
        await plugin.register()


def abandoned(node: str) -> list[Object]:
    """They are deleted before their node is there."""
    init = {"initContainers": [container("first", **INIT), container("second", **SIDECAR)]}
    specs = {"abandoned": {}, "abandoned-before-its-init-containers": init}
    return [
        new_pod(node, f"{name}-{node}", {"containers": [container("a", GPUS), container("b")], **spec})
        for name, spec in specs.items()
    ]


def has_devices(wanted: Mapping[str, str], node: Object | None) -> bool:
    return node is not None and wanted.items() <= node["status"].get("allocatable", {}).items()


def container(name: str, limits: Mapping[str, str] | None = None, **more: Any) -> Object:
    return {"name": name, "image": "none", "resources": {"limits": dict(limits or {})}, **more}


@dataclass
class Case:
    """A pod, and in which phase its status is looked at."""

    phase: str
    containers: list[Object]
    spec: Object = field(default_factory=dict)
    labels: Mapping[str, str] = field(default_factory=dict)
    deleted_when: str = ""
    """The phase in which it is deleted, if it is."""
    beside: Sequence[Object] = ()
    """The containers of pods that run on the node before it, one each."""
    debugger: bool = False
    """An ephemeral container is added to it when it runs."""

    def pod(self, node: str) -> Object:
        # Ours cannot be told by its command that it exits.
        completes = self.phase == "Succeeded" and not self.deleted_when
        annotations = {"devicemgr.dev/complete-after": "0.1s"} if completes else {}
        return new_pod(
            node,
            f"pod-{node}",
            {"containers": self.containers, **self.spec},
            annotations=annotations,
            labels=self.labels,
        )

    def is_told(self, status: Object) -> bool:
        """Has the API all that it will be told?"""
        if not is_told(status, self.phase):
            return False
        if self.phase == "Failed" and not self.deleted_when and "activeDeadlineSeconds" not in self.spec:
            return bool(status.get("reason"))
        if self.phase in ("Failed", "Succeeded"):
            conditions = {one["type"]: one["status"] for one in status.get("conditions", [])}
            return conditions.get("PodReadyToStartContainers") == "False"
        debuggers = status.get("ephemeralContainerStatuses", [])
        return len(debuggers) == self.debugger and all("running" in one["state"] for one in debuggers)


def new_pod(node: str, name: str, spec: Object, **metadata: Any) -> Object:
    """It stays in the API until it has been looked at. Its scheduler is :func:`create`."""
    given = {"schedulerName": node, "terminationGracePeriodSeconds": 1, "automountServiceAccountToken": False}
    return {"metadata": {"name": name, "finalizers": ["example.com/seen"], **metadata}, "spec": {**given, **spec}}


async def create(api: ApiClient, pod: Object) -> None:
    await api.create(PODS, pod)
    name, node = pod["metadata"]["name"], pod["spec"]["schedulerName"]
    target = {"apiVersion": "v1", "kind": "Node", "name": node}
    await api.create(f"{path_of(pod)}/binding", {"metadata": {"name": name}, "target": target})


GPUS, NICS = {GPU: "1"}, {NIC: "1"}
SMALL, HUGE = {"cpu": "100m", "memory": "1Mi"}, {"cpu": "1k"}
RESTART_ALL = {"action": "RestartAllContainers", "exitCodes": {"operator": "In", "values": [7]}}
INIT, SIDECAR = {"command": ["exit"]}, {"restartPolicy": "Always"}


def ports(*more: Object) -> Object:
    return {"ports": [{"containerPort": 8080, "hostPort": 8080, **one} for one in more or [{}]]}


def node_affinity(field: str, key: str, value: str) -> Object:
    term = {field: [{"key": key, "operator": "In", "values": [value]}]}
    return {
        "affinity": {"nodeAffinity": {"requiredDuringSchedulingIgnoredDuringExecution": {"nodeSelectorTerms": [term]}}}
    }


CASES = {
    "it runs": Case(
        "Running",
        [container("main", GPUS)],
        {"initContainers": [container("init", GPUS, **INIT), container("side", GPUS, **SIDECAR)]},
    ),
    "it runs, and needs no device": Case("Running", [container("main", SMALL), container("other")]),
    "its containers are not in the order of their names": Case(
        "Running",
        [container("b"), container("a")],
        {"initContainers": [container("y", **INIT), container("x", **INIT)]},
    ),
    "all of its kinds of containers ask for something of everything": Case(
        "Running",
        [container("main", {**GPUS, **SMALL})],
        {
            "initContainers": [
                container("init", {**GPUS, "cpu": "200m", "memory": "2Mi"}, **INIT),
                container("side", {**GPUS, **SMALL}, **SIDECAR),
            ]
        },
    ),
    "it asks for something as a whole": Case("Running", [container("main", GPUS)], {"resources": {"limits": SMALL}}),
    "it has volumes": Case(
        "Running",
        [
            container(
                "main",
                volumeMounts=[
                    {"name": "v", "mountPath": "/v"},
                    {"name": "v", "mountPath": "/r", "readOnly": True, "subPath": "x"},
                ],
            )
        ],
        {"volumes": [{"name": "v", "emptyDir": {}}]},
    ),
    "all of its containers may start again": Case(
        "Running", [container("main", restartPolicy="Never", restartPolicyRules=[RESTART_ALL])]
    ),
    "somebody debugs it": Case("Running", [container("main", GPUS)], debugger=True),
    "a readiness gate is closed": Case(
        "Running", [container("main")], {"readinessGates": [{"conditionType": "example.com/gate"}]}
    ),
    "it has a port of the machine": Case(
        "Running", [container("main", **ports({"protocol": "UDP"}))], beside=[container("other", **ports())]
    ),
    "it has completed": Case("Succeeded", [container("main", GPUS, command=["exit"])], {"restartPolicy": "Never"}),
    "it is to restart on failure, and has completed": Case(
        "Succeeded",
        [container("main", GPUS, command=["exit"])],
        {"restartPolicy": "OnFailure", "initContainers": [container("init", **INIT)]},
    ),
    "it was deleted": Case("Succeeded", [container("main", GPUS)], deleted_when="Running"),
    "it was deleted, and has a sidecar": Case(
        "Succeeded",
        [container("main", GPUS)],
        {"initContainers": [container("init", **INIT), container("side", **SIDECAR)]},
        deleted_when="Running",
    ),
    "it is past its deadline": Case("Failed", [container("main", GPUS)], {"activeDeadlineSeconds": 1}),
    "a container cannot start": Case("Pending", [container("first", NICS), container("second")]),
    "a container cannot start after an init container": Case(
        "Pending",
        [container("first", NICS), container("second")],
        {"initContainers": [container("init", **INIT)]},
    ),
    "an init container cannot start": Case(
        "Pending",
        [container("main")],
        {"initContainers": [container("init", **INIT), container("side", NICS, **SIDECAR), container("last", **INIT)]},
    ),
    "it was deleted when a container could not start": Case(
        "Failed", [container("first", NICS), container("second")], deleted_when="Pending"
    ),
    "it was deleted when a container could not start after an init container": Case(
        "Failed",
        [container("first", NICS), container("second")],
        {"initContainers": [container("init", **INIT), container("side", **SIDECAR)]},
        deleted_when="Pending",
    ),
    "it was deleted when no init container could start": Case(
        "Failed",
        [container("main")],
        {"initContainers": [container("first", NICS, **INIT), container("second", **INIT)]},
        deleted_when="Pending",
    ),
    "it was deleted when a sidecar could not start": Case(
        "Failed",
        [container("main")],
        {"initContainers": [container("first", **INIT), container("second", NICS, **SIDECAR)]},
        deleted_when="Pending",
    ),
    "there are not enough devices": Case("Failed", [container("main", {GPU: "5"})]),
    "there is not enough of the processor": Case("Failed", [container("main", HUGE)]),
    "others have taken of the processor": Case(
        "Failed", [container("main", HUGE)], beside=[container("other", SMALL), container("other", SMALL)]
    ),
    "an init container asks for too much": Case(
        "Failed",
        [container("main", SMALL)],
        {"initContainers": [container("side", SMALL, **SIDECAR), container("init", HUGE, **INIT)]},
    ),
    "it asks for too much as a whole": Case("Failed", [container("main", SMALL)], {"resources": {"requests": HUGE}}),
    "there are enough pods": Case("Failed", [container("main")], beside=[container("other")] * MAX_PODS),
    "a port of the machine is taken": Case(
        "Failed", [container("main", **ports({"hostIP": "127.0.0.1"}))], beside=[container("other", **ports())]
    ),
    "the node has no such pages": Case("Failed", [container("main", {"hugepages-2Mi": "2Mi", "cpu": "1m"})]),
    "the node has no such label": Case("Failed", [container("main")], {"nodeSelector": {"disk": "ssd"}}),
    "it wants a node of another kind": Case(
        "Failed", [container("main")], node_affinity("matchExpressions", "disk", "ssd")
    ),
    "it wants another node": Case(
        "Failed", [container("main", HUGE)], node_affinity("matchFields", "metadata.name", "another")
    ),
    "another system": Case("Failed", [container("main")], {"os": {"name": "windows"}}),
    "another system, by its label": Case("Failed", [container("main")], labels={"kubernetes.io/os": "windows"}),
}


async def test_the_api_is_told_the_same(nodes: None, api: ApiClient) -> None:
    """All of them on one kubelet, which takes its time to start."""
    different = {}
    for pods in zip(abandoned(NODE), abandoned(OURS), strict=True):
        kubelets, ours = [comparable((await until_phase(api, one, "Failed"))["status"]) for one in pods]
        if ours != kubelets:
            different[pods[0]["metadata"]["name"]] = list(differences(kubelets, ours))
        for one in pods:
            await remove(api, one)
    for title, case in CASES.items():
        kubelets, ours = [await told_of(api, case, node) for node in (NODE, OURS)]
        if ours != kubelets:
            different[title] = list(differences(kubelets, ours))
    assert different == {}


def differences(kubelets: Any, ours: Any, path: str = "") -> Iterator[str]:
    if isinstance(kubelets, dict) and isinstance(ours, dict):
        for key in kubelets.keys() | ours.keys():
            yield from differences(kubelets.get(key), ours.get(key), f"{path} / {key}" if path else key)
    elif kubelets != ours:
        yield f"{path}: the kubelet says {kubelets!r}, and ours {ours!r}"


async def told_of(api: ApiClient, case: Case, node: str) -> Object:
    others = [new_pod(node, f"other-{number}", {"containers": [one]}) for number, one in enumerate(case.beside)]
    for other in others:
        await create(api, other)
        await until_phase(api, other, "Running")
    pod = case.pod(node)
    path = path_of(pod)
    await create(api, pod)
    if case.deleted_when:
        await until(api, path, lambda pod: pod is not None and is_told(pod["status"], case.deleted_when))
        await api.delete(path)
    if case.debugger:
        await until_phase(api, pod, "Running")
        debugger = {"spec": {"ephemeralContainers": [{"name": "debugger", "image": "none"}]}}
        await api.patch(f"{path}/ephemeralcontainers", debugger, strategic=True)
    found = await until(api, path, lambda pod: pod is not None and case.is_told(pod["status"]))
    told = {"status": comparable(found["status"]), "events": await refusals(api, found)}
    for one in [pod, *others]:
        await remove(api, one)
    return told


async def remove(api: ApiClient, pod: Object) -> None:
    await api.delete(path_of(pod), grace=0)
    await api.patch(path_of(pod), {"metadata": {"finalizers": None}})
    await until(api, path_of(pod), lambda found: found is None)


async def until_phase(api: ApiClient, pod: Object, phase: str) -> Object:
    return await until(api, path_of(pod), lambda found: found is not None and found["status"]["phase"] == phase)


def path_of(pod: Object) -> str:
    return f"{PODS}/{pod['metadata']['name']}"


async def until(api: ApiClient, path: str, holds: Callable[[Object | None], bool]) -> Object:
    with trio.move_on_after(PATIENCE):
        return await api.wait_until(path, holds) or {}
    raise AssertionError(f"{path} is {await api.get(path)}")


def is_told(status: Object, phase: str) -> bool:
    """A kubelet tells it by and by."""
    if status["phase"] != phase:
        return False
    conditions = {one["type"]: one["status"] for one in status.get("conditions", [])}
    if phase == "Pending":
        init, main = (waiting(status.get(key, [])) for key in ("initContainerStatuses", "containerStatuses"))
        return CANNOT_START in init or (not init and main == [CANNOT_START])
    return phase != "Running" or conditions.get("ContainersReady") == "True"


def waiting(statuses: Sequence[Object]) -> list[str]:
    return [one["state"]["waiting"].get("reason", "") for one in statuses if "waiting" in one["state"]]


async def refusals(api: ApiClient, pod: Object) -> list[Object]:
    """What Events say of a refusal, or of a container that cannot start."""
    reason = {"Failed": pod["status"].get("reason"), "Pending": "Failed"}.get(pod["status"]["phase"])
    about = f"involvedObject.name={pod['metadata']['name']},reason={reason}"
    while reason:
        events = await api.list("/api/v1/namespaces/default/events", fieldSelector=about)
        found = [one for one in events["items"] if one["involvedObject"]["uid"] == pod["metadata"]["uid"]]
        if found:
            return [{**pick(one, "type", "message"), **pick(one["involvedObject"], "fieldPath")} for one in found]
        await trio.sleep(0.1)
    return []


def pick(found: Object, *keys: str) -> Object:
    return {key: found.get(key) for key in keys}


def comparable(status: Object) -> Object:
    """Without times, addresses and names that each makes up."""
    kinds = [key for key in status if key.endswith("Statuses")]
    order = {key: [one["name"] for one in status[key]] for key in kinds}
    containers = {one["name"]: comparable_container(one) for key in kinds for one in status[key]}
    conditions = {one["type"]: without(one, *TIMES) for one in status.get("conditions", [])}
    rest = without(status, *NOT_COMPARED, "conditions", *kinds)
    return {**rest, "order": order, "containers": containers, "conditions": conditions}


def comparable_container(found: Object) -> Object:
    """Which devices they are is not said; ours tells of those of init containers, too (RHS-1)."""
    kind, state = next(iter(found["state"].items()))
    made = without(found, *NOT_COMPARED_OF_A_CONTAINER, "state", "allocatedResourcesStatus", "resources")
    # The pretended runtime gives no reason for the end of a container that was stopped.
    says_none = kind == "terminated" and state.get("reason") != "ContainerStatusUnknown"
    made["state"] = {kind: without(state, *TIMES, *(["reason"] if says_none else []))}
    made["resources"] = {
        key: {name: number for name, number in found["resources"].get(key, {}).items() if number != "0"}
        for key in ("requests", "limits")
        if "resources" in found
    }
    return made


def without(found: Object, *keys: str) -> Object:
    return {key: value for key, value in found.items() if key not in keys}
