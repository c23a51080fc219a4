"""Where events go, whatever the clock says."""

from __future__ import annotations

import io
import json

import pytest

from devicemgr.cli.events import line_of
from devicemgr.daemon.event_log import EventLog, RecordedEvent
from devicemgr.daemon.serving.trace import open_trace, stream_sink
from devicemgr.events import ManagerStopping, RegistrationRequested, Severity, SocketRestored


@pytest.mark.parametrize("seconds", [0.0, 1e9, 253402300800.0, 4e11, 9e15, 1e300])
def test_a_clock_that_is_past_the_year_9999_ends_nothing(tmp_path, seconds):
    text, lines = io.StringIO(), io.StringIO()
    with open_trace(tmp_path / "trace") as trace:
        log = EventLog([stream_sink(text, "text"), stream_sink(lines, "json"), trace], clock=lambda: seconds)
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
    log = stream_sink(stream, "text", min_severity)
    requested = RegistrationRequested(version="v1beta1", endpoint="a.sock", resource="vendor.com/gpu")
    for event in (requested, ManagerStopping(), SocketRestored(path="/x")):
        log(RecordedEvent(1, 0.0, event))
    assert [line.split()[1] for line in stream.getvalue().splitlines()] == shown
