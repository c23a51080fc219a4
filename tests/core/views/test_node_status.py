"""What the node publishes (CAP-5, CAP-6)."""

from __future__ import annotations

from devicemgr.core.views.node_status import is_extended, node_status, reset_node_status
from devicemgr.model import NodeStatus

GPU, NIC, OLD = "v.com/gpu", "v.com/nic", "v.com/old"


def test_extended_resources_have_a_domain_that_is_not_kubernetes():
    assert [is_extended(name) for name in (GPU, "cpu", "kubernetes.io/x", "x.kubernetes.io/y")] == [
        True, False, False, False,
    ]  # fmt: skip


def test_the_managers_numbers_replace_those_of_the_node():
    """An extended resource without capacity loses its allocatable entry; reserved quantities are subtracted."""
    node = NodeStatus(capacity={"cpu": 8, GPU: 1}, allocatable={"cpu": 7, "memory": 5, NIC: 3, GPU: 1})
    status = node_status(node, capacity={GPU: 4}, allocatable={GPU: 3}, removed={OLD, "v.com/a"}, reserved={"cpu": 2})
    assert status.capacity == {"cpu": 8, GPU: 4, OLD: 0, "v.com/a": 0}
    assert status.allocatable == {"cpu": 6, "memory": 5, GPU: 3, OLD: 0, "v.com/a": 0}
    assert status.removed == ("v.com/a", OLD)
    more = node_status(node, capacity={}, allocatable={}, removed=(), reserved={"cpu": 9, "other": 1})
    assert more.allocatable == {"cpu": 0, "memory": 5, GPU: 1}
    assert node_status(node, capacity={}, allocatable={}, removed=()).allocatable["cpu"] == 8


def test_a_node_that_lost_its_checkpoint_has_no_extended_resources():
    node = NodeStatus(capacity={"cpu": 8, GPU: 4}, allocatable={"cpu": 7, GPU: 3})
    reset = reset_node_status(node)
    assert (reset.capacity, reset.allocatable, reset.reset) == ({"cpu": 8, GPU: 0}, {"cpu": 7, GPU: 0}, True)
