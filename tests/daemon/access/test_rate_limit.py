"""The token bucket."""

from __future__ import annotations

import pytest

from devicemgr.daemon.access.rate_limit import TokenBucket


def test_a_bucket_is_full_at_the_start():
    bucket = TokenBucket(rate=100, burst=10)
    assert [bucket.take(now=1000) for _ in range(11)] == [True] * 10 + [False]
    assert not bucket.take(now=1000.005), "half a token is none"
    assert bucket.take(now=1000.011)
    assert sum(bucket.take(now=5000) for _ in range(50)) == 10, "it is never more than full"


def test_reserved_tokens_form_a_queue():
    bucket = TokenBucket(rate=2.0, burst=2)
    assert [bucket.reserve(now=5.0) for _ in range(4)] == [0.0, 0.0, 0.5, 1.0]
    assert bucket.reserve(now=6.0) == 0.5


def test_take_or_wait_says_how_long_to_wait():
    bucket = TokenBucket(rate=2.0, burst=1)
    assert [bucket.take_or_wait(now=now) for now in (5.0, 5.0, 5.25, 5.5)] == [0.0, 0.5, 0.25, 0.0]
    bucket = TokenBucket(rate=1.0, burst=1)
    bucket.spend(1.0, now=0.0)
    assert bucket.take_or_wait(now=1.0 - 1e-9) == 1e-6, "never so soon that it would be asked in vain"


def test_spending_more_than_there_is_makes_a_debt_that_can_be_capped():
    bucket = TokenBucket(rate=0.1, burst=1.0)
    bucket.spend(1.5, now=3.0)
    assert bucket.debt(now=3.0) == pytest.approx(5.0)
    assert bucket.debt(now=6.0) == pytest.approx(2.0)
    assert bucket.debt(now=8.0) == bucket.debt(now=100.0) == 0.0
    bucket.spend(1000.0, now=100.0)
    assert bucket.debt(now=100.0) == pytest.approx(9990.0), "of any size, if nobody says how much"
    bucket.spend(1.0, now=100.0, max_debt=30.0)
    assert bucket.debt(now=100.0) == pytest.approx(30.0)
