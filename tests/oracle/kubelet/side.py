"""The kubelet as a side: pods come and go by way of the API server, and what is seen is what the cluster sees.

It cannot be asked what it has noticed. So what is waited for is a line of its log, which it writes when that is done.
"""

from __future__ import annotations

import ssl
import urllib.request
from collections import Counter
from collections.abc import Awaitable, Callable
from contextlib import ExitStack
from dataclasses import replace
from pathlib import Path
from typing import Any, ClassVar

import trio

from devicemgr.cluster.api.client import ApiClient
from devicemgr.cluster.control_plane.processes import ControlPlane
from devicemgr.cluster.objects.metadata import Object
from devicemgr.core.checkpoint.kubelet_format import parse_checkpoint, render
from devicemgr.daemon.layout import KUBELET_ROOT
from devicemgr.daemon.threads.portal import Portal
from tests.oracle.checkpoint import FILE, read_checkpoint
from tests.oracle.our_side import metric_families
from tests.oracle.play import can_play
from tests.oracle.side import Admission, Crashed, Refusal
from tests.oracle.story import Admit, Answers, GracePeriodEnds, Pod, Reboot, Resize, StartAgain, Step, Story

from .node_pods import NodePods, delete_if_there, first_of
from .pods import NODE
from .process import PATIENCE, NodeConfig, open_kubelet, open_runtime
from .view import make_view

_NODE = f"/api/v1/nodes/{NODE}"


class KubeletSide:
    name = "kubelet"
    cannot: ClassVar[frozenset[type[Step]]] = frozenset({GracePeriodEnds, Resize})
    """Five minutes do not pass here. And a kubelet without cgroups crashes while it resizes a pod."""

    def __init__(self, portal: Portal, cluster: ControlPlane):
        self._portal, self._cluster = portal, cluster
        self._lifetime, self._runtime, self._kubelet = ExitStack(), ExitStack(), ExitStack()
        self._api: ApiClient = self._lifetime.enter_context(portal.enter(cluster.client()))

    def close(self) -> None:
        self._lifetime.close()

    # --- the node ---

    @property
    def plugins(self) -> Path:
        return self._root / "device-plugins"

    def open(self, story: Story, directory: Path) -> None:
        self._story, self._directory, self._root = story, directory, directory / "kubelet"
        for made in (self._root, directory / "view", directory / "work"):
            made.mkdir()
        distances = [story.distances(node) for node in range(story.numa)]
        self._view = make_view(self._root, directory / "view", distances)
        self._pods = NodePods(self._api, self.plugins)
        with ExitStack() as opening:
            opening.callback(self.leave)
            self._start_runtime()
            self.start()
            opening.pop_all()

    def leave(self) -> None:
        with ExitStack() as ending:  # all of it, should the kubelet have crashed; the last comes first
            ending.callback(self._call, delete_if_there, self._api, _NODE)
            ending.callback(self._call, self._pods.delete_all)
            ending.callback(self._runtime.close)
            ending.callback(self._kubelet.close)

    def stop(self) -> None:
        self._ask(self._pods.refusals_are_known)
        self._kubelet.close()
        self._rename_pods(self._names)

    def start(self, *, reboot: bool = False) -> None:
        self._rename_pods({uid: name for name, uid in self._names.items()})
        if reboot:
            self._runtime.close()
            self._start_runtime()
        self._waited: Counter[str] = Counter()
        options = {"prefer-closest-numa-nodes": "true"} if self._story.closest else {}
        opened = open_kubelet(
            self._directory / "work",
            NodeConfig(NODE, self._story.policy, self._story.scope, options),
            runtime=self._socket,
            kubeconfig=self._cluster.kubeconfig(f"system:node:{NODE}"),
            view=self._view,
        )
        self._pods.kubelet = self._kubelet.enter_context(self._portal.enter(opened))

    def _start_runtime(self) -> None:
        opened = open_runtime(self._directory / "work", self._socket)
        self._pods.runtime = self._runtime.enter_context(self._portal.enter(opened))

    @property
    def _socket(self) -> Path:
        return self._directory / "cri.sock"

    @property
    def _names(self) -> dict[str, str]:
        """A story's uid of each pod by the one that the API server has given it."""
        return {uid: Pod(name).uid for name, uid in self._pods.uids.items()}

    def _rename_pods(self, uids: dict[str, str]) -> None:
        """In the checkpoint, which goes to another side, or comes from one: that knows the pods by a story's uids."""
        path = self.plugins / FILE
        if path.exists():
            found = parse_checkpoint(path.read_text())
            owners = [
                replace(one.owner, pod_uid=uids.get(one.owner.pod_uid, one.owner.pod_uid)) for one in found.entries
            ]
            entries = [replace(entry, owner=owner) for entry, owner in zip(found.entries, owners, strict=True)]
            path.write_text(render(replace(found, entries=tuple(entries))))

    # --- what plug-ins did is waited for ---

    def wait_listed(self, resource: str, socket: Path) -> None:
        self._wait_once_more("Processed device updates for resource", resourceName=resource)

    def expects_end(self, resource: str, socket: Path) -> bool:
        """Whoever is refused on a socket strikes the one who serves there off the kubelet's list (LIM-42)."""
        log, plugin = self._pods.kubelet.log, {"name": resource, "socketPath": self._seen_by_the_kubelet(socket)}
        return log.count("Registered client", **plugin) > log.count("Deregistered client", **plugin)

    def wait_ended(self, resource: str, socket: Path) -> None:
        self._wait_once_more("Device plugin disconnected", resource=resource)

    def _wait_once_more(self, kind: str, **fields: str) -> None:
        what = " ".join([kind, *fields.values()])
        self._waited[what] += 1
        self._ask(self._pods.kubelet.log.wait_for, kind, number=self._waited[what], **fields)

    def _seen_by_the_kubelet(self, path: Path) -> str:
        return str(KUBELET_ROOT / path.relative_to(self._root))

    # --- pods ---

    def admit(self, pods: list[Pod], *, start: bool = True) -> list[Admission]:
        self.delete([pod.name for pod in pods])  # one of that name, which was refused
        found: list[Admission] = self._ask(self._pods.admit, pods)
        return found

    def adopt(self, pods: list[Pod]) -> None:
        """While it is stopped: pods that another manager has admitted here, whose containers are running."""
        self._call(self._pods.adopt, pods)

    def delete(self, names: list[str]) -> None:
        self._ask(self._pods.delete, names)

    def start_again(self, name: str) -> Admission:
        found: Admission = self._ask(self._pods.start_again, name)
        return found

    def resize(self, name: str) -> Refusal | None:
        raise NotImplementedError

    def readmit(self, *, start: bool) -> list[Admission]:
        return [self._ask(self._pods.readmit, pod, start=start) for pod in list(self._pods.admitted.values())]

    def expire_grace(self) -> None:
        raise NotImplementedError

    # --- what there is to see ---

    def node(self) -> dict[str, tuple[int, int]]:
        """As it is in the second report from now: the first may have been begun before."""
        status = self._ask(self._reported)["status"]
        return {
            name: (int(count), int(status["allocatable"][name]))
            for name, count in status["capacity"].items()
            if "/" in name
        }

    async def _reported(self) -> Object:
        reports: set[str] = set()

        def is_new(node: Object | None) -> bool:
            assert node is not None
            reports.add(node["metadata"]["resourceVersion"])
            return len(reports) > 2

        node = await self._api.wait_until(_NODE, is_new)
        assert node is not None
        return node

    def checkpoint(self) -> dict[str, Any] | None:
        found = read_checkpoint(self.plugins)
        if found is not None:
            names = self._names
            owned = {tuple(owner.split()): entry for owner, entry in found["entries"].items()}
            found["entries"] = {" ".join([names.get(uid, uid), *rest]): one for (uid, *rest), one in owned.items()}
        return found

    def health(self) -> dict[str, Any]:
        found: dict[str, Any] = self._ask(self._pods.health)
        return found

    def metrics(self, names: list[str]) -> dict[str, Any]:
        context = ssl.create_default_context()
        context.check_hostname, context.verify_mode = False, ssl.CERT_NONE  # it has signed its certificate itself
        url = f"https://127.0.0.1:{self._pods.kubelet.port}/metrics"
        with urllib.request.urlopen(url, context=context, timeout=PATIENCE) as answer:
            families = metric_families(answer.read().decode())
        return {name: one for name, one in families.items() if name in names}

    def _ask(self, function: Callable[..., Awaitable[Any]], *args: Any, **kwargs: Any) -> Any:
        """What it returns while the kubelet runs. Raises Crashed if that ends meanwhile."""
        found: list[Any] = []

        async def ask() -> None:
            found.append(await function(*args, **kwargs))

        self._call(first_of, ask, self._pods.kubelet.log.ended.wait)
        if not found:
            try:
                self._kubelet.close()
            except RuntimeError as ended:  # with what it said last
                raise Crashed(str(ended)) from ended
        return found[0]

    def _call(self, function: Callable[..., Any], *args: Any, **kwargs: Any) -> Any:
        async def within_patience() -> Any:
            with trio.fail_after(PATIENCE):
                return await function(*args, **kwargs)

        return self._portal.call(within_patience)


def is_for_a_kubelet(story: Story) -> bool:
    """Claims need a driver, and there is none. And a kubelet learns of its pods as soon as it starts."""
    late = any(isinstance(step, Reboot) and step.before for step in story.steps)
    claimed = any(pod.claims() for step in story.steps if isinstance(step, Admit) for pod in step.pods)
    return can_play(story, KubeletSide) and not claimed and not late and not _fails_to_start(story)


def _fails_to_start(story: Story) -> bool:
    """Where PreStartContainer fails the kubelet goes on trying, in the steps after that, too (RUN-2); and it starts no
    container after an init container that failed."""
    failing: set[str] = set()
    for step in story.steps:
        if isinstance(step, Answers):
            (failing.add if step.start else failing.discard)(step.plugin)
        elif failing and (
            isinstance(step, Admit | Reboot) or (isinstance(step, StartAgain) and step is not story.steps[-1])
        ):
            return True
    return False
