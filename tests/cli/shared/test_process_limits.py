"""What the system allows a program, when it is not enough."""

from __future__ import annotations

import subprocess
import sys

import pytest

from devicemgr.cli.shared.process_limits import too_few_threads_readable
from devicemgr.errors import LimitTooLow
from tests.processes import HANGS

WITHOUT_THREADS = """
import sys, threading
from devicemgr.cli import main

def start(thread):
    raise RuntimeError("can't start new thread")

threading.Thread.start = start
main(["check", "--", sys.executable, "-c", "0"])
"""


def test_no_room_for_a_thread_is_no_bug():
    """In a process of its own: here Trio may have a thread left of another test, and start none."""
    command = [sys.executable, "-c", WITHOUT_THREADS]
    done = subprocess.run(command, capture_output=True, text=True, timeout=HANGS)
    assert done.returncode == 2, done.stderr
    assert done.stderr.startswith("Error: the system lets this user, or this container, start no more threads: ")


def test_only_that_error_is_told_so():
    with pytest.raises(LimitTooLow), too_few_threads_readable():
        raise RuntimeError("can't start new thread")


def test_other_errors_stay_as_they_are():
    with pytest.raises(RuntimeError, match="^a bug$"), too_few_threads_readable():
        raise RuntimeError("a bug")
