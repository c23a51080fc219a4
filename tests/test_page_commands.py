"""Every command that a page shows in a ``console`` block is run, and prints what the page shows.

The blocks of a page are one session, from the first to the last: what is started with ``&`` runs on until the end.
``...`` stands for anything, as in doctest; times of day are not compared.
"""

from __future__ import annotations

import doctest
import os
import re
import signal
import subprocess
import sys
from contextlib import ExitStack
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
DIRECTORY = "/tmp/node"  # the README's, for which the test has its own
BLOCK = re.compile(r"^```console\n(.*?)^```$", re.MULTILINE | re.DOTALL)
COMMAND = re.compile(r"^\$ (.*)\n((?:(?!\$ ).*\n)*)", re.MULTILINE)
TIME = re.compile(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d(\.\d+)?Z?")
OPTIONS = doctest.ELLIPSIS | doctest.NORMALIZE_WHITESPACE


def shown_commands(text: str) -> list[tuple[str, str]]:
    """Each command of the console blocks, with the output that stands under it."""
    return [(match[1], match[2]) for block in BLOCK.findall(text) for match in COMMAND.finditer(block)]


def agrees(want: str, got: str) -> bool:
    return doctest.OutputChecker().check_output(TIME.sub("TIME", want), TIME.sub("TIME", got), OPTIONS)


class Session:
    """A shell in the repository, whose ``python`` is this one and whose root directory is a new one."""

    def __init__(self, directory: Path, stack: ExitStack):
        self.directory = str(directory)
        self._stack = stack
        self._environment = os.environ | {
            "PATH": f"{Path(sys.executable).parent}:{os.environ['PATH']}",
            "PYTHONPATH": str(ROOT),
            "COLUMNS": "80",
        }

    def run(self, command: str) -> str:
        return self._output(self._start(command).communicate(timeout=60)[0])

    def start(self, command: str, lines: int) -> str:
        """Leave it running; what it said first."""
        process = self._stack.enter_context(self._start(command))
        self._stack.callback(os.killpg, process.pid, signal.SIGTERM)
        assert process.stdout is not None
        return self._output("".join(process.stdout.readline() for _ in range(lines)))

    def _start(self, command: str) -> subprocess.Popen[str]:
        return subprocess.Popen(
            command.replace(DIRECTORY, self.directory),
            shell=True,
            cwd=ROOT,
            env=self._environment,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            start_new_session=True,
        )

    def _output(self, output: str) -> str:
        return output.replace(self.directory, DIRECTORY)


@pytest.mark.parametrize(
    "page", ["README.md", "devicemgr/cli/README.md", "devicemgr/rules/README.md", "devicemgr/testing/README.md"]
)
def test_every_shown_command_prints_what_is_shown(tmp_path, page):
    commands = shown_commands((ROOT / page).read_text())
    assert commands
    with ExitStack() as stack:
        session = Session(tmp_path / "n", stack)
        for command, want in commands:
            if command.endswith("&"):
                got = session.start(command.removesuffix("&").strip(), len(want.splitlines()))
            else:
                got = session.run(command)
            assert agrees(want, got), f"$ {command}\nThe page shows:\n{want}\nIt printed:\n{got}"


def test_a_command_that_prints_something_else_is_noticed():
    assert shown_commands("```console\n$ a &\n$ b\none ... two\nthree\n```\n") == [
        ("a &", ""),
        ("b", "one ... two\nthree\n"),
    ]
    assert agrees("at 2026-11-24T02:51:14.426Z ... two\n", "at 2030-01-01T00:00:00.000Z one two\n")
    assert not agrees("admitted default/training\n", "refused default/training\n")
