"""The page of a trace: any moment, forth and back."""

from __future__ import annotations

import json

import httpx2
import pytest

from devicemgr import open_device_manager
from devicemgr.daemon.page.recorded import Recording
from devicemgr.daemon.page.site import serve_recording
from devicemgr.testing import open_simulated_plugin
from tests.helpers import GPU, pod


@pytest.fixture
async def trace(root_dir):
    """The events of a small story, as in a file."""
    recorded = []
    async with open_device_manager(root_dir, sinks=[lambda one: recorded.append(one.as_json())]) as manager:
        async with open_simulated_plugin(manager.layout.plugins, GPU, devices=2) as gpu:
            await gpu.register()
            await manager.wait_for_resource(GPU, allocatable=2)
            await manager.admit(pod("p", gpu=1))
            gpu.set_health("dev-1", "Unhealthy")
            await manager.wait_for_resource(GPU, allocatable=1)
            await manager.remove("default", "p")
    return json.loads(json.dumps(recorded))


async def states_at(recording, count):
    return json.loads(await recording.at(count))["parts"].get(f"states {GPU}", "")


async def test_every_moment_is_the_same_forth_and_back(trace):
    recording = Recording("a.trace", trace)
    forth = [await states_at(recording, count) for count in range(len(trace) + 1)]
    back = [await states_at(recording, count) for count in reversed(range(len(trace) + 1))]
    assert forth == back[::-1]
    steps = [now for before, now in zip(["?", *forth], forth, strict=False) if now != before]
    assert steps[:6] == ["", "ff", "hf", "hu", "fu", "uu"]


async def test_a_moment_says_where_it_is(trace):
    recording = Recording("a.trace", trace)
    end = json.loads(await recording.at(10**9))["moment"]
    assert (end["event"], end["of"], end["next"]) == (len(trace), len(trace), 0.0)
    assert end["seconds"] == recording.about()["duration"] == pytest.approx(trace[-1]["time"] - trace[0]["time"])
    assert recording.count_until(end["seconds"]) == len(trace)
    assert recording.count_until(-1.0) == 0
    begin = json.loads(await recording.at(-5))
    assert (begin["moment"]["event"], begin["events"], begin["parts"]["resources"]) == (0, [], [])


@pytest.mark.parametrize("times", ["its own", "all the same", "none"])
async def test_the_tasks_are_those_that_events_tell_of(trace, times):
    """A moment is after so many events, also where times do not tell them apart, as in a golden trace."""
    kept = {"its own": lambda one: one["time"], "all the same": lambda one: 5.0, "none": lambda one: None}[times]
    trace = [{**one, "time": kept(one)} for one in trace]
    recording = Recording("a.trace", trace)
    (registered,) = (n for n, one in enumerate(trace, 1) if one["event"] == "PluginRegistered")

    async def names(count):
        told = json.loads(await recording.at(count))
        found, nodes = [], [told["parts"]["tasks"]]
        while nodes:
            node = nodes.pop()
            found.append(node["name"])
            nodes += node["children"]
        return found

    assert f"{GPU} #1" in await names(registered)
    assert f"{GPU} #1" not in await names(registered - 1)


async def test_events_have_their_place_in_the_trace_and_their_severity(trace):
    shown = json.loads(await Recording("a.trace", trace).at(len(trace)))["events"]
    assert [one["sequence"] for one in shown] == [*range(1, len(trace) + 1)]
    assert {one["severity"] for one in shown if one["event"] == "EndpointStopped"} == {"warning"}
    assert {one["severity"] for one in shown if one["event"] == "DeviceListReceived"} == {"debug"}


@pytest.mark.parametrize(
    ("times", "moments"),
    [
        ([5.0, 6.5, 7.0], [0.0, 1.5, 2.0]),
        ([5.0, 4.0, 7.0], [0.0, 0.0, 2.0]),
        ([None, None, None], [0.0, 1.0, 2.0]),
        ([5.0, "x", 9.0], [0.0, 1.0, 4.0]),
        ([5.0, float("nan"), float("inf"), 10**400], [0.0, 1.0, 2.0, 3.0]),
        ([], []),
    ],
)
async def test_moments_never_go_back(times, moments):
    events = [{"event": "ManagerStopping"} | ({} if time is None else {"time": time}) for time in times]
    recording = Recording("a.trace", events)
    assert [json.loads(await recording.at(n + 1))["moment"]["seconds"] for n in range(len(events))] == moments


async def test_what_json_does_not_have_is_not_sent():
    odd = {"event": "CallFinished", "time": float("inf"), "seconds": float("nan")}
    text = await Recording("a.trace", [odd]).at(1)
    (event,) = json.loads(text, parse_constant=lambda name: pytest.fail(name))["events"]
    assert (event["event"], event["time"]) == ("CallFinished", 0.0)


async def test_it_is_asked_for_by_event_or_by_seconds(trace, nursery):
    url = await nursery.start(serve_recording, Recording("a.trace", trace), ("", 0))
    async with httpx2.AsyncClient(base_url=url) as client:
        assert (await client.get("/about")).json()["file"] == "a.trace"
        assert (await client.get("/at", params={"event": 3})).json()["moment"]["event"] == 3
        assert (await client.get("/at", params={"seconds": 1e9})).json()["moment"]["event"] == len(trace)
        for question in ({"event": "x"}, {"seconds": "x"}, {"event": "9" * 5000}):
            assert (await client.get("/at", params=question)).status_code == 400
        assert (await client.get("/at", params={"seconds": "nan"})).status_code == 200
        assert (await client.get("/stream")).status_code == 404
        assert (await client.get("/at", headers={"host": "evil.example"})).status_code == 421
        assert "default-src 'none'" in (await client.get("/at")).headers["content-security-policy"]
