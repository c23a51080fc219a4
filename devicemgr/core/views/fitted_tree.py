"""The tree of tasks on a terminal that may be small. Long lines are folded, and what says least of a manager that works
is left out first: tasks of a task, then those that always wait for the same. What remains is how pods and plug-ins
fare."""

from __future__ import annotations

import textwrap
from collections.abc import Collection, Iterator
from dataclasses import replace

from ...events.summary import counted
from ...printable import printable
from .task_tree import TaskTree, TreeNode, tree_lines

_COUNTED: tuple[Collection[str], ...] = ((), ("listeners",), ("listeners", "connections"))
"""Nurseries whose tasks are counted only, in as many of these steps as the height asks for."""
_NARROWEST = 20
"""Characters beside the branches of the tree; on a narrower terminal lines are not folded."""


def fitted_lines(tree: TaskTree, *, now: float, width: int, height: int) -> list[str]:
    """The tree as lines of text, safe for a terminal, with as much as fits, or a bit more if very little does. ``now``:
    as of ``tree_lines``."""
    lines: list[str] = []
    for shown in _shorter(tree):
        lines = [part for line in tree_lines(shown, now=now) for part in _folded(printable(line), width)]
        if len(lines) <= height:
            break
    return lines


def folded_lines(tree: TaskTree, *, width: int) -> list[str]:
    """The whole tree, for a terminal of this width, however many lines it takes."""
    return [part for line in tree_lines(tree) for part in _folded(printable(line), width)]


def _shorter(tree: TaskTree) -> Iterator[TaskTree]:
    yield tree
    for names in _COUNTED:
        yield replace(tree, root=_shortened(tree.root, names))


def _shortened(node: TreeNode, names: Collection[str]) -> TreeNode:
    """Nurseries, and the tasks that are in them."""
    tasks = [replace(child, children=()) for child in node.children if child.kind != "nursery"]
    inner = [_shortened(child, names) for child in node.children if child.kind == "nursery" and child.name]
    if node.name in names and tasks:
        tasks = [TreeNode(id=f"{node.id} tasks", kind="task", name=counted(len(tasks), "task"))]
    return replace(node, children=(*tasks, *inner))


def _folded(line: str, width: int) -> list[str]:
    """A long line goes on below its own branch of the tree."""
    branch = line[: len(line) - len(line.lstrip(" │├└─"))]
    below = branch.translate({ord("├"): "│", ord("└"): " ", ord("─"): " "}) + "  "
    if len(line) <= width or len(below) + _NARROWEST > width:
        return [line]
    first, *more = textwrap.wrap(line[len(branch) :], width - len(below))
    return [branch + first, *(below + part for part in more)]
