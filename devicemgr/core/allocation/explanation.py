"""Why a pod got the devices it got, or none: what was decided, as data (kubernetes #123037).

An admission fills it in and never reads it. :func:`render` turns it into text, with the id of each rule.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace
from itertools import islice
from typing import Any

from ...model import Container, DeviceId, Owner, Pod, ResourceName, RunOptions
from ..devices.pod_devices import in_order
from ..devices.store import DeviceStore
from ..topology.alignment import Alignment
from ..topology.hints import DeviceHints, HintList, Hints
from ..topology.node_search import SearchBudget, SearchBudgetExceeded
from ..topology.policy import Topology
from .plan import Plan

LISTED = 50
"""So many ids of each class are kept; of the others only their number."""

ENUMERATED_NODES = 10
MAX_HINTS = 2**ENUMERATED_NODES
"""With up to so many NUMA nodes all hints are rendered; with more, the first :data:`LISTED`."""
MAX_PLACES = 100
"""Hints of devices in more places than this are rendered at once: as text they take less memory."""


def listed(ids: Collection[DeviceId]) -> dict[str, Any]:
    """How many they are, and the first of them. An explanation is kept as long as its pod, so it must be small."""
    return {"count": len(ids), "ids": list(islice(ids, LISTED))}


@dataclass(slots=True)
class ResourceExplanation:
    """One resource of one container: the last plan, and what the plug-in was asked and answered.

    ``considered`` has the devices of each class, as :func:`listed` returns them. ``node_resource`` is how many the node
    has of a resource that no plug-in provides.
    """

    requested: int
    held: tuple[DeviceId, ...] = ()
    considered: dict[str, dict[str, Any]] = field(default_factory=dict)
    taken: list[dict[str, Any]] = field(default_factory=list)
    preferred_allocation_request: dict[str, Any] | None = None
    preferred_allocation: tuple[DeviceId, ...] | None = None
    answer: dict[str, int] | None = None
    node_resource: int | None = None

    def planned(self, plan: Plan) -> None:
        """Record a plan. A later one, made with the preferred allocation, replaces it."""
        self.held, split, request = plan.held, plan.split, plan.preferred_request
        if split is not None:
            self.considered = {
                "reusable": listed(plan.reusable),
                "aligned": listed(split.aligned),
                "unaligned": listed(split.unaligned),
                "no affinity": listed(split.no_affinity),
            }
        self.taken = [{"rule": one.rule, "because": one.because, "devices": one.devices} for one in plan.steps]
        if request is not None:
            self.preferred_allocation_request = {
                "available": listed(request.available),
                "must_include": listed(request.must_include),
                "size": request.size,
            }

    def refused(self, store: DeviceStore, resource: ResourceName) -> None:
        """Record which devices there were when no plan was possible."""
        healthy, held = store.healthy(resource) or set(), store.held(resource).keys()
        order = store.free_devices(resource).order
        self.considered = {
            name: {"count": len(ids), "ids": list(islice((id for id in order if id in ids), LISTED))}
            for name, ids in (
                ("free", healthy - held),
                ("held", healthy & held),
                ("not healthy", store.devices(resource).keys() - healthy),
            )
        }

    def answered(self, answer: RunOptions) -> None:
        self.answer = {
            "environment variable": len(answer.envs),
            "mount": len(answer.mounts),
            "device node": len(answer.device_specs),
            "annotation": len(answer.annotations),
            "CDI device": len(answer.cdi_devices),
        }


@dataclass(frozen=True, slots=True)
class RenderedHints:
    """Hints as text; ``is_complete`` says whether these are all."""

    words: list[str]
    is_complete: bool


@dataclass(frozen=True, slots=True)
class AlignmentExplanation:
    """The hints of each resource, and what the policy decided.

    Hints are rendered on request only. That takes longer than the decision, and with many NUMA nodes there are more
    of them than can be listed.
    """

    alignment: Alignment
    hints: Mapping[ResourceName, HintList | RenderedHints | None]

    @classmethod
    def of(cls, alignment: Alignment, hints: Hints) -> AlignmentExplanation:
        """Hints that would take much memory are rendered at once: they are kept as long as the pod."""
        kept = {name: _rendered(found) if _is_large(found) else found for name, found in hints.items()}
        return cls(alignment, kept)

    def as_json(self) -> dict[str, Any]:
        """``truncated`` names the resources with more hints than are listed here."""
        rendered = {str(name): _rendered(found) for name, found in self.hints.items()}
        alignment = self.alignment
        return {
            "hints": {name: None if one is None else one.words for name, one in rendered.items()},
            "truncated": [name for name, one in rendered.items() if one is not None and not one.is_complete],
            "best_hint": str(alignment.hint) if alignment.is_decided else None,
            "because": alignment.because,
            "admit": alignment.admit,
        }


def _is_large(hints: HintList | None) -> bool:
    return isinstance(hints, DeviceHints) and len(hints.possible.places) > MAX_PLACES


def _rendered(hints: HintList | RenderedHints | None) -> RenderedHints | None:
    if hints is None or isinstance(hints, RenderedHints):
        return hints
    words: list[str] = []
    most = MAX_HINTS if not isinstance(hints, DeviceHints) or hints.nodes.bit_count() <= ENUMERATED_NODES else LISTED
    try:
        for hint in hints.iterate(SearchBudget()) if isinstance(hints, DeviceHints) else hints:
            if len(words) == most:
                return RenderedHints(words, is_complete=False)
            words.append(str(hint))
    except SearchBudgetExceeded:
        return RenderedHints(words, is_complete=False)
    return RenderedHints(words, is_complete=True)


@dataclass(slots=True)
class ContainerExplanation:
    """``kind`` is init, sidecar or main."""

    name: str
    kind: str
    alignment: AlignmentExplanation | None = None
    resources: dict[ResourceName, ResourceExplanation] = field(default_factory=dict)

    @classmethod
    def about(cls, container: Container) -> ContainerExplanation:
        asked = {
            name: ResourceExplanation(requested=count) for name, count in sorted(container.limits.items()) if count
        }
        return cls(name=container.name, kind=container.kind.value, resources=asked)


@dataclass(slots=True)
class Explanation:
    """One admission. ``time`` is in seconds since the epoch; ``rule`` is the item that refused, if one did.

    ``absent_nodes`` are the NUMA nodes that devices name and this machine does not have, where that may be why a
    request is impossible. ``later_refusals`` are refusals of the same pod while it went on as it was admitted here.
    ``predates_restart`` says that the pod was admitted before the manager restarted: what it holds is known, but not
    why.
    """

    namespace: str
    name: str
    uid: str
    time: float
    policy: str = ""
    scope: str = ""
    admitted: bool = False
    reason: str = ""
    message: str = ""
    rule: str = ""
    waited_for: tuple[ResourceName, ...] = ()
    absent_nodes: dict[ResourceName, tuple[int, ...]] = field(default_factory=dict)
    alignment: AlignmentExplanation | None = None
    containers: dict[str, ContainerExplanation] = field(default_factory=dict)
    later_refusals: list[dict[str, Any]] = field(default_factory=list)
    predates_restart: bool = False

    @classmethod
    def about(cls, pod: Pod, *, time: float, topology: Topology | None = None) -> Explanation:
        """Before anything is decided: only what the pod requests."""
        return cls(
            namespace=pod.namespace,
            name=pod.name,
            uid=pod.uid,
            time=time,
            policy=topology.policy.value if topology else "",
            scope=topology.scope.value if topology else "",
            containers={container.name: ContainerExplanation.about(container) for container in pod.containers},
        )

    @classmethod
    def from_before_restart(cls, store: DeviceStore, pod: Pod) -> Explanation:
        """About a pod that was admitted before the manager restarted: only what it holds."""
        explanation = cls.about(pod, time=0.0)
        explanation.admitted = explanation.predates_restart = True
        for name, container in explanation.containers.items():
            for resource, asked in container.resources.items():
                asked.node_resource = store.node_has(resource)
            for resource, assignment in store.assignments(Owner(pod.uid, name)).items():
                count = len(assignment.devices)
                container.resources[resource] = ResourceExplanation(requested=count, held=in_order(assignment.devices))
        return explanation

    @property
    def took_devices(self) -> bool:
        return any(one.taken for container in self.containers.values() for one in container.resources.values())

    def refuse(self, reason: str, message: str, rule: str) -> None:
        self.reason, self.message, self.rule = reason, message, rule

    def as_json(self) -> dict[str, Any]:
        containers = [_as_json(container) for container in self.containers.values()]
        return {**_as_json(replace(self, containers={})), "containers": containers}


def _as_json(decided: Explanation | ContainerExplanation) -> dict[str, Any]:
    alignment = decided.alignment
    data = asdict(replace(decided, alignment=None))
    return {**data, "alignment": None if alignment is None else alignment.as_json()}


# --- as text -------------------------------------------------------------------------------------


def render(explanation: Mapping[str, Any]) -> Iterator[str]:
    """The lines of the explanation, from :meth:`Explanation.as_json`."""
    pod = f"{explanation['namespace']}/{explanation['name']}"
    yield f"Pod {pod} (uid {explanation['uid']}) was {'admitted' if explanation['admitted'] else 'refused'}."
    if not explanation["admitted"]:
        yield f"  {explanation['reason']} by rule {explanation['rule']}: {explanation['message']}"
    for refusal in explanation["later_refusals"]:
        yield f"  Admitting it again was refused, and changed nothing: {refusal['message']} (rule {refusal['rule']})"
    if explanation["waited_for"]:
        yield f"  It waited for the plug-in of {_words(explanation['waited_for'])} to return after a restart (LIM-32)."
    if explanation["predates_restart"]:
        yield "  That was before the manager restarted: what the pod holds is known, but not why."
    elif explanation["policy"] == "none":
        yield "  Topology policy none: NUMA nodes were not considered (TM-13)."
    else:
        yield f"  Topology policy {explanation['policy']}, scope {explanation['scope']} (TM-14)."
    absent_nodes = explanation.get("absent_nodes", {})
    if explanation["alignment"]:
        yield from _render_alignment(explanation["alignment"], "  ", "the whole pod", absent_nodes)
    for container in explanation["containers"]:
        yield from _render_container(container, absent_nodes)
    taken = [one["taken"] for container in explanation["containers"] for one in container["resources"].values()]
    if any(taken) and not explanation["admitted"]:
        yield "  All devices taken were released again (ALLOC-5)."


def _render_container(container: Mapping[str, Any], absent_nodes: Mapping[str, Sequence[int]]) -> Iterator[str]:
    kinds = {"init": "Init container", "sidecar": "Sidecar", "main": "Container"}
    yield f"  {kinds[container['kind']]} {container['name']}:"
    if container["alignment"]:
        yield from _render_alignment(container["alignment"], "    ", "this container", absent_nodes)
    if not container["resources"]:
        yield "    requests no extended resource."
    for resource, one in container["resources"].items():
        yield f"    {resource}: requests {one['requested']}."
        yield from (f"      {line}" for line in _render_resource(one))


def _render_resource(one: Mapping[str, Any]) -> Iterator[str]:
    if (count := one["node_resource"]) is not None:
        yield f"Counted only (CAP-9): the node has {count}, by --node-resource, and no plug-in was asked."
        return
    if one["held"]:
        yield f"It holds {_words(one['held'])} already, so nothing was allocated (ALLOC-6f)."
    elif not one["taken"]:
        yield "It got none."
    shown = {name: devices for name, devices in one["considered"].items() if devices["count"]}
    if shown:
        yield "Considered: " + "; ".join(f"{name}: {_listed(devices)}" for name, devices in shown.items()) + "."
    elif one["considered"]:
        yield "Considered: there is no device of this resource."
    request, preferred = one["preferred_allocation_request"], one["preferred_allocation"]
    if request and (preferred is not None or request["size"] < request["available"]["count"]):
        must = f", including {_listed(request['must_include'])}" if request["must_include"]["count"] else ""
        yield f"There was a choice: {request['size']} of {request['available']['count']} devices{must} (ALLOC-18)."
        if preferred is None:
            yield "The plug-in does not offer GetPreferredAllocation, so it was not asked."
        else:
            yield f"GetPreferredAllocation returned {_words(preferred) or 'nothing'}."
    for step in one["taken"]:
        yield f"Taken: {_words(step['devices'])}: {step['because']} ({step['rule']})."
    if one["answer"] is not None:
        given = ", ".join(
            f"{count} {what if count == 1 else what + 's'}" for what, count in one["answer"].items() if count
        )
        yield f"Allocate returned {given or 'nothing'}."


def _render_alignment(
    alignment: Mapping[str, Any], indent: str, what: str, absent_nodes: Mapping[str, Sequence[int]]
) -> Iterator[str]:
    truncated = alignment.get("truncated", ())  # an older daemon does not send it
    for resource, hints in alignment["hints"].items():
        if hints is None:
            yield f"{indent}{resource} has no NUMA preference (TM-7)."
        elif not hints and resource not in truncated:
            yield f"{indent}{resource} cannot be satisfied on any set of NUMA nodes (TM-7)."
            if absent := absent_nodes.get(resource):
                nodes = _words([str(node) for node in absent])
                yield f"{indent}Its plug-in names nodes that this machine does not have: {nodes}."
        else:
            words = _words(hints, "; ", is_complete=resource not in truncated)
            yield f"{indent}{resource} could be served on {words} (TM-8)."
    if alignment["best_hint"] is None:
        yield f"{indent}For {what}, no nodes were found: {alignment['because']} (TM-4)."
        return
    verdict = "good enough for this policy" if alignment["admit"] else "not good enough for this policy"
    yield (
        f"{indent}For {what}, the best hint is {alignment['best_hint']}: {alignment['because']} (TM-12); "
        f"{verdict} (TM-13)."
    )


def _listed(devices: Mapping[str, Any]) -> str:
    return _words(devices["ids"], count=devices["count"])


def _words(items: Sequence[str], separator: str = ", ", *, count: int | None = None, is_complete: bool = True) -> str:
    count = len(items) if count is None else count
    shown = separator.join(items[:10])
    if not is_complete:
        return f"{shown} and many more" if items else "more sets of nodes than can be listed"
    return f"{shown} and {count - 10} more" if count > 10 else shown
