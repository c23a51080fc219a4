"""The report of ``check``: tables for people, data and JUnit for machines."""

from __future__ import annotations

import dataclasses
from collections import Counter
from collections.abc import Sequence
from typing import Any
from xml.etree import ElementTree

from rich.console import Console
from rich.markup import escape
from rich.padding import Padding

from ...core.conversation.text import LEGEND
from ...folding import folded
from ...printable import printable
from ...rules.book import sentences_in
from ...testing.conformance import CHECKS, Check, Result, Verdict, Weight
from ..shared.output import NARROW, console, listing, plain, print_listing

_LAST_LINES = 20
_READABLE = 100
"""Longer lines of text are hard to read."""
_WORDS_AT = 17
"""Where a long line of a conversation goes on: to the right of its time."""
_COLOURS = {
    Verdict.PASSED: "green",
    Verdict.FAILED: "red",
    Verdict.WARNING: "yellow",
    Verdict.SKIPPED: "cyan",
    Verdict.NOT_RUN: "magenta",
}


_Row = tuple[Verdict, str, str, str]
"""Verdict, check, evidence, seconds."""


def draw_report(
    results: Sequence[Result], *, seconds: float, output: str, all_output: bool = False, sequence: str = ""
) -> None:
    """The verdicts of a run that took ``seconds``, then the warnings and failures in full. If the plug-in did not even
    register, or with ``all_output``, its ``output`` comes before those. Of the check ``sequence`` all that was said is
    shown, whatever its verdict."""
    out = console()
    if out.width < NARROW:
        _draw_lines(out, _rows(results))
    else:
        _draw_table(_rows(results))
    failed = [result for result in results if result.verdict is Verdict.FAILED]
    if all_output or any(result.check == "registers" for result in failed):
        _draw_output(out, output.splitlines(), all_output)
    broken = [result for result in results if result.verdict is Verdict.WARNING] + failed
    for result in broken:
        _draw_violation(out, result, is_followed_by_all=result.check == sequence)
    asked = [result for result in results if result.check == sequence]
    for result in asked:
        _draw_all_that_was_said(out, result)
    if broken or asked:
        out.print()
    out.print(f"{summary_line(results, markup=True)} in {seconds:.1f} s")


def _rows(results: Sequence[Result]) -> list[_Row]:
    """Checks that were not run for the same reason share a row."""
    rows: list[_Row] = []
    together: dict[tuple[Verdict, str], list[str]] = {}
    for result in results:
        if result.verdict is Verdict.NOT_RUN:
            together.setdefault((result.verdict, result.evidence), []).append(result.check)
        elif result.blocked_by:
            causes = f"not run, because they need {', '.join(result.blocked_by)}"
            together.setdefault((result.verdict, causes), []).append(result.check)
        else:
            rows.append((result.verdict, result.check, printable(result.evidence), f"{result.seconds:.2f}"))
    for (verdict, reason), names in together.items():
        text = reason if verdict is Verdict.SKIPPED else f"{reason}: {', '.join(names)}"
        rows.append((verdict, "1 check" if len(names) == 1 else f"{len(names)} checks", text, ""))
    return rows


def _draw_table(rows: Sequence[_Row]) -> None:
    columns = ("verdict", "check", "evidence", "s")
    table = listing("Device plug-in conformance", *columns, right=("s",), no_wrap=("verdict", "check", "s"))
    for verdict, check, evidence, seconds in rows:
        table.add_row(f"[{_COLOURS[verdict]}]{verdict}[/]", check, escape(evidence), seconds)
    print_listing(table)


def _draw_lines(out: Console, rows: Sequence[_Row]) -> None:
    for verdict, check, evidence, seconds in rows:
        out.print(f"[{_COLOURS[verdict]}]{verdict}[/] {check} {seconds}".rstrip())
        out.print(Padding(escape(evidence), (0, 0, 0, 2)), overflow="fold")


def _draw_output(out: Console, lines: Sequence[str], all_of_it: bool) -> None:
    """Behind a bar, so that neither people nor CI systems take it for ours."""
    shown = lines if all_of_it else lines[-_LAST_LINES:]
    if shown:
        what = "What the plug-in wrote:"
        if len(shown) < len(lines):
            what = f"The last {len(shown)} lines that the plug-in wrote (all: --show-output, or --plugin-log FILE):"
        out.print(f"\n{what}")
        for line in shown:
            out.print(f"│ {plain(line)}", soft_wrap=True)


def _draw_violation(out: Console, result: Result, *, is_followed_by_all: bool) -> None:
    """The same text as in the pytest report."""
    colour = _COLOURS[result.verdict]
    name = f"{result.check} (a warning)" if result.verdict is Verdict.WARNING else result.check
    out.print()
    out.rule(f"[{colour}]{name}[/]", align="left", style=colour, characters="─")
    title, found, *more = map(escape, CHECKS[result.check].report(result.evidence))
    _draw_paragraphs(out, [f"[bold]{title}[/]", found.replace("Found:", f"[{colour}]Found:[/]", 1), *more])
    if not is_followed_by_all:
        _draw_conversation(out, result.conversation[-_LAST_LINES:], more=f" (all: --sequence {result.check})")


def _draw_all_that_was_said(out: Console, result: Result) -> None:
    _draw_conversation(out, result.conversation)
    if not result.conversation:
        out.print("\nNothing was said while this check ran. What was said before, --sequence registers shows.")


def _draw_conversation(out: Console, lines: Sequence[str], *, more: str = "") -> None:
    """Behind a bar, as the plug-in's output is. ``more`` says where there is more."""
    if lines:
        out.print(f"\n[bold]What was said[/]{escape(more)}:\n{LEGEND}")
        columns = out.width - len("│ ") if out.is_terminal else None
        for part in (part for line in lines for part in folded(printable(line), columns, indent=_WORDS_AT)):
            out.print(f"│ {escape(part)}", soft_wrap=True)


def _draw_paragraphs(out: Console, paragraphs: Sequence[str]) -> None:
    out.print("\n\n".join(paragraphs), width=min(out.width, _READABLE), overflow="fold")


def summary_line(results: Sequence[Result], *, markup: bool = False) -> str:
    """``35 passed, 1 failed, 2 warnings, 0 skipped``; unusual verdicts only if there are any."""
    counts = Counter(result.verdict for result in results)
    unusual = Verdict.WARNING, Verdict.NOT_RUN
    listed = [verdict for verdict in Verdict if verdict not in unusual or counts[verdict]]
    words = [
        f"{counts[verdict]} {verdict}" + "s" * (verdict is Verdict.WARNING and counts[verdict] > 1)
        for verdict in listed
    ]
    if markup:
        words = [f"[{_COLOURS[verdict]}]{word}[/]" for verdict, word in zip(listed, words, strict=True)]
    return ", ".join(words)


def rerun_hint(results: Sequence[Result], *, patience: float) -> str:
    """How to run the failed checks again in less time; empty if there is nothing to say."""
    failed = [result for result in results if result.verdict is Verdict.FAILED]
    hints = []
    if failed and len(failed) < len(results):
        hints.append("To run only the failed checks again: --last-failed.")
    if any(result.seconds >= patience for result in failed):
        hints.append(f"To wait less for what does not come: --patience SECONDS ({patience:g} now).")
    return " ".join(hints)


def draw_checks(checks: Sequence[Check]) -> None:
    out = console()
    if out.width < NARROW:
        for check in checks:
            out.print(f"{check.name} ({check.rule}; {check.weight})")
            out.print(Padding(escape(check.title), (0, 0, 0, 2)))
        return
    table = listing(
        "Checks, in the order in which they are run", "check", "a plug-in …", "weight", "rule", no_wrap=("check",)
    )
    for check in checks:
        table.add_row(check.name, escape(check.title), check.weight, check.rule)
    print_listing(table)


def checks_data(checks: Sequence[Check]) -> list[dict[str, Any]]:
    return [
        {
            "check": check.name,
            "title": check.title,
            "rule": check.rule,
            "rules": sentences_in(check.rule),
            "seen_in": check.seen_in,
            "needs": list(check.needs),
            "weight": check.weight.value,
        }
        for check in checks
    ]


def draw_explanation(check: Check) -> None:
    title = f"[bold]{check.name}[/]: {escape(check.title)}"
    needs = [f"Run only when these have passed: {', '.join(check.needs)}"] if check.needs else []
    weight = "What breaks it is no failure, unless --strict is given." if check.weight is Weight.WARNING else ""
    rules = "\n".join(f"{id}: {escape(sentence)}" for id, sentence in sentences_in(check.rule).items())
    paragraphs = [title, *map(escape, check.explanation), check.sources, rules, *needs, weight]
    _draw_paragraphs(console(), list(filter(None, paragraphs)))


def explanation_data(check: Check) -> dict[str, Any]:
    return checks_data([check])[0] | {"explanation": check.explanation}


def report_data(results: Sequence[Result], *, sequence: str | None = None) -> dict[str, Any]:
    """The conversation is there for checks that found something, and for the check ``sequence``."""
    counts = Counter(result.verdict for result in results)
    return {
        "summary": {verdict.value: counts[verdict] for verdict in Verdict},
        "results": [_result_data(result, result.verdict.is_broken or result.check == sequence) for result in results],
    }


def _result_data(result: Result, has_conversation: bool) -> dict[str, Any]:
    data = dataclasses.asdict(result)
    return data | {
        "verdict": result.verdict.value,
        "calls": list(result.calls),
        "conversation": list(result.conversation) if has_conversation else [],
        "blocked_by": list(result.blocked_by),
    }


def junit_text(results: Sequence[Result]) -> str:
    """A JUnit report, which CI systems can show. A check that was not run is skipped there, and so is a warning.

    The format has no warnings. A failure would fail the run, and the output of a passed test is not shown; the message
    of a skipped one is (kube-bench does the same).
    """
    counts = Counter(result.verdict for result in results)
    passed, failed = counts[Verdict.PASSED], counts[Verdict.FAILED]
    suite = ElementTree.Element(
        "testsuite",
        name="device plug-in conformance",
        tests=str(len(results)),
        failures=str(failed),
        skipped=str(len(results) - passed - failed),
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
    if result.verdict.is_broken and result.conversation:
        lines += ["What was said:", LEGEND, *result.conversation]
    evidence = "\n".join(map(printable, lines))
    match result.verdict:
        case Verdict.FAILED:
            text = f"{evidence}\n{CHECKS[result.check].remedy}"
            ElementTree.SubElement(case, "failure", message=printable(result.evidence)).text = text
        case Verdict.WARNING:
            message = f"warning: {printable(result.evidence)}"
            ElementTree.SubElement(case, "skipped", message=message)
            ElementTree.SubElement(case, "system-out").text = f"{evidence}\n{CHECKS[result.check].remedy}"
        case Verdict.SKIPPED:
            ElementTree.SubElement(case, "skipped", message=printable(result.evidence))
        case Verdict.NOT_RUN:
            ElementTree.SubElement(case, "skipped", message=f"not run: {printable(result.evidence)}")
        case Verdict.PASSED:
            ElementTree.SubElement(case, "system-out").text = evidence
