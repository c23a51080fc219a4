"""What GitHub Actions shows of a run: an annotation for each failure and warning, and a summary of the step."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from pathlib import Path

import click

from ...printable import printable
from ...testing.conformance import CHECKS, Result, Verdict
from .report import summary_line


def report_to_github(results: Sequence[Result], environ: Mapping[str, str] = os.environ) -> None:
    """Does nothing outside GitHub Actions. Raises OSError if the summary cannot be written."""
    if environ.get("GITHUB_ACTIONS") != "true":
        return
    for result in results:
        if result.verdict.is_broken:
            click.echo(annotation(result), err=True)
    if path := environ.get("GITHUB_STEP_SUMMARY"):
        with Path(path).open("a", encoding="utf-8") as file:
            file.write(summary(results))


def annotation(result: Result) -> str:
    """A workflow command: the message is one line, and the characters that would end it or a property are escaped."""
    kind = "warning" if result.verdict is Verdict.WARNING else "error"
    title = _escaped(f"device plug-in check {result.check}").replace(":", "%3A").replace(",", "%2C")
    message = f"{result.title}\nFound: {printable(result.evidence)}\n{CHECKS[result.check].remedy}"
    return f"::{kind} title={title}::{_escaped(message)}"


def summary(results: Sequence[Result]) -> str:
    """Markdown."""
    lines = ["### Device plug-in conformance", "", summary_line(results)]
    for verdict in (Verdict.FAILED, Verdict.WARNING):
        if not (broken := [result for result in results if result.verdict is verdict]):
            continue
        lines += ["", f"| {verdict} | a plug-in … | found | fix |", "|---|---|---|---|"]
        for result in broken:
            remedy = CHECKS[result.check].remedy.removeprefix("Fix: ")
            cells = [result.check, result.title, result.evidence, remedy]
            lines.append("| " + " | ".join(map(_cell, cells)) + " |")
    return "\n".join(lines) + "\n"


def _cell(text: str) -> str:
    """A cell of a table: what the plug-in said is text there, and not markup."""
    return "".join(f"&#{ord(c)};" if c in "&<>|`*_[]\\~#@!" else c for c in printable(text))


def _escaped(text: str) -> str:
    return text.replace("%", "%25").replace("\r", "%0D").replace("\n", "%0A")
