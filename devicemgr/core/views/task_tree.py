"""The running tasks of a manager at one moment: each under its nursery, with what it waits for.

``daemon.task_tree`` makes it from Trio's tasks, and :mod:`~devicemgr.core.views.recorded_tree` from recorded events.
How it looks is here: as text and as a Mermaid diagram.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping
from dataclasses import asdict, dataclass, replace
from typing import Any

NURSERIES: Mapping[str, str] = {
    "writer": "the state on disk",
    "readers": "one task for each plug-in",
    "connections": "those of all callers",
    "handlers": "registrations, admissions, queries",
    "listeners": "sockets, the watch for plug-ins, metrics, the page",
}
"""What is in them, outermost first: each ends after those that follow."""


@dataclass(frozen=True, slots=True, kw_only=True)
class TreeScope:
    """A cancel scope. ``deadline`` is None when it has none; with ``shield``, cancellation from outside stops at it."""

    deadline: float | None
    cancelled: bool
    shield: bool


@dataclass(frozen=True, slots=True, kw_only=True)
class TreeNode:
    """A ``task``, a ``nursery``, or a ``call``: one that a task of the program itself makes, of which only the call is
    the manager's.

    ``id`` is the same in all trees of one manager. ``nursery`` is the name of the nursery that a task is in. A nursery
    without a name belongs to its task alone. ``state`` is that of a plug-in's endpoint (``core.devices.endpoint``).
    ``waits_for`` completes "waits for …". ``since`` is when that began, if it is known. ``scopes`` are the cancel
    scopes inside the task, or that of the nursery, outermost first; ``deadline`` is the earliest of theirs, and
    ``cancelled`` says that one of them is. Times are in seconds of the tree's clock.
    """

    id: str
    kind: str
    name: str
    nursery: str = ""
    state: str = ""
    waits_for: str = ""
    since: float | None = None
    deadline: float | None = None
    cancelled: bool = False
    scopes: tuple[TreeScope, ...] = ()
    children: tuple[TreeNode, ...] = ()

    def walk(self) -> Iterator[TreeNode]:
        """This node and all below it."""
        yield self
        for child in self.children:
            yield from child.walk()


@dataclass(frozen=True, slots=True, kw_only=True)
class TaskTree:
    """``at`` is when this was so, by the tree's clock, whose zero is arbitrary. ``time`` is the same in seconds since
    the epoch."""

    at: float
    time: float
    root: TreeNode

    def walk(self) -> Iterator[TreeNode]:
        """Every node, parents before children."""
        return self.root.walk()

    @property
    def nurseries(self) -> tuple[str, ...]:
        """The names of the manager's own nurseries, outermost first."""
        return tuple(node.name for node in self.walk() if node.kind == "nursery" and node.name)

    @property
    def shape(self) -> TreeNode:
        """Without the times: equal when there is nothing new to see but that time has passed."""
        return _timeless(self.root)

    def as_json(self) -> dict[str, Any]:
        """As JSON-ready data, with the names of the fields as keys."""
        return asdict(self)


def tree_from_json(values: Mapping[str, Any]) -> TaskTree:
    """The inverse of ``as_json``. Raises KeyError or TypeError when it is none."""
    return TaskTree(at=values["at"], time=values["time"], root=_node_from_json(values["root"]))


def _timeless(node: TreeNode) -> TreeNode:
    scopes = tuple(replace(scope, deadline=None) for scope in node.scopes)
    children = tuple(map(_timeless, node.children))
    return replace(node, since=None, deadline=None, scopes=scopes, children=children)


def _node_from_json(values: Mapping[str, Any]) -> TreeNode:
    scopes = tuple(TreeScope(**scope) for scope in values["scopes"])
    children = tuple(map(_node_from_json, values["children"]))
    return TreeNode(**{**values, "scopes": scopes, "children": children})


# --- as text ---


def tree_lines(tree: TaskTree, *, now: float | None = None) -> list[str]:
    """The tree as lines of text. ``now`` is the time of the tree's clock at which it is shown, for its ages."""
    now = tree.at if now is None else now
    return [described(tree.root, now), *_below(tree.root, "", now)]


def _below(node: TreeNode, indent: str, now: float) -> Iterator[str]:
    children = list(shown_children(node))
    for child in children:
        is_last = child is children[-1]
        yield f"{indent}{'└─' if is_last else '├─'} {described(child, now)}"
        yield from _below(child, indent + ("   " if is_last else "│  "), now)


def shown_children(node: TreeNode) -> Iterator[TreeNode]:
    """A nursery that belongs to a task alone is not shown: its tasks are those of the task."""
    for child in node.children:
        if child.kind == "nursery" and not child.name:
            yield from shown_children(child)
        else:
            yield child


def described(node: TreeNode, now: float) -> str:
    """One line: ``vendor.com/gpu #1 · serving · waits for the next list, 3.2 s``."""
    parts = [node.name, node.state, *(["cancelled"] if node.cancelled else [])]
    if node.waits_for:
        parts.append(f"waits for {node.waits_for}{_times(node, now)}")
    elif node.deadline is not None:
        parts.append(f"ends within {max(0.0, node.deadline - now):.1f} s")
    return " · ".join(filter(None, parts))


def _times(node: TreeNode, now: float) -> str:
    """``, 1.2 s of 10 s``; without the part that is not known."""
    if node.since is None:
        return "" if node.deadline is None else f", for {max(0.0, node.deadline - now):.1f} s more"
    whole = "" if node.deadline is None else f" of {round(node.deadline - node.since, 1):g} s"
    return f", {max(0.0, now - node.since):.1f} s{whole}"


def tree_changes(before: TaskTree, after: TaskTree, *, without: Collection[str] = ()) -> list[str]:
    """What is in the nurseries, ``without`` these, that was not (``+``), is there no more (``-``), or is in another
    state (``~``)::

    + readers: vendor.com/gpu #1 · serving · waits for the next list of vendor.com/gpu
    ~ readers: vendor.com/gpu #1 is stopped, and was serving
    """
    old, new = (
        {node.id: node for node in tree.walk() if node.nursery and node.nursery not in without}
        for tree in (before, after)
    )
    lines = [f"- {node.nursery}: {node.name}" for id, node in old.items() if id not in new]
    for id, node in new.items():
        if id not in old:
            lines.append(f"+ {node.nursery}: {described(_timeless(node), after.at)}")
        elif node.state != old[id].state:
            lines.append(f"~ {node.nursery}: {node.name} is {node.state}, and was {old[id].state}")
    return lines


# --- as a diagram ---


def mermaid(tree: TaskTree) -> str:
    """A Mermaid flowchart: a nursery is a box around its tasks and around the nurseries that end before it."""
    return "\n".join(["flowchart TB", *_diagram(tree.root, "    ", tree.at)]) + "\n"


def _diagram(node: TreeNode, indent: str, now: float) -> Iterator[str]:
    children = list(shown_children(node))
    label = _label(described(node, now))
    if not children:
        yield f"{indent}n{node.id}[{label}]"
        return
    yield f"{indent}subgraph n{node.id}[{label}]"
    for child in children:
        yield from _diagram(child, indent + "    ", now)
    yield f"{indent}end"


def _label(text: str) -> str:
    """Quoted, and without anything that Mermaid or a browser takes for markup: others have chosen parts of it."""
    return '"' + "".join(c if c.isalnum() or c in " .,:/_-·…" else f"#{ord(c)};" for c in text) + '"'
