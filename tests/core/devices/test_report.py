"""A list applied as the difference from the one before it, compared with applying all of it."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from devicemgr.core.devices.endpoint import Endpoint
from devicemgr.core.devices.store import DeviceStore
from devicemgr.model import Device, DeviceList
from tests.helpers import apply_list

R = "vendor.com/gpu"
DEVICES = st.builds(
    Device,
    id=st.sampled_from(["a", "b", "c", "d", "", "long" * 3]),
    health=st.sampled_from(["Healthy", "Healthy", "Unhealthy", "odd"]),
    numa_nodes=st.sampled_from([None, (0,), (1,), (-1,), (9999, 0)]),
)
LISTS = st.lists(DEVICES, max_size=6)


def store_with(report):
    store = DeviceStore(id_length=10)
    store.connect(Endpoint(resource=R, generation=1, socket="s"))
    return store, apply_list(store, R, 1, report)


@pytest.mark.parametrize("health", ["healthy", "", "Degraded"])
def test_only_healthy_is_healthy(health):
    """LW-3."""
    store, _ = store_with([Device(id="a"), Device(id="b", health=health)])
    assert (store.counts(R).capacity, store.counts(R).allocatable) == (2, 1)


@given(LISTS, LISTS, st.data())
@settings(max_examples=600, deadline=None, derandomize=True)
def test_applying_a_difference_equals_applying_the_whole_list(first, second, data):
    """Whatever part at the beginning and at the end a decoder considers the same."""
    start = 0
    while start < min(len(first), len(second)) and first[start] == second[start] and data.draw(st.booleans()):
        start += 1
    end = 0
    while (
        end < min(len(first), len(second)) - start and first[-1 - end] == second[-1 - end] and data.draw(st.booleans())
    ):
        end += 1
    before = DeviceList(devices=first)
    after = DeviceList(
        devices=second,
        base=before.token,
        removed=first[start : len(first) - end],
        added=second[start : len(second) - end],
    )
    by_difference, _ = store_with(before)
    if data.draw(st.booleans()):
        by_difference.free_devices(R)  # which is kept up to date from now on
    version = by_difference.version
    events = apply_list(by_difference, R, 1, after)
    whole, _ = store_with(list(first))
    expected = apply_list(whole, R, 1, list(second))

    assert by_difference.counts(R) == whole.counts(R)
    assert by_difference.healthy(R) == whole.healthy(R)
    assert dict(by_difference.devices(R)) == dict(whole.devices(R))
    assert [*by_difference.free_devices(R).all()] == [*whole.free_devices(R).all()]
    assert by_difference.free_devices(R).healthy_counts == whole.free_devices(R).healthy_counts
    assert sorted(map(str, events)) == sorted(map(str, expected))
    changed = set(whole.snapshot().registered[R]) != set(store_with(list(first))[0].snapshot().registered[R])
    assert (by_difference.version > version) >= changed, "what must be on disk has changed"
    assert set(by_difference.snapshot().registered[R]) == set(whole.snapshot().registered[R])
