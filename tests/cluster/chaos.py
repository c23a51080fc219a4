"""``python -m tests.cluster.chaos [--seconds 60] [--seed N]``: everything is killed, and nothing is held twice.

Pods come and go on a node with eight devices, through a real API server and scheduler, while one after the other is
killed with ``kill -9`` and started again: the API server, etcd, the agent with its manager, the plug-in. Then all is
left alone, and four must agree on who holds what:

==============  =========================================================================================
the API server  the devices in the statuses of the pods that run
the manager     ``status -o json``
the checkpoint  the kubelet's file
the plug-in     it has these devices, and the Node's allocatable is their number
==============  =========================================================================================

And by the agent's trace, no device was held by two pods at any time.
"""

from __future__ import annotations

import argparse
import json
import random
import sys
import tempfile
from collections import Counter
from collections.abc import AsyncIterator, Awaitable, Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from subprocess import DEVNULL
from typing import Any

import trio

from devicemgr.cluster.api.client import ApiClient
from devicemgr.cluster.control_plane.processes import ControlPlane, open_control_plane
from devicemgr.cluster.control_plane.programs import COMPONENTS, SCHEDULER, find_programs
from devicemgr.errors import ApiError
from tests.oracle.checkpoint import read_checkpoint

ETCD, API_SERVER = COMPONENTS
NODE, GPU, DEVICES = "node-1", "chaos.example/gpu", 8
PODS = "/api/v1/namespaces/default/pods"
WORKERS = 6
LONGEST_PEACE = 3.0
"""Seconds between two kills, at most."""
LONGEST_ABSENCE = 2.0
"""Seconds until what was killed starts again, at most."""
PATIENCE = 120.0
"""Seconds until all is well again, when nobody kills any more."""

Holders = dict[str, frozenset[str]]
"""Devices by the uid of their pod."""


class Wrong(AssertionError):
    """Something does not hold."""


class Killable:
    """A process that is started again when it was killed, and must not end by itself."""

    def __init__(self, name: str, command: list[str], log: Path) -> None:
        self.name = name
        self._command = command
        self._log = log
        self._away = 0.0
        self._process: trio.Process | None = None

    async def run(self) -> None:
        while True:
            with self._log.open("ab") as output:
                to = {"stdin": DEVNULL, "stdout": output, "stderr": output}
                start = partial(trio.run_process, self._command, check=False, **to)
                async with trio.open_nursery() as nursery:
                    self._process = process = await nursery.start(start)
            if not self._away:
                words = self._log.read_text()[-3000:]
                raise Wrong(f"the {self.name} has ended by itself with status {process.returncode}:\n{words}")
            await trio.sleep(self._away)
            self._away = 0.0

    async def kill(self, away: float) -> None:
        """As ``kill -9`` does."""
        if self._process is not None and self._process.returncode is None:
            self._away = away
            self._process.kill()
            await self._process.wait()


@dataclass
class Chaos:
    cluster: ControlPlane
    api: ApiClient
    root: Path
    agent: Killable
    plugin: Killable
    dice: random.Random
    kills: Counter[str] = field(default_factory=Counter)
    pods: Counter[str] = field(default_factory=Counter)

    async def kill(self) -> None:
        """One of them, until it is started again."""
        name = self.dice.choice([API_SERVER, ETCD, "agent", "agent", "plugin"])
        away = self.dice.uniform(0.0, LONGEST_ABSENCE)
        self.kills[name] += 1
        if name in (API_SERVER, ETCD):
            async with self.cluster.killed(name):
                await trio.sleep(away)
        else:
            await (self.agent if name == "agent" else self.plugin).kill(away + 0.001)

    async def kill_on(self) -> None:
        """Mostly when it is well again, and sometimes when it is not."""
        while True:
            await trio.sleep(self.dice.uniform(0.1, LONGEST_PEACE))
            await self.kill()
            if self.dice.random() < 0.8:
                await self.cluster.wait_until_ready()

    async def work(self, name: str, dice: random.Random, over: trio.Event) -> None:
        """One pod after the other; the last one stays."""
        number = 0
        while not over.is_set():
            number += 1
            pod = f"{name}-{number}"
            ends_by_itself = dice.random() < 0.3
            await self._create(pod, dice.randrange(1, 4), complete_after=dice.uniform(0.1, 2) if ends_by_itself else 0)
            # It runs by then, or waits for devices, or has ended, or nobody has seen it yet.
            with trio.move_on_after(dice.uniform(0.1, 3.0)):
                await over.wait()
            await self._delete(pod, grace=dice.choice([None, 0, 1]))
        while not await self._runs(f"{name}-last"):
            await self._delete(f"{name}-last", grace=0)

    async def _runs(self, name: str) -> bool:
        """A last pod is created, and may be refused while what was killed comes back."""
        await self._create(name, 1)
        found = await self._until(name, lambda phase: phase in ("Running", "Failed"))
        return found == "Running"

    async def _until(self, name: str, holds: Callable[[str], bool]) -> str:
        with trio.fail_after(PATIENCE):
            while True:
                pod = await self.api.retrying(lambda: self.api.get(f"{PODS}/{name}"))
                if holds(phase := pod["status"]["phase"]):
                    return phase
                await trio.sleep(0.2)

    async def _create(self, name: str, devices: int, *, complete_after: float = 0) -> None:
        limits = {"limits": {GPU: str(devices)}}
        annotations = {"devicemgr.dev/complete-after": f"{complete_after:.1f}s"} if complete_after else {}
        body = {
            "metadata": {"name": name, "annotations": annotations},
            "spec": {"containers": [{"name": "c", "image": "i", "resources": limits}]},
        }
        await self._done(lambda: self.api.create(PODS, body), but=409)
        self.pods["created"] += 1

    async def _delete(self, name: str, *, grace: int | None) -> None:
        await self._done(lambda: self.api.delete(f"{PODS}/{name}", grace=grace), but=404)
        self.pods["deleted"] += 1

    async def _done(self, call: Callable[[], Awaitable[Any]], *, but: int) -> None:
        """An answer that was lost may have been a yes: then the second one says that there is nothing to do."""
        try:
            await self.api.retrying(call)
        except ApiError as error:
            if error.code != but:
                raise

    # --- at the end -----------------------------------------------------------------------------------

    async def agreement(self) -> Holders:
        """What all of them say. Raises Wrong if that does not become the same."""
        differences = "nothing was asked"
        with trio.move_on_after(PATIENCE):
            while True:
                said = await self._said()
                if said is not None:
                    api, manager, checkpoint, allocatable = said
                    if api == manager == checkpoint and allocatable == DEVICES and _is_whole(api):
                        return api
                    differences = f"API {api}\nmanager {manager}\ncheckpoint {checkpoint}\nallocatable {allocatable}"
                await trio.sleep(0.2)
        raise Wrong(f"they do not agree:\n{differences}\n{await self._all_pods()}")

    async def _said(self) -> tuple[Holders, Holders, Holders, int] | None:
        """None: something is still under way."""
        pods = (await self.api.retrying(lambda: self.api.list(PODS)))["items"]
        bound = [pod for pod in pods if pod["spec"].get("nodeName")]
        if any(pod["status"]["phase"] == "Pending" or "deletionTimestamp" in pod["metadata"] for pod in bound):
            return None
        running = {pod["metadata"]["uid"]: _devices_of(pod) for pod in bound if pod["status"]["phase"] == "Running"}
        node = await self.api.retrying(lambda: self.api.get(f"/api/v1/nodes/{NODE}"))
        status = await self._status()
        if status is None:
            return None
        manager = {
            pod["uid"]: frozenset(id for one in pod["containers"] for ids in one["devices"].values() for id in ids)
            for pod in status["pods"]
        }
        return running, manager, self._checkpoint(), _allocatable(node)

    async def _status(self) -> dict[str, Any] | None:
        command = [sys.executable, "-m", "devicemgr", "status", "--root-dir", str(self.root), "-o", "json"]
        done = await trio.run_process(command, capture_stdout=True, capture_stderr=True, check=False)
        return None if done.returncode else json.loads(done.stdout)

    def _checkpoint(self) -> Holders:
        found: dict[str, set[str]] = {}
        for place, entry in read_checkpoint(self.root / "device-plugins")["entries"].items():
            found.setdefault(place.split(" ")[0], set()).update(*entry["devices"].values())
        return {uid: frozenset(ids) for uid, ids in found.items()}

    async def _all_pods(self) -> str:
        pods = (await self.api.retrying(lambda: self.api.list(PODS)))["items"]
        return "\n".join(f"{pod['metadata']['name']} {pod['metadata']['uid']}: {pod['status']}" for pod in pods)


def _devices_of(pod: Mapping[str, Any]) -> frozenset[str]:
    return frozenset(
        one["resourceID"]
        for status in pod["status"].get("containerStatuses", ())
        for resource in status.get("allocatedResourcesStatus", ())
        for one in resource["resources"]
    )


def _is_whole(holders: Holders) -> bool:
    """The last pod of each worker has its device, and no other pod has it."""
    counts = Counter(id for ids in holders.values() for id in ids)
    return len(holders) == len(counts) == WORKERS and set(counts.values()) == {1}


def held_twice(events: Iterable[Mapping[str, Any]]) -> list[str]:
    """What a trace says of devices that were given to a pod while another one had them.

    What was given to a pod whose admission had not ended when the manager was killed was promised to nobody, and may be
    on disk or not.
    """
    wrong: list[str] = []
    holder: dict[str, str] = {}
    promised: set[str] = set()
    for event in events:
        match event["event"]:
            case "ManagerReady":
                holder = {id: pod for id, pod in holder.items() if pod in promised}
            case "DevicesAllocated":
                for id in event["devices"]:
                    if holder.get(id, event["pod_uid"]) != event["pod_uid"]:
                        wrong.append(f"{id} is given to {event['pod_uid']}, and {holder[id]} has it")
                    holder[id] = event["pod_uid"]
            case "PodAdmitted":
                promised.add(event["uid"])
            case "PodRefused" | "PodAdmissionCancelled" if event["uid"] in promised:
                pass  # admitted again, after a restart, in vain: it keeps what it had
            case "PodRefused" | "PodAdmissionCancelled" | "PodRemoved":
                promised.discard(event["uid"])
                holder = {id: pod for id, pod in holder.items() if pod != event["uid"]}
    return wrong


def _history(events: Iterable[Mapping[str, Any]], wrong: Sequence[str]) -> Iterator[str]:
    """All that a trace says of the pods that are spoken of."""
    for event in events:
        uid = event.get("uid") or event.get("pod_uid")
        if event["event"] == "ManagerReady" or any(uid in text for text in wrong if uid):
            yield json.dumps(event)


def _events_of(trace: Path) -> list[dict[str, Any]]:
    """Whoever is killed may leave half a line, which the next one goes on with."""
    found = []
    for line in trace.read_text().splitlines():
        try:
            found.append(json.loads(line))
        except ValueError:
            continue
    return found


@asynccontextmanager
async def open_chaos(directory: Path, dice: random.Random) -> AsyncIterator[Chaos]:
    (root := directory / "node").mkdir()
    (state := directory / "control-plane").mkdir()
    programs = await find_programs([*COMPONENTS, SCHEDULER])
    async with open_control_plane(state, programs, nodes=[NODE]) as cluster, cluster.client() as api:
        kubeconfig = cluster.kubeconfig(f"system:node:{NODE}")
        trace = directory / "trace"
        agent = [sys.executable, "-m", "devicemgr", "node", "--kubeconfig", str(kubeconfig), "--name", NODE]
        agent += ["--root-dir", str(root), "--no-taint", "--trace", str(trace)]
        plugin = [sys.executable, "-m", "devicemgr", "plugin", "--root-dir", str(root)]
        plugin += ["--resource", GPU, "--count", str(DEVICES)]
        chaos = Chaos(
            cluster,
            api,
            root,
            Killable("agent", agent, directory / "agent.log"),
            Killable("plug-in", plugin, directory / "plugin.log"),
            dice,
        )
        async with trio.open_nursery() as nursery:
            nursery.start_soon(chaos.agent.run)
            nursery.start_soon(chaos.plugin.run)
            with trio.fail_after(PATIENCE):
                await api.wait_until(f"/api/v1/nodes/{NODE}", lambda node: _allocatable(node) == DEVICES)
            yield chaos
            nursery.cancel_scope.cancel()


def _allocatable(node: Mapping[str, Any] | None) -> int:
    return int(node["status"].get("allocatable", {}).get(GPU, 0)) if node is not None else 0


async def run(seconds: float, seed: int) -> None:
    """Raises Wrong."""
    dice = random.Random(seed)
    with tempfile.TemporaryDirectory(prefix="dm-") as made:
        directory = Path(made)
        async with open_chaos(directory, dice) as chaos:
            over = trio.Event()
            async with trio.open_nursery() as working:
                for number in range(WORKERS):
                    working.start_soon(chaos.work, f"w{number}", random.Random(seed + number), over)
                async with trio.open_nursery() as killing:
                    killing.start_soon(chaos.kill_on)
                    await trio.sleep(seconds)
                    killing.cancel_scope.cancel()
                over.set()
            holders = await chaos.agreement()
        events = _events_of(directory / "trace")
        if wrong := held_twice(events):
            raise Wrong("\n".join(["held twice:", *wrong, *_history(events, wrong)]))
    seen = Counter(event["event"] for event in events)
    print(f"killed: {', '.join(f'{name} {count}' for name, count in sorted(chaos.kills.items()))}")
    print(f"pods: {chaos.pods['created']} created, {seen['PodAdmitted']} admitted, {seen['PodRefused']} refused")
    print(f"all agree on {len(holders)} pods with {sum(map(len, holders.values()))} devices; none was held twice")


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m tests.cluster.chaos", description=__doc__.partition("\n")[0])
    parser.add_argument("--seconds", type=float, default=60)
    parser.add_argument("--seed", type=int, default=random.randrange(10**6))
    arguments = parser.parse_args()
    print(f"seed {arguments.seed}", flush=True)
    trio.run(run, arguments.seconds, arguments.seed)
    return 0


if __name__ == "__main__":
    sys.exit(main())
