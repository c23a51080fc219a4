"""A topology that is made in Python, and not from a configuration."""

from __future__ import annotations

import pytest

from devicemgr.core.topology.policy import Policy, Scope, Topology
from devicemgr.errors import UnusableTopology


@pytest.mark.parametrize("policy", [policy for policy in Policy if policy is not Policy.NONE])
def test_a_policy_alone_aligns_each_container_as_the_kubelet_does(policy):
    assert Topology(policy=policy).scope is Scope.CONTAINER


@pytest.mark.parametrize("given", [{}, {"scope": Scope.POD}])
def test_the_policy_none_has_no_scope(given):
    assert Topology(**given).scope is Scope.NONE


def test_a_policy_that_would_align_nothing_is_refused():
    with pytest.raises(UnusableTopology, match="unknown topology manager scope 'none'; there are container and pod"):
        Topology(policy=Policy.RESTRICTED, scope=Scope.NONE)
