"""A picture that is drawn again and again in the same place of a terminal."""

from __future__ import annotations

import signal
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from typing import TypeAlias

import trio
from rich.console import RenderableType
from rich.live import Live

from .output import console

Picture: TypeAlias = Callable[[int, int], RenderableType]
"""What is drawn on a terminal with so many columns and lines."""


def can_draw_in_place() -> bool:
    found = console()
    return found.is_terminal and not found.is_dumb_terminal


@asynccontextmanager
async def open_place() -> AsyncIterator[Callable[[Picture], None]]:
    """A function that draws a picture in the place of the one before."""
    latest: Picture | None = None
    with Live(console=console(), auto_refresh=False) as live:
        live.console.show_cursor()  # one that is hidden stays so, should we be killed, or stopped

        def draw(picture: Picture) -> None:
            nonlocal latest
            latest = picture
            live.update(picture(*live.console.size), refresh=True)

        async def begin_again() -> None:
            """After a change of its size, or after Ctrl-Z, a terminal does not show what was drawn."""
            with trio.open_signal_receiver(signal.SIGWINCH, signal.SIGCONT) as signals:
                async for _ in signals:
                    live.console.clear()
                    if latest is not None:
                        draw(latest)

        async with trio.open_nursery() as nursery:
            nursery.start_soon(begin_again)
            yield draw
            nursery.cancel_scope.cancel()
