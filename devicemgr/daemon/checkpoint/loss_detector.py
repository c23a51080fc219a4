"""Does what was written still stand there? People wipe the directory of a manager that runs, or put a file of theirs in
the place of its own; the next start would believe what it finds, and hand out devices that are in use.

# Decision: a checkpoint that goes while the manager runs is written again, since the manager knows better; whoever
wants to reset a node's devices deletes it while no manager runs (CAP-6). What is compared is the file and when it was
last written, not its bytes: other bytes under the same time are damage, which the next start finds (LIM-10).
"""

from __future__ import annotations

from pathlib import Path

import trio

from ..file_watch import FileWatch
from .durable_file import FileIdentity, identity_of


class LossDetector:
    """What should stand where. Nothing is expected of a path that nobody has named."""

    def __init__(self, watch: FileWatch) -> None:
        self._watch = watch
        self._expected: dict[Path, FileIdentity] = {}

    def expect(self, path: Path, identity: FileIdentity | None) -> None:
        """This stands there from now on; None: who knows."""
        self._expected.pop(path, None)
        if identity is not None:
            self._expected[path] = identity

    def losses(self) -> dict[Path, str]:
        """What does not stand there any more, and what became of it."""
        found = {path: (was, identity_of(path)) for path, was in self._expected.items()}
        return {path: _what_became(was, now) for path, (was, now) in found.items() if was != now}

    async def wait_for_loss(self) -> None:
        """Return when something is lost. While the writer writes nobody waits here, so its own writes wake nobody."""
        if not self._expected:
            await trio.sleep_forever()
        self._watch.arm(self._expected)
        while not self.losses():
            await self._watch.changed()
            self._watch.arm(self._expected)


def _what_became(was: FileIdentity, now: FileIdentity | None) -> str:
    if now is None:
        return "deleted"
    return "changed" if (was.device, was.inode) == (now.device, now.inode) else "replaced"
