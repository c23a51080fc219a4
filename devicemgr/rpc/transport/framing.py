"""What h2 is not shown: GOAWAY, and frames that are too long.

A GOAWAY says that there will be no new streams; open ones go on (RFC 9113, 6.8). h2 takes it for the end of the
connection and refuses everything that follows. So GOAWAY frames are taken out of the bytes that arrive, and ours are
made here. And h2 checks the length of a frame only when all of it has arrived, up to 16 MiB; here its first nine bytes
are enough. Everything else is passed on unchanged.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from hyperframe.frame import GoAwayFrame

_HEAD = 9
_GOAWAY = 7
_LONGEST = 2**14
"""Bytes of a frame's payload: HTTP/2's default, which we do not raise."""
_SHORTEST_GOAWAY = 8  # a shorter one is left to h2, which ends the connection for it
PREFACE_SIZE = 24


@dataclass(frozen=True, slots=True)
class GoAway:
    """The peer answers streams up to ``last_stream`` and no others."""

    last_stream: int


def goaway_frame(last_stream: int, code: int) -> bytes:
    return GoAwayFrame(last_stream_id=last_stream, error_code=code).serialize()


class FrameTooLong(Exception):
    """The text has the length."""


class FrameSplitter:
    """Follows the frames of one direction of a connection, from one read to the next."""

    def __init__(self, *, preface: bool) -> None:
        self._kept = b""
        """The beginning of a frame whose header has not arrived completely."""
        self._ahead = PREFACE_SIZE if preface else 0
        """Bytes until the next frame begins."""

    def split(self, data: bytes) -> Iterator[bytes | GoAway]:
        """Bytes for h2, at most one frame at a time, so that an error in one frame does not lose the events of those
        before it; and each GOAWAY in its place between them. Raises FrameTooLong."""
        data = self._kept + data
        begin, at = 0, self._ahead
        while len(data) >= at + _HEAD:
            if begin < at:
                yield data[begin:at]
                begin = at
            size = int.from_bytes(data[at : at + 3])
            if size > _LONGEST:
                raise FrameTooLong(f"a frame of {size} bytes; {_LONGEST} are the limit")
            end = at + _HEAD + size
            if data[at + 3] == _GOAWAY and size >= _SHORTEST_GOAWAY:
                if len(data) < end:
                    break
                yield GoAway(int.from_bytes(data[at + _HEAD : at + _HEAD + 4]) & 0x7FFFFFFF)
                begin = end
            at = end
        data, self._kept = data[:at], data[at:]
        self._ahead = at - len(data)
        if begin < len(data):
            yield data[begin:]
