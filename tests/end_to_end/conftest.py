"""The daemon and other programs as processes: started, waited for by what they print, always ended."""

from __future__ import annotations

import subprocess
import sys
import threading
from pathlib import Path

import pytest

from tests.processes import HANGS

ROOT = Path(__file__).parent.parent.parent


class Program:
    """A process whose output is read as it comes; ``wait_for`` blocks until a line has the words."""

    def __init__(self, *arguments, **options):
        self.process = subprocess.Popen(
            [sys.executable, *map(str, arguments)],
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            cwd=ROOT,
            **options,
        )
        self.lines = []
        self._news = threading.Condition()
        self._reader = threading.Thread(target=self._read)
        self._reader.start()

    def _read(self):
        for line in self.process.stdout:
            with self._news:
                self.lines.append(line)
                self._news.notify_all()
        with self._news:
            self._news.notify_all()

    def wait_for(self, words, count=1):
        def seen():
            return sum(words in line for line in self.lines) >= count

        with self._news:
            assert self._news.wait_for(lambda: seen() or self.process.poll() is not None, timeout=HANGS), self.lines
            assert seen(), self.lines

    def end(self, signal=15):
        """Send ``signal``; returns the exit status."""
        self.process.send_signal(signal)
        return self.wait()

    def wait(self):
        status = self.process.wait(timeout=HANGS)
        self._reader.join()
        self.process.stdout.close()
        return status


@pytest.fixture
def start(root_dir):
    """``start(*arguments)`` runs Python with them; whatever still runs at the end is killed, and then only is
    ``root_dir`` deleted."""
    programs = []

    def start_one(*arguments, **options):
        programs.append(Program(*arguments, **options))
        return programs[-1]

    yield start_one
    for program in programs:
        program.process.kill()
        program.wait()


@pytest.fixture
def daemon(start, root_dir):
    """``daemon(*options)`` starts a manager on ``root_dir`` and returns when it is ready."""

    def start_daemon(*options):
        program = start("-m", "devicemgr", "--root-dir", root_dir, *options)
        program.wait_for("ManagerReady")
        return program

    return start_daemon


@pytest.fixture
def run(root_dir):
    """``run("status", …)``: one verb on ``root_dir``; returns the completed process."""

    def run_verb(*arguments, text=None):
        command = [sys.executable, "-m", "devicemgr", "--root-dir", str(root_dir), *map(str, arguments)]
        return subprocess.run(command, input=text, capture_output=True, text=True, cwd=ROOT, timeout=HANGS, check=False)

    return run_verb
