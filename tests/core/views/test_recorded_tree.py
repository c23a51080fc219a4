"""The tree at a moment of a recorded trace."""

from __future__ import annotations

import pytest

from devicemgr.core.views.recorded_tree import RecordedTree
from devicemgr.core.views.task_tree import tree_lines

LINES = ("writer", "readers", "connections", "handlers", "listeners")
GPU = {"resource": "v.com/gpu"}
OLD, NEW = GPU | {"endpoint": "old.sock", "generation": 1}, GPU | {"endpoint": "new.sock", "generation": 2}
POD = {"namespace": "default", "name": "a", "uid": "u"}


def event(time, kind, **fields):
    return {"time": 100.0 + time, "event": kind, **fields}


def opened(time, *names):
    return [event(time, "NurseryOpened", nursery=name) for name in names or LINES]


def lines(events, at=None):
    recorded = RecordedTree(at)
    for one in events:
        recorded.add(one)
    return [line.strip(" │├└─") for line in tree_lines(recorded.tree())][1:]


def readers(events, at=None):
    """Of a trace without events of nurseries, which has those in which there is something."""
    return lines(events, at)[1:]


def test_nurseries_open_one_inside_the_other_and_end_from_the_inside_out():
    closed = [event(5.0 + n, "NurseryClosed", nursery=name) for n, name in enumerate(reversed(LINES))]
    trace = [*opened(0.0), *closed]
    for gone in range(6):
        assert lines(trace, 4.0 + gone) == list(LINES[: 5 - gone])


def test_a_restart_begins_again_without_plugins_and_admissions():
    trace = [
        *opened(0.0),
        event(1.0, "PluginRegistered", **OLD, replaced=False),
        event(1.0, "PodAdmissionRequested", **POD),
        *[event(2.0, "NurseryClosed", nursery=name) for name in reversed(LINES)],
        *opened(3.0),
    ]
    assert lines(trace) == list(LINES)


def test_when_the_manager_has_ended_the_end_of_a_trace_is_the_moment_before():
    def run(began, *ended):
        registered = event(began + 1.0, "PluginRegistered", **OLD, replaced=False)
        closed = [event(began + 3.0, "NurseryClosed", nursery=name) for name in ended]
        return [*opened(began), registered, event(began + 2.0, "ManagerStopping"), *closed]

    whole, hung = RecordedTree(None), RecordedTree(None)
    for recorded, ended in ((whole, LINES[::-1]), (hung, LINES[:2:-1])):
        for one in (*run(0.0, *LINES[::-1]), *run(10.0, *ended)):
            recorded.add(one)
    assert tree_lines(whole.tree())[3].endswith("v.com/gpu #1 · serving · waits for the next list of v.com/gpu, 1.0 s")
    assert (whole.ended_after, whole.tree().nurseries) == (12.0, LINES)
    assert (hung.ended_after, hung.tree().nurseries) == (None, LINES[:3]), "this is what it hangs at"


def test_a_clock_that_is_set_changes_no_order():
    """The time goes on where the clock was."""
    trace = [
        *opened(0.0),
        event(1.0, "PluginRegistered", **OLD, replaced=False),
        event(-3600.0, "PluginRegistered", **NEW, replaced=True),
        event(-3590.0, "CallFinished", **GPU, method="Allocate", seconds=9.0, outcome="OK"),
    ]
    assert ["gpu #2" in line for line in lines(trace, 0.9)] == [False] * 5
    assert "Allocate of v.com/gpu · waits for the answer, 1.0 s" in lines(trace, 3.0)
    recorded = RecordedTree(None)
    for one in trace:
        recorded.add(one)
    assert recorded.seconds == 11.0


def test_after_a_kill_there_are_the_nurseries_of_the_next_manager_only():
    """Which appends its events to the same file."""
    killed = [
        *opened(0.0),
        event(1.0, "PluginRegistered", **OLD, replaced=False),
        event(1.0, "PodAdmissionRequested", **POD),
    ]
    assert lines([*killed, *opened(2.0, "writer")]) == ["writer"]
    assert lines([*killed, *opened(2.0)]) == list(LINES)


def test_an_endpoint_goes_through_its_states():
    trace = [
        event(0.0, "PluginRegistered", **OLD, replaced=False),
        event(1.0, "DeviceListReceived", **OLD),
        event(2.0, "PluginStandsBy", **OLD),
        event(2.0, "PluginRegistered", **NEW, replaced=True),
        event(3.0, "PluginEnded", **NEW),
        event(3.0, "PluginPromoted", **OLD),
        event(4.0, "EndpointStopped", **OLD),
        event(304.0, "ResourceRemoved", **GPU),
    ]
    serving = "v.com/gpu #1 · serving · waits for the next list of v.com/gpu, "
    assert readers(trace, 0.5) == [serving + "0.5 s"]
    assert readers(trace, 1.5) == [serving + "0.5 s"]
    assert readers(trace, 2.5) == [
        "v.com/gpu #1 · standby · waits for the next list of v.com/gpu, 0.5 s",
        "v.com/gpu #2 · serving · waits for the next list of v.com/gpu, 0.5 s",
    ]
    assert readers(trace, 3.5) == [serving + "0.5 s"]
    assert readers(trace, 14.0) == ["v.com/gpu #1 · stopped · waits for the end of the grace period, 10.0 s"]
    assert readers(trace) == []


@pytest.mark.parametrize("before", [[event(1.0, "EndpointStopped", **OLD)], []], ids=["stopped", "on the same socket"])
def test_who_registers_again_leaves_nothing_of_the_endpoint_before(before):
    again = NEW | {"endpoint": "old.sock"}
    trace = [
        event(0.0, "PluginRegistered", **OLD, replaced=False),
        *before,
        event(2.0, "PluginRegistered", **again, replaced=not before),
    ]
    assert readers(trace) == ["v.com/gpu #2 · serving · waits for the next list of v.com/gpu, 0.0 s"]


def numbered(first, *events):
    return [{**one, "sequence": number} for number, one in enumerate(events, first)]


def test_where_a_trace_begins_later_a_plugin_is_known_from_what_it_does_next():
    listed, stopped = event(1.0, "DeviceListReceived", **NEW), event(3.0, "EndpointStopped", **NEW)
    tail = numbered(30, listed, event(2.0, "DeviceListApplied", **NEW), stopped)
    waits = "waits for the next list of v.com/gpu"
    assert readers(tail, 0.0) == [f"v.com/gpu #2 · {waits}, 0.0 s"]
    assert readers(tail, 1.0) == [f"v.com/gpu #2 · serving · {waits}, 1.0 s"]
    assert readers(tail) == ["v.com/gpu #2 · stopped · waits for the end of the grace period, 0.0 s"]
    assert readers(tail[2:]) == readers(tail)
    assert readers(numbered(1, listed, stopped)) == [], "nothing is missing: it is news of an older endpoint"


def test_who_registers_on_a_socket_that_is_not_known_may_have_replaced_itself():
    again, stands_by = event(2.0, "PluginRegistered", **NEW, replaced=True), event(2.0, "PluginStandsBy", **OLD)
    tail = numbered(30, event(1.0, "DeviceListReceived", **OLD), again, stands_by)
    assert [line[:22] for line in readers(tail[:2])] == ["v.com/gpu #2 · serving"]
    assert [line[:22] for line in readers(tail)] == ["v.com/gpu #1 · standby", "v.com/gpu #2 · serving"]


@pytest.mark.parametrize(
    ("events", "missing"),
    [
        ([event(0.0, "ManagerReady")], 0),
        ([*numbered(30, event(0.0, "CheckpointWritten"))], 29),
        ([*numbered(1, event(0.0, "ManagerReady")), *numbered(8, event(0.0, "EventsNotWritten"))], 6),
        ([*numbered(30, event(0.0, "ManagerStopping")), *numbered(1, event(0.0, "ManagerReady"))], 0),
        ([*numbered(30, event(0.0, "ManagerStopping")), *numbered(31, *opened(1.0))], 0),
    ],
)
def test_it_is_counted_which_events_are_missing(events, missing):
    recorded = RecordedTree(None)
    for one in events:
        recorded.add(one)
    assert recorded.missing == missing


def test_admissions_and_calls_that_are_under_way_are_handlers():
    trace = [
        event(0.0, "ManagerReady"),
        event(1.0, "PodAdmissionRequested", **POD),
        event(3.0, "CallFinished", **GPU, method="Allocate", seconds=1.5, outcome="OK"),
        event(4.0, "PodAdmitted", **POD, seconds=3.0),
    ]
    assert lines(trace, 1.2) == ["handlers", "admit default/a · waits for its devices, 0.2 s"]
    assert lines(trace, 2.0) == [
        "handlers",
        "admit default/a · waits for its devices, 1.0 s",
        "Allocate of v.com/gpu · waits for the answer, 0.5 s",
    ]
    assert lines(trace, 3.5) == ["handlers", "admit default/a · waits for its devices, 2.5 s"]
    assert lines(trace) == []


def test_a_trace_without_times_has_an_end_and_nonsense_does_no_harm():
    assert readers([{"event": "PluginRegistered", **OLD}]) == [
        "v.com/gpu #1 · serving · waits for the next list of v.com/gpu"
    ]
    kinds = ("NurseryOpened", "NurseryClosed", "PluginRegistered", "EndpointStopped", "CallFinished", "PodAdmitted")
    for value in (None, 7, "x" * 10**6, ["a"], {"a": 1}, float("nan"), -1, 10**400):
        fields = dict.fromkeys(("nursery", "resource", "endpoint", "generation", "seconds", "uid", "name"), value)
        lines([{"event": kind, "time": value} | fields for kind in kinds], at=0.0)
