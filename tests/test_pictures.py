"""The pictures of the pages that are sequence diagrams are what ``sequence`` draws of golden traces."""

from __future__ import annotations

import re

import pytest

from tests.pictures import PAGES, ROOT, redrawn

DRAWN = [page for page in PAGES if "<!-- python -m devicemgr sequence" in page.read_text()]
CONSOLE = re.compile(r"^```console\n.*?^```$", re.MULTILINE | re.DOTALL)


@pytest.mark.parametrize("page", DRAWN, ids=lambda page: str(page.relative_to(ROOT)))
def test_a_page_shows_what_is_drawn(page):
    assert redrawn(page.read_text()) == page.read_text(), "python -m tests.pictures draws it again"


def test_every_sequence_diagram_is_drawn_from_a_trace():
    for page in PAGES:
        text = CONSOLE.sub("", page.read_text())
        assert text.count("sequenceDiagram") == len(
            re.findall(r"^<!-- python -m devicemgr sequence .* -o mermaid -->$", text, re.M)
        )


def test_a_picture_that_shows_something_else_is_drawn_again():
    command = "<!-- python -m devicemgr sequence tests/traces/list-fails-at-once.trace -o mermaid -->\n```mermaid\n"
    wrong = f"# A page\n\n{command}sequenceDiagram\n    A->>B: no\n```\n\nMore.\n"
    right = redrawn(wrong)
    assert right.startswith(f"# A page\n\n{command}sequenceDiagram\n    participant L0 as p.sock")
    assert right.endswith("\n```\n\nMore.\n")
    assert "A->>B" not in right
