"""A file in generations: written whole and durably, with the good one before it kept, and never silently lost.

::

    NAME                  the newest generation
    .NAME.previous        the one before, or a second copy of the newest (``double``)
    .NAME.….tmp           being written; what a crash leaves of it is removed at the next start
    NAME.corrupt          what could not be believed (LIM-10); the next ones are NAME.corrupt-2 …

A write is: temporary file, fsync, keep the old one, rename, fsync of the directory. Whatever moment a crash picks,
NAME or its predecessor is whole.

Others may write in this directory. So a temporary file has a name that nobody can guess, is made by us or not at all,
and what stands at NAME is read only if it is a file: no link is followed, and no pipe is waited for.
"""

from __future__ import annotations

import errno
import os
import secrets
import stat
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Generic, NamedTuple, TypeVar

from ..errors import CorruptCheckpoint, DirectoryUnusable
from ..events import FileSetAside

T = TypeVar("T")
MODE = 0o600


class Identity(NamedTuple):
    """Which file it is, and when it was last written."""

    device: int
    inode: int
    size: int
    written: int


@dataclass(frozen=True, slots=True)
class GenerationFile(Generic[T]):
    """A file at ``path`` whose text ``parse`` turns into a value, or raises CorruptCheckpoint for."""

    path: Path
    parse: Callable[[str], T]

    @property
    def previous(self) -> Path:
        return self.path.with_name(f".{self.path.name}.previous")

    @contextmanager
    def _temporary(self) -> Iterator[Path]:
        """A name that nobody can guess; what stands there is gone after the block, one way or the other."""
        path = self.path.with_name(f".{self.path.name}.{secrets.token_hex(8)}.tmp")
        try:
            yield path
        finally:
            with suppress(OSError):
                path.unlink(missing_ok=True)

    def load(self) -> tuple[T | None, list[FileSetAside]]:
        """The newest generation that can be believed; None when there is none. Raises DirectoryUnusable."""
        try:
            for leftover in self.path.parent.glob(f".{self.path.name}.*tmp"):
                leftover.unlink(missing_ok=True)
            found, problem = self._read(self.path)
            if not problem:
                return found, self._missing() if found is None else []
            found, older_problem = self._read(self.previous)
            if older_problem:
                self.previous.rename(self._free_name())
            moved_to = self._set_aside(replacement=found is not None)
        except OSError as error:
            raise DirectoryUnusable(f"cannot read {self.path}: {error}") from error
        used = "" if found is None else self.previous.name
        return found, [FileSetAside(path=str(self.path), moved_to=str(moved_to), problem=problem, used=used)]

    def _missing(self) -> list[FileSetAside]:
        """Somebody deleted the file, which is how people reset a kubelet's devices; but it may have been a mistake."""
        if not self.previous.exists():
            return []
        problem = f"it is not there, though {self.previous.name} is: this is taken for a reset"
        return [FileSetAside(path=str(self.path), moved_to="", problem=problem, used="")]

    def save(self, text: str) -> Identity | None:
        """Put ``text`` on disk as the newest generation, and keep the old one.

        Returns what stands there now. Raises OSError; the old one is then untouched.
        """
        return self._put(text, keep=True)

    def save_over(self, text: str) -> Identity | None:
        """The same, where what stands there is not of our making: it is no generation to be kept."""
        return self._put(text, keep=False)

    def _put(self, text: str, *, keep: bool) -> Identity | None:
        self._make_way()
        with self._written(text.encode()) as temporary:
            identity = identity_of(temporary)
            if keep:
                self._keep_previous()
            temporary.replace(self.path)
        _sync_directory(self.path.parent)
        return identity

    def double(self, text: str) -> Identity | None:
        """Put the newest generation, whose text this is, on disk a second time: damage to one file is then no loss.

        Returns what stands there now. Raises OSError.
        """
        self._make_way()
        with self._written(text.encode()) as temporary:
            identity = identity_of(temporary)
            temporary.replace(self.previous)
        _sync_directory(self.path.parent)
        return identity

    def make_directory(self) -> None:
        """Also those above it. While a manager runs, who has moved them away may be about to make them anew; at its end
        nobody waits for that."""
        with suppress(OSError):  # to write will fail too, and tell
            self.path.parent.mkdir(mode=0o750, parents=True, exist_ok=True)

    def _make_way(self) -> None:
        """Somebody may have deleted the directory; and no file takes the place of a directory, which is set aside."""
        self.path.parent.mkdir(mode=0o750, exist_ok=True)
        for path in (self.path, self.previous):
            if path.is_dir() and not path.is_symlink():
                path.rename(self._free_name())

    @contextmanager
    def _written(self, data: bytes) -> Iterator[Path]:
        """A temporary file with these bytes, which are on disk."""
        with self._temporary() as temporary:
            _write_new(temporary, data)
            yield temporary

    def _read(self, path: Path) -> tuple[T | None, str]:
        """(value, "") or (None, "") when there is no such file, or (None, problem)."""
        try:
            return self.parse(_file_bytes(path).decode()), ""
        except FileNotFoundError:
            return None, ""
        except (CorruptCheckpoint, UnicodeDecodeError) as error:
            return None, str(error)

    def _keep_previous(self) -> None:
        """A second name for the old generation, put in place by a rename: at no moment is there none.

        To rename one of two names of the same file does nothing, and after a crash between this and the next rename
        they are the same file; then the temporary name stays, and is removed.
        """
        with self._temporary() as link:
            try:
                _link_or_copy(self.path, link)
            except (FileNotFoundError, CorruptCheckpoint):
                return  # the first generation has none before it; nor is what is no file one
            link.replace(self.previous)

    def _set_aside(self, *, replacement: bool) -> Path:
        """Give the bad file another name, and put the generation before in its place, if there is one.

        At no moment is there no file: a crash in between must not look like an empty start.
        """
        target = self._free_name()
        if not replacement or not stat.S_ISREG(self.path.lstat().st_mode):
            self.path.rename(target)
        else:
            _link_or_copy(self.path, target)
        if replacement:
            self._put_back()
        return target

    def _put_back(self) -> None:
        data = _file_bytes(self.previous)
        try:  # a copy: what damages one of them next must not damage both
            with self._written(data) as temporary:
                temporary.replace(self.path)
        except OSError:  # no room: then the same file, until there is
            with self._temporary() as link:
                link.hardlink_to(self.previous)
                link.replace(self.path)
        _sync_directory(self.path.parent)

    def _free_name(self) -> Path:
        base = self.path.name
        names = (f"{base}.corrupt" if n == 1 else f"{base}.corrupt-{n}" for n in range(1, 1_000_000))
        return next(one for name in names if not os.path.lexists(one := self.path.with_name(name)))


def identity_of(path: Path) -> Identity | None:
    """Of what is at the path, be it a link; None when nothing is, or nobody can tell."""
    try:
        status = path.lstat()
    except OSError:
        return None
    return Identity(status.st_dev, status.st_ino, status.st_size, status.st_mtime_ns)


def _file_bytes(path: Path) -> bytes:
    """What a file has. Raises CorruptCheckpoint for what is none: a link, a pipe, a directory."""
    try:
        file = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC)
    except OSError as error:
        if error.errno in (errno.ELOOP, errno.ENXIO):  # a link, a socket
            raise CorruptCheckpoint(f"it is no file, but {_kind(path)}") from error
        raise
    with open(file, "rb") as opened:
        if not stat.S_ISREG(os.fstat(file).st_mode):
            raise CorruptCheckpoint(f"it is no file, but {_kind(path)}")
        return opened.read()


def _kind(path: Path) -> str:
    kinds = {stat.S_IFLNK: "a link", stat.S_IFIFO: "a pipe", stat.S_IFSOCK: "a socket", stat.S_IFDIR: "a directory"}
    return kinds.get(stat.S_IFMT(path.lstat().st_mode), "a device")


def _write_new(path: Path, data: bytes) -> None:
    """A file of ours with these bytes, on disk. Raises FileExistsError when somebody was there before."""
    file = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC, MODE)
    try:
        view = memoryview(data)
        while view:
            view = view[os.write(file, view) :]
        os.fsync(file)
    finally:
        os.close(file)


def _link_or_copy(source: Path, target: Path) -> None:
    """A second name for a file. Raises FileNotFoundError when there is none."""
    try:
        os.link(source, target, follow_symlinks=False)
    except FileNotFoundError:
        raise
    except OSError:  # a file system without hard links
        _write_new(target, _file_bytes(source))


def _sync_directory(directory: Path) -> None:
    handle = os.open(directory, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)
