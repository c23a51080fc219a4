"""Long lines on a terminal."""

from __future__ import annotations

import textwrap

_NARROWEST = 20
"""Characters beside an indentation; on a narrower terminal lines are not folded."""


def folded(line: str, columns: int | None, *, indent: int = 0) -> list[str]:
    """A line in as many as it needs on a terminal with so many columns, all but the first one indented. It stays one
    where there is no terminal (None): in a file or a pipe, one line is one thing, for grep."""
    if columns is None or len(line) <= columns or columns < indent + _NARROWEST:
        return [line]
    words = line.lstrip(" ")
    blanks = line[: len(line) - len(words)]
    # Blanks that are part of the text are dropped where the first word does not fit beside them.
    return textwrap.wrap(
        words, columns, initial_indent=blanks, subsequent_indent=" " * indent, break_on_hyphens=False
    ) or [line]
