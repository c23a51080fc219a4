"""Which failures pass, and how long one waits."""

from __future__ import annotations

import pytest

from devicemgr.cluster.api.answers import error_of_status
from devicemgr.cluster.api.retries import (
    FIRST_DELAY,
    LONGEST_RETRY_AFTER,
    MAX_DELAY,
    Backoff,
    is_down,
    is_expired,
    needs_somebody,
    passes,
    retry_after,
)
from devicemgr.errors import ApiError, ApiUnreachable, ApiUntrusted, CredentialsUnavailable


@pytest.mark.parametrize(
    ("code", "reason", "does_pass", "down", "expired"),
    [
        (400, "BadRequest", False, False, False),
        (401, "Unauthorized", True, True, False),
        (403, "Forbidden", False, False, False),
        (404, "NotFound", False, False, False),
        (409, "Conflict", False, False, False),
        (410, "Expired", False, False, True),
        (410, "", False, False, True),
        (500, "Expired", True, False, True),
        (422, "Invalid", False, False, False),
        (429, "TooManyRequests", True, False, False),
        (500, "InternalError", True, False, False),
        (502, "", True, True, False),
        (503, "ServiceUnavailable", True, True, False),
        (504, "Timeout", True, True, False),
    ],
)
def test_what_a_refusal_means(code, reason, does_pass, down, expired):
    failure = ApiError(code, reason, "why")
    assert (passes(failure), is_down(failure), is_expired(failure)) == (does_pass, down, expired)


@pytest.mark.parametrize(
    ("failure", "needs"),
    [
        (ApiError(401, "Unauthorized", "who?"), True),
        (ApiUntrusted("another authority"), True),
        (CredentialsUnavailable("not logged in"), True),
        (ApiError(403, "Forbidden", "no"), False),
        (ApiUnreachable("nobody"), False),
    ],
    ids=str,
)
def test_what_stays_until_somebody_changes_who_we_are_or_whom_we_trust(failure, needs):
    assert needs_somebody(failure) is needs


def test_nobody_may_be_somebody_later():
    failure = ApiUnreachable("nobody")
    assert (passes(failure), is_down(failure), is_expired(failure)) == (True, True, False)


@pytest.mark.parametrize(
    ("value", "date", "seconds"),
    [
        (None, None, None),
        ("", None, None),
        ("0", None, 0),
        ("17", None, 17),
        (" 17 ", None, 17),
        ("-5", None, None),
        ("1.5", None, None),
        ("soon", "Wed, 21 Oct 2015 07:28:00 GMT", None),
        ("Wed, 21 Oct 2015 07:28:30 GMT", None, None),
        ("Wed, 21 Oct 2015 07:28:30 GMT", "Wed, 21 Oct 2015 07:28:00 GMT", 30),
        ("Wed, 21 Oct 2015 07:28:30 GMT", "Wed, 21 Oct 2015 07:29:00 GMT", 0),
        ("Wed, 21 Oct 2015 07:28:30 GMT", "yesterday", None),
        ("Wed, 21 Oct 2015 07:28:30 GMT", "Wed, 21 Oct 2015 07:28:00 -0000", None),
    ],
)
def test_the_time_that_a_server_asks_for(value, date, seconds):
    assert retry_after(value, date=date) == seconds


def test_each_pause_is_up_to_twice_as_long_as_the_one_before_until_the_longest():
    backoff, delays = Backoff(), []
    assert backoff.delay(0.99) == 0
    for _ in range(2000):
        backoff = backoff.failed()
        delays.append((backoff.delay(0.0), backoff.delay(1.0)))
    assert delays[0] == (FIRST_DELAY / 2, FIRST_DELAY)
    assert delays[1] == (FIRST_DELAY, 2 * FIRST_DELAY)
    assert delays[-1] == (MAX_DELAY / 2, MAX_DELAY)
    assert all(low <= high <= MAX_DELAY for low, high in delays)


def test_the_time_that_a_server_asks_for_goes_first_and_is_exceeded_by_chance():
    backoff = Backoff(3)
    assert backoff.delay(0.0, retry_after=5) == 5
    assert 5 < backoff.delay(0.5, retry_after=5) < 6
    assert backoff.delay(0.0, retry_after=10**9) == LONGEST_RETRY_AFTER


@pytest.mark.parametrize(
    ("status", "code", "reason", "message", "seconds"),
    [
        ({"code": 409, "reason": "Conflict", "message": "changed"}, 409, "Conflict", "changed", None),
        ({"code": 429, "details": {"retryAfterSeconds": 3}}, 429, "", "it does not say why", 3),
        ({"details": {"retryAfterSeconds": 0}}, 500, "", "it does not say why", None),
        ({"reason": ["Conflict"], "code": "409"}, 500, "", "it does not say why", None),
        (None, 500, "", "it does not say why", None),
        ([], 500, "", "it does not say why", None),
    ],
)
def test_a_status_as_an_error(status, code, reason, message, seconds):
    error = error_of_status(status)
    assert (error.code, error.reason, error.message, error.retry_after) == (code, reason, message, seconds)


def test_what_http_says_counts_more_than_what_is_inside():
    error = error_of_status({"code": 500, "details": {"retryAfterSeconds": 3}}, code=429, retry_after=7)
    assert (error.code, error.retry_after) == (429, 7)
