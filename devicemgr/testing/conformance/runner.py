"""Running checks, in order, and what came of each."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from itertools import islice

import trio

from ...errors import BadInput, DeviceManagerError
from . import allocation, lists, registration, restarts
from .bench import Bench
from .check import Check, Failed, Result, Skipped, Verdict
from .evidence import told

MOST_CALLS = 100
"""RPCs that a result keeps."""
_FAMILIES = (registration, lists, allocation, restarts)

# The order matters: first what can be seen, then what is asked, then what is broken, at last what leaves the plug-in
# without a manager's stream.
_ORDER = (
    *("registers", "api-version", "resource-name", "endpoint-name", "serves-first", "options", "first-list"),
    *("registers-once", "ids-unique", "ids-valid", "health-valid", "numa-plausible", "message-size"),
    *("stream-stays-open", "stream-silent"),
    *("allocate-answers", "allocate-unknown", "allocate-unhealthy", "allocate-same", "allocate-concurrent"),
    *("paths-absolute", "permissions", "host-paths-exist", "cdi-names", "preferred-allocation", "pre-start"),
    *("restart", "wiped", "away", "descriptors", "kill-restart", "sigterm-ends", "sigterm-removes-socket"),
    *("ids-stable", "lists-complete", "stream-cancel"),
)
_FOUND = {value.name: value for family in _FAMILIES for value in vars(family).values() if isinstance(value, Check)}
CHECKS: dict[str, Check] = {name: _FOUND[name] for name in _ORDER}
"""All checks by name, in the order in which they are made."""


def select(only: Iterable[str] = (), skip: Iterable[str] = ()) -> list[Check]:
    """The checks called ``only``, or all; without those called ``skip``. Raises BadInput for a name that is none."""
    wanted, unwanted = set(only), set(skip)
    if unknown := (wanted | unwanted) - set(CHECKS):
        raise BadInput(f"no such check; there are {', '.join(CHECKS)}", file=", ".join(sorted(unknown)))
    chosen = [check for name, check in CHECKS.items() if (not wanted or name in wanted) and name not in unwanted]
    if not chosen:
        raise BadInput("no check is left to be made", file=", ".join(sorted(unwanted)))
    return chosen


async def run_checks(
    bench: Bench, checks: Sequence[Check], on_result: Callable[[Result], None] = lambda result: None
) -> list[Result]:
    """Make the checks one after the other; ``on_result`` hears of each as it is done.

    A check that was needed by these and has failed is among the results too, or its failure would be nobody's.
    """
    made: dict[str, Result] = {}
    wanted = {check.name for check in checks}
    for check in checks:
        on_result(await run_check(bench, check, made))
    return [result for name, result in made.items() if name in wanted or result.verdict is Verdict.FAILED]


async def run_check(bench: Bench, check: Check, made: dict[str, Result]) -> Result:
    """Make one check, and those it needs first; ``made`` is what has been made on this bench, and grows.

    An error of our own is a bug, and leaves.
    """
    if check.name not in made:
        for name in check.needs:
            await run_check(bench, CHECKS[name], made)
        made[check.name] = await _result_of(bench, check, made)
    return made[check.name]


async def _result_of(bench: Bench, check: Check, made: Mapping[str, Result]) -> Result:
    started, before = trio.current_time(), len(bench.history)
    blocked_by = _causes(made[name] for name in check.needs)
    try:
        if blocked_by:
            raise Skipped(f"needs {', '.join(blocked_by)}")
        if any(result.verdict is Verdict.FAILED for result in made.values()):
            await bench.restore()
        verdict, evidence = Verdict.PASSED, await check.run(bench)
    except Skipped as skipped:
        verdict, evidence = Verdict.SKIPPED, str(skipped)
    except (Failed, DeviceManagerError) as failure:
        verdict, evidence = Verdict.FAILED, str(failure)
    return Result(
        check=check.name,
        title=check.title,
        rule=check.rule,
        verdict=verdict,
        evidence=evidence,
        seconds=round(trio.current_time() - started, 3),
        calls=tuple(islice(told(bench.history[before:], since=started), MOST_CALLS)),
        blocked_by=blocked_by,
    )


def _causes(needed: Iterable[Result]) -> tuple[str, ...]:
    """The checks at the root of what is missing: of a chain of checks that were not made, the first."""
    missing = [result for result in needed if result.verdict is not Verdict.PASSED]
    return tuple(dict.fromkeys(name for result in missing for name in result.blocked_by or (result.check,)))
