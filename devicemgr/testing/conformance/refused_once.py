"""A check of what a plug-in does when the kubelet refuses it once."""

from __future__ import annotations

import math
from collections.abc import Awaitable, Callable

import trio

from ...events import PluginRefused, PluginRegistered, RegistrationRequested
from .bench import Bench
from .check import check
from .verdicts import Failed, Skipped

RETRY_PATIENCE = 2
"""So many times its patience a plug-in may take after a refusal: NVIDIA's tries again half a minute later."""
_RESTART = "after a restart of the manager"


@check("registers-again", rule="REG-5, REG-7, REG-22", needs=("first-list",), whole_plugin=True)
async def registers_again(bench: Bench) -> str:
    """Registers again when Register was refused.

    A kubelet refuses a plug-in that it cannot dial within ten seconds, as happens on a busy node, and one that is
    restarting breaks off the call. Nothing is wrong with the plug-in then, and nobody will call it: it has to call
    Register again. One that only logs the error, or takes itself for registered before it has the answer, leaves its
    node without devices until somebody restarts it by hand.

    The manager refuses the first call after a start of the plug-in, and the first after a restart of its own. A plug-in
    may also end: it is started again here, as every pod of a DaemonSet is.

    Fix: take yourself for registered only when Register has succeeded; until then call it again, with a bounded
    pause between attempts.
    """
    if bench.was_discovered:
        raise Skipped("the plug-in was found in plugins_registry, where it is the kubelet that tries again")
    found = []
    async with bench.lifecycle.respawning():
        await bench.subject.kill()
        if bench.subject.is_running:
            found.append("its start was not tried (--attach)")
        else:
            bench.delete_sockets()
            await bench.wait_until(lambda: not bench.serving(), bench.timing.prompt)
            found.append(await _refuse_once_after(bench, "at its start", trio.current_time(), bench.lifecycle.start))
        found.append(
            await _refuse_once_after(bench, _RESTART, await bench.begin_disruption(), bench.manager.faults.restart)
        )
    return "; ".join(found)


async def _refuse_once_after(bench: Bench, what: str, since: float, trigger: Callable[[], Awaitable[None]]) -> str:
    """Make the plug-in register, and refuse it once; the evidence that it is back. Raises Failed."""
    patience = bench.timing.patience
    for resource in bench.resources:
        bench.manager.faults.refuse_registrations(resource=resource)
    try:
        await trigger()
        await bench.wait_until(lambda: bench.lifecycle.is_down or _all_were_refused(bench, since), patience)
    finally:
        bench.manager.faults.accept_registrations()
    if not _all_were_refused(bench, since):
        if what == _RESTART:
            return f"{what} it did not call Register at all, which is what the check restart is about"
        raise Failed(f"when it was started again; {bench.what_happened(since=since)}")
    await bench.wait_until(lambda: bench.lifecycle.is_down or bench.are_back(since), RETRY_PATIENCE * patience)
    late = bench.not_back(since)
    called = late and bench.seen(RegistrationRequested, since=_just_after_refusal(bench, late[0], since), of=late[0])
    if called and what == _RESTART and bench.subject.is_running:
        return f"refused once {what}, it called Register again; what came of that is what the check restart is about"
    if late:
        which = f" of {late[0]}" if len(bench.resources) > 1 else ""
        raise Failed(f"Register{which} was refused once {what}, {_outcome_after_refusal(bench, late[0], since)}")
    return f"refused once {what}, it was registered {_longest_wait(bench, since):.2f} s later"


def _all_were_refused(bench: Bench, since: float) -> bool:
    """Was each refused?"""
    return all(bench.seen(PluginRefused, since=since, of=resource) for resource in bench.resources)


def _outcome_after_refusal(bench: Bench, resource: str, since: float) -> str:
    after = _just_after_refusal(bench, resource, since)
    said = f"{bench.seen(PluginRefused, since=since, of=resource)[0][1].message!r}, and "
    if bench.subject.is_running and not bench.seen(RegistrationRequested, since=after, of=resource):
        return f"{said}then it did not call it again: {bench.what_happened(since=after, of=resource)}"
    return said + bench.what_happened(since=after, of=resource)


def _just_after_refusal(bench: Bench, resource: str, since: float) -> float:
    return math.nextafter(bench.seen(PluginRefused, since=since, of=resource)[0][0].time, math.inf)


def _longest_wait(bench: Bench, since: float) -> float:
    """From the refusal of a resource until it was registered."""
    return max(
        bench.seen(PluginRegistered, since=since, of=resource)[0][0].time
        - bench.seen(PluginRefused, since=since, of=resource)[0][0].time
        for resource in bench.resources
    )
