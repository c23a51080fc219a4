"""An outage is one change of state, whatever the failures of the requests meanwhile."""

from __future__ import annotations

import trio.testing

from devicemgr.cluster.api.reachability import Lost, Reachability, Reached
from devicemgr.errors import ApiError, ApiUnreachable

AWAY, STILL_AWAY, BUSY = ApiUnreachable("refused"), ApiUnreachable("reset"), ApiError(503, "Unavailable", "busy")
UNKNOWN = ApiError(401, "Unauthorized", "no")


async def test_an_outage_is_told_when_it_begins_and_when_it_is_over(mock_clock: trio.testing.MockClock):
    reachability = Reachability()
    assert reachability.succeeded() is None
    assert reachability.failed(AWAY) == Lost(AWAY)
    assert [reachability.failed(one) for one in (AWAY, STILL_AWAY, BUSY)] == [None] * 3
    mock_clock.jump(5)
    assert reachability.succeeded() == Reached(5)
    assert reachability.lost is None


async def test_one_that_does_not_pass_by_itself_is_told_once_more(mock_clock: trio.testing.MockClock):
    """The server is back, and has forgotten who asks."""
    reachability = Reachability()
    reachability.failed(AWAY)
    mock_clock.jump(5)
    assert reachability.failed(UNKNOWN) == reachability.lost == Lost(UNKNOWN)
    assert [reachability.failed(one) for one in (UNKNOWN, AWAY)] == [None] * 2
    mock_clock.jump(1)
    assert reachability.succeeded() == Reached(6)
