"""Every hostile plug-in at once beside an honest one, as processes: nobody but themselves suffers.

``python -m pytest tests/hostile -s`` prints the figures of the README's reliability table.
"""

from __future__ import annotations

import os
import statistics
import subprocess
import sys
import threading
import time
from contextlib import ExitStack, contextmanager

import grpc
import pytest

from tests.daemon_process import open_daemon
from tests.grpcio_peers import Client, Plugin, admit_request, admitted, device_list
from tests.processes import running

from .fakes import ANSWERS, FAKES, LISTS

HONEST = "honest.example/gpu"
OPTIONS = ("--deadline", "options=2", "--deadline", "allocate=10")
"""The honest plug-in has to answer Allocate in time, too, on a machine that is busy with others."""
ADMISSIONS = 100
SLOWER = 2.0
"""How many times as long an honest admission may take, at the median, as one by a manager beside it that is spared: the
processor is shared with the hostile processes, and with whatever else this machine does, in both."""
ROUNDS = 10
FILLS = "fills_the_checkpoint"
"""Is let alone here: within ``listed_size`` it makes every admission write 32 MB, which is told in the README."""
SEEN = ("limit=message_size", "limit=report_rate", "limit=time_share", "limit=connections", "PluginRefused")
"""What is in the log for certain when all go at it together; what else each does, it does alone."""
TOLD = {
    "never_answers": "method=GetDevicePluginOptions seconds=2",
    "answers_too_late": "method=Allocate seconds=10",
    "floods": "limit=report_rate",
    "floods_with_empty_lists": "limit=report_rate",
    "announces_four_gigabytes": "message of 4294967295 bytes",
    "sends_a_hundred_megabytes": "limit=message_size",
    "resets_its_stream": "the peer ended the call",
    "hangs_up_in_the_middle_of_a_message": "EndpointStopped",
    "answers_with_what_no_library_sends": "malformed",
    "answers_with_a_million_nothings": "limit=answer_fields",
    "fills_the_checkpoint": "limit=listed_size",
    "fills_the_directory_that_is_watched": "directories deep",
    "resets_calls_before_they_begin": "limit=time_share",
    "sends_odd_lists": "limit=slow_size",
    "answers_oddly": "AllocateAnswerFlagged",
    "opens_a_thousand_connections": "limit=connections",
    "registers_ten_thousand_names": "limit=registration_rate",
    "takes_over_the_name_of_another": "replaced=True",
    "names_odd_endpoints": "rule=LIM-27",
    "names_odd_resources": "rule=API-12",
    "talks_no_http": "ConnectionBroken",
}


def in_processes(count=4):
    """The fakes in several processes, for what is bounded by process; who takes all connections has one of its own."""
    alone = "opens_a_thousand_connections"
    others = [name for name in FAKES if name not in (alone, FILLS)]
    return [(alone,), *(others[n::count] for n in range(count))]


def admissions(client, name, count=ADMISSIONS):
    """Seconds of each of so many admissions of the honest resource."""
    found = []
    for number in range(count):
        started = time.perf_counter()
        assert admitted(client.admit(admit_request(f"{name}-{number}", {HONEST: 1}), timeout=30))
        found.append(time.perf_counter() - started)
        client.remove(f"{name}-{number}")
    return found


def in_turns(one, other, name):
    """The same for two managers, ten admissions by one and ten by the other: whatever comes and goes meets both."""
    found = [], []
    for number in range(ADMISSIONS // 10):
        for client, seconds in zip((one, other), found, strict=True):
            seconds += admissions(client, f"{name}-{number}", 10)
    return found


def ask_for_hostile_devices(client, over):
    """Pods that want devices of plug-ins which answer too late, or oddly; what becomes of them is all the same."""
    for number in range(10_000):
        if over.is_set():
            return
        for name in ("late", "odd", "floods", "empty-mounts"):
            try:
                request = admit_request(f"{name}-{number}", {f"hostile.example/{name}": 1})
                client.admit(request, timeout=30)
                client.remove(f"{name}-{number}")
            except grpc.RpcError:  # the daemon has ended: the test will say so
                return


def wait_for(daemon, *texts):
    deadline = time.monotonic() + 300
    while missing := [text for text in texts if text not in daemon.log]:
        assert time.monotonic() < deadline, f"not in the log: {missing}"
        time.sleep(0.2)


def descriptors(daemon):
    return len(os.listdir(f"/proc/{daemon.pid}/fd"))


@contextmanager
def honest_node():
    """(daemon, client): a daemon with an honest plug-in."""
    with open_daemon(*OPTIONS) as daemon:
        client, honest = Client(daemon.root), Plugin(daemon.root / "device-plugins" / "honest.sock")
        honest.say(device_list(4))
        client.register(HONEST, honest.socket.name)
        client.wait_capacity(HONEST)
        yield daemon, client
        client.close()
        honest.stop()


@pytest.fixture
def spared():
    """The client of a daemon that no hostile plug-in knows."""
    with honest_node() as (_, client):
        yield client


@pytest.fixture
def besieged():
    """(daemon, client, siege): a daemon with an honest plug-in, and hostile ones that begin with ``siege()``."""
    with honest_node() as (daemon, client), ExitStack() as processes:

        def siege(*names):
            command = [sys.executable, "-m", "tests.hostile.fakes", daemon.root, *names]
            return processes.enter_context(running(command, stderr=subprocess.PIPE, text=True))

        yield daemon, client, siege


@pytest.mark.alone
@pytest.mark.timeout(600)  # it waits for the quietest of several rounds
def test_nobody_but_the_hostile_plugins_suffers(besieged, spared, capsys):
    daemon, client, siege = besieged
    quiet = admissions(client, "quiet")
    before, memory = descriptors(daemon), daemon.memory
    over, hostile = threading.Event(), [siege(*names) for names in in_processes()]
    asking = threading.Thread(target=ask_for_hostile_devices, args=(client, over))
    asking.start()
    try:
        wait_for(daemon, *SEEN)
        for turn in range(ROUNDS):  # the siege goes on; another round is another sample
            loud, beside = in_turns(client, spared, f"loud-{turn}")
            if statistics.median(loud) <= SLOWER * statistics.median(beside):
                break
        grown = daemon.memory - memory
    finally:
        over.set()
        asking.join()
        for process in hostile:
            process.kill()
            process.communicate()
    after = admissions(client, "after")
    shown = [
        f"{statistics.median(found) * 1000:.1f} (p99 {sorted(found)[-2] * 1000:.0f})"
        for found in (quiet, loud, beside, after)
    ]
    count = len(FAKES) - 1 + len(LISTS) + len(ANSWERS) - 2
    with capsys.disabled():
        print(
            f"\n{count} hostile plug-ins at once: an honest admission takes {shown[0]} ms before, {shown[1]} ms "
            f"during, {shown[2]} ms by a manager that is spared, {shown[3]} ms after; memory + {grown / 2**20:.0f} MB"
        )
    assert "Traceback" not in daemon.log
    assert client.capacity()[HONEST] == 4
    deadline = time.monotonic() + 30
    while descriptors(daemon) > before + 2:
        assert time.monotonic() < deadline, "descriptors were leaked"
        time.sleep(0.1)
    assert statistics.median(loud) <= SLOWER * statistics.median(beside)
    assert grown < 200 * 2**20


@pytest.mark.parametrize("name", FAKES)
def test_each_alone_is_told_and_leaves_the_manager_alone(besieged, name):
    daemon, client, siege = besieged
    hostile, over = siege(name), threading.Event()
    asking = threading.Thread(target=ask_for_hostile_devices, args=(client, over))
    asking.start()
    try:
        admissions(client, "during", 20)
        wait_for(daemon, TOLD[name])
    finally:
        over.set()
        asking.join()
    assert hostile.poll() is None, hostile.communicate()
    assert "Traceback" not in daemon.log
    assert client.capacity()[HONEST] == 4
