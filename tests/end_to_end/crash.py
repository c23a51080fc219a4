"""``python -m tests.end_to_end.crash [--kills 200] [--seed N]``: kill -9 at random moments, and no promise is lost.

Workers admit pods and remove them while a plug-in reports; the daemon is killed somewhere in between, started anew, and
asked what it knows. What must hold then, for each pod, follows from the last thing the workers were told:

=========  ==================================================================
admitted   it is there, and holds exactly the devices it was told
removed    it is not there
asked      it may be there or not; the answer was lost with the daemon
leaving    it may be there, with its devices, or not
=========  ==================================================================

And always: no device is held twice, no temporary file is left, no file had to be set aside.
"""

from __future__ import annotations

import argparse
import random
import sys
import tempfile
import threading
import time
from collections import Counter
from dataclasses import dataclass, field
from pathlib import Path

import grpc

from devicemgr.rpc.stubs.devicemgr import v1 as admin
from tests.daemon_process import Daemon
from tests.grpcio_peers import Client, Plugin, admit_request, device_list
from tests.processes import HANGS

RESOURCES = ("crash.example/gpu", "crash.example/nic")
DEVICES = 120
WORKERS = 6
MOST_PODS = 12
"""Of each worker at a time."""
LONGEST_LIFE = 0.4
"""Seconds that a daemon has under load, at most."""

Devices = dict[str, frozenset[str]]
"""By resource."""


@dataclass
class Ledger:
    """What the workers were told last, by pod."""

    admitted: dict[str, Devices] = field(default_factory=dict)
    leaving: dict[str, Devices] = field(default_factory=dict)
    asked: set[str] = field(default_factory=set)
    removed: set[str] = field(default_factory=set)
    answers: int = 0

    def settle(self, found: dict[str, Devices]) -> list[str]:
        """Compare with what a new run knows, which is the truth from then on; returns what does not hold."""
        wrong = [
            f"{pod} was told {held}, has {found.get(pod)}"
            for pod, held in self.admitted.items()
            if found.get(pod) != held
        ]
        wrong += [f"{pod} was removed, has {found[pod]}" for pod in self.removed & found.keys()]
        wrong += [
            f"{pod} held {held}, has {found[pod]}" for pod, held in self.leaving.items() if found.get(pod, held) != held
        ]
        known = self.admitted.keys() | self.leaving.keys() | self.asked | self.removed
        wrong += [f"{pod} came from nowhere" for pod in found.keys() - known]
        holders = Counter((name, id) for held in found.values() for name, ids in held.items() for id in ids)
        wrong += [f"{id} of {name} is held {count} times" for (name, id), count in holders.items() if count > 1]
        self.admitted, self.leaving, self.asked = dict(found), {}, set()
        return wrong


def admit(client: Client, ledger: Ledger, pod: str, limits: dict[str, int]) -> bool:
    """Ask for a pod, and note what was asked and answered. Raises grpc.RpcError: then it may be here or not."""
    ledger.asked.add(pod)
    answer = admin.AdmitResponse.parse(client.admit(admit_request(pod, limits), timeout=60))
    if answer.admitted:
        ledger.admitted[pod] = {
            name: frozenset(ids.ids) for one in answer.containers for name, ids in one.devices.items() if ids.ids
        }
    else:
        ledger.removed.add(pod)
    ledger.asked.remove(pod)
    ledger.answers += 1
    return answer.admitted


def remove(client: Client, ledger: Ledger, pod: str) -> None:
    """Raises grpc.RpcError: then it may be here or not."""
    ledger.leaving[pod] = ledger.admitted.pop(pod)
    client.remove(pod)
    ledger.removed.add(pod)
    del ledger.leaving[pod]
    ledger.answers += 1


class Workload:
    """Workers and a plug-in for one run of the daemon."""

    def __init__(self, root: Path, ledger: Ledger, seed: int):
        self.client = Client(root)
        self._ledger = ledger
        self._plugins = [Plugin(root / "device-plugins" / f"{name.rpartition('/')[2]}.sock") for name in RESOURCES]
        for plugin in self._plugins:
            plugin.say(device_list(DEVICES))
        self._over = threading.Event()
        self._threads = [
            threading.Thread(target=self._work, args=(n, random.Random(seed * 100 + n))) for n in range(WORKERS)
        ]
        self._threads.append(threading.Thread(target=self._report, args=(random.Random(seed),)))

    def begin(self):
        for name, plugin in zip(RESOURCES, self._plugins, strict=True):
            self.client.register(name, plugin.socket.name)
        for thread in self._threads:
            thread.start()

    def end(self):
        """The daemon is dead."""
        self._over.set()
        for thread in self._threads:
            if thread.ident is not None:
                thread.join()
        self.client.close()
        for plugin in self._plugins:
            plugin.stop()

    def _work(self, worker: int, dice: random.Random):
        mine = [pod for pod in list(self._ledger.admitted) if pod.startswith(f"w{worker}-")]
        while not self._over.is_set():
            try:
                if len(mine) < MOST_PODS and (not mine or dice.random() < 0.6):
                    pod = f"w{worker}-{time.monotonic_ns()}"
                    if admit(self.client, self._ledger, pod, {name: dice.randrange(3) for name in RESOURCES}):
                        mine.append(pod)
                else:
                    remove(self.client, self._ledger, mine.pop(dice.randrange(len(mine))))
            except grpc.RpcError:
                return  # it is dead

    def _report(self, dice: random.Random):
        while not self._over.wait(0.01):
            bad = frozenset(dice.sample(range(DEVICES), 3))
            self._plugins[dice.randrange(2)].say(device_list(DEVICES, bad=bad))


def pods_of(client: Client) -> dict[str, Devices]:
    status = client.status()
    found: dict[str, Devices] = {pod.name: {} for pod in status.pods}
    names = {pod.uid: pod.name for pod in status.pods}
    for some in status.pod_devices:
        held = found[names[some.pod_uid]]
        held[some.resource_name] = held.get(some.resource_name, frozenset()) | set(some.device_ids)
    return found


def left_over(directory: Path) -> list[str]:
    """Temporary files that stay: the daemon is writing already, so one that goes again is none of a crash."""
    deadline = time.monotonic() + HANGS
    while (found := [path.name for path in directory.glob("*.tmp")]) and time.monotonic() < deadline:
        time.sleep(0.01)
    return [f"{name} was left" for name in found]


def one_run(root: Path, ledger: Ledger, seed: int) -> list[str]:
    """Start, compare, load, kill; returns what did not hold."""
    daemon = Daemon(root)
    workload = Workload(root, ledger, seed)
    try:
        wrong = ledger.settle(pods_of(workload.client))
        wrong += left_over(root / "device-plugins")
        workload.begin()
        time.sleep(random.Random(seed).uniform(0, LONGEST_LIFE))
    finally:
        daemon.kill()
        workload.end()
    wrong += [line for line in daemon.log.splitlines() if "FileSetAside" in line or "Traceback" in line]
    daemon.close()
    return wrong


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m tests.end_to_end.crash", description=__doc__.partition("\n")[0])
    parser.add_argument("--kills", type=int, default=200)
    parser.add_argument("--seed", type=int, default=random.randrange(10**6))
    arguments = parser.parse_args()
    ledger, started = Ledger(), time.monotonic()
    with tempfile.TemporaryDirectory(prefix="dm-") as made:
        for number in range(arguments.kills + 1):  # the last run checks the one before it
            wrong = one_run(Path(made) / "node", ledger, arguments.seed + number)
            if wrong:
                print(f"run {number} of --seed {arguments.seed}:", *wrong, sep="\n  ")
                return 1
    print(
        f"{arguments.kills} times kill -9 (seed {arguments.seed}), {ledger.answers} admissions and removals answered: "
        f"nothing lost, no device held twice, no file left; {time.monotonic() - started:.0f} s"
    )
    return 0


if __name__ == "__main__":
    sys.exit(main())
