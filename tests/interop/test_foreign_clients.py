"""Our side as a server, and clients that have none of our code: what they call, and what they may get wrong."""

from __future__ import annotations

import sys
from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path

import pytest
import trio
from grpc import StatusCode

from devicemgr.errors import RpcFailed
from devicemgr.model import RunOptions
from devicemgr.testing.plugin.simulated import numbered_devices

from .clients import Call
from .conftest import Node, Process, new_node, wait_until

GPU = "vendor.com/gpu"
ENDPOINT = "vendor.com-gpu.sock"
HUGE = 20 * 2**20
AT_ONCE = 16
CYCLES = 500
PATIENCE = 60.0

PLUGIN = "/v1beta1.DevicePlugin"
OPTIONS = Call(method=f"{PLUGIN}/GetDevicePluginOptions")
WATCH = Call(method=f"{PLUGIN}/ListAndWatch")
ALLOCATE = Call(method=f"{PLUGIN}/Allocate", request={"container_requests": [{"devices_ids": ["dev-0"]}]})
REGISTER = Call(method="/v1beta1.Registration/Register")
LIST = Call(method="/v1.PodResourcesLister/List")
GET = Call(method="/v1.PodResourcesLister/Get")
ALLOCATABLE = Call(method="/v1.PodResourcesLister/GetAllocatableResources")


def ids(message):
    return [device["ID"] for device in message.get("devices", [])]


@dataclass(frozen=True, kw_only=True)
class Served:
    """A daemon and ``python -m devicemgr plugin`` on one node: nothing that a client does here changes them."""

    node: Node
    daemon: Process
    plugin: Process

    @property
    def kubelet(self):
        """Where plug-ins register."""
        return self.node.plugins / "kubelet.sock"

    @property
    def pod_resources(self):
        return self.node.root / "pod-resources" / "kubelet.sock"

    @property
    def plugin_socket(self):
        return self.node.plugins / ENDPOINT


@pytest.fixture(scope="module")
def served():
    with new_node() as node:
        # Nobody is slowed down: there are more callers here than a node has.
        daemon = node.start_daemon("--peer-limit", "time-share=1", "--peer-limit", "registration-rate=1000")
        named = ["--resource", GPU, "--endpoint", ENDPOINT]
        options = [*named, "--count", "3", "--numa", "0,1", "--pre-start", "--preferred"]
        plugin = node.run("plugin", [sys.executable, "-m", "devicemgr", "plugin", "--root-dir", node.root, *options])
        node.wait_for_resource(GPU, allocatable=3)
        yield Served(node=node, daemon=daemon, plugin=plugin)


# --- a plug-in of ours as a program -------------------------------------------------------------------


def test_a_client_calls_every_method_of_our_plugin(client, served):
    question = {"available_deviceIDs": ["dev-0", "dev-1"], "must_include_deviceIDs": ["dev-1"], "allocation_size": 1}
    options, watched, preferred, allocated, started = client.in_turn(
        served.plugin_socket,
        OPTIONS,
        replace(WATCH, messages=1),
        Call(method=f"{PLUGIN}/GetPreferredAllocation", request={"container_requests": [question]}),
        Call(method=ALLOCATE.method, request={"container_requests": [{"devices_ids": ["dev-0"]}, {"devices_ids": []}]}),
        Call(method=f"{PLUGIN}/PreStartContainer", request={"devices_ids": ["dev-0"]}),
    )
    assert options.message == {"pre_start_required": True, "get_preferred_allocation_available": True}
    assert watched.code is StatusCode.CANCELLED, "by the client"
    nodes = [{"nodes": [{"ID": "1"}] if number == 1 else [{}]} for number in range(3)]
    assert watched.messages == [
        {"devices": [{"ID": f"dev-{n}", "health": "Healthy", "topology": nodes[n]} for n in range(3)]}
    ]
    assert preferred.message == {"container_responses": [{"deviceIDs": ["dev-1"]}]}
    first, second = allocated.message["container_responses"]
    assert first["envs"] == {"GPU_DEVICES": "dev-0"}
    assert first["devices"] == [{"container_path": "/dev/dev-0", "host_path": "/dev/null", "permissions": "rw"}]
    assert second == {"envs": {"GPU_DEVICES": ""}}
    assert started.message == {}


# --- a plug-in of ours in this program --------------------------------------------------------------


async def in_thread(function, plugin, *arguments, **options):
    """The verb of a client, called with the plug-in's socket, while the plug-in goes on here."""
    call = partial(function, plugin.directory / plugin.endpoint, *arguments, **options)
    return await trio.to_thread.run_sync(call)


async def test_a_client_reads_one_list_after_the_other_short_and_long(client, open_plugin):
    lists = [numbered_devices(count) for count in (10_000, 3, 0, 10_000)]
    async with open_plugin(devices=2) as plugin:
        changes = iter([*lists, lists[-1]])

        def change(message):
            trio.from_thread.run_sync(plugin.set_devices, next(changes))

        answer = await in_thread(client.call, plugin, replace(WATCH, messages=5), change)

    assert answer.code is StatusCode.CANCELLED
    assert [ids(message) for message in answer.messages] == [
        ["dev-0", "dev-1"],
        *([device.id for device in devices] for devices in lists),
    ]


async def test_a_stream_that_we_end_has_ended_well(client, open_plugin):
    async with open_plugin() as plugin:
        answer = await in_thread(client.call, plugin, WATCH, lambda _: trio.from_thread.run_sync(plugin.end_stream))
    assert (answer.code, len(answer.messages)) == (StatusCode.OK, 1)


async def test_a_call_whose_deadline_passes_is_given_up_at_both_ends(client, open_plugin):
    given_up = trio.Event()

    async def never(devices):
        try:
            await trio.sleep_forever()
        finally:
            given_up.set()

    async with open_plugin() as plugin:
        plugin.on_allocate = never
        late, after = await in_thread(client.in_turn, plugin, replace(ALLOCATE, timeout=1.5), OPTIONS)
        with trio.fail_after(PATIENCE):
            await given_up.wait()

    assert late.code is StatusCode.DEADLINE_EXCEEDED
    assert after.code is StatusCode.OK


async def test_a_failure_keeps_its_status_and_its_text(client, open_plugin):
    async def fail(devices):
        raise RpcFailed("50 % of the devices are gone: ünplugged\n", status="UNKNOWN")

    async with open_plugin() as plugin:
        plugin.on_allocate = fail
        answer = await in_thread(client.call, plugin, ALLOCATE)
    assert (answer.code, answer.text) == (StatusCode.UNKNOWN, "50 % of the devices are gone: ünplugged\n")


async def test_sixteen_calls_on_one_connection_are_answered_at_the_same_time(client, open_plugin):
    waiting = []
    all_are_here = trio.Event()

    async def answer_when_all_are_here(devices):
        waiting.append(devices)
        if len(waiting) == AT_ONCE:
            all_are_here.set()
        await all_are_here.wait()
        return RunOptions(envs={"DEVICES": ",".join(devices)})

    calls = [
        Call(method=ALLOCATE.method, request={"container_requests": [{"devices_ids": [f"dev-{number}"]}]})
        for number in range(AT_ONCE)
    ]
    async with open_plugin(devices=AT_ONCE) as plugin:
        plugin.on_allocate = answer_when_all_are_here
        answers = await in_thread(client.at_once, plugin, calls)

    envs = [answer.message["container_responses"][0]["envs"] for answer in answers]
    assert envs == [{"DEVICES": f"dev-{number}"} for number in range(AT_ONCE)]


# --- the daemon ---------------------------------------------------------------------------------------


def registration(**fields):
    usual = {"version": "v1beta1", "endpoint": ENDPOINT, "resource_name": GPU}
    return replace(REGISTER, request=usual | fields)


def test_a_client_registers_a_plugin_or_is_told_why_not(client, served):
    before = len(served.node.events("PluginRegistered"))

    good, old, unnamed = client.in_turn(
        served.kubelet, registration(), registration(version="v1alpha"), registration(resource_name="gpu")
    )

    assert good.message == {}
    assert [event["replaced"] for event in served.node.events("PluginRegistered")[before:]] == [True]
    assert old.code is StatusCode.UNKNOWN
    assert old.text == "requested API version 'v1alpha' is not supported by kubelet. Supported version is 'v1beta1'"
    assert unnamed.code is StatusCode.UNKNOWN
    assert unnamed.text.startswith("the ResourceName 'gpu' is invalid: ")


@pytest.fixture
def pod_name(served):
    """The name of a pod that holds one device."""
    served.node.wait_for_resource(GPU, allocatable=3)
    assert served.node.admit("p", {GPU: 1})[0] == 0
    yield "p"
    assert served.node.ask("remove", "default/p").returncode == 0


def test_a_monitoring_agent_asks_everything(client, served, pod_name):
    listed, found, missing, allocatable = client.in_turn(
        served.pod_resources,
        LIST,
        replace(GET, request={"pod_name": pod_name, "pod_namespace": "default"}),
        replace(GET, request={"pod_name": "q", "pod_namespace": "x"}),
        ALLOCATABLE,
    )

    (one,) = listed.message["pod_resources"]
    held = {"resource_name": GPU, "device_ids": ["dev-0"], "topology": {"nodes": [{}]}}  # a zero is left out
    assert one == {"name": pod_name, "namespace": "default", "containers": [{"name": "main", "devices": [held]}]}
    assert found.message == {"pod_resources": one}
    assert (missing.code, missing.text) == (StatusCode.UNKNOWN, "pod q in namespace x not found")
    assert [device["device_ids"] for device in allocatable.message["devices"]] == [["dev-0"], ["dev-1"], ["dev-2"]]


def test_sixteen_registrations_on_one_connection_get_an_answer_each(client, served):
    calls = [registration(version=f"v{number}") for number in range(AT_ONCE)]
    answers = client.at_once(served.kubelet, calls)
    assert {answer.code for answer in answers} == {StatusCode.UNKNOWN}
    assert [answer.text.split("'")[1] for answer in answers] == [f"v{number}" for number in range(AT_ONCE)]


# --- all of our sockets ------------------------------------------------------------------------------------


@dataclass(frozen=True, kw_only=True)
class Target:
    """A socket of ours, who listens there, a call that is answered with ``usual``, and one that can be made long."""

    socket: Path
    process: Process
    good: Call
    usual: StatusCode
    long: Callable[[str], Call]

    @property
    def nothing(self):
        """A call of a method that is not there."""
        return Call(method=f"{self.good.method.rpartition('/')[0]}/Nothing")


def name_of(target_of):
    return target_of.__name__.removesuffix("_target")


def plugin_target(served):
    return Target(
        socket=served.plugin_socket,
        process=served.plugin,
        good=OPTIONS,
        usual=StatusCode.OK,
        long=lambda text: replace(ALLOCATE, request={"container_requests": [{"devices_ids": [text]}]}),
    )


def registration_target(served):
    return Target(
        socket=served.kubelet,
        process=served.daemon,
        good=registration(version="v0"),
        usual=StatusCode.UNKNOWN,
        long=lambda text: registration(endpoint=text),
    )


def pod_resources_target(served):
    return Target(
        socket=served.pod_resources,
        process=served.daemon,
        good=replace(GET, request={"pod_name": "q", "pod_namespace": "x"}),
        usual=StatusCode.UNKNOWN,
        long=lambda text: replace(GET, request={"pod_name": text, "pod_namespace": "x"}),
    )


@pytest.fixture(params=[plugin_target, registration_target, pod_resources_target], ids=name_of)
def target(request, served):
    return request.param(served)


def test_a_method_that_is_not_there_is_unimplemented(client, target):
    unknown, other = client.in_turn(target.socket, target.nothing, target.good)
    assert unknown.code is StatusCode.UNIMPLEMENTED, unknown.text
    assert other.code is target.usual


def test_a_compressed_request_is_unimplemented(client, target):
    """As gRPC's own text on compression has it; the text is long enough for grpcio to think it worth while."""
    compressed, other = client.in_turn(target.socket, replace(target.long("x" * 4000), gzip=True), target.good)
    assert compressed.code is StatusCode.UNIMPLEMENTED, compressed.text
    assert other.code is target.usual


def test_a_request_of_twenty_megabytes_is_refused_for_its_size(client, target):
    huge, other = client.in_turn(target.socket, target.long("x" * HUGE), target.good)
    assert huge.code is StatusCode.RESOURCE_EXHAUSTED, huge.text
    assert other.code is target.usual


def test_metadata_of_any_kind_is_accepted(client, target):
    metadata = {"x-request-id": "42", "trace-bin": "\x00\x01 ü", "empty": "", "long": "x" * 4000}
    assert client.call(target.socket, replace(target.good, metadata=metadata)).code is target.usual


@pytest.mark.parametrize("target_of", [plugin_target, registration_target], ids=name_of)
def test_five_hundred_connections_leave_no_descriptor(client, served, target_of):
    target = target_of(served)
    client.call(target.socket, target.good)
    before = target.process.descriptors()
    answers = client.reconnecting(target.socket, [target.good] * CYCLES)
    assert {answer.code for answer in answers} == {target.usual}
    wait_until(
        lambda: target.process.descriptors() <= before,
        lambda: f"{before} open descriptors as before; there are {target.process.descriptors()}",
    )
