"""The output of programs, read as it comes; of a long one the beginning and the end are kept.

It is a pipe and not a file, because a program could make a file as long as it likes.
"""

from __future__ import annotations

import os
import weakref

import trio

KEPT = 512 * 1024
"""Bytes that are kept of the beginning; of the end, up to twice as many."""
_AT_ONCE = 64 * 1024
"""Bytes: the usual size of a pipe."""


class Output:
    """``descriptor`` is where programs write, also several, one after the other. :meth:`collect` must run meanwhile, or
    they block when the pipe is full."""

    def __init__(self) -> None:
        self._ours, self.descriptor = os.pipe2(os.O_CLOEXEC)
        os.set_blocking(self._ours, False)
        self._head, self._tail, self._dropped = bytearray(), bytearray(), 0
        weakref.finalize(self, os.close, self._ours)
        weakref.finalize(self, os.close, self.descriptor)

    async def collect(self) -> None:
        """Read until cancelled."""
        while True:
            await trio.lowlevel.wait_readable(self._ours)
            self._read()

    @property
    def text(self) -> str:
        """The output up to now."""
        self._read()
        left_out = f"\n[… {self._dropped:,} bytes are left out here …]\n".encode() if self._dropped else b""
        return (self._head + left_out + self._tail).decode(errors="replace")

    def _read(self) -> None:
        """Read what is there now, and not what is written meanwhile, or a busy program would keep us here."""
        for _ in range(4):
            try:
                self._keep(os.read(self._ours, _AT_ONCE))
            except BlockingIOError:
                return

    def _keep(self, data: bytes) -> None:
        room = KEPT - len(self._head)
        self._head += data[:room]
        self._tail += data[room:]
        if len(self._tail) > 2 * KEPT:  # and not each time, since deleting moves the rest
            self._dropped += len(self._tail) - KEPT
            del self._tail[:-KEPT]
