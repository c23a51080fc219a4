"""Whoever arms the watch and looks misses nothing, also of directories, which are watched once."""

from __future__ import annotations

import shutil

import pytest
import trio
from inotify_simple import INotify

from devicemgr.daemon.file_watch import SLOW_PERIOD, FileWatch


@pytest.fixture
def path(tmp_path):
    """Below a directory of its own, and a link to that."""
    (tmp_path / "there" / "plugins").mkdir(parents=True)
    (tmp_path / "root").symlink_to("there")
    path = tmp_path / "root" / "plugins" / "file"
    path.touch()
    return path


def a_directory_is_moved_away(path):
    path.parent.rename(path.parent.with_name("away"))


def a_directory_above_is_moved_away(path):
    there = path.parent.parent.with_name("there")
    there.rename(there.with_name("away"))


def a_link_is_replaced(path):
    link = path.parent.parent
    other = link.with_name("other")
    other.symlink_to("nowhere")
    other.replace(link)


WAYS = [a_directory_is_moved_away, a_directory_above_is_moved_away, a_link_is_replaced]


def bring_back(path):
    """Other directories, with another file."""
    root = path.parents[1]
    root.unlink()
    shutil.rmtree(root.with_name("there"), ignore_errors=True)
    root.with_name("there").mkdir()
    root.symlink_to("there")
    path.parent.mkdir()
    path.touch()


def note_watches(monkeypatch):
    """The paths that are watched from now on."""
    added, add_watch = [], INotify.add_watch
    monkeypatch.setattr(
        INotify, "add_watch", lambda self, path, mask: added.append(path) or add_watch(self, path, mask)
    )
    return added


@pytest.mark.parametrize("lose", WAYS)
async def test_the_loss_of_a_directory_is_noticed_each_time(path, lose, mock_clock):
    """While the clock stands still: not because it is time to look again."""
    with FileWatch() as watch:
        watch.arm([path])
        for _ in range(3):
            path.unlink()
            path.touch()  # its watch is another one then, and those of the directories stay
            watch.arm([path])
            lose(path)
            await watch.changed()
            shutil.rmtree(path.parents[2] / "away", ignore_errors=True)
            bring_back(path)
            watch.arm([path])


async def test_directories_are_watched_once(path, monkeypatch):
    added, add_watch = [], INotify.add_watch
    monkeypatch.setattr(
        INotify, "add_watch", lambda self, path, mask: added.append(path) or add_watch(self, path, mask)
    )
    with FileWatch() as watch:
        watch.arm([path, path.with_name("other")])
        assert len(set(added)) == 2 + len(path.parents)
        added.clear()
        for _ in range(10):
            path.write_text("new")
            watch.arm([path])
        assert added == [path] * 10


async def test_after_a_minute_without_news_they_are_looked_at_again(path, monkeypatch, autojump_clock):
    """A file system may have been mounted over one of them."""
    with FileWatch() as watch:
        watch.arm([path])
        began = trio.current_time()
        await watch.changed()
        assert trio.current_time() == began + SLOW_PERIOD
        added = note_watches(monkeypatch)
        watch.arm([path])
        assert set(added) == {path, *path.parents}
