"""Events about peers that ask for too much: at once, then once a second, with counts that add up."""

from __future__ import annotations

import pytest

from devicemgr.daemon.access.reports import MAX_KEYS, PERIOD, PeerReports
from devicemgr.daemon.event_log import EventLog
from devicemgr.model import Peer

ONE, OTHER = (Peer(pid=pid, uid=5, gids=frozenset()) for pid in (8, 9))


class Clocked:
    """Reports, the time, and what they have recorded."""

    def __init__(self):
        self.now, self.seen, self.log = 0.0, 0, EventLog()
        self.reports = PeerReports(self.log, clock=lambda: self.now)

    def at(self, now, *names, times=1):
        """Report at that time; returns the ``times`` of what was recorded since."""
        self.now = now
        for name in names:
            self.reports.limit_reached("devices", name, "x", times=times)
        return self.taken()

    def taken(self):
        events = [recorded.event for recorded in self.log.after(self.seen)]
        self.seen += len(events)
        return [event.times for event in events]


def test_the_first_is_recorded_at_once_and_then_one_in_a_period():
    clocked = Clocked()
    found = [clocked.at(now, "a") for now in (0.0, 0.5, 0.9, PERIOD, 1.5, 1.9, 2.5)]
    assert found == [[1], [], [], [3], [], [], [3]]


def test_one_report_may_count_for_many():
    clocked = Clocked()
    assert [clocked.at(now, "a", times=5) for now in (0.0, 0.5, 1.0)] == [[5], [], [10]]


@pytest.mark.parametrize(
    "reports",
    [
        lambda on: [on.limit_reached("devices", "a", "x"), on.limit_reached("devices", "b", "x")],
        lambda on: [on.limit_reached("devices", "a", "x"), on.limit_reached("resources", "a", "x")],
        lambda on: [on.limit_reached("devices", ONE, "x"), on.limit_reached("devices", OTHER, "x")],
        lambda on: [on.call_denied("s", "m", ONE), on.call_denied("s", "m", OTHER)],
        lambda on: [on.call_denied("s", "m", ONE), on.call_denied("t", "m", ONE)],
        lambda on: [on.connection_broken(ONE, "x"), on.connection_broken(OTHER, "x")],
        lambda on: [
            on.connection_broken(ONE, "x"),
            on.call_denied("s", "m", ONE),
            on.limit_reached("devices", ONE, "x"),
        ],
    ],
)
def test_each_kind_and_each_peer_is_counted_by_itself(reports):
    clocked = Clocked()
    count = len(reports(clocked.reports))
    assert clocked.taken() == [1] * count
    reports(clocked.reports)
    assert clocked.taken() == []


def test_what_is_left_when_a_peer_goes_is_recorded_then():
    clocked = Clocked()
    assert clocked.at(0.0, "a", "a", "b", "b", "b") == [1, 1]
    clocked.reports.flush("b")
    assert clocked.taken() == [2]
    clocked.reports.flush("b")
    assert clocked.taken() == [], "once"
    assert clocked.at(PERIOD, "a", "b") == [2, 1], "the other one has lost nothing"


def test_with_too_many_peers_the_counting_starts_over():
    clocked = Clocked()
    names = [f"n{number}" for number in range(MAX_KEYS)]
    assert clocked.at(0.0, *names, *names) == [1] * MAX_KEYS
    assert clocked.at(0.1, "n0") == []
    assert clocked.at(0.1, "one more", "n0") == [1, 1], "what was not recorded of it is dropped"
    assert clocked.at(0.2, "one more") == []
