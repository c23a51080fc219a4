"""How the story of ``demo`` is told: straight through, or at the reader's pace.

With details, each step also has what was said meanwhile, what has changed in the tree of tasks, and the rule of the
book that explains it.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterable
from contextlib import asynccontextmanager

import click
import trio
import trio.testing
from rich.rule import Rule

from ...core.conversation.items import Item
from ...core.conversation.stream import Conversation
from ...core.conversation.text import LEGEND, lines_of
from ...core.views.fitted_tree import folded_lines
from ...core.views.task_tree import NURSERIES, TaskTree, tree_changes, tree_lines
from ...daemon.event_log import RecordedEvent
from ...daemon.manager import DeviceManager
from ...events import NurseryClosed
from ...folding import folded
from ...printable import printable
from ...rules.book import read_book
from ..shared.output import console
from ..terminal.columns import columns
from ..terminal.readers_pace import is_enough

_INDENT = "  "
_LEFT_OUT = {"connections"}
"""Nurseries whose tasks come and go with every call."""
_TREE_LEGEND = (
    "",
    "A task is shown with what it waits for, and for how long at most; then it looks again. Five are nurseries, which "
    "hold tasks. A nursery ends when all below it have ended, so the innermost ends first:",
    *(f"  {name:12} {what}" for name, what in NURSERIES.items()),
    "From here on what changes is shown: + is new, - has ended, ~ is in another state. Connections come and go with "
    "every call, and are left out.",
)
_CALLS_LEGEND = (
    "",
    LEGEND,
    "A call is shown once it has ended. A plug-in is named by its socket and its resource; the caller is this demo, "
    "which admits pods.",
)


class Story:
    """With ``waits``, each step waits for the reader if there is a terminal. ``record`` is a sink of the manager's
    events."""

    def __init__(self, *, with_details: bool, waits: bool) -> None:
        self._with_details = with_details
        self._waits = waits
        self._scope = trio.CancelScope()
        self._conversation = Conversation()
        self._said: list[Item] = []
        self._began: float | None = None
        self._tree: TaskTree | None = None
        self._asked: list[str] = []
        self._closed: list[str] = []

    def record(self, recorded: RecordedEvent) -> None:
        self._began = recorded.time if self._began is None else self._began
        self._said += self._conversation.tell(recorded.as_json())
        if isinstance(recorded.event, NurseryClosed):
            self._closed.append(recorded.event.nursery)

    @asynccontextmanager
    async def telling(self) -> AsyncIterator[None]:
        """The whole story; the block is cancelled when the reader wants no more."""
        with self._scope:
            yield

    @asynccontextmanager
    async def step(self, manager: DeviceManager, title: str, text: str, *, tree: str, rule: str) -> AsyncIterator[None]:
        """One step; the block shows what there is to see. ``tree`` is what to see in the tree of tasks."""
        self.say(title, text)
        yield
        if self._with_details:
            await trio.testing.wait_all_tasks_blocked()  # a task that has just begun does not wait for anything yet
            self._show_details(manager.task_tree(), tree, rule)
        if self._waits and await is_enough():  # the manager runs on
            self._scope.cancel()
            await trio.lowlevel.checkpoint()

    def say(self, title: str, text: str) -> None:
        console().print(Rule(f"[bold]{title}[/bold]", align="left"))
        console().print(text)

    def look(self, manager: DeviceManager) -> None:
        """Note who is asking, at a moment in the middle of a step."""
        if self._with_details and not self._asked:
            self._asked = self._changes(manager.task_tree())

    def end(self) -> None:
        """After the manager has ended."""
        self.say("That is all", "The manager has stopped, its sockets are gone, and so is the temporary directory.")
        if self._with_details:
            _print("The nurseries ended from the inside out", [", ".join(self._closed)])

    def _show_details(self, now: TaskTree, tree: str, rule: str) -> None:
        is_first = self._tree is None
        wide = _columns()
        said = lines_of(self._said, since=self._began, columns=wide)
        _print("Who called whom, in seconds since the start", [*said, *(_folded(_CALLS_LEGEND) if is_first else ())])
        if is_first:
            lines = tree_lines(now) if wide is None else folded_lines(now, width=wide)
            _print(f"The tree of tasks: {tree}", [*lines, *_folded(_TREE_LEGEND)])
        else:
            _print("In the tree while the plug-in was asked", _folded(self._asked, indent=2))
            changes = _folded(self._changes(now) or ["nothing"], indent=2)
            _print("What has changed in the tree", [*changes, *_folded([tree])])
        sentence = f"{rule}: {read_book()[rule].sentence}"
        _print(f"The rule (all of it: python -m devicemgr rule {rule})", _folded([sentence], indent=2))
        self._tree, self._said, self._asked = now, [], []

    def _changes(self, now: TaskTree) -> list[str]:
        return tree_changes(self._tree, now, without=_LEFT_OUT) if self._tree else []


def _columns() -> int | None:
    """Beside the indentation of :func:`_print`."""
    return None if (wide := columns()) is None else wide - len(_INDENT)


def _folded(lines: Iterable[str], *, indent: int = 0) -> list[str]:
    return [part for line in lines for part in folded(line, _columns(), indent=indent)]


def _print(title: str, lines: Iterable[str]) -> None:
    """Nothing if there are no lines."""
    if lines := list(lines):
        click.echo(f"\n{title}:")
        for line in lines:
            click.echo(f"{_INDENT}{printable(line)}".rstrip())
