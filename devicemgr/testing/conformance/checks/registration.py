"""Checks of how a plug-in registers."""

from __future__ import annotations

import os
from contextlib import suppress
from functools import partial
from itertools import pairwise

import trio

from ....daemon.layout import file_name
from ....errors import PluginUnavailable
from ....events import (
    CallFinished,
    DeviceListReceived,
    EndpointStopped,
    ManagerReady,
    ManagerStopping,
    PluginDiscovered,
    PluginEnded,
    PluginRefused,
    PluginRegistered,
    RegistrationRequested,
    SocketRestored,
)
from ....model import API_VERSION, ResourceName
from ....resource_names import why_not_extended
from ..bench import REACTION_TIME, Bench
from ..check import check
from ..subject.processes import listening_elsewhere
from ..verdicts import ConclusiveFailure, Failed, Skipped
from .lists import new_lists_note

MAX_CALLS = 3
"""Calls of Register after one disruption that are not a loop: the plug-in may see several signs of it."""
PAUSE_MARGIN = 1.0
LONGEST_PAUSE = 5.0
"""Seconds between two calls of a loop that is waited for."""
LOOP_TIME = 10.0
"""Seconds in which a loop with a pause makes more of them."""


@check("registers", rule="REG-3", seen_in="squat/generic-device-plugin#94", whole_plugin=True)
async def registers(bench: Bench) -> str:
    """Registers with the kubelet after its start.

    A kubelet learns of a plug-in in no other way: its resource is missing from the node, and every pod that asks for it
    stays Pending with "Insufficient vendor.com/…". The usual reasons are a directory other than the kubelet's (a host
    path that is not mounted, a distribution with its own root directory) and an early exit because no device was found.

    Fix: call Register on kubelet.sock in the directory of device plug-ins, and keep trying while it is not there (or
    wait in plugins_registry, with a socket that answers GetInfo with the type DevicePlugin). Without devices, register
    anyway and send an empty list.
    """
    started = bench.started
    known = RegistrationRequested, PluginDiscovered, PluginRegistered

    def has_come() -> bool:
        return any(isinstance(seen.event, known) and bench.is_about(seen.event) for seen in bench.entries)

    await bench.wait_until(lambda: has_come() or bench.lifecycle.is_down, bench.timing.patience)
    if not has_come():
        raise Failed(bench.what_happened(since=started))
    await bench.settle()
    firsts: dict[str, float] = {}
    for seen in bench.entries:
        if isinstance(seen.event, known) and bench.is_about(seen.event):
            firsts.setdefault(seen.event.resource, seen.time - started)
    return ", ".join(f"{resource} after {seconds:.2f} s" for resource, seconds in firsts.items())


def _first_announcement(bench: Bench) -> RegistrationRequested | PluginDiscovered:
    """The first announcement of the plug-in. Raises Skipped."""
    said = bench.registrations()
    if not said:  # with --attach
        raise Skipped("the plug-in had registered before the checks began")
    return said[0][1]


def _rpc_name(said: RegistrationRequested | PluginDiscovered) -> str:
    return "GetInfo" if isinstance(said, PluginDiscovered) else "Register"


@check("api-version", rule="REG-4, API-3", needs=("registers",))
async def api_version(bench: Bench) -> str:
    """Registers with version v1beta1.

    The kubelet refuses every other version, such as "v1alpha" and "1.0"; the plug-in then runs and is never used.

    Fix: send the constant of the API package (``pluginapi.Version``), not a version of your own.
    """
    said = _first_announcement(bench)
    if isinstance(said, PluginDiscovered):
        if API_VERSION not in said.versions:
            raise Failed(f"GetInfo said versions {list(said.versions)}")
        return f"GetInfo said versions {list(said.versions)}"
    if said.version != API_VERSION:
        raise Failed(f"Register said version {said.version!r}")
    return f"Register said version {said.version!r}"


@check("resource-name", rule="API-12", needs=("registers",), seen_in="networkservicemesh/networkservicemesh#100")
async def resource_name(bench: Bench) -> str:
    """Registers a valid extended resource name.

    The kubelet refuses a name that the API server would refuse in the node's status: a name without a domain, within
    kubernetes.io, or with characters that are not allowed. The usual reason is a name that is made from a product's
    name ("GeForce RTX 3080") or from a configuration file.

    Fix: vendor-domain/resource, of letters, digits, '-', '_' and '.'; replace all other characters when you build the
    name.
    """
    name = _first_announcement(bench).resource
    if problem := why_not_extended(name):
        raise Failed(f"{name!r}: {problem}")
    return f"{name!r} is a valid name"


@check(
    "endpoint-name",
    rule="REG-3, LIM-27",
    needs=("registers",),
    seen_in="k8snetworkplumbingwg/sriov-network-device-plugin#586",
)
async def endpoint_name(bench: Bench) -> str:
    """Registers the plain file name of a socket in the kubelet's directory.

    The kubelet joins the name to its own directory. A full path becomes a path within that directory that does not
    exist, and "../" leads out of it: the kubelet then reports that it cannot dial the plug-in. A plug-in that is found
    in plugins_registry answers GetInfo with an empty endpoint, which means that socket, or with an absolute path.

    Fix: send the base name ("gpu.sock"), and create the socket in the directory of kubelet.sock.
    """
    said = _first_announcement(bench)
    endpoint = said.endpoint
    if isinstance(said, PluginDiscovered):
        if endpoint and not endpoint.startswith("/"):
            raise Failed(f"GetInfo said endpoint {endpoint!r}, which is no absolute path")
        return f"GetInfo said endpoint {endpoint!r}" if endpoint else f"GetInfo said no endpoint: it is {said.path}"
    if not endpoint or "/" in endpoint or endpoint in (".", ".."):
        raise Failed(f"Register said endpoint {endpoint!r}, which is no plain file name")
    await bench.wait_until(lambda: _is_in_the_directory(bench, endpoint), bench.timing.prompt)
    if not _is_in_the_directory(bench, endpoint):
        elsewhere = listening_elsewhere(endpoint, bench.layout.plugins)
        if not elsewhere:  # it may be made when Register has failed, which takes the manager's patience
            await bench.wait_until(
                lambda: _is_in_the_directory(bench, endpoint) or _was_refused_before(bench, bench.timing.prompt),
                bench.timing.patience,
            )
    if not _is_in_the_directory(bench, endpoint):
        also = f"; a server listens on {', '.join(elsewhere)}" if elsewhere else ""
        raise Failed(
            f"Register said endpoint {endpoint!r}, and there is no such socket in {bench.layout.plugins}{also}"
        )
    return f"Register said endpoint {endpoint!r}"


def _is_in_the_directory(bench: Bench, endpoint: str) -> bool:
    """Is the socket there now, or was it when Register was called? serves-first is about one that is late."""
    path = bench.layout.plugins / file_name(endpoint)
    return os.path.lexists(path) or any(seen.served for seen, _ in bench.registrations())


def _was_refused_before(bench: Bench, seconds: float) -> bool:
    """Was the first refusal so long ago?"""
    return any(seen.time < trio.current_time() - seconds for seen, _ in bench.seen(PluginRefused)[:1])


@check("serves-first", rule="REG-7, REG-22", needs=("endpoint-name",), seen_in="NVIDIA/kubevirt-gpu-device-plugin#55")
async def serves_first(bench: Bench) -> str:
    """Serves its own socket before it calls Register.

    The kubelet dials back before it answers Register. A plug-in that starts its server in the background and registers
    at once wins or loses a race: now and then the node comes up without its devices.

    Fix: start the server, wait until a connection to your own socket succeeds, then call Register.
    """
    said, calls = _first_announcement(bench), bench.registrations()
    where = said.endpoint if isinstance(said, RegistrationRequested) else said.endpoint or said.path
    if early := [seen for seen, _ in calls if not seen.served]:
        raise Failed(
            f"no server accepted connections on {where!r} at {len(early)} of {len(calls)} calls of {_rpc_name(said)}"
        )
    return f"{where!r} accepted a connection when {_rpc_name(said)} was called"


_UNANSWERED = ("CANCELLED", "UNAVAILABLE")
"""How a call ends that is under way when the plug-in or the manager is ended: another resource's check may do that."""


@check(
    "options",
    rule="REG-8",
    needs=("api-version", "resource-name", "endpoint-name"),
    seen_in="kubernetes/kubernetes#109016",
)
async def options(bench: Bench) -> str:
    """Answers GetDevicePluginOptions at once and without an error.

    The kubelet calls it as part of Register, and refuses the registration if the call fails. It ignores the options
    within the Register request, so they are no substitute.

    Fix: implement the call; an empty answer is fine.
    """

    def calls() -> list[CallFinished]:
        calls = [call for _, call in bench.seen(CallFinished) if call.method == "GetDevicePluginOptions"]
        return [call for call in calls if call.outcome not in _UNANSWERED]

    await bench.wait_until(lambda: bool(calls()), bench.timing.patience)
    if not calls():
        raise Failed(bench.what_happened(since=bench.started))
    first = calls()[0]
    said = f"answered {first.outcome} after {first.seconds * 1000:.1f} ms"
    if first.outcome != "OK" or first.seconds > bench.timing.prompt:
        raise Failed(said)
    return said


@check("registers-once", rule="REG-22", needs=("first-list",), seen_in="kubernetes/kubernetes#118534")
async def registers_once(bench: Bench) -> str:
    """Registers once, and again only when the kubelet has restarted.

    Each Register replaces the endpoint: the old stream is cancelled and all devices are read again. In a loop that is
    endless work for the kubelet, the resource's capacity may flicker, and pods are refused in between.

    Fix: call Register again only when kubelet.sock is another file, your own socket was deleted, or no stream is open
    any more (stream-lost).
    """
    begin, end = await bench.quiet_period()
    calls = [time for time in _times_of_calls(bench, bench.resource) if bench.quiet.since <= time <= end]
    times = f"found {len(calls)} time(s)" if bench.was_discovered else f"{len(calls)} call(s) of Register"
    if len(calls) > 1:
        raise Failed(f"{times} by {end - begin:.1f} s after the first list")
    lists = [event for seen, event in bench.seen(DeviceListReceived, since=bench.quiet.since) if seen.time <= end]
    new = new_lists_note(bench, lists)
    return f"{times} and {len(lists)} list(s){new} by {end - begin:.1f} s after the first list"


@check("returns-once", rule="REG-22", needs=("restart",), seen_in="kubernetes/kubernetes#118534", whole_plugin=True)
async def returns_once(bench: Bench) -> str:
    """Registers once after each disruption, and then no more.

    A registration on a socket that is in use ends the old stream here. A plug-in that registers again because a stream
    has ended, or because its own socket is new, does so without end from the first disruption on, until the node is out
    of sockets.

    Fix: register when kubelet.sock is another file than the last time, or your own socket is gone; the end of a stream
    is no reason while another one is open, or within a second of your last registration.
    """
    since = await bench.begin_disruption()
    await bench.manager.faults.restart()
    with suppress(Failed):  # other checks are about that
        await bench.wait_for_list(since=since, what="")
    for resource in bench.resources:
        with bench.of([resource]), suppress(Failed, PluginUnavailable):
            await bench.list_of_new_stream()  # a stream is cancelled while another is open
    # One that paused before it came back will pause as long before it comes again.
    await trio.sleep(max(REACTION_TIME, min(_longest_return(bench) + PAUSE_MARGIN, LONGEST_PAUSE)))
    spare = max(0.0, bench.spare_until - trio.current_time())  # a loop may have a longer pause
    await bench.wait_until(lambda: _calls_since(bench, since) > 1, spare)
    if 1 < _calls_since(bench, since) <= MAX_CALLS:  # several signs of one restart, or the beginning of a loop
        await bench.wait_until(lambda: _calls_since(bench, since) > MAX_CALLS, LOOP_TIME)
    most, took, resource = max(map(partial(most_calls, bench), bench.resources))
    if most > MAX_CALLS:
        which = f" for {resource}" if len(bench.resources) > 1 else ""
        raise ConclusiveFailure(f"{most} calls of Register{which} in the {took:.1f} s after a disruption")
    times = f"found {most} time(s)" if bench.was_discovered else f"{most} call(s) of Register"
    return f"at most {times} after each of {len(bench.lifecycle.disruptions)} disruptions"


def _longest_return(bench: Bench) -> float:
    """The most seconds from a disruption to the next registration, without those in which the manager was away."""
    ready = [seen.time for seen in bench.entries if isinstance(seen.event, ManagerReady)]
    starts = bench.lifecycle.start_times
    marks = sorted([*bench.lifecycle.disruptions, *ready, *starts])
    registered = [seen.time for resource in bench.resources for seen, _ in bench.seen(PluginRegistered, of=resource)]
    firsts = (
        (begin, min((time for time in registered if begin <= time < end), default=begin))
        for begin, end in pairwise([*marks, trio.current_time()])
    )
    return max(
        first - begin for begin, first in firsts if begin >= bench.lifecycle.disruptions[0] and begin not in starts
    )


def _calls_since(bench: Bench, since: float) -> int:
    """The most calls of Register for one resource."""
    return max(sum(time >= since for time in _times_of_calls(bench, resource)) for resource in bench.resources)


def most_calls(bench: Bench, resource: ResourceName) -> tuple[int, float, ResourceName]:
    """The most calls of Register after one disruption, or after a start of the plug-in following it, and in how many
    seconds."""
    calls = _times_of_calls(bench, resource)
    marks = [
        *bench.lifecycle.disruptions,
        *(start for start in bench.lifecycle.start_times if start > bench.lifecycle.disruptions[0]),
        trio.current_time(),
    ]
    spans = pairwise(sorted(marks))
    return max((sum(begin <= time < end for time in calls), end - begin, resource) for begin, end in spans)


def _times_of_calls(bench: Bench, resource: ResourceName) -> list[float]:
    """A call that was refused at once does not count: the plug-in has to call again (registers-again)."""
    refused = {one.time for one, next in pairwise(bench.entries) if isinstance(next.event, PluginRefused)}
    with bench.of([resource]):
        return [s.time for s, _ in bench.registrations() if bench.lifecycle.was_alone(s.time) and s.time not in refused]


@check("endpoint-fresh", rule="REG-22, D37-4", needs=("restart",), seen_in="kubernetes/kubernetes#124716")
async def endpoint_fresh(bench: Bench) -> str:
    """Registers a socket again only when the stream on it has ended.

    From v1.37 on the kubelet refuses a socket that still has an open stream ("device plugin already connected"), and
    refuses that name from then on until it is restarted itself: the node keeps a frozen list, and a restart of the
    plug-in does not help. The same happens to a name that every process uses, when the DaemonSet is updated with
    ``maxSurge`` and the new pod registers while the old one runs (rolling-update).

    Fix: stop the old server, and wait until its streams have ended, before you serve and register again; or use a name
    that no other process has, such as one with the time in it, and remove the old socket.
    """
    if not bench.has_parallel_instances:  # run alone it would have seen little
        await bench.quiet_period()
    if name := _registered_over_itself(bench):
        raise ConclusiveFailure(
            f"{name!r} was registered again while its stream was open: v1.37 takes that name no more"
        )
    names = [event.endpoint for _, event in bench.seen(PluginRegistered)]
    is_fixed = len(set(names)) == 1
    if is_fixed:
        return f"registered as {names[0]!r} each time, when the stream on it had ended"
    return f"{len(set(names))} different names"


def _registered_over_itself(bench: Bench) -> str | None:
    """The name, if that happened. It does not count after kubelet.sock was made again, since a kubelet that does so
    knows of no stream; nor while the manager stops, since no event says then that a stream has ended; nor while two
    processes of the plug-in run, since the open stream may be that of the other one (rolling-update)."""
    open_on: set[str] = set()
    is_stopping = False
    for seen in bench.entries:
        match seen.event:
            case ManagerStopping():
                is_stopping = True
            case ManagerReady():
                open_on, is_stopping = set(), False
            case _ if not bench.lifecycle.was_alone(seen.time):
                open_on = set()
            case SocketRestored() | EndpointStopped(resource=bench.resource):
                open_on = set()
            case PluginEnded(resource=bench.resource, endpoint=endpoint):
                open_on = open_on - {endpoint}
            case PluginRegistered(resource=bench.resource, endpoint=endpoint) if not is_stopping:
                if endpoint in open_on:
                    return endpoint
                open_on = open_on | {endpoint}
    return None
