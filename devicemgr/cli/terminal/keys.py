"""Keys on a terminal, as they are typed: for a verb that goes on when its reader has read."""

from __future__ import annotations

import os
import signal
import sys
import termios
import tty
from collections.abc import AsyncIterator, Iterator
from contextlib import contextmanager, suppress

import trio

from .signals import termination_signals

_NO_MORE = (b"q", b"Q", b"\x04", b"")
"""Also Ctrl-D, and the end of the input."""


def is_terminal() -> bool:
    """Is there somebody who reads, and types?"""
    return sys.stdin is not None and sys.stdin.isatty() and sys.stdout is not None and sys.stdout.isatty()


async def is_more_wanted() -> bool:
    """Wait for a key; False if it ends the whole, as a signal does. What was typed before is discarded, and several
    keys that are typed fast count as one."""
    terminal, keys = sys.stdin.fileno(), b""
    # The receiver comes first: whatever ends the program between the two would leave the terminal set for keys.
    with trio.open_signal_receiver(signal.SIGCONT, *termination_signals()) as signals, _keys_at_once(terminal):
        async with trio.open_nursery() as nursery:
            nursery.start_soon(_heed, signals, terminal, nursery.cancel_scope)
            await trio.lowlevel.wait_readable(terminal)
            with suppress(OSError):  # the terminal is gone
                keys = os.read(terminal, 1024)
            nursery.cancel_scope.cancel()
    return keys[:1] not in _NO_MORE


# Not click.getchar: it waits in a way that nothing can cancel, and with a terminal on which Ctrl-C and Ctrl-Z are
# characters. A program that ends meanwhile leaves the terminal so.


@contextmanager
def _keys_at_once(terminal: int) -> Iterator[None]:
    """Keys come without Enter, and are not shown. Those that send signals still do."""
    before = termios.tcgetattr(terminal)
    tty.setcbreak(terminal)
    try:
        yield
    finally:
        with suppress(termios.error):  # the terminal is gone
            termios.tcsetattr(terminal, termios.TCSADRAIN, before)


async def _heed(signals: AsyncIterator[int], terminal: int, waiting: trio.CancelScope) -> None:
    """A program that goes on after Ctrl-Z finds the terminal as the shell has set it meanwhile."""
    async for number in signals:
        if number == signal.SIGCONT:
            tty.setcbreak(terminal)
        else:
            waiting.cancel()
