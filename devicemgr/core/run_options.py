"""What a container gets from several resources together (RUN-6).

# Decision: resources are visited in sorted order. The kubelet walks a hash map, so which of two conflicting values
# a container sees changes from start to start; here the first resource by name always wins. A conflict never fails
# the start; it is returned, so that somebody can be told.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from typing import TypeVar

from ..model import ResourceName, RunOptions

V = TypeVar("V")


@dataclass(frozen=True, slots=True, kw_only=True)
class Conflict:
    """``part`` is env, mount, device or annotation; ``key`` the name or container path both gave."""

    part: str
    key: str
    kept: ResourceName
    ignored: ResourceName


def merge_run_options(answers: Mapping[ResourceName, RunOptions]) -> tuple[RunOptions, list[Conflict]]:
    """Merge the stored answers of one container: the first resource by name wins a conflict."""
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
