"""The plug-in under test, as the checks see it: something that can be started, ended and killed."""

from __future__ import annotations

import os
import subprocess
import tempfile
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping, Sequence
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Protocol

import trio

from ....arguments import checked
from ....concurrency.exception_groups import collapse_exception_group
from ..verdicts import Failed, Skipped
from .isolation import missing

CHANGE_DEADLINE = 10.0
"""How many seconds the command of ``--change`` may take."""
MAX_OUTPUT_SHOWN = 4096
"""How many bytes of its output are shown."""


class Subject(Protocol):
    """A plug-in. What a kind of plug-in cannot do raises :class:`~.verdicts.Skipped` with the reason."""

    async def start(self, directory: Path) -> None:
        """Run it, with ``directory`` as the kubelet's directory of plug-ins. Raises SubjectUnusable."""

    def new_instance(self) -> Subject | None:
        """Another instance of the same program, to run in parallel with this one; None if there can be only one."""

    @property
    def can_change(self) -> bool:
        """Is there a way to make it report a change?"""

    async def run_in_background(self) -> None:
        """What has to be done for it as long as the bench is open; cancelled then."""

    async def terminate(self) -> int:
        """Ask it to end (SIGTERM); returns its exit status when it has. Negative: the signal that ended it."""

    async def kill(self) -> None:
        """Kill it, without a chance to clean up; a no-op if it has exited."""

    async def surge(self, directory: Path, ready: Callable[[], Awaitable[object]], grace: float) -> None:
        """Run a second process in parallel, and when ``ready`` returns end the first: as ``terminate`` does, or after
        ``grace`` seconds as ``kill`` does. From its start the second one is the plug-in. Raises SubjectUnusable."""

    async def change(self) -> None:
        """Make it report a change of its devices."""

    async def missing(self, paths: Sequence[str]) -> list[str]:
        """Those of the paths that do not exist on the machine as the plug-in sees it."""

    @property
    def is_running(self) -> bool: ...

    @property
    def unexpected_exit(self) -> str | None:
        """How its program exited, if that was not asked of it: "with exit status 1". Its children may go on."""

    @property
    def output(self) -> str:
        """Its output up to now, as far as it is known."""

    @property
    def has_api_server(self) -> bool:
        """Was it given an API server (``--kubeconfig``)?"""

    def without_secrets(self, text: str) -> str:
        """A text that the plug-in may have written, without the secrets that it was given."""

    def descriptors(self) -> int:
        """How many file descriptors it has open."""


@asynccontextmanager
async def open_subject(subject: Subject) -> AsyncIterator[None]:
    """Run its background tasks within the block, and kill what was started there at the end."""
    with collapse_exception_group():
        async with trio.open_nursery() as nursery:
            nursery.start_soon(subject.run_in_background)
            try:
                yield
            finally:
                with trio.CancelScope(shield=True):
                    await subject.kill()
            nursery.cancel_scope.cancel()


class Attached:
    """A plug-in that is started and ended elsewhere; ``change`` is a shell command that makes it report a change."""

    is_running = True
    unexpected_exit = None
    output = ""
    has_api_server = False

    @checked
    def __init__(self, *, change: str | None = None) -> None:
        self._change = change

    def without_secrets(self, text: str) -> str:
        return text

    async def start(self, directory: Path) -> None:
        return None

    def new_instance(self) -> None:
        return None

    @property
    def can_change(self) -> bool:
        return self._change is not None

    async def run_in_background(self) -> None:
        return None

    async def terminate(self) -> int:
        raise Skipped("the plug-in is not ours to end (--attach)")

    async def kill(self) -> None:
        return None

    async def surge(self, directory: Path, ready: Callable[[], Awaitable[object]], grace: float) -> None:
        raise Skipped("the plug-in is not ours to start a second time (--attach)")

    async def change(self) -> None:
        await run_change(self._change, dict(os.environ))

    async def missing(self, paths: Sequence[str]) -> list[str]:
        return await missing(paths, ())

    def descriptors(self) -> int:
        raise Skipped("the plug-in's processes are not known (--attach)")


async def run_change(command: str | None, env: Mapping[str, str]) -> None:
    """Run the command of ``--change``. Raises Skipped if there is none, Failed if it fails."""
    if command is None:
        raise Skipped("no command is given that makes the plug-in report a change (--change)")
    with tempfile.TemporaryFile() as output:  # not a pipe, which a process left behind would keep open
        with trio.move_on_after(CHANGE_DEADLINE) as scope:
            done = await trio.run_process(
                command, shell=True, env=env, check=False, stdout=output, stderr=subprocess.STDOUT
            )
        if scope.cancelled_caught:
            raise Failed(f"the command of --change did not end within {CHANGE_DEADLINE:g} s")
        output.seek(max(0, output.seek(0, os.SEEK_END) - MAX_OUTPUT_SHOWN))
        wrote = output.read(MAX_OUTPUT_SHOWN).decode(errors="replace").strip()
    if done.returncode:
        raise Failed(f"the command of --change ended with {done.returncode}" + (f": {wrote}" if wrote else ""))
