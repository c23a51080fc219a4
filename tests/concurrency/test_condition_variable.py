"""A task that waits for a condition is woken when it holds, and not otherwise; no notification is lost."""

from __future__ import annotations

import trio
from trio.testing import wait_all_tasks_blocked

from devicemgr.concurrency.condition_variable import ConditionVariable


async def test_only_tasks_whose_condition_holds_are_woken(nursery):
    changed, state, woken = ConditionVariable(), [0], []

    async def wait(least):
        await changed.wait_until(lambda: state[0] >= least)
        woken.append(least)

    for least in (1, 2, 1):
        nursery.start_soon(wait, least)
    await wait_all_tasks_blocked()
    state[0] = 1
    await wait_all_tasks_blocked()
    assert woken == [], "there was no notification"
    changed.notify()
    await wait_all_tasks_blocked()
    assert woken == [1, 1]
    state[0] = 2
    changed.notify()
    await wait_all_tasks_blocked()
    assert woken == [1, 1, 2]


async def test_a_condition_that_holds_already_is_not_waited_for():
    with trio.fail_after(60):
        await ConditionVariable().wait_until(lambda: True)


async def test_what_another_task_has_taken_meanwhile_is_waited_for_again(nursery):
    """Both are woken, and one is faster."""
    changed, free, taken = ConditionVariable(), [1], []

    async def take():
        await changed.wait_until(lambda: bool(free))
        taken.append(free.pop())

    nursery.start_soon(take)
    nursery.start_soon(take)
    free.clear()
    await wait_all_tasks_blocked()
    free.append(1)
    changed.notify()
    await wait_all_tasks_blocked()
    assert (taken, free) == ([1], [])
    free.append(2)
    changed.notify()
    await wait_all_tasks_blocked()
    assert taken == [1, 2]


async def test_a_notification_from_before_the_wait_does_not_count(nursery):
    changed, woken = ConditionVariable(), []

    async def wait():
        await changed.wait()
        woken.append(True)

    changed.notify()
    nursery.start_soon(wait)
    await wait_all_tasks_blocked()
    assert not woken
    changed.notify()
    await wait_all_tasks_blocked()
    assert woken


async def test_a_cancelled_task_waits_no_more(nursery):
    changed, looks = ConditionVariable(), []
    with trio.move_on_after(0):
        await changed.wait_until(lambda: bool(looks.append(1)))
    changed.notify()
    assert len(looks) == 1, "and is not asked again"


async def test_a_task_that_is_not_concerned_is_not_woken(nursery):
    """To evaluate a condition is cheaper than to wake a task."""
    changed = ConditionVariable()

    class Steps(trio.abc.Instrument):
        count = 0

        def before_task_step(self, task):
            self.count += task.name == "waits"

    steps = Steps()
    nursery.start_soon(changed.wait_until, lambda: False, name="waits")
    await wait_all_tasks_blocked()
    trio.lowlevel.add_instrument(steps)
    changed.notify()
    await wait_all_tasks_blocked()
    assert steps.count == 0
