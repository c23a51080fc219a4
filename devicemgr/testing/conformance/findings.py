"""What checks find out for other checks and for the runner."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from ...model import DeviceId, ResourceName

Hardware = Mapping[DeviceId, frozenset[str]]
"""For each id, what the answer to Allocate names of the node."""


@dataclass(frozen=True, slots=True)
class Termination:
    """How the plug-in reacted to SIGTERM: its exit status, None if it did not exit; its sockets, and those of them that
    were still there afterwards."""

    status: int | None
    seconds: float
    sockets: Sequence[str]
    left: Sequence[str]


@dataclass(slots=True)
class RunningCheck:
    """``step`` is what it is doing, if it has several steps: the evidence begins with it if the plug-in exits.
    ``watching_since`` is when the quiet period began, if it watches that."""

    name: str | None = None
    step: str = ""
    watching_since: float | None = None


@dataclass(slots=True)
class Findings:
    """``allocate_skip_reasons``: why Allocate cannot be answered here at all. ``changed_lists``: the ids of a list that
    the plug-in sent by itself after its first one, and those of the first list of a new stream.
    ``hardware``: that at each registration, by its time.
    ``covered``: by check, the resources that were known when it was run.
    ``conclusive_failures``: the checks that failed for a reason which no other instance can be. ``failed_in_parallel``:
    by check, the evidence of a failure while other instances ran."""

    termination: Termination | None = None
    allocate_skip_reasons: dict[ResourceName, str] = field(default_factory=dict)
    changed_lists: dict[ResourceName, tuple[frozenset[str], frozenset[str]]] = field(default_factory=dict)
    hardware: dict[ResourceName, dict[float, Hardware]] = field(default_factory=lambda: defaultdict(dict))
    covered: dict[str, frozenset[ResourceName]] = field(default_factory=dict)
    conclusive_failures: set[str] = field(default_factory=set)
    failed_in_parallel: dict[str, str] = field(default_factory=dict)
