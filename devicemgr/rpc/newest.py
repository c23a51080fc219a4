"""Of a flood of messages, the newest: the others cost as little as can be.

A report is always the whole list, so of several that are waiting only the last one matters. As long as a peer keeps
its pace, messages are read one by one, in order. From its first flood on a task reads for us: let off for a moment, it
takes everything that has arrived, and keeps one message. Between two such moments nothing is read, so flow control
makes the peer wait: what is kept for it is bounded by its window and one message.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from typing import Generic, TypeVar

T = TypeVar("T")


class NewestOf(Generic[T]):
    """An asyncio stream whose reader may fall behind. :meth:`close` it in the end."""

    def __init__(self, messages: AsyncIterator[T]) -> None:
        self._messages = messages
        self._pump: asyncio.Task[None] | None = None
        self._may_read = asyncio.Event()
        self._arrived = asyncio.Event()
        self._waiting: list[T] = []  # one at most
        self._ended = False
        self._skipped = 0

    async def next(self) -> T:
        """The next message. Raises StopAsyncIteration at the end, and whatever the stream raises."""
        if self._pump is None:
            return await anext(self._messages)
        self._may_read.set()
        while not self._waiting and not self._ended:
            self._arrived.clear()
            await self._arrived.wait()
        self._may_read.clear()
        if not self._waiting:
            await self._pump
            raise StopAsyncIteration
        return self._waiting.pop()

    async def newer_than(self, message: T) -> T:
        """The last message that has arrived by now; ``message`` itself when none has."""
        if self._pump is None:
            self._pump = asyncio.create_task(self._read())
        self._may_read.set()
        for _ in range(2):  # a turn for the task to begin or wake, and in that turn it reads all that is there
            await asyncio.sleep(0)
        self._may_read.clear()
        if not self._waiting:
            return message
        self._skipped += 1
        return self._waiting.pop()

    def take_skipped(self) -> int:
        """How many messages nobody got, since this was last asked."""
        skipped, self._skipped = self._skipped, 0
        return skipped

    async def close(self) -> None:
        if self._pump is not None:
            self._pump.cancel()
            await asyncio.gather(self._pump, return_exceptions=True)
        await self._messages.aclose()  # type: ignore[attr-defined]

    async def _read(self) -> None:
        try:
            async for message in self._messages:
                self._skipped += len(self._waiting)
                self._waiting[:] = [message]
                self._arrived.set()
                await self._may_read.wait()
        finally:
            self._ended = True
            self._arrived.set()
