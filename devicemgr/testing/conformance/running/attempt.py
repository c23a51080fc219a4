"""Running one check on one bench: repeating it if an earlier check may be the reason of a failure, and ending it early
if the plug-in exits."""

from __future__ import annotations

from typing import NamedTuple

import trio

from ....concurrency.exception_groups import collapse_exception_group
from ....errors import DeviceManagerError
from ..bench import Bench
from ..check import Check
from ..checks.catalogue import with_needs
from ..verdicts import ConclusiveFailure, Failed, Skipped, Verdict, Weight

POLL = 0.05
"""Seconds between two looks at whether the plug-in has exited."""
EXIT_GRACE = 1.0
"""Seconds that a plug-in which fails a check has to exit because of it, and that a check has to fail after the plug-in
has exited."""


class Finding(NamedTuple):
    """A verdict with its evidence; ``failed_resources`` as in :class:`Result`, ``is_conclusive`` of a failure."""

    verdict: Verdict
    evidence: str
    failed_resources: tuple[str, ...] = ()
    is_conclusive: bool = False

    def adding(self, text: str) -> Finding:
        return self._replace(evidence=self.evidence + text)


async def attempt(bench: Bench, check: Check) -> Finding:
    """Run the check. The evidence of a check that passes only because the plug-in was started again says so.

    Raises Skipped, Failed.
    """
    before = len(bench.lifecycle.respawn_causes)
    found = await _retried_undisrupted(bench, check)
    if found.verdict is Verdict.PASSED and (endings := bench.lifecycle.respawn_causes[before:]):
        often = "once" if len(endings) == 1 else f"{len(endings)} times"
        return found.adding(f"; meanwhile it ended {often}, {endings[-1]}, and was started again")
    return found


async def _retried_undisrupted(bench: Bench, check: Check) -> Finding:
    """Repeat a check that fails on a plug-in which was disrupted before, on one which was not.

    Some plug-ins give up after a number of errors in a number of seconds, and a kubelet does not cause all that the
    earlier checks did. A conclusive failure is not repeated, nor one of a process that the check started itself, nor
    one in parallel: that check is run again anyway.
    """
    was_disrupted = bench.lifecycle.is_disrupted and not bench.has_parallel_instances
    starts = bench.lifecycle.requested_starts
    first = await _try_once(bench, check)
    if first.is_conclusive:
        bench.findings.conclusive_failures.add(check.name)
    if not first.verdict.is_broken or not was_disrupted:
        return first
    if first.is_conclusive or bench.lifecycle.requested_starts > starts:
        return first
    try:
        await bench.restart_plugin()
    except Skipped:
        return first
    again = await _try_once(bench, check)
    if again.verdict is not Verdict.PASSED:
        return again
    return again.adding(f", when started again; after the checks before it: {first.evidence}")


async def _try_once(bench: Bench, check: Check) -> Finding:
    """Run the check once, and add the exit of the plug-in to a failure. Raises Skipped."""
    try:
        found = await _run_until_exit(bench, check)
    except (Failed, DeviceManagerError) as failure:
        found = Finding(verdict_of(failure, check), str(failure), is_conclusive=isinstance(failure, ConclusiveFailure))
    if found.verdict.is_broken and not bench.has_parallel_instances:
        found = found._replace(evidence=await _with_exit_report(bench, found.evidence))
        return found._replace(verdict=Verdict.FAILED) if bench.lifecycle.has_exited_for_good else found
    return found


async def _run_until_exit(bench: Bench, check: Check) -> Finding:
    """Raises Failed as soon as the plug-in has exited unexpectedly: there is nothing more to wait for."""
    found = None
    with collapse_exception_group():
        async with trio.open_nursery() as nursery:
            nursery.start_soon(_cancel_after_exit, bench, nursery.cancel_scope)
            if check.whole_plugin:
                found = Finding(Verdict.PASSED, await check.run(bench))
            else:
                found = await _run_per_resource(bench, check)
            nursery.cancel_scope.cancel()
    if found is None or (bench.lifecycle.has_exited_for_good and found.verdict is not Verdict.FAILED):
        raise Failed(f"{bench.running.step}{bench.exit_report()}", Weight.ERROR)  # whatever the check is about
    return found


def verdict_of(failure: Exception, check: Check) -> Verdict:
    weight = (failure.weight if isinstance(failure, Failed) else None) or check.weight
    return Verdict.WARNING if weight is Weight.WARNING else Verdict.FAILED


async def _wait_for_late_resource(bench: Bench, check: Check) -> None:
    """One that was registered after first-list has no list yet, though this check may need one. Raises Failed."""
    if "first-list" in with_needs([check]) - {check.name} and not bench.are_back(bench.started):
        await bench.wait_for_list(since=bench.started, what="it was registered while other checks ran")


async def _run_per_resource(bench: Bench, check: Check) -> Finding:
    """Run the check for one resource after the other, including those that are registered meanwhile. A failure for one
    resource is the verdict, and says nothing of the others."""
    said: dict[Verdict, dict[str, str]] = {
        verdict: {} for verdict in (Verdict.FAILED, Verdict.WARNING, Verdict.PASSED, Verdict.SKIPPED)
    }
    checked_resources: list[str] = []
    is_conclusive = False
    while resource := next((one for one in bench.resources if one not in checked_resources), None):
        checked_resources.append(resource)
        with bench.of([resource]):
            try:
                await _wait_for_late_resource(bench, check)
                said[Verdict.PASSED][resource] = await check.run(bench)
            except Skipped as skipped:
                said[Verdict.SKIPPED][resource] = str(skipped)
            except (Failed, DeviceManagerError) as failure:
                said[verdict_of(failure, check)][resource] = str(failure)
                is_conclusive = is_conclusive or isinstance(failure, ConclusiveFailure)
    verdict = next(verdict for verdict, evidence in said.items() if evidence)
    broken = said[Verdict.FAILED] | said[Verdict.WARNING]
    reported = broken or said[Verdict.PASSED] | said[Verdict.SKIPPED]
    failed_resources = tuple(said[Verdict.FAILED]) if len(said[Verdict.FAILED]) < len(checked_resources) else ()
    if len(reported) == len(checked_resources) and len(set(reported.values())) == 1:
        each = f"of each of {len(checked_resources)} resources: " if len(checked_resources) > 1 else ""
        return Finding(verdict, each + reported[checked_resources[0]], failed_resources, is_conclusive)
    all_reported = "; ".join(f"{resource}: {evidence}" for resource, evidence in reported.items())
    return Finding(verdict, all_reported, failed_resources, is_conclusive)


async def _until_exit(bench: Bench, *, for_good: bool) -> None:
    while not (bench.lifecycle.has_exited_for_good if for_good else bench.lifecycle.has_exited):  # noqa: ASYNC110 - the end of what a program has started has no event
        await trio.sleep(POLL)


async def _cancel_after_exit(bench: Bench, scope: trio.CancelScope) -> None:
    """With a delay: what the check is doing may fail because of the exit, with better evidence."""
    await _until_exit(bench, for_good=True)
    await trio.sleep(EXIT_GRACE)
    scope.cancel()


async def _with_exit_report(bench: Bench, evidence: str) -> str:
    """A connection breaks a moment before its process has exited, and the exit says more."""
    with trio.move_on_after(EXIT_GRACE):
        await _until_exit(bench, for_good=False)
    if not bench.lifecycle.has_exited or bench.exit_report() in evidence:
        return evidence
    return f"{evidence}; {bench.exit_report()}"
