"""``kubelet_internal_checkpoint``, byte for byte as the kubelet writes it (CKPT-1…CKPT-10).

The file is one JSON object: ``{"Data": {…}, "Checksum": n}``. The checksum is FNV-1a over a *canonical text* of Data:
what Go prints for the value with its type names, maps sorted. That text, not the JSON, decides whether a file is
accepted, so both are produced here together: each entry and each resource is rendered once as a :class:`Fragment`, and
a file is the fragments joined. A writer keeps the fragments of what did not change.

Beside ``Data`` and ``Checksum`` the file may have a *section* of our own (``own_section``). A kubelet's decoder ignores
keys that it does not know, so it loads the file all the same, and its first write drops the section.

When a kubelet's file is read, everything is checked: a wrong type, another layout or a wrong checksum raises
CorruptCheckpoint, which says what is wrong and where.
"""

# Decision: a section of the same file, not a second file. Assignments and pods change together, and renaming one file
# is atomic. Two files would need an order of writing, a rule for each crash in between, and twice the disk writes.

from __future__ import annotations

import base64
import binascii
import json
import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from fnv_hash_fast import fnv1a_32

from ...concurrency.steps import Steps, in_chunks, run_steps
from ...errors import CorruptCheckpoint
from ...model import DeviceId, Owner, ResourceName

FILE_NAME = "kubelet_internal_checkpoint"
SECTION = "DeviceManager"
"""The key of our own section."""
NO_NUMA_NODE = -1
"""The key for devices without topology (CKPT-3)."""
_NODE_KEY = re.compile(r"-?(0|[1-9][0-9]{0,18})")

"""The devices of each NUMA node; a device with two nodes is listed under both."""
DeviceNodes = Mapping[DeviceId, tuple[int, ...] | None]


@dataclass(frozen=True, slots=True, kw_only=True)
class Entry:
    """One resource of one container: its devices, and the plug-in's answer as serialized ContainerAllocateResponse."""

    owner: Owner
    resource: ResourceName
    devices: DeviceNodes
    answer: bytes


@dataclass(frozen=True, slots=True, kw_only=True)
class Checkpoint:
    """``registered`` has the ids that were healthy when it was written, by resource. When it is loaded, only its keys
    are used (CKPT-4). ``section`` is the JSON value of our own section, None in a kubelet's file.
    """

    entries: tuple[Entry, ...] = ()
    registered: Mapping[ResourceName, tuple[DeviceId, ...]] = field(default_factory=dict)
    section: Any = None


@dataclass(frozen=True, slots=True)
class Fragment:
    """A part of the file: as JSON, and as the checksum is computed of it."""

    json: str
    canonical: str


# --- writing -------------------------------------------------------------------------------------


def numa_map(devices: DeviceNodes) -> dict[int, list[DeviceId]]:
    """Devices by NUMA node, nodes ascending; without topology, or with an empty one, under -1 (ALLOC-5h)."""
    found: dict[int, list[DeviceId]] = {}
    for device, nodes in devices.items():
        for node in nodes or (NO_NUMA_NODE,):
            found.setdefault(node, []).append(device)
    return dict(sorted(found.items()))


def entry_fragment(entry: Entry) -> Fragment:
    raw = {
        "PodUID": entry.owner.pod_uid,
        "ContainerName": entry.owner.container,
        "ResourceName": entry.resource,
        "DeviceIDs": {str(node): ids for node, ids in numa_map(entry.devices).items()},
        "AllocResp": base64.b64encode(entry.answer).decode(),
    }
    fields = (f'"{key}":{_go_json(value)}' for key, value in raw.items())  # in the order of Go's struct
    return Fragment(f"{{{','.join(fields)}}}", _canonical_entry(raw))


def registered_fragment(resource: ResourceName, healthy: Sequence[DeviceId]) -> Steps[Fragment]:
    json_parts, parts = [], []
    for ids in in_chunks(healthy):
        json_parts.append(_go_json(ids)[1:-1])
        parts.append(" ".join(ids))
        yield
    return Fragment(f"{_go_json(resource)}:[{','.join(json_parts)}]", f"{resource}:[{' '.join(parts)}]")


def format_checkpoint(
    entries: Iterable[Fragment], registered: Mapping[ResourceName, Fragment], *, section: str = ""
) -> str:
    """The text of the file. Resources are sorted by their bytes; entries keep the order given.

    ``section`` is the JSON text of our own section.
    """
    entries = list(entries)
    resources = [registered[name] for name in sorted(registered)]
    listed = f"[{','.join(one.json for one in entries)}]" if entries else "null"
    data = f'{{"PodDeviceEntries":{listed},"RegisteredDevices":{{{",".join(one.json for one in resources)}}}}}'
    canonical = _canonical(
        f"[{' '.join(one.canonical for one in entries)}]" if entries else "<nil>",
        f"map[{' '.join(one.canonical for one in resources)}]",
    )
    more = f',"{SECTION}":{section}' if section else ""
    return f'{{"Data":{data},"Checksum":{checksum_of(canonical)}{more}}}'


def render(checkpoint: Checkpoint, *, section: str = "") -> str:
    """The text of a whole checkpoint, made without kept fragments."""
    return format_checkpoint(
        map(entry_fragment, checkpoint.entries),
        {name: run_steps(registered_fragment(name, ids)) for name, ids in checkpoint.registered.items()},
        section=section,
    )


def checksum_of(canonical: str) -> int:
    """FNV-1a, 32 bit, over the UTF-8 bytes (CKPT-6)."""
    value: int = fnv1a_32(canonical.encode())
    return value


# --- reading -------------------------------------------------------------------------------------


def parse_checkpoint(text: str) -> Checkpoint:
    """The content of a file. Raises CorruptCheckpoint if it is no checkpoint, or has a wrong checksum (CKPT-9)."""
    top = load_json(text)
    data, stored = _typed(top.get("Data"), dict, "Data"), stored_checksum(top)
    if problem := checksum_problem(canonical_text(data), stored):
        raise CorruptCheckpoint(problem)
    return content(data, _section(top))


def checksum_problem(canonical: str, stored: int) -> str:
    """Why the stored checksum is wrong; empty if it is that of the canonical text. Raises CorruptCheckpoint."""
    try:
        actual = checksum_of(canonical)
    except UnicodeEncodeError as error:  # half of a surrogate pair, which JSON can express and UTF-8 cannot
        raise CorruptCheckpoint(f"a text is not Unicode: {error}") from error
    return "" if actual == stored else f"the checksum is {stored}, but the content's is {actual}"


def content(data: Mapping[str, Any], section: Any = None) -> Checkpoint:
    """The content of Data, whose types were checked by :func:`canonical_text`."""
    return Checkpoint(
        entries=tuple(_entry(raw) for raw in data.get("PodDeviceEntries") or ()),
        registered={name: tuple(ids or ()) for name, ids in (data.get("RegisteredDevices") or {}).items()},
        section=section,
    )


def canonical_text(data: Any, *, with_nodes: bool = True) -> str:
    """The text of which the checksum is computed, from the JSON value of Data (CKPT-6). Raises CorruptCheckpoint.

    ``with_nodes`` is False for the layout before Kubernetes 1.20, in which the devices of an entry are a list.
    """
    data = _typed(data, dict, "Data")
    raw_entries, raw_registered = data.get("PodDeviceEntries"), data.get("RegisteredDevices")
    texts = [_canonical_entry(raw, with_nodes=with_nodes) for raw in _rows(raw_entries)]
    entries = _sequence(texts, raw_entries is None)
    names = _typed(raw_registered, dict, "RegisteredDevices")
    parts = [f"{name}:{_list(names[name])}" for name in sorted(names)]
    return _canonical(entries, "<nil>" if raw_registered is None else f"map[{' '.join(parts)}]")


def load_json(text: str) -> dict[str, Any]:
    """The JSON object in a file. Raises CorruptCheckpoint."""
    try:
        top = json.loads(text, parse_constant=_no_constant)
    except (ValueError, RecursionError) as error:
        raise CorruptCheckpoint(f"this is not JSON: {error}") from error
    found: dict[str, Any] = _typed(top, dict, "the file")
    return found


def _no_constant(name: str) -> None:
    """Python's decoder accepts NaN and Infinity, which JSON does not have."""
    raise ValueError(f"{name} is not a number")


def stored_checksum(top: Mapping[str, Any]) -> int:
    stored = top.get("Checksum", 0)
    if not isinstance(stored, int) or isinstance(stored, bool) or not 0 <= stored < 2**64:
        raise CorruptCheckpoint(f"Checksum must be a number of 64 bits, not {stored!r:.80}")
    return stored


def _section(top: dict[str, Any]) -> Any:
    """Our section, if there is one. Other keys are ignored, as in Go, except a damaged name of ours."""
    for key in top.keys() - {"Data", "Checksum", SECTION}:
        if isinstance(top[key], dict) and "Checksum" in top[key]:
            raise CorruptCheckpoint(f"there is a key {key!r:.80} instead of {SECTION!r}")
    return top.get(SECTION)


def _entry(raw: Any) -> Entry:
    raw = raw or {}
    nodes: dict[DeviceId, list[int]] = {}
    for node, ids in sorted((raw.get("DeviceIDs") or {}).items(), key=lambda item: int(item[0])):
        for id in ids or ():
            nodes.setdefault(id, []).append(int(node))
    return Entry(
        owner=Owner(raw.get("PodUID") or "", raw.get("ContainerName") or ""),
        resource=raw.get("ResourceName") or "",
        devices={id: None if at == [NO_NUMA_NODE] else tuple(at) for id, at in nodes.items()},
        answer=_bytes(raw.get("AllocResp")),
    )


# --- both ----------------------------------------------------------------------------------------


def _canonical_entry(raw: Any, *, with_nodes: bool = True) -> str:
    raw = _typed(raw, dict, "an entry of PodDeviceEntries")
    texts = [_typed(raw.get(key), str, key) for key in ("PodUID", "ContainerName", "ResourceName")]
    ids, answer = raw.get("DeviceIDs"), raw.get("AllocResp")
    devices = f"(checkpoint.DevicesPerNUMA){_numa_text(ids)}" if with_nodes else f"([]string){_list(ids)}"
    return (
        f"{{PodUID:(string){texts[0]} ContainerName:(string){texts[1]} ResourceName:(string){texts[2]} "
        f"DeviceIDs:{devices} "
        f"AllocResp:([]uint8){_sequence(map(str, _bytes(answer)), answer is None)}}}"
    )


def _numa_text(numa: Any) -> str:
    """Keys are sorted as numbers here, but in the JSON as texts."""
    found = _typed(numa, dict, "DeviceIDs")
    for key in found:
        if not _NODE_KEY.fullmatch(key) or not -(2**63) <= int(key) < 2**63:
            raise CorruptCheckpoint(f"DeviceIDs has the key {key!r:.80}, which is not a NUMA node")
    parts = [f"{int(key)}:{_list(found[key])}" for key in sorted(found, key=int)]
    return "<nil>" if numa is None else f"map[{' '.join(parts)}]"


def _canonical(entries: str, registered: str) -> str:
    return (
        f"(checkpoint.checkpointData){{PodDeviceEntries:([]checkpoint.PodDevicesEntry){entries}"
        f" RegisteredDevices:(map[string][]string){registered}}}"
    )


def _list(ids: Any) -> str:
    return _sequence([_typed(id, str, "a device id") for id in _rows(ids)], ids is None)


def _rows(value: Any) -> list[Any] | tuple[Any, ...]:
    if value is not None and not isinstance(value, list | tuple):
        raise CorruptCheckpoint(f"a list is expected, not {value!r:.80}")
    return value or ()


def _sequence(parts: Iterable[str], absent: bool) -> str:
    return "<nil>" if absent else f"[{' '.join(parts)}]"


def _typed(value: Any, kind: type, what: str) -> Any:
    """The value, if it has the type that Go's decoder requires; null is the type's empty value."""
    if value is None:
        return kind()
    if not isinstance(value, kind):
        raise CorruptCheckpoint(f"{what} must be a JSON {'object' if kind is dict else 'string'}, not {value!r:.80}")
    return value


def _bytes(value: Any) -> bytes:
    text = _typed(value, str, "AllocResp")
    try:
        return base64.b64decode(text.replace("\n", "").replace("\r", ""), validate=True)
    except (binascii.Error, ValueError) as error:
        raise CorruptCheckpoint(f"AllocResp is not base64: {error}") from error


def _go_json(value: Any) -> str:
    """JSON as Go's encoder writes it (CKPT-7): the keys of a map are sorted as texts."""
    text = _to_json(value)
    return "".join(_ESCAPED.get(letter, letter) for letter in text) if _NEEDS_ESCAPE.search(text) else text


_to_json = json.JSONEncoder(ensure_ascii=False, separators=(",", ":"), sort_keys=True).encode
_ESCAPED = {letter: f"\\u{ord(letter):04x}" for letter in "<>&\u2028\u2029"}
_NEEDS_ESCAPE = re.compile("[<>&\u2028\u2029]")
