"""What a test does in a namespace of its own."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, NoReturn, cast

import trio

from ...arguments import Seconds, checked
from ...cluster.api.answers import NOT_FOUND
from ...cluster.api.client import ApiClient
from ...cluster.objects.metadata import Object
from ...errors import ApiError, KubeWaitTimeout
from .discovery import Discovery
from .documents import objects_of
from .failure import report

FINAL = ("Succeeded", "Failed")
"""Phases that a pod does not leave."""


class Kube:
    """A namespace of a cluster. Made by :meth:`.KubeCluster.open_namespace`.

    An ``obj`` is what :meth:`apply` returned, or the name of a pod.
    """

    def __init__(
        self, api: ApiClient, namespace: str, describe_nodes: Callable[[str], Awaitable[Sequence[Sequence[str]]]]
    ) -> None:
        self._api = api
        self._discovery = Discovery(api)
        self._describe_nodes = describe_nodes
        """The lines about the node of this name, or about all nodes."""
        self.namespace = namespace

    @checked
    async def apply(self, what: Mapping[str, Any] | str | Path) -> Any:
        """Create objects, or change them, as ``kubectl apply --server-side`` does; returns what has become of them.

        ``what`` is a dictionary, a YAML text, or the path of a file. Of several objects the answer is a list. They are
        in this namespace unless they name another one. Raises BadInput, and ApiError with what the API server says.
        """
        applied = []
        for one in objects_of(what):
            path = await self._discovery.path(one, self.namespace)
            applied.append(await self._api.apply(path, one))
        return applied[0] if len(applied) == 1 else applied

    @checked
    async def get(self, obj: dict[str, Any] | str) -> dict[str, Any] | None:
        """The object as it is now, or None."""
        try:
            return await self._api.get(await self._path(obj))
        except ApiError as error:
            if error.code == NOT_FOUND:
                return None
            raise

    @checked
    async def delete(self, obj: dict[str, Any] | str, *, grace: int | None = None) -> None:
        """Ask for its end, which takes its time. ``grace``: seconds that a pod has, if not those that it names."""
        await self._api.delete(await self._path(obj), grace=grace)

    @checked
    async def pods(self, selector: str = "") -> list[dict[str, Any]]:
        """Those of the namespace, by name; ``selector`` chooses by labels, as in ``app=trainer``."""
        return await self._pods_in(self.namespace, **({"labelSelector": selector} if selector else {}))

    async def _pods_in(self, namespace: str, **query: str) -> list[Object]:
        listed = await self._api.list(f"/api/v1/namespaces/{namespace}/pods", **query)
        return sorted(listed["items"], key=lambda pod: cast(str, pod["metadata"]["name"]))

    @checked
    async def wait_for_pod(
        self,
        pod: dict[str, Any] | str,
        *,
        phase: str = "Running",
        timeout: Seconds = 5.0,  # noqa: ASYNC109 - a test's deadline with an error that shows the state
    ) -> dict[str, Any]:
        """The pod as soon as it is in this phase; ``pod`` is what ``apply`` returned, or a name.

        Raises KubeWaitTimeout after ``timeout`` seconds, or at once if the pod cannot get there any more. The text
        shows the pod, its events, its node, and what the node's manager did last.
        """

        def is_decided(now: Object | None) -> bool:
            return now is not None and _phase(now) in (phase, *FINAL)

        began, now = trio.current_time(), await self._wait(pod, is_decided, timeout)
        if now is not None and _phase(now) == phase:
            return now
        return await self._fail(pod, now, f"is not {phase} after {trio.current_time() - began:.1f} s")

    @checked
    async def wait_until_deleted(self, obj: dict[str, Any] | str, *, timeout: Seconds = 5.0) -> None:  # noqa: ASYNC109
        """Return when there is no such object any more. Raises KubeWaitTimeout, whose text shows the same."""
        now = await self._wait(obj, lambda now: now is None, timeout)
        if now is not None:
            await self._fail(obj, now, f"is still there after {timeout:g} s")

    @checked
    async def wait_for(
        self,
        obj: dict[str, Any] | str,
        holds: Callable[[dict[str, Any]], bool],
        *,
        timeout: Seconds = 5.0,  # noqa: ASYNC109
    ) -> dict[str, Any]:
        """The object as soon as ``holds(object)``. Raises KubeWaitTimeout, whose text shows the same."""
        now = await self._wait(obj, lambda now: now is not None and holds(now), timeout)
        if now is not None and holds(now):
            return now
        return await self._fail(obj, now, f"is not as wanted after {timeout:g} s")

    async def _wait(self, obj: Object | str, holds: Callable[[Object | None], bool], seconds: float) -> Object | None:
        """As wanted, or as it is after so many seconds."""
        path = await self._path(obj)
        with trio.move_on_after(seconds):
            return await self._api.wait_until(path, holds)
        return await self.get(obj)

    async def _path(self, obj: Object | str) -> str:
        if isinstance(obj, str):
            return f"/api/v1/namespaces/{self.namespace}/pods/{obj}"
        return await self._discovery.path(obj, self.namespace)

    async def _fail(self, obj: Object | str, now: Object | None, problem: str) -> NoReturn:
        found: Object = {"apiVersion": "v1", "kind": "Pod", "metadata": {"name": obj}} if isinstance(obj, str) else obj
        kind, name = found["kind"], found["metadata"]["name"]
        namespace = await self._discovery.namespace_of(found, self.namespace)
        about = f"involvedObject.kind={kind},involvedObject.name={name}"
        # Those about an object that is in no namespace are in this one.
        events = await self._api.list(f"/api/v1/namespaces/{namespace or 'default'}/events", fieldSelector=about)
        pods = await self._pods_in(namespace or self.namespace) if kind != "Pod" else []
        on = (now or {}).get("spec", {}).get("nodeName")
        problem = f"{kind} {f'{namespace}/' if namespace else ''}{name} {problem}"
        raise KubeWaitTimeout(report(problem, now, events["items"], pods, await self._describe_nodes(on or "")))


def _phase(pod: Object) -> str:
    return cast(str, (pod.get("status") or {}).get("phase", ""))
