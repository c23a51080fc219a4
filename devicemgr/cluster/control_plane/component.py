"""One program of a control plane: it runs until its task is cancelled, and can be killed for a while."""

from __future__ import annotations

from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from functools import partial
from pathlib import Path
from subprocess import PIPE

import trio

from ...errors import ControlPlaneFailed
from .programs import Program

PATIENCE = 5.0
"""Seconds to end in."""


class Component:
    """``directory`` gets its log, and is its working directory."""

    def __init__(self, name: str, program: Program, flags: Sequence[str], directory: Path) -> None:
        self.name = name
        self.program = program
        self._argv = [*program.argv, *flags]
        self._directory = directory
        self._running = trio.Event()
        self._resumed: trio.Event | None = None
        """Set when it shall start again. None: nobody has killed it."""
        self._process: trio.Process | None = None

    @property
    def pid(self) -> int | None:
        """That of its process, if it runs."""
        return self._process.pid if self._process is not None and self._running.is_set() else None

    @property
    def log(self) -> Path:
        return self._directory / f"{self.name}.log"

    async def run(self) -> None:
        """Run it until cancelled: then it is asked to end. Raises ControlPlaneFailed when it ends by itself."""
        while True:
            returncode = await self._run_once()
            if self._resumed is None:
                words = self.log.read_text(errors="replace").strip()[-1000:]
                raise ControlPlaneFailed(f"{self.name} has ended with status {returncode}: {words}")
            await self._resumed.wait()
            self._resumed = None

    async def _run_once(self) -> int | None:
        with self.log.open("ab") as output:
            start = partial(
                trio.run_process,
                self._argv,
                stdin=PIPE,  # our own programs end with it, should this process be killed
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
        self._process.kill()
        await self._process.wait()
        try:
            yield
        finally:
            resumed.set()


async def _end(process: trio.Process) -> None:
    """Unlike Trio's own way without a warning: an API server that starts takes no notice of SIGTERM."""
    process.terminate()
    with trio.move_on_after(PATIENCE):
        await process.wait()
    process.kill()
