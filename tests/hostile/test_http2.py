"""Attacks on HTTP/2 itself, by callers and by plug-ins: the manager lives, and an honest admission beside them works.

Each is a process of ``attacks``, which also looks whether what it asked was answered, or ended. They share a daemon as
long as it bears them: one that was harmed is replaced.
"""

from __future__ import annotations

import selectors
import subprocess
import sys
import time
from collections.abc import Iterator

import pytest

from .attacks import FLOODING_PLUGINS, ODD_PLUGINS, ON_SOCKETS
from .honest import PATIENCE, Honest, Shared, descriptors

DEADLINES = [f"--deadline={call}=2" for call in ("dial", "options", "preferred-allocation", "pre-start")]
DEADLINES += ["--deadline=allocate=6"]  # the honest plug-in has to answer that, too, on a busy machine
GROWS = 64 * 2**20
"""Bytes by which the manager may be larger while an attack is held, and after it."""
LONGEST_ATTACK = 300.0
"""Seconds; what an attack waits for itself is bounded each time."""


def _shared(*options: str) -> Iterator[Shared]:
    one = Shared(*options)
    yield one
    one.close()


@pytest.fixture(scope="module")
def usual() -> Iterator[Shared]:
    yield from _shared()


@pytest.fixture(scope="module")
def hurried() -> Iterator[Shared]:
    """Many plug-ins of one process are silent on purpose; how much of its time they may take is not the question."""
    yield from _shared(*DEADLINES, "--peer-limit=time-share=1", "--peer-limit=registration-rate=1000")


class Attack:
    """A process that attacks, and holds on to what it has until ``let_go``."""

    def __init__(self, honest: Honest, direction: str, name: str):
        command = [sys.executable, "-m", "tests.hostile.attacks", honest.daemon.root, direction, name]
        self._process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
        self._selector = selectors.DefaultSelector()
        self._selector.register(self._process.stdout, selectors.EVENT_READ)

    def is_over(self, seconds: float) -> bool:
        """Wait so long for its word that it has done what it wanted."""
        return bool(self._selector.select(seconds))

    def word(self) -> str:
        return self._process.stdout.readline().strip()

    def let_go(self) -> None:
        self._process.kill()
        self._process.communicate()
        self._selector.close()


def withstand(honest: Honest, direction: str, name: str) -> None:
    memory, before = honest.daemon.memory, descriptors(honest.daemon)
    attack, deadline = Attack(honest, direction, name), time.monotonic() + LONGEST_ATTACK
    try:
        while not attack.is_over(0.05):
            honest.lives()
            honest.admits()
            assert time.monotonic() < deadline, "the attack does not come to its end"
        word = attack.word()
        honest.lives()
        honest.admits()
        grown = honest.daemon.memory - memory
    finally:
        attack.let_go()
    assert word == "done"
    assert grown < GROWS, f"{grown / 2**20:.0f} MB more while it is held"
    honest.admits()
    honest.wait_until(lambda: descriptors(honest.daemon) <= before, "descriptors were leaked", seconds=2 * PATIENCE)
    honest.lives()
    assert honest.daemon.memory - memory < GROWS


@pytest.mark.parametrize("name", ON_SOCKETS)
def test_callers(usual, name):
    with usual.lent() as honest:
        withstand(honest, "caller", name)


@pytest.mark.parametrize("name", FLOODING_PLUGINS)
def test_plugins_that_flood(usual, name):
    with usual.lent() as honest:
        withstand(honest, "plugin", name)


@pytest.mark.parametrize("name", ODD_PLUGINS)
def test_plugins_that_answer_oddly(hurried, name):
    with hurried.lent() as honest:
        withstand(honest, "plugin", name)
