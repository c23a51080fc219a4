"""A file that is written whole and durably, keeps its previous generation, and is never silently lost.

::

    NAME                  the newest generation
    .NAME.previous        the one before, or a second copy of the newest (``save_copy``)
    .NAME.….tmp           being written; what a crash leaves of it is removed at the next start
    NAME.corrupt          what could not be trusted (LIM-10); the next ones are NAME.corrupt-2 …, or, where others may
                          write, NAME.corrupt- and a random word

A write is: temporary file, fsync, keep the old one, rename, fsync of the directory. Whenever a crash comes, NAME or its
predecessor is whole.

Others may write in this directory (``shared_directory``). So a temporary file has a random name and is opened only if
this process creates it, and NAME is read only if nobody else can have written it.
"""

from __future__ import annotations

import errno
import os
import secrets
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from functools import cached_property, partial
from pathlib import Path
from typing import Generic, NamedTuple, TypeVar

from ...errors import CorruptCheckpoint, DirectoryUnusable
from ...events import FileSetAside
from ..shared_directory import MAX_FILE_SIZE, read_trusted, set_aside, unused_name, why_untrusted

T = TypeVar("T")
MODE = 0o600


class FileIdentity(NamedTuple):
    """Which file it is, and when it was last written."""

    device: int
    inode: int
    size: int
    mtime_ns: int


@dataclass(frozen=True)
class DurableFile(Generic[T]):
    """A file at ``path`` whose text ``parse`` turns into a value, or raises CorruptCheckpoint for."""

    path: Path
    parse: Callable[[str], T]
    is_new: bool = False
    """The file does not exist yet, and has not been lost either."""

    @cached_property
    def previous(self) -> Path:
        return Path(f"{self._beside}.previous")

    @cached_property
    def _beside(self) -> str:
        return os.fspath(self.path.with_name(f".{self.path.name}"))

    @contextmanager
    def _temporary_name(self) -> Iterator[str]:
        """A random name. Whatever has this name after the block is removed."""
        path = f"{self._beside}.{secrets.token_hex(8)}.tmp"
        try:
            yield path
        finally:
            with suppress(OSError):
                os.unlink(path)

    def load(self) -> tuple[T | None, list[FileSetAside]]:
        """The newest generation that can be trusted; None when there is none. Raises DirectoryUnusable."""
        events: list[FileSetAside] = []
        try:
            self._remove_leftovers()
            found, problem = self._read(self.path)
            if not problem:
                return found, self._report_missing() if found is None else []
            found, older_problem = self._read(self.previous)
            if older_problem:
                events = [_file_set_aside(self.previous, set_aside(self.previous), older_problem)]
            used = "" if found is None else self.previous.name
            return found, [_file_set_aside(self.path, self._replace_corrupt(found is not None), problem, used), *events]
        except OSError as error:
            raise DirectoryUnusable(
                f"cannot read {error.filename or self.path}, or set it aside: {error.strerror or error}. "
                "Fix its permissions, or move away (or unmount) what is there, and start again"
            ) from error

    def _remove_leftovers(self) -> None:
        """Remove temporary files that a crash has left. It does no harm if one of them cannot be removed."""
        for leftover in self.path.parent.glob(f".{self.path.name}.*tmp"):
            with suppress(OSError):
                leftover.unlink()

    def _report_missing(self) -> list[FileSetAside]:
        """Report a deleted file: that is how people reset a kubelet's devices, but it may have been a mistake."""
        try:
            is_ours = not why_untrusted(self.previous.lstat())
        except FileNotFoundError:
            is_ours = False
        problem = f"it does not exist, although {self.previous.name} does: this is taken for a reset"
        return [FileSetAside(path=str(self.path), moved_to="", problem=problem, used="")] if is_ours else []

    def set_aside_foreign(self) -> list[FileSetAside]:
        """Set aside what others have put where the file is about to be written: a directory cannot be replaced by a
        file, and somebody may need what is in it. Raises OSError."""
        events = []
        for path in (self.path, self.previous):
            with suppress(FileNotFoundError):
                if problem := why_untrusted(path.lstat()):
                    events.append(_file_set_aside(path, set_aside(path), problem))
        return events

    def save(self, text: str) -> FileIdentity | None:
        """Write ``text`` as the newest generation, and keep the old one.

        Returns the identity of the new file. Raises OSError; the old one is then untouched.
        """
        with self._temporary_with(text.encode()) as temporary:
            identity = identity_of(temporary)
            is_kept = self._keep_previous()
            is_new = self.is_new and not os.path.lexists(self.path)
            os.replace(temporary, self.path)
        undo = self._restore_previous if is_kept else self.path.unlink if is_new else _nothing_to_undo
        with _undone_on_error(undo):
            _sync_directory(self.path.parent)
        return identity

    def save_after_loss(self, text: str, before: str | None = None) -> FileIdentity | None:
        """The same after the file was lost, so that what has its name now is not kept as a generation.

        ``before`` is the text of the lost file, None when it is not known.
        """
        identity = self._replace(self.path, text.encode())
        undo = _nothing_to_undo if before is None else partial(self._replace, self.path, before.encode())
        with _undone_on_error(undo):
            _sync_directory(self.path.parent)
        return identity

    def save_copy(self, text: str) -> FileIdentity | None:
        """Write the newest generation, whose text this is, a second time, so that damage to one file loses nothing.

        Returns the identity of the copy. Raises OSError.
        """
        identity = self._replace(self.previous, text.encode())
        _sync_directory(self.path.parent)
        return identity

    def _replace(self, path: Path, data: bytes) -> FileIdentity | None:
        with self._temporary_with(data) as temporary:
            identity = identity_of(temporary)
            os.replace(temporary, path)
        return identity

    @contextmanager
    def _temporary_with(self, data: bytes) -> Iterator[str]:
        """A temporary file with these bytes, synced to disk."""
        if len(data) > MAX_FILE_SIZE:  # it would not be read
            raise OSError(errno.EFBIG, os.strerror(errno.EFBIG), os.fspath(self.path))
        with self._temporary_name() as temporary:
            _write_new(temporary, data)
            yield temporary

    def _read(self, path: Path) -> tuple[T | None, str]:
        """Returns (value, ""), or (None, "") when there is no such file, or (None, problem)."""
        try:
            return self.parse(read_trusted(path).decode()), ""
        except FileNotFoundError:
            return None, ""
        except (CorruptCheckpoint, UnicodeDecodeError) as error:
            return None, str(error)

    def _keep_previous(self) -> bool:
        """Give the old generation a second name, by a rename, so that there is one at any moment. Returns whether there
        was an old generation.

        After a crash between this rename and the next, NAME and its predecessor are the same file. A rename between two
        names of one file does nothing; then the temporary name remains, and is removed.
        """
        with self._temporary_name() as link:
            try:
                _link_or_copy(self.path, link)
            except (FileNotFoundError, CorruptCheckpoint):
                return False  # there is none before the first generation, and something else than a file is none
            os.replace(link, self.previous)
        return True

    def _replace_corrupt(self, has_replacement: bool) -> Path:
        """Give the bad file another name, and put the previous generation in its place, if there is one.

        There is a file at any moment: a crash in between must not look like an empty start. Only something else than a
        file, or a file of others that cannot be linked, is missing for a moment.
        """
        target = unused_name(self.path)
        if not (has_replacement and _try_link_or_copy(self.path, target)):
            self.path.rename(target)
        if has_replacement:
            self._restore_previous()
            _sync_directory(self.path.parent)
        return target

    def _restore_previous(self) -> None:
        data = read_trusted(self.previous)
        try:  # a copy, since damage to one of the two must not damage both
            self._replace(self.path, data)
        except OSError:  # no space for a copy: link to the same file until there is
            with self._temporary_name() as link:
                os.link(self.previous, link)
                os.replace(link, self.path)


@contextmanager
def _undone_on_error(undo: Callable[[], object]) -> Iterator[None]:
    """When the block fails, a caller is about to get an error for a change: so a later start must not find that change
    if this process is killed. What the disk itself contains cannot be known until it works again.

    Whatever was known before the change must be found: one change too many is better than a loss of all of them.
    """
    try:
        yield
    except OSError:
        with suppress(OSError, CorruptCheckpoint):
            undo()
        raise


def _nothing_to_undo() -> None:
    """Leave everything as it is."""


def _file_set_aside(path: Path, moved_to: Path, problem: str, used: str = "") -> FileSetAside:
    return FileSetAside(path=str(path), moved_to=str(moved_to), problem=problem, used=used)


def identity_of(path: str | Path) -> FileIdentity | None:
    """Of the file or link at the path; None when there is none, or it cannot be examined."""
    try:
        status = os.lstat(path)
    except OSError:
        return None
    return FileIdentity(status.st_dev, status.st_ino, status.st_size, status.st_mtime_ns)


def _write_new(path: str | Path, data: bytes) -> None:
    """Create a file with these bytes, and sync it to disk. Raises FileExistsError."""
    file = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW, MODE)
    try:
        view = memoryview(data)
        while view:
            view = view[os.write(file, view) :]
        os.fsync(file)
    finally:
        os.close(file)


def _link_or_copy(source: Path, target: str | Path) -> None:
    """Give a file a second name. Raises FileNotFoundError when there is no such file."""
    try:
        os.link(source, target, follow_symlinks=False)
    except FileNotFoundError:
        raise
    except OSError:  # a file system without hard links
        _write_new(target, read_trusted(source))


def _try_link_or_copy(path: Path, name: Path) -> bool:
    try:
        _link_or_copy(path, name)
    except CorruptCheckpoint:
        return False
    return True


def _sync_directory(directory: Path) -> None:
    handle = os.open(directory, os.O_DIRECTORY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)
