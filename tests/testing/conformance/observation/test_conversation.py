"""What was said while a check was run, as lines."""

from __future__ import annotations

from devicemgr.events import CallFinished, DeviceListReceived, EndpointStopped, PluginRegistered, RegistrationRequested
from devicemgr.model import Device
from devicemgr.testing.conformance.observation.conversation import MOST_LINES, conversation_lines
from devicemgr.testing.conformance.observation.evidence import Seen
from devicemgr.testing.conformance.observation.recording_client import CheckCallFinished
from tests.helpers import GPU

REGISTERED = PluginRegistered(
    resource=GPU,
    endpoint="a.sock",
    generation=1,
    pre_start_required=False,
    get_preferred_allocation_available=False,
    replaced=False,
)
STOPPED = EndpointStopped(resource=GPU, generation=1, reason="gone")


def test_what_was_said_before_names_the_plugin_and_is_not_shown():
    history = [Seen(5.0, REGISTERED), Seen(7.5, STOPPED)]
    ended, counted = conversation_lines(history, begin=1, since=7.0)
    assert ended == "    0.500 s  ! a.sock [vendor.com/gpu] ⇢ manager         end of ListAndWatch: gone"
    assert "its devices count as unhealthy" in counted


def test_only_the_end_of_a_long_conversation_is_kept():
    requested = RegistrationRequested(version="v1beta1", endpoint="a.sock", resource=GPU)
    lines = conversation_lines([Seen(float(n), requested) for n in range(150)], begin=0, since=0.0)
    assert (len(lines), lines[0]) == (MOST_LINES + 1, "… 50 earlier lines")
    assert lines[-1].startswith("  149.000 s ")


def test_secrets_are_removed():
    call = CallFinished(
        resource=GPU, method="Allocate", seconds=0.1, outcome="UNKNOWN", endpoint="a.sock", received="token abc"
    )
    (line,) = conversation_lines(
        [Seen(1.0, call)], begin=0, since=0.0, without_secrets=lambda text: text.replace("abc", "***")
    )
    assert "UNKNOWN: token ***" in line


def test_calls_of_the_check_itself_and_lists_of_standbys_are_told():
    call = CheckCallFinished(
        resource=GPU, method="Allocate", seconds=0.1, outcome="OK", request={"containers": [["a", "b"]]}, response=[]
    )
    devices = (Device(id="a"), Device(id="b", health="Unhealthy"))
    history = [Seen(1.0, call), Seen(1.0, DeviceListReceived(resource=GPU, generation=7, devices=devices))]
    first, second = conversation_lines(history, begin=0, since=0.0)
    assert "check → " in first
    assert "Allocate(a, b) ⇢ OK (100.0 ms)" in first
    assert "list: 2 devices, 1 unhealthy (not in force)" in second
