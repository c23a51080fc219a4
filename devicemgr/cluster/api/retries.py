"""After which failure a request is made again, and when.

Pure: time and chance come in as arguments.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from email.utils import parsedate_to_datetime

from ...errors import ApiError, ApiUnreachable, ApiUntrusted, CredentialsUnavailable

FIRST_DELAY = 0.2
"""Seconds before the first repetition: an API server that restarts on the same machine is away for about that long."""
MAX_DELAY = 30.0
"""Seconds: the longest pause between two tries, as that of client-go's reflector."""
LASTING = 10.0
"""Seconds for which it is nothing to speak of that a server is too busy for a request, or fails it: a server that
starts does both."""
LONGEST_RETRY_AFTER = 300.0
"""Seconds: a server, or a proxy, that asks for more is asked again after this time."""

Failure = ApiError | ApiUnreachable

_PASSES = frozenset({401, 408, 425, 429, 500, 502, 503, 504})


def passes(failure: Failure) -> bool:
    """Can the same request succeed later? A refusal cannot: 403, 404, 409 and 422 are for the caller to decide on.

    A 401 can: somebody who replaces credentials may be late.
    """
    return isinstance(failure, ApiUnreachable) or failure.code in _PASSES


def is_down(failure: Failure) -> bool:
    """Can nothing be asked at the moment, whatever it is?"""
    return isinstance(failure, ApiUnreachable) or failure.code in (401, 502, 503, 504)


def concerns_one_request(failure: Failure) -> bool:
    """Is the server there, and only this request fails, which may pass? A webhook may fail it, and a quota."""
    return passes(failure) and not is_down(failure)


def needs_somebody(failure: Failure) -> bool:
    """Does it stay as it is until somebody changes who we are to the server (401), or whom we trust?"""
    if isinstance(failure, ApiError):
        return failure.code == 401
    return isinstance(failure, ApiUntrusted | CredentialsUnavailable)


def is_expired(failure: Failure) -> bool:
    """Has the server forgotten the version, or the page of a list, that it was asked for?"""
    return isinstance(failure, ApiError) and (failure.code == 410 or failure.reason in ("Expired", "Gone"))


@dataclass(frozen=True, slots=True)
class Backoff:
    """The pauses between tries: each twice as long as the one before, up to ``MAX_DELAY``, and shortened by chance, so
    that many clients of one server do not come back at the same moment."""

    failures: int = 0

    def failed(self) -> Backoff:
        """After one more failure."""
        return replace(self, failures=self.failures + 1)

    def delay(self, chance: float, *, retry_after: float | None = None) -> float:
        """Seconds until the next try; ``chance`` is in [0, 1). The server's own wish goes first, and it is exceeded by
        chance instead."""
        # Two to the power of a thousand is a number, and of two thousand none.
        longest = min(MAX_DELAY, FIRST_DELAY * 2 ** min(self.failures - 1, 20)) if self.failures else 0.0
        if retry_after is not None:
            return min(retry_after, LONGEST_RETRY_AFTER) + chance * max(longest, FIRST_DELAY)
        return longest * (1 + chance) / 2


def retry_after_of(failure: Failure) -> float | None:
    """The seconds for which the server has asked to be left alone, if it has."""
    return failure.retry_after if isinstance(failure, ApiError) else None


def retry_after(value: str | None, *, date: str | None) -> float | None:
    """The seconds that the header Retry-After asks for: a number, or a date.

    A date is read by the server's own clock, as the header Date of the same answer tells it, and never by ours. None if
    the header is not there or cannot be read.
    """
    if not value:
        return None
    if value.strip().isascii() and value.strip().isdigit():
        return float(value)
    try:
        if date is None:
            return None
        return max(0.0, (parsedate_to_datetime(value) - parsedate_to_datetime(date)).total_seconds())
    except (ValueError, TypeError):
        return None
