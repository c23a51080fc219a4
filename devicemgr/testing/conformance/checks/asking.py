"""Asking a plug-in for devices, as a kubelet does, and what then is a failure."""

from __future__ import annotations

from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager

from ....errors import PluginUnavailable
from ....events import PluginRegistered
from ....model import DeviceId, RunOptions
from ..abbreviation import first_few, shortened_line
from ..bench import Bench
from ..observation.recording_client import RecordingClient
from ..subject.api_server import api_server_error_in
from ..verdicts import Failed, Skipped
from .answers import annotation_key

MAX_DEVICES = 16
"""How many devices are examined one by one, if there are more."""


async def allocate(bench: Bench, client: RecordingClient, *containers: Sequence[DeviceId]) -> tuple[RunOptions, ...]:
    """Call Allocate; returns the answers, one for each container. Raises Failed with the request and the answer."""
    asked = " and ".join(f"[{first_few(ids)}]" for ids in containers)
    try:
        async with skipped_without_api_server(bench):
            answers = await client.allocate_each(containers)
    except PluginUnavailable as error:
        raise Failed(f"Allocate {asked} was answered with {error.status}: {error}") from error
    if len(answers) != len(containers):
        raise Failed(f"Allocate {asked} was answered for {len(answers)} of {len(containers)} containers")
    return tuple(answer.options for answer in answers)


@asynccontextmanager
async def skipped_without_api_server(bench: Bench) -> AsyncIterator[None]:
    """Allocate is called within the block. If it fails because there is no API server, Skipped is raised, then and from
    then on."""
    if bench.resource in bench.findings.allocate_skip_reasons:
        raise Skipped(bench.findings.allocate_skip_reasons[bench.resource])
    before = len(bench.subject.output)
    try:
        yield
    except PluginUnavailable as error:
        if sign := api_server_error_in(str(error), bench.subject.output[before:]):
            why = f"{_api_server_reason(bench)}: {shortened_line(sign)}"
            bench.findings.allocate_skip_reasons[bench.resource] = why
            raise Skipped(why) from error
        raise


def _api_server_reason(bench: Bench) -> str:
    if bench.subject.has_api_server:
        return "Allocate asks the API server of --kubeconfig, and does not get what it needs from it"
    return "Allocate asks an API server, and has none here (--kubeconfig FILE gives it one)"


async def allocate_one_by_one(bench: Bench) -> list[tuple[DeviceId, RunOptions]]:
    """The answers, for up to MAX_DEVICES healthy devices. What they name is added to the findings. Raises Failed,
    Skipped."""
    async with bench.client() as client:
        answers = [(id, (await allocate(bench, client, [id]))[0]) for id in bench.healthy()[:MAX_DEVICES]]
    registered = bench.seen(PluginRegistered)[-1][0].time
    bench.findings.hardware[bench.resource][registered] = {id: hardware_of(answer) for id, answer in answers}
    return answers


def hardware_of(answer: RunOptions) -> frozenset[str]:
    """What an answer names of the node: two ids of the same device have that in common."""
    return frozenset(
        (
            *(spec.host_path for spec in answer.device_specs),
            *(mount.host_path for mount in answer.mounts),
            *answer.cdi_devices,
            *(f"{key}={value}" for key, value in answer.envs.items()),
            *(f"{annotation_key(key)}={value}" for key, value in answer.annotations.items()),
        )
    )
