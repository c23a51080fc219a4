"""Which checks failed the last time, for ``--last-failed``: a small file in the user's cache directory.

One for each program that is checked from a directory, so that nothing is left in the directory itself.
"""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Sequence
from contextlib import suppress

from ...testing.conformance import Check, Result, Verdict
from ...user_directories import cache_directory
from ..shared.atomic_files import write_atomically


class LastFailed:
    """For ``subject``, a program or a resource, checked from the working directory."""

    def __init__(self, subject: str) -> None:
        self._about = {"directory": os.getcwd(), "subject": subject}
        name = hashlib.sha256(json.dumps(self._about).encode()).hexdigest()[:16]
        self._path = cache_directory() / "check" / f"{name}.json"

    def names(self) -> set[str]:
        """Empty if nothing is known, or if the file is not ours."""
        try:
            return set(map(str, json.loads(self._path.read_text(encoding="utf-8"))["failed"]))
        except (OSError, ValueError, KeyError, TypeError):
            return set()

    def among(self, checks: Sequence[Check]) -> list[Check]:
        names = self.names()
        return [check for check in checks if check.name in names]

    def remember(self, results: Sequence[Result]) -> None:
        """Checks that were not run now stay as they were. If the file cannot be written, nothing is remembered."""
        sound = Verdict.PASSED, Verdict.WARNING
        failed = self.names() - {result.check for result in results if result.verdict in sound}
        failed |= {result.check for result in results if result.verdict is Verdict.FAILED}
        with suppress(OSError):
            if not failed:
                self._path.unlink(missing_ok=True)
                return
            self._path.parent.mkdir(parents=True, exist_ok=True)
            write_atomically(self._path, json.dumps({**self._about, "failed": sorted(failed)}))
