"""What the system allows a program, when it is not enough."""

from __future__ import annotations

import sys
import threading

import pytest
from click.testing import CliRunner

from devicemgr.cli import main
from devicemgr.cli.shared.process_limits import too_few_threads_readable
from devicemgr.errors import LimitTooLow


def test_no_room_for_a_thread_is_no_bug(monkeypatch):
    def start(thread):
        raise RuntimeError("can't start new thread")

    monkeypatch.setattr(threading.Thread, "start", start)
    done = CliRunner().invoke(main, ["check", "--", sys.executable, "-c", "0"])
    assert done.exit_code == 2
    assert done.stderr.startswith("Error: the system lets this user, or this container, start no more threads: ")
    with pytest.raises(LimitTooLow), too_few_threads_readable():
        threading.Thread().start()


def test_other_errors_stay_as_they_are():
    with pytest.raises(RuntimeError, match="^a bug$"), too_few_threads_readable():
        raise RuntimeError("a bug")
