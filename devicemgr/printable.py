"""Text from other programs, made safe for a terminal."""

from __future__ import annotations


def printable(text: str) -> str:
    """The text with control characters escaped as in Python, so that a terminal does not obey them."""
    if text.isprintable():  # as most are, and this is said of each text of an event
        return text
    return "".join(c if c.isprintable() else repr(c)[1:-1] for c in text)
