"""A file in generations: written whole and durably, with the good one before it kept, and never silently lost.

::

    NAME                  the newest generation
    .NAME.previous        the one before, or a second copy of the newest (``save_copy``)
    .NAME.….tmp           being written; what a crash leaves of it is removed at the next start
    NAME.corrupt          what could not be believed (LIM-10); the next ones are NAME.corrupt-2 …, and where others
                          may write NAME.corrupt- and a word that nobody can guess

A write is: temporary file, fsync, keep the old one, rename, fsync of the directory. Whatever moment a crash picks,
NAME or its predecessor is whole.

Others may write in this directory (``shared_directory``). So a temporary file has a name that nobody can guess, and is
made by us or not at all; and what stands at NAME is read only if nobody else can have written it.
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
    """Is none there yet, and has none been lost?"""

    @cached_property
    def previous(self) -> Path:
        return Path(f"{self._beside}.previous")

    @cached_property
    def _beside(self) -> str:
        return os.fspath(self.path.with_name(f".{self.path.name}"))

    @contextmanager
    def _temporary_name(self) -> Iterator[str]:
        """A name that nobody can guess; what stands there is gone after the block, one way or the other."""
        path = f"{self._beside}.{secrets.token_hex(8)}.tmp"
        try:
            yield path
        finally:
            with suppress(OSError):
                os.unlink(path)

    def load(self) -> tuple[T | None, list[FileSetAside]]:
        """The newest generation that can be believed; None when there is none. Raises DirectoryUnusable."""
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
                "Mend its permissions, or move away (or unmount) what is there, and start again"
            ) from error

    def _remove_leftovers(self) -> None:
        """What a crash left of a write. Nobody needs it to be gone; and a directory of such a name is none of ours."""
        for leftover in self.path.parent.glob(f".{self.path.name}.*tmp"):
            with suppress(OSError):
                leftover.unlink()

    def _report_missing(self) -> list[FileSetAside]:
        """Somebody deleted the file, which is how people reset a kubelet's devices; but it may have been a mistake."""
        try:
            is_ours = not why_untrusted(self.previous.lstat())
        except FileNotFoundError:
            is_ours = False
        problem = f"it is not there, though {self.previous.name} is: this is taken for a reset"
        return [FileSetAside(path=str(self.path), moved_to="", problem=problem, used="")] if is_ours else []

    def set_aside_foreign(self) -> list[FileSetAside]:
        """Set aside what is not of our making where we are about to write: no file takes the place of a directory, and
        whose file it is nobody knows. Raises OSError."""
        events = []
        for path in (self.path, self.previous):
            with suppress(FileNotFoundError):
                if problem := why_untrusted(path.lstat()):
                    events.append(_file_set_aside(path, set_aside(path), problem))
        return events

    def save(self, text: str) -> FileIdentity | None:
        """Put ``text`` on disk as the newest generation, and keep the old one.

        Returns what stands there now. Raises OSError; the old one is then untouched.
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
        """The same, where what stood there was lost, and what stands there now is no generation to be kept.

        ``before`` is the text of the one that was lost, None when nobody knows it.
        """
        with self._temporary_with(text.encode()) as temporary:
            identity = identity_of(temporary)
            os.replace(temporary, self.path)
        with _undone_on_error(_nothing_to_undo if before is None else partial(self._restore_text, before)):
            _sync_directory(self.path.parent)
        return identity

    def _restore_text(self, text: str) -> None:
        with self._temporary_with(text.encode()) as temporary:
            os.replace(temporary, self.path)

    def save_copy(self, text: str) -> FileIdentity | None:
        """Put the newest generation, whose text this is, on disk a second time: damage to one file is then no loss.

        Returns what stands there now. Raises OSError.
        """
        with self._temporary_with(text.encode()) as temporary:
            identity = identity_of(temporary)
            os.replace(temporary, self.previous)
        _sync_directory(self.path.parent)
        return identity

    @contextmanager
    def _temporary_with(self, data: bytes) -> Iterator[str]:
        """A temporary file with these bytes, which are on disk."""
        if len(data) > MAX_FILE_SIZE:  # nobody would read it
            raise OSError(errno.EFBIG, os.strerror(errno.EFBIG), os.fspath(self.path))
        with self._temporary_name() as temporary:
            _write_new(temporary, data)
            yield temporary

    def _read(self, path: Path) -> tuple[T | None, str]:
        """(value, "") or (None, "") when there is no such file, or (None, problem)."""
        try:
            return self.parse(read_trusted(path).decode()), ""
        except FileNotFoundError:
            return None, ""
        except (CorruptCheckpoint, UnicodeDecodeError) as error:
            return None, str(error)

    def _keep_previous(self) -> bool:
        """A second name for the old generation, put in place by a rename: at no moment is there none. Was there one?

        To rename one of two names of the same file does nothing, and after a crash between this and the next rename
        they are the same file; then the temporary name stays, and is removed.
        """
        with self._temporary_name() as link:
            try:
                _link_or_copy(self.path, link)
            except (FileNotFoundError, CorruptCheckpoint):
                return False  # the first generation has none before it; nor is what is no file one
            os.replace(link, self.previous)
        return True

    def _replace_corrupt(self, has_replacement: bool) -> Path:
        """Give the bad file another name, and put the generation before in its place, if there is one.

        At no moment is there no file: a crash in between must not look like an empty start. Only what is no file, or is
        somebody else's and can have no second name, is away for a moment.
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
        try:  # a copy: what damages one of them next must not damage both
            with self._temporary_with(data) as temporary:
                os.replace(temporary, self.path)
        except OSError:  # no room: then the same file, until there is
            with self._temporary_name() as link:
                os.link(self.previous, link)
                os.replace(link, self.path)


@contextmanager
def _undone_on_error(undo: Callable[[], None]) -> Iterator[None]:
    """When the block fails somebody is about to be told that his change is not on disk: so it must not be found there,
    if only this program is killed. What the disk itself has, nobody knows before it works again.

    All that was known before must be found there: rather one change too many than all of them gone.
    """
    try:
        yield
    except OSError:
        with suppress(OSError, CorruptCheckpoint):
            undo()
        raise


def _nothing_to_undo() -> None:
    """It stays as it is."""


def _file_set_aside(path: Path, moved_to: Path, problem: str, used: str = "") -> FileSetAside:
    return FileSetAside(path=str(path), moved_to=str(moved_to), problem=problem, used=used)


def identity_of(path: str | Path) -> FileIdentity | None:
    """Of what is at the path, be it a link; None when nothing is, or nobody can tell."""
    try:
        status = os.lstat(path)
    except OSError:
        return None
    return FileIdentity(status.st_dev, status.st_ino, status.st_size, status.st_mtime_ns)


def _write_new(path: str | Path, data: bytes) -> None:
    """A file of ours with these bytes, on disk. Raises FileExistsError when somebody was there before."""
    file = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW, MODE)
    try:
        view = memoryview(data)
        while view:
            view = view[os.write(file, view) :]
        os.fsync(file)
    finally:
        os.close(file)


def _link_or_copy(source: Path, target: str | Path) -> None:
    """A second name for a file. Raises FileNotFoundError when there is none."""
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
