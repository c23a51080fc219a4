"""Ctrl-C ends what goes on until it is pressed, with exit status 0, whichever task runs at that moment."""

from __future__ import annotations

import signal
import subprocess
import sys
import time
from pathlib import Path

import h2.connection
import pytest

from devicemgr.cli import main
from tests.fake_kubelet import ALLOCATABLE, LIST, fake_kubelet
from tests.processes import HANGS, running


@pytest.fixture
def pressed(monkeypatch):
    """While the task of a connection looks at what it has received, and another one waits for the answer."""
    receive_data, pressed = h2.connection.H2Connection.receive_data, []

    def interrupted(connection, data):
        if connection.config.client_side and connection.open_outbound_streams and not pressed:
            pressed.append(signal.raise_signal(signal.SIGINT))
        return receive_data(connection, data)

    monkeypatch.setattr(h2.connection.H2Connection, "receive_data", interrupted)
    return pressed


def test_while_an_answer_is_received(root_dir, pressed):
    with fake_kubelet(root_dir / "kubelet.sock", {LIST: b"", ALLOCATABLE: b""}):
        with pytest.raises(SystemExit) as ended:
            main(["status", "--watch", "--pod-resources", str(root_dir / "kubelet.sock")])
    assert (ended.value.code, pressed) == (0, [None])


WRITES = """
import os, trio
from devicemgr.cli.terminal.signals import until_interrupted

async def write():
    while True:
        os.write(1, bytes(2**16))

trio.run(until_interrupted, write)
"""


def signals_that(what, process):
    """Those that it catches (SigCgt) or ignores (SigIgn)."""
    lines = Path(f"/proc/{process.pid}/status").read_text().splitlines()
    mask = next(int(line.split()[1], 16) for line in lines if line.startswith(what))
    return {number for number in signal.Signals if mask >> number - 1 & 1}


def test_a_second_time_it_ends_what_cannot_write():
    with running([sys.executable, "-c", WRITES], stdout=subprocess.PIPE) as program:
        assert program.stdout.read(1)
        program.send_signal(signal.SIGINT)
        while signal.SIGINT in signals_that("SigCgt", program):
            time.sleep(0.01)
        assert program.poll() is None
        program.send_signal(signal.SIGINT)
        assert program.wait(HANGS) == -signal.SIGINT


def test_what_a_shell_runs_in_the_background_goes_on():
    def background():
        signal.signal(signal.SIGINT, signal.SIG_IGN)

    with running([sys.executable, "-c", WRITES], stdout=subprocess.PIPE, preexec_fn=background) as program:
        assert program.stdout.read(1)
        assert signal.SIGINT in signals_that("SigIgn", program)
