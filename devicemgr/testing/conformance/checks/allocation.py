"""Checks of the answers to Allocate, GetPreferredAllocation and PreStartContainer."""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterator, Sequence
from contextlib import asynccontextmanager, suppress

import trio

from ....core.devices.pod_devices import in_order
from ....errors import PluginUnavailable
from ....events import DeviceListReceived, EndpointStopped, PluginRegistered
from ....model import DeviceId, RunOptions
from ....resource_names import is_cdi_name
from ..abbreviation import first_few
from ..bench import Bench
from ..check import check
from ..verdicts import Failed, Skipped, Weight
from .answers import NormalizedAnswer, first_difference, normalized
from .asking import MAX_DEVICES, allocate, allocate_one_by_one, skipped_without_api_server
from .lists import NO_LIST

BREAKING = 1.0
"""Seconds in which the manager notices too that a connection is broken."""


@check(
    "allocate-answers",
    rule="ALLOC-5f, ALLOC-E10",
    needs=("first-list",),
    seen_in="Project-HAMi/ascend-device-plugin#75",
)
async def allocate_answers(bench: Bench) -> str:
    """Answers Allocate with one response per container: for one device, for several, for all.

    Without a response the kubelet refuses the pod ("no containers return in allocation response"), and of a response
    per device, instead of per container, it uses only the first.

    Fix: loop over the container requests, and append exactly one response for each.
    """
    ids = bench.healthy()
    questions: list[list[list[DeviceId]]] = [[ids[:1]]]
    if len(ids) > 1:
        questions += [[ids[:2]], [ids], [ids[:1], ids[1:2]]]
    async with bench.client() as client:
        for question in questions:
            await allocate(bench, client, *question)
    return f"{len(questions)} calls with up to {len(ids)} devices"


@check("allocate-unknown", rule="ALLOC-5g, REG-19", needs=("allocate-answers",), seen_in="openshift/dpu-operator#26")
async def allocate_unknown(bench: Bench) -> str:
    """Answers Allocate for a device it does not have with an error.

    The kubelet asks for the ids that it knows, which may be older than those that the plug-in knows: a device has just
    gone, or the ids have changed. A success means a container that starts without its device and fails somewhere
    inside.

    Fix: look each id up, and return an error that names the one that is missing.
    """
    return await _expect_error(bench, "devicemgr-no-such-device", "an unknown id")


@check(
    "allocate-unhealthy",
    rule="ALLOC-5g, LW-3",
    needs=("allocate-answers",),
    seen_in="openshift/dpu-operator#26",
    weight=Weight.WARNING,
)
async def allocate_unhealthy(bench: Bench) -> str:
    """Answers Allocate for an unhealthy device with an error.

    Between the moment a device breaks and the moment the kubelet has read the new list it may still ask for it. The pod
    then starts on broken hardware, where an error would have let it be placed elsewhere.

    If all devices are healthy, --change has to break one first.

    It is a warning: the moment is short, and a pod whose device breaks just after Allocate is no better off.

    Fix: look at the health in Allocate too.
    """
    if broken := _unhealthy(bench):
        return await _expect_error(bench, broken[0], "an unhealthy device")
    async with _one_made_unhealthy(bench) as id:
        return await _expect_error(bench, id, "a device that --change had made unhealthy")


def _unhealthy(bench: Bench) -> list[DeviceId]:
    return [device.id for device in bench.devices() if not device.is_healthy]


@asynccontextmanager
async def _one_made_unhealthy(bench: Bench) -> AsyncIterator[DeviceId]:
    """Make a device unhealthy by a change, or by a second one if the first heals it. Raises Skipped."""
    for _ in range(2):
        try:
            came = await _change_and_wait(bench)
        except Skipped as skipped:
            raise Skipped(f"all devices are healthy, and {skipped}") from skipped
        if not came:
            raise Skipped(f"all devices are healthy, and {NO_LIST} (lists-complete)")
        if broken := _unhealthy(bench):
            break
    else:
        raise Skipped("all devices are healthy, and the command of --change makes no device unhealthy")
    try:
        yield broken[0]
    finally:
        with suppress(Failed, Skipped):
            await _change_and_wait(bench)  # heal it


async def _change_and_wait(bench: Bench) -> bool:
    """Make a change; has it brought a list in time?"""
    since = await bench.change()
    return await bench.wait_until(lambda: bool(bench.seen(DeviceListReceived, since=since)), bench.timing.prompt)


async def _expect_error(bench: Bench, id: DeviceId, what: str) -> str:
    """Ask for the device alone, and after a healthy one, since some plug-ins look at the first id only."""
    said = []
    good = [device.id for device in bench.devices() if device.is_healthy]
    for ids in [[id], *([one, id] for one in good[:1])]:
        since = trio.current_time()
        async with bench.client() as client:
            try:
                async with skipped_without_api_server(bench):
                    await client.allocate_each([ids])
            except PluginUnavailable as error:
                if not bench.subject.is_running:
                    raise Failed(f"the plug-in ended at Allocate [{first_few(ids)}]") from error
                if why_none := await _why_no_answer(bench, error, since):
                    raise Failed(f"Allocate [{first_few(ids)}], with {what}, {why_none}") from error
                said.append(f"Allocate [{first_few(ids)}]: {error.status}: {error}")
                continue
        raise Failed(f"Allocate [{first_few(ids)}], with {what}, was answered with success")
    return said[0]


async def _why_no_answer(bench: Bench, error: PluginUnavailable, since: float) -> str | None:
    """Why this error of a call is not the plug-in's answer. None if it is."""
    if error.status == "DEADLINE_EXCEEDED" and trio.current_time() - since >= bench.timing.patience:
        return f"was not answered within {bench.timing.patience:g} s"
    if error.status == "UNAVAILABLE":  # a supervisor may have started it again, so that it is running
        await bench.wait_until(lambda: bool(bench.seen(EndpointStopped, since=since)), BREAKING)
        if stops := bench.seen(EndpointStopped, since=since):
            return f"ended its server, and with it ListAndWatch: {stops[0][1].reason}"
    return None


@check("allocate-same", rule="ALLOC-5f, RUN-8", needs=("allocate-answers",), seen_in="project-akri/akri#843")
async def allocate_same(bench: Bench) -> str:
    """Gives the same answer for the same devices, however often it is asked.

    Allocate is no reservation, and no call gives devices back: a device is asked for again with each pod that gets it,
    and again if an admission failed afterwards. A plug-in that counts or remembers what it handed out runs out of
    devices.

    Fix: compute the answer from the ids alone.
    """
    ids, known = bench.healthy()[:2], {device.id for device in bench.devices()}
    async with bench.client() as client:
        answers = [normalized((await allocate(bench, client, ids))[0], known) for _ in range(3)]
    for answer in answers[1:]:
        if differs := first_difference(answers[0], answer):
            raise Failed(f"Allocate [{first_few(ids)}] has another answer each time: {differs}")
    return f"Allocate [{first_few(ids)}], 3 times"


@check("allocate-concurrent", rule="LIM-1", needs=("allocate-same",), seen_in="Project-HAMi/HAMi#2640")
async def allocate_concurrent(bench: Bench) -> str:
    """Answers calls of Allocate that come at the same time.

    gRPC serves every call in a thread or task of its own. State that is shared without care mixes up answers: one pod
    gets the devices of another.

    Fix: no state (see allocate-same), or a lock around it.
    """
    ids, known = bench.healthy()[:MAX_DEVICES], {device.id for device in bench.devices()}
    answers: dict[DeviceId, NormalizedAnswer] = {}
    failures: list[Failed] = []

    async with bench.client() as client:

        async def ask(id: DeviceId) -> None:
            try:
                answers[id] = normalized((await allocate(bench, client, [id]))[0], known)
            except Failed as failure:
                failures.append(failure)

        alone = {id: normalized((await allocate(bench, client, [id]))[0], known) for id in ids}
        for _ in range(3):
            async with trio.open_nursery() as nursery:
                for id in ids:
                    nursery.start_soon(ask, id)
            if failures:
                raise Failed(f"{len(ids)} calls at the same time: {failures[0]}")
            for id in ids:
                if differs := first_difference(alone[id], answers[id]):
                    raise Failed(f"{id} among {len(ids)} calls: {differs}")
    return f"3 times {len(ids)} calls at the same time"


def _paths(answer: RunOptions) -> Iterator[tuple[str, str]]:
    for mount in answer.mounts:
        yield from (("host path of a mount", mount.host_path), ("container path of a mount", mount.container_path))
    for spec in answer.device_specs:
        yield from (("host path of a device", spec.host_path), ("container path of a device", spec.container_path))


@check("paths-absolute", rule="RUN-6", needs=("allocate-answers",))
async def paths_absolute(bench: Bench) -> str:
    """Answers Allocate with absolute paths, without "..".

    The kubelet passes them on as they are; the container runtime refuses a relative path, and the pod hangs in
    CreateContainerError, with an event that does not name the plug-in.

    Fix: join names to /dev, or to the directory you mean, before you answer.
    """
    count = 0
    for id, answer in await allocate_one_by_one(bench):
        for what, path in _paths(answer):
            count += 1
            if not path.startswith("/") or ".." in path.split("/"):
                raise Failed(f"Allocate [{id}]: the {what} is {path!r}")
    if not count:
        raise Skipped("no answer names a path")
    return f"{count} paths"


@check("permissions", rule="RUN-6", needs=("allocate-answers",))
async def permissions(bench: Bench) -> str:
    """Asks for permissions of device nodes within "rwm".

    They go into the container's device cgroup as they are: r to read, w to write, m to make nodes. Anything else, or
    nothing, is an error of the container runtime when it creates the container.

    Fix: "rw" is right for nearly every device.
    """
    seen = set()
    for id, answer in await allocate_one_by_one(bench):
        for spec in answer.device_specs:
            seen.add(spec.permissions)
            if not spec.permissions or set(spec.permissions) - set("rwm"):
                raise Failed(f"Allocate [{id}]: {spec.container_path} has permissions {spec.permissions!r}")
    if not seen:
        raise Skipped("no answer has a device node")
    return first_few(sorted(seen))


@check("host-paths-exist", rule="RUN-6", needs=("paths-absolute",), seen_in="kubevirt/kubernetes-device-plugins#8")
async def host_paths_exist(bench: Bench) -> str:
    """Names host paths that exist.

    A container with a device node or mount that is not there cannot be created: the pod has been admitted, holds its
    devices, and hangs in CreateContainerError. The usual reason is a path as it looks inside the plug-in's own
    container.

    Fix: answer with the path on the node, and look whether it is there before you report the device healthy.
    """
    answers = await allocate_one_by_one(bench)
    host_paths = [
        (id, what, path) for id, answer in answers for what, path in _paths(answer) if what.startswith("host")
    ]
    if not host_paths:
        raise Skipped("no answer names a path")
    missing = set(await bench.subject.missing(sorted({path for _, _, path in host_paths})))
    for id, what, path in host_paths:
        if path in missing:
            raise Failed(f"Allocate [{id}]: the {what} is {path!r}, which does not exist here")
    return f"{len(host_paths)} host paths"


@check("cdi-names", rule="RUN-6", needs=("allocate-answers",))
async def cdi_names(bench: Bench) -> str:
    """Names CDI devices in full: vendor.com/class=name.

    The runtime looks them up in its registry of CDI specs by the whole name. With a bare "gpu0" the container fails
    with "unresolvable CDI devices".

    Fix: vendor and class from the spec you wrote, "=", and the name of one device in it.
    """
    count = 0
    for id, answer in await allocate_one_by_one(bench):
        for name in answer.cdi_devices:
            count += 1
            if not is_cdi_name(name):
                raise Failed(f"Allocate [{id}]: {name!r}")
    if not count:
        raise Skipped("no answer names a CDI device")
    return f"{count} CDI devices"


@check("preferred-allocation", rule="ALLOC-18", needs=("first-list",), seen_in="NVIDIA/k8s-device-plugin#460")
async def preferred_allocation(bench: Bench) -> str:
    """Prefers exactly as many devices as are wanted, from the available ones, with those that must be included.

    The kubelet keeps what fits and fills up the rest by itself, so a wrong answer is no error: the pod silently gets
    devices without regard to the preference, such as two that are not linked.

    Fix: start from the must-include ids, add the best of the others, stop at the size; all of it is in the request.
    """
    if not bench.seen(PluginRegistered)[-1][1].get_preferred_allocation_available:
        raise Skipped("the plug-in does not offer GetPreferredAllocation")
    ids = bench.healthy()
    questions: list[tuple[list[DeviceId], list[DeviceId], int]] = [(ids, [], 1)]
    if len(ids) > 1:
        questions += [(ids, ids[-1:], 1), (ids[1:], [], len(ids) - 1), (ids, ids[-1:], len(ids) - 1 or 1)]
    async with bench.client() as client:
        for available, must, size in questions:
            asked = f"{size} of [{first_few(available, among=ids)}] with [{first_few(must, among=ids)}]"
            try:
                said = await client.get_preferred_allocation(available, must, size)
            except PluginUnavailable as error:
                raise Failed(f"{asked}: {error.status}: {error}") from error
            if wrong := _preference_error(in_order(said), available, must, size):
                raise Failed(f"{asked}: {wrong}")
    return f"{len(questions)} questions"


def _preference_error(
    said: Sequence[DeviceId], available: Sequence[DeviceId], must: Sequence[DeviceId], size: int
) -> str:
    """What is wrong with a preference; empty if nothing is."""
    known = {*said, *available}
    if others := [id for id in said if id not in available]:
        return f"it said {first_few(others, among=known)}, which was not available"
    if missing := [id for id in must if id not in said]:
        return f"{first_few(missing, among=known)} is missing in what it said"
    if len(said) != size or len(set(said)) != size:
        return f"it said {len(said)} devices, {len(set(said))} different ones"
    return ""


@check("pre-start", rule="RUN-2, API-9", needs=("allocate-answers",), seen_in="tkestack/gpu-manager#81")
async def pre_start(bench: Bench) -> str:
    """Answers PreStartContainer within 30 seconds and without an error.

    The kubelet waits that long, once per start of a container, and fails the start otherwise. If a reset of the
    hardware takes longer, containers never start.

    Fix: begin the slow work when a device becomes free, and do here only what must be done last.
    """
    if not bench.seen(PluginRegistered)[-1][1].pre_start_required:
        raise Skipped("the plug-in does not ask for PreStartContainer")
    ids = bench.healthy()[:1]
    started = trio.current_time()
    async with bench.client() as client:
        await allocate(bench, client, ids)
        try:
            await client.pre_start_container(ids)
        except PluginUnavailable as error:
            raise Failed(f"PreStartContainer [{first_few(ids)}] was answered with {error.status}: {error}") from error
    return f"PreStartContainer [{first_few(ids)}] took {trio.current_time() - started:.2f} s"


@check("allocate-after-restart", rule="REG-22, ALLOC-5f", needs=("restart", "allocate-answers"))
async def allocate_after_restart(bench: Bench) -> str:
    """Answers Allocate also when the kubelet has restarted.

    A plug-in that comes back looks well: it has registered, and all its devices are allocatable. If what Allocate needs
    was closed with the old server (a handle of the hardware, a client, a channel to another goroutine), then from the
    first restart of the kubelet on every pod that asks for a device is refused with UnexpectedAdmissionError, until
    somebody restarts the plug-in.

    Fix: close with the server only what belongs to it, and open what Allocate needs each time that you begin to serve.
    """
    if not bench.lifecycle.is_disrupted:  # the check restart may have been run on another process
        since = await bench.begin_disruption()
        await bench.manager.faults.restart()
        await bench.wait_for_list(since=since, what="after a restart of the manager")
    try:
        answers = await allocate_one_by_one(bench)
    except Failed as failure:
        raise Failed(f"after a restart of the manager: {failure}") from failure
    return f"Allocate of {len(answers)} devices, one by one, after a restart of the manager"
