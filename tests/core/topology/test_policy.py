"""A topology that is made in Python, and not from a configuration."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from devicemgr.core.devices.endpoint import Endpoint
from devicemgr.core.devices.store import DeviceStore
from devicemgr.core.topology.alignment import align
from devicemgr.core.topology.hints import container_hints
from devicemgr.core.topology.numa import Numa, nodes_of
from devicemgr.core.topology.policy import Policy, Scope, Topology
from devicemgr.errors import UnusableTopology
from devicemgr.model import Container, Device, Owner
from tests.helpers import GPU, NIC, apply_list

BOOK = Path(__file__).parents[3] / "devicemgr" / "rules" / "topology.md"


@pytest.mark.parametrize("policy", [policy for policy in Policy if policy is not Policy.NONE])
def test_a_policy_alone_aligns_each_container_as_the_kubelet_does(policy):
    assert Topology(policy=policy).scope is Scope.CONTAINER


@pytest.mark.parametrize("given", [{}, {"scope": Scope.POD}])
def test_the_policy_none_has_no_scope(given):
    assert Topology(**given).scope is Scope.NONE


def test_a_policy_that_would_align_nothing_is_refused():
    with pytest.raises(UnusableTopology, match="unknown topology manager scope 'none'; there are container and pod"):
        Topology(policy=Policy.RESTRICTED, scope=Scope.NONE)


def test_the_books_example_is_what_is_decided():
    """TM-8, TM-12, TM-13: its picture is drawn by hand."""
    store, numa = DeviceStore(), Numa(nodes=(0, 1))
    for resource, nodes in ((GPU, (0, 0, 1, 1)), (NIC, (1,))):
        store.connect(Endpoint(resource=resource, generation=1, socket=f"{resource[-3:]}.sock"))
        devices = [Device(id=f"d{number}", numa_nodes=(node,)) for number, node in enumerate(nodes)]
        apply_list(store, resource, 1, devices)
    hints = container_hints(store, Owner("p", "c"), Container(name="c", limits={GPU: 1, NIC: 1}), {}, numa)
    for resource, found in hints.items():
        (line,) = re.findall(rf"hints of {resource[-3:]} (.*)", BOOK.read_text())
        masks = [f"{{{','.join(map(str, nodes_of(hint.affinity)))}}}" for hint in found]
        assert re.findall(r"\{[\d,]+\}", line) == masks
        assert re.findall(r"\b(?:yes|no)\b", line) == ["yes" if hint.preferred else "no" for hint in found]
    decided = align(Topology(policy=Policy.RESTRICTED, numa=numa), [hints])
    assert (decided.admit, str(decided.hint)) == (True, "nodes {1} (preferred)")
