"""The pictures of the pages are drawn from what runs: golden traces, or the table behind them."""

from __future__ import annotations

import re

import pytest

from tests.pictures import PAGES, ROOT, redrawn

DRAWN = [page for page in PAGES if "\n<!-- python -m " in page.read_text()]
BLOCK = re.compile(r"^(?:<!-- (python -m .*) -->\n)?```(\w*)\n(.*?)^```$", re.MULTILINE | re.DOTALL)
LINES = set("│└├┐┘┌┤─▶◀▼▲")
BY_HAND = {
    "devicemgr/cluster/README.md": "which programs there are, and who speaks to whom: no run of them",
    "devicemgr/rules/README.md": "two of its three columns are outside of the manager, where nothing is recorded",
    "devicemgr/rules/allocation.md": "all ways that a decision may take: a run takes one of them, as `explain` shows",
    "devicemgr/rules/api.md": "which sockets and calls there are: no run of them",
    "devicemgr/rules/container-start.md": "all ways that a start may take: a run takes one of them",
    "devicemgr/rules/health.md": "what the kubelet does with a change, outside of the manager",
    "devicemgr/rules/registration.md": "the two ways in, of which a plug-in takes one",
    "devicemgr/rules/topology.md": "a calculation; tests/core/topology/test_policy.py makes it, too",
}
"""Why a page has a picture that no command draws: one."""


def pictures(text):
    """Each with the command that draws it, if there is one. What a ``console`` block shows is compared elsewhere."""
    for command, kind, body in BLOCK.findall(text):
        if kind == "mermaid" or (not kind and LINES & set(body)):
            yield command, body


@pytest.mark.parametrize("page", DRAWN, ids=lambda page: str(page.relative_to(ROOT)))
def test_a_page_shows_what_is_drawn(page):
    assert redrawn(page.read_text()) == page.read_text(), "python -m tests.pictures draws it again"


def test_every_other_picture_has_a_reason():
    by_hand = [
        str(page.relative_to(ROOT)) for page in PAGES for command, _ in pictures(page.read_text()) if not command
    ]
    assert sorted(by_hand) == sorted(BY_HAND)


def test_what_a_view_can_draw_is_drawn_by_it():
    for page in PAGES:
        for command, body in pictures(page.read_text()):
            assert command or not body.startswith(("sequenceDiagram", "stateDiagram", "run\n")), page


def test_a_picture_that_shows_something_else_is_drawn_again():
    command = "<!-- python -m devicemgr sequence tests/traces/list-fails-at-once.trace -o mermaid -->\n```mermaid\n"
    wrong = f"# A page\n\n{command}sequenceDiagram\n    A->>B: no\n```\n\nMore.\n"
    right = redrawn(wrong)
    assert right.startswith(f"# A page\n\n{command}sequenceDiagram\n    participant L0 as p.sock")
    assert right.endswith("\n```\n\nMore.\n")
    assert "A->>B" not in right
