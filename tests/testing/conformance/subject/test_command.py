"""A plug-in that ``check`` starts, kills and starts again."""

from __future__ import annotations

import os
from pathlib import Path

import pytest
import trio

from devicemgr.testing.conformance import Command, Skipped
from devicemgr.testing.conformance.subject.command import describe_exit
from devicemgr.testing.conformance.subject.interface import open_subject
from devicemgr.testing.conformance.subject.processes import process_tree


async def test_a_killed_program_has_no_unexpected_exit_while_the_next_one_starts(tmp_path, monkeypatch):
    """The bench looks all the time whether the plug-in has exited, also in the middle of a new start."""
    command, seen, really = Command(["sleep", "60"]), [], trio.lowlevel.open_process
    await command.start(tmp_path)
    await command.kill()

    async def look(*args, **kwargs):
        seen.append(command.unexpected_exit)
        return await really(*args, **kwargs)

    monkeypatch.setattr(trio.lowlevel, "open_process", look)
    await command.start(tmp_path)
    assert seen == [None]
    assert command.is_running
    await command.kill()
    command_died = Command(["false"])
    await command_died.start(tmp_path)
    with trio.fail_after(30):
        while command_died.unexpected_exit is None:  # noqa: ASYNC110 - the end of a process that nobody waits for has no event
            await trio.sleep(0.01)
    assert command_died.unexpected_exit == "with exit status 1"


ENDS, IGNORES = "trap 'echo bye; exit 0' TERM", "trap '' TERM"


@pytest.fixture
def pair(tmp_path):
    """``pair(trap)``: a command that runs, and a function with the numbers of its programs that are alive."""

    def make(trap):
        text = f"{trap}; echo $$ >>{tmp_path}/pids; while :; do sleep 0.05; done"
        command = Command(["sh", "-c", text])

        def alive():
            """The first and the second, as far as they have begun."""
            pids = (tmp_path / "pids").read_text().split() if (tmp_path / "pids").exists() else []
            return [is_alive(pid) for pid in pids]

        return command, alive

    return make


def is_alive(pid):
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except OSError:
        return False


async def until(condition):
    with trio.fail_after(30):
        while not condition():  # noqa: ASYNC110 - another process
            await trio.sleep(0.01)


@pytest.mark.parametrize(("trap", "grace", "has_said"), [(ENDS, 30.0, True), (IGNORES, 0.1, False)])
async def test_after_a_surge_the_second_process_is_the_plugin(tmp_path, pair, trap, grace, has_said):
    command, alive = pair(trap)
    async with open_subject(command):
        await command.start(tmp_path)
        await until(lambda: alive() == [True])

        async def ready():
            await until(lambda: alive() == [True, True])

        await command.surge(tmp_path, ready, grace)
        assert (alive(), command.is_running, command.unexpected_exit) == ([False, True], True, None)
        assert ("bye" in command.output) is has_said
    assert alive() == [False, False]


async def test_neither_of_two_processes_is_left_after_a_cancellation(tmp_path, pair):
    command, alive = pair(ENDS)
    with trio.CancelScope() as scope:

        async def ready():
            await until(lambda: alive() == [True, True])
            scope.cancel()
            await trio.sleep_forever()

        async with open_subject(command):
            await command.start(tmp_path)
            await until(lambda: alive() == [True])
            await command.surge(tmp_path, ready, 30.0)
    assert alive() == [False, False]


async def test_alone_means_no_second_process(tmp_path):
    async def ready():
        pytest.fail("there is a second one")

    command = Command(["sleep", "60"], alone=True)
    async with open_subject(command):
        await command.start(tmp_path)
        assert command.new_instance() is None
        with pytest.raises(Skipped, match="--alone"):
            await command.surge(tmp_path, ready, 0.1)
        assert command.is_running


def test_a_process_may_have_a_name_that_was_cut_within_a_character():
    """The kernel keeps 15 bytes of it; any process of the machine may have such a name."""
    name = Path("/proc/self/comm")
    before = name.read_bytes()
    name.write_bytes(b"fourteen-bytes\xc3")
    try:
        assert os.getpid() in {one.pid for one in process_tree(os.getpid(), orphans=False)}
    finally:
        name.write_bytes(before)


@pytest.mark.parametrize(
    ("status", "words"),
    [
        (1, "with exit status 1"),
        (137, "with exit status 137, which is how a shell says signal 9 (SIGKILL)"),
        (255, "with exit status 255"),  # klog.Fatal
        (-9, "killed by signal 9 (SIGKILL)"),
    ],
)
def test_an_exit_status_is_called_a_signal_only_if_there_is_such_a_signal(status, words):
    assert describe_exit(status) == words
