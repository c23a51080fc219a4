"""Which registrations count as made while the stream on the same socket was open."""

from __future__ import annotations

from dataclasses import replace
from types import SimpleNamespace

import pytest

from devicemgr.events import (
    EndpointStopped,
    ManagerReady,
    ManagerStopping,
    PluginEnded,
    PluginRegistered,
    SocketRestored,
)
from devicemgr.testing.conformance import CHECKS, Failed
from devicemgr.testing.conformance.observation.evidence import Seen
from devicemgr.testing.conformance.observation.history import History

GPU = "vendor.com/gpu"
READY = ManagerReady(
    kubernetes_version="1.37", sockets=(), policy="none", scope="none", numa_nodes=(0,), gates=(), peer_limits=()
)
REGISTERED = PluginRegistered(
    resource=GPU,
    endpoint="gpu.sock",
    generation=1,
    pre_start_required=False,
    get_preferred_allocation_available=False,
    replaced=False,
)
STOPPED = EndpointStopped(resource=GPU, generation=1, reason="the peer closed the connection")
OTHER = replace(REGISTERED, endpoint="other.sock", generation=2, replaced=True)
ENDED = PluginEnded(resource=GPU, endpoint="gpu.sock", generation=1, reason="the peer closed the connection")
RESTORED = SocketRestored(path="kubelet.sock")


class OneOfSeveral(History):
    has_parallel_instances = True


async def evidence_of(events):
    history = OneOfSeveral(GPU)
    history.entries += [Seen(float(number), event) for number, event in enumerate(events)]
    history.lifecycle = SimpleNamespace(was_alone=lambda time: True)
    return await CHECKS["endpoint-fresh"].run(history)


@pytest.mark.parametrize(
    "between",
    [
        [STOPPED],
        [RESTORED],
        [ManagerStopping(), READY],
        pytest.param([ManagerStopping(), REGISTERED, READY], id="under way while the manager stops"),
    ],
)
async def test_a_stream_that_has_ended_does_not_count(between):
    assert "each time" in await evidence_of([READY, REGISTERED, *between, REGISTERED])


async def test_a_stream_that_stood_by_and_has_ended_does_not_count():
    assert "2 different names" in await evidence_of([READY, REGISTERED, OTHER, ENDED, REGISTERED])


async def test_a_stream_that_stands_by_is_open():
    """D37-4: the kubelet refuses the socket also if another one is asked."""
    with pytest.raises(Failed, match="'gpu.sock' was registered again while its stream was open"):
        await evidence_of([READY, REGISTERED, OTHER, REGISTERED])


async def test_a_registration_over_an_open_stream_fails():
    with pytest.raises(Failed, match="'gpu.sock' was registered again while its stream was open"):
        await evidence_of([READY, REGISTERED, ManagerStopping(), READY, REGISTERED, REGISTERED])
