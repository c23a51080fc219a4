"""Detects that a file was deleted, replaced or changed after it was written. People wipe the directory of a running
manager, or overwrite its files; the next start would trust what it finds, and allocate devices that are in use.
"""

# Decision: a checkpoint that is lost while the manager runs is written again, because the manager's own state is right.
# To reset a node's devices, delete it while no manager runs (CAP-6). Compared are the file and its modification time,
# not its bytes: other bytes with the same time are damage, which the next start detects (LIM-10).

from __future__ import annotations

from pathlib import Path

import trio

from ..file_watch import FileWatch
from .durable_file import FileIdentity, identity_of


class LossDetector:
    """Knows which files were written last, and compares them with what is on disk."""

    def __init__(self, watch: FileWatch) -> None:
        self._watch = watch
        self._expected: dict[Path, FileIdentity] = {}

    def expect(self, path: Path, identity: FileIdentity | None) -> None:
        """The file at ``path`` was written as ``identity``; None: stop watching it."""
        self._expected.pop(path, None)
        if identity is not None:
            self._expected[path] = identity

    def losses(self) -> dict[Path, str]:
        """The paths whose file is not the one that was written, each with "deleted", "replaced" or "changed"."""
        found = {path: (was, identity_of(path)) for path, was in self._expected.items()}
        return {path: _what_became(was, now) for path, (was, now) in found.items() if was != now}

    async def wait_for_loss(self) -> None:
        """Return when a file is lost. The writer does not wait here while it writes."""
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
