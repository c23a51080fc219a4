"""Lines for somebody who may read them: a log never stops the manager.

A write to a file on disk ends soon. One to a pipe, a socket or a terminal waits for its reader, who may be slow, or
stopped, or may have forgotten to read; a terminal waits after Ctrl-S. So these have a thread that waits in the
manager's place, and lines that find no room are not kept.

Decision: a thread. Only with O_NONBLOCK does a write never wait, and that is a property of the open file, which other
processes share: a shell, or plug-ins with the same standard error, would get errors that they do not expect.
"""

from __future__ import annotations

import errno
import io
import os
import select
import stat
import sys
from collections import deque
from collections.abc import Callable, Collection, Iterator
from contextlib import contextmanager, suppress
from threading import Condition, Thread
from typing import Protocol, TextIO

MOST_UNREAD = 2**20
"""Characters of lines that wait for a reader, beside what the kernel holds of a pipe."""
END_TIMEOUT = 1.0
"""Seconds that the reader has at the end for the lines that still wait."""


class Lines(Protocol):
    """Takes lines as long as it ``has_room``."""

    @property
    def has_room(self) -> bool: ...
    def put(self, line: str) -> None: ...


class CountedLines:
    """Lines of which those that find no room are counted, and the next one that finds some is preceded by the count."""

    def __init__(self, lines: Lines) -> None:
        self._lines = lines
        self._lost = 0

    def put(self, line: Callable[[], str], *, missing: Callable[[int], str]) -> None:
        """Neither text is made unless it is written; ``missing`` says how many were lost."""
        if not self._lines.has_room:
            self._lost += 1
            return
        if self._lost:
            self._lines.put(missing(self._lost))
            self._lost = 0
        self._lines.put(line())


@contextmanager
def open_lines(stream: TextIO | None, *, ends_with_reader: bool = False) -> Iterator[Lines]:
    """For the lines of a stream; None is the standard error of a program that was started without one. If the stream
    fails, as a closed pipe or a full disk does, that is said once on standard error, and nothing is written any more.
    With ``ends_with_reader`` a closed pipe ends the program, and is no failure.
    """
    if stream is None:
        yield _Nowhere()
    elif not _waits_for_reader(stream):
        yield _WrittenAtOnce(stream)
    else:
        lines = _WrittenByThread(stream, expected={errno.EPIPE} if ends_with_reader else set())
        if not lines.start():  # a program that may have to wait is better than none
            yield _WrittenAtOnce(stream)
            return
        try:
            yield lines
        finally:
            lines.end()


def _waits_for_reader(stream: TextIO) -> bool:
    try:
        return not stat.S_ISREG(os.fstat(stream.fileno()).st_mode)
    except io.UnsupportedOperation:  # it is in memory
        return False


class _Nowhere:
    has_room = False

    def put(self, line: str) -> None:
        """Never called."""


class _WrittenAtOnce:
    """Each line is on its way to the disk before anything else happens: after a crash nothing is missing."""

    def __init__(self, stream: TextIO) -> None:
        self.has_room = True
        self._stream = stream

    def put(self, line: str) -> None:
        try:
            self._stream.write(f"{line}\n")
            self._stream.flush()
        except OSError as error:
            self.has_room = False
            _complain(self._stream.name, error)


class _WrittenByThread:
    """The lines that are not written yet. The thread has a descriptor of its own, since it may outlast the stream."""

    def __init__(self, stream: TextIO, *, expected: Collection[int]) -> None:
        stream.flush()
        self.name = stream.name
        self._encoding = stream.encoding
        self._errors = "backslashreplace" if stream.errors in (None, "strict") else stream.errors
        self._expected = expected
        self._descriptor = os.dup(stream.fileno())
        self._changed = Condition()
        self._waiting: deque[str] = deque()
        self._unread = 0
        """Characters of all lines that are not written, also of those that the thread has taken."""
        self._is_over = False
        # As a daemon: a thread that still waits for its reader must not keep the program from ending.
        self._thread = Thread(target=self._write_all, name=f"lines of {self.name}", daemon=True)

    def start(self) -> bool:
        """False if the system has no thread to spare."""
        try:
            self._thread.start()
        except RuntimeError:
            os.close(self._descriptor)
            return False
        return True

    @property
    def has_room(self) -> bool:
        return self._unread < MOST_UNREAD and not self._is_over

    def put(self, line: str) -> None:
        with self._changed:
            self._waiting.append(f"{line}\n")
            self._unread += len(line) + 1
            self._changed.notify()

    def end(self) -> None:
        """There are no more lines; those that wait are written, if that does not take long."""
        with self._changed:
            self._is_over = True
            self._changed.notify()
        self._thread.join(END_TIMEOUT)

    def _write_all(self) -> None:
        """The thread: write lines until the end."""
        try:
            while taken := self._take():
                self._write("".join(taken).encode(self._encoding, self._errors))
                with self._changed:
                    self._unread -= sum(map(len, taken))
        except OSError as error:
            self._is_over = True
            if error.errno not in self._expected:
                _complain(self.name, error)
        finally:
            os.close(self._descriptor)

    def _take(self) -> list[str]:
        """All that wait; nothing at the end."""
        with self._changed:
            self._changed.wait_for(lambda: self._waiting or self._is_over)
            taken = list(self._waiting)
            self._waiting.clear()
        return taken

    def _write(self, data: bytes) -> None:
        while data:
            try:
                data = data[os.write(self._descriptor, data) :]
            except BlockingIOError:  # others have made it so
                select.select([], [self._descriptor], [])


def _complain(name: str, error: OSError) -> None:
    """If somebody reads it."""
    if sys.stderr is not None:
        with suppress(OSError, ValueError):
            if select.select([], [sys.stderr], [], 0)[1]:
                sys.stderr.write(f"{name}: {error}; no more events are written there\n")
