"""Checks in parallel: other instances of the plug-in are asked and broken while the first one is watched.

Watching that nothing happens takes its time, in which nothing may be done to who is watched. So the other checks are
run meanwhile on further instances, each on a bench of its own: with another directory, another manager, and nothing in
common that we know of; on a bench one after the other, as usual.

# Decision: what passes so is believed, and whatever does not is run again, on the first instance and without the
# others; if it passes then, that it did not is told. They may stand in each other's way (a port, a lock, a file under
# /run, the hardware itself), which makes an honest plug-in fail; it makes no broken one pass. So nobody has to know
# what plug-ins share, and one that cannot be there twice loses nothing but the time. For the same reason the others are
# given no patience: one that is slow is waited for alone. A `ConclusiveFailure`, which rests on all that was done
# before, counts at once: to the first instance nothing was done.
"""

from __future__ import annotations

from collections.abc import Awaitable, Collection, Iterable, Sequence
from contextlib import AbstractAsyncContextManager, suppress
from typing import TYPE_CHECKING, Protocol

import trio

from ...errors import DeviceManagerError, collapse_exception_group
from .bench import Bench
from .check import Check
from .verdicts import Failed, Result, Skipped, Verdict

if TYPE_CHECKING:
    from .observer import Observer

WATCHED = ("first-list-complete", "registers-once", "stream-stays-open", "stream-silent")
"""What is run on the first instance, which nothing is done to."""
CHANGED = ("changes-arrive",)
OTHERS: tuple[tuple[str, ...], ...] = (
    (  # asked, ended, and left alone
        *("allocate-answers", "allocate-unknown", "allocate-unhealthy", "allocate-same", "allocate-concurrent"),
        *("paths-absolute", "permissions", "host-paths-exist", "cdi-names", "preferred-allocation", "pre-start"),
        *("stream-cancel", "kill-restart", "sigterm-ends", "sigterm-removes-socket"),
        *("away", "registers-again", "rolling-update"),
    ),
    # broken; the last three look at what became of all that
    ("restart", "wiped", "socket-deleted", "registry-deleted", "ids-stable", "returns-once", "endpoint-fresh"),
    # worn, and left alone
    ("descriptors",),
    ("stream-lost",),  # who does not register again is waited for
    CHANGED,
)
"""What is run on each further instance, in that order. What a check needs besides is run there as well."""


class RunCheck(Protocol):
    """``run_check``."""

    def __call__(self, bench: Bench, check: Check, results: dict[str, Result], /) -> Awaitable[Result]: ...


def saves_time(checks: Iterable[Check]) -> bool:
    """Is there something to watch, and something to do meanwhile?"""
    names = {check.name for check in checks}
    return not names.isdisjoint(WATCHED) and any(not names.isdisjoint(group) for group in OTHERS)


async def run_in_parallel(
    bench: Bench, checks: Sequence[Check], results: dict[str, Result], observer: Observer, *, run: RunCheck
) -> None:
    """Run as many of the checks as can be run so; ``results`` grows by theirs."""
    if not _is_sound(bench, results["first-list"]):
        return
    groups = [(group, subject) for group in _groups(bench, checks) if (subject := bench.subject.new_instance())]
    if not groups:
        return
    bench.has_parallel_instances = True
    bench.runs_change_in_parallel = any(check.name in CHANGED for group, _ in groups for check in group)
    with collapse_exception_group():
        async with trio.open_nursery() as nursery:
            for instance, (group, subject) in enumerate(groups, start=2):
                another = bench.open_parallel(subject, instance)
                nursery.start_soon(_run_on_new_instance, bench, another, group, results, observer, run)
            is_sound = await _watch(bench, _named(checks, WATCHED), results, observer, run)
    bench.has_parallel_instances = bench.runs_change_in_parallel = False
    if not is_sound:
        with suppress(Skipped):
            await bench.restart_quiet_period()


def _is_sound(bench: Bench, first_list: Result) -> bool:
    """Is all well with the first instance, and can there be another one?"""
    has_list = first_list.verdict is Verdict.PASSED and not first_list.failed_resources
    return has_list and bench.serves() and len(bench.lifecycle.start_times) == 1 and not bench.has_given_directory


def _groups(bench: Bench, checks: Iterable[Check]) -> list[list[Check]]:
    groups = [group for group in OTHERS if group is not CHANGED or bench.subject.can_change]
    return [wanted for group in groups if (wanted := _named(checks, group))]


def _named(checks: Iterable[Check], names: Collection[str]) -> list[Check]:
    """In the order of the names."""
    by_name = {check.name: check for check in checks}
    return [by_name[name] for name in names if name in by_name]


async def _watch(
    bench: Bench, checks: Sequence[Check], results: dict[str, Result], observer: Observer, run: RunCheck
) -> bool:
    """Do all pass? Else all are run again: they watch the same while."""
    own = dict(results)
    for check in checks:
        if not bench.serves():  # to begin anew is for later, when it is alone
            return False
        observer.begins(check)
        if (result := await run(bench, check, own)).verdict is not Verdict.PASSED:
            bench.findings.failed_in_parallel[check.name] = result.evidence
            return False
    for check in checks:
        results[check.name] = own[check.name]
        observer.ends(own[check.name])
    return True


async def _run_on_new_instance(
    first: Bench,
    another: AbstractAsyncContextManager[Bench],
    checks: Sequence[Check],
    results: dict[str, Result],
    observer: Observer,
    run: RunCheck,
) -> None:
    own = dict(results)
    with suppress(DeviceManagerError, Failed):  # that there cannot be another one is no failure
        async with another as bench:
            bench.has_parallel_instances = True
            with bench.of(first.known):
                await bench.wait_for_list(since=bench.started, what="")
            for check in checks:
                observer.begins(check)
                result = await run(bench, check, own)
                if result.verdict is Verdict.PASSED or check.name in bench.findings.conclusive_failures:
                    results[check.name] = result
                    observer.ends(result)
                elif result.seconds >= bench.timing.patience:
                    return  # we have waited for it in vain, and would again
                elif result.verdict is not Verdict.SKIPPED:
                    first.findings.failed_in_parallel[check.name] = result.evidence
