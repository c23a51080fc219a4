"""What a program says, line by line as JSON, as facts to wait for."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import trio

from devicemgr.condition_variable import ConditionVariable

Entry = dict[str, Any]


class Log:
    """Every line so far. ``file`` has them too, for whoever has to find out why something failed."""

    def __init__(self, file: Path) -> None:
        self.entries: list[Entry] = []
        self._file = file
        self._changed = ConditionVariable()

    async def follow(self, stream: trio.abc.ReceiveStream) -> None:
        """Read the stream until it ends. A line that is no JSON, as of a panic, is kept in the file only."""
        rest = b""
        with self._file.open("ab") as file:
            async for chunk in stream:
                file.write(chunk)
                file.flush()
                *lines, rest = (rest + chunk).split(b"\n")
                self.entries += [entry for line in lines if (entry := _parsed(line)) is not None]
                self._changed.notify()

    def count(self, **fields: object) -> int:
        """How many entries have these fields, among others."""
        return sum(1 for entry in self.entries if entry.items() >= fields.items())

    async def wait_for(self, *, number: int = 1, **fields: object) -> None:
        """Until there are so many of them."""
        await self._changed.wait_until(lambda: self.count(**fields) >= number)


def _parsed(line: bytes) -> Entry | None:
    if not line.startswith(b"{"):
        return None
    try:
        entry = json.loads(line)
    except ValueError:
        return None
    return entry if isinstance(entry, dict) else None
