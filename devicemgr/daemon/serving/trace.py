"""Where recorded events go: JSON lines in a file, text or JSON lines on a stream. Each is a sink of the event log.

Neither waits for whoever reads them (``lines``).
"""

from __future__ import annotations

import fcntl
import json
import os
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any, TextIO

from ...errors import DirectoryUnusable
from ...events import Event, EventsNotWritten, Severity, as_json
from ...events.timestamp import timestamp
from ...printable import printable
from ..event_log import RecordedEvent, Sink
from .lines import CountedLines, Lines, open_lines

MODE = 0o640
"""Of a trace file, at most: it contains names of pods, and daemons often run with a umask of 0."""
_SYNTAX = set(' ",[]')
"""Characters with a meaning in a log line."""


@contextmanager
def open_trace(path: Path) -> Iterator[Sink]:
    """Append every event to ``path``, one JSON object a line, flushed line by line. Raises DirectoryUnusable.

    The reader of a FIFO may come later, and another one after it.
    """
    is_cut_off = _is_cut_off(path)
    try:
        file = open(path, "a", encoding="utf-8", opener=_open_now)  # noqa: SIM115
    except OSError as error:
        raise DirectoryUnusable(f"cannot write the trace file {path}: {error.strerror}") from error
    try:
        _lock(file, path)
        if is_cut_off:
            file.write("\n")
        with open_lines(file) as lines:
            yield _written(lines, lambda recorded: json.dumps(recorded.as_json()))
    finally:
        with suppress(OSError):  # a full disk was reported already
            file.close()


def _lock(file: TextIO, path: Path) -> None:
    """The events of two managers in one file, by turns, are no history of either. Raises DirectoryUnusable."""
    try:
        if path.is_file():
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        raise DirectoryUnusable(f"cannot write the trace file {path}: another program writes it") from None
    except OSError:  # its file system has no locks
        pass


def _open_now(name: str, flags: int) -> int:
    """A FIFO that is open for reading as well has a reader, so that opening it does not wait for one."""
    return os.open(name, os.O_RDWR if Path(name).is_fifo() else flags, MODE)


def _is_cut_off(path: Path) -> bool:
    """Was a manager killed in the middle of a line? Then the next event must not be part of that one."""
    try:
        if not path.is_file() or not path.stat().st_size:
            return False
        with path.open("rb") as file:
            file.seek(-1, os.SEEK_END)
            return file.read(1) != b"\n"
    except OSError:  # it cannot be read, or is not there any more
        return False


@contextmanager
def open_log(stream: TextIO | None, log_format: str, min_severity: str = Severity.INFO) -> Iterator[Sink]:
    """Write events of at least ``min_severity`` as ``text`` or ``json`` lines."""
    shown = list(Severity)[list(Severity).index(Severity(min_severity)) :]
    render = {"text": format_text, "json": _format_json}[log_format]
    with open_lines(stream) as lines:
        write = _written(lines, render)

        def sink(recorded: RecordedEvent) -> None:
            if recorded.event.severity in shown:
                write(recorded)

        yield sink


def format_text(recorded: RecordedEvent) -> str:
    """``2026-11-24T02:13:24.123Z INFO PluginRegistered resource=vendor.com/gpu endpoint=gpu.sock …``"""
    return f"{timestamp(recorded.time)} {recorded.event.severity.upper():7} {format_event(recorded.event)}"


def format_event(event: Event) -> str:
    """``PluginRegistered resource=vendor.com/gpu endpoint=gpu.sock …``"""
    return format_values(as_json(event))


def format_values(event: Mapping[str, Any]) -> str:
    """The same, of an event as JSON."""
    words = (f"{key}={_short(value)}" for key, value in event.items() if key != "event")
    return " ".join([str(event["event"]), *words])


def _format_json(recorded: RecordedEvent) -> str:
    return json.dumps({"level": str(recorded.event.severity), **recorded.as_json()})


def _written(lines: Lines, render: Callable[[RecordedEvent], str]) -> Sink:
    """A sink that says how many events found no room, as soon as there is some again."""
    counted = CountedLines(lines)

    def write(recorded: RecordedEvent) -> None:
        def missing(count: int) -> str:
            before = recorded.sequence - recorded.event.is_remembered
            return render(RecordedEvent(before, recorded.time, EventsNotWritten(count=count)))

        counted.put(lambda: render(recorded), missing=missing)

    return write


def _short(value: Any) -> str:
    """A value in a log line: quoted if it would break the line, a list or the terminal; long lists are truncated."""
    if isinstance(value, tuple | list):
        shown = ",".join(_short(item) for item in value[:8])
        return f"[{shown},…{len(value)} in all]" if len(value) > 8 else f"[{shown}]"
    text = str(value)
    return text if text and printable(text) == text and not _SYNTAX & set(text) else json.dumps(text)
