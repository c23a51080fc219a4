"""The bytes of a watch → its events. Pure."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import cast

from ...errors import ApiUnreachable
from ..objects.metadata import Object
from .answers import error_of_status, has_version, is_object, json_of

LONGEST_LINE = 16 * 1024 * 1024
"""Bytes. An object of Kubernetes has at most some 3 MB, since etcd takes no more."""


@dataclass(frozen=True, slots=True)
class Changed:
    """An object was created, or is another one than before."""

    object: Object


@dataclass(frozen=True, slots=True)
class Deleted:
    """An object is not there any more, or not among those that were asked for; ``object`` is its last state."""

    object: Object


@dataclass(frozen=True, slots=True)
class Bookmark:
    """Everything up to this version has been sent."""

    object: Object


class WatchUseless(ApiUnreachable):
    """The server answers, but not as one that can be watched."""


class NoEvent(WatchUseless):
    """A watch has sent something else: from here on, it does not say what has changed."""


Event = Changed | Deleted | Bookmark
_KINDS: dict[str, type[Event]] = {"ADDED": Changed, "MODIFIED": Changed, "DELETED": Deleted, "BOOKMARK": Bookmark}


class EventReader:
    """Puts together the lines that a stream of bytes is made of, each of which is an event."""

    def __init__(self) -> None:
        self._rest: list[bytes] = []
        """The pieces of a line that has not ended."""
        self._length = 0

    def feed(self, data: bytes) -> Iterator[Event]:
        """The events that ``data`` completes. Raises NoEvent if something is none, and the server's ApiError
        if it is one about the watch itself."""
        *ends, rest = data.split(b"\n")
        for end in ends:
            line = b"".join([*self._rest, end])
            self._rest, self._length = [], 0
            if line.strip():
                yield _event(line)
        self._rest.append(rest)
        self._length += len(rest)
        if self._length > LONGEST_LINE:
            raise NoEvent(f"a watch has sent an event of more than {LONGEST_LINE >> 20} MiB")


def version_of(one: Event) -> str:
    """Where a watch can go on after it."""
    version: str = one.object["metadata"]["resourceVersion"]
    return version


def _event(line: bytes) -> Event:
    event = json_of(line)
    if not isinstance(event, dict):
        raise _no_event(line)
    if event.get("type") == "ERROR":
        raise error_of_status(event.get("object"))
    kind, found = _KINDS.get(str(event.get("type"))), event.get("object")
    if kind is None or not (is_object(found) or (kind is Bookmark and has_version(found))):
        raise _no_event(line)
    return kind(cast(Object, found))


def _no_event(line: bytes) -> NoEvent:
    return NoEvent(f"a watch has sent something that is no event: {line[:100]!r}")
