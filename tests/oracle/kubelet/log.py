"""What a program says, line by line as JSON, as facts to wait for."""

from __future__ import annotations

import json
from collections import defaultdict, deque
from collections.abc import Callable
from pathlib import Path
from typing import Any

import trio

from devicemgr.concurrency.condition_variable import ConditionVariable

Entry = dict[str, Any]


class Log:
    """Every line so far; ``file`` has them too.

    A line is of a kind, which one of its fields says: a kubelet writes thousands, and few kinds matter to anybody.
    """

    def __init__(self, file: Path, kind: str) -> None:
        self._entries: defaultdict[str, list[Entry]] = defaultdict(list)
        self._file = file
        self._kind = kind
        self._changed = ConditionVariable()
        self.ended = trio.Event()
        """The program says no more."""
        self.last_words: deque[str] = deque(maxlen=40)
        """The last lines that are no JSON, as of a panic, or that tell of an error."""

    async def follow(self, stream: trio.abc.ReceiveStream) -> None:
        """Read the stream until it ends."""
        rest = b""
        with self._file.open("ab") as file:
            async for chunk in stream:
                file.write(chunk)
                file.flush()
                *lines, rest = (rest + chunk).split(b"\n")
                for line in lines:
                    entry = _parsed(line)
                    if entry is None or "err" in entry:
                        self.last_words.append(line.decode(errors="replace"))
                    if entry is not None:
                        self._entries[entry.get(self._kind, "")].append(entry)
                self._changed.notify()
        if rest:
            self.last_words.append(rest.decode(errors="replace"))
        self.ended.set()

    @property
    def kinds(self) -> list[str]:
        return list(self._entries)

    def of(self, kind: str) -> list[Entry]:
        return self._entries[kind]

    def count(self, kind: str, **fields: object) -> int:
        """How many entries of the kind have these fields, among others."""
        return sum(1 for entry in self._entries[kind] if entry.items() >= fields.items())

    async def wait_for(self, kind: str, *, number: int = 1, **fields: object) -> None:
        """Until there are so many of them."""
        await self.wait_until(lambda: self.count(kind, **fields) >= number)

    async def wait_until(self, condition: Callable[[], bool]) -> None:
        """Until the condition holds; it is looked at when there are more entries."""
        await self._changed.wait_until(condition)


def _parsed(line: bytes) -> Entry | None:
    if not line.startswith(b"{"):
        return None
    try:
        entry = json.loads(line)
    except ValueError:
        return None
    return entry if isinstance(entry, dict) else None
