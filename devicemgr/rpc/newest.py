"""Of a flood of messages, the newest: the others cost as little as can be.

A report is always the whole list, so of several that are waiting only the last one matters. As long as a peer keeps
its pace, its messages are read one by one, in order. Of one that does not, :meth:`NewestOf.newer_than` reads on for a
few milliseconds and keeps what came last. Otherwise at most one message is read ahead; so flow control makes the
peer wait, and what is kept for it is bounded by its window.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from typing import Generic, TypeVar

T = TypeVar("T")

READING_TIME = 0.005
"""Seconds of reading on at a time. Messages that have arrived are read without a turn for anybody else."""


class NewestOf(Generic[T]):
    """An asyncio stream whose reader may fall behind. :meth:`close` it in the end."""

    def __init__(self, messages: AsyncIterator[T]) -> None:
        self._messages = messages
        self._reading: asyncio.Task[None] | None = None
        self._read_until = 0.0
        self._ahead: T | None = None
        self._skipped = 0

    async def next(self) -> T:
        """The next message. Raises StopAsyncIteration at the end, and whatever the stream raises."""
        if self._reading is not None:
            await self._reading
            self._reading = None
        if self._ahead is None:
            return await anext(self._messages)
        message, self._ahead = self._ahead, None
        return message

    async def newer_than(self, message: T) -> T:
        """The last message that has arrived by now, or as far as ``READING_TIME`` went; or ``message`` itself."""
        if self._reading is None or self._reading.done():
            if self._reading is not None and self._reading.exception():
                return message  # the end is told by next()
            self._reading = asyncio.create_task(self._read_on())
        self._read_until = asyncio.get_running_loop().time() + READING_TIME
        for _ in range(2):  # a turn for the task to begin or wake; in it, it reads until it is done or must wait
            await asyncio.sleep(0)
        self._read_until = 0.0
        if self._ahead is None:
            return message
        self._skipped += 1
        message, self._ahead = self._ahead, None
        return message

    def take_skipped(self) -> int:
        """How many messages nobody got, since this was last asked."""
        skipped, self._skipped = self._skipped, 0
        return skipped

    async def close(self) -> None:
        if self._reading is not None:
            self._reading.cancel()
            await asyncio.gather(self._reading, return_exceptions=True)
        await self._messages.aclose()  # type: ignore[attr-defined]

    async def _read_on(self) -> None:
        """One message, and more as long as there is time."""
        clock = asyncio.get_running_loop().time
        while True:
            message = await anext(self._messages)
            self._skipped += self._ahead is not None
            self._ahead = message
            if clock() >= self._read_until:
                return
