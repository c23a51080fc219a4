"""What programs write, read as it comes: of very much the beginning and the end.

A pipe and no file: whoever writes to a file of ours can also make it a terabyte long.
"""

from __future__ import annotations

import os
import weakref

import trio

KEPT = 512 * 1024
"""Bytes that are kept of the beginning; of the end as many, up to twice as many."""
_AT_ONCE = 64 * 1024
"""Bytes: as many as a pipe holds, usually."""


class Output:
    """``descriptor`` is where programs may write, several and one after the other. Somebody has to run :meth:`collect`
    meanwhile, or they wait as soon as the pipe is full."""

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
        """What was written until now."""
        self._read()
        left_out = f"\n[… {self._dropped:,} bytes are left out here …]\n".encode() if self._dropped else b""
        return (self._head + left_out + self._tail).decode(errors="replace")

    def _read(self) -> None:
        """What is there now; not what is written while we read, or a busy writer would keep us."""
        for _ in range(4):
            try:
                self._keep(os.read(self._ours, _AT_ONCE))
            except BlockingIOError:
                return

    def _keep(self, data: bytes) -> None:
        room = KEPT - len(self._head)
        self._head += data[:room]
        self._tail += data[room:]
        if len(self._tail) > 2 * KEPT:  # and not each time: what is cut off is moved
            self._dropped += len(self._tail) - KEPT
            del self._tail[:-KEPT]
