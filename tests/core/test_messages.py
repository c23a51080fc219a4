"""Every text of the core that people read: ``messages.golden``.

Each scenario is a function below; what it yields is in the file under its name. ``pytest tests/core --rewrite-traces``
writes the file again; read the difference before you commit it. A wrong rule, name or number in a text shows, too.
"""

from __future__ import annotations

import json
from pathlib import Path

from devicemgr.concurrency.steps import run_steps
from devicemgr.core.allocation.container_options import merge_run_options, suspicious_texts
from devicemgr.core.allocation.explanation import (
    AlignmentExplanation,
    Explanation,
    RenderedHints,
    ResourceExplanation,
    render,
)
from devicemgr.core.allocation.plan import Request, plan_allocation
from devicemgr.core.checkpoint.kubelet_format import canonical_text, checksum_of, parse_checkpoint
from devicemgr.core.checkpoint.own_section import parse_section
from devicemgr.core.devices.endpoint import Endpoint
from devicemgr.core.devices.report import normalising
from devicemgr.core.devices.store import DeviceStore
from devicemgr.core.topology.alignment import Alignment, align
from devicemgr.core.topology.hints import Hint, container_hints
from devicemgr.core.topology.merge import merge_hints
from devicemgr.core.topology.numa import Numa
from devicemgr.core.topology.policy import Policy, Scope, Topology, parse_topology
from devicemgr.core.views.node_status import InsufficientResource, first_insufficient_resource
from devicemgr.errors import DeviceManagerError
from devicemgr.model import (
    Container,
    ContainerKind,
    Device,
    DeviceSpec,
    Mount,
    Owner,
    PluginOptions,
    Pod,
    RunOptions,
)
from tests.helpers import apply_list

GOLDEN = Path(__file__).with_name("messages.golden")
TWO = Numa(nodes=(0, 1), distances={0: (10, 20), 1: (20, 10)})
GPU = "v.com/gpu"
SCENARIOS = []


def scenario(function):
    SCENARIOS.append(function)
    return function


def said(function, *args, **kwargs):
    """What is returned, or the error: its class, its rule or code, and its text."""
    try:
        return function(*args, **kwargs)
    except DeviceManagerError as error:
        more = getattr(error, "rule", "") or getattr(error, "code", "")
        words = str(error).partition("is not base64: ")  # what follows are Python's words, and change with it
        return f"{type(error).__name__} {more}: {words[0]}{words[1]}"


def store_with(*devices, options=PluginOptions()):  # noqa: B008 - frozen
    store = DeviceStore()
    store.connect(Endpoint(resource=GPU, generation=1, socket="gpu.sock", options=options))
    apply_list(store, GPU, 1, devices)
    return store


def device(id, *nodes, health="Healthy"):
    return Device(id=id, health=health, numa_nodes=nodes or None)


def request(count, *, container="main", **more):
    return Request(owner=Owner("pod-1", container), resource=GPU, count=count, **more)


# --- allocation ------------------------------------------------------------------------------------------


def told_plan(plan):
    if isinstance(plan, str):
        yield plan
        return
    yield f"for {plan.request.owner}: held {plan.held}, reusable {plan.reusable}, takes {plan.devices}"
    if plan.split is not None:
        split = plan.split
        yield f"aligned {[*split.aligned]}, unaligned {[*split.unaligned]}, no affinity {[*split.no_affinity]}"
    yield from (f"{step.rule}: {step.devices} {step.because}" for step in plan.steps)
    if (asked := plan.preferred_request) is not None:
        yield f"asks for {asked.size} of {[*asked.available]}, with {asked.must_include}"


@scenario
def plans():
    store = store_with(*(device(f"d{n}", n % 2) for n in range(6)), device("free"))
    zero = frozenset({0})
    for title, asked, preferred in (
        ("fewer than are aligned", request(2, affinity=zero), ()),
        ("as many as are aligned", request(3, affinity=zero), ()),
        ("more than are aligned", request(5, affinity=zero), ()),
        ("all there are", request(7, affinity=zero), ()),
        ("without affinity", request(2), ()),
        ("advice", request(2, affinity=zero), ("d4", "d1", "d4", "gone")),
        ("advice for the rest", request(4, affinity=zero), ("free",)),
        ("what an init container left is enough", request(1, reusable=frozenset({"d5"})), ()),
        ("what an init container left, and more", request(2, reusable=frozenset({"d5"}), affinity=zero), ()),
        ("too many", request(8), ()),
        ("nothing", request(0), ()),
    ):
        yield f"- {title}"
        yield from told_plan(said(plan_allocation, store, asked, preferred=preferred))


@scenario
def plans_of_containers_that_hold_something():
    store = store_with(device("d0"), device("d1"))
    asked = request(1)
    store.reserve(asked.owner, GPU, ["d1"])
    yield from map(str, store.commit(asked.owner, GPU, ("d1",), RunOptions()))
    yield from told_plan(said(plan_allocation, store, asked))
    yield from told_plan(said(plan_allocation, store, request(2)))
    apply_list(store, GPU, 1, [device("d0"), device("d1", health="Unhealthy")])
    yield from told_plan(said(plan_allocation, store, asked))
    yield from told_plan(said(plan_allocation, store, request(1, is_running=True)))
    yield from told_plan(said(plan_allocation, store, request(3, is_running=True, container="other")))
    apply_list(store, GPU, 1, [device("d0", health="Unhealthy")])
    yield from told_plan(said(plan_allocation, store, request(1, container="other")))
    yield from told_plan(said(plan_allocation, DeviceStore(), request(1)))
    yield str(said(store.commit, Owner("pod-2", "main"), GPU, ("d0", "d9"), RunOptions()))


# --- topology --------------------------------------------------------------------------------------------


@scenario
def hints_in_words():
    yield from map(str, [Hint(None, True), Hint(None, False), Hint(0b101, True), Hint(0b10, False)])


@scenario
def merged_hints():
    near = Numa(nodes=(0, 1, 2), distances={0: (10, 90, 20), 1: (90, 10, 90), 2: (20, 90, 10)})
    wide = [Hint(0b011, True), Hint(0b101, True)]
    for lists, numa, closest in (
        ([[]], TWO, False),
        ([[Hint(1, True)]], TWO, False),
        ([[Hint(1, True), Hint(2, True)], [Hint(2, True), Hint(1, True)]], TWO, False),
        ([wide], near, True),
        ([wide], near, False),
        ([[Hint(1, True)], [Hint(2, True)]], TWO, False),
        ([[Hint(1, True)], [Hint(3, False)]], TWO, False),
        ([[Hint(0b11, False)], [Hint(0b110, False), Hint(0b111, False)]], near, False),
        ([], TWO, False),
    ):
        merged = merge_hints(lists, numa, prefer_closest=closest)
        yield f"{merged.hint}: {merged.because}"


@scenario
def policies():
    hints = [{GPU: [Hint(1, True), Hint(3, False)]}, None, {"v.com/nic": [], "v.com/any": None}]
    narrow = [{GPU: [Hint(1, True)]}]
    for policy in Policy:
        for providers in (hints, narrow, [{GPU: [Hint(3, False)]}], []):
            for closest in (False, True):
                alignment = align(Topology(policy=policy, scope=Scope.POD, prefer_closest=closest, numa=TWO), providers)
                yield f"{policy}: {alignment.admit}, {alignment.hint}: {alignment.because}"


@scenario
def topologies_that_cannot_be_used():
    eight, nine = Numa(nodes=tuple(range(8))), Numa(nodes=tuple(range(9)))
    closest, most = "prefer-closest-numa-nodes", "max-allowable-numa-nodes"
    for policy, scope, options, numa in (
        ("none", "nonsense", {"nonsense": "1"}, nine),
        ("best-effort", "container", {}, eight),
        ("best-effort", "container", {}, nine),
        ("best-effort", "container", {most: "9"}, nine),
        ("worst-effort", "container", {}, TWO),
        ("restricted", "node", {}, TWO),
        ("restricted", "pod", {closest: "true", most: "+12"}, TWO),
        ("restricted", "pod", {closest: "f"}, TWO),
        ("restricted", "pod", {closest: "yes"}, TWO),
        ("restricted", "pod", {closest: "1"}, Numa(nodes=(0, 1), distances={0: (10, 20)})),
        ("restricted", "pod", {most: "many"}, TWO),
        ("restricted", "pod", {most: "7"}, TWO),
        ("restricted", "pod", {most: "-9"}, TWO),
        ("restricted", "pod", {most: "--9"}, TWO),
        ("restricted", "pod", {most: "-+9"}, TWO),
        ("restricted", "pod", {most: "9" * 18}, TWO),
        ("restricted", "pod", {most: "9" * 19}, TWO),
        ("restricted", "pod", {most: "٩"}, TWO),
        ("restricted", "pod", {"colour": "red"}, TWO),
    ):
        yield str(said(parse_topology, policy, scope, options, numa))


# --- lists and answers -----------------------------------------------------------------------------------


@scenario
def lists_that_were_mended():
    for entries in (
        [device("a"), device("b", 0)],
        [device(""), device("")],
        [device("a", 0), device("a", 1, health="Unhealthy"), device("a", 0), device("b")],
        [device("a", health="Unhealthy"), device("a")],
        [device("a", health="odd" * 20), device("b", health="")],
        [device("a", -1), device("b", -2, 0), device("c", 1024, 1023), device("d", -1, 5000)],
        [device("a", 0), device("b", 1023)],
        [device("x" * 11), device("y" * 10)],
        [device(f"n{n}", health="?") for n in range(12)],
    ):
        report = run_steps(normalising(GPU, entries, id_length=10))
        yield f"- {[(one.id, one.health[:10], one.numa_nodes) for one in report.devices.values()]}"
        yield from map(str, report.problems)


@scenario
def answers_that_are_odd_or_in_conflict():
    one = RunOptions(
        envs={"A": "1", "B\x7f": "2\n"},
        mounts=(
            Mount(container_path="/a/..", host_path="b", read_only=True),
            Mount(container_path="/c", host_path="/..x"),
        ),
        device_specs=(DeviceSpec(container_path="/dev\t", host_path="../d", permissions="r\nw"),),
        annotations={"k\n": "v\n"},
        cdi_devices=("v.com/gpu=0", "v.com/gpu=\n"),
    )
    other = RunOptions(
        envs={"A": "2", "C": "3"},
        mounts=(Mount(container_path="/c", host_path="/other"),),
        device_specs=(DeviceSpec(container_path="/dev\t", host_path="/d", permissions="rw"),),
        annotations={"k\n": "w"},
        cdi_devices=("v.com/gpu=0", "v.com/gpu=1"),
    )
    yield from suspicious_texts(one)
    yield str(suspicious_texts(other))
    yield from suspicious_texts(
        RunOptions(
            envs={"": "a", "B=C": "d"},
            device_specs=(
                DeviceSpec(container_path="/dev/d", host_path="/dev/d", permissions=""),
                DeviceSpec(container_path="/dev/d", host_path="/dev/d", permissions="rwx"),
                DeviceSpec(container_path="/dev/d", host_path="/dev/d", permissions="mrw"),
            ),
            cdi_devices=(
                "gpu0",
                "v.com/gpu",
                "v.com/gpu=",
                "/gpu=0",
                "0v.com/gpu=0",
                "v.com/gpu=0:1",
                "k8s.v.com/a-b_c=all",
            ),
        )
    )
    yield from suspicious_texts(
        RunOptions(mounts=tuple(Mount(container_path=f"{n}", host_path="/x") for n in range(13)))
    )
    merged, conflicts = merge_run_options({"v.com/b": one, "v.com/a": other})
    yield str(merged)
    yield from map(str, conflicts)


@scenario
def insufficient_resources():
    yield (
        str(InsufficientResource(resource=GPU, requested=3, used=2, capacity=4))
        + " "
        + InsufficientResource(resource=GPU, requested=3, used=2, capacity=4).reason
    )
    for requests, used, allocatable in (
        ({GPU: 2}, {}, {GPU: 2}),
        ({GPU: 2}, {GPU: 1}, {GPU: 2}),
        ({GPU: 1, "v.com/a": 3}, {GPU: 9, "v.com/a": 1}, {GPU: 1, "v.com/a": 3}),
        ({GPU: 1}, {}, {}),
        ({"cpu": 1}, {}, {}),
        ({"cpu": 1, GPU: 0}, {"cpu": 1, GPU: 5}, {"cpu": 2, GPU: 1}),
    ):
        yield repr(first_insufficient_resource(requests, used, allocatable))


# --- checkpoints -----------------------------------------------------------------------------------------


def with_checksum(data, **more):
    return json.dumps({"Data": data, "Checksum": checksum_of(canonical_text(data)), **more})


@scenario
def checkpoints_that_are_not_believed():
    good = {
        "PodDeviceEntries": [
            {
                "PodUID": "p",
                "ContainerName": "c",
                "ResourceName": GPU,
                "DeviceIDs": {"-1": ["d2"], "10": ["d1"], "2": ["d1"]},
                "AllocResp": "Cg\nA=",
            }
        ],
        "RegisteredDevices": {GPU: ["d1", "d2"], "v.com/a": None},
    }
    yield canonical_text(good)
    yield canonical_text({"PodDeviceEntries": [], "RegisteredDevices": {}})
    yield canonical_text({"PodDeviceEntries": [{}], "RegisteredDevices": None})
    yield str(said(parse_checkpoint, with_checksum(good, Other={"x": 1})))
    yield str(said(parse_checkpoint, with_checksum({"PodDeviceEntries": [None]})))
    entry = good["PodDeviceEntries"][0]
    for text in (
        "",
        "[1]",
        "null",
        "{}",
        '{"Data": 3}',
        '{"Data": {}, "Checksum": true}',
        '{"Data": {}, "Checksum": "1"}',
        '{"Data": {}, "Checksum": 1}',
        '{"Data": {"RegisteredDevices": []}}',
        '{"Data": {"RegisteredDevices": {"\\ud800": []}}}',
        with_checksum(good, DeviceManages={"Checksum": 1}),
        *(
            json.dumps({"Data": {"PodDeviceEntries": rows}, "Checksum": 1})
            for rows in (
                "x" * 200,
                ["x"],
                [{**entry, "PodUID": 1}],
                [{**entry, "ContainerName": []}],
                [{**entry, "DeviceIDs": "x"}],
                [{**entry, "DeviceIDs": {"one": []}}],
                [{**entry, "DeviceIDs": {"1": "d"}}],
                [{**entry, "DeviceIDs": {"1": [1]}}],
                [{**entry, "AllocResp": 1}],
                [{**entry, "AllocResp": "A"}],
            )
        ),
    ):
        yield str(said(parse_checkpoint, text))


@scenario
def sections_that_are_not_believed():
    data = {"Layout": 2, "Pods": [], "PluginOptions": {}, "RemovedResources": [], "Unconfirmed": [], "BootID": "b"}

    def section(**changes):
        changed = {**data, **changes}
        text = json.dumps(changed, ensure_ascii=False, separators=(",", ":"), sort_keys=True)
        return {"Data": changed, "Checksum": checksum_of(text)}

    options = {"PreStartRequired": True, "GetPreferredAllocationAvailable": False}
    pod = {"Namespace": "n", "Name": "p", "UID": "u", "Containers": [{"Name": "c", "Kind": "init", "Limits": {GPU: 2}}]}
    for value in (
        section(Pods=[pod], PluginOptions={GPU: options}, RemovedResources=[GPU]),
        section(Layout=99),
        {**section(), "Checksum": 1},
        section(Pods=[{}]),
        section(Pods=[{**pod, "Containers": [{"Name": "c", "Kind": "odd", "Limits": {}}]}]),
        section(PluginOptions=[]),
        {},
        [],
        None,
    ):
        yield str(said(parse_section, value))


# --- explanations ---------------------------------------------------------------------------------------------


def explained(explanation):
    return render(json.loads(json.dumps(explanation.as_json())))


@scenario
def the_explanation_of_a_pod():
    store = store_with(*(device(f"d{n}", n % 2) for n in range(6)), device("bad", health="Unhealthy"))
    containers = (
        Container(name="setup", kind=ContainerKind.INIT, limits={GPU: 1}),
        Container(name="proxy", kind=ContainerKind.SIDECAR, limits={}),
        Container(name="main", limits={GPU: 4, "v.com/none": 0}),
    )
    pod = Pod(name="p", namespace="n", uid="u", containers=containers)
    topology = Topology(policy=Policy.RESTRICTED, scope=Scope.CONTAINER, numa=TWO)
    explanation = Explanation.about(pod, time=1.0, topology=topology)
    yield from explained(explanation)
    hints = container_hints(store, Owner("u", "main"), containers[2], {}, TWO)
    hints = {**hints, "v.com/any": None, "v.com/no": []}
    explanation.containers["main"].alignment = AlignmentExplanation(align(topology, [hints]), hints)
    setup, main = explanation.containers["setup"].resources[GPU], explanation.containers["main"].resources[GPU]
    for account, asked in (
        (setup, request(1, affinity=frozenset({0}))),
        (main, request(4, reusable=frozenset({"d0"}))),
    ):
        account.planned(plan_allocation(store, asked))
    yield from explained(explanation)
    main.preferred_allocation = ()
    main.answered(RunOptions(envs={"A": "1", "B": "2"}, mounts=(Mount(container_path="/a", host_path="/b"),)))
    setup.preferred_allocation = ("d2", "d4")
    setup.answered(RunOptions())
    explanation.admitted, explanation.waited_for = True, (GPU, "v.com/nic")
    explanation.later_refusals.append({"message": "no", "rule": "X-1"})
    yield from explained(explanation)
    explanation.admitted = False
    explanation.refuse("Reason", "message", "RULE-1")
    explanation.alignment = AlignmentExplanation(align(topology, []), {})
    yield from explained(explanation)
    yield str(explanation.took_devices)


@scenario
def the_explanation_of_a_pod_that_was_refused():
    store = store_with(*(device(f"d{n}") for n in range(14)), device("bad", health="Unhealthy"))
    store.reserve(Owner("other", "main"), GPU, ["d0", "d1"])
    pod = Pod(name="p", namespace="n", uid="u", containers=(Container(name="main", limits={GPU: 20, "v.com/x": 1}),))
    explanation = Explanation.about(pod, time=1.0, topology=Topology())
    explanation.containers["main"].resources[GPU].refused(store, GPU)
    explanation.containers["main"].resources["v.com/x"].refused(store, "v.com/x")
    explanation.refuse("UnexpectedAdmissionError", "because", "ALLOC-E6")
    yield from explained(explanation)
    yield json.dumps(explanation.as_json())


@scenario
def the_story_of_a_pod_from_an_earlier_run():
    store = store_with(device("d0"), device("d1"))
    pod = Pod(name="p", namespace="n", uid="u", containers=(Container(name="main", limits={GPU: 2}),))
    owner = Owner("u", "main")
    store.reserve(owner, GPU, ["d1", "d0"])
    store.commit(owner, GPU, ("d1", "d0"), RunOptions())
    explanation = Explanation.from_before_restart(store, pod)
    yield from explained(explanation)
    yield json.dumps(explanation.as_json())
    yield str(ResourceExplanation(requested=1))


@scenario
def the_explanation_of_what_cannot_be_listed_in_full():
    """Too many hints, nodes that this machine does not have, and many devices."""
    limits = {GPU: 1, "v.com/nic": 2, "v.com/no": 1, "v.com/here": 0, "v.com/counted": 3}
    pod = Pod(name="p", namespace="n", uid="u", containers=(Container(name="main", limits=limits),))
    explanation = Explanation.about(
        pod, time=1.5, topology=Topology(policy=Policy.BEST_EFFORT, scope=Scope.POD, numa=TWO)
    )
    words = [f"nodes {{{n}}} (preferred)" for n in range(12)]
    hints = {
        GPU: RenderedHints(words, is_complete=False),
        "v.com/nic": RenderedHints([], is_complete=False),
        "v.com/all": RenderedHints(words[:10], is_complete=True),
        "v.com/most": RenderedHints(words[:11], is_complete=True),
        "v.com/no": [],
        "v.com/none": [],
    }
    undecided = Alignment(hint=Hint(None, False), admit=False, because="there are too many", is_decided=False)
    explanation.alignment = AlignmentExplanation(undecided, hints)
    explanation.absent_nodes["v.com/no"] = (7, 9)
    main = explanation.containers["main"].resources
    main[GPU].planned(plan_allocation(store_with(*(device(f"d{n:02}") for n in range(60))), request(1)))
    main[GPU].answered(
        RunOptions(
            envs={"A": "1"},
            mounts=tuple(Mount(container_path=f"/{n}", host_path="/b") for n in range(2)),
            device_specs=(DeviceSpec(container_path="/d", host_path="/d", permissions="rw"),) * 2,
            annotations={"a": "b"},
            cdi_devices=("v.com/gpu=0", "v.com/gpu=1"),
        )
    )
    main["v.com/nic"].held = ("n1", "n2")
    main["v.com/counted"].node_resource = 7
    yield from explained(explanation)
    yield json.dumps(explanation.as_json())
    older = explanation.as_json()
    del older["absent_nodes"], older["alignment"]["truncated"]  # as an older daemon, which had neither, says it
    yield from render(older)


@scenario
def the_explanation_of_a_pod_without_a_policy():
    pod = Pod(name="p", namespace="n", uid="u", containers=(Container(name="main", limits={}),))
    explanation = Explanation.about(pod, time=1.0, topology=Topology())
    explanation.admitted = True
    yield from explained(explanation)
    yield from explained(Explanation.about(pod, time=1.0))
    yield str(explanation.took_devices)


def test_every_text_is_the_one_that_was_read(request):
    lines = []
    for function in SCENARIOS:
        lines += [f"# {function.__name__.replace('_', ' ')}", "", *map(str, function()), ""]
    text = "\n".join(lines)
    if request.config.getoption("--rewrite-traces"):
        GOLDEN.write_text(text)
    assert text.splitlines() == GOLDEN.read_text().splitlines()
