"""Checks in parallel: other instances of the plug-in are called and disrupted while the first one is watched.

To watch that nothing happens takes time in which nothing may be done to the plug-in. Meanwhile the other checks run on
further instances, each on a bench of its own, with another directory and another manager; on one bench they run one
after the other, as usual.
"""

# Decision: a check that passes in parallel has passed. A check that does not is run again, on the first instance alone;
# if it passes then, its evidence mentions the first result. Instances may get in each other's way (a port, a lock, a
# file under /run, the hardware itself), which makes a good plug-in fail and no bad one pass. So it need not be known
# what instances share, and a plug-in that cannot run twice loses only time. For the same reason the patience with
# further instances is short: a slow one is waited for alone. A ConclusiveFailure counts at once: it follows from what
# was done to that instance, and nothing was done to the first.

from __future__ import annotations

from collections.abc import Awaitable, Collection, Iterable, Sequence
from contextlib import AbstractAsyncContextManager, suppress
from typing import TYPE_CHECKING, Protocol

import trio

from ....concurrency.exception_groups import collapse_exception_group
from ....errors import DeviceManagerError
from ..bench import Bench
from ..check import Check
from ..verdicts import Failed, Result, Skipped, Verdict

if TYPE_CHECKING:
    from .observer import Observer

WATCHED = ("first-list-complete", "registers-once", "stream-stays-open", "stream-silent")
"""Run on the first instance, to which nothing is done."""
CHANGED = ("changes-arrive",)
OTHERS: tuple[tuple[str, ...], ...] = (
    (  # call it, and end it
        *("allocate-answers", "allocate-unknown", "allocate-unhealthy", "allocate-same", "allocate-concurrent"),
        *("paths-absolute", "permissions", "host-paths-exist", "cdi-names", "preferred-allocation", "pre-start"),
        *("stream-cancel", "kill-restart", "sigterm-ends", "sigterm-removes-socket"),
        *("allocate-after-restart", "away", "registers-again", "rolling-update"),
    ),
    # disrupt it; the last three look at the outcome of all that
    ("restart", "wiped", "socket-deleted", "registry-deleted", "ids-stable", "returns-once", "endpoint-fresh"),
    # restart it many times
    ("descriptors",),
    ("stream-lost",),  # waits for a plug-in that does not register again
    CHANGED,
)
"""Run on each further instance, in that order, with what these checks need."""


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
    """Run those checks that can run in parallel, and add their results."""
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
    """Does the first instance serve as it should, and can others run?"""
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
    """Do all pass? Otherwise all are run again: they watch the same period."""
    own = dict(results)
    for check in checks:
        if not bench.serves():  # it is started again later, when it runs alone
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
    with suppress(DeviceManagerError, Failed):  # a plug-in that cannot run twice is no failure
        async with another as bench:
            bench.has_parallel_instances = True
            _, bench.spare_until = first.quiet.bounds()
            with bench.of(first.known):
                await bench.wait_for_list(since=bench.started, what="")
            for check in checks:
                observer.begins(check)
                result = await run(bench, check, own)
                if result.verdict is Verdict.PASSED or check.name in bench.findings.conclusive_failures:
                    results[check.name] = result
                    first.findings.covered[check.name] = bench.findings.covered[check.name]
                    observer.ends(result)
                elif result.seconds >= bench.timing.patience:
                    return  # the other checks would wait as long
                elif result.verdict is not Verdict.SKIPPED:
                    first.findings.failed_in_parallel[check.name] = result.evidence
