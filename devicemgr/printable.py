"""Text made fit for a terminal: safe, if it is from other programs, and folded."""

from __future__ import annotations

import textwrap

_NARROWEST = 20
"""Characters beside an indentation; on a narrower terminal lines are not folded."""


def printable(text: str) -> str:
    """The text with control characters escaped as in Python, so that a terminal does not obey them."""
    if text.isprintable():  # as most are, and this is said of each text of an event
        return text
    return "".join(c if c.isprintable() else repr(c)[1:-1] for c in text)


def folded(line: str, columns: int | None, *, indent: int = 0) -> list[str]:
    """A line in as many as it needs on a terminal with so many columns, all but the first one indented. It stays one
    where there is no terminal (None): in a file or a pipe, one line is one thing, for grep."""
    if columns is None or len(line) <= columns or columns < indent + _NARROWEST:
        return [line]
    return textwrap.wrap(line, columns, subsequent_indent=" " * indent, break_on_hyphens=False)
