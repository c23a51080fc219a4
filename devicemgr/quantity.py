"""Kubernetes quantities, as ``2``, ``2000m`` and ``16Gi``: those of indivisible resources are whole numbers."""

from __future__ import annotations

import re
from fractions import Fraction
from functools import lru_cache

LARGEST = 2**63 - 1
_FORM = re.compile(r"([+-]?(?:[0-9]+\.?[0-9]*|\.[0-9]+))(?:[eE]([+-]?[0-9]{1,3})|([KMGTPE]i|[numkMGTPE]))?")
_LONGEST = 100
"""Characters that a number may have; a longer one is larger, or finer, than any valid one."""
_SUFFIXES = {
    **{suffix: Fraction(1024) ** power for power, suffix in enumerate(("Ki", "Mi", "Gi", "Ti", "Pi", "Ei"), 1)},
    **{
        suffix: Fraction(1000) ** power
        for power, suffix in enumerate(("n", "u", "m", "", "k", "M", "G", "T", "P", "E"), -3)
    },
}


def amount(text: str) -> Fraction:
    """The number in any quantity. Raises ValueError with the reason."""
    return _amount(text, "a number as 2, 500m or 16Gi")


def whole_number(text: str) -> int:
    """The number in a quantity that the API server accepts for an extended resource (ALLOC-4): ``2k``, but not ``1.5``.

    Raises ValueError with the reason.
    """
    shown = _shown(text)
    value = _amount(text, "a whole number of devices")
    if value < 0:
        raise ValueError(f"{shown} is negative; must be greater than or equal to 0")
    if value.denominator != 1:
        raise ValueError(f"{shown} is not a whole number; devices cannot be divided")
    if value > LARGEST:
        raise ValueError(f"{shown} is larger than any node: at most {LARGEST}")
    return int(value)


@lru_cache(maxsize=1000)
def _amount(text: str, wanted: str) -> Fraction:
    """Nodes and pods have the same few quantities again and again."""
    match = _FORM.fullmatch(text)
    if match is None:
        raise ValueError(f"{_shown(text)!r} is not a quantity; write {wanted}")
    number, exponent, suffix = match.groups()
    if len(number) > _LONGEST:
        raise ValueError(f"{_shown(text)} has more digits than any node has devices: at most {LARGEST}")
    return Fraction(number) * (Fraction(10) ** int(exponent) if exponent else _SUFFIXES[suffix or ""])


def _shown(text: str) -> str:
    return text if len(text) <= _LONGEST else f"{text[:20]}… ({len(text):,} characters)"
