"""Times and durations as Kubernetes writes them. A time is in seconds since the epoch; nobody asks a clock here."""

from __future__ import annotations

import re
from datetime import UTC, datetime
from functools import lru_cache

_UNITS = {"ns": 1e-9, "us": 1e-6, "µs": 1e-6, "μs": 1e-6, "ms": 1e-3, "s": 1.0, "m": 60.0, "h": 3600.0}
_PART = re.compile(r"([0-9]+\.?[0-9]*|\.[0-9]+)(ns|us|µs|μs|ms|s|m|h)")
_LONGEST = 100
"""Characters of a duration; there is no use for more."""


def timestamp(time: float) -> str:
    """``2026-11-26T10:12:10Z``, as most fields have it: without fractions, which are cut off."""
    return _timestamp(int(time))


@lru_cache(maxsize=100)
def _timestamp(second: int) -> str:
    """Many pods start in one second, and each has several times in its status."""
    return datetime.fromtimestamp(second, UTC).strftime("%Y-%m-%dT%H:%M:%SZ")


def micro_timestamp(time: float) -> str:
    """``2026-11-26T10:12:10.000123Z``, as a Lease has it."""
    return datetime.fromtimestamp(time, UTC).strftime("%Y-%m-%dT%H:%M:%S.%fZ")


def parse_timestamp(text: str) -> float:
    """Either of them. Raises ValueError."""
    return datetime.fromisoformat(text).timestamp()


def parse_duration(text: str) -> float:
    """``1h30m``, ``5s`` or ``0.5s`` in seconds, as Go writes durations; none is negative. Raises ValueError."""
    parts = list(_PART.finditer(text)) if len(text) <= _LONGEST else []
    if text != "0" and (not parts or "".join(part[0] for part in parts) != text):
        raise ValueError(f"{text[:_LONGEST]!r} is not a duration; write it as 5s, 1m30s or 500ms")
    return sum(float(part[1]) * _UNITS[part[2]] for part in parts)
