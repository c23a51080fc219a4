"""What is kept of what a program writes."""

from __future__ import annotations

import os

import pytest
import trio

from devicemgr.testing.conformance.subject.output import KEPT, Output


async def written(*chunks):
    output = Output()
    async with trio.open_nursery() as nursery:
        nursery.start_soon(output.collect)
        for chunk in chunks:
            await trio.to_thread.run_sync(os.write, output.descriptor, chunk)
        text = output.text
        nursery.cancel_scope.cancel()
    return text


async def test_all_of_it_as_long_as_it_is_not_much():
    assert await written(b"one ", b"two\n") == "one two\n"
    much = b"x" * KEPT + b"y" * KEPT
    assert await written(*(much[at : at + 4096] for at in range(0, len(much), 4096))) == much.decode()


@pytest.mark.parametrize("length", [60_000, 4096, 1000])
async def test_of_very_much_the_beginning_and_the_end(length):
    count = 8 * KEPT // length
    text = await written(b"first", *([b"x" * length] * count), b"last")
    head, mark, tail = text.split("\n")
    assert head == "first" + "x" * (KEPT - 5)
    assert KEPT <= len(tail) <= 2 * KEPT + length
    assert tail.endswith("xlast")
    left_out = count * length + 9 - len(head) - len(tail)
    assert mark == f"[… {left_out:,} bytes are left out here …]"


def test_what_is_written_is_there_at_once_and_without_a_task():
    output = Output()
    os.write(output.descriptor, b"hello")
    assert output.text == "hello"
