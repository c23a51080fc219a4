"""Anybody may connect to ``/metrics``: many who ask for nothing, who ask without end, and who do not read."""

from __future__ import annotations

import re
import resource
import socket
import statistics
import time
from collections.abc import Iterator
from contextlib import ExitStack

import pytest

from .honest import PATIENCE, Honest, descriptors, open_honest
from .test_exhaustion import SHARE, WATCHED, crowd, limit_descriptors, processor_time, wait_until_throttled

GROWTH = 64 * 2**20
"""Bytes, of a daemon that takes 40 MB."""


@pytest.fixture
def honest() -> Iterator[Honest]:
    with open_honest("--metrics-address", "127.0.0.1:0") as one:
        limit_descriptors(one, 1024)
        yield one


def address(honest: Honest) -> str:
    return re.search(r"http://([\d.:]+)/metrics", honest.daemon.log)[1]


def scrape(honest: Honest) -> str:
    """What somebody gets who connects, asks and reads."""
    host, _, port = address(honest).rpartition(":")
    with socket.create_connection((host, int(port)), PATIENCE) as one:
        one.sendall(b"GET /metrics HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n")
        return b"".join(iter(lambda: one.recv(2**16), b"")).decode()


def seconds_of_an_admission(honest: Honest) -> float:
    took = []
    for _ in range(5):
        began = time.monotonic()
        honest.admits()
        took.append(time.monotonic() - began)
    return statistics.median(took)


def test_1100_idle_connections(honest):
    usual = descriptors(honest.daemon)
    with ExitStack() as crowds:
        for _ in range(2):  # each has its own limit of descriptors
            crowds.enter_context(crowd(address(honest), 550, "nothing", seconds=1))
        honest.admits()
        assert "devicemgr_devices" in scrape(honest)
        honest.wait_until(lambda: descriptors(honest.daemon) <= usual + 40, "they stay open")
        honest.lives()
    assert "limit=scrapers peer=127.0.0.1" in honest.daemon.log
    honest.wait_until(lambda: descriptors(honest.daemon) <= usual, "descriptors were leaked")


@pytest.mark.parametrize(("count", "what", "share"), [(8, "scrapes", SHARE), (1, "anew", 3 * SHARE)])
def test_asking_without_end(honest, count, what, share):
    """All that is spent on them is one share of the processor, and nobody is starved by them."""
    with crowd(address(honest), count, what) as connected:
        assert connected == count
        wait_until_throttled(honest, share)
        taken = processor_time(honest, WATCHED)
        print(f"{what}: {taken / WATCHED:.0%} of the processor, {seconds_of_an_admission(honest):.3f} s an admission")
        if what == "scrapes":  # a queue of connections is the kernel's, and first come is first served
            assert "devicemgr_devices" in scrape(honest)
        honest.lives()
    assert taken <= share * WATCHED, f"{taken / WATCHED:.0%} of the processor"


def test_those_who_do_not_read(honest):
    before = honest.daemon.memory
    with crowd(address(honest), 500, "unread", seconds=1):
        honest.admits()
        assert "devicemgr_devices" in scrape(honest)
        honest.wait_until(lambda: descriptors(honest.daemon) < 100, "they stay open")
        assert honest.daemon.memory - before < GROWTH
        honest.lives()


def test_without_descriptors_it_waits_and_goes_on(honest):
    resource.prlimit(honest.daemon.pid, resource.RLIMIT_NOFILE, (descriptors(honest.daemon) + 3, 1024))
    with crowd(address(honest), 20, "nothing", seconds=1):
        honest.wait_until(lambda: processor_time(honest, 1.0) < 0.3, "it does not wait but tries again and again")
        honest.lives()
        resource.prlimit(honest.daemon.pid, resource.RLIMIT_NOFILE, (1024, 1024))
        assert "devicemgr_devices" in scrape(honest)
    honest.admits()
    honest.lives()
