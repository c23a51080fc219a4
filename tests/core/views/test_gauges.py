"""Sizes, as they are looked up at a scrape (MET-1)."""

from __future__ import annotations

from devicemgr.core.views.gauges import gauges
from devicemgr.model import ResourceCounts
from tests.helpers import GPU


def test_each_size_has_a_value_for_each_combination_of_labels():
    counts = {GPU: ResourceCounts(capacity=4, allocatable=3, allocated=2, available=1, endpoint="serving")}
    sockets, devices, pods, tasks = gauges(counts, {"seen": ["a.sock", "b.sock"], "had": ["a.sock"]}, pods=5, tasks=6)
    assert sockets.labels == ("socket_path", "state")
    assert sockets.samples == {("a.sock", "seen"): 1, ("b.sock", "seen"): 1, ("a.sock", "had"): 1}
    assert devices.labels == ("resource_name", "state")
    assert devices.samples == {
        (GPU, "capacity"): 4,
        (GPU, "allocatable"): 3,
        (GPU, "allocated"): 2,
        (GPU, "available"): 1,
    }
    assert (pods.samples, tasks.samples) == ({(): 5}, {(): 6})
