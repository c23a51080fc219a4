"""Trio's tasks → a tree of plain values. It is made in one step without an await, so it is of one moment.

Only what is in the manager's own nurseries is looked at, and of the tasks of an embedding program only the calls that
they make of the manager. The manager's task may be one of the program's, and have nurseries and cancel scopes around.
"""

from __future__ import annotations

import math
import time
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import replace
from itertools import count
from types import MappingProxyType
from typing import Any
from weakref import WeakKeyDictionary

import trio

from ...core.views.task_tree import TaskTree, TreeNode, TreeScope
from ..open_calls import OpenCalls
from .frames import Found, look_at

Steps = Mapping[trio.lowlevel.Task, float]
"""When tasks made their latest steps, by Trio's clock."""


class RunningTree:
    """The tree below ``root``, the task that runs the manager. ``lines`` are its nurseries with their names.

    ``calls`` of the program are shown in the nursery called ``calls_line``.
    """

    def __init__(self, root: trio.lowlevel.Task, calls: OpenCalls, *, calls_line: str) -> None:
        self.lines: dict[trio.Nursery, str] = {}
        self._root = root
        self._calls = calls
        self._calls_line = calls_line
        self._ids: WeakKeyDictionary[Any, str] = WeakKeyDictionary()
        self._next_id = map(str, count(1))

    def snapshot(self, steps: Steps = MappingProxyType({})) -> TaskTree:
        """The tree as it is. ``steps`` are the times of the latest steps of tasks. Since when the others wait is known
        only if one of their functions says so."""
        root = replace(
            self._node("task", self._root, look_at(self._root), (), steps.get(self._root)),
            children=self._nested([one for one in self._root.child_nurseries if one in self.lines], steps),
        )
        return TaskTree(at=_rounded(trio.current_time()), time=_rounded(time.time()), root=root)

    def _id(self, what: object) -> str:
        if what not in self._ids:
            self._ids[what] = next(self._next_id)
        return self._ids[what]

    def _task(self, task: trio.lowlevel.Task, steps: Steps) -> TreeNode:
        nursery, nurseries = task.parent_nursery, task.child_nurseries
        end = None if nursery is None else nursery.cancel_scope
        scopes = [scope for scope in _scopes(task) if scope is not end]
        return replace(
            self._node("task", task, look_at(task), _without(nurseries, scopes), steps.get(task)),
            nursery="" if nursery is None else self.lines.get(nursery, ""),
            children=self._nested(nurseries, steps),
        )

    def _program_calls(self, line: str, steps: Steps) -> Iterator[TreeNode]:
        for scope, (task, began) in self._calls.open.items():
            if not self._is_ours(task):
                scopes = list(_scopes(task, outermost=scope))
                nurseries = [one for one in task.child_nurseries if one.cancel_scope in scopes]
                found = look_at(task, innermost_name=True)
                node = self._node("call", scope, found, _without(nurseries, scopes), began)
                yield replace(node, nursery=line, children=self._nested(nurseries, steps))

    def _node(
        self, kind: str, what: Any, found: Found, scopes: Sequence[trio.CancelScope], since: float | None
    ) -> TreeNode:
        return TreeNode(
            id=self._id(what),
            kind=kind,
            name=found.title or getattr(what, "name", kind),
            state=found.state,
            waits_for=found.waits_for,
            since=_rounded(since if found.since is None else found.since),
            **_of_scopes(scopes),
        )

    def _nested(self, nurseries: Sequence[trio.Nursery], steps: Steps) -> tuple[TreeNode, ...]:
        """The nurseries of one task, one inside the other as in the code; the outermost comes first."""
        if not nurseries:
            return ()
        nursery, *inner = nurseries
        line = self.lines.get(nursery, "")
        children = [self._task(task, steps) for task in nursery.child_tasks]
        if line == self._calls_line:
            children += self._program_calls(line, steps)
        children.sort(key=lambda node: (node.name, len(node.id), node.id))  # Trio keeps no order
        node = TreeNode(
            id=self._id(nursery),
            kind="nursery",
            name=line,
            **_of_scopes([nursery.cancel_scope]),
            children=(*children, *self._nested(inner, steps)),
        )
        return (node,)

    def _is_ours(self, task: trio.lowlevel.Task | None) -> bool:
        while task is not None and task is not self._root:
            task = None if task.parent_nursery is None else task.parent_nursery.parent_task
        return task is self._root


def _scopes(task: trio.lowlevel.Task, *, outermost: trio.CancelScope | None = None) -> list[trio.CancelScope]:
    """The cancel scopes around the point where the task waits, outermost first: from ``outermost``, or from that of the
    nursery which the task is in.

    Trio has no public name for them. ``tests/daemon/task_tree`` notices if it changes the private one.
    """
    if outermost is None and task.parent_nursery is not None:
        outermost = task.parent_nursery.cancel_scope
    found: list[trio.CancelScope] = []
    status: Any = task._cancel_status
    while status is not None:
        found.append(status._scope)
        if status._scope is outermost:
            break
        status = status._parent
    return found[::-1]


def _without(nurseries: Iterable[trio.Nursery], scopes: Iterable[trio.CancelScope]) -> list[trio.CancelScope]:
    """The scopes that are not those of the nurseries, which are shown by themselves."""
    theirs = [nursery.cancel_scope for nursery in nurseries]
    return [scope for scope in scopes if scope not in theirs]


def _of_scopes(scopes: Sequence[trio.CancelScope]) -> dict[str, Any]:
    """The fields of a node that say what its cancel scopes are."""
    views = [
        TreeScope(deadline=_finite(scope.deadline), cancelled=scope.cancel_called, shield=scope.shield)
        for scope in scopes
    ]
    return {
        "deadline": _finite(min((scope.deadline for scope in scopes), default=math.inf)),
        "cancelled": any(scope.cancel_called for scope in scopes),
        "scopes": tuple(views),
    }


def _finite(deadline: float) -> float | None:
    return None if math.isinf(deadline) else _rounded(deadline)


def _rounded(seconds: Any) -> Any:
    """To microseconds; None stays None."""
    return None if seconds is None else round(seconds, 6)
