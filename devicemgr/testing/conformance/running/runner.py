"""Running checks, in order, each after those that it needs."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from contextlib import nullcontext
from functools import partial
from itertools import islice

import trio

from ....arguments import checked
from ....errors import DeviceManagerError
from ..bench import Bench
from ..check import Check
from ..checks.catalogue import CHECKS
from ..findings import RunningCheck
from ..observation.conversation import conversation_lines
from ..observation.evidence import rpc_lines
from ..verdicts import Failed, Result, Skipped, Verdict
from . import parallel
from .attempt import Finding, attempt, verdict_of
from .observer import Observer

MOST_CALLS = 100
"""How many RPCs a result keeps."""
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
    """Run the checks, those that pass so in parallel and all others one after the other, up to the first failure with
    ``fail_fast``. With ``strict`` a warning is a failure.

    Each result is added to ``results``: if the run is cancelled, :func:`report_of` makes a report of those.
    """
    results = {} if results is None else results
    if parallel.saves_time(checks):
        run_one = partial(run_check, strict=strict)
        await run_one(bench, CHECKS["first-list"], results, observer)
        await parallel.run_in_parallel(bench, checks, results, observer, run=run_one)
    for _ in range(2):
        _forget_incomplete(bench, results)
        for check in checks:
            await run_check(bench, check, results, observer, strict=strict)
            if fail_fast and any(result.verdict is Verdict.FAILED for result in results.values()):
                return report_of(checks, results, why_not="a check before it failed (--fail-fast)")
    return report_of(checks, results, why_not="")


def _forget_incomplete(bench: Bench, results: dict[str, Result]) -> None:
    """Those of checks that were run before the plug-in had registered all its resources, unless they are broken."""
    known = set(bench.known if bench.requested is None else ())
    for name, result in list(results.items()):
        if known - bench.findings.covered.get(name, known) and not result.verdict.is_broken:
            del results[name]


@checked
def report_of(checks: Iterable[Check], results: Mapping[str, Result], *, why_not: str) -> list[Result]:
    """The results in the order of the checks, with ``why_not`` for those that were not run.

    A check that these needed and that failed is among the results too, or its failure would not be reported.
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
    """Run one check, after those that it needs, and add the results to ``results``, those of this bench. With
    ``strict`` a warning is a failure.

    An unexpected exception is a bug, and is raised.
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
    started, before, known = trio.current_time(), len(bench.entries), bench.known
    found, blocked_by = await _find(bench, check, results)
    # One for each resource includes those that come meanwhile.
    bench.findings.covered[check.name] = frozenset(known if known and check.whole_plugin else bench.known)
    if (since := bench.running.watching_since) is not None:  # the evidence begins with the quiet period
        before = next(place for place, seen in enumerate(bench.entries) if seen.time >= since)
    return Result(
        check=check.name,
        title=check.title,
        rule=check.rule,
        verdict=found.verdict,
        evidence=bench.subject.without_secrets(found.evidence),
        seconds=round(trio.current_time() - started, 3),
        conversation=conversation_lines(
            bench.entries, begin=before, since=since or started, without_secrets=bench.subject.without_secrets
        ),
        calls=tuple(islice(rpc_lines(bench.entries[before:], since=since or started), MOST_CALLS)),
        blocked_by=blocked_by,
        failed_resources=found.failed_resources,
    )


async def _find(bench: Bench, check: Check, results: Mapping[str, Result]) -> tuple[Finding, tuple[str, ...]]:
    """Run the check for the resources that have passed those that it needs. Returns also what it is blocked by."""
    needed = [results[name] for name in check.needs]
    causes = _causes(needed)
    sound = [one for one in bench.resources if not any(result.blocks(one) for result in needed)]
    if causes and not sound:
        return Finding(Verdict.SKIPPED, f"needs {', '.join(causes)}"), causes
    try:
        await bench.ensure_serving()
        with bench.of(sound) if causes else nullcontext():
            found = await attempt(bench, check)
    except Skipped as skipped:
        found = Finding(Verdict.SKIPPED, str(skipped))
    except (Failed, DeviceManagerError) as failure:
        found = Finding(verdict_of(failure, check), str(failure))
    else:
        if found.verdict is Verdict.PASSED and (in_parallel := bench.findings.failed_in_parallel.get(check.name)):
            found = found.adding(f"; when other instances of the plug-in ran in parallel: {in_parallel}")
        for one in bench.resources if causes else ():
            if one not in sound:
                found = found.adding(f"; not run for {one}, which did not pass {_root_cause(check, one, results)}")
                found = found._replace(failed_resources=(*found.failed_resources, one))
    is_skipped = found.verdict is Verdict.SKIPPED
    return found, _skipped_for_same_reason(needed, found.evidence) if is_skipped else ()


def _root_cause(check: Check, resource: str, results: Mapping[str, Result]) -> str:
    """The first check that this resource did not pass, of those that this one needs."""
    for name in check.needs:
        if results[name].blocks(resource):
            return _root_cause(CHECKS[name], resource, results)
    return check.name


def _causes(needed: Iterable[Result]) -> tuple[str, ...]:
    """The checks at the root of what is missing: the first ones of each chain."""
    missing = [
        result for result in needed if result.failed_resources or result.verdict is Verdict.FAILED or result.blocked_by
    ]
    return tuple(dict.fromkeys(name for result in missing for name in result.blocked_by or (result.check,)))


def _skipped_for_same_reason(needed: Iterable[Result], evidence: str) -> tuple[str, ...]:
    return tuple(result.check for result in needed if result.evidence == evidence)
