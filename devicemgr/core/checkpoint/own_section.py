"""Our own section of the checkpoint: pods, plug-in options and removed resources.

The kubelet learns its pods from the API server, so its checkpoint has no names; and it forgets options (LIM-39). The
section's ``BootID`` distinguishes a restart of the manager from a reboot. ``Unconfirmed`` has the pods that have not
been admitted again since a reboot (ALLOC-10): the manager may be restarted in between.

:func:`load_snapshot` makes the state to start from out of the whole file.
"""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping
from collections.abc import Set as AbstractSet
from dataclasses import dataclass, field
from typing import Any

from ...errors import CorruptCheckpoint
from ...model import Container, ContainerKind, DeviceId, PluginOptions, Pod, PodUid, ResourceName, RunOptions
from ..devices.pod_devices import Assignment
from ..devices.store import Snapshot
from .kubelet_format import Checkpoint, Entry, checksum_of

LAYOUT = 2


@dataclass(frozen=True, slots=True, kw_only=True)
class OwnSection:
    pods: tuple[Pod, ...] = ()
    options: Mapping[ResourceName, PluginOptions] = field(default_factory=dict)
    removed: tuple[ResourceName, ...] = ()
    unconfirmed: tuple[PodUid, ...] = ()
    boot_id: str = ""


# --- writing -------------------------------------------------------------------------------------


def pod_fragment(pod: Pod) -> str:
    """One pod in the section's JSON. A writer keeps it."""
    containers = [{"Name": c.name, "Kind": c.kind.value, "Limits": dict(c.limits)} for c in pod.containers]
    return _json({"Namespace": pod.namespace, "Name": pod.name, "UID": pod.uid, "Containers": containers})


def format_section(
    pods: Iterable[str],
    options: Mapping[ResourceName, PluginOptions],
    removed: Iterable[ResourceName],
    unconfirmed: Iterable[PodUid],
    *,
    boot_id: str,
) -> str:
    """The section's text, from the fragments of its pods. Its keys are in the order in which :func:`_json` sorts them,
    so that a reader gets the same text, and the same checksum, from the value."""
    wanted = {
        name: {
            "PreStartRequired": one.pre_start_required,
            "GetPreferredAllocationAvailable": one.get_preferred_allocation_available,
        }
        for name, one in options.items()
    }
    text = (
        f'{{"BootID":{_json(boot_id)},"Layout":{LAYOUT},"PluginOptions":{_json(wanted)},'
        f'"Pods":[{",".join(pods)}],"RemovedResources":{_json(list(removed))},"Unconfirmed":{_json(list(unconfirmed))}}}'
    )
    return f'{{"Data":{text},"Checksum":{checksum_of(text)}}}'


_json = json.JSONEncoder(sort_keys=True, separators=(",", ":")).encode


# --- reading -------------------------------------------------------------------------------------


def parse_section(section: Any) -> OwnSection:
    """The section, from its JSON value. Raises CorruptCheckpoint."""
    try:
        data = section["Data"]
        if checksum_of(_json(data)) != section["Checksum"]:
            raise CorruptCheckpoint("the checksum does not fit the section of the device manager")
        if data["Layout"] != LAYOUT:
            raise CorruptCheckpoint(f"layout {data['Layout']!r:.80} is of another version of devicemgr")
        return OwnSection(
            pods=tuple(_pod(raw) for raw in _list(data["Pods"])),
            options={
                _text(name): PluginOptions(
                    pre_start_required=bool(raw["PreStartRequired"]),
                    get_preferred_allocation_available=bool(raw["GetPreferredAllocationAvailable"]),
                )
                for name, raw in data["PluginOptions"].items()
            },
            removed=tuple(_text(name) for name in _list(data["RemovedResources"])),
            unconfirmed=tuple(_text(uid) for uid in _list(data["Unconfirmed"])),
            boot_id=_text(data["BootID"]),
        )
    except (ValueError, LookupError, TypeError, AttributeError, RecursionError) as error:
        raise CorruptCheckpoint(f"this is not the section of a device manager: {error!r:.200}") from error


def _pod(raw: Mapping[str, Any]) -> Pod:
    containers = tuple(
        Container(
            name=_text(one["Name"]),
            kind=ContainerKind(one["Kind"]),
            limits={_text(name): _count(count) for name, count in one["Limits"].items()},
        )
        for one in _list(raw["Containers"])
    )
    uid = _text(raw["UID"])
    return Pod(namespace=_text(raw["Namespace"]), name=_text(raw["Name"]), uid=uid, containers=containers)


def _list(value: Any) -> list[Any]:
    if not isinstance(value, list):
        raise TypeError(f"a list is expected, not {value!r:.80}")
    return value


def _text(value: Any) -> str:
    if not isinstance(value, str):
        raise TypeError(f"a text is expected, not {value!r:.80}")
    value.encode()  # half of a surrogate pair, which JSON can express and UTF-8 cannot
    return value


def _count(value: Any) -> int:
    if not isinstance(value, int) or isinstance(value, bool) or not 0 <= value < 2**63:
        raise ValueError(f"a count is expected, not {value!r:.80}")
    return value


# --- what to start from ----------------------------------------------------------------------------


@dataclass(frozen=True, slots=True, kw_only=True)
class SavedCheckpoint:
    """A file whose checksums are right. ``section`` is None in a kubelet's own file."""

    checkpoint: Checkpoint
    section: OwnSection | None


@dataclass(frozen=True, slots=True, kw_only=True)
class LoadedSnapshot:
    """``skipped`` counts entries with an unreadable answer, which are left out (CKPT-9)."""

    snapshot: Snapshot
    skipped: int = 0


def load_snapshot(saved: SavedCheckpoint, decode: Callable[[bytes], RunOptions | None]) -> LoadedSnapshot:
    """The state to start from. ``decode`` reads a stored answer, or returns None if it cannot.

    Pods that are not in the section were admitted by a kubelet: they are restored with their uid, and without a name.
    """
    checkpoint, section = saved.checkpoint, saved.section or OwnSection()
    read = [(entry, decode(entry.answer)) for entry in checkpoint.entries]
    good = [(entry, answer) for entry, answer in read if answer is not None]
    known = {pod.uid for pod in section.pods}
    nameless = _nameless_pods(entry for entry, _ in good if entry.owner.pod_uid not in known)
    snapshot = Snapshot(
        assignments=tuple(
            (entry.owner, entry.resource, Assignment(devices=entry.devices, answer=answer, raw=entry.answer))
            for entry, answer in good
        ),
        registered=checkpoint.registered,
        pods=(*section.pods, *nameless),
        options=section.options,
        removed=tuple(name for name in section.removed if name not in checkpoint.registered),
        unconfirmed=tuple(uid for uid in section.unconfirmed if uid in known),
    )
    return LoadedSnapshot(snapshot=snapshot, skipped=len(read) - len(good))


_Held = Mapping[str, Mapping[ResourceName, AbstractSet[DeviceId]]]
"""What each container holds."""


def _nameless_pods(entries: Iterable[Entry]) -> list[Pod]:
    """Pods, made from what their containers hold."""
    held: dict[PodUid, dict[str, dict[ResourceName, AbstractSet[DeviceId]]]] = {}
    for entry in entries:
        containers = held.setdefault(entry.owner.pod_uid, {})
        containers.setdefault(entry.owner.container, {})[entry.resource] = entry.devices.keys()
    return [
        Pod(namespace="", name="", uid=uid, containers=tuple(_containers(containers)))
        for uid, containers in held.items()
    ]


def _containers(held: _Held) -> list[Container]:
    main = _main_containers(held)
    ordered = [name for name in held if name not in main] + [name for name in held if name in main]
    return [
        Container(
            name=name,
            kind=ContainerKind.MAIN if name in main else ContainerKind.INIT,
            limits={resource: len(ids) for resource, ids in held[name].items()},
        )
        for name in ordered  # init containers start first
    ]


def _main_containers(held: _Held) -> set[str]:
    """The containers that are taken for main containers, and not for init containers.

    The file does not say which are which. But only an init container shares a device with another container (ALLOC-13),
    so as many as possible are main containers that share no device with each other. Those that share the fewest and
    have the most of their own are chosen first; of two alike, the later one in the file. Which of them is chosen shows
    in PodResources only (PR-3): a pod's request does not depend on it (``PodDevices``).
    """
    holders = Counter(device for one in held.values() for device in _devices(one))
    shared = {name: sum(holders[device] > 1 for device in _devices(one)) for name, one in held.items()}
    own = {name: sum(holders[device] == 1 for device in _devices(one)) for name, one in held.items()}
    main: set[str] = set()
    taken: set[tuple[ResourceName, DeviceId]] = set()
    place = {name: number for number, name in enumerate(held)}
    for name in sorted(held, key=lambda name: (shared[name], -own[name], -place[name])):
        devices = set(_devices(held[name]))
        if not devices & taken:
            main.add(name)
            taken |= devices
    return main


def _devices(container: Mapping[ResourceName, AbstractSet[DeviceId]]) -> Iterator[tuple[ResourceName, DeviceId]]:
    return ((resource, id) for resource, ids in container.items() for id in ids)
