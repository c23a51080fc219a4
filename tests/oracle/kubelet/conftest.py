"""A control plane for all kubelets of this folder, where their programs are."""

from __future__ import annotations

import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest
import trio

from devicemgr.cluster.control_plane.processes import ControlPlane, open_control_plane
from devicemgr.cluster.control_plane.programs import find_programs
from devicemgr.daemon.threads.portal import Portal, open_portal

from .pods import NODE
from .programs import missing
from .side import KubeletSide


@pytest.fixture(scope="package")
def portal() -> Iterator[Portal]:
    with open_portal() as opened:
        yield opened


@pytest.fixture(scope="package")
def cluster(portal: Portal) -> Iterator[ControlPlane]:
    with tempfile.TemporaryDirectory(prefix="dm-") as directory:
        if reason := missing(Path(directory)):
            pytest.skip(reason)
        programs = trio.run(find_programs)
        with portal.enter(open_control_plane(Path(directory), programs, nodes=[NODE])) as opened:
            yield opened


@pytest.fixture(scope="package")
def kubelet(portal: Portal, cluster: ControlPlane) -> Iterator[KubeletSide]:
    side = KubeletSide(portal, cluster)
    yield side
    side.close()
