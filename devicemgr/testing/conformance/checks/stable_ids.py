"""A check that an id stays that of the same device."""

from __future__ import annotations

from bisect import bisect_right
from contextlib import suppress
from itertools import pairwise

from ....events import DeviceListReceived, PluginRegistered
from ....model import DeviceId
from ..abbreviation import difference, first_few
from ..bench import Bench
from ..check import check
from ..findings import Hardware
from ..verdicts import ConclusiveFailure, Failed, Skipped
from .asking import allocate, allocate_one_by_one, hardware_of


@check("ids-stable", rule="LW-7, REG-19", needs=("first-list",), seen_in="NVIDIA/k8s-device-plugin#98")
async def ids_stable(bench: Bench) -> str:
    """Gives a device the same id after every restart, its own and the kubelet's.

    The kubelet knows the devices of a pod by id only. When ids change, the devices of running pods are gone (their
    health is Unknown), and the hardware that they still use is allocated a second time under its new id.

    The same happens when the ids stay and the devices change places, as they do if they are numbered in the order of a
    map: a host path, a variable or the like, which Allocate answered for one id, is the answer for another one later.

    Fix: build ids from what stays (serial number, UUID, PCI address), not from a process id, a counter, a random number
    or the time, nor from the order in which devices happen to be found.
    """
    await _ensure_several_registrations(bench)
    found = [(time, ids) for time, ids in _ids_by_registration(bench) if ids]
    if not found:
        raise Skipped("the plug-in has no devices here")
    if len(found) < 2:
        raise Skipped("the plug-in has not registered a second time")
    _, reference = found[0]
    same = sum(not _were_replaced(ids, reference) for _, ids in found)
    for (before, _), (time, ids) in pairwise(found):
        if _were_replaced(ids, reference):
            has_restarted = any(before < start <= time for start in bench.lifecycle.start_times)
            what = "a new start of its process" if has_restarted else "a registration of the same process"
            raise ConclusiveFailure(
                f"{same} of {len(found)} registrations had the same ids; with {what} they became others: "
                f"{difference(reference, ids)}"
            )
    if changed := await _changed_places(bench):
        raise ConclusiveFailure(changed)
    starts = len(bench.lifecycle.start_times)
    return f"the same {len(reference)} ids in {len(found)} registrations, {starts} starts of the plug-in"


async def _ensure_several_registrations(bench: Bench) -> None:
    """Restart the manager and the plug-in, unless other checks have done so, and ask for the devices each time."""
    await _ask(bench)
    if not bench.lifecycle.disruptions or len(bench.findings.hardware[bench.resource]) == 1:
        since = await bench.begin_disruption()
        await bench.manager.faults.restart()
        with suppress(Failed):  # the check restart is about that
            await bench.wait_for_list(since=since, what="")
            await _ask(bench)
    if len(bench.lifecycle.start_times) < 2:
        with suppress(Skipped):
            await bench.restart_plugin()
            await _ask(bench)


async def _ask(bench: Bench) -> None:
    """What Allocate answers is added to the findings. Whether it answers is the subject of other checks."""
    with suppress(Failed, Skipped):
        await allocate_one_by_one(bench)


async def _changed_places(bench: Bench) -> str:
    """Which id has become that of another device, for evidence; empty if none has.

    What an answer names may be new with each process, such as a path with a time in it: that proves nothing. What was
    another id's before does, unless the answers for one id differ anyway, which is the subject of allocate-same.
    """
    first, *later = list(bench.findings.hardware[bench.resource].values()) or [{}]
    for hardware in later:
        for id, named in hardware.items():
            if (taken := _taken_from(first, id, named)) and await _is_always_answered_alike(bench, id):
                other, what = taken
                return f"Allocate [{id}] was answered with {what} after a new registration, as [{other}] was before"
    return ""


def _taken_from(before: Hardware, id: DeviceId, named: frozenset[str]) -> tuple[DeviceId, str] | None:
    """The id that had what only this one has now, and what that is."""
    if id in before:
        for other, had in before.items():
            if moved := (named & had) - before[id]:
                return other, first_few(sorted(moved))
    return None


async def _is_always_answered_alike(bench: Bench, id: DeviceId) -> bool:
    """Is it, as long as nothing is disrupted?"""
    with suppress(Failed, Skipped):
        async with bench.client() as client:
            answers = {hardware_of((await allocate(bench, client, [id]))[0]) for _ in range(3)}
        return len(answers) == 1
    return False


def _were_replaced(ids: frozenset[str], reference: frozenset[str]) -> bool:
    """Ids that only went, or only came, may be hardware that was unplugged or plugged in."""
    return bool(ids - reference and reference - ids)


def _ids_by_registration(bench: Bench) -> list[tuple[float, frozenset[str]]]:
    """The time of each registration, and the ids that were listed until the next one."""
    begins = [seen.time for seen, _ in bench.seen(PluginRegistered)]
    found: list[set[str]] = [set() for _ in begins]
    for seen, event in bench.seen(DeviceListReceived):
        if at := bisect_right(begins, seen.time):
            found[at - 1] |= {device.id for device in event.devices}
    return list(zip(begins, map(frozenset, found), strict=True))
