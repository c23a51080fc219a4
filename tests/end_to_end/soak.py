"""``python -m tests.end_to_end.soak [--seconds 60] [--plugins 200]``: a busy node, for as long as you like.

200 plug-ins with 50 devices each join, leave, flap and register again; 50 pods a second are admitted and others
removed; the manager restarts every ten seconds, inside its process, so that what leaks adds up. Every second all is
still for a moment, and what the manager knows is compared with what was promised. At the end the plug-ins leave, and
what is left of memory, descriptors and tasks is compared with what there was.
"""

from __future__ import annotations

import argparse
import os
import random
import re
import statistics
import subprocess
import sys
import threading
import time
import urllib.request
from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field

import grpc

from devicemgr.core.devices.endpoint import GRACE_PERIOD
from devicemgr.rpc.stubs.devicemgr import v1 as admin
from tests.daemon_process import open_daemon
from tests.grpcio_peers import OPTIONS, Client, unary
from tests.processes import HANGS, running

from .crash import Ledger, admit, pods_of, remove
from .fleet import resource_of

PODS_PER_SECOND = 50
STAY = 2.0
"""Seconds that a pod is here, about."""
RESTART_EVERY = 10.0
WARM_UP = 0.4
"""Share of the time after which memory must not grow any more."""
MOST_GROWTH = 10 * 2**20
"""Bytes by which it may nevertheless, for what a process of Python does with its heap."""
NO_PEER_LIMITS = [
    option
    for limit in ("registration-rate=1000", "registration-burst=1000", "time-share=1", "time-burst=3600")
    for option in ("--peer-limit", limit)
]
"""All plug-ins are in one process here, which would have the share of one."""


@dataclass
class Figures:
    admissions: list[float] = field(default_factory=list)
    refused: int = 0
    failed: int = 0
    restarts: int = 0
    checks: int = 0
    memory: list[int] = field(default_factory=list)


class Soak:
    def __init__(self, daemon, plugins: int, seed: int):
        self.daemon = daemon
        self.client = Client(daemon.root)
        self.ledger = Ledger()
        self.figures = Figures()
        self._wanted = [resource_of(number) for number in range(plugins)]
        self._dice = random.Random(seed)
        self._pool = ThreadPoolExecutor(64)
        self._running: set = set()
        self._still = threading.Lock()

    # --- the load ---------------------------------------------------------------------------------

    def one_pod(self) -> None:
        """Admit one, and remove one that has been here for long enough."""
        resource = self._dice.choice(self._wanted)
        self._submit(self._admit, f"pod-{time.monotonic_ns()}", {resource: self._dice.randrange(1, 3)})
        if len(self.ledger.admitted) > PODS_PER_SECOND * STAY:
            self._submit(self._remove, next(iter(self.ledger.admitted)))

    def _submit(self, work, *args) -> None:
        future = self._pool.submit(work, *args)
        self._running.add(future)
        future.add_done_callback(self._running.discard)

    def _admit(self, pod: str, limits: dict[str, int]) -> None:
        started = time.perf_counter()
        try:
            if admit(self.client, self.ledger, pod, limits):
                self.figures.admissions.append(time.perf_counter() - started)
            else:
                self.figures.refused += 1
        except grpc.RpcError:  # the manager restarted: it may be here or not
            self.figures.failed += 1

    def _remove(self, pod: str) -> None:
        try:
            remove(self.client, self.ledger, pod)
        except (grpc.RpcError, KeyError):  # or somebody else removes it already
            self.figures.failed += 1

    # --- what must hold ---------------------------------------------------------------------------

    def check(self) -> list[str]:
        """When nothing is under way: does the manager know what it promised?"""
        for future in list(self._running):
            future.result()
        wrong = self.ledger.settle(pods_of(self.client))
        status = self.client.status()
        for one in status.resources:
            if not 0 <= one.available <= one.allocatable <= one.capacity:
                wrong.append(f"{one.name}: {one.available} available of {one.allocatable} of {one.capacity}")
        self._wanted = [one.name for one in status.resources if one.available] or self._wanted
        self.figures.checks += 1
        self.figures.memory.append(self.daemon.memory)
        return wrong

    def restart(self) -> None:
        before = self.daemon.log.count("ManagerReady")
        try:
            self.fault("restart")
        except grpc.RpcError as error:
            if error.code() is not grpc.StatusCode.UNAVAILABLE:  # it may hang up before it answers
                raise
        deadline = time.monotonic() + HANGS
        while self.daemon.log.count("ManagerReady") == before:
            assert time.monotonic() < deadline, "the manager does not come back"
            time.sleep(0.01)
        for future in list(self._running):
            future.result()
        self.client.close()
        self.client = Client(self.daemon.root)
        self.figures.restarts += 1

    def fault(self, name: str, **more) -> None:
        """Without a deadline, which would go by the daemon's clock."""
        with grpc.insecure_channel(f"unix:{self.daemon.root}/devicemgr/admin.sock", options=OPTIONS) as channel:
            inject = unary(channel, "/devicemgr.v1.Admin/InjectFault")
            inject(bytes(admin.InjectFaultRequest(fault=name, **more)))

    def run(self, seconds: float) -> list[str]:
        """Returns what did not hold at the first check that failed."""
        started = time.monotonic()
        next_check, next_restart, next_pod = started + 1, started + RESTART_EVERY, started
        while (now := time.monotonic()) < started + seconds:
            if now >= next_restart:
                self.restart()
                next_restart += RESTART_EVERY
            elif now >= next_check:
                if wrong := self.check():
                    return wrong
                next_check += 1
            elif now >= next_pod:
                self.one_pod()
                next_pod = max(next_pod + 1 / PODS_PER_SECOND, now - 0.2)
            else:
                time.sleep(min(next_check, next_restart, next_pod) - now)
        return self.check()

    def clear(self) -> None:
        """Every pod goes."""
        for pod in list(pods_of(self.client)):
            self.client.remove(pod)
        self._pool.shutdown()


def descriptors(daemon) -> int:
    return len(os.listdir(f"/proc/{daemon.pid}/fd"))


def tasks(daemon) -> int:
    """It says where each time that it has restarted."""
    address = re.findall(r"http://[\d.:]+/metrics", daemon.log)[-1]
    with urllib.request.urlopen(address, timeout=HANGS) as page:
        text = page.read().decode()
    return int(float(next(line for line in text.splitlines() if line.startswith("devicemgr_tasks ")).split()[1]))


def wait_until(what, condition) -> None:
    deadline = time.monotonic() + HANGS
    while not condition():
        assert time.monotonic() < deadline, what()
        time.sleep(0.1)


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m tests.end_to_end.soak", description=__doc__.partition("\n")[0])
    parser.add_argument("--seconds", type=float, default=60)
    parser.add_argument("--plugins", type=int, default=200)
    parser.add_argument("--seed", type=int, default=random.randrange(10**6))
    arguments = parser.parse_args()
    print(f"seed {arguments.seed}", flush=True)
    options = ("--allow-faults", "--metrics-address", "127.0.0.1:0", "--restart-wait", "1", *NO_PEER_LIMITS)
    with open_daemon(*options) as daemon:
        tasks(daemon)
        before = descriptors(daemon), tasks(daemon)
        command = [sys.executable, "-m", "tests.end_to_end.fleet", daemon.root, "--plugins", str(arguments.plugins)]
        pipes = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE}
        with running([*command, "--seed", str(arguments.seed)], **pipes, text=True) as fleet:
            soak = Soak(daemon, arguments.plugins, arguments.seed)
            try:
                wait_until(lambda: "no plug-in has come", lambda: any(soak.client.capacity().values()))
                wrong = soak.run(arguments.seconds)
                soak.clear()
                said = fleet.communicate("leave\n", timeout=HANGS)[0]
            except BaseException:
                print(*daemon.log.splitlines()[-200:], sep="\n")
                raise
        soak.fault("advance-clock", seconds=GRACE_PERIOD + 1)  # until the tasks of plug-ins that left have ended
        soak.client.close()
        wait_until(
            lambda: f"descriptors were leaked: {before[0]} → {descriptors(daemon)}",
            lambda: descriptors(daemon) <= before[0],
        )
        wait_until(lambda: f"tasks were leaked: {before[1]} → {tasks(daemon)}", lambda: tasks(daemon) <= before[1])
        after, log = (descriptors(daemon), tasks(daemon)), daemon.log
    return report(soak.figures, wrong, said, before, after, log)


def report(figures: Figures, wrong: list[str], said: str, before, after, log: str) -> int:
    warm = figures.memory[int(len(figures.memory) * WARM_UP) :]
    growth = statistics.median(warm[-10:]) - statistics.median(warm[:10])
    times = sorted(figures.admissions)
    print(
        f"{len(times)} pods admitted (p50 {times[len(times) // 2] * 1000:.1f} ms, "
        f"p99 {times[len(times) * 99 // 100] * 1000:.0f} ms), {figures.refused} refused, {figures.failed} calls broken "
        f"off by {figures.restarts} restarts\n"
        f"{figures.checks} checks; {log.count('PluginRegistered')} registrations, "
        f"{log.count('DeviceListApplied')} lists, {log.count('EndpointStopped')} ends of streams\n"
        f"memory {warm[0] / 2**20:.1f} MB after warm-up, {warm[-1] / 2**20:.1f} MB at the end ({growth / 2**20:+.1f}); "
        f"descriptors {before[0]} → {after[0]}, tasks {before[1]} → {after[1]}"
    )
    if growth > MOST_GROWTH:
        wrong = [*wrong, f"memory grew by {growth / 2**20:.1f} MB"]
    reasons = Counter(line.partition("rule=")[2].split()[0] for line in log.splitlines() if " PodRefused " in line)
    print("refused by:", ", ".join(f"{rule} {count}" for rule, count in reasons.most_common()))
    wrong += [line for line in log.splitlines() if "Traceback" in line or "FileSetAside" in line]
    wrong += [] if said.strip() == "left" else [f"the plug-ins: {said}"]
    print(*wrong, sep="\n")
    return 1 if wrong else 0


if __name__ == "__main__":
    sys.exit(main())
