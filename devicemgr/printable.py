"""Texts that others have chosen."""

from __future__ import annotations


def printable(text: str) -> str:
    """The text without what a terminal would obey: control characters as Python writes them."""
    return "".join(c if c.isprintable() else repr(c)[1:-1] for c in text)
