"""When the checkpoint is written, by the clock; what is said of it; and what an earlier run's is taken for."""

from __future__ import annotations

import os
from contextlib import asynccontextmanager
from dataclasses import replace
from itertools import pairwise

import pytest
import trio

from devicemgr import open_device_manager
from devicemgr.core.checkpoint.kubelet_format import FILE_NAME, parse_checkpoint, render
from devicemgr.core.checkpoint.own_section import parse_section
from devicemgr.core.devices.store import DeviceStore
from devicemgr.daemon.checkpoint import writer
from devicemgr.daemon.checkpoint.durable_file import DurableFile
from devicemgr.daemon.checkpoint.writer import checkpoint_file, open_checkpoint_writer, read_boot_id, restore
from devicemgr.daemon.event_log import EventLog
from devicemgr.daemon.layout import Layout, acquire_directories
from devicemgr.errors import CheckpointUnwritable
from devicemgr.events import CheckpointFailed, CheckpointLost, CheckpointWritten, StateRestored
from devicemgr.testing import open_registered_plugin
from tests.helpers import pod, render_section

GPU = "vendor.com/gpu"
BUSY = "an error of a disk"


class Run:
    """A store and its writer, and the events with their times."""

    def __init__(self, root_dir):
        self.layout = Layout(root_dir)
        self.layout.plugins.mkdir(exist_ok=True)
        self.path = self.layout.plugins / FILE_NAME
        self.copy = self.layout.plugins / f".{FILE_NAME}.previous"
        self.store = DeviceStore()
        self.recorded = []
        self.began = trio.current_time()
        self.log = EventLog([lambda recorded: self.recorded.append((self.now, recorded.event))])

    @property
    def now(self):
        return round(trio.current_time() - self.began, 6)

    def add(self, name):
        """A pod comes, and the writer hears of it."""
        self.store.add_pod(pod(name))
        self.log.record(())

    def times(self, kind):
        return [when for when, event in self.recorded if isinstance(event, kind)]

    def events(self, kind):
        return [event for _, event in self.recorded if isinstance(event, kind)]


@pytest.fixture
def no_threads(monkeypatch):
    """Without a thread to spare it is written in the loop: so a clock that jumps does not run away meanwhile."""

    def none_left(*_, **__):
        raise RuntimeError("can't start new thread")

    monkeypatch.setattr("trio._threads.start_thread_soon", none_left)


@asynccontextmanager
async def opened(root_dir):
    run = Run(root_dir)
    with acquire_directories(run.layout) as directories:
        async with open_checkpoint_writer(run.store, directories, run.log, boot_id="b") as run.writer:
            yield run


@pytest.fixture
async def run(root_dir, no_threads):
    """For tests that ask for ``autojump_clock``."""
    async with opened(root_dir) as run:
        yield run


def fail(file, text):
    raise OSError(5, BUSY)


# --- when ---


async def test_a_change_is_written_at_once_and_once_more_when_nothing_has_changed_for_a_second(run, autojump_clock):
    await trio.sleep(10)
    assert not run.recorded
    run.add("a")
    await trio.sleep(0.9)
    run.add("b")
    await trio.sleep(0.9)
    assert run.times(CheckpointWritten) == [10, 10.9]
    assert run.copy.read_text() != run.path.read_text()
    await trio.sleep(0.2)
    assert run.copy.read_text() == run.path.read_text()
    before = len(run.recorded)
    await trio.sleep(80_000)
    assert len(run.recorded) == before


async def test_a_failed_write_is_tried_again_after_ever_longer_until_it_is_good(run, autojump_clock, monkeypatch):
    with monkeypatch.context() as patch:
        patch.setattr(DurableFile, "save", fail)
        run.add("a")
        await trio.sleep(100)
        assert run.times(CheckpointFailed) == [0, 1, 3, 7, 15, 31, 61, 91]
    await trio.sleep(30)
    assert run.times(CheckpointWritten) == [121]
    run.recorded.clear()
    monkeypatch.setattr(DurableFile, "save", fail)
    run.add("b")
    await trio.sleep(3.5)
    assert [when - 130 for when in run.times(CheckpointFailed)] == [0, 1, 3], "it starts over"


async def test_a_change_after_a_failed_write_is_an_attempt_at_once(run, autojump_clock, monkeypatch):
    monkeypatch.setattr(DurableFile, "save", fail)
    run.add("a")
    await trio.sleep(20)
    run.recorded.clear()
    run.add("b")
    await trio.testing.wait_all_tasks_blocked()
    assert run.times(CheckpointFailed) == [20]


async def test_who_waits_for_the_disk_after_a_failed_write_brings_the_next_attempt(run, autojump_clock, monkeypatch):
    """And not the second, or the half minute, that is there for those who do not wait."""
    with monkeypatch.context() as patch:
        patch.setattr(DurableFile, "save", fail)
        run.add("a")
        await trio.sleep(40)
        with pytest.raises(CheckpointUnwritable, match=BUSY):
            await run.writer.flush()
        assert run.times(CheckpointFailed)[-1] == run.now == 40
    await run.writer.flush()
    assert run.times(CheckpointWritten) == [40]
    assert run.now == 40


async def test_who_waits_for_what_is_on_disk_already_brings_nothing(run, autojump_clock):
    run.add("a")
    await run.writer.flush()
    before = len(run.recorded)
    for _ in range(3):
        await run.writer.flush()
    await trio.testing.wait_all_tasks_blocked()
    assert (len(run.recorded), run.now) == (before, 0)


async def test_who_waits_while_something_older_is_written_waits_for_the_next_attempt(root_dir, monkeypatch):
    """What failed is not what he waits for."""
    calls = []

    async def slow(save, text):
        calls.append(text)
        if len(calls) == 1:
            run.store.add_pod(pod("b"))
            nursery.start_soon(flush)
            await trio.testing.wait_all_tasks_blocked()
            raise OSError(5, BUSY)
        return save(text)

    async def flush():
        await run.writer.flush()
        flushed.append(len(calls))

    flushed = []
    monkeypatch.setattr(writer, "_in_thread", slow)
    async with trio.open_nursery() as nursery, opened(root_dir) as run:
        run.add("a")
        with trio.fail_after(60):
            while not flushed:  # noqa: ASYNC110
                await trio.sleep(0.01)
    assert flushed == [2]


async def test_a_flush_of_a_life_that_is_over_says_so(root_dir):
    async with opened(root_dir) as run:
        pass
    run.store.add_pod(pod("a"))
    with trio.fail_after(60), pytest.raises(CheckpointUnwritable) as caught:
        await run.writer.flush()
    assert str(caught.value) == "this incarnation of the manager has ended; the next knows what is on disk"


async def test_what_is_deleted_again_and_again_is_written_again_ever_later(run, autojump_clock):
    """And at once again when that has stopped for a while."""

    async def delete_always():
        while True:
            if run.path.exists():
                run.path.unlink()
            await trio.sleep(0.25)

    run.add("a")
    await run.writer.flush()
    async with trio.open_nursery() as nursery:
        nursery.start_soon(delete_always)
        await trio.sleep(100)
        nursery.cancel_scope.cancel()
    losses = [when for when, event in run.recorded if isinstance(event, CheckpointLost) and event.path == str(run.path)]
    assert [b - a for a, b in pairwise(losses)] == pytest.approx([1, 2, 4, 8, 16, 30, 30], abs=0.26)
    await trio.sleep(200)
    for wait in (0, 1):
        before, began = len(run.recorded), run.now
        run.path.unlink()
        await run.log.wait_until(lambda before=before: len(run.recorded) > before)
        assert run.now - began == pytest.approx(wait)
        await run.writer.flush()


async def test_the_end_leaves_both_copies(root_dir, no_threads, autojump_clock):
    """Of the last change, although no caller waited for it; and nothing more is written when it is on disk."""
    async with opened(root_dir) as run:
        run.store.add_pod(pod("a"))
    assert [one.owner.pod_uid for one in parse_checkpoint(run.path.read_text()).entries] == []
    assert parse_section(parse_checkpoint(run.path.read_text()).section).pods == (pod("a"),)
    assert run.copy.read_text() == run.path.read_text()
    assert [type(event) for _, event in run.recorded] == [CheckpointWritten]
    async with opened(root_dir) as run:
        run.add("b")
        await trio.sleep(5)
        before = os.listdir(run.layout.plugins), run.path.stat(), run.copy.stat()
    assert (os.listdir(run.layout.plugins), run.path.stat(), run.copy.stat()) == before


async def test_a_second_copy_that_fails_is_recorded_and_left_until_the_next_change(run, autojump_clock, monkeypatch):
    """The first one is good: no caller waits for the second, and none gets an error."""
    run.add("a")
    await run.writer.flush()
    with monkeypatch.context() as patch:
        patch.setattr(DurableFile, "save_copy", fail)
        await trio.sleep(50)
        version = run.store.version
        assert run.recorded[1:] == [(1, CheckpointFailed(version=version, problem=f"{run.path}: {BUSY}"))]
        await run.writer.flush()
    await trio.sleep(50)
    assert not run.copy.exists()
    run.add("b")
    await trio.sleep(1.5)
    assert run.copy.read_text() == run.path.read_text()


# --- what is said ---


async def test_a_write_is_recorded_with_its_version_size_and_duration(run, monkeypatch, autojump_clock):
    save = DurableFile.save

    def slow(file, text):
        autojump_clock.jump(0.123456789)
        return save(file, text)

    monkeypatch.setattr(DurableFile, "save", slow)
    await trio.sleep(5)
    run.add("a")
    await run.writer.flush()
    size = run.path.stat().st_size
    assert run.events(CheckpointWritten) == [CheckpointWritten(version=1, size=size, seconds=0.123457)]
    assert run.store.version == 1


@pytest.mark.parametrize(
    ("error", "problem"),
    [
        (OSError(28, "No space left on device"), "{path}: No space left on device"),
        (OSError(28, "No space left on device", "/else"), "/else: No space left on device"),
        (OSError("words only"), "{path}: words only"),
    ],
)
async def test_a_failure_is_recorded_in_the_words_of_the_system(run, autojump_clock, monkeypatch, error, problem):
    def fail(file, text):
        raise error

    monkeypatch.setattr(DurableFile, "save", fail)
    run.add("a")
    problem = problem.format(path=run.path)
    with pytest.raises(CheckpointUnwritable) as caught:
        await run.writer.flush()
    assert str(caught.value) == problem
    assert run.events(CheckpointFailed)[0] == CheckpointFailed(version=run.store.version, problem=problem)


async def test_a_bug_in_a_write_is_no_failure_of_the_disk(root_dir, monkeypatch):
    """RuntimeError is what Python raises when there is no thread to be had, and for much else."""

    def bug(file, text):
        raise RuntimeError("a bug")

    monkeypatch.setattr(DurableFile, "save", bug)
    with pytest.raises(RuntimeError, match="a bug"):
        async with opened(root_dir) as run:
            run.add("a")
            await trio.sleep_forever()


async def test_what_has_not_changed_is_not_made_into_text_again(root_dir, monkeypatch):
    """With thousands of pods that would take longer than the disk."""
    made = []
    for name in ("entry_fragment", "registered_fragment", "pod_fragment"):
        function = getattr(writer, name)
        monkeypatch.setattr(
            writer, name, lambda *args, name=name, function=function: made.append(name) or function(*args)
        )
    async with open_device_manager(root_dir) as manager, open_registered_plugin(manager, GPU, devices=6) as plugin:
        for name in "abc":
            assert (await manager.admit(pod(name))).admitted
        made.clear()
        assert (await manager.admit(pod("d"))).admitted
        assert sorted(made) == ["entry_fragment", "pod_fragment"]
        made.clear()
        plugin.set_health("dev-5", "Unhealthy")
        await manager.wait_for_resource(GPU, allocatable=5)
        await manager.flush()
        assert made == ["registered_fragment"]
        made.clear()
        await manager.remove("default", "a")
        assert made == []
        found = parse_checkpoint((root_dir / "device-plugins" / FILE_NAME).read_text())
        assert {entry.owner.pod_uid for entry in found.entries} == {"b", "c", "d"}
        assert found.registered == {GPU: tuple(f"dev-{n}" for n in range(5))}


# --- what an earlier run has left ---


async def test_what_was_restored_is_recorded(root_dir):
    async with open_device_manager(root_dir) as manager, open_registered_plugin(manager, GPU, devices=4):
        for name, count in (("a", 1), ("b", 2)):
            assert (await manager.admit(pod(name, gpu=count))).admitted
    store, log = DeviceStore(), EventLog()
    restore(checkpoint_file(Layout(root_dir)), store, log, boot_id="")
    (recorded,) = log.after(0)
    assert recorded.event == StateRestored(
        resources=(GPU,), removed=(), pods=("default/a", "default/b"), devices=3, rebooted=False, skipped=0
    )
    assert [one.name for one in store.pods] == ["a", "b"]


@pytest.mark.parametrize(
    ("before", "now", "rebooted"),
    [("x", "y", True), ("x", "x", False), ("", "y", False), ("x", "", False), ("", "", False), (None, "y", False)],
)
async def test_a_reboot_is_another_boot_of_two_that_are_known(root_dir, before, now, rebooted):
    """A kubelet's checkpoint (None) does not say; nor does a kernel without /proc."""
    async with open_device_manager(root_dir) as manager, open_registered_plugin(manager, GPU):
        assert (await manager.admit(pod("a"))).admitted
    file = checkpoint_file(Layout(root_dir))
    found = parse_checkpoint(file.path.read_text())
    section = "" if before is None else render_section(replace(parse_section(found.section), boot_id=before))
    file.path.write_text(render(found, section=section))
    store, log = DeviceStore(), EventLog()
    restore(file, store, log, boot_id=now)
    assert log.after(0)[-1].event.rebooted is rebooted


def test_a_boots_name_is_what_the_kernel_says(tmp_path, monkeypatch):
    path = tmp_path / "boot_id"
    monkeypatch.setattr(writer, "_BOOT_ID", path)
    assert read_boot_id() == ""
    path.write_text("0123-4567\n")
    assert read_boot_id() == "0123-4567"
