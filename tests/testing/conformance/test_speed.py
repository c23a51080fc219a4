"""How long the checks wait for an honest plug-in, whatever the machine does besides.

On this clock time passes only when nobody has anything to do: what is measured is waiting, and no work.
"""

from __future__ import annotations

import math

import pytest
import trio
import trio.testing

from devicemgr import Numa
from devicemgr.testing.conformance import CHECKS, Timing, Verdict, open_bench, run_checks, select

from .mutants import Honest

WAITING_IS_THE_EVIDENCE = {
    *("first-list-complete", "registers-once", "stream-stays-open", "stream-silent"),  # that nothing happens
    *("registry-deleted", "returns-once"),  # what happens a moment later
    *("away", "changes-arrive"),  # while nobody is there
    "descriptors",  # in many restarts
}


class IdleClock(trio.abc.Clock):
    """One on which only waiting takes time: it jumps to the next deadline when no task and no thread has anything to
    do. Between two looks at it a little passes, so that before is before."""

    MOMENT = 0.001  # of the real time
    LITTLE = 1e-6

    def __init__(self) -> None:
        self._now = 1000.0

    def start_clock(self) -> None:
        """It stands still until somebody looks."""

    def current_time(self) -> float:
        self._now += self.LITTLE
        return self._now

    def deadline_to_sleep_time(self, deadline: float) -> float:
        return 0.0 if deadline <= self._now else math.inf

    async def jump_when_idle(self) -> None:
        while True:
            await trio.testing.wait_all_tasks_blocked(self.MOMENT)
            if not trio.to_thread.current_default_thread_limiter().borrowed_tokens:
                wait = trio.lowlevel.current_statistics().seconds_to_next_deadline
                self._now += max(wait, 0.0) if wait < math.inf else 0.0


@pytest.fixture
def idle_clock():
    return IdleClock()


class AloneOnTheMachine(Honest):
    def new_instance(self):
        return None


async def waited(clock, kind=Honest, only=()):
    """The results, and the seconds."""
    began = trio.current_time()
    async with trio.open_nursery() as nursery:
        nursery.start_soon(clock.jump_when_idle)
        async with open_bench(kind(nursery), timing=Timing(), numa=Numa(nodes=(0, 1))) as bench:
            results = await run_checks(bench, select(only))
        nursery.cancel_scope.cancel()
    assert {r.check: r.evidence for r in results if r.verdict is not Verdict.PASSED} == {}
    return results, trio.current_time() - began


async def test_all_checks_wait_for_twelve_seconds(idle_clock):
    """Each still as long as it needs: what is short is that they do so together."""
    results, seconds = await waited(idle_clock)
    assert seconds < 12
    assert sum(result.seconds for result in results) > 24


async def test_one_that_cannot_be_there_twice_is_checked_one_thing_after_the_other(idle_clock):
    _, seconds = await waited(idle_clock, AloneOnTheMachine)
    assert 24 < seconds < 40


@pytest.mark.parametrize("name", [name for name in CHECKS if name not in WAITING_IS_THE_EVIDENCE])
async def test_a_single_check_waits_for_two_seconds(name, idle_clock):
    _, seconds = await waited(idle_clock, only=(name,))
    assert seconds < 2
