"""What ``check`` shows: tables, JSON, JUnit."""

from __future__ import annotations

import dataclasses
import json
from collections import Counter
from collections.abc import Sequence
from xml.etree import ElementTree

from rich.markup import escape
from rich.table import Table

from ..testing.conformance import Check, Result, Verdict
from .output import console, plain, printable

_LAST_LINES = 20
_COLOURS = {
    Verdict.PASSED: "green",
    Verdict.FAILED: "red",
    Verdict.SKIPPED: "yellow",
    Verdict.NOT_RUN: "magenta",
}


def draw_report(results: Sequence[Result], *, seconds: float, output: str = "") -> None:
    """The table and the verdict of a run of so many seconds; when the plug-in never got as far as to register, also
    the end of ``output``, which it wrote."""
    table = Table(title="Device plug-in conformance", title_justify="left")
    table.add_column("verdict")
    table.add_column("check", no_wrap=True)
    table.add_column("evidence", overflow="fold")
    table.add_column("s", justify="right")
    made = [result for result in results if not result.blocked_by and result.verdict is not Verdict.NOT_RUN]
    for result in made:
        colour = _COLOURS[result.verdict]
        table.add_row(f"[{colour}]{result.verdict}[/]", result.check, plain(result.evidence), f"{result.seconds:.2f}")
    for causes, count in Counter(result.blocked_by for result in results if result.blocked_by).items():
        table.add_row("[yellow]skipped[/]", f"{count} checks", f"not made, for they need {', '.join(causes)}", "")
    for why, names in _not_run(results).items():
        table.add_row("[magenta]not run[/]", f"{len(names)} checks", f"{why}: {', '.join(names)}", "")
    out = console()
    out.print(table)
    for result in made:
        if result.verdict is Verdict.FAILED:
            out.print(f"[red]{result.check}[/]: {escape(result.title)} ({result.rule})")
    counts = Counter(result.verdict for result in results)
    told = [verdict for verdict in Verdict if verdict is not Verdict.NOT_RUN or counts[verdict]]
    words = ", ".join(f"[{_COLOURS[verdict]}]{counts[verdict]} {verdict}[/]" for verdict in told)
    out.print(f"{words} in {seconds:.1f} s")
    if counts[Verdict.FAILED]:
        out.print("Why a rule exists, and how to mend it: python -m devicemgr check --explain CHECK")
        never_came = any(result.check == "registers" and result.verdict is Verdict.FAILED for result in results)
        if never_came and (lines := output.splitlines()[-_LAST_LINES:]):
            out.print(f"\nThe last {len(lines)} lines the plug-in wrote (all of them: --plugin-log FILE):")
            out.print(escape("\n".join(map(printable, lines))), soft_wrap=True)


def _not_run(results: Sequence[Result]) -> dict[str, list[str]]:
    """The names of the checks by the reason why they were not run."""
    reasons: dict[str, list[str]] = {}
    for result in results:
        if result.verdict is Verdict.NOT_RUN:
            reasons.setdefault(result.evidence, []).append(result.check)
    return reasons


def draw_checks(checks: Sequence[Check]) -> None:
    table = Table(title="Checks, in the order in which they are made", title_justify="left")
    for column in ("check", "a plug-in …", "rule"):
        table.add_column(column, overflow="fold")
    for check in checks:
        table.add_row(check.name, escape(check.title), check.rule)
    console().print(table)


def checks_data(checks: Sequence[Check]) -> str:
    return json.dumps(
        [{"check": c.name, "title": c.title, "rule": c.rule, "seen_in": c.seen_in, "needs": c.needs} for c in checks],
        indent=2,
    )


def draw_explanation(check: Check) -> None:
    out = console()
    out.print(f"[bold]{check.name}[/]: {escape(check.title)}\n", soft_wrap=True)
    out.print(escape(check.explanation), soft_wrap=True)
    out.print(f"\nRule: {check.rule}. Seen in public: {check.seen_in or 'not known to us'}.", soft_wrap=True)
    if check.needs:
        out.print(f"Made only when these have passed: {', '.join(check.needs)}")


def report_data(results: Sequence[Result]) -> str:
    counts = Counter(result.verdict for result in results)
    return json.dumps(
        {
            "summary": {verdict.value: counts[verdict] for verdict in Verdict},
            "results": [dataclasses.asdict(result) for result in results],
        },
        indent=2,
    )


def junit_text(results: Sequence[Result]) -> str:
    """A JUnit report, which CI systems know how to show. What was not run is skipped there."""
    counts = Counter(result.verdict for result in results)
    suite = ElementTree.Element(
        "testsuite",
        name="device plug-in conformance",
        tests=str(len(results)),
        failures=str(counts[Verdict.FAILED]),
        skipped=str(counts[Verdict.SKIPPED] + counts[Verdict.NOT_RUN]),
        time=f"{sum(result.seconds for result in results):.3f}",
    )
    for result in results:
        _add_case(suite, result)
    return '<?xml version="1.0" encoding="utf-8"?>\n' + ElementTree.tostring(suite, encoding="unicode")


def _add_case(suite: ElementTree.Element, result: Result) -> None:
    case = ElementTree.SubElement(
        suite, "testcase", classname="devicemgr.check", name=result.check, time=f"{result.seconds:.3f}"
    )
    lines = [f"{result.title} ({result.rule}): {result.evidence}", *result.calls]
    evidence = "\n".join(map(printable, lines))
    match result.verdict:
        case Verdict.FAILED:
            ElementTree.SubElement(case, "failure", message=printable(result.evidence)).text = evidence
        case Verdict.SKIPPED:
            ElementTree.SubElement(case, "skipped", message=printable(result.evidence))
        case Verdict.NOT_RUN:
            ElementTree.SubElement(case, "skipped", message=f"not run: {printable(result.evidence)}")
        case Verdict.PASSED:
            ElementTree.SubElement(case, "system-out").text = evidence
