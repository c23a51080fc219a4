"""What is shown of a pod that is not as wanted: itself, the events about it, its node, and what the manager did."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from ...cluster.objects.metadata import Object


def report(
    problem: str,
    found: Object | None,
    events: Iterable[Object],
    pods: Iterable[Object],
    nodes: Iterable[Sequence[str]],
) -> str:
    """``pods``: those beside an object that makes pods. ``nodes``: the lines about each."""
    lines = [problem, *_indented(["it is not there"] if found is None else _lines_about(found))]
    about = [f"{one.get('type', 'Normal')} {one.get('reason')}: {one.get('message')}{_times(one)}" for one in events]
    lines += ["Events about it:", *_indented(about or ["none"])]
    for pod in pods:
        lines += [f"Pod {pod['metadata']['name']}:", *_indented(_lines_about(pod))]
    for first, *more in nodes:
        lines += [first, *_indented(more)]
    return "\n".join(lines)


def _lines_about(found: Object) -> Iterable[str]:
    status = found.get("status") or {}
    if deleted := found["metadata"].get("deletionTimestamp"):
        yield f"is being deleted, since {deleted}"
    if "phase" in status:
        yield ": ".join(filter(None, (status["phase"], status.get("reason"), status.get("message"))))
    for one in status.get("conditions") or ():
        said = ": ".join(filter(None, (one.get("reason"), one.get("message"))))
        yield f"{one['type']} {one['status']}{f', {said}' if said else ''}"
    if found.get("kind", "Pod") == "Pod":  # those of a list do not say it
        yield from _lines_about_containers(found["spec"], status)


def _lines_about_containers(spec: Object, status: Object) -> Iterable[str]:
    yield f"is on {spec['nodeName']}" if spec.get("nodeName") else "is on no node"
    states = {
        one["name"]: one.get("state") or {}
        for statuses in ("initContainerStatuses", "containerStatuses")
        for one in status.get(statuses) or ()
    }
    for container in (*(spec.get("initContainers") or ()), *spec["containers"]):
        limits = (container.get("resources") or {}).get("limits") or {}
        wants = ", ".join(f"{name} {number}" for name, number in limits.items())
        is_now = ", ".join(f"{state}{_detail(detail)}" for state, detail in states.get(container["name"], {}).items())
        yield f"container {container['name']}: {is_now or 'not started'}{f'; wants {wants}' if wants else ''}"


def _detail(state: Object) -> str:
    said = ": ".join(str(state[key]) for key in ("reason", "message") if state.get(key))
    return f", {said}" if said else ""


def node_lines(node: Object, managed: Sequence[str] = ()) -> list[str]:
    """``managed``: the last events of the node's manager, if it is one of ours."""
    status = node.get("status") or {}
    ready: Object = next((one for one in status.get("conditions") or () if one["type"] == "Ready"), {})
    capacity, allocatable = status.get("capacity") or {}, status.get("allocatable") or {}
    extended = [f"{name}: {allocatable.get(name, 0)} of {capacity[name]}" for name in capacity if "/" in name]
    taints = [f"taint {one['key']}={one.get('value', '')}:{one['effect']}" for one in node["spec"].get("taints") or ()]
    first = f"Node {node['metadata']['name']}: Ready {ready.get('status', 'not known')}"
    return [first, *extended, *taints, *(["last events of its manager:", *managed] if managed else [])]


def _times(event: Object) -> str:
    count = event.get("count") or (event.get("series") or {}).get("count") or 1
    return f" ({count} times)" if count > 1 else ""


def _indented(lines: Iterable[str]) -> list[str]:
    return [f"  {line}" for line in lines]
