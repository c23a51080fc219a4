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
from contextlib import ExitStack, suppress
from pathlib import Path

import pytest

from tests.processes import HANGS, running

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
        with ExitStack() as stack:
            return self._output(self._start(command, stack).communicate(timeout=HANGS)[0])

    def start(self, command: str, lines: int) -> str:
        """Leave it running; what it said first."""
        process = self._start(command, self._stack)
        assert process.stdout is not None
        return self._output("".join(process.stdout.readline() for _ in range(lines)))

    def _start(self, command: str, stack: ExitStack) -> subprocess.Popen[str]:
        """In a shell, whose programs are ended with it."""
        shell = running(
            ["sh", "-c", command.replace(DIRECTORY, self.directory)],
            cwd=ROOT,
            env=self._environment,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            start_new_session=True,
        )
        process = stack.enter_context(shell)
        stack.callback(_end, process)
        return process

    def _output(self, output: str) -> str:
        return output.replace(self.directory, DIRECTORY)


def _end(shell: subprocess.Popen[str]) -> None:
    with suppress(ProcessLookupError):
        os.killpg(shell.pid, signal.SIGTERM)
    shell.wait(HANGS)


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


TREE = """\
run · waits for a stop or a restart
└─ writer
   ├─ checkpoint writer · waits for a change of the state, for 299.1 s more
   │  └─ watch of the files · waits for a file that is lost
   └─ readers
      ├─ vendor.com/gpu #2 · serving · waits for the next list of vendor.com/gpu, 1.6 s
      │  └─ connection to process 4711 · waits for bytes
      │     └─ writer · waits for bytes to send
      ├─ vendor.com/nic #1 · serving · waits for the next list of vendor.com/nic, 1.6 s
      │  └─ connection to process 4712 · waits for bytes
      │     └─ writer · waits for bytes to send
      └─ connections
         ├─ connection of process 4713 to devicemgr/admin.sock · waits for bytes
         │  └─ writer · waits for bytes to send
         └─ handlers
            ├─ Tree · waits for the next look at the tree
            └─ listeners
               ├─ accept on device-plugins/kubelet.sock · waits for a connection
               ├─ accept on devicemgr/admin.sock · waits for a connection
               ├─ accept on pod-resources/kubelet.sock · waits for a connection
               ├─ plug-in watcher · waits for a change in plugins_registry
               ├─ socket guard · waits for a socket that is lost, for 58.0 s more
               └─ stop · waits for a stop
"""
WATCH = "   │  └─ watch of the files · waits for a file that is lost\n"


@pytest.mark.parametrize(
    ("line", "at_another_moment"),
    [
        ("", ""),
        (f" a change of the state, for 299.1 s more\n{WATCH}", " a change of the state\n"),
        (f" a change of the state, for 299.1 s more\n{WATCH}", " the disk\n"),
        ("plugins_registry\n", "plugins_registry, for 0.9 s more\n"),
        (" lost, for 58.0 s more\n               └─ stop", " lost\n               └─ stop"),
        ("admin.sock · waits for bytes\n", "admin.sock · waits for bytes, for 9.9 s more\n"),
        (
            "         ├─ connection of process 4713",
            "         ├─ connection of process 9 to device-plugins/kubelet.sock · waits for bytes\n"
            "         │  └─ writer · waits for bytes to send\n"
            "         ├─ connection of process 4713",
        ),
    ],
)
def test_the_page_shows_the_tree_of_any_moment(line, at_another_moment):
    """What a task waits for differs: some time after a change the checkpoint is written a second time."""
    assert line in TREE
    ((_, want),) = [one for one in shown_commands((ROOT / "devicemgr/cli/README.md").read_text()) if " tree " in one[0]]
    assert agrees(want, TREE.replace(line, at_another_moment) if line else TREE)


def test_a_command_that_prints_something_else_is_noticed():
    assert shown_commands("```console\n$ a &\n$ b\none ... two\nthree\n```\n") == [
        ("a &", ""),
        ("b", "one ... two\nthree\n"),
    ]
    assert agrees("at 2026-11-24T02:51:14.426Z ... two\n", "at 2030-01-01T00:00:00.000Z one two\n")
    assert not agrees("admitted default/training\n", "refused default/training\n")
