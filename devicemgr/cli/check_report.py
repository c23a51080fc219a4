"""What ``check`` shows: tables, JSON, JUnit."""

from __future__ import annotations

import dataclasses
import json
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from xml.etree import ElementTree

from rich.console import Console
from rich.markup import escape
from rich.table import Table

from ..testing.conformance import Check, Result, Verdict
from .output import console

_LAST_LINES = 20
_COLOURS = {Verdict.PASSED: "green", Verdict.FAILED: "red", Verdict.SKIPPED: "yellow"}


@contextmanager
def progress(count: int) -> Iterator[Callable[[Result], None]]:
    """On a terminal, tell which check was made last; yields what is to be called with each result."""
    err = Console(stderr=True, highlight=False)
    if not err.is_terminal:
        yield lambda result: None
        return
    made = 0
    with err.status("starting the plug-in …") as status:

        def show(result: Result) -> None:
            nonlocal made
            made += 1
            status.update(f"{made} of {count} checks made; the last was {result.check}: {result.verdict}")

        yield show


def draw_report(results: Sequence[Result], *, seconds: float, output: str = "") -> None:
    """The table and the verdict of a run of so many seconds; when the plug-in never got as far as to register, also
    the end of ``output``, which it wrote."""
    table = Table(title="Device plug-in conformance", title_justify="left")
    table.add_column("verdict")
    table.add_column("check", no_wrap=True)
    table.add_column("evidence", overflow="fold")
    table.add_column("s", justify="right")
    made = [result for result in results if not result.blocked_by]
    for result in made:
        colour = _COLOURS[result.verdict]
        table.add_row(
            f"[{colour}]{result.verdict}[/]", result.check, escape(_shown(result.evidence)), f"{result.seconds:.2f}"
        )
    for causes, count in Counter(result.blocked_by for result in results if result.blocked_by).items():
        table.add_row("[yellow]skipped[/]", f"{count} checks", f"not made, for they need {', '.join(causes)}", "")
    out = console()
    out.print(table)
    for result in made:
        if result.verdict is Verdict.FAILED:
            out.print(f"[red]{result.check}[/]: {escape(result.title)} ({result.rule})")
    counts = Counter(result.verdict for result in results)
    words = ", ".join(f"[{_COLOURS[verdict]}]{counts[verdict]} {verdict}[/]" for verdict in Verdict)
    out.print(f"{words} in {seconds:.1f} s")
    if counts[Verdict.FAILED]:
        out.print("Why a rule exists, and how to mend it: python -m devicemgr check --explain CHECK")
        never_came = any(result.check == "registers" and result.verdict is Verdict.FAILED for result in results)
        if never_came and (lines := output.splitlines()[-_LAST_LINES:]):
            out.print(f"\nThe last {len(lines)} lines the plug-in wrote (all of them: --plugin-log FILE):")
            out.print(escape("\n".join(map(_shown, lines))), soft_wrap=True)


def _shown(text: str) -> str:
    """What would break a line or a terminal is shown as what it is."""
    return "".join(c if c.isprintable() else c.encode("unicode_escape").decode() for c in text)


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


def write_junit(path: Path, results: Sequence[Result]) -> None:
    """As a JUnit report, which CI systems know how to show. Raises OSError when it cannot be written."""
    counts = Counter(result.verdict for result in results)
    suite = ElementTree.Element(
        "testsuite",
        name="device plug-in conformance",
        tests=str(len(results)),
        failures=str(counts[Verdict.FAILED]),
        skipped=str(counts[Verdict.SKIPPED]),
        time=f"{sum(result.seconds for result in results):.3f}",
    )
    for result in results:
        case = ElementTree.SubElement(
            suite, "testcase", classname="devicemgr.check", name=result.check, time=f"{result.seconds:.3f}"
        )
        lines = [f"{result.title} ({result.rule}): {result.evidence}", *result.calls]
        evidence = "\n".join(map(_shown, lines))
        match result.verdict:
            case Verdict.FAILED:
                ElementTree.SubElement(case, "failure", message=_shown(result.evidence)).text = evidence
            case Verdict.SKIPPED:
                ElementTree.SubElement(case, "skipped", message=_shown(result.evidence))
            case Verdict.PASSED:
                ElementTree.SubElement(case, "system-out").text = evidence
    ElementTree.ElementTree(suite).write(path, encoding="utf-8", xml_declaration=True)
