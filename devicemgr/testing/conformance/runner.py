"""Running checks, in order, and what came of each."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from contextlib import nullcontext
from functools import partial
from itertools import islice
from typing import NamedTuple

import trio

from ...arguments import checked
from ...errors import BadInput, DeviceManagerError, collapse_exception_group
from ...yaml_fields import nearest
from . import (
    allocation,
    changes,
    lists,
    parallel,
    refused_once,
    registration,
    restarts,
    rolling_update,
    stream_lost,
)
from .bench import Bench
from .check import Check
from .evidence import rpc_lines
from .findings import RunningCheck
from .observer import Observer
from .verdicts import ConclusiveFailure, Failed, Result, Skipped, Verdict, Weight

MOST_CALLS = 100
"""RPCs that a result keeps."""
POLL = 0.05
"""Seconds between two looks at whether the plug-in has ended."""
EXIT_GRACE = 1.0
"""Seconds in which a plug-in that failed a check may end from it, and a check fail of a plug-in that has ended."""
_MODULES = (registration, lists, allocation, restarts, refused_once, stream_lost, rolling_update, changes)

# The order matters: first what can be seen, then what is asked, then what is broken, at last what leaves the plug-in
# without a manager's stream.
_ORDER = (
    *("registers", "api-version", "resource-name", "endpoint-name", "serves-first", "options", "first-list"),
    *("first-list-complete", "registers-once", "ids-unique", "ids-valid", "health-valid", "numa-plausible"),
    *("message-size", "stream-stays-open", "stream-silent"),
    *("allocate-answers", "allocate-unknown", "allocate-unhealthy", "allocate-same", "allocate-concurrent"),
    *("paths-absolute", "permissions", "host-paths-exist", "cdi-names", "preferred-allocation", "pre-start"),
    *(
        "restart",
        "wiped",
        "socket-deleted",
        "registry-deleted",
        "away",
        "registers-again",
        "descriptors",
        "stream-lost",
    ),
    *("kill-restart", "sigterm-ends", "sigterm-removes-socket", "rolling-update"),
    *("ids-stable", "lists-complete", "stream-cancel", "changes-arrive", "returns-once", "endpoint-fresh"),
)
_BY_NAME = {value.name: value for module in _MODULES for value in vars(module).values() if isinstance(value, Check)}
CHECKS: dict[str, Check] = {name: _BY_NAME[name] for name in _ORDER}
"""All checks by name, in the order in which they are run."""


@checked
def select(only: Iterable[str] = (), skip: Iterable[str] = ()) -> list[Check]:
    """The checks called ``only``, or all; without those called ``skip``. Raises BadInput for a name that is none."""
    wanted, unwanted = set(only), set(skip)
    if unknown := (wanted | unwanted) - set(CHECKS):
        near = nearest(min(unknown), CHECKS)
        raise BadInput(f"no such check{near}; there are {', '.join(CHECKS)}", file=", ".join(sorted(unknown)))
    chosen = [check for name, check in CHECKS.items() if (not wanted or name in wanted) and name not in unwanted]
    if not chosen:
        raise BadInput("no check is left to be run", file=", ".join(sorted(unwanted)))
    return chosen


def with_needs(checks: Iterable[Check]) -> set[str]:
    """The names of all checks that are run when these are wanted."""
    return {one for check in checks for one in (check.name, *with_needs(CHECKS[name] for name in check.needs))}


SILENT = Observer()


@checked
async def run_checks(
    bench: Bench,
    checks: Sequence[Check],
    *,
    results: dict[str, Result] | None = None,
    observer: Observer = SILENT,
    fail_fast: bool = False,
    strict: bool = False,
) -> list[Result]:
    """Run the checks, what passes so in parallel and all else one after the other, until the first failure with
    ``fail_fast``. With ``strict`` a warning is a failure.

    ``results`` grows with each: what is there when the run is cancelled is what :func:`report_of` makes a report of.
    """
    results = {} if results is None else results
    if parallel.saves_time(checks):
        run_one = partial(run_check, strict=strict)
        await run_one(bench, CHECKS["first-list"], results, observer)
        await parallel.run_in_parallel(bench, checks, results, observer, run=run_one)
    for check in checks:
        await run_check(bench, check, results, observer, strict=strict)
        if fail_fast and any(result.verdict is Verdict.FAILED for result in results.values()):
            break
    return report_of(checks, results, why_not="a check before it failed (--fail-fast)")


@checked
def report_of(checks: Iterable[Check], results: Mapping[str, Result], *, why_not: str) -> list[Result]:
    """What came of the checks, or ``why_not``, in their order.

    A check that was needed by these and has failed is among the results too, or its failure would be nobody's.
    """
    wanted, place = {check.name for check in checks}, {name: place for place, name in enumerate(CHECKS)}
    in_order = sorted(results.items(), key=lambda item: place.get(item[0], len(place)))  # and not as they ran
    reported = [result for name, result in in_order if name in wanted or result.verdict is Verdict.FAILED]
    return reported + [
        Result(check=name, title=CHECKS[name].title, rule=CHECKS[name].rule, verdict=Verdict.NOT_RUN, evidence=why_not)
        for name in CHECKS
        if name in wanted - set(results)
    ]


@checked
async def run_check(
    bench: Bench, check: Check, results: dict[str, Result], observer: Observer = SILENT, *, strict: bool = False
) -> Result:
    """Run one check, and those it needs first; ``results`` are those of this bench, and grow. With
    ``strict`` a warning is a failure.

    An error of our own is a bug, and leaves.
    """
    if check.name not in results:
        for name in check.needs:
            await run_check(bench, CHECKS[name], results, observer, strict=strict)
        observer.begins(check)
        result = await _run(bench, check, results)
        results[check.name] = result.strictly() if strict else result
        observer.ends(results[check.name])
    return results[check.name]


async def _run(bench: Bench, check: Check, results: Mapping[str, Result]) -> Result:
    bench.running = RunningCheck(check.name)
    bench.lifecycle.reset_back_off()
    started, before = trio.current_time(), len(bench.entries)
    needed = [results[name] for name in check.needs]
    causes = _causes(needed)
    sound = [one for one in bench.resources if not any(result.blocks(one) for result in needed)]
    blocked_by = () if sound else causes
    failed_resources: tuple[str, ...] = ()
    try:
        if blocked_by:
            raise Skipped(f"needs {', '.join(blocked_by)}")
        await bench.ensure_serving()
        with bench.of(sound) if causes else nullcontext():
            verdict, evidence, failed_resources, _ = await _with_respawns_noted(bench, check)
        if verdict is Verdict.PASSED and (failure := bench.findings.failed_in_parallel.get(check.name)):
            evidence += f"; when other instances of the plug-in ran in parallel: {failure}"
        if causes:
            left_out = tuple(one for one in bench.resources if one not in sound)
            evidence += "".join(
                f"; not run for {one}, which did not pass {_root_cause(check, one, results)}" for one in left_out
            )
            failed_resources += left_out
    except Skipped as skipped:
        verdict, evidence = Verdict.SKIPPED, str(skipped)
    except (Failed, DeviceManagerError) as failure:
        verdict, evidence = _verdict_of(failure, check), str(failure)
    if verdict is Verdict.SKIPPED and not blocked_by:
        blocked_by = _skipped_for_same_reason(needed, evidence)
    if (since := bench.running.watching_since) is not None:  # what others saw of that while is its evidence too
        before = next(place for place, seen in enumerate(bench.entries) if seen.time >= since)
    return Result(
        check=check.name,
        title=check.title,
        rule=check.rule,
        verdict=verdict,
        evidence=bench.subject.without_secrets(evidence),
        seconds=round(trio.current_time() - started, 3),
        calls=tuple(islice(rpc_lines(bench.entries[before:], since=since or started), MOST_CALLS)),
        blocked_by=blocked_by,
        failed_resources=failed_resources,
    )


class _Finding(NamedTuple):
    verdict: Verdict
    evidence: str
    failed_resources: tuple[str, ...] = ()
    is_conclusive: bool = False

    def adding(self, text: str) -> _Finding:
        return self._replace(evidence=self.evidence + text)


async def _with_respawns_noted(bench: Bench, check: Check) -> _Finding:
    """What passes only because somebody starts the plug-in again says so."""
    before = len(bench.lifecycle.respawn_causes)
    found = await _retried_undisrupted(bench, check)
    if found.verdict is Verdict.PASSED and (endings := bench.lifecycle.respawn_causes[before:]):
        often = "once" if len(endings) == 1 else f"{len(endings)} times"
        return found.adding(f"; meanwhile it ended {often}, {endings[-1]}, and was started again")
    return found


async def _retried_undisrupted(bench: Bench, check: Check) -> _Finding:
    """What fails on a plug-in that was disrupted before is tried on one that was not: some give up after so many errors
    in so many seconds, and that a check was not the first is nothing that a kubelet does. Not a conclusive failure,
    nor one of a process that the check started itself; and what fails in parallel is run again anyway."""
    was_disrupted = bench.lifecycle.is_disrupted and not bench.has_parallel_instances
    starts = bench.lifecycle.requested_starts
    first = await _attempt(bench, check)
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
    again = await _attempt(bench, check)
    if again.verdict is not Verdict.PASSED:
        return again
    return again.adding(f", when started anew; after the checks before it: {first.evidence}")


async def _attempt(bench: Bench, check: Check) -> _Finding:
    """With the cause of a failure. Raises Skipped."""
    try:
        found = await _run_until_exit(bench, check)
    except (Failed, DeviceManagerError) as failure:
        found = _Finding(
            _verdict_of(failure, check), str(failure), is_conclusive=isinstance(failure, ConclusiveFailure)
        )
    if found.verdict.is_broken and not bench.has_parallel_instances:
        found = found._replace(evidence=await _with_exit_report(bench, found.evidence))
        return found._replace(verdict=Verdict.FAILED) if bench.lifecycle.has_exited_for_good else found
    return found


async def _run_until_exit(bench: Bench, check: Check) -> _Finding:
    """Raises Failed as soon as the plug-in has ended though nobody asked it to: there is nothing more to wait for."""
    found = None
    with collapse_exception_group():
        async with trio.open_nursery() as nursery:
            nursery.start_soon(_cancel_after_exit, bench, nursery.cancel_scope)
            if check.whole_plugin:
                found = _Finding(Verdict.PASSED, await check.run(bench))
            else:
                found = await _run_per_resource(bench, check)
            nursery.cancel_scope.cancel()
    if found is None or (bench.lifecycle.has_exited_for_good and found.verdict is not Verdict.FAILED):
        raise Failed(f"{bench.running.step}{bench.exit_report()}", Weight.ERROR)  # whatever the check is about
    return found


def _verdict_of(failure: Exception, check: Check) -> Verdict:
    weight = (failure.weight if isinstance(failure, Failed) else None) or check.weight
    return Verdict.WARNING if weight is Weight.WARNING else Verdict.FAILED


async def _run_per_resource(bench: Bench, check: Check) -> _Finding:
    """One resource after the other, also one that is registered meanwhile: a failure of one is the verdict, and says
    nothing of the others."""
    said: dict[Verdict, dict[str, str]] = {
        verdict: {} for verdict in (Verdict.FAILED, Verdict.WARNING, Verdict.PASSED, Verdict.SKIPPED)
    }
    checked_resources: list[str] = []
    is_conclusive = False
    while resource := next((one for one in bench.resources if one not in checked_resources), None):
        checked_resources.append(resource)
        with bench.of([resource]):
            try:
                said[Verdict.PASSED][resource] = await check.run(bench)
            except Skipped as skipped:
                said[Verdict.SKIPPED][resource] = str(skipped)
            except (Failed, DeviceManagerError) as failure:
                said[_verdict_of(failure, check)][resource] = str(failure)
                is_conclusive = is_conclusive or isinstance(failure, ConclusiveFailure)
    verdict = next(verdict for verdict, evidence in said.items() if evidence)
    broken = said[Verdict.FAILED] | said[Verdict.WARNING]
    reported = broken or said[Verdict.PASSED] | said[Verdict.SKIPPED]
    failed_resources = tuple(said[Verdict.FAILED]) if len(said[Verdict.FAILED]) < len(checked_resources) else ()
    if len(reported) == len(checked_resources) and len(set(reported.values())) == 1:
        each = f"of each of {len(checked_resources)} resources: " if len(checked_resources) > 1 else ""
        return _Finding(verdict, each + reported[checked_resources[0]], failed_resources, is_conclusive)
    all_reported = "; ".join(f"{resource}: {evidence}" for resource, evidence in reported.items())
    return _Finding(verdict, all_reported, failed_resources, is_conclusive)


async def _until_exit(bench: Bench) -> None:
    while not bench.lifecycle.has_exited_for_good:  # noqa: ASYNC110 - the end of what a program has started has no event
        await trio.sleep(POLL)


async def _cancel_after_exit(bench: Bench, scope: trio.CancelScope) -> None:
    """Not in that moment: what the check is doing to the plug-in breaks of it as well, and says what it was."""
    await _until_exit(bench)
    await trio.sleep(EXIT_GRACE)
    scope.cancel()


async def _with_exit_report(bench: Bench, evidence: str) -> str:
    """A connection breaks a moment before its process has ended, which says more."""
    with trio.move_on_after(EXIT_GRACE):
        await _until_exit(bench)
    if not bench.lifecycle.has_exited_for_good or bench.exit_report() in evidence:
        return evidence
    return f"{evidence}; {bench.exit_report()}"


def _root_cause(check: Check, resource: str, results: Mapping[str, Result]) -> str:
    """The first check that a resource did not pass, of those that this one needs."""
    for name in check.needs:
        if results[name].blocks(resource):
            return _root_cause(CHECKS[name], resource, results)
    return check.name


def _causes(needed: Iterable[Result]) -> tuple[str, ...]:
    """The checks at the root of what is missing: of a chain of checks that were not run, the first."""
    missing = [
        result for result in needed if result.failed_resources or result.verdict is Verdict.FAILED or result.blocked_by
    ]
    return tuple(dict.fromkeys(name for result in missing for name in result.blocked_by or (result.check,)))


def _skipped_for_same_reason(needed: Iterable[Result], evidence: str) -> tuple[str, ...]:
    return tuple(result.check for result in needed if result.evidence == evidence)
