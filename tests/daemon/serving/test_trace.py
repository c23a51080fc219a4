"""Where events go, whatever the clock says."""

from __future__ import annotations

import io
import json
import os
from contextlib import nullcontext
from pathlib import Path

import pytest

from devicemgr.cli.events import line_of
from devicemgr.daemon.event_log import EventLog, RecordedEvent
from devicemgr.daemon.serving import trace
from devicemgr.daemon.serving.trace import open_log, open_trace
from devicemgr.errors import DirectoryUnusable
from devicemgr.events import ManagerStopping, RegistrationRequested, Severity, SocketRestored


@pytest.mark.parametrize("seconds", [0.0, 1e9, 253402300800.0, 4e11, 9e15, 1e300])
def test_a_clock_that_is_past_the_year_9999_ends_nothing(tmp_path, seconds):
    text, lines = io.StringIO(), io.StringIO()
    with open_trace(tmp_path / "trace") as file, open_log(text, "text") as as_text, open_log(lines, "json") as as_json:
        log = EventLog([as_text, as_json, file], clock=lambda: seconds)
        log.record([ManagerStopping()])
    assert text.getvalue().endswith("Z INFO    ManagerStopping\n")
    (recorded,) = log.after(0)
    assert json.loads(lines.getvalue())["time"] == seconds
    assert json.loads((tmp_path / "trace").read_text())["time"] == seconds
    assert "ManagerStopping" in line_of(recorded.as_json())


@pytest.mark.parametrize(
    ("min_severity", "shown"),
    [
        (Severity.DEBUG, ["DEBUG", "INFO", "WARNING"]),
        (Severity.INFO, ["INFO", "WARNING"]),
        (Severity.WARNING, ["WARNING"]),
    ],
)
def test_the_log_has_what_is_severe_enough(min_severity, shown):
    stream = io.StringIO()
    requested = RegistrationRequested(version="v1beta1", endpoint="a.sock", resource="vendor.com/gpu")
    with open_log(stream, "text", min_severity) as log:
        for event in (requested, ManagerStopping(), SocketRestored(path="/x")):
            log(RecordedEvent(1, 0.0, event))
    assert [line.split()[1] for line in stream.getvalue().splitlines()] == shown


def test_a_name_that_covers_other_lines_is_quoted():
    stream = io.StringIO()
    requested = RegistrationRequested(version="v1beta1", endpoint="Z" + "\u0301" * 9, resource="\u0301")
    with open_log(stream, "text", Severity.DEBUG) as log:
        log(RecordedEvent(1, 0.0, requested))
    assert stream.getvalue().isascii()
    assert '"\\u0301"' in stream.getvalue()


@pytest.mark.parametrize("left", ['{"event": "Manager', '{"event": "ManagerStopping"}'])
def test_after_half_a_line_the_next_event_has_a_line_of_its_own(tmp_path, left):
    """What a manager that was killed has written last costs no event of the next one."""
    file = tmp_path / "trace"
    file.write_text(left)
    for _ in range(2):
        with open_trace(file) as written:
            EventLog([written]).record([ManagerStopping()])
    half, *lines = file.read_text().splitlines()
    assert half == left
    assert [json.loads(line)["event"] for line in lines] == ["ManagerStopping"] * 2


def test_a_trace_goes_to_anything_that_can_be_written(tmp_path):
    """A FIFO needs no reader at first."""
    fifo = tmp_path / "fifo"
    os.mkfifo(fifo)
    for path in (fifo, Path("/dev/null"), tmp_path / "new"):
        with open_trace(path) as written:
            EventLog([written]).record([ManagerStopping()])
            if path == fifo:
                with fifo.open() as reader:
                    assert json.loads(reader.readline())["event"] == "ManagerStopping"


def test_two_programs_do_not_write_one_trace_at_a_time(tmp_path):
    file = tmp_path / "trace"
    for _ in range(2):
        with open_trace(file), pytest.raises(DirectoryUnusable, match="another program writes it"), open_trace(file):
            pass
    with open_trace(Path("/dev/null")), open_trace(Path("/dev/null")):
        pass


@pytest.mark.parametrize("log_format", ["text", "json"])
def test_of_events_that_were_not_read_in_time_their_number_is_written(monkeypatch, log_format):
    """With the time and the number of a place between the last event that was written and the next."""
    lines = Reader()
    monkeypatch.setattr(trace, "open_lines", lambda stream: nullcontext(lines))
    with open_log(io.StringIO(), log_format) as log:
        events = EventLog([log], clock=lambda: 7.0)
        for lines.has_room in (True, False, False, False, True, True):
            events.record([SocketRestored(path="/x")])
    assert [("EventsNotWritten" in line, "SocketRestored" in line) for line in lines.got] == [
        *((False, True), (True, False), (False, True), (False, True))
    ]
    if log_format == "json":
        assert [(one["sequence"], one.get("count")) for one in map(json.loads, lines.got)] == [
            *((1, None), (4, 3), (5, None), (6, None))
        ]
    else:
        assert lines.got[1] == "1970-01-01T00:00:07.000Z WARNING EventsNotWritten count=3"


class Reader:
    """Reads now and then."""

    def __init__(self):
        self.got = []

    def put(self, line):
        self.got.append(line)
