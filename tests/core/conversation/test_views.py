"""The views of golden traces, as golden files in ``views/``: ``pytest tests/core/conversation --rewrite-traces`` writes
them anew; read the difference before you commit it."""

from __future__ import annotations

from pathlib import Path
from xml.etree import ElementTree

import pytest

from devicemgr.core.conversation.drawing import drawing_of
from devicemgr.core.conversation.mermaid import mermaid
from devicemgr.core.conversation.svg import svg
from devicemgr.core.conversation.text import line_of
from devicemgr.input.trace_file import read_trace
from tests.core.conversation.told import told

VIEWS = Path(__file__).parent / "views"
TRACES = sorted((Path(__file__).parents[2] / "traces").glob("*.trace"))
DRAWN = {"options-come-from-the-plugin", "registration-newest-wins"}
"""Those that are drawn as SVG, too: it is long, and differs in the same places as the others."""


def items_of(path):
    lines = read_trace(path.read_text().splitlines(), file=path.name)
    return told([line.event for line in lines if line.event is not None])


def text(items):
    return "".join(f"{line_of(item, since=None)}\n" for item in items)


RENDER = {
    "txt": text,
    "mmd": lambda items: mermaid(drawing_of(items)),
    "svg": lambda items: svg(drawing_of(items)),
}


@pytest.mark.parametrize("kind", RENDER)
@pytest.mark.parametrize("path", TRACES, ids=lambda path: path.stem)
def test_view_of_a_golden_trace(path, kind, request):
    if kind == "svg" and path.stem not in DRAWN:
        ElementTree.fromstring(svg(drawing_of(items_of(path))))  # well formed
        return
    golden = VIEWS / f"{path.stem}.{kind}"
    got = RENDER[kind](items_of(path))
    if request.config.getoption("--rewrite-traces"):
        golden.write_text(got)
    assert got == golden.read_text()


def test_every_golden_view_has_its_trace():
    assert {path.stem for path in VIEWS.iterdir()} == {path.stem for path in TRACES}
