"""An overview in parts, as JSON: a part is sent to a browser when it differs from the one that it has. All readers
share the texts of the parts, so a message to one of them is a list of texts that are there.

===================  =============================================================================================
``resources``        the names of all resources
``resource NAME``    its counts, its plug-in's socket, and, as a trace may begin in the middle, what is known of it
``devices NAME``     its ids, by NUMA nodes: ``[[[0], ["gpu-0", …]], …]``
``states NAME``      a letter for each of these, in the same order (``core.views.overview``)
``held NAME``        who holds what: ``[[pod uid, container, [id, …]], …]``
``pods``             the uids of all pods, oldest first
``tasks``            the running tasks, each with what it waits for; times are in seconds since the epoch
``pod UID``          its name, its containers, and its number, which chooses its label and its colour
===================  =============================================================================================
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import asdict
from typing import Any

from ...concurrency.steps import Steps
from ...core.views.overview import Overview, PodOverview, ResourceOverview
from ...core.views.task_tree import TaskTree, TreeNode, shown_children
from ...model import PodUid

Parts = Mapping[str, str]
"""By name, the JSON text of each part, as a member of an object: ``"pods": ["uid-1"]``."""


class PartsOf:
    """Turns overviews into parts. The text of a part that is the same as in the one before is the same object."""

    def __init__(self) -> None:
        self._last: dict[str, tuple[Any, str]] = {}
        self._numbers: dict[PodUid, int] = {}

    def __call__(self, overview: Overview) -> Steps[Parts]:
        parts: dict[str, tuple[Any, str]] = {}
        for name, value in self._values(overview):
            last = self._last.get(name)
            parts[name] = last if last is not None and last[0] == value else (value, _member(name, _plain(value)))
            yield
        self._last = parts
        return {name: text for name, (_, text) in parts.items()}

    def _values(self, overview: Overview) -> Iterator[tuple[str, Any]]:
        yield "resources", [one.name for one in overview.resources]
        for resource in overview.resources:
            yield from _of_resource(resource)
        yield "pods", [one.uid for one in overview.pods]
        self._number(overview)
        for pod in overview.pods:
            yield f"pod {pod.uid}", (pod, self._numbers[pod.uid])

    def _number(self, overview: Overview) -> None:
        """A pod keeps its number for as long as it is there; a new one gets the lowest that is free."""
        uids = {pod.uid for pod in overview.pods}
        self._numbers = {uid: number for uid, number in self._numbers.items() if uid in uids}
        taken, number = set(self._numbers.values()), 0
        for pod in overview.pods:
            if pod.uid not in self._numbers:
                while number in taken:
                    number += 1
                taken.add(number)
                self._numbers[pod.uid] = number


def _of_resource(resource: ResourceOverview) -> Iterator[tuple[str, Any]]:
    known = {"knows_devices": resource.knows_devices, "knows_holders": resource.knows_holders}
    yield f"resource {resource.name}", asdict(resource.counts) | {"socket": resource.socket} | known
    yield f"devices {resource.name}", [(group.numa_nodes, group.devices) for group in resource.groups]
    yield f"states {resource.name}", "".join(group.states for group in resource.groups)
    yield f"held {resource.name}", [(owner.pod_uid, owner.container, ids) for owner, ids in resource.held.items()]


def _plain(value: Any) -> Any:
    match value:
        case PodOverview() as pod, int(number):
            containers = [{"name": name, "kind": kind} for name, kind in pod.containers]
            return {**asdict(pod), "containers": containers, "number": number}
        case _:
            return value


def tree_part(tree: TaskTree) -> str:
    """The part ``tasks``; the same text as long as nothing but the time has changed."""
    return _member("tasks", _node(tree.root, tree.time - tree.at))


def _member(name: str, value: Any) -> str:
    return f"{json.dumps(name)}:{json.dumps(value)}"


def _node(node: TreeNode, zero: float) -> dict[str, Any]:
    return {
        "kind": node.kind,
        "name": node.name,
        "state": node.state,
        "waits_for": node.waits_for,
        "since": None if node.since is None else round(node.since + zero, 1),
        "deadline": None if node.deadline is None else round(node.deadline + zero, 1),
        "cancelled": node.cancelled,
        "children": [_node(child, zero) for child in shown_children(node)],
    }


def message(
    parts: Iterable[str], *, gone: Sequence[str] = (), events: Iterable[str] = (), first: bool, **more: Any
) -> list[str]:
    """What a browser gets, in pieces: parts that are new to it, the names of those that are gone, and events; and
    ``more``.

    The ``first`` message is complete; whatever the browser has from before is void, except for events of the same log.
    """
    head = json.dumps({"first": first, "gone": list(gone), **more})[:-1]
    return [head, ',"parts":{', *_separated(parts), '},"events":[', *_separated(events), "]}"]


def _separated(texts: Iterable[str]) -> Iterator[str]:
    for place, text in enumerate(texts):
        if place:
            yield ","
        yield text
