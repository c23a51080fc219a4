"""The page of a trace: any moment, back and forth."""

from __future__ import annotations

import json
import re
from pathlib import Path

import httpx2
import pytest
import trio

from devicemgr import open_device_manager
from devicemgr.core.views.recorded_tree import RecordedTree
from devicemgr.core.views.replay import Replay
from devicemgr.daemon.page import http as page_http
from devicemgr.daemon.page import recorded
from devicemgr.daemon.page.feed import MAX_EVENTS
from devicemgr.daemon.page.recorded import Recording
from devicemgr.daemon.page.site import serve_recording
from devicemgr.input.trace_file import read_trace
from devicemgr.testing import open_simulated_plugin
from tests.helpers import GPU, pod

TRACES = Path(__file__).parents[2] / "traces"


@pytest.fixture
async def trace(root_dir):
    """The events of a small story, as in a file."""
    events = []
    async with open_device_manager(root_dir, sinks=[lambda one: events.append(one.as_json())]) as manager:
        async with open_simulated_plugin(manager.layout.plugins, GPU, devices=2) as gpu:
            await gpu.register()
            await manager.wait_for_resource(GPU, allocatable=2)
            await manager.admit(pod("p", gpu=1))
            gpu.set_health("dev-1", "Unhealthy")
            await manager.wait_for_resource(GPU, allocatable=1)
            await manager.remove("default", "p")
    return json.loads(json.dumps(events))


async def states_at(recording, count):
    return json.loads(await recording.at(count))["parts"].get(f"states {GPU}", "")


async def test_every_moment_is_the_same_forth_and_back(trace):
    recording = Recording("a.trace", trace)
    forth = [await states_at(recording, count) for count in range(len(trace) + 1)]
    back = [await states_at(recording, count) for count in reversed(range(len(trace) + 1))]
    assert forth == back[::-1]
    steps = [now for before, now in zip(["?", *forth], forth, strict=False) if now != before]
    assert steps[:6] == ["", "ff", "hf", "hu", "fu", "uu"]


async def test_where_a_trace_begins_later_it_says_so(trace):
    """From the admission on, nothing tells which devices there are, until the next list."""
    (begin,) = (place for place, one in enumerate(trace) if one["event"] == "PodAdmissionRequested")
    recording = Recording("a.trace", trace[begin:])

    async def seen(count):
        shown = json.loads(await recording.at(count))
        resource = shown["parts"].get(f"resource {GPU}", {})
        told = (resource.get(field) for field in ("knows_devices", "knows_holders", "endpoint", "allocated"))
        return shown["moment"]["missing"], *told

    steps = [await seen(count) for count in range(len(trace) - begin + 1)]
    before = trace[begin]["sequence"] - 1
    distinct = [now for last, now in zip([None, *steps], steps, strict=False) if now != last]
    assert distinct == [
        (0, None, None, None, None),
        (before, None, None, None, None),
        (before, False, False, "unknown", 1),
        (before, True, False, "serving", 1),
        (before, True, False, "serving", 0),
        (before, True, False, "stopped", 0),
    ]
    whole = json.loads(await Recording("a.trace", trace).at(len(trace)))
    assert whole["moment"]["missing"] == 0
    assert whole["parts"][f"resource {GPU}"]["knows_holders"]


def long_story(count):
    """One device flips, and one pod after the other has the other one."""
    plugin = {"resource": GPU, "generation": 1}
    devices = [{"id": f"dev-{number}", "health": "Healthy", "numa_nodes": None} for number in range(2)]
    story = [{"event": "PluginRegistered", **plugin, "endpoint": "a.sock", "replaced": False}]
    for number in range(count):
        health = ("Healthy", "Unhealthy")[number % 2]
        pod = {"namespace": "default", "name": f"p{number}", "uid": f"u{number}"}
        held = {"pod_uid": pod["uid"], "container": "main", "resource": GPU, "devices": ["dev-0"]}
        story += [
            {"event": "DeviceListReceived", **plugin, "devices": [devices[0], {**devices[1], "health": health}]},
            {"event": "PodAdmissionRequested", **pod, "limits": {GPU: 1}},
            {"event": "CallFinished", "resource": GPU, "method": "Allocate", "seconds": 2.5, "outcome": "OK"},
            {"event": "DevicesAllocated", **held},
            {"event": "PodAdmitted", **pod, "seconds": 3.0},
            {"event": "PodRemoved", **pod, "freed": {GPU: ["dev-0"]}},
        ]
    return [{"sequence": n, "time": 1000.0 + n, **one} for n, one in enumerate(story[:count], 1)]


@pytest.fixture
def applied(monkeypatch):
    """The number of events that were replayed, as the one item of a list."""
    applied, apply = [0], Replay.applying

    def applying(replay, event):
        applied[0] += 1
        return apply(replay, event)

    monkeypatch.setattr(Replay, "applying", applying)
    return applied


async def test_however_long_a_trace_is_a_few_of_its_events_are_replayed_for_a_moment(applied, monkeypatch):
    """And what is shown is what a replay from the beginning shows."""
    events = long_story(5000)
    recording = Recording("a.trace", events)
    monkeypatch.setattr(recorded, "_WORK", 2**60)
    from_the_beginning = Recording("a.trace", events)
    for count in (5000, 4321, 17, 4999, 2500, 2501, 2502, 0, 2900):
        applied[0] = 0
        shown = await recording.at(count)
        assert applied[0] <= 600 + MAX_EVENTS
        assert json.loads(shown) == json.loads(await from_the_beginning.at(count))
    applied[0] = 0
    await recording.at(2901)
    assert applied[0] == 1, "forward it goes on from where it is"


async def test_of_long_lists_there_are_fewer_between_two_checkpoints(applied):
    plugin = {"resource": GPU, "generation": 1}
    devices = [{"id": f"dev-{number}", "health": "Healthy"} for number in range(2000)]
    lists = [{"event": "DeviceListReceived", **plugin, "devices": devices[number:]} for number in range(100)]
    recording = Recording("a.trace", [{"event": "PluginRegistered", **plugin, "endpoint": "a.sock"}, *lists] * 5)
    applied[0] = 0
    await recording.at(505)
    assert applied[0] <= 15 + MAX_EVENTS


async def test_calls_are_under_way_from_their_beginning_to_their_end():
    """At each moment they are those of the tree of the same trace on the command line."""
    events = long_story(1000)
    recording = Recording("a.trace", events)
    for count in range(995, 0, -31):
        tree = RecordedTree(float(count - 1))
        for event in events:
            tree.add(event)
        told = json.dumps(json.loads(await recording.at(count))["parts"]["tasks"])
        named = [node.name for node in tree.tree().walk() if node.kind == "call"]
        assert re.findall(r'"kind": "call", "name": "(.*?)"', told) == named


async def test_a_question_that_is_cancelled_leaves_nothing_half_done(trace, monkeypatch):
    recording = Recording("a.trace", trace)
    whole = [json.loads(await recording.at(count)) for count in range(len(trace) + 1)]
    for steps in range(20):
        scope = trio.CancelScope()

        async def some(work, steps=steps, scope=scope):
            for _ in zip(range(steps), work, strict=False):
                pass
            scope.cancel()
            await trio.lowlevel.checkpoint()

        with monkeypatch.context() as patched, scope:
            patched.setattr(recorded, "run_in_turns", some)
            await recording.at(len(trace))
        assert scope.cancelled_caught
        for count in (5, len(trace)):
            assert json.loads(await recording.at(count)) == whole[count]
        await recording.at(steps % 4)


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


@pytest.mark.parametrize("path", sorted(TRACES.glob("*.trace")), ids=lambda path: path.stem)
async def test_the_page_of_a_golden_trace_shows_its_devices(path):
    events = [line.event for line in read_trace(path.read_text().splitlines(True), file=path.name) if line.event]
    recording = Recording(path.name, events)
    for place, event in enumerate(events, 1):
        if event["event"] == "DeviceListApplied":
            shown = json.loads(await recording.at(place))["parts"]
            states = shown[f"states {event['resource']}"]
            assert len(states) == event["capacity"]
            assert len(re.findall("[fh]", states)) == event["allocatable"]


@pytest.mark.parametrize("path", sorted(TRACES.glob("*.trace")), ids=lambda path: path.stem)
async def test_the_page_of_a_golden_trace_has_its_severities_and_no_times(path):
    lines = [line for line in read_trace(path.read_text().splitlines(True), file=path.name) if line.event]
    recording = Recording(path.name, [{**line.event, "level": line.level} for line in lines])
    shown = json.loads(await recording.at(len(lines)))
    assert [one["severity"] for one in shown["events"]] == [line.text.split()[0].lower() for line in lines]
    assert {one["time"] for one in shown["events"]} == {None}
    assert not shown["moment"]["has_times"]
    for count in range(len(lines)):
        moment = await recording.at(count)
        assert re.findall(r'"since": ([^n,]+)', moment) == []
        assert '"kind": "call"' not in moment, "how long a call took is not known"


@pytest.mark.parametrize(
    ("event", "severity"),
    [
        ({"event": "PodRefused", "reason": "No"}, "warning"),
        ({"event": "PodRefused", "level": "debug"}, "debug"),
        ({"event": "PodRefused", "level": ["debug"]}, "warning"),
        ({"event": "ManagerStopping", "level": "odd"}, "info"),
        ({"event": "CallFinished", "resource": GPU, "method": "Allocate", "seconds": 1.0, "outcome": "OK"}, "debug"),
        ({"event": "CallFinished", "resource": GPU, "method": "Allocate", "seconds": 1.0, "outcome": "No"}, "warning"),
        ({"event": "Severity"}, "info"),
        ({"event": "as_json"}, "info"),
        ({"event": "NoSuchEvent"}, "info"),
    ],
)
async def test_the_severity_is_the_stated_one_or_that_of_the_kind(event, severity):
    (shown,) = json.loads(await Recording("a.trace", [event]).at(1))["events"]
    assert shown["severity"] == severity


async def test_events_have_their_place_in_the_trace_and_their_severity(trace):
    shown = json.loads(await Recording("a.trace", trace).at(len(trace)))["events"]
    assert [one["sequence"] for one in shown] == [*range(1, len(trace) + 1)]
    assert {one["severity"] for one in shown if one["event"] == "EndpointStopped"} == {"warning"}
    assert {one["severity"] for one in shown if one["event"] == "DeviceListReceived"} == {"debug"}


@pytest.mark.parametrize(
    ("times", "moments"),
    [
        ([5.0, 6.5, 7.0], [0.0, 1.5, 2.0]),
        ([5.0, 7.0, 4.0, 5.0], [0.0, 2.0, 2.0, 3.0]),
        ([None, None, None], [0.0, 1.0, 2.0]),
        ([5.0, "x", 9.0], [0.0, 0.0, 4.0]),
        ([5.0, float("nan"), float("inf"), 10**400], [0.0, 0.0, 0.0, 0.0]),
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
    assert (event["event"], event["time"]) == ("CallFinished", None)


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


async def test_the_page_of_a_trace_may_take_all_the_time_of_its_process(nursery, trace, monkeypatch):
    """There is no manager that it would take it from."""
    monkeypatch.setattr(page_http, "TIME_SHARE", 1e-9)
    monkeypatch.setattr(page_http, "TIME_BURST", 1e-9)
    url = await nursery.start(serve_recording, Recording("a.trace", trace), ("", 0))
    async with httpx2.AsyncClient(base_url=url, timeout=60) as client:
        for count in range(9):
            assert (await client.get("/at", params={"event": count})).status_code == 200
