"""The chaos driver, for a minute; ``python -m tests.cluster.chaos --seconds 600`` goes on for longer."""

from __future__ import annotations

import pytest
import trio

from devicemgr.cluster.control_plane.programs import SCHEDULER, find_programs
from devicemgr.errors import ProgramUnavailable

from .chaos import COMPONENTS, held_twice, run

SEED = 19


async def test_whatever_is_killed_all_agree_and_nothing_is_held_twice(capsys):
    try:
        await find_programs([*COMPONENTS, SCHEDULER])
    except ProgramUnavailable as missing:
        pytest.skip(str(missing))
    with trio.fail_after(590):
        await run(60, SEED)
    assert "none was held twice" in capsys.readouterr().out


def ready() -> dict:
    return {"event": "ManagerReady"}


def allocated(pod: str, *devices: str) -> dict:
    return {"event": "DevicesAllocated", "pod_uid": pod, "devices": list(devices)}


def admitted(pod: str) -> dict:
    return {"event": "PodAdmitted", "uid": pod}


def removed(pod: str) -> dict:
    return {"event": "PodRemoved", "uid": pod}


def refused(pod: str) -> dict:
    return {"event": "PodRefused", "uid": pod}


def cancelled(pod: str) -> dict:
    return {"event": "PodAdmissionCancelled", "uid": pod}


@pytest.mark.parametrize(
    ("events", "twice"),
    [
        ([ready(), allocated("a", "1"), admitted("a"), allocated("b", "2")], 0),
        ([ready(), allocated("a", "1"), admitted("a"), allocated("b", "1")], 1),
        ([ready(), allocated("a", "1"), allocated("b", "1")], 1),
        ([ready(), allocated("a", "1"), admitted("a"), allocated("a", "1")], 0),
        ([ready(), allocated("a", "1"), admitted("a"), removed("a"), allocated("b", "1")], 0),
        ([ready(), allocated("a", "1"), refused("a"), allocated("b", "1")], 0),
        ([ready(), allocated("a", "1"), cancelled("a"), allocated("b", "1")], 0),
        ([ready(), allocated("a", "1"), admitted("a"), cancelled("a"), allocated("b", "1")], 1),
        ([ready(), allocated("a", "1"), admitted("a"), ready(), allocated("b", "1")], 1),
        ([ready(), allocated("a", "1"), ready(), allocated("b", "1")], 0),
    ],
    ids=[
        "two devices",
        "one that is held",
        "one that is about to be held",
        "again by the same pod",
        "after its end",
        "after its refusal",
        "when nobody waits any more",
        "when nobody waits any more that it keeps it",
        "over a restart",
        "not promised before a restart",
    ],
)
def test_a_device_that_is_held_twice_is_found(events, twice):
    assert len(held_twice(events)) == twice
