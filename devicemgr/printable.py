"""Text from other programs, made safe for a terminal."""

from __future__ import annotations

from collections.abc import Iterator
from unicodedata import category

MOST_MARKS = 5
"""Marks above and below one character. Hebrew and Tibetan have up to four, and very many cover the lines around."""


def printable(text: str) -> str:
    """The text with control characters escaped as in Python, so that a terminal does not obey them. Combining marks are
    escaped as well where they would be drawn on what others have written: those that have no letter to be on, and those
    that are too many on one."""
    if text.isprintable() and not _has_marks(text):  # as most are, and this is said of each text of an event
        return text
    return "".join(_safe_characters(text))


def _has_marks(text: str) -> bool:
    return not text.isascii() and any(map(_is_mark, set(text)))


def _is_mark(one: str) -> bool:
    return category(one) in ("Mn", "Me")  # those that take no place of their own


def _safe_characters(text: str) -> Iterator[str]:
    room = 0  # for marks
    for one in text:
        if not _is_mark(one):
            room = 0 if one.isascii() and not one.isalnum() else MOST_MARKS
            yield one if one.isprintable() else repr(one)[1:-1]
        elif room:
            room -= 1
            yield one
        else:
            yield ascii(one)[1:-1]
