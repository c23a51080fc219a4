"""Of a flood the newest, of all else everything: against a list of what was sent."""

from __future__ import annotations

import asyncio

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from devicemgr.rpc.newest import NewestOf


class Peer:
    """An async generator's messages, sent by hand."""

    def __init__(self):
        self.queue = asyncio.Queue()
        self.sent = 0

    def send(self, count):
        for _ in range(count):
            self.sent += 1
            self.queue.put_nowait(self.sent)

    def end(self, error=None):
        self.queue.put_nowait(error)

    async def messages(self):
        while (message := await self.queue.get()) is not None:
            if isinstance(message, Exception):
                raise message
            yield message


@given(st.lists(st.tuples(st.integers(0, 4), st.integers(0, 2)), max_size=8), st.booleans())
@settings(max_examples=300, deadline=None, derandomize=True)
def test_what_is_handed_over_is_in_order_ends_with_the_newest_and_the_rest_is_counted(steps, fails):
    """Each step sends so many messages, reads one, and then asks so many times for a newer one."""

    async def run():
        peer, handed = Peer(), []
        stream = NewestOf(peer.messages())
        for count, asked in steps:
            peer.send(count)
            if not count:
                continue
            message = await stream.next()
            for _ in range(asked):
                message = await stream.newer_than(message)
            if asked:
                assert message == peer.sent, "the newest that has arrived"
            handed.append(message)
        peer.send(1)
        peer.end(ValueError() if fails else None)
        with pytest.raises(ValueError if fails else StopAsyncIteration):
            while True:
                handed.append(await stream.next())
        await stream.close()
        assert handed == sorted(set(handed))
        assert handed[-1] == peer.sent
        assert len(handed) + stream.take_skipped() == peer.sent
        if not any(asked for _, asked in steps):
            assert handed == list(range(1, peer.sent + 1))

    asyncio.run(run())


def test_after_a_flood_messages_come_one_by_one_again():
    async def run():
        peer = Peer()
        stream = NewestOf(peer.messages())
        peer.send(10)
        assert await stream.newer_than(await stream.next()) == 10
        assert stream.take_skipped() == 9
        peer.send(3)
        assert [await stream.next() for _ in range(3)] == [11, 12, 13]
        assert stream.take_skipped() == 0
        await stream.close()

    asyncio.run(run())


def test_reading_on_does_not_go_on_for_ever():
    """A generator that never has to wait would otherwise never give up its turn."""

    async def endless():
        number = 0
        while True:
            yield (number := number + 1)

    async def run():
        stream = NewestOf(endless())
        first = await stream.newer_than(await stream.next())
        assert await stream.newer_than(first) > first
        await stream.close()

    asyncio.run(run())


def test_closing_in_the_middle_leaves_nothing_behind():
    async def run():
        peer = Peer()
        stream = NewestOf(peer.messages())
        peer.send(2)
        await stream.newer_than(await stream.next())
        await stream.newer_than(2)
        await stream.close()
        assert len(asyncio.all_tasks()) == 1

    asyncio.run(run())
