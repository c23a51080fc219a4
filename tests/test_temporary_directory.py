"""Temporary directories: removed at the end, and after a kill -9 by the next program; never one that is in use, and
never somebody else's."""

from __future__ import annotations

import os
import subprocess
import sys
import tempfile
from pathlib import Path

import pytest

from devicemgr import temporary_directory as module
from devicemgr.errors import DirectoryUnusable
from devicemgr.temporary_directory import LOCK, temporary_directory

KILLED = """
import os, signal
from devicemgr.temporary_directory import temporary_directory

with temporary_directory("dm-test-") as directory:
    (directory / "secret" / "deep").mkdir(parents=True)
    (directory / "secret" / "token").write_text("t")
    print(directory, flush=True)
    os.kill(os.getpid(), signal.SIGKILL)
"""


@pytest.fixture
def tmp(tmp_path, monkeypatch):
    """Where temporary directories are made."""
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    monkeypatch.setenv("TMPDIR", str(tmp_path))
    return tmp_path


@pytest.fixture
def left(tmp):
    """What a program has left that was killed."""
    done = subprocess.run([sys.executable, "-c", KILLED], stdout=subprocess.PIPE, text=True, check=False)
    directory = Path(done.stdout.strip())
    assert directory.parent == tmp
    assert (directory / "secret" / "token").exists()
    return directory


def test_it_is_there_for_a_block_and_only_for_us(tmp):
    with temporary_directory("dm-test-") as directory:
        assert directory.parent == tmp
        assert directory.name.startswith("dm-test-")
        assert directory.stat().st_mode & 0o077 == 0
    assert list(tmp.iterdir()) == []


def test_what_a_killed_program_has_left_is_removed_by_the_next(left, tmp):
    with temporary_directory("dm-test-") as directory:
        assert list(tmp.iterdir()) == [directory]


def test_what_programs_of_another_prefix_have_left_is_theirs_to_remove(left):
    with temporary_directory("other-"):
        assert left.exists()


def test_what_is_in_use_stays(tmp):
    with temporary_directory("dm-test-") as first:
        (first / "file").touch()
        with temporary_directory("dm-test-"):
            assert (first / "file").exists()
        assert (first / "file").exists()


def test_what_is_not_ours_stays(left, tmp):
    """A directory of that name without the lock, a link to one that has it, a file, and somebody else's directory."""
    (tmp / "dm-test-unlocked").mkdir()
    (tmp / "dm-test-file").touch()
    elsewhere = left.rename(tmp / "elsewhere")
    (tmp / "dm-test-link").symlink_to(elsewhere)
    there = set(tmp.iterdir())
    with temporary_directory("dm-test-"):
        assert there < set(tmp.iterdir())
    assert (elsewhere / "secret" / "token").exists()


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can give a directory away")
def test_what_another_user_has_left_stays(left):
    os.chown(left, 65534, -1)
    with temporary_directory("dm-test-"):
        assert left.exists()


def test_what_cannot_be_removed_now_is_removed_later(left, monkeypatch):
    def busy(lock):
        raise OSError(f"somebody still writes beside {lock}")

    with monkeypatch.context() as patched:
        patched.setattr(module, "remove_all_but", busy)
        with temporary_directory("dm-test-"):
            assert (left / LOCK).exists()
    with temporary_directory("dm-test-"):
        assert not left.exists()


def test_where_there_can_be_none_the_place_is_named(tmp_path, monkeypatch):
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path / "nowhere"))
    with pytest.raises(DirectoryUnusable, match="no temporary directory can be made: .*/nowhere/.*: No such file"):
        with temporary_directory("dm-test-"):
            pytest.fail("there is none")
