"""What the kubelet keeps elsewhere, and we in ``devicemgr/state.json``: pods, plug-in options, tombstones.

The kubelet learns its pods from the API server, and its checkpoint has no names; options it forgets (LIM-39). The
checkpoint's format has no room for either, so they stand in a file of our own beside it. Its ``boot_id`` tells a
restart of the manager from a restart of the machine (ALLOC-10).

:func:`combine` puts both files together again. A pod that the state knows and the checkpoint does not was never
answered: pods are written before their devices, and removed after them.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any

from ..errors import CorruptCheckpoint
from ..model import Container, ContainerKind, Owner, PluginOptions, Pod, PodUid, ResourceName, RunOptions
from .checkpoint import Checkpoint, Entry, checksum_of
from .holdings import Assignment
from .store import Snapshot

LAYOUT = 1


@dataclass(frozen=True, slots=True, kw_only=True)
class NodeState:
    pods: tuple[Pod, ...] = ()
    options: Mapping[ResourceName, PluginOptions] = field(default_factory=dict)
    removed: tuple[ResourceName, ...] = ()
    boot_id: str = ""


def state_of(snapshot: Snapshot, *, boot_id: str, also: Iterable[Pod] = ()) -> NodeState:
    """The state's half of a snapshot; ``also`` are pods that stay listed for one more write."""
    pods = {pod.uid: pod for pod in (*also, *snapshot.pods)}
    return NodeState(pods=tuple(pods.values()), options=snapshot.options, removed=snapshot.removed, boot_id=boot_id)


def render_state(state: NodeState) -> str:
    data = {
        "Layout": LAYOUT,
        "BootID": state.boot_id,
        "Pods": [_pod_data(pod) for pod in state.pods],
        "PluginOptions": {
            name: {
                "PreStartRequired": options.pre_start_required,
                "GetPreferredAllocationAvailable": options.get_preferred_allocation_available,
            }
            for name, options in state.options.items()
        },
        "RemovedResources": list(state.removed),
    }
    text = json.dumps(data, sort_keys=True)
    return f'{{"Data": {text}, "Checksum": {checksum_of(text)}}}\n'


def parse_state(text: str) -> NodeState:
    """Raises CorruptCheckpoint."""
    try:
        top = json.loads(text)
        data = top["Data"]
        if checksum_of(json.dumps(data, sort_keys=True)) != top["Checksum"]:
            raise CorruptCheckpoint("the checksum does not fit the content")
        if data["Layout"] != LAYOUT:
            raise CorruptCheckpoint(f"layout {data['Layout']!r} is of another version of devicemgr")
        return NodeState(
            pods=tuple(_pod(raw) for raw in data["Pods"]),
            options={
                ResourceName(name): PluginOptions(
                    pre_start_required=bool(raw["PreStartRequired"]),
                    get_preferred_allocation_available=bool(raw["GetPreferredAllocationAvailable"]),
                )
                for name, raw in data["PluginOptions"].items()
            },
            removed=tuple(map(ResourceName, data["RemovedResources"])),
            boot_id=str(data["BootID"]),
        )
    except (ValueError, LookupError, TypeError, AttributeError, RecursionError) as error:
        raise CorruptCheckpoint(f"this is not the state of a manager: {error!r:.200}") from error


def _pod_data(pod: Pod) -> dict[str, Any]:
    containers = [{"Name": c.name, "Kind": c.kind.value, "Limits": dict(c.limits)} for c in pod.containers]
    return {"Namespace": pod.namespace, "Name": pod.name, "UID": pod.uid, "Containers": containers}


def _pod(raw: Mapping[str, Any]) -> Pod:
    containers = tuple(
        Container(
            name=str(one["Name"]),
            kind=ContainerKind(one["Kind"]),
            limits={ResourceName(name): int(count) for name, count in one["Limits"].items()},
        )
        for one in raw["Containers"]
    )
    return Pod(
        namespace=str(raw["Namespace"]), name=str(raw["Name"]), uid=PodUid(str(raw["UID"])), containers=containers
    )


# --- both files together -------------------------------------------------------------------------


@dataclass(frozen=True, slots=True, kw_only=True)
class Combined:
    """``lost`` are pods whose devices are in no file; ``skipped`` counts entries with an unreadable answer."""

    snapshot: Snapshot
    lost: tuple[Pod, ...] = ()
    skipped: int = 0


def combine(checkpoint: Checkpoint, state: NodeState, decode: Callable[[bytes], RunOptions | None]) -> Combined:
    """What to start from. ``decode`` reads a stored answer, or returns None when it cannot (CKPT-9).

    Entries of pods the state does not know are a kubelet's: those pods come back without a name, by their uid.
    """
    read = [(entry, decode(entry.answer)) for entry in checkpoint.entries]
    assignments = {
        (entry.owner, entry.resource): Assignment(devices=entry.devices, answer=answer)
        for entry, answer in read
        if answer is not None
    }
    lost = tuple(pod for pod in state.pods if not all(need in assignments for need in _needs(pod)))
    gone = {pod.uid for pod in lost}
    known = {pod.uid for pod in state.pods}
    nameless = _nameless_pods(
        entry for entry, answer in read if answer is not None and entry.owner.pod_uid not in known
    )
    snapshot = Snapshot(
        assignments=tuple(
            (owner, resource, assignment)
            for (owner, resource), assignment in assignments.items()
            if owner.pod_uid not in gone
        ),
        registered={name: frozenset(ids) for name, ids in checkpoint.registered.items()},
        pods=(*(pod for pod in state.pods if pod.uid not in gone), *nameless),
        options=state.options,
        removed=tuple(name for name in state.removed if name not in checkpoint.registered),
    )
    return Combined(snapshot=snapshot, lost=lost, skipped=sum(answer is None for _, answer in read))


def _needs(pod: Pod) -> Iterable[tuple[Owner, ResourceName]]:
    for container in pod.containers:
        for resource, count in container.limits.items():
            if count:
                yield Owner(pod.uid, container.name), resource


def _nameless_pods(entries: Iterable[Entry]) -> list[Pod]:
    limits: dict[PodUid, dict[str, dict[ResourceName, int]]] = {}
    for entry in entries:
        containers = limits.setdefault(entry.owner.pod_uid, {})
        containers.setdefault(entry.owner.container, {})[entry.resource] = len(entry.devices)
    return [
        Pod(
            namespace="",
            name="",
            uid=uid,
            containers=tuple(Container(name=name, limits=held) for name, held in containers.items()),
        )
        for uid, containers in limits.items()
    ]
