"""Questions to the PodResources API on a node with many devices: whose time they take, and how much memory."""

from __future__ import annotations

import time
from collections.abc import Iterator

import pytest

from tests.grpcio_peers import Plugin, device_list

from .honest import Honest, open_honest
from .test_exhaustion import SHARE, WATCHED, crowd, processor_time, wait_until_throttled

BIG = "big.example/gpu"
GROWTH = 64 * 2**20


@pytest.fixture
def honest() -> Iterator[Honest]:
    with open_honest() as one:
        plugin = Plugin(one.daemon.root / "device-plugins" / "big.sock")
        plugin.say(device_list(10_000, nodes=2))
        one.client.register(BIG, plugin.socket.name)
        one.client.wait_capacity(BIG)
        yield one
        plugin.stop()


@pytest.mark.parametrize(("count", "what"), [(1, "requests"), (20, "requests"), (20, "unread")])
def test_requests_about_10000_devices(honest, count, what):
    path, memory = honest.daemon.root / "pod-resources" / "kubelet.sock", honest.daemon.memory
    with crowd(path, count, what) as connected:
        assert connected == count
        if count > 1:
            honest.wait_until(lambda: "limit=time_share" in honest.daemon.log, "it takes what it likes")
            wait_until_throttled(honest)
        taken = processor_time(honest, WATCHED)
        began = time.monotonic()
        honest.admits()
        print(f"{what}: {taken:.2f} s of {WATCHED}, an admission {time.monotonic() - began:.3f} s", end=", ")
        print(f"{(honest.daemon.memory - memory) / 1e6:.0f} MB")
        assert honest.daemon.memory - memory < GROWTH
        honest.lives()
    assert taken <= SHARE * WATCHED, f"{taken / WATCHED:.0%} of the processor"
