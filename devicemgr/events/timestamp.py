"""When something was, as text."""

from __future__ import annotations

from datetime import UTC, datetime

MAX_TIMESTAMP = 253_370_764_800.0
"""The last time that is formatted, in seconds since the epoch: the beginning of the year 9999. Later ones are shown as
this one; in JSON they are numbers.
"""


def timestamp(seconds: float) -> str:
    """``2026-11-24T02:13:24.123Z``"""
    return (
        datetime.fromtimestamp(min(seconds, MAX_TIMESTAMP), UTC)
        .isoformat(timespec="milliseconds")
        .replace("+00:00", "Z")
    )
