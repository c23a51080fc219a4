"""Programs on a terminal: what they show there, and those that wait for a key."""

from __future__ import annotations

import os
import pty
import select
import subprocess
import sys
import termios
from contextlib import suppress

from .processes import HANGS, running


def shown_on_terminal(*verb: str, columns: int) -> list[str]:
    """The lines that a verb of ours writes to a terminal so wide, where nobody types."""
    ours, theirs = pty.openpty()
    termios.tcsetwinsize(theirs, (24, columns))
    command = [sys.executable, "-m", "devicemgr", *verb]
    environment = {name: value for name, value in os.environ.items() if name != "COLUMNS"}
    with running(command, stdin=subprocess.DEVNULL, stdout=theirs, stderr=theirs, env=environment) as program:
        os.close(theirs)
        shown = b""
        with suppress(OSError):  # the end of a terminal
            while more := os.read(ours, 65536):
                shown += more
        assert program.wait(HANGS) == 0
    os.close(ours)
    return shown.decode().replace("\r\n", "\n").splitlines()


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
