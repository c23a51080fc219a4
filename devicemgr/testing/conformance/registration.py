"""Checks of how a plug-in makes itself known."""

from __future__ import annotations

import os

from ...daemon.directory import file_name
from ...events import CallFinished, ListReceived, PluginFound, PluginRegistered, RegistrationRequested
from ...model import API_VERSION
from ...names import why_not_extended
from .bench import Bench
from .check import Failed, Skipped, check, some
from .processes import listening_elsewhere


@check("registers", rule="REG-3", seen_in="squat/generic-device-plugin#94", whole=True)
async def registers(bench: Bench) -> str:
    """Registers with the kubelet after its start.

    Nothing else makes the kubelet know a plug-in: its resource is missing from the node, and every pod that asks for
    it stays Pending with "Insufficient vendor.com/…". The usual reasons are another directory than the kubelet's
    (a host path that is not mounted, a distribution with its own root directory) and an early exit because no device
    was found.

    Mend it: call Register on kubelet.sock in the directory of device plug-ins, and keep trying while it is not there
    (or wait in plugins_registry, with a socket that answers GetInfo with the type DevicePlugin).
    Without devices, register anyway and send an empty list.
    """
    started = bench.started
    known = RegistrationRequested, PluginFound, PluginRegistered

    def has_come() -> bool:
        return any(isinstance(seen.event, known) and bench.is_about(seen.event) for seen in bench.history)

    await bench.wait_until(lambda: has_come() or not bench.subject.is_running, bench.timing.patience)
    if not has_come():
        raise Failed(bench.what_happened(since=started))
    await bench.settle()
    firsts: dict[str, float] = {}
    for seen in bench.history:
        if isinstance(seen.event, known) and bench.is_about(seen.event):
            firsts.setdefault(seen.event.resource, seen.time - started)
    return ", ".join(f"{resource} after {seconds:.2f} s" for resource, seconds in firsts.items())


def _said(bench: Bench) -> RegistrationRequested | PluginFound:
    """What the plug-in first said of itself. Raises Skipped."""
    said = bench.registrations()
    if not said:  # with --attach
        raise Skipped("the plug-in had registered before the checks began")
    return said[0][1]


def _call(said: RegistrationRequested | PluginFound) -> str:
    return "GetInfo" if isinstance(said, PluginFound) else "Register"


@check("api-version", rule="REG-4, API-3", needs=("registers",))
async def api_version(bench: Bench) -> str:
    """Registers with version v1beta1.

    The kubelet knows no other version and refuses everything else, "v1alpha" and "1.0" alike; the plug-in then runs
    and is never used.

    Mend it: send the constant of the API package (``pluginapi.Version``), not a version of your own.
    """
    said = _said(bench)
    if isinstance(said, PluginFound):
        if API_VERSION not in said.versions:
            raise Failed(f"GetInfo said versions {list(said.versions)}")
        return f"GetInfo said versions {list(said.versions)}"
    if said.version != API_VERSION:
        raise Failed(f"Register said version {said.version!r}")
    return f"Register said version {said.version!r}"


@check("resource-name", rule="API-12", needs=("registers",), seen_in="networkservicemesh/networkservicemesh#100")
async def resource_name(bench: Bench) -> str:
    """Registers a valid extended resource name.

    The kubelet refuses a name that the API server would refuse in the node's status: one without a domain, within
    kubernetes.io, or with characters that are not allowed. A name made from a product's name ("GeForce RTX 3080")
    or from a configuration file is how it happens.

    Mend it: vendor-domain/resource, of letters, digits, '-', '_' and '.'; replace all others when you build the name.
    """
    name = _said(bench).resource
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

    The kubelet joins the name to its own directory. A full path ends up as a path within that directory where
    nothing is, and "../" leads out of it: the kubelet then reports that it cannot dial the plug-in. Of a plug-in that
    is found in plugins_registry GetInfo says nothing, which is the socket itself, or an absolute path.

    Mend it: send the base name ("gpu.sock"), and make the socket in the directory of kubelet.sock.
    """
    said = _said(bench)
    endpoint = said.endpoint
    if isinstance(said, PluginFound):
        if endpoint and not endpoint.startswith("/"):
            raise Failed(f"GetInfo said endpoint {endpoint!r}, which is no absolute path")
        return f"GetInfo said endpoint {endpoint!r}" if endpoint else f"GetInfo said no endpoint: it is {said.path}"
    if not endpoint or "/" in endpoint or endpoint in (".", ".."):
        raise Failed(f"Register said endpoint {endpoint!r}, which is no plain file name")
    await bench.wait_until(lambda: _is_in_the_directory(bench, endpoint), bench.timing.prompt)
    if not _is_in_the_directory(bench, endpoint):
        elsewhere = listening_elsewhere(endpoint, bench.directory)
        also = f"; somebody listens on {', '.join(elsewhere)}" if elsewhere else ""
        raise Failed(f"Register said endpoint {endpoint!r}, and there is no such socket in {bench.directory}{also}")
    return f"Register said endpoint {endpoint!r}"


def _is_in_the_directory(bench: Bench, endpoint: str) -> bool:
    """Now, or when Register was called. One that is late is the business of serves-first."""
    path = bench.directory / file_name(endpoint)
    return os.path.lexists(path) or any(seen.served for seen, _ in bench.registrations())


@check("serves-first", rule="REG-7, REG-22", needs=("endpoint-name",), seen_in="NVIDIA/kubevirt-gpu-device-plugin#55")
async def serves_first(bench: Bench) -> str:
    """Serves its own socket before it calls Register.

    The kubelet dials back before it answers Register. A plug-in that starts its server in the background and
    registers at once wins or loses a race: now and then the node comes up without its devices.

    Mend it: start the server, wait until a connection to your own socket succeeds, then call Register.
    """
    said, calls = _said(bench), bench.registrations()
    where = said.endpoint if isinstance(said, RegistrationRequested) else said.endpoint or said.path
    if early := [seen for seen, _ in calls if not seen.served]:
        raise Failed(f"nobody accepted on {where!r} at {len(early)} of {len(calls)} calls of {_call(said)}")
    return f"{where!r} accepted a connection when {_call(said)} was called"


@check(
    "options",
    rule="REG-8",
    needs=("api-version", "resource-name", "endpoint-name"),
    seen_in="kubernetes/kubernetes#109016",
)
async def options(bench: Bench) -> str:
    """Answers GetDevicePluginOptions at once and without an error.

    The kubelet asks as part of Register, and a registration whose options cannot be had fails. It does not look at the
    options within the Register request at all, so that is no substitute.

    Mend it: implement the call; an empty answer is a good one.
    """

    def calls() -> list[CallFinished]:
        return [call for _, call in bench.seen(CallFinished) if call.method == "GetDevicePluginOptions"]

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

    Each Register replaces the endpoint: the old stream is cancelled and all devices are taken over anew. In a loop
    that is work for the kubelet without an end, the resource's capacity may flicker, and pods are refused in between.

    Mend it: call Register again only when kubelet.sock is another file, or your own socket was deleted.
    """
    begin, end = await bench.quiet()
    calls = [said for seen, said in bench.registrations() if seen.time <= end]
    times = f"found {len(calls)} time(s)" if bench.was_found else f"{len(calls)} call(s) of Register"
    if len(calls) > 1:
        raise Failed(f"{times} by {end - begin:.1f} s after the first list")
    lists = len(bench.seen(ListReceived))
    return f"{times} and {some([lists])} list(s) by {end - begin:.1f} s after the first list"
