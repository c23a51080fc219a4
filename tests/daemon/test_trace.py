"""Where events are told, whatever the clock says."""

from __future__ import annotations

import io
import json

import pytest

from devicemgr.cli.events import _line
from devicemgr.daemon.event_log import EventLog
from devicemgr.daemon.trace import log_to, open_trace
from devicemgr.events import ManagerStopping


@pytest.mark.parametrize("seconds", [0.0, 1e9, 253402300800.0, 4e11, 9e15, 1e300])
def test_a_clock_that_is_past_the_year_9999_ends_nothing(tmp_path, seconds):
    text, lines = io.StringIO(), io.StringIO()
    with open_trace(tmp_path / "trace") as trace:
        log = EventLog([log_to(text, "text"), log_to(lines, "json"), trace], clock=lambda: seconds)
        log.record([ManagerStopping()])
    assert text.getvalue().endswith("Z INFO    ManagerStopping\n")
    (recorded,) = log.after(0)
    assert json.loads(lines.getvalue())["time"] == seconds
    assert json.loads((tmp_path / "trace").read_text())["time"] == seconds
    assert "ManagerStopping" in _line(recorded.as_json())
