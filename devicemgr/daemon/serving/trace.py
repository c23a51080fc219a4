"""Where recorded events go: JSON lines in a file, text or JSON lines on a stream. Each is a sink of the event log."""

from __future__ import annotations

import json
import os
import sys
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, TextIO

from ...errors import DirectoryUnusable
from ...events import Event, Severity, as_json
from ..event_log import RecordedEvent, Sink

MODE = 0o640
"""Of a trace file, at most: it contains names of pods, and daemons often run with a umask of 0."""
_SYNTAX = set(' ",[]')
"""Characters with a meaning in a log line."""
MAX_TIMESTAMP = 253_370_764_800.0
"""The last time that is formatted, in seconds since the epoch: the beginning of the year 9999. Later ones are shown as
this one; in JSON they are numbers.
"""


@contextmanager
def open_trace(path: Path) -> Iterator[Sink]:
    """Append every event to ``path``, one JSON object a line, flushed line by line. Raises DirectoryUnusable."""
    try:
        file = open(path, "a", encoding="utf-8", opener=lambda name, flags: os.open(name, flags, MODE))  # noqa: SIM115
    except OSError as error:
        raise DirectoryUnusable(f"cannot write the trace file {path}: {error.strerror}") from error
    try:
        yield _writer(file, lambda recorded: json.dumps(recorded.as_json()))
    finally:
        with suppress(OSError):  # a full disk was reported already
            file.close()


def stream_sink(stream: TextIO, log_format: str, min_severity: str = Severity.INFO) -> Sink:
    """Writes events of at least ``min_severity`` as ``text`` or ``json`` lines."""
    shown = list(Severity)[list(Severity).index(Severity(min_severity)) :]
    render = {"text": format_text, "json": _format_json}[log_format]
    write = _writer(stream, render)

    def sink(recorded: RecordedEvent) -> None:
        if recorded.event.severity in shown:
            write(recorded)

    return sink


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


def _writer(stream: TextIO, render: Callable[[RecordedEvent], str]) -> Sink:
    """A sink that stops when its stream fails: a closed pipe or a full disk must not end the manager."""
    broken: list[OSError] = []

    def write(recorded: RecordedEvent) -> None:
        if broken:
            return
        try:
            stream.write(render(recorded) + "\n")
            stream.flush()
        except OSError as error:
            broken.append(error)
            with suppress(OSError):
                sys.stderr.write(f"{stream.name}: {error}; no more events are written there\n")

    return write


def timestamp(seconds: float) -> str:
    """``2026-11-24T02:13:24.123Z``"""
    return (
        datetime.fromtimestamp(min(seconds, MAX_TIMESTAMP), UTC)
        .isoformat(timespec="milliseconds")
        .replace("+00:00", "Z")
    )


def _short(value: Any) -> str:
    """A value in a log line: quoted if it would break the line, a list or the terminal; long lists are truncated."""
    if isinstance(value, tuple | list):
        shown = ",".join(_short(item) for item in value[:8])
        return f"[{shown},…{len(value)} in all]" if len(value) > 8 else f"[{shown}]"
    text = str(value)
    return text if text and text.isprintable() and not _SYNTAX & set(text) else json.dumps(text)
