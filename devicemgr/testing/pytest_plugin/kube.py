"""Fixtures for tests in a real cluster: for ordinary tests, and for Trio tests, in which the same methods are awaited.

All of it runs in a program of its own, in a thread: the cluster outlives a test, and its clock is not a test's.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from contextlib import ExitStack
from typing import TYPE_CHECKING, cast

import pytest

from .fixtures import open_manager_for, short_directory

if TYPE_CHECKING:
    from ...daemon.manager import DeviceManager
    from ..kube.cluster import KubeCluster, KubeNode
    from ..kube.namespace import Kube
    from ..portal import BlockingKube, BlockingKubeNode, Portal


@pytest.fixture(scope="session")
def _kube_portal() -> Iterator[Portal]:
    from ..portal import open_portal

    with open_portal() as portal:
        yield portal


@pytest.fixture(scope="session")
def kube_cluster(_kube_portal: Portal) -> Iterator[KubeCluster]:
    """A control plane with a scheduler and controllers, for all tests. They are skipped, with the reason, where its
    programs are missing. Under pytest-xdist each worker has a cluster of its own."""
    from ...errors import ExtraMissing, ProgramUnavailable, requires_extra

    try:
        with requires_extra("cluster"):
            from ..kube.cluster import open_kube_cluster
    except ExtraMissing as missing:
        pytest.fail(str(missing), pytrace=False)
    with ExitStack() as stack:
        opened = _kube_portal.enter(open_kube_cluster(stack.enter_context(short_directory())))
        try:
            cluster = stack.enter_context(opened)
        except ProgramUnavailable as error:
            pytest.skip(str(error))
        yield cluster


@pytest.fixture
def kube_node(
    request: pytest.FixtureRequest, kube_cluster: KubeCluster, _kube_portal: Portal
) -> Iterator[BlockingKubeNode | KubeNode]:
    """A node of the cluster, until the end of the test; ``@pytest.mark.device_manager(…)`` is for its manager. In Trio
    tests that is a manager whose methods are awaited."""
    from ..kube.cluster import KubeNode
    from ..portal import AwaitedManager, BlockingKubeNode, BlockingManager

    with short_directory() as directory:
        opened = kube_cluster.open_node(open_manager_for(request, directory))
        with _kube_portal.enter(opened) as node:
            manager = BlockingManager(_kube_portal, node.manager)
            if _is_trio(request):
                yield KubeNode(node.name, cast("DeviceManager", AwaitedManager(manager)))
            else:
                yield BlockingKubeNode(node.name, manager)


@pytest.fixture
def kube(
    request: pytest.FixtureRequest, kube_cluster: KubeCluster, _kube_portal: Portal
) -> Iterator[BlockingKube | Kube]:
    """A namespace of the cluster, until the end of the test. In Trio tests its methods are awaited."""
    from ..portal import Awaited, BlockingKube

    base = re.sub(r"[^a-z0-9]+", "-", request.node.name.lower())[:40].strip("-")
    with _kube_portal.enter(kube_cluster.open_namespace(base or "test")) as namespace:
        if _is_trio(request):
            yield cast("Kube", Awaited(_kube_portal, namespace))
        else:
            yield BlockingKube(_kube_portal, namespace)


def _is_trio(request: pytest.FixtureRequest) -> bool:
    return request.node.get_closest_marker("trio") is not None
