"""What plug-ins add to a container: the merge of several answers (RUN-6), and what is suspicious in one."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import asdict, dataclass
from typing import Any, TypeVar

from ...model import ResourceName, RunOptions
from ...resource_names import is_cdi_name

_SHOWN = 10
_CONTROL = re.compile(r"[\x00-\x1f\x7f]")
_PERMISSIONS = re.compile(r"[rwm]+")

V = TypeVar("V")


@dataclass(frozen=True, slots=True, kw_only=True)
class Conflict:
    """``part`` is env, mount, device or annotation; ``key`` the name or container path that both resources set."""

    part: str
    key: str
    kept: ResourceName
    ignored: ResourceName


def merge_run_options(answers: Mapping[ResourceName, RunOptions]) -> tuple[RunOptions, list[Conflict]]:
    """Merge the stored answers of one container: the first resource by name wins a conflict."""
    # Decision: the kubelet iterates over a hash map, so which of two conflicting values a container sees changes from
    # start to start. A sorted order makes it always the same. A conflict does not fail the start; it is reported.
    ordered = sorted(answers.items())
    conflicts: list[Conflict] = []

    def merge(part: str, items: Callable[[RunOptions], Iterable[tuple[str, V]]]) -> dict[str, V]:
        kept: dict[str, tuple[ResourceName, V]] = {}
        for resource, answer in ordered:
            for key, value in items(answer):
                winner, chosen = kept.setdefault(key, (resource, value))
                if chosen != value:
                    conflicts.append(Conflict(part=part, key=key, kept=winner, ignored=resource))
        return {key: value for key, (_, value) in kept.items()}

    merged = RunOptions(
        envs=merge("env", lambda answer: answer.envs.items()),
        mounts=tuple(
            merge("mount", lambda answer: ((mount.container_path, mount) for mount in answer.mounts)).values()
        ),
        device_specs=tuple(
            merge("device", lambda answer: ((spec.container_path, spec) for spec in answer.device_specs)).values()
        ),
        annotations=merge("annotation", lambda answer: answer.annotations.items()),
        cdi_devices=tuple(dict.fromkeys(name for _, answer in ordered for name in answer.cdi_devices)),
    )
    return merged, conflicts


def as_data(answer: RunOptions) -> dict[str, Any]:
    """As plain data, for JSON."""
    return {
        "envs": dict(answer.envs),
        "mounts": [asdict(mount) for mount in answer.mounts],
        "device_specs": [asdict(spec) for spec in answer.device_specs],
        "annotations": dict(answer.annotations),
        "cdi_devices": list(answer.cdi_devices),
    }


def suspicious_texts(answer: RunOptions) -> tuple[str, ...]:
    """Descriptions of texts that should not be in an answer: paths with ``..``, control characters, and values that no
    container runtime accepts. Of many, only the first ones and how many more there are.

    A plug-in may name any path of the host anyway, so this protects nothing; it makes a mistake, or bad intent,
    visible. The kubelet passes everything on, and the container fails later, with an error of the runtime.
    """
    found = [
        f"{where} {text[:100]!r} {problem}" for where, text in _texts(answer) for problem in _problems(where, text)
    ]
    more = len(found) - _SHOWN
    return (*found[:_SHOWN], f"and {more} more") if more > 0 else tuple(found)


def _problems(where: str, text: str) -> Iterator[str]:
    if where.endswith("path") and ".." in text.split("/"):
        yield "contains '..'"
    if where != "value" and _CONTROL.search(text):
        yield "has control characters"
    if where.endswith("path") and not text.startswith("/"):
        yield "is not absolute"
    if where == "environment variable" and (not text or "=" in text):
        yield "is not a valid name"
    if where == "device's permissions" and not _PERMISSIONS.fullmatch(text):
        yield "are not one or more of r, w and m"
    if where == "CDI device" and not is_cdi_name(text):
        yield "is not a qualified name, as in vendor.com/class=name"


def _texts(answer: RunOptions) -> Iterator[tuple[str, str]]:
    """Every text, after the name of its role."""
    for name, value in answer.envs.items():
        yield from (("environment variable", name), ("value", value))
    for mount in answer.mounts:
        yield from (("mount's container path", mount.container_path), ("mount's host path", mount.host_path))
    for spec in answer.device_specs:
        yield from (("device's container path", spec.container_path), ("device's host path", spec.host_path))
        yield "device's permissions", spec.permissions
    for name, value in answer.annotations.items():
        yield from (("annotation", name), ("value", value))
    for name in answer.cdi_devices:
        yield "CDI device", name
