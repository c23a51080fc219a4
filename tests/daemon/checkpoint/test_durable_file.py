"""A file in generations: whatever is interrupted, a whole one is there (LIM-10, CKPT-8)."""

from __future__ import annotations

import errno
import os
import re
import socket
import stat
from dataclasses import replace
from pathlib import Path

import pytest

from devicemgr.daemon import shared_directory
from devicemgr.daemon.checkpoint import durable_file
from devicemgr.daemon.checkpoint.durable_file import DurableFile, identity_of
from devicemgr.daemon.shared_directory import kind_of
from devicemgr.errors import CorruptCheckpoint, DirectoryUnusable
from devicemgr.events import FileSetAside


def parse(text):
    if not text.startswith("good "):
        raise CorruptCheckpoint("not good")
    return text.removeprefix("good ")


@pytest.fixture
def file(tmp_path):
    return DurableFile(tmp_path / "name", parse)


def names(file):
    return sorted(path.name for path in file.path.parent.iterdir())


def test_nothing_is_nothing(file):
    assert file.load() == (None, [])


def test_the_newest_is_read_and_the_one_before_is_kept(file):
    """By a name that is none of the kubelet's (CKPT-11)."""
    file.save("good one")
    file.save("good two")
    assert file.load() == ("two", [])
    assert names(file) == [".name.previous", "name"]
    assert file.previous.read_text() == "good one"
    assert stat.S_IMODE(file.path.stat().st_mode) == 0o600


def test_after_a_bad_one_the_one_before_is_the_newest_again(file):
    """Also when the program is killed right after it has read: the next one finds the same, and no bad file."""
    file.save("good one")
    file.save("good two")
    file.path.write_text("bad")
    found, (event,) = file.load()
    assert (found, event.problem, event.used) == ("one", "not good", ".name.previous")
    assert file.load() == ("one", [])
    assert names(file) == [".name.previous", "name", "name.corrupt"]
    file.path.write_text("bad again")
    assert file.load()[1][0].moved_to.endswith("name.corrupt-2")


def test_when_both_are_bad_both_are_set_aside(file):
    file.save("good one")
    file.save("good two")
    for path in (file.path, file.previous):
        path.write_text("bad")
    found, events = file.load()
    assert (found, [event.used for event in events]) == (None, ["", ""])
    assert names(file) == [".name.previous.corrupt", "name.corrupt"]
    assert file.load() == (None, [])


def test_a_file_that_somebody_deleted_is_not_brought_back(file):
    """Deleting the checkpoint is how people reset a kubelet's devices."""
    file.save("good one")
    file.save("good two")
    file.path.unlink()
    found, (event,) = file.load()
    assert (found, event.moved_to, event.used) == (None, "", "")
    assert "taken for a reset" in event.problem


def test_a_full_disk_does_not_keep_a_good_generation_from_being_used(file, monkeypatch):
    """And the next start finds it as the newest, with no more files beside it."""
    file.save("good one")
    file.save("good two")
    file.path.write_text("bad")

    def full(*arguments):
        raise OSError(28, "No space left on device")

    with monkeypatch.context() as patch:
        patch.setattr(os, "write", full)
        assert file.load()[0] == "one"
    assert file.load() == ("one", [])
    assert names(file) == [".name.previous", "name", "name.corrupt"]
    file.save("good three")
    assert (file.load()[0], file.previous.read_text()) == ("three", "good one")


def test_what_a_crash_left_of_a_write_is_removed(file):
    file.save("good one")
    (file.path.parent / ".name.tmp").write_text("hal")
    (file.path.parent / ".name.previous.tmp").write_text("f")
    assert file.load() == ("one", [])
    assert names(file) == ["name"]


def test_after_a_crash_between_its_two_renames_a_write_leaves_nothing(file):
    file.save("good one")
    file.previous.hardlink_to(file.path)  # the old generation was kept, and the new one not yet put in its place
    file.save("good two")
    assert names(file) == [".name.previous", "name"]
    assert (file.path.read_text(), file.previous.read_text()) == ("good two", "good one")


@pytest.mark.parametrize("call", ["write", "fsync"])
def test_a_write_that_fails_leaves_the_old_one_and_nothing_else(file, monkeypatch, call):
    file.save("good one")

    def fail(*arguments):
        raise OSError(28, "No space left on device")

    with monkeypatch.context() as patch:
        patch.setattr(os, call, fail)
        with pytest.raises(OSError, match="No space"):
            file.save("good two")
    assert file.load() == ("one", [])
    assert names(file) == ["name"]


def test_a_file_system_without_hard_links(file, monkeypatch):
    def refuse(source, target, **options):
        if not Path(source).exists():
            raise FileNotFoundError
        raise PermissionError(1, "Operation not permitted")

    monkeypatch.setattr(os, "link", refuse)
    for text in ("good one", "good two", "good three"):
        file.save(text)
    assert (file.load()[0], file.previous.read_text()) == ("three", "good two")
    assert names(file) == [".name.previous", "name"]
    file.path.write_text("bad")
    assert file.load()[0] == "two"
    assert file.path.with_name("name.corrupt").read_text() == "bad"


def test_at_no_moment_is_there_no_file(file, monkeypatch):
    """A start in between would find nothing, and take that for a reset: so nothing is renamed away from there."""

    def refuse(path, target):
        raise AssertionError(f"{path} is not there for a moment")

    file.save("good one")
    file.save("good two")
    file.path.write_text("bad")
    monkeypatch.setattr(Path, "rename", refuse)
    assert file.load()[0] == "one"
    assert file.path.with_name("name.corrupt").read_text() == "bad"


def test_the_two_copies_of_a_generation_are_two_files(file):
    """What damages one of them does not damage the other: after a load of the one before, and after ``save_copy``."""
    file.save("good one")
    file.save("good two")
    assert file.save_copy("good two") == identity_of(file.previous)
    assert (file.path.read_text(), file.previous.read_text()) == ("good two", "good two")
    assert file.path.stat().st_ino != file.previous.stat().st_ino
    file.path.write_text("bad")
    assert file.load()[0] == "two"
    assert file.path.stat().st_ino != file.previous.stat().st_ino
    assert {stat.S_IMODE(path.stat().st_mode) for path in (file.path, file.previous)} == {0o600}


def test_whoever_writes_knows_what_stands_there_then(file):
    for write in (file.save, file.save, lambda text: file.save_after_loss(text, None)):
        assert write("good one") == identity_of(file.path)
    status = file.path.stat()
    assert identity_of(file.path) == (status.st_dev, status.st_ino, status.st_size, status.st_mtime_ns)
    assert identity_of(file.path.with_name("nothing")) is None


def test_what_stands_there_of_somebody_else_is_no_generation(file):
    file.save("good one")
    file.path.write_text("good, says somebody else")
    file.save_after_loss("good two", None)
    assert names(file) == ["name"]


def test_all_is_on_disk_before_save_returns(file, monkeypatch):
    """The bytes before the rename, and the rename before the return; also when the one before is put back."""
    order = []

    def noted(name, function):
        def call(*arguments, **options):
            order.append(name)
            return function(*arguments, **options)

        return call

    file.save("good one")
    monkeypatch.setattr(os, "fsync", noted("fsync", os.fsync))
    monkeypatch.setattr(os, "replace", noted("replace", os.replace))
    file.save("good two")
    assert order == ["fsync", "replace", "replace", "fsync"]
    order.clear()
    file.save_copy("good two")
    assert order == ["fsync", "replace", "fsync"]
    order.clear()
    file.path.write_text("bad")
    file.load()
    assert order == ["fsync", "replace", "fsync"]


def test_the_events_of_files_that_were_set_aside(file):
    file.save("good one")
    file.save("good two")
    file.path.write_text("bad")
    file.previous.write_bytes(b"\xff")
    path, previous = str(file.path), str(file.previous)
    assert file.load()[1] == [
        FileSetAside(path=path, moved_to=f"{path}.corrupt", problem="not good", used=""),
        FileSetAside(
            path=previous,
            moved_to=f"{previous}.corrupt",
            problem="'utf-8' codec can't decode byte 0xff in position 0: invalid start byte",
            used="",
        ),
    ]
    for number in range(2, 5):
        file.path.write_text("bad")
        (event,) = file.load()[1]
        assert event.moved_to == f"{path}.corrupt-{number}"
    file.save("good three")
    file.save("good four")
    file.path.unlink()
    problem = "it does not exist, although .name.previous does: this is taken for a reset"
    assert file.load()[1] == [FileSetAside(path=path, moved_to="", problem=problem, used="")]
    file.previous.unlink()
    file.previous.mkdir()
    assert file.load()[1] == [], "whatever that is, it is no copy of ours"


def test_way_is_made_for_a_write(file):
    file.save("good one")
    file.save("good two")
    assert file.set_aside_foreign() == []
    for path in (file.path, file.previous):
        path.unlink()
        path.mkdir()
    assert file.set_aside_foreign() == [
        FileSetAside(path=str(path), moved_to=f"{path}.corrupt", problem="it is not a file, but a directory", used="")
        for path in (file.path, file.previous)
    ]
    assert file.set_aside_foreign() == []
    file.save("good three")


@pytest.mark.parametrize("mode", [0o620, 0o602, 0o666])
def test_what_others_may_write_is_not_believed(file, mode):
    file.save("good one")
    file.save("good two")
    file.path.chmod(mode)
    found, (event,) = file.load()
    assert (found, event.problem) == ("one", f"others may write it: its mode is {mode:04o}")


@pytest.mark.skipif(os.geteuid() != 0, reason="only root may give files away")
@pytest.mark.parametrize("user", [1, 54321])
def test_what_belongs_to_somebody_else_is_not_believed(file, user):
    file.save("good one")
    file.save("good two")
    os.chown(file.path, user, -1)
    found, (event,) = file.load()
    assert (found, event.problem) == (
        "one",
        f"it belongs to user {user}, who is neither root nor the manager's user",
    )


def test_what_is_too_long_is_not_read(file, monkeypatch):
    monkeypatch.setattr(shared_directory, "MAX_FILE_SIZE", 10)
    file.path.write_text("good one, but long")
    file.path.chmod(0o600)
    (event,) = file.load()[1]
    assert event.problem == "it has 18 bytes, and 10 are the limit"
    file.path.write_text("good three")
    file.path.chmod(0o600)
    assert file.load() == ("three", [])


def a_link_to_a_file_of_ours(path, victim):
    victim.write_bytes(b"secret")
    victim.chmod(0o600)
    path.unlink()
    path.symlink_to(victim)


def a_pipe_that_nobody_opens(path, victim):
    path.unlink()
    os.mkfifo(path)


def a_file_that_others_may_write(path, victim):
    path.chmod(0o666)


def a_long_file(path, victim):
    os.truncate(path, 11)


@pytest.mark.parametrize(
    ("puts", "error", "problem"),
    [
        (a_link_to_a_file_of_ours, OSError, "symbolic links"),
        (a_pipe_that_nobody_opens, CorruptCheckpoint, "it is not a file, but a pipe"),
        (a_file_that_others_may_write, CorruptCheckpoint, "others may write it"),
        (a_long_file, CorruptCheckpoint, "it has 11 bytes, and 10 are the limit"),
    ],
)
def test_what_takes_its_place_after_a_first_look_is_not_read(file, monkeypatch, tmp_path, puts, error, problem):
    """Nor waited for, as one would for the other end of a pipe."""
    check, looks = shared_directory._check, []

    def look(status):
        check(status)
        looks.append(status)
        if len(looks) == 1:
            puts(file.path, tmp_path / "victim")

    monkeypatch.setattr(shared_directory, "MAX_FILE_SIZE", 10)
    monkeypatch.setattr(shared_directory, "_check", look)
    file.save("good one")
    with pytest.raises(error, match=problem):
        shared_directory.read_trusted(file.path)
    assert len(looks) == 1


def test_of_a_file_that_grows_while_it_is_read_no_more_is_read_than_of_any(file, monkeypatch):
    check = shared_directory._check

    def look(status):
        check(status)
        with file.path.open("ab") as growing:
            growing.write(b"x")

    monkeypatch.setattr(shared_directory, "MAX_FILE_SIZE", 10)
    monkeypatch.setattr(shared_directory, "_check", look)
    file.save("good one")
    assert shared_directory.read_trusted(file.path) == b"good onexx"
    file.save("good one2")
    assert shared_directory.read_trusted(file.path) == b"good one2x"


def test_each_kind_of_thing_has_a_name(tmp_path):
    (tmp_path / "link").symlink_to("nowhere")
    os.mkfifo(tmp_path / "pipe")
    (tmp_path / "file").touch()
    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind(str(tmp_path / "socket"))
        kinds = {name: kind_of((tmp_path / name).lstat()) for name in ("link", "pipe", "file", "socket")}
    assert kinds == {"link": "a link", "pipe": "a pipe", "file": "a file", "socket": "a socket"}
    assert (kind_of(tmp_path.stat()), kind_of(Path("/dev/null").stat())) == ("a directory", "a device")


def test_what_cannot_be_set_aside_is_a_clear_error(file, monkeypatch):
    """As a directory on which something is mounted."""
    file.path.mkdir()

    def busy(*arguments):
        raise OSError(errno.EBUSY, "Device or resource busy")

    monkeypatch.setattr(os, "rename", busy)
    with pytest.raises(DirectoryUnusable) as caught:
        file.load()
    assert str(caught.value) == (
        f"cannot read {file.path}, or set it aside: Device or resource busy. "
        "Fix its permissions, or move away (or unmount) what is there, and start again"
    )


@pytest.mark.parametrize(
    ("error", "problem"),
    [
        (OSError(errno.EIO, "words", "/else"), "cannot read /else, or set it aside: words."),
        (OSError("words"), ": words."),
    ],
)
def test_what_cannot_be_read_is_named_in_the_words_of_the_system(file, monkeypatch, error, problem):
    def fails(path):
        raise error

    monkeypatch.setattr(durable_file, "read_trusted", fails)
    with pytest.raises(DirectoryUnusable) as caught:
        file.load()
    assert problem in str(caught.value)
    assert error.filename or str(file.path) in str(caught.value)


def io_error(*arguments, **options):
    raise OSError(errno.EIO, "Input/output error")


@pytest.mark.parametrize("links", [True, False])
def test_when_the_directory_cannot_be_synced_the_old_generation_is_there_again(file, monkeypatch, links):
    """The rename came before that. A caller that gets the error must not find the change, if we are killed now."""
    file.save("good one")
    if not links:
        monkeypatch.setattr(os, "link", io_error)
    with monkeypatch.context() as patch:
        patch.setattr(durable_file, "_sync_directory", io_error)
        with pytest.raises(OSError, match="Input/output"):
            file.save("good two")
    assert file.load() == ("one", [])
    assert not list(file.path.parent.glob(".*.tmp"))


@pytest.mark.parametrize("problem", [OSError(errno.ENOSPC, "No space left on device"), CorruptCheckpoint("not ours")])
def test_when_the_old_generation_cannot_be_put_back_the_first_error_is_told(file, monkeypatch, problem):
    def fail(file):
        raise problem

    file.save("good one")
    monkeypatch.setattr(durable_file, "_sync_directory", io_error)
    monkeypatch.setattr(DurableFile, "_restore_previous", fail)
    with pytest.raises(OSError, match="Input/output"):
        file.save("good two")


@pytest.mark.parametrize("is_new", [True, False])
def test_when_the_first_generation_cannot_be_synced_there_is_none(file, monkeypatch, is_new):
    """If there should be one that was just deleted, this one has all that was in it."""
    file.previous.write_text("good old one, before a reset")
    monkeypatch.setattr(durable_file, "_sync_directory", io_error)
    with pytest.raises(OSError, match="Input/output"):
        replace(file, is_new=is_new).save("good one")
    assert file.path.exists() is not is_new


@pytest.mark.parametrize("there", [None, "good, says a stranger"])
def test_when_what_takes_the_place_of_a_lost_one_cannot_be_synced_the_lost_one_is_there_again(file, monkeypatch, there):
    """The caller of one more change must not lose all the others, if we are killed now."""
    if there:
        file.path.write_text(there)
    monkeypatch.setattr(durable_file, "_sync_directory", io_error)
    with pytest.raises(OSError, match="Input/output"):
        file.save_after_loss("good two", "good one")
    assert file.load()[0] == "one"
    with pytest.raises(OSError, match="Input/output"):
        file.save_after_loss("good two", None)
    assert file.load()[0] == "two", "nobody knows the one before"
    assert not list(file.path.parent.glob(".*.tmp"))


def test_where_others_may_write_nobody_can_guess_what_a_file_is_set_aside_as(file, tmp_path):
    """What is at the usual name belongs to others, and is left alone."""
    tmp_path.chmod(0o1777)
    file.path.write_text("bad")
    theirs = file.path.with_name("name.corrupt")
    theirs.mkdir()
    (moved,) = (Path(event.moved_to) for event in file.load()[1])
    assert re.fullmatch(r"name\.corrupt-[0-9a-f]{16}", moved.name)
    assert moved.read_text() == "bad"
    assert theirs.is_dir()


def test_when_a_strangers_file_was_written_over_and_cannot_be_synced_there_is_no_reset(file, monkeypatch):
    """What stood there was none of ours, and is not put back; but to leave nothing there would be a reset."""
    file.path.write_text("theirs")
    monkeypatch.setattr(durable_file, "_sync_directory", io_error)
    with pytest.raises(OSError, match="Input/output"):
        file.save_after_loss("good one")
    assert file.load() == ("one", [])


def test_what_nobody_would_read_is_not_written(file, monkeypatch):
    monkeypatch.setattr(durable_file, "MAX_FILE_SIZE", 100)
    file.save("good one")
    with pytest.raises(OSError, match="File too large"):
        file.save("good " + "x" * 100)
    assert file.load() == ("one", [])


def test_when_all_numbers_are_taken_there_is_another_name(file, tmp_path):
    for number in range(100):
        file.path.write_text(f"bad {number}")
        assert file.load()[0] is None
    numbered = {"name.corrupt", *(f"name.corrupt-{number}" for number in range(2, 100))}
    assert numbered < set(names(file))
    (other,) = set(names(file)) - numbered
    assert re.fullmatch(r"name\.corrupt-[0-9a-f]{16}", other), "which nobody can guess"


def a_link(path, victim):
    path.symlink_to(victim)


def a_dangling_link(path, victim):
    path.symlink_to("nowhere")


def a_pipe(path, victim):
    os.mkfifo(path)


def a_socket(path, victim):
    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind(str(path))


@pytest.mark.parametrize("puts", [a_link, a_dangling_link, a_pipe, a_socket])
def test_what_is_no_file_is_not_read_and_set_aside(file, puts, tmp_path):
    victim = tmp_path / "victim"
    victim.write_text("good secret")
    file.save("good one")
    file.save("good two")
    file.path.unlink()
    puts(file.path, victim)
    found, (event,) = file.load()
    assert (found, event.used) == ("one", ".name.previous")
    assert event.problem.startswith("it is not a file, but a ")
    assert file.load() == ("one", [])


@pytest.mark.parametrize("puts", [a_link, a_dangling_link, a_pipe, a_socket])
def test_no_file_of_somebody_else_is_written(file, puts, tmp_path):
    """In place of ours, or of a temporary one whose name they would have to guess."""
    victim = tmp_path / "victim"
    victim.write_text("secret")
    for path in (file.path, file.previous, file.path.with_name(".name.tmp"), file.path.with_name(".name.previous.tmp")):
        puts(path, victim)
    file.save("good one")
    file.save("good two")
    file.save_copy("good two")
    assert (file.path.read_text(), file.previous.read_text()) == ("good two", "good two")
    assert victim.read_text() == "secret"
    assert file.load() == ("two", [])


def test_a_temporary_file_that_is_there_already_is_not_ours(file, monkeypatch):
    monkeypatch.setattr("secrets.token_hex", lambda size: "guessed")
    guessed = file.path.with_name(".name.guessed.tmp")
    guessed.write_text("theirs")
    with pytest.raises(FileExistsError):
        file.save("good one")
    assert not file.path.exists()


def test_a_copy_that_finds_no_room_leaves_nothing(file, monkeypatch):
    """Where there are no hard links the old generation is copied; on a full disk each attempt would leave a part."""
    file.save("good one")

    def no_links(*args, **kwargs):
        raise PermissionError("no links here")

    def no_room(*args):
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(os, "link", no_links)
    written = []
    write = os.write

    def room_for_one(descriptor, data):
        written.append(data)
        return write(descriptor, data) if len(written) == 1 else no_room()

    monkeypatch.setattr(os, "write", room_for_one)
    with pytest.raises(OSError, match="No space left"):
        file.save("good two")
    assert len(written) == 2
    assert names(file) == ["name"]
    assert file.path.read_text() == "good one"
