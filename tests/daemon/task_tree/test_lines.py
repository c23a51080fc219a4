"""The nurseries of the picture, as events: in which order they begin and end."""

from __future__ import annotations

import pytest

from devicemgr import open_device_manager
from devicemgr.core.views.recorded_tree import RecordedTree
from devicemgr.events import NurseryClosed, NurseryOpened

LINES = ["writer", "readers", "connections", "handlers", "listeners"]


@pytest.fixture
def recorded():
    return []


def order(recorded):
    return [
        f"{'+' if isinstance(one.event, NurseryOpened) else '-'}{one.event.nursery}"
        for one in recorded
        if isinstance(one.event, NurseryOpened | NurseryClosed)
    ]


ONCE = [*(f"+{name}" for name in LINES), *(f"-{name}" for name in reversed(LINES))]


async def test_they_end_from_the_inside_out_also_before_a_restart(root_dir, recorded):
    async with open_device_manager(root_dir, sinks=[recorded.append]) as manager:
        await manager.faults.restart()
        assert order(recorded) == [*ONCE, *ONCE[:5]]
        tree = RecordedTree(None)
        for one in recorded:
            tree.add(one.as_json())
        assert tree.tree().nurseries == manager.task_tree().nurseries
    assert order(recorded) == ONCE * 2


async def test_they_end_in_the_same_order_when_the_program_fails(root_dir, recorded):
    with pytest.raises(LookupError):
        async with open_device_manager(root_dir, sinks=[recorded.append]):
            raise LookupError
    assert order(recorded) == ONCE


async def test_the_log_does_not_keep_them(manager):
    assert order(manager.events()) == []
