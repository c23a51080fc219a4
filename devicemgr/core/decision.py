"""Why a pod got the devices it got, or none: what was decided, as data (kubernetes #123037).

Filled in while an admission goes on, and never read by it. :func:`tell` puts it into plain words, with the reference
item of each rule.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from typing import Any

from ..model import DeviceId, ResourceName, RunOptions
from .allocation import Plan
from .policy import Alignment


@dataclass(slots=True)
class ResourceDecision:
    """One resource of one container: the last plan, what was asked, and what the plug-in said."""

    requested: int
    held: tuple[DeviceId, ...] = ()
    considered: dict[str, tuple[DeviceId, ...]] = field(default_factory=dict)
    taken: list[dict[str, Any]] = field(default_factory=list)
    question: dict[str, Any] | None = None
    advice: tuple[DeviceId, ...] | None = None
    answer: dict[str, int] | None = None

    def planned(self, plan: Plan) -> None:
        """Take over a plan; a later one, after the plug-in's advice, replaces it."""
        self.held = plan.held
        self.considered = {"reusable": plan.reusable, **asdict(plan.split)} if plan.split else {}
        self.taken = [asdict(step) for step in plan.steps]
        if plan.question is not None:
            self.question = asdict(plan.question)

    def answered(self, answer: RunOptions) -> None:
        self.answer = {
            "environment variable": len(answer.envs),
            "mount": len(answer.mounts),
            "device node": len(answer.device_specs),
            "annotation": len(answer.annotations),
            "CDI device": len(answer.cdi_devices),
        }


@dataclass(slots=True)
class AlignmentDecision:
    """The hints of each resource, and the one that won."""

    hints: dict[str, list[str] | None]
    won: str
    because: str
    admit: bool

    @classmethod
    def of(cls, alignment: Alignment, hints: Mapping[ResourceName, Sequence[object] | None]) -> AlignmentDecision:
        words = {str(name): None if found is None else list(map(str, found)) for name, found in hints.items()}
        return cls(hints=words, won=str(alignment.hint), because=alignment.because, admit=alignment.admit)


@dataclass(slots=True)
class ContainerDecision:
    """``kind`` is init, sidecar or main."""

    name: str
    kind: str
    alignment: AlignmentDecision | None = None
    resources: dict[ResourceName, ResourceDecision] = field(default_factory=dict)


@dataclass(slots=True)
class Decision:
    """One admission. ``time`` is in seconds since the epoch; ``rule`` is the item that refused, if one did."""

    namespace: str
    name: str
    uid: str
    time: float
    policy: str
    scope: str
    admitted: bool = False
    reason: str = ""
    message: str = ""
    rule: str = ""
    waited_for: tuple[ResourceName, ...] = ()
    alignment: AlignmentDecision | None = None
    containers: dict[str, ContainerDecision] = field(default_factory=dict)

    def as_json(self) -> dict[str, Any]:
        data = asdict(self)
        return {**data, "containers": list(data["containers"].values())}


# --- in plain words ------------------------------------------------------------------------------


def tell(decision: Mapping[str, Any]) -> Iterator[str]:
    """The lines of the story, from :meth:`Decision.as_json`."""
    pod = f"{decision['namespace']}/{decision['name']}"
    yield f"Pod {pod} (uid {decision['uid']}) was {'admitted' if decision['admitted'] else 'refused'}."
    if not decision["admitted"]:
        yield f"  {decision['reason']} by rule {decision['rule']}: {decision['message']}"
    if decision["waited_for"]:
        yield f"  It waited for the plug-in of {_words(decision['waited_for'])} to return after a restart (LIM-32)."
    if decision["policy"] == "none":
        yield "  Topology policy none: NUMA nodes were not looked at (TM-13)."
    else:
        yield f"  Topology policy {decision['policy']}, scope {decision['scope']} (TM-14)."
    if decision["alignment"]:
        yield from _tell_alignment(decision["alignment"], "  ", "the whole pod")
    for container in decision["containers"]:
        yield from _tell_container(container)


def _tell_container(container: Mapping[str, Any]) -> Iterator[str]:
    kinds = {"init": "init container", "sidecar": "sidecar", "main": "container"}
    yield f"  {kinds[container['kind']].capitalize()} {container['name']}:"
    if container["alignment"]:
        yield from _tell_alignment(container["alignment"], "    ", "this container")
    if not container["resources"]:
        yield "    asks for no extended resource."
    for resource, one in container["resources"].items():
        yield f"    {resource}: wants {one['requested']}."
        yield from (f"      {line}" for line in _tell_resource(one))


def _tell_resource(one: Mapping[str, Any]) -> Iterator[str]:
    if one["held"]:
        yield f"It holds {_words(one['held'])} already, so nothing was allocated (ALLOC-6f)."
    shown = {name.replace("_", " "): ids for name, ids in one["considered"].items() if ids}
    if shown:
        yield "Considered: " + "; ".join(f"{name}: {_words(ids)}" for name, ids in shown.items()) + "."
    question = one["question"]
    if question and (one["advice"] is not None or question["size"] < len(question["available"])):
        include = _words(question["must_include"]) or "none in particular"
        yield (
            f"There was a choice: {question['size']} of {len(question['available'])} devices, "
            f"{include} among them (ALLOC-18)."
        )
        if one["advice"] is None:
            yield "The plug-in does not offer GetPreferredAllocation, so it was not asked."
        else:
            yield f"The plug-in, asked for its preference, said: {_words(one['advice']) or 'nothing'}."
    for step in one["taken"]:
        yield f"Taken: {_words(step['devices'])}: {step['because']} ({step['rule']})."
    if one["answer"] is not None:
        given = ", ".join(
            f"{count} {what if count == 1 else what + 's'}" for what, count in one["answer"].items() if count
        )
        yield f"Allocate was answered with {given or 'nothing to add'}."


def _tell_alignment(alignment: Mapping[str, Any], indent: str, what: str) -> Iterator[str]:
    for resource, hints in alignment["hints"].items():
        if hints is None:
            yield f"{indent}{resource} has no NUMA preference (TM-7)."
        elif not hints:
            yield f"{indent}{resource} cannot be satisfied on any set of NUMA nodes (TM-7)."
        else:
            yield f"{indent}{resource} could be served on {_words(hints, '; ')} (TM-8)."
    verdict = "good enough for this policy" if alignment["admit"] else "not good enough for this policy"
    yield f"{indent}For {what}, {alignment['won']} won: {alignment['because']} (TM-12); {verdict} (TM-13)."


def _words(items: Sequence[str], separator: str = ", ") -> str:
    shown = separator.join(items[:10])
    return f"{shown} and {len(items) - 10} more" if len(items) > 10 else shown
