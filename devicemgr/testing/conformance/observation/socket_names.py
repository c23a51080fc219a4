"""Which socket names contain the time in seconds: two processes started within one second would have the same."""

from __future__ import annotations

import re
from collections.abc import Iterable
from datetime import UTC, datetime

_DAY = 86_400
"""Seconds. A number of ten digits that is further from the time than this is something else."""
_ZONES = 900
"""Seconds. The times of day in any two time zones differ by a multiple of it."""
_EARLIER = 120
"""How many seconds a name may be older than its registration."""
_LATER = 5
_SECONDS = r"(?<!\d)\d{10}(?!\d)"
_HEX_SECONDS = r"(?<![0-9a-zA-Z])[0-9a-f]{8}(?![0-9a-zA-Z])"
_DATE = r"\d{4}-?\d\d-?\d\d"
_TIME_OF_DAY = rf"(?<!\d)(?:{_DATE}[-_.:T]?)?([01]\d|2[0-3])[-_.:]?([0-5]\d)[-_.:]?([0-5]\d)(?!\d)"
_SECOND = re.compile(f"(?P<decimal>{_SECONDS})|(?P<day>{_TIME_OF_DAY})|(?P<hex>{_HEX_SECONDS})")


def differ_by_timestamp_only(registered: Iterable[tuple[str, float]]) -> bool:
    """Do the names of these registrations differ by the time in them only?

    Each is a name with the time of its registration, in seconds since the epoch. Of one registration alone it is not
    known what else would differ, so a time in its name is enough. A false alarm costs a second of waiting; a miss makes
    a plug-in create its socket twice, and the end of its old server delete the new one.
    """
    names = list(registered)
    rests = {_without_timestamp(name, time) for name, time in names}
    return len(rests) == 1 and rests != {name for name, _ in names}


def _without_timestamp(name: str, time: float) -> str:
    return _SECOND.sub(lambda found: "*" if _is_timestamp_of(found, time) else found[0], name)


def _is_timestamp_of(found: re.Match[str], time: float) -> bool:
    """Is this the time in the name?"""
    if found["decimal"] is not None:
        return abs(int(found["decimal"]) - time) < _DAY
    if found["hex"] is not None:
        return abs(int(found["hex"], 16) - time) < _DAY
    hour, minute, second = map(int, found.groups()[2:5])
    now = datetime.fromtimestamp(time, UTC)
    of_day = now.hour * 3600 + now.minute * 60 + now.second
    age = (of_day - (hour * 3600 + minute * 60 + second) + _LATER) % _ZONES
    return age <= _EARLIER + _LATER
