"""The testing page's table of the plug-ins met is what ``python -m tests.interop.met`` makes, but for the figures."""

from __future__ import annotations

import re
from pathlib import Path

from .checking import ROOT, Said
from .met import HEADER, LEARNT, NAMES, UNKNOWN, row_of
from .plugins_met import GRPCIO


def rows():
    lines = (ROOT / "devicemgr/testing/README.md").read_text().splitlines()
    begin = next(number for number, line in enumerate(lines) if line.startswith("| plug-in |"))
    table = [line for line in lines[begin:] if line][: 2 + len(NAMES)]
    return [[cell.strip() for cell in line.strip("|").split("|")] for line in table]


def test_the_page_has_the_rows_that_the_command_makes():
    header, rule, *table = rows()
    assert tuple(header) == HEADER
    assert set(rule) == {"---"}
    assert tuple(row[0] for row in table) == NAMES
    assert {row[0]: row[-1] for row in table} == LEARNT
    for row in table:
        for figure in row[1:-1]:
            assert re.fullmatch(rf"[0-9]+|{UNKNOWN}", figure), row


def test_a_row_tells_what_was_said():
    def checked(tree):
        verdicts = ["passed", "passed", "failed", "warning", "skipped"]
        results = {str(number): {"verdict": verdict} for number, verdict in enumerate(verdicts)}
        return Said(status=1, results=results, seconds=12.4 if tree == ROOT else 60)

    row = row_of(GRPCIO.name, checked, Path("earlier"))
    assert row == f"| {GRPCIO.name} | 2 | 1 | 1 | 1 | 12 | 60 | {GRPCIO.learnt} |"


def test_what_an_earlier_revision_could_not_do_has_no_seconds(capsys):
    def checked(tree):
        assert tree == ROOT, "no such option"
        return Said(status=0, results={}, seconds=1)

    assert row_of(GRPCIO.name, checked, Path("earlier")).split(" | ")[5:7] == ["1", UNKNOWN]
    assert "no such option" in capsys.readouterr().err
