"""A picture as SVG: one file without scripts, fonts or images, which follows the reader's choice of dark or light."""

from __future__ import annotations

import textwrap
from collections.abc import Iterator
from html import escape

from .drawing import Arrow, Drawing
from .items import MANAGER, Lifeline, Note

_COLUMN = 320
"""Pixels from one lifeline to the next."""
_ROW = 34
_LINE = 15
"""Pixels from one line of a label to the next."""
_MOST_LINES = 3
"""Of a label. A longer one is cut; the whole text is its tooltip."""
_MARGIN = 140
"""Pixels at both sides: for half of a label at the first and at the last lifeline."""
_TOP = 70
_WIDTH = 42
"""Characters that fit between two lifelines."""
_NOTE_WIDTH = 35
"""The same of a note, which also fits between the last lifeline and the margin."""
_GAP = 20
"""Pixels around the times, which have a column at the left."""
_BOX = "box: what the manager did by itself"

_STYLE = """
  svg { color-scheme: light dark; font: 12px ui-monospace, monospace; background: #fff; color: #222; }
  text { fill: currentColor; text-anchor: middle; }
  .legend { opacity: .7; }
  .name { font-weight: bold; }
  .time { text-anchor: end; opacity: .7; }
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
    """The whole file."""
    return "".join(f"{line}\n" for line in _lines(drawing))


def _lines(drawing: Drawing) -> Iterator[str]:
    times = 8 * max((len(drawing.when(arrow)) for arrow in drawing.arrows), default=0)
    left = _MARGIN + (times + _GAP if times else 0)
    places = {lifeline: left + _COLUMN * index for index, lifeline in enumerate(drawing.lifelines)}
    width = left + _MARGIN + _COLUMN * (len(places) - 1) + (_MARGIN if len(places) == 1 else 0)
    rows = [_Row(arrow, places, drawing.when(arrow), times + _GAP // 2) for arrow in drawing.arrows]
    meaning = (*drawing.legend, _BOX, *_failed_legend(drawing))
    legend = _wrapped(" · ".join(meaning), width // 8, lines=_MOST_LINES)
    first = _TOP + (_ROW if drawing.left_out else 0)
    end = first + sum(row.height for row in rows) + _ROW
    height = end + _LINE * len(legend)
    yield (
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {width} {height}" width="{width}" height="{height}" '
        'aria-label="sequence diagram">'
    )
    yield f"<style>{_STYLE}</style>"
    yield (
        '<defs><marker id="head" viewBox="0 0 8 8" refX="8" refY="4" markerWidth="8" markerHeight="8" orient="auto">'
        '<path d="M0,0 L8,4 L0,8 z" class="head"/></marker></defs>'
    )
    for lifeline, x in places.items():
        yield f'<line class="life" x1="{x}" y1="{_TOP - 20}" x2="{x}" y2="{end - 20}"/>'
        yield from _heading(lifeline, x)
    if drawing.left_out:
        yield from _text(width // 2, _TOP + 4, [drawing.left_out])
    y = first
    for row in rows:
        y += row.height
        yield from row.drawn(y - 10)
    yield from _text(width // 2, height - 10, legend, kind="legend")
    yield "</svg>"


def _failed_legend(drawing: Drawing) -> Iterator[str]:
    if any(arrow.failed for arrow in drawing.arrows):
        yield "red: a failure, or a warning"


def _heading(lifeline: Lifeline, x: int) -> Iterator[str]:
    yield from _text(x, 24, _wrapped(lifeline.name, _WIDTH, lines=1), kind="name", whole=lifeline.name)
    if lifeline.resource:
        yield from _text(x, 42, _wrapped(lifeline.resource, _WIDTH, lines=1), whole=lifeline.resource)


class _Row:
    """An arrow with its label above it, or a note. ``height`` follows from the lines of the label.

    For those who hear the picture a row is one image with a text: who says it to whom is nowhere else in words.
    """

    def __init__(self, arrow: Arrow, places: dict[Lifeline, int], when: str, end_of_times: int) -> None:
        self._arrow = arrow
        self._when, self._end_of_times = when, end_of_times
        if isinstance(arrow, Note):
            self._begin = self._end = places[MANAGER]
            longest = _NOTE_WIDTH
        else:
            self._begin, self._end = places[arrow.source], places[arrow.target]
            longest = _WIDTH * max(1, abs(self._begin - self._end) // _COLUMN)
        self._words = arrow.sentence if isinstance(arrow, Note) else arrow.text
        self._label = _wrapped(self._words, longest, lines=_MOST_LINES)
        self.height = _ROW + _LINE * (len(self._label) - 1)

    def drawn(self, y: int) -> Iterator[str]:
        yield f'<g role="img" aria-label="{escape(self._in_words())}">'
        if self._when:
            yield from _text(self._end_of_times, y, [self._when], kind="time")
        yield from self._picture(y)
        yield "</g>"

    def _in_words(self) -> str:
        arrow, when = self._arrow, f"{self._when}, " if self._when else ""
        who = MANAGER.label if isinstance(arrow, Note) else f"{arrow.source.label} to {arrow.target.label}"
        return f"{when}{who}: {self._words}{', which is a failure or a warning' if arrow.failed else ''}"

    def _picture(self, y: int) -> Iterator[str]:
        arrow, x, lines = self._arrow, (self._begin + self._end) // 2, self._label
        failed = " failed" if arrow.failed else ""
        if isinstance(arrow, Note):
            wide, high = max(7.4 * max(map(len, lines)) + 16, 80), 24 + _LINE * (len(lines) - 1)
            top = y + 7 - high
            yield f'<rect class="note{failed}" x="{x - wide / 2:g}" y="{top}" width="{wide:g}" height="{high}" rx="4"/>'
            yield from _text(x, y, lines, kind=failed.strip(), whole=self._words)
            return
        kind = "reply" if arrow.is_reply else "call"
        ends = f'x1="{self._begin}" y1="{y}" x2="{self._end}" y2="{y}"'
        yield f'<line class="{kind}{failed}" {ends} marker-end="url(#head)"/>'
        yield from _text(x, y - 5, lines, kind=failed.strip(), whole=self._words)


def _wrapped(words: str, longest: int, *, lines: int) -> list[str]:
    return textwrap.wrap(words, longest, max_lines=lines, placeholder="…", break_on_hyphens=False) or [""]


def _text(x: int, y: int, lines: list[str], *, kind: str = "", whole: str = "") -> Iterator[str]:
    """``y`` is that of the last line. If the end of ``whole`` is cut off, it is a tooltip."""
    style = f' class="{kind}"' if kind else ""
    title = f"<title>{escape(whole)}</title>" if lines[-1].endswith("…") else ""
    for number, line in enumerate(lines, start=1):
        yield f'<text x="{x}" y="{y - _LINE * (len(lines) - number)}"{style}>{title}{escape(line)}</text>'
