"""How long the checks wait for an honest plug-in, whatever the machine does besides."""

from __future__ import annotations

import pytest
import trio

from devicemgr import Numa
from devicemgr.testing.conformance import CHECKS, Timing, Verdict, open_bench, run_checks, select
from tests.idle_clock import IdleClock, jumping

from .mutants import Honest

WAITING_IS_THE_EVIDENCE = {
    *("first-list-complete", "registers-once", "stream-stays-open", "stream-silent", "endpoint-fresh"),  # and nothing
    *("registry-deleted", "returns-once"),  # what happens a moment later
    *("away", "changes-arrive"),  # while nobody is there
    "descriptors",  # in many restarts
}


@pytest.fixture
def idle_clock():
    return IdleClock(work=0.0)  # what is measured is waiting, and no work


class AloneOnTheMachine(Honest):
    def new_instance(self):
        return None


async def waited(kind=Honest, only=()):
    """The results, and the seconds."""
    began = trio.current_time()
    async with jumping() as nursery:
        async with open_bench(kind(nursery), timing=Timing(), numa=Numa(nodes=(0, 1))) as bench:
            results = await run_checks(bench, select(only))
    assert {r.check: r.evidence for r in results if r.verdict is not Verdict.PASSED} == {}
    return results, trio.current_time() - began


async def test_all_checks_wait_for_twelve_seconds(idle_clock):
    """Each still as long as it needs: what is short is that they do so together."""
    results, seconds = await waited()
    assert seconds < 12
    assert sum(result.seconds for result in results) > 24


async def test_one_that_cannot_be_there_twice_is_checked_one_thing_after_the_other(idle_clock):
    _, seconds = await waited(AloneOnTheMachine)
    assert 24 < seconds < 40


@pytest.mark.parametrize("name", [name for name in CHECKS if name not in WAITING_IS_THE_EVIDENCE])
async def test_a_single_check_waits_for_two_seconds(name, idle_clock):
    _, seconds = await waited(only=(name,))
    assert seconds < 2
