"""The functions in which a task waits, outermost first, and what they say about it (``task_descriptions``)."""

from __future__ import annotations

import gc
import sys
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from types import FrameType
from typing import Any

import trio

from ...concurrency.task_descriptions import DESCRIPTIONS

_MAX_TEXT = 200
"""Characters of a text: others have chosen parts of it."""


@dataclass(slots=True)
class Found:
    """What the functions of one task say."""

    name: str = ""
    about: str = ""
    state: str = ""
    waits_for: str = ""
    since: float | None = None

    @property
    def title(self) -> str:
        return _shortened(f"{self.name} {self.about}".strip())


def look_at(task: trio.lowlevel.Task, *, innermost_name: bool = False) -> Found:
    """With ``innermost_name``, for a task of which only the end is the manager's."""
    found = Found()
    for frame, description in _described(frames_of(task)):
        variables = frame.f_locals
        if description.name and (innermost_name or not found.name):
            found.name = description.name.format_map(variables)
        if description.about:
            found.about = description.about.format_map(variables)
        if description.state:
            found.state = description.state.format_map(variables)
        if description.waits_for:
            found.waits_for = _shortened(description.waits_for.format_map(variables))
            found.since = description.time_of(variables) if description.since else None
    return found


def _described(frames: Iterable[FrameType]) -> Iterator[tuple[FrameType, Any]]:
    return ((frame, DESCRIPTIONS[frame.f_code]) for frame in frames if frame.f_code in DESCRIPTIONS)


def frames_of(task: trio.lowlevel.Task) -> Iterator[FrameType]:
    """The frames of a task, outermost first, also of the one that asks."""
    if task is trio.lowlevel.current_task():
        yield from reversed(list(_stack(sys._getframe())))
    else:
        yield from _awaited(task.coro)


def _stack(frame: FrameType | None) -> Iterator[FrameType]:
    while frame is not None:
        yield frame
        frame = frame.f_back


def _awaited(waiting: Any) -> Iterator[FrameType]:
    """As ``Task.iter_await_frames``, and through functions that drive a coroutine themselves."""
    while waiting is not None:
        frame, waiting = _one(waiting)
        if frame is None:
            return
        yield frame
        if waiting is None and (description := DESCRIPTIONS.get(frame.f_code)) and description.awaits:
            waiting = frame.f_locals[description.awaits]


def _one(waiting: Any) -> tuple[FrameType | None, Any]:
    """The frame of what is awaited, and what that awaits."""
    if hasattr(waiting, "cr_frame"):
        return waiting.cr_frame, waiting.cr_await
    if hasattr(waiting, "gi_frame"):
        return waiting.gi_frame, waiting.gi_yieldfrom
    for referent in gc.get_referents(waiting):  # the awaitable of an asynchronous generator does not name it
        if hasattr(referent, "ag_frame"):
            return referent.ag_frame, referent.ag_await
    return None, None


def _shortened(text: str) -> str:
    return text if len(text) <= _MAX_TEXT else text[: _MAX_TEXT - 1] + "…"
