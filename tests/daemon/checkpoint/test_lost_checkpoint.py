"""The checkpoint of a running manager is deleted, replaced or truncated: the manager writes it again.

At a start a checkpoint that is not there means a reset (CAP-6): see test_node_status and test_generations.
"""

from __future__ import annotations

import errno
import os
import shutil

import pytest
import trio
import trio.testing

from devicemgr import Container, Pod, open_device_manager
from devicemgr.core.checkpoint.kubelet_format import FILE_NAME, parse_checkpoint
from devicemgr.daemon.checkpoint import durable_file, loss_detector, writer
from devicemgr.daemon.checkpoint.durable_file import DurableFile, identity_of
from devicemgr.daemon.checkpoint.writer import parse_saved
from devicemgr.daemon.file_watch import FileWatch
from devicemgr.events import CheckpointFailed, CheckpointLost, CheckpointWritten, StateRestored
from devicemgr.rpc.admin.client import connect_manager
from devicemgr.testing import open_registered_plugin, open_simulated_plugin
from tests.helpers import pod, until

GPU = "vendor.com/gpu"
NIC = "vendor.com/nic"


def path_of(root_dir):
    return root_dir / "device-plugins" / FILE_NAME


def copy_of(root_dir):
    return root_dir / "device-plugins" / f".{FILE_NAME}.previous"


def pods_on_disk(path):
    return sorted(entry.owner.pod_uid for entry in parse_checkpoint(path.read_text()).entries)


def pods_in_section(path):
    return [pod.uid for pod in parse_saved(path.read_text()).section.pods]


def losses(manager):
    return [(one.event.path, one.event.how) for one in manager.events() if isinstance(one.event, CheckpointLost)]


def the_directory_is_emptied(path):
    for one in path.parent.iterdir():
        one.unlink()


def the_directory_is_deleted(path):
    shutil.rmtree(path.parent)


def the_directory_is_moved_away(path):
    path.parent.rename(path.parent.with_name("away"))


def the_root_is_deleted(path):
    shutil.rmtree(path.parent.parent)


def it_is_deleted(path):
    path.unlink()


def it_is_moved_away(path):
    path.rename(path.with_name("backup"))


def it_is_replaced(path):
    other = path.with_name("other")
    other.write_text('{"Data": {}}')
    other.replace(path)


def it_is_truncated(path):
    os.truncate(path, 0)


def it_is_written_into(path):
    path.write_text('{"Data": {"PodDeviceEntries": [], "RegisteredDevices": {}}, "Checksum": 0}')


def a_link_takes_its_place(path):
    path.unlink()
    path.symlink_to("/etc/hostname")


def a_directory_takes_its_place(path):
    path.unlink()
    path.mkdir()
    (path / "something").touch()


WAYS = [
    the_directory_is_emptied,
    the_directory_is_deleted,
    the_directory_is_moved_away,
    the_root_is_deleted,
    it_is_deleted,
    it_is_moved_away,
    it_is_replaced,
    it_is_truncated,
    it_is_written_into,
    a_link_takes_its_place,
    a_directory_takes_its_place,
]


class Writes:
    """A sink that knows how often the checkpoint was written, and wakes who waits for it."""

    def __init__(self):
        self.count = 0
        self._more = trio.Event()

    def __call__(self, recorded):
        if isinstance(recorded.event, CheckpointWritten):
            self.count += 1
            self._more.set()
            self._more = trio.Event()

    async def more_than(self, count):
        with trio.fail_after(10):
            while self.count <= count:
                await self._more.wait()


async def with_one_pod(manager):
    assert (await manager.admit(pod("a"))).admitted
    await manager.flush()


@pytest.mark.parametrize("lose", WAYS)
async def test_it_is_written_again_at_once_and_somebody_is_told(root_dir, lose):
    path, writes = path_of(root_dir), Writes()
    async with open_device_manager(root_dir, sinks=[writes]) as manager, open_registered_plugin(manager, GPU):
        await with_one_pod(manager)
        await trio.testing.wait_all_tasks_blocked()
        before = writes.count
        lose(path)
        await writes.more_than(before)
        assert pods_on_disk(path) == ["a"]
        assert (str(path), losses(manager)[0][1]) == losses(manager)[0]
    assert pods_on_disk(path) == ["a"]


@pytest.mark.parametrize("lose", WAYS)
async def test_after_a_restart_a_running_pod_keeps_its_device(root_dir, lose):
    """The reported case: nothing else happens between the loss and the end."""
    async with open_device_manager(root_dir) as manager, open_registered_plugin(manager, GPU, devices=1):
        await with_one_pod(manager)
        lose(path_of(root_dir))
    async with open_device_manager(root_dir) as manager, open_registered_plugin(manager, GPU, devices=1):
        assert [one.name for one in manager.pods()] == ["a"]
        assert not (await manager.admit(pod("b"))).admitted


@pytest.mark.parametrize("lose", WAYS)
async def test_also_in_a_life_that_has_not_written_yet(root_dir, lose):
    async with open_device_manager(root_dir) as manager, open_registered_plugin(manager, GPU):
        await with_one_pod(manager)
    async with open_device_manager(root_dir) as manager:
        assert [one.name for one in manager.pods()] == ["a"]
        lose(path_of(root_dir))
    assert pods_on_disk(path_of(root_dir)) == ["a"]


@pytest.mark.parametrize("lose", WAYS)
async def test_a_change_that_comes_with_the_loss_keeps_nothing_of_a_stranger(root_dir, lose):
    """What others put there is not taken for the previous generation."""
    async with open_device_manager(root_dir) as manager, open_registered_plugin(manager, GPU, devices=2):
        await with_one_pod(manager)
        lose(path_of(root_dir))
        assert (await manager.admit(pod("b"))).admitted
        assert pods_on_disk(path_of(root_dir)) == ["a", "b"]
        if (copy := copy_of(root_dir)).exists():
            assert pods_on_disk(copy) in ([], ["a"], ["a", "b"])


@pytest.mark.parametrize("lose", WAYS)
async def test_a_disk_that_fails_after_the_loss_does_not_make_it_final(root_dir, lose, monkeypatch):
    """A pod is refused then, and a start after a kill finds the others."""

    def io_error(*arguments):
        raise OSError(errno.EIO, os.strerror(errno.EIO))

    async with open_device_manager(root_dir) as manager, open_registered_plugin(manager, GPU, devices=2):
        await with_one_pod(manager)
        lose(path_of(root_dir))
        with monkeypatch.context() as patch:
            patch.setattr(durable_file, "_sync_directory", io_error)
            refused = await manager.admit(Pod(name="b", uid="b", containers=(Container(name="c"),)))
            assert "failed to write checkpoint" in refused.message
            found = pods_in_section(path_of(root_dir))
    assert found == ["a"]


async def test_with_the_root_it_is_back_when_somebody_makes_that_anew(root_dir, tmp_path):
    """Who has moved it away may be about to do so."""
    async with open_device_manager(root_dir) as manager, open_registered_plugin(manager, GPU):
        await with_one_pod(manager)
        root_dir.rename(tmp_path / "away")
        with trio.fail_after(10):
            await until(manager, lambda: any(isinstance(one.event, CheckpointFailed) for one in manager.events()))
        assert not root_dir.exists()
        root_dir.mkdir()
        with trio.fail_after(10):
            await manager.flush()
        assert pods_on_disk(path_of(root_dir)) == ["a"]


async def test_a_root_that_was_moved_away_can_be_brought_back(root_dir, tmp_path):
    """Would there be another one by then, it ended up within that."""
    async with open_device_manager(root_dir) as manager, open_registered_plugin(manager, GPU):
        await with_one_pod(manager)
        root_dir.rename(tmp_path / "away")
        with trio.fail_after(10):
            await until(manager, lambda: losses(manager))
        await trio.testing.wait_all_tasks_blocked(0.05)
        (tmp_path / "away").rename(root_dir)
        with trio.fail_after(10):
            await manager.flush()
            async with connect_manager(manager.layout.admin_socket) as client:
                assert (await client.status())[1][0].name == "a"
        assert pods_on_disk(path_of(root_dir)) == ["a"]


@pytest.mark.parametrize("above", [False, True])
async def test_a_root_that_was_deleted_is_made_again_with_all_that_belongs_there(root_dir, above):
    """Also with the directory that it was in."""
    root = root_dir / "above" / "root"
    root.parent.mkdir()
    writes = Writes()
    async with (
        open_device_manager(root, sinks=[writes]) as manager,
        open_registered_plugin(manager, GPU, devices=2),
    ):
        await with_one_pod(manager)
        for _ in range(2):
            shutil.rmtree(root.parent if above else root)
            with trio.fail_after(20):
                await until(manager, lambda: all(path.is_socket() for path in manager.layout.sockets))
                while not path_of(root).exists():
                    await writes.more_than(writes.count)
            assert pods_on_disk(path_of(root)) == ["a"]
        async with open_registered_plugin(manager, NIC):
            assert await manager.admit(Pod(name="b", uid="b", containers=(Container(name="c", limits={NIC: 1}),)))
            assert pods_on_disk(path_of(root)) == ["a", "b"]
        assert manager.layout.root.stat().st_mode & 0o777 == 0o750


async def test_a_second_copy_that_is_lost_is_made_again(root_dir, autojump_clock):
    async with open_device_manager(root_dir) as manager, open_registered_plugin(manager, GPU):
        await with_one_pod(manager)
        copy = copy_of(root_dir)
        while not (copy.exists() and pods_on_disk(copy) == ["a"]):  # noqa: ASYNC110 - the clock jumps while a thread works
            await trio.sleep(0.2)
        await trio.testing.wait_all_tasks_blocked(0.05)
        copy.unlink()
        await until(manager, lambda: losses(manager) == [(str(copy), "deleted")])
        while not copy.exists():  # noqa: ASYNC110
            await trio.sleep(0.2)
        assert pods_on_disk(copy) == ["a"]


async def test_who_deletes_it_again_and_again_does_not_keep_us_writing(root_dir, mock_clock, monkeypatch):
    """By the clock, not by how fast that one is."""
    monkeypatch.setattr(writer, "WATCH_DELAY", 0)
    mock_clock.rate = 1.0
    path, writes = path_of(root_dir), Writes()
    async with open_device_manager(root_dir, sinks=[writes]) as manager, open_registered_plugin(manager, GPU):
        await with_one_pod(manager)
        await trio.testing.wait_all_tasks_blocked()
        mock_clock.rate = 0.0
        path.unlink()
        await until(manager, lambda: len(losses(manager)) == 1)
        before = writes.count
        await writes.more_than(before)
        path.unlink()
        await trio.testing.wait_all_tasks_blocked(0.05)
        assert len(losses(manager)) == 1
        mock_clock.jump(1.1)
        await until(manager, lambda: len(losses(manager)) == 2)
        mock_clock.rate = 1.0
    assert pods_on_disk(path) == ["a"]


async def test_our_own_writes_wake_nobody_and_an_idle_manager_does_not_look(root_dir, autojump_clock, monkeypatch):
    """Hours pass; the files are checked once a minute, for what inotify does not report."""
    async with open_device_manager(root_dir) as manager, open_registered_plugin(manager, GPU, devices=4):
        for name in "abc":
            assert (await manager.admit(pod(name))).admitted
        await trio.sleep(5)
        looks = []
        look = loss_detector.LossDetector.losses
        monkeypatch.setattr(loss_detector.LossDetector, "losses", lambda self: looks.append(1) or look(self))
        await trio.sleep(3600)
        assert len(looks) <= 61
        assert losses(manager) == []


async def test_the_disk_is_not_watched_between_changes_that_follow_one_another(root_dir, mock_clock, monkeypatch):
    """To watch it costs more than to write a pod down."""
    watches, arm = [], FileWatch.arm
    async with open_device_manager(root_dir) as manager, open_registered_plugin(manager, GPU, devices=4):
        await with_one_pod(manager)  # the clock stands still
        monkeypatch.setattr(FileWatch, "arm", lambda self, paths: watches.append(set(paths)) or arm(self, paths))
        for name in "bcd":
            assert (await manager.admit(pod(name))).admitted
        await trio.testing.wait_all_tasks_blocked(0.05)
        assert watches == []
        mock_clock.jump(writer.WATCH_DELAY)
        await trio.testing.wait_all_tasks_blocked(0.05)
        assert watches == [{path_of(root_dir)}]


async def test_what_others_do_in_the_directory_wakes_nobody(root_dir, monkeypatch):
    monkeypatch.setattr(writer, "WATCH_DELAY", 0)
    async with open_device_manager(root_dir) as manager, open_registered_plugin(manager, GPU):
        await with_one_pod(manager)
        await trio.testing.wait_all_tasks_blocked(0.05)
        looks = []
        look = loss_detector.LossDetector.losses
        monkeypatch.setattr(loss_detector.LossDetector, "losses", lambda self: looks.append(1) or look(self))
        for number in range(100):
            (path_of(root_dir).parent / f"theirs-{number}").touch()
        async with open_simulated_plugin(manager.layout.plugins, "vendor.com/nic"):
            await trio.testing.wait_all_tasks_blocked(0.05)
        assert looks == []


async def test_a_deleted_checkpoint_is_still_a_reset_at_a_start(root_dir):
    async with open_device_manager(root_dir) as manager, open_registered_plugin(manager, GPU):
        await with_one_pod(manager)
    path_of(root_dir).unlink()
    async with open_device_manager(root_dir) as manager:
        assert manager.pods() == []
        assert not [one for one in manager.events() if isinstance(one.event, StateRestored)]


async def test_a_manager_that_has_nothing_to_remember_leaves_nothing(root_dir):
    async with open_device_manager(root_dir):
        pass
    assert not path_of(root_dir).exists()


@pytest.mark.parametrize(
    ("lose", "how"),
    [
        (it_is_deleted, "deleted"),
        (the_directory_is_deleted, "deleted"),
        (it_is_replaced, "replaced"),
        (it_is_truncated, "changed"),
        (it_is_written_into, "changed"),
    ],
)
async def test_what_became_of_it_is_told(tmp_path, lose, how):
    file = DurableFile(tmp_path / "plugins" / "name", str)
    file.path.parent.mkdir()
    other = tmp_path / "other"
    other.touch()
    with FileWatch() as watch:
        expected = loss_detector.LossDetector(watch)
        expected.expect(file.path, file.save("text"))
        expected.expect(other, identity_of(other))
        assert expected.losses() == {}
        lose(file.path)
        assert expected.losses() == {file.path: how}
        with trio.fail_after(60):
            await expected.wait_for_loss()
        expected.expect(file.path, None)
        assert expected.losses() == {}, "nothing is expected of it any more"


def test_a_watch_forgets_the_files_that_had_the_name_before(tmp_path):
    """They may live on under another name, as in a backup of links: each would be watched for ever."""
    file = DurableFile(tmp_path / "name", str)
    with FileWatch() as watch:
        for number in range(50):
            file.save(str(number))
            os.link(file.path, tmp_path / f"backup-{number}")
            watch.arm([file.path])
        with open(f"/proc/self/fdinfo/{watch._inotify.fileno()}") as info:
            watched = [line for line in info if line.startswith("inotify ")]
    assert len(watched) == 1 + len(file.path.parents)


def test_what_stands_there_is_known_before_anybody_can_replace_it(tmp_path):
    file = DurableFile(tmp_path / "name", str)
    for put, path in ((file.save, file.path), (file.save, file.path), (file.save_copy, file.previous)):
        assert put("text") == identity_of(path)


@pytest.mark.parametrize("waits", [0, 100])
async def test_without_a_thread_to_spare_it_is_written_all_the_same(root_dir, monkeypatch, autojump_clock, waits):
    """Also when the thread of the last write has ended since, and for the copy."""
    async with open_device_manager(root_dir) as manager, open_registered_plugin(manager, GPU, devices=2):
        await manager.flush()

        def none_left(*_, **__):
            raise RuntimeError("can't start new thread")

        monkeypatch.setattr("trio._threads.start_thread_soon", none_left)
        assert await manager.admit(pod("a"))
        await trio.sleep(waits)
        assert pods_on_disk(path_of(root_dir)) == ["a"]
        assert not waits or pods_on_disk(copy_of(root_dir)) == ["a"]
