"""Programs on a terminal that wait for a key."""

from __future__ import annotations

import os
import select
import termios

from .processes import HANGS


def read_until(terminal: int, words: bytes, count: int = 1) -> bytes:
    """What a program has written, when it has written these so often."""
    read = b""
    while read.count(words) < count:
        assert select.select([terminal], [], [], HANGS)[0], read
        read += os.read(terminal, 4096)
    return read


def is_set_for_keys(terminal: int) -> bool:
    """Either end says it."""
    return not termios.tcgetattr(terminal)[3] & termios.ICANON


def press(terminal: int, keys: bytes) -> None:
    """Once, when the program waits for a key: what is typed before is discarded, and a second one would be for the next
    time."""
    while not is_set_for_keys(terminal):
        select.select([], [], [], 0.01)
    os.write(terminal, keys)
