"""A key on a terminal: waited for in a way that everything ends, and that leaves the terminal as it was."""

from __future__ import annotations

import os
import pty
import select
import signal
import subprocess
import sys
import termios
from contextlib import contextmanager, suppress

import pytest

from tests.processes import HANGS
from tests.terminals import is_set_for_keys, press, read_until

PROGRAM = """
import trio
from devicemgr.cli.terminal.keys import is_more_wanted
print("ready", flush=True)
while trio.run(is_more_wanted):
    print("more", flush=True)
print("end", flush=True)
"""
ENDED_AT_ONCE = f"""
import os, signal, tty
setcbreak = tty.setcbreak
tty.setcbreak = lambda terminal: (setcbreak(terminal), os.kill(os.getpid(), signal.SIGTERM))
{PROGRAM}
"""


class Terminal:
    """One with a program on it. ``read_until`` returns what the program has written."""

    def __init__(self, program):
        self.ours, self.theirs = pty.openpty()
        self.before = termios.tcgetattr(self.theirs)
        self.process = subprocess.Popen(
            [sys.executable, "-c", program],
            stdin=self.theirs,
            stdout=self.theirs,
            stderr=self.theirs,
            preexec_fn=self._take,
        )

    def _take(self):
        """The terminal is that of the program's session, so keys can send it signals."""
        os.setsid()
        os.close(os.open(os.ttyname(self.theirs), os.O_RDWR))
        signal.signal(signal.SIGINT, signal.default_int_handler)

    def read_until(self, words):
        return read_until(self.ours, words)

    def wait_until_set_for_keys(self):
        while not is_set_for_keys(self.theirs):
            select.select([], [], [], 0.01)

    def type(self, keys):
        press(self.ours, keys)

    def is_as_before(self):
        return termios.tcgetattr(self.theirs) == self.before


@contextmanager
def opened(program):
    one = Terminal(program)
    try:
        one.read_until(b"ready")
        yield one
    finally:
        one.process.kill()
        one.process.wait()
        for end in (one.ours, one.theirs):
            with suppress(OSError):
                os.close(end)


@pytest.fixture
def terminal():
    with opened(PROGRAM) as one:
        yield one


@pytest.mark.parametrize("keys", [b"\r", b"x", "ü".encode(), b"\x1b[A", b"xyz"])
def test_any_key_is_one_more(terminal, keys):
    terminal.type(keys)
    terminal.read_until(b"more")
    terminal.type(b"q")
    assert terminal.read_until(b"end").count(b"more") == 0
    assert terminal.process.wait(HANGS) == 0
    assert terminal.is_as_before()


@pytest.mark.parametrize("keys", [b"q", b"Q", b"\x04", b"\x03"])
def test_these_keys_end_it(terminal, keys):
    terminal.type(keys)
    terminal.read_until(b"end")
    assert terminal.process.wait(HANGS) == 0
    assert terminal.is_as_before()


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT, signal.SIGHUP])
def test_a_signal_ends_it(terminal, number):
    terminal.wait_until_set_for_keys()
    terminal.process.send_signal(number)
    assert terminal.process.wait(HANGS) == 0
    assert terminal.is_as_before()


def test_a_signal_that_comes_as_soon_as_the_terminal_is_set_ends_it():
    with opened(ENDED_AT_ONCE) as terminal:
        assert terminal.process.wait(HANGS) == 0
        assert terminal.is_as_before()


def test_it_goes_on_after_a_stop(terminal):
    """With Ctrl-Z, which stays a key that sends a signal. Meanwhile a shell sets the terminal as it needs it."""
    terminal.wait_until_set_for_keys()
    assert termios.tcgetattr(terminal.theirs)[3] & termios.ISIG
    terminal.process.send_signal(signal.SIGSTOP)  # the kernel keeps SIGTSTP from a program without a shell
    assert os.WIFSTOPPED(os.waitpid(terminal.process.pid, os.WUNTRACED)[1])
    termios.tcsetattr(terminal.theirs, termios.TCSANOW, terminal.before)
    terminal.process.send_signal(signal.SIGCONT)
    terminal.type(b"x")
    terminal.read_until(b"more")
    terminal.type(b"q")
    assert terminal.process.wait(HANGS) == 0
    assert terminal.is_as_before()


def test_a_terminal_that_is_gone_ends_it(terminal):
    terminal.wait_until_set_for_keys()
    for end in (terminal.theirs, terminal.ours):
        os.close(end)
    assert terminal.process.wait(HANGS) in (0, 1, -signal.SIGHUP)  # it cannot say that it has ended
