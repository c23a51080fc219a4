"""The pods on a kubelet's node: created and deleted at the API server, and waited for until the kubelet has decided.

It tells the API server late of some things that it logs at once; then the log is believed.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Sequence
from pathlib import Path
from typing import Any

import trio

from devicemgr.cluster.api.client import ApiClient
from devicemgr.cluster.objects.metadata import Object
from devicemgr.concurrency.exception_groups import collapse_exception_group
from devicemgr.errors import ApiError
from tests.oracle.checkpoint import read_checkpoint
from tests.oracle.side import Admission, Started
from tests.oracle.story import Container, Pod

from .pods import (
    FAILED_START,
    PODS,
    all_started,
    device_health,
    failures,
    kubernetes_pod,
    logged_refusal,
    options_of,
    refusal,
    restarts,
)
from .process import Kubelet, Runtime

_NOT_FOUND = 404
_TOLD = ("Ignoring same status for pod", "Status for pod is up-to-date", "Status for pod updated successfully")


class NodePods:
    """``kubelet`` is another one after a restart, and ``runtime`` after a reboot."""

    def __init__(self, api: ApiClient, plugins: Path) -> None:
        self.kubelet: Kubelet
        self.runtime: Runtime
        self.admitted: dict[str, Pod] = {}
        self.uids: dict[str, str] = {}
        """By name: those of all pods that the API server has, refused ones too."""
        self._api = api
        self._plugins = plugins

    # --- they come ---

    async def admit(self, pods: Sequence[Pod]) -> list[Admission]:
        found: dict[str, Admission] = {}
        async with trio.open_nursery() as nursery:
            for pod in pods:
                since = len(self.kubelet.log.of(FAILED_START))
                created = await self._api.create(PODS, kubernetes_pod(pod))
                self.uids[pod.name] = created["metadata"]["uid"]
                nursery.start_soon(self._decided, pod, since, found)
        return [found[pod.name] for pod in pods]

    async def _decided(self, pod: Pod, since: int, found: dict[str, Admission]) -> None:
        await first_of(
            lambda: self._wait_for_status(pod, lambda status: bool(refusal(status)) or all_started(status)),
            lambda: self._wait_for_failure(pod, since),
            lambda: self._wait_for_early_refusal(pod),
        )
        refused = refusal(await self._status(pod)) or logged_refusal(self.kubelet.log, self.uids[pod.name])
        if refused:
            found[pod.name] = Admission(pod.name, refused)
        else:
            self.admitted[pod.name] = pod
            found[pod.name] = Admission(pod.name, None, self._started(pod, pod.named(), since))

    async def _wait_for_early_refusal(self, pod: Pod) -> None:
        """A pod that is refused in the kubelet's first two seconds is Pending for ten: it does not know yet that no
        container of the pod runs."""
        log, uid = self.kubelet.log, self.uids[pod.name]
        await log.wait_until(lambda: logged_refusal(log, uid) is not None)
        if self.kubelet.knows_what_runs:
            await trio.sleep_forever()

    async def refusals_are_known(self) -> None:
        """To the API server as well: the next kubelet asks there."""
        for name in self.uids.keys() - self.admitted.keys():
            await self._api.wait_until(f"{PODS}/{name}", lambda pod: pod is None or bool(refusal(pod["status"])))

    async def _wait_for_failure(self, pod: Pod, since: int) -> None:
        """The status tells of a failed start only when the next try has begun."""
        log, uid = self.kubelet.log, self.uids[pod.name]
        await log.wait_until(lambda: bool(failures(log.of(FAILED_START)[since:], uid)))
        await log.wait_for("SyncPod exit", podUID=uid, number=log.count("SyncPod enter", podUID=uid))

    async def adopt(self, pods: Sequence[Pod]) -> None:
        """They run on the node, as admitted by somebody else; no kubelet is there."""
        for pod in pods:
            created = await self._api.create(PODS, kubernetes_pod(pod))
            self.uids[pod.name], self.admitted[pod.name] = created["metadata"]["uid"], pod
            for name, container in pod.named():
                if container.kind != "init":
                    await self.runtime.run(pod.name, self.uids[pod.name], name)

    async def readmit(self, pod: Pod, *, start: bool) -> Admission:
        """After a restart: the kubelet has learned of it again."""
        log, uid = self.kubelet.log, self.uids[pod.name]
        await log.wait_until(lambda: bool(logged_refusal(log, uid)) or log.count("SyncPod exit", podUID=uid) > 0)
        if refused := logged_refusal(log, uid):
            del self.admitted[pod.name]
            return Admission(pod.name, refused)
        if not start:
            return Admission(pod.name, None, self._held(pod, pod.named()))
        await self._wait_for_status(pod, all_started)
        return Admission(pod.name, None, self._started(pod, pod.named(), 0))

    async def start_again(self, name: str) -> Admission:
        pod = self.admitted[name]
        again = [(container, one) for container, one in pod.named() if one.kind != "init"]
        since = len(self.kubelet.log.of(FAILED_START))
        before = restarts(await self._status(pod))
        await self.runtime.exit(name)

        def have_started(status: Object) -> bool:
            now = restarts(status)
            return all(now[container] > before[container] for container, _ in again) and all_started(status)

        await first_of(lambda: self._wait_for_status(pod, have_started), lambda: self._wait_for_failure(pod, since))
        return Admission(name, None, self._started(pod, again, since))

    def _started(self, pod: Pod, containers: list[tuple[str, Container]], since: int) -> dict[str, Started]:
        failed = failures(self.kubelet.log.of(FAILED_START)[since:], self.uids[pod.name])
        return {
            name: Started(held.devices, None, failed[name])
            if name in failed
            else Started(held.devices, options_of(self.runtime.log, pod.name, name))
            for name, held in self._held(pod, containers).items()
        }

    def _held(self, pod: Pod, containers: list[tuple[str, Container]]) -> dict[str, Started]:
        """From the checkpoint, since a question to PodResources would change what it asks about."""
        checkpoint = read_checkpoint(self._plugins)
        held: dict[str, dict[str, list[str]]] = {}
        for owner, entry in (checkpoint["entries"] if checkpoint else {}).items():
            uid, container, resource = owner.split()
            if uid == self.uids[pod.name]:
                ids = {id for on_node in entry["devices"].values() for id in on_node}
                held.setdefault(container, {})[resource] = sorted(ids)
        return {name: Started(held.get(name, {})) for name, _ in containers}

    # --- they are looked at ---

    async def health(self) -> dict[str, Any]:
        found: dict[str, Any] = {}

        async def look(name: str, pod: Pod) -> None:
            await self._synced_once_more(pod)
            found[name] = device_health(await self._status(pod))

        async with trio.open_nursery() as nursery:
            for name, pod in self.admitted.items():
                nursery.start_soon(look, name, pod)
        return found

    async def _synced_once_more(self, pod: Pod) -> None:
        """The kubelet has looked at the pod from now on, and has told the API server if there was anything new."""
        log, uid = self.kubelet.log, self.uids[pod.name]
        begun, told = log.count("SyncPod enter", podUID=uid), self._told(pod)
        await log.wait_for("SyncPod exit", podUID=uid, number=begun + 1)
        await log.wait_until(lambda: self._told(pod) > told)

    def _told(self, pod: Pod) -> int:
        """How often the API server was told of the pod's status, or did not need to be."""
        return sum(self.kubelet.log.count(kind, pod={"name": pod.name, "namespace": "default"}) for kind in _TOLD)

    async def _status(self, pod: Pod) -> Object:
        found: Object = (await self._api.get(f"{PODS}/{pod.name}"))["status"]
        return found

    async def _wait_for_status(self, pod: Pod, holds: Callable[[Object], bool]) -> None:
        await self._api.wait_until(f"{PODS}/{pod.name}", lambda found: found is not None and holds(found["status"]))

    # --- they go ---

    async def delete(self, names: Sequence[str]) -> None:
        async with trio.open_nursery() as nursery:
            for name in names:
                if self.uids.pop(name, None):
                    self.admitted.pop(name, None)
                    nursery.start_soon(delete_if_there, self._api, f"{PODS}/{name}")

    async def delete_all(self) -> None:
        """Whatever has become of them; the API server does not wait for a kubelet."""
        for pod in (await self._api.list(PODS))["items"]:
            await delete_if_there(self._api, f"{PODS}/{pod['metadata']['name']}", grace=0)


async def delete_if_there(api: ApiClient, path: str, grace: int | None = None) -> None:
    """It is gone when this returns."""
    try:
        await api.delete(path, grace=grace)
    except ApiError as error:
        if error.code != _NOT_FOUND:
            raise
    await api.wait_until(path, lambda found: found is None)


async def first_of(*waits: Callable[[], Awaitable[None]]) -> None:
    """Return when one of them does."""
    with collapse_exception_group():
        async with trio.open_nursery() as nursery:

            async def wait(one: Callable[[], Awaitable[None]]) -> None:
                await one()
                nursery.cancel_scope.cancel()

            for one in waits:
                nursery.start_soon(wait, one)
