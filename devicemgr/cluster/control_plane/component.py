"""One program of a control plane: it runs until its task is cancelled, and can be killed for a while.

Nothing is left of it should this process be killed. A shell beside it notices that: it reads from a pipe that nobody
writes to, and which ends with this process. Then it kills its process group, which is the program's, and is nobody
else's as long as the shell is in it. (Linux would send a signal by itself, ``PR_SET_PDEATHSIG``; but it does so when
the thread ends that has started the program, and threads of Trio do not last.)
"""

from __future__ import annotations

import os
import re
from collections.abc import AsyncIterator, Iterator, Sequence
from contextlib import asynccontextmanager, contextmanager
from functools import partial
from pathlib import Path

import trio

from ...concurrency.exception_groups import collapse_exception_group
from ...errors import ControlPlaneFailed
from .programs import Program

PATIENCE = 5.0
"""Seconds to end in."""
_GUARDED = """
exec 3<&0
/bin/sh -c 'read _; kill -KILL 0' <&3 3<&- >/dev/null 2>&1 &
exec "$@" </dev/null 3<&-
"""
LAST_WORDS, LONGEST_LINE = 1000, 300
"""Characters of a log that are shown, and of each of its lines."""


class Component:
    """``directory`` gets its log, and is its working directory."""

    def __init__(self, name: str, program: Program, flags: Sequence[str], directory: Path) -> None:
        self.name = name
        self.program = program
        self._argv = ["/bin/sh", "-c", _GUARDED, "sh", *program.argv, *flags]
        self._directory = directory
        self._running = trio.Event()
        self._resumed: trio.Event | None = None
        """Set when it shall start again. None: nobody has killed it."""
        self._process: trio.Process | None = None

    @property
    def pid(self) -> int | None:
        """That of its process, if it runs."""
        return self._process.pid if self._process is not None and self._running.is_set() else None

    async def wait_running(self) -> None:
        """Until it runs, also one that starts again."""
        while self.pid is None:
            await self._running.wait()

    @property
    def log(self) -> Path:
        return self._directory / f"{self.name}.log"

    async def run(self) -> None:
        """Run it until cancelled: then it is asked to end. Raises ControlPlaneFailed when it ends by itself."""
        while True:
            returncode = await self._run_once()
            if self._resumed is None:
                raise ControlPlaneFailed(f"{self.name} has ended with status {returncode}: {self._last_words()}")
            await self._resumed.wait()
            self._resumed = None

    def _last_words(self) -> str:
        """A full disk has no place for any."""
        words = last_words(self.log.read_text(errors="replace")) or f"it has said nothing in {self.log}"
        is_full = not os.statvfs(self._directory).f_bavail
        return f"{words}. There is no space left in {self._directory}" if is_full else words

    async def _run_once(self) -> int | None:
        try:
            with collapse_exception_group():
                return await self._run_process()
        except OSError as error:
            raise ControlPlaneFailed(
                f"{self.name} cannot be started: {error.filename or self.program}: {error.strerror}"
            ) from error

    async def _run_process(self) -> int | None:
        with _lifeline() as alive, self.log.open("ab") as output:
            start = partial(
                trio.run_process,
                self._argv,
                stdin=alive,
                stdout=output,
                stderr=output,
                cwd=self._directory,
                start_new_session=True,
                check=False,
                deliver_cancel=_end,
            )
            async with trio.open_nursery() as nursery:
                process: trio.Process = await nursery.start(start)
                self._process = process
                self._running.set()
        return process.returncode

    @asynccontextmanager
    async def killed(self) -> AsyncIterator[None]:
        """Kill it, as ``kill -9`` does. It is away during the block, and starts again after it, on its data."""
        await self._running.wait()
        assert self._process is not None
        self._resumed = resumed = trio.Event()
        self._running = trio.Event()
        try:
            self._process.kill()
            await self._process.wait()
            yield
        finally:
            resumed.set()


@contextmanager
def _lifeline() -> Iterator[int]:
    """What can be read to its end only when the block has been left, or this process has ended."""
    reading, writing = os.pipe()
    try:
        yield reading
    finally:
        os.close(writing)
        os.close(reading)


def last_words(log: str) -> str:
    """The last lines of a log, before the stack of a Go program that has crashed; it may also be the end of a line."""
    said = re.split(r"^goroutine \d+ \[", log, maxsplit=1, flags=re.MULTILINE)[0]
    return "\n".join(line[:LONGEST_LINE] for line in said.split("\n") if line.strip())[-LAST_WORDS:]


async def _end(process: trio.Process) -> None:
    """Unlike Trio's own way without a warning: an API server that starts takes no notice of SIGTERM."""
    process.terminate()
    with trio.move_on_after(PATIENCE):
        await process.wait()
    process.kill()
