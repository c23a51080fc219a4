"""A recorded trace is read again: JSON lines, and golden traces."""

from __future__ import annotations

import json

import pytest

from devicemgr import events
from devicemgr.daemon.event_log import RecordedEvent
from devicemgr.daemon.serving.trace import format_text
from devicemgr.errors import BadInput
from devicemgr.input.trace_file import read_trace

EVENTS = [
    events.PluginRegistered(
        resource="vendor.com/gpu",
        endpoint="a b.sock",
        generation=3,
        pre_start_required=True,
        get_preferred_allocation_available=False,
        replaced=False,
    ),
    events.DeviceListApplied(
        resource="r", generation=1, capacity=3, allocatable=2, added=("1", "a b", 'c,"]'), removed=(), changed=("",)
    ),
    events.PodRemoved(namespace="n", name="p", uid="", freed={"vendor.com/gpu": ("a", "b")}),
    events.DeviceHealthChanged(pod_uid="7", container="c=d", resource="r", device="e\n\x1b", health="Unhealthy"),
    events.ManagerStopping(),
]


def as_read(event):
    return json.loads(json.dumps(events.as_json(event)))


@pytest.mark.parametrize("event", EVENTS, ids=lambda event: type(event).__name__)
def test_a_line_of_the_log_is_the_event_again(event):
    """An identifier that looks like a number stays a text."""
    line = "    " + format_text(RecordedEvent(1, 0.0, event)).partition(" ")[2]
    (_, read) = read_trace(["# golden", line], file="x.trace")
    assert json.loads(json.dumps(read.event)) == as_read(event)


@pytest.mark.parametrize(
    ("text", "levels"),
    [
        (["# golden", "    WARNING PodRefused name=p", "    DEBUG CallFinished"], ["", "warning", "debug"]),
        ([json.dumps({"level": "warning", "event": "PodRefused"}), json.dumps({"event": "X"})], ["warning", ""]),
    ],
    ids=["golden", "json"],
)
def test_the_level_is_kept_where_it_is_stated(text, levels):
    assert [line.level for line in read_trace(text, file="x")] == levels


def test_of_a_long_list_the_number_is_kept():
    event = events.DevicesAllocated(pod_uid="p", container="c", resource="r", devices=tuple(map(str, range(2000))))
    line = "    " + format_text(RecordedEvent(1, 0.0, event)).partition(" ")[2]
    (_, read) = read_trace(["# golden", line], file="x.trace")
    assert len(read.event["devices"]) == 2000
    assert read.event["devices"][:9] == [*map(str, range(8)), "…"]


def test_a_file_of_trace_is_its_events():
    lines = [json.dumps(RecordedEvent(n, 1.5, event).as_json()) + "\n" for n, event in enumerate(EVENTS)]
    assert [line.event["event"] for line in read_trace([*lines, "\n"], file="t")] == [type(e).__name__ for e in EVENTS]


def test_steps_comments_and_what_steps_wrote_are_told_apart():
    text = ["# why", "> register p", "    p was told: no", "", "> capacity"]
    read = list(read_trace(text, file="x.trace"))
    assert [(line.number, line.comment, line.step, line.event) for line in read] == [
        (1, "why", "", None),
        (2, "", "register p", None),
        (3, "", "", None),
        (5, "", "capacity", None),
    ]


@pytest.mark.parametrize(
    ("lines", "at", "words"),
    [
        ([], None, "is empty"),
        (["", " "], None, "is empty"),
        (["hello"], 1, "cut off, or no JSON"),
        (["", "[1]"], 2, "no name under 'event'"),
        (['{"level": "info", "msg": "hi"}'], 1, "no name under 'event'"),
        (['{"event": 7}'], 1, "no name under 'event'"),
        (["[" * 100_000], 1, "cut off, or no JSON"),
    ],
)
def test_what_is_no_trace_is_refused_with_the_line(lines, at, words):
    with pytest.raises(BadInput, match=words) as refused:
        list(read_trace(lines, file="some.file"))
    assert (refused.value.file, refused.value.line) == ("some.file", at)


GOOD = '{"event": "ManagerStopping"}'


@pytest.mark.parametrize(
    "bad", ['{"event": "PodAd', "\ufffd\ufffd", "{}", '{"event": "X", "n": ' + "[" * 100_000], ids=range(4)
)
def test_a_line_that_cannot_be_read_does_not_hide_the_others(bad):
    read = list(read_trace([GOOD, bad, GOOD], file="t"))
    assert [bool(line.problem) for line in read] == [False, True, False]
    assert [line.event is not None for line in read] == [True, False, True]


@pytest.mark.parametrize(
    "bad",
    [
        "    INFO PodAdmitted namespace",
        '    INFO PodAdmitted name="unfinished',
        "    INFO DeviceListApplied capacity=many",
        "    INFO DeviceListApplied added=[a",
        "    INFO PodRemoved freed=os.system",
        "    INFO PodRemoved freed=" + "(" * 10_000,
        "no indentation",
    ],
)
def test_a_golden_line_that_cannot_be_read_has_a_problem(bad):
    (_, line, last) = read_trace(["> capacity", bad, "    INFO ManagerStopping"], file="x.trace")
    assert line.problem
    assert last.event == {"event": "ManagerStopping"}
