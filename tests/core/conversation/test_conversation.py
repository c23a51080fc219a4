"""Events → a conversation: its order, its lifelines, and what is missing."""

from __future__ import annotations

import dataclasses
import json
from xml.etree import ElementTree

import pytest

from devicemgr import events
from devicemgr.core.conversation.drawing import MOST_DRAWN, MOST_PLUGINS, drawing_of
from devicemgr.core.conversation.items import API_SERVER, CALLER, CHECK, MANAGER, Lifeline, Message
from devicemgr.core.conversation.mermaid import mermaid
from devicemgr.core.conversation.notes import NOTES, SILENT
from devicemgr.core.conversation.rules import RULES
from devicemgr.core.conversation.stream import Conversation
from devicemgr.core.conversation.svg import svg
from devicemgr.core.conversation.text import lines_of
from devicemgr.daemon.page.event_texts import EventTexts
from devicemgr.rpc.deviceplugin.methods import METHODS
from devicemgr.rules.book import read_book
from tests.core.conversation.told import lines, told

GPU = "vendor.com/gpu"
SVG = "{http://www.w3.org/2000/svg}"


def call(method="Allocate", *, time, seconds, endpoint="gpu.sock", outcome="OK", **fields):
    return {
        "event": "CallFinished",
        "time": time,
        "resource": GPU,
        "method": method,
        "seconds": seconds,
        "outcome": outcome,
        "endpoint": endpoint,
        **fields,
    }


def test_a_line_has_who_what_how_it_ended_and_when():
    event = call(time=103.5, seconds=0.0012, sent="dev-0", received="1 device node")
    assert lines([event], since=100.0) == [
        "    3.500 s    manager → gpu.sock [vendor.com/gpu]       Allocate(dev-0) ⇢ 1 device node (1.2 ms)"
    ]


def test_a_call_that_failed_is_marked_and_says_why():
    event = call(time=1.0, seconds=60.0, outcome="DEADLINE_EXCEEDED", received="not answered")
    (line,) = lines([event])
    assert line.startswith("! ")
    assert line.endswith("Allocate() ⇢ DEADLINE_EXCEEDED: not answered (60.0 s)")


FOLDED = {
    None: """\
    0.000 s    manager → gpu.sock [vendor.com/gpu]       Allocate(dev-0, dev-1) ⇢ 2 environment variables (1.2 ms)
    0.500 s  ! manager                                   peer limit lists: vendor.com/gpu: the list is not read""",
    130: """\
    0.000 s    manager → gpu.sock [vendor.com/gpu]  Allocate(dev-0, dev-1) ⇢ 2 environment variables (1.2 ms)
    0.500 s  ! manager                              peer limit lists: vendor.com/gpu: the list is not read""",
    92: """\
    0.000 s    manager → gpu.sock [vendor.com/gpu]  Allocate(dev-0, dev-1)
                                                    ⇢ 2 environment variables (1.2 ms)
    0.500 s  ! manager                              peer limit lists: vendor.com/gpu: the
                                                    list is not read""",
    80: """\
    0.000 s    manager → gpu.sock [vendor.com/gpu]
                 Allocate(dev-0, dev-1) ⇢ 2 environment variables (1.2 ms)
    0.500 s  ! manager
                 peer limit lists: vendor.com/gpu: the list is not read""",
    46: """\
    0.000 s    manager → gpu.sock
                 [vendor.com/gpu]
                 Allocate(dev-0, dev-1)
                 ⇢ 2 environment variables
                   (1.2 ms)
    0.500 s  ! manager
                 peer limit lists:
                 vendor.com/gpu: the list is
                 not read""",
}


@pytest.mark.parametrize("columns", FOLDED)
def test_on_a_terminal_lines_are_folded_and_elsewhere_they_are_not(columns):
    stories = [
        call(time=100.0, seconds=0.0012, sent="dev-0, dev-1", received="2 environment variables"),
        {
            "event": "PeerLimitReached",
            "time": 100.5,
            "limit": "lists",
            "peer": GPU,
            "consequence": "the list is not read",
        },
    ]
    assert lines_of(told(stories), since=100.0, columns=columns) == FOLDED[columns].splitlines()


def test_in_a_picture_calls_side_by_side_are_asked_before_they_are_answered():
    calls = [call("A", time=10.2, seconds=0.15), call("B", time=10.3, seconds=0.2)]
    asked = [arrow.text for arrow in drawing_of(told(calls)).arrows if not arrow.is_reply]
    whole = [arrow.text for arrow in drawing_of(told(calls)).arrows]
    assert (asked, whole) == (["A()", "B()"], ["A()", "B()", "OK (150.0 ms)", "OK (200.0 ms)"])


def test_a_clock_that_goes_back_is_noted_and_changes_no_order_in_a_picture():
    events = [call("A", time=90.0, seconds=0.0), call("B", time=10.0, seconds=0.2), call("C", time=11.0, seconds=0.5)]
    items = told(events)
    assert [item.text for item in items] == ["A()", "the clock goes back by 80.000 s", "B()", "C()"]
    whole = [arrow.text for arrow in drawing_of(items).arrows]
    assert whole == ["B()", "A()", "OK (0.0 ms)", items[1].text, "OK (200.0 ms)", "C()", "OK (500.0 ms)"]


def test_old_traces_name_no_socket_and_the_plugin_is_found_nevertheless():
    stories = [
        {"event": "RegistrationRequested", "version": "v1beta1", "endpoint": "a.sock", "resource": GPU},
        {"event": "CallFinished", "resource": GPU, "method": "GetDevicePluginOptions", "seconds": 0.1, "outcome": "OK"},
        {"event": "PluginRegistered", "resource": GPU, "endpoint": "a.sock", "generation": 1},
        {"event": "DeviceListApplied", "resource": GPU, "capacity": 2, "allocatable": 1},
        {"event": "EndpointStopped", "resource": GPU, "generation": 1, "reason": "gone"},
    ]
    plugins = {one for item in told(stories) if hasattr(item, "source") for one in (item.source, item.target)}
    assert plugins == {MANAGER, Lifeline("a.sock", GPU)}


def test_a_list_that_is_in_force_because_of_a_promotion_is_no_message():
    stories = [
        {"event": "PluginRegistered", "resource": GPU, "endpoint": "a.sock", "generation": 1},
        {"event": "PluginPromoted", "resource": GPU, "endpoint": "a.sock", "generation": 1},
        {"event": "DeviceListApplied", "resource": GPU, "generation": 1, "capacity": 2, "allocatable": 2},
        {"event": "DeviceListApplied", "resource": GPU, "generation": 1, "capacity": 3, "allocatable": 3},
    ]
    *_, promoted, last = told(stories)
    assert not isinstance(promoted, Message)
    assert isinstance(last, Message)


def test_the_list_of_a_plugin_that_stands_by_is_told_and_not_the_same_list_twice():
    devices = [{"id": "a", "health": "Healthy"}, {"id": "b", "health": "Unhealthy"}]
    stories = [
        {"event": "PluginRegistered", "resource": GPU, "endpoint": "a.sock", "generation": 1},
        {"event": "PluginRegistered", "resource": GPU, "endpoint": "b.sock", "generation": 2},
        {"event": "DeviceListReceived", "resource": GPU, "generation": 2, "devices": devices},
        {"event": "DeviceListReceived", "resource": GPU, "generation": 1, "devices": devices},
    ]
    assert lines(stories)[4:] == [
        "  a.sock [vendor.com/gpu] ⇢ manager         list: 2 devices, 1 unhealthy (not in force)"
    ]


NAMES = [f"d{number}" for number in range(20)]
CHANGES = [
    ({}, ""),
    ({"added": ["a"], "removed": ["b"]}, " (new a; gone b)"),
    ({"added": NAMES, "omitted": 980}, " (new 1,000 devices)"),
    ({"added": NAMES[:2], "changed": NAMES, "omitted": 5}, " (new d0, d1; changed 25 devices)"),
    (
        {"added": NAMES, "removed": NAMES, "changed": ["a"], "omitted": 980},
        " (new at least 20 devices; gone at least 20 devices; changed a; 980 more changes)",
    ),
    ({"omitted": 1000}, " (not compared with the list before)"),
]


@pytest.mark.parametrize(
    ("fields", "changes"), CHANGES, ids=["none", "few", "one", "longest", "several", "not compared"]
)
def test_of_a_long_list_it_is_said_how_many_devices_are_new_and_not_how_many_are_named(fields, changes):
    applied = {"event": "DeviceListApplied", "resource": GPU, "capacity": 1000, "allocatable": 1000}
    assert [item.text for item in told([{**applied, **fields}])] == [f"list: 1,000 devices{changes}"]


def test_a_node_tells_the_api_server():
    cluster = [
        {"event": "NodeRegistered", "node": "n", "uid": "u", "existed": False},
        {"event": "NodeStatusPublished", "node": "n", "capacity": {GPU: 2, "x/y": 1}, "allocatable": {GPU: 1}},
        {"event": "PodStatusPublished", "namespace": "d", "name": "p", "uid": "u", "phase": "Failed", "reason": "No"},
        {"event": "ApiRequestRefused", "what": "delete d/p", "problem": "403"},
        {"event": "ApiServerLost", "server": "s", "problem": "refused"},
    ]
    assert lines(cluster) == [
        f"  {'manager → API server':40}  Node n: created",
        f"  {'manager → API server':40}  allocatable: vendor.com/gpu 1 of 2, x/y 0 of 1",
        f"  {'manager → API server':40}  pod d/p: Failed No",
        f"! {'API server ⇢ manager':40}  refused: delete d/p: 403",
        f"! {'manager':40}  the API server does not answer: refused",
    ]
    assert drawing_of(told(cluster)).lifelines == (MANAGER, API_SERVER)


def test_what_a_pod_is_about_is_known_for_the_events_that_have_its_uid_only():
    stories = [
        {"event": "PodAdmissionRequested", "namespace": "d", "name": "p", "uid": "u", "limits": {GPU: 2}},
        {"event": "ContainerStarted", "pod_uid": "u", "container": "main"},
    ]
    assert [item.about for item in told(stories)] == [frozenset([GPU])] * 2


OF_A_POD = [
    ({"event": "ContainerStarted"}, "container main of pod d/p starts, with what the plug-ins answered"),
    ({"event": "ContainerNotStarted", "message": "no"}, "container main of pod d/p cannot start: no"),
    ({"event": "DevicesAllocated", "resource": "x/y", "devices": ["a"]}, "container main of pod d/p gets a [x/y]"),
    (
        {"event": "DeviceHealthChanged", "resource": "x/y", "device": "a", "health": "Unknown"},
        "a of container main of pod d/p is Unknown [x/y]",
    ),
    (
        {"event": "PodWaiting", "namespace": "d", "name": "p", "resources": ["x/y"]},
        "pod d/p waits for plug-ins to come back [x/y]",
    ),
    (
        {"event": "PodAligned", "scope": "container", "aligned": True},
        "a container of pod d/p is aligned on one NUMA node [vendor.com/gpu, x/y]",
    ),
    (
        {"event": "PodAligned", "scope": "pod", "aligned": False},
        "pod d/p cannot be aligned on one NUMA node [vendor.com/gpu, x/y]",
    ),
    (
        {"event": "AnswersConflicted", "part": "env", "key": "K", "kept": "a/b", "ignored": "x/y"},
        "container main of pod d/p: env K: that of a/b is kept, that of x/y is ignored [a/b, x/y]",
    ),
]


@pytest.mark.parametrize(("event", "sentence"), OF_A_POD, ids=[event["event"] for event, _ in OF_A_POD])
def test_what_happens_to_a_pod_says_whose_it_is_and_of_which_resource(event, sentence):
    admission = {
        "event": "PodAdmissionRequested",
        "namespace": "d",
        "name": "p",
        "uid": "u",
        "limits": {GPU: 2, "x/y": 1},
    }
    assert lines([admission, {"pod_uid": "u", "uid": "u", "container": "main", **event}])[-1].endswith(f"  {sentence}")


def test_a_pod_of_an_earlier_run_has_its_name_and_its_resources():
    """Assignments are restored before the pods are, and neither is told by itself."""
    stories = [
        {"event": "AssignmentRestored", "pod_uid": "u", "container": "main", "resource": GPU, "devices": {"a": None}},
        {"event": "AssignmentRestored", "pod_uid": "u", "container": "main", "resource": "x/y", "devices": {"b": None}},
        {"event": "PodRestored", "namespace": "d", "name": "p", "uid": "u"},
        {"event": "ContainerStarted", "pod_uid": "u", "container": "main"},
        {"event": "ContainerStarted", "pod_uid": "another", "container": "main"},
    ]
    told_of_it, told_of_another = told(stories)
    assert told_of_it.text.startswith("container main of pod d/p starts")
    assert told_of_it.about == {GPU, "x/y"}
    assert told_of_another.text.startswith("container main of pod uid another starts")


HANGS = [
    {"event": "ManagerReady", "time": 1000.0, "policy": "none", "kubernetes_version": "1.37"},
    call(time=1061.0, seconds=60.0, sent="a", outcome="DEADLINE_EXCEEDED"),
    call(time=1061.5, seconds=0.0012, sent="b", received="nothing to add"),
]


def test_a_picture_says_when_and_how_long_an_answer_took():
    """In seconds since the first event, as the text does. A hang of a minute does not look like an answer at once."""
    diagram = mermaid(drawing_of(told(HANGS))).splitlines()[3:]
    assert diagram == [
        "    Note over L1: 0.000 s · the manager is ready: topology policy none, Kubernetes 1.37",
        "    L1->>L0: 1.000 s · Allocate(a)",
        "    L0--xL1: 61.000 s · DEADLINE_EXCEEDED (60.0 s)",
        "    L1->>L0: 61.499 s · Allocate(b)",
        "    L0-->>L1: 61.500 s · nothing to add (1.2 ms)",
        "    Note over L0,L1: solid: a call · dashed: an answer, or an entry of a stream · "
        "times: seconds since 1970-01-01T00:16:40.000Z · cross: a failure",
    ]
    picture = ElementTree.fromstring(svg(drawing_of(told(HANGS))))
    times = [text.text for text in picture.iter(f"{SVG}text") if text.get("class") == "time"]
    assert times == ["0.000 s", "1.000 s", "61.000 s", "61.499 s", "61.500 s"]
    shown = " ".join(text.text or "" for text in picture.iter(f"{SVG}text"))
    for words in ("DEADLINE_EXCEEDED (60.0 s)", "nothing to add (1.2 ms)", "seconds since 1970-01-01T00:16:40.000Z"):
        assert words in shown


def test_a_picture_is_heard_row_by_row():
    """Who says it to whom is drawn, and in words nowhere else."""
    picture = ElementTree.fromstring(svg(drawing_of(told(HANGS))))
    assert picture.get("role") is None, "an image has no text inside"
    assert [row.get("aria-label") for row in picture.iter(f"{SVG}g")] == [
        "0.000 s, manager: the manager is ready: topology policy none, Kubernetes 1.37",
        "1.000 s, manager to gpu.sock [vendor.com/gpu]: Allocate(a)",
        "61.000 s, gpu.sock [vendor.com/gpu] to manager: DEADLINE_EXCEEDED (60.0 s), which is a failure or a warning",
        "61.499 s, manager to gpu.sock [vendor.com/gpu]: Allocate(b)",
        "61.500 s, gpu.sock [vendor.com/gpu] to manager: nothing to add (1.2 ms)",
    ]


@pytest.mark.parametrize("resource", [GPU, "x/y"])
def test_a_note_names_its_resource_in_every_view(resource):
    event = {"event": "PluginStandsBy", "resource": resource, "endpoint": "a.sock"}
    drawing = drawing_of(told([event]))
    page = json.loads(EventTexts().text_of(event, "info"))["said"][0]["text"]
    for view in (mermaid(drawing), svg(drawing), *lines([event]), page):
        assert f"a.sock stands by [{resource}]" in view


def test_of_a_stream_without_end_the_latest_registrations_are_remembered():
    """A plug-in that registers again and again takes no more memory for that. Whose registration is forgotten goes by
    the latest socket of its resource."""
    conversation = Conversation()
    for number in range(10_010):
        registered = {"event": "PluginRegistered", "resource": GPU, "endpoint": f"{number}.sock", "generation": number}
        conversation.tell(registered)
    applied = {"event": "DeviceListApplied", "resource": GPU, "capacity": 1, "allocatable": 1}
    sources = [conversation.tell({**applied, "generation": number})[0].source.name for number in (0, 20, 10_009)]
    assert sources == ["10009.sock", "20.sock", "10009.sock"]


def test_events_that_are_missing_are_told():
    """The log keeps the last thousand; and a reader may be slower than they come."""
    stories = [{"event": "ManagerStopping", "sequence": number} for number in (5, 6, 6, 10, 1, 2)]
    texts = [item.text for item in told(stories)]
    assert [text for text in texts if "missing" in text] == ["4 events are missing here", "3 events are missing here"]


def test_each_check_of_a_trace_of_check_begins_with_its_name():
    calls = {"event": "CheckCallFinished", "resource": GPU, "method": "Allocate", "outcome": "OK", "seconds": 0.1}
    stories = [
        {"check": "registers", "instance": 1, "sequence": 1, "event": "ManagerReady"},
        {"check": "restart", "instance": 2, **calls, "request": {"containers": [["a", "b"]]}, "response": [{}]},
    ]
    notes_and_calls = told(stories)
    assert [one.text for one in notes_and_calls[::2]] == ["check registers", "check restart, instance 2"]
    assert (notes_and_calls[-1].source, notes_and_calls[-1].text) == (CHECK, "Allocate(a, b)")


def test_a_picture_is_bounded_and_says_what_it_leaves_out():
    many = [call(time=float(n), seconds=0.0, endpoint=f"{n % 30}.sock") for n in range(MOST_DRAWN + 7)]
    drawing = drawing_of(told(many))
    assert len(drawing.lifelines) == MOST_PLUGINS + 1
    assert drawing.left_out == "not drawn: 7 earlier steps and 10 more plug-ins"
    assert drawing.left_out in mermaid(drawing)
    assert drawing.left_out in svg(drawing)


def test_callers_have_a_lifeline_only_if_they_say_something():
    assert drawing_of(told([call(time=1.0, seconds=0.1)])).lifelines == (Lifeline("gpu.sock", GPU), MANAGER)
    admitted = {"event": "PodAdmitted", "namespace": "d", "name": "p", "uid": "u"}
    assert drawing_of(told([admitted])).lifelines == (MANAGER, CALLER)


KINDS = [name for name in events.__all__ if name not in ("Event", "Severity", "as_json")]


@pytest.mark.parametrize("kind", KINDS)
def test_every_event_is_told_even_if_its_fields_are_missing_or_nonsense(kind):
    fields = [field.name for field in dataclasses.fields(getattr(events, kind))]
    for value in (None, 7, "x" * 1_000_000, ["a", 1, None], {"a": 1, 2: 3}, float("nan"), -1, 10**400):
        drawing = drawing_of(told([{"event": kind, "time": value} | dict.fromkeys(fields, value)]))
        assert svg(drawing)
        assert mermaid(drawing)
    assert bool(told([{"event": kind}])) == (kind not in SILENT)


def test_an_event_of_another_version_is_told_by_its_fields():
    assert lines([{"event": "SomethingNew", "sequence": 1, "name": "a\n", "n": 10**5000, "x": 1.5}]) == [
        f"  {'manager':40}  SomethingNew: name=a\\n, x=1.5"
    ]
    assert told([{"event": 7}, {}]) == []


@pytest.mark.parametrize("name", RULES)
def test_every_rule_is_in_the_book_and_belongs_to_an_event_or_a_call(name):
    assert RULES[name] in read_book()
    assert name in KINDS or name in {method.name for method in METHODS}


def test_every_note_is_about_an_event_that_exists():
    assert set(NOTES) <= set(KINDS)


def test_a_picture_has_whole_labels_within_its_edges():
    """Also of a note, which is drawn around the last lifeline if there is no caller."""
    words = "a call whose arguments are longer than there is room for between two lifelines of a picture"
    stories = [call(time=2.0, seconds=1.0, sent=words), {"event": "SocketReplaced", "path": words}]
    picture = ElementTree.fromstring(svg(drawing_of(told(stories))))
    shown = " ".join(text.text or "" for text in picture.iter(f"{SVG}text"))
    assert f"Allocate({words})" in shown
    (box,) = picture.iter(f"{SVG}rect")
    assert 0 <= float(box.get("x")) <= float(picture.get("width")) - float(box.get("width"))
