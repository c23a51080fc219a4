"""A picture as SVG: one file without scripts, fonts or images, which follows the reader's choice of dark or light."""

from __future__ import annotations

from collections.abc import Iterator
from html import escape

from .drawing import Arrow, Drawing
from .items import MANAGER, Lifeline, Note

_COLUMN = 320
"""Pixels from one lifeline to the next."""
_ROW = 34
_MARGIN = 140
"""Pixels at both sides: for half of a label at the first and at the last lifeline."""
_TOP = 70
_WIDTH = 54
"""Characters that fit between two lifelines. A longer label is cut; the whole text is its tooltip."""

_STYLE = """
  svg { color-scheme: light dark; font: 12px ui-monospace, monospace; background: #fff; color: #222; }
  text { fill: currentColor; text-anchor: middle; }
  .name { font-weight: bold; }
  .life { stroke: currentColor; opacity: .35; stroke-dasharray: 2 4; }
  .call, .reply { stroke: currentColor; fill: none; }
  .reply { stroke-dasharray: 6 4; }
  .failed { stroke: #c22; }
  text.failed { fill: #c22; stroke: none; }
  .note { fill: #8883; stroke: currentColor; stroke-opacity: .4; }
  .head { fill: currentColor; }
  @media (prefers-color-scheme: dark) {
    svg { background: #16181d; color: #ddd; } .failed { stroke: #f77; } text.failed { fill: #f77; }
  }
"""


def svg(drawing: Drawing) -> str:
    return "".join(f"{line}\n" for line in _lines(drawing))


def _lines(drawing: Drawing) -> Iterator[str]:
    places = {lifeline: _MARGIN + _COLUMN * index for index, lifeline in enumerate(drawing.lifelines)}
    width = 2 * _MARGIN + _COLUMN * (len(places) - 1) + (_MARGIN if len(places) == 1 else 0)
    first = _TOP + (_ROW if drawing.left_out else 0)
    height = first + _ROW * (len(drawing.arrows) + 1)
    yield (
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {width} {height}" width="{width}" height="{height}" '
        'role="img" aria-label="sequence diagram">'
    )
    yield f"<style>{_STYLE}</style>"
    yield (
        '<defs><marker id="head" viewBox="0 0 8 8" refX="8" refY="4" markerWidth="8" markerHeight="8" orient="auto">'
        '<path d="M0,0 L8,4 L0,8 z" class="head"/></marker></defs>'
    )
    for lifeline, x in places.items():
        yield f'<line class="life" x1="{x}" y1="{_TOP - 20}" x2="{x}" y2="{height - 10}"/>'
        yield from _heading(lifeline, x)
    if drawing.left_out:
        yield _text(width // 2, _TOP + 4, drawing.left_out, longest=200)
    for row, arrow in enumerate(drawing.arrows, start=1):
        yield from _drawn(arrow, first + _ROW * row - 10, places)
    yield "</svg>"


def _heading(lifeline: Lifeline, x: int) -> Iterator[str]:
    yield _text(x, 24, lifeline.name, kind="name", longest=_WIDTH - 14)
    if lifeline.resource:
        yield _text(x, 42, lifeline.resource, longest=_WIDTH - 14)


def _drawn(arrow: Arrow, y: int, places: dict[Lifeline, int]) -> Iterator[str]:
    failed = " failed" if arrow.failed else ""
    if isinstance(arrow, Note):
        x, wide = places[MANAGER], min(max(7.4 * min(len(arrow.text), _WIDTH) + 16, 80), 2 * _MARGIN + 120)
        yield f'<rect class="note{failed}" x="{x - wide / 2:g}" y="{y - 17}" width="{wide:g}" height="24" rx="4"/>'
        yield _text(x, y, arrow.text, kind=failed.strip(), longest=_WIDTH)
        return
    begin, end = places[arrow.source], places[arrow.target]
    columns = max(1, abs(begin - end) // _COLUMN)
    kind = "reply" if arrow.is_reply else "call"
    yield f'<line class="{kind}{failed}" x1="{begin}" y1="{y}" x2="{end}" y2="{y}" marker-end="url(#head)"/>'
    yield _text((begin + end) // 2, y - 5, arrow.text, kind=failed.strip(), longest=(_WIDTH - 12) * columns)


def _text(x: int, y: int, words: str, *, kind: str = "", longest: int) -> str:
    style = f' class="{kind}"' if kind else ""
    shown = words if len(words) <= longest else f"{words[: longest - 1]}…"
    whole = f"<title>{escape(words)}</title>" if shown != words else ""
    return f'<text x="{x}" y="{y}"{style}>{whole}{escape(shown)}</text>'
