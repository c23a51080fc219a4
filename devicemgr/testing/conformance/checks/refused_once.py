"""A check that a plug-in registers again after a refusal."""

from __future__ import annotations

import math
from collections.abc import Awaitable, Callable
from contextlib import suppress

import trio

from ....events import PluginRefused, PluginRegistered, RegistrationRequested
from ..bench import Bench
from ..check import check
from ..verdicts import Failed, Skipped, Weight

RETRY_PATIENCE = 2
"""How many times its patience a plug-in may take after a refusal: NVIDIA's tries again after half a minute."""


@check(
    "registers-again",
    rule="REG-5, REG-7, REG-22",
    needs=("first-list",),
    whole_plugin=True,
    weight=Weight.WARNING,
)
async def registers_again(bench: Bench) -> str:
    """Registers again when Register was refused.

    A kubelet refuses a plug-in that it cannot dial within ten seconds, as happens on a busy node, and one that is
    restarting breaks off the call. Nothing is wrong with the plug-in then, and it will not be called: it has to call
    Register again. One that only logs the error, or takes itself for registered before it has the answer, leaves its
    node without devices until somebody restarts it by hand.

    It is a warning, since most plug-ins are never refused in their lives. The one that is refused has no devices then.

    The manager refuses the first call after a start of the plug-in, and the first after a restart of its own. A plug-in
    may also end: it is started again here, as every pod of a DaemonSet is.

    Fix: take yourself for registered only when Register has succeeded; until then call it again, with a bounded
    pause between attempts.
    """
    if bench.was_discovered:
        raise Skipped("the plug-in was found in plugins_registry, where it is the kubelet that tries again")
    async with bench.lifecycle.respawning():
        try:
            return "; ".join([await _refuse_at_start(bench), await _refuse_after_restart(bench)])
        except Failed:
            if bench.lifecycle.has_exited:
                with suppress(Skipped):  # why it cannot start over is the subject of kill-restart
                    await bench.restart_plugin()
            raise


async def _refuse_at_start(bench: Bench) -> str:
    """Refuse the plug-in after a start of it; returns the evidence. Raises Failed."""
    await bench.subject.kill()
    if bench.subject.is_running:
        return "its start was not tried (--attach)"
    bench.delete_sockets()
    await bench.wait_until(lambda: not bench.serving(), bench.timing.prompt)
    since = trio.current_time()
    if not await _refuse_once(bench, since, bench.lifecycle.start):
        raise Failed(f"when it was started again; {bench.what_happened(since=since)}")
    if late := bench.not_back(since):
        raise _failure(bench, late[0], since, "at its start")
    return _success(bench, since, "at its start")


async def _refuse_after_restart(bench: Bench) -> str:
    """The same after a restart of the manager. That a plug-in does not notice the restart is the subject of the check
    ``restart``."""
    since = await bench.begin_disruption()
    when = "after a restart of the manager"
    if not await _refuse_once(bench, since, bench.manager.faults.restart):
        return f"{when} it did not call Register at all, which is what the check restart is about"
    late = bench.not_back(since)
    if late and bench.subject.is_running and _calls_after_refusal(bench, late[0], since):
        return f"refused once {when}, it called Register again; what came of that is what the check restart is about"
    if late:
        raise _failure(bench, late[0], since, when)
    return _success(bench, since, when)


async def _refuse_once(bench: Bench, since: float, trigger: Callable[[], Awaitable[None]]) -> bool:
    """Make the plug-in register, refuse it once, and give it time to come back. False if it did not call Register."""
    for resource in bench.resources:
        bench.manager.faults.refuse_registrations(resource=resource)
    try:
        await trigger()
        await bench.wait_until(
            lambda: bench.lifecycle.is_down or _all_were_refused(bench, since), bench.timing.patience
        )
    finally:
        bench.manager.faults.accept_registrations()
    if not _all_were_refused(bench, since):
        return False
    await bench.wait_until(
        lambda: bench.lifecycle.is_down or bench.are_back(since), RETRY_PATIENCE * bench.timing.patience
    )
    return True


def _all_were_refused(bench: Bench, since: float) -> bool:
    """Was each resource refused?"""
    return all(bench.seen(PluginRefused, since=since, of=resource) for resource in bench.resources)


def _failure(bench: Bench, resource: str, since: float, when: str) -> Failed:
    which = f" of {resource}" if len(bench.resources) > 1 else ""
    after = _just_after_refusal(bench, resource, since)
    outcome = bench.what_happened(since=after, of=resource)
    if bench.subject.is_running and not _calls_after_refusal(bench, resource, since):
        outcome = f"then it did not call it again: {outcome}"
    message = bench.seen(PluginRefused, since=since, of=resource)[0][1].message
    return Failed(f"Register{which} was refused once {when}, {message!r}, and {outcome}")


def _success(bench: Bench, since: float, when: str) -> str:
    return f"refused once {when}, it was registered {_longest_wait(bench, since):.2f} s later"


def _calls_after_refusal(bench: Bench, resource: str, since: float) -> bool:
    return bool(bench.seen(RegistrationRequested, since=_just_after_refusal(bench, resource, since), of=resource))


def _just_after_refusal(bench: Bench, resource: str, since: float) -> float:
    return math.nextafter(bench.seen(PluginRefused, since=since, of=resource)[0][0].time, math.inf)


def _longest_wait(bench: Bench, since: float) -> float:
    """The longest time from a refusal to the registration."""
    return max(
        bench.seen(PluginRegistered, since=since, of=resource)[0][0].time
        - bench.seen(PluginRefused, since=since, of=resource)[0][0].time
        for resource in bench.resources
    )
