"""How the story of ``demo`` is told: straight through, or at the reader's pace.

With details, each step also has what was said meanwhile, what has changed in the tree of tasks, and the rule of the
book that explains it.
"""

from __future__ import annotations

import sys
from collections.abc import AsyncIterator, Iterable
from contextlib import asynccontextmanager

import click
import trio
from rich.rule import Rule

from ..core.conversation.items import Item
from ..core.conversation.stream import Conversation
from ..core.conversation.text import line_of
from ..core.views.task_tree import TaskTree, tree_changes, tree_lines
from ..daemon.event_log import RecordedEvent
from ..daemon.manager import DeviceManager
from ..events import NurseryClosed
from ..printable import printable
from ..rules.book import read_book
from .output import console


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
    async def step(self, manager: DeviceManager, title: str, text: str, *, rule: str) -> AsyncIterator[None]:
        """One step; the block shows what there is to see."""
        self.say(title, text)
        yield
        if self._with_details:
            self._show_details(manager.task_tree(), rule)
        if self._waits and await _is_enough():
            self._scope.cancel()
            await trio.lowlevel.checkpoint()

    def say(self, title: str, text: str) -> None:
        console().print(Rule(f"[bold]{title}[/bold]", align="left"))
        console().print(text)

    def look(self, manager: DeviceManager) -> None:
        """Note who is asking, at a moment in the middle of a step."""
        if self._with_details and not self._asked:
            lines = tree_changes(self._tree, manager.task_tree()) if self._tree else []
            self._asked = [line for line in lines if line.startswith("+ handlers")]

    def end(self) -> None:
        """After the manager has ended."""
        self.say("That is all", "The manager has stopped, its sockets are gone, and so is the temporary directory.")
        if self._with_details:
            _print("The nurseries ended from the inside out", [", ".join(self._closed)])

    def _show_details(self, tree: TaskTree, rule: str) -> None:
        _print("Who called whom", [line_of(item, since=self._began) for item in self._said])
        if self._tree is None:
            _print(
                "The tree of tasks. A line that waits for nothing is a nursery: it ends after all below it",
                tree_lines(tree),
            )
        else:
            _print("The tree while the plug-in was asked", self._asked)
            _print("What has changed in the tree", tree_changes(self._tree, tree))
        _print("The rule", [f"{rule}: {read_book()[rule].sentence}"])
        self._tree, self._said, self._asked = tree, [], []


def _print(title: str, lines: Iterable[str]) -> None:
    """Nothing if there are no lines."""
    if lines := list(lines):
        click.echo(f"\n{title}:")
        for line in lines:
            click.echo(f"  {printable(line)}")


async def _is_enough() -> bool:
    """Wait for a key, if there is a terminal. The manager runs on meanwhile, so it is waited for in a thread."""
    if not (sys.stdin.isatty() and sys.stdout.isatty()):
        return False
    click.echo("\n… and then? (Enter; q ends) ", nl=False)
    key = await trio.to_thread.run_sync(click.getchar, abandon_on_cancel=True)
    click.echo()
    return key[:1] in ("q", "Q")  # several that were typed fast come as one
