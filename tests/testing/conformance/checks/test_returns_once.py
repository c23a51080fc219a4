"""Which calls of Register count as a loop."""

from __future__ import annotations

from types import SimpleNamespace

import pytest
import trio

from devicemgr.events import PluginRefused, RegistrationRequested
from devicemgr.testing.conformance.checks.registration import most_calls
from devicemgr.testing.conformance.observation.evidence import Seen
from devicemgr.testing.conformance.observation.history import History

GPU = "vendor.com/gpu"
CALLED = RegistrationRequested(version="v1beta1", endpoint="gpu.sock", resource=GPU)
REFUSED = PluginRefused(resource=GPU, endpoint="gpu.sock", rule="REG-7", message="failed to dial device plugin")


@pytest.mark.parametrize(
    ("events", "most"),
    [
        ([CALLED] * 4, 4),
        pytest.param([CALLED, REFUSED, *[CALLED] * 3], 3, id="one that was refused has to call again"),
        pytest.param([CALLED, CALLED, REFUSED], 1, id="whichever that is"),
    ],
)
async def test_a_call_that_was_refused_at_once_does_not_count(autojump_clock, events, most):
    history = History(GPU)
    history.entries += [Seen(number / 10, event) for number, event in enumerate(events)]
    history.lifecycle = SimpleNamespace(disruptions=[0.0], start_times=[], was_alone=lambda time: True)
    await trio.sleep(2)
    assert most_calls(history, GPU)[0] == most
