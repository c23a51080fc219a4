"""A file in generations: written whole and durably, with the good one before it kept, and never silently lost.

::

    NAME                  the newest generation
    .NAME.previous        the one before, or a second copy of the newest (``double``)
    .NAME.tmp             being written; what a crash leaves of it is removed at the next start
    NAME.corrupt          what could not be believed (LIM-10); the next ones are NAME.corrupt-2 …

A write is: temporary file, fsync, keep the old one, rename, fsync of the directory. Whatever moment a crash picks,
NAME or its predecessor is whole.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Generic, TypeVar

from ..errors import CorruptCheckpoint, DirectoryUnusable
from ..events import FileSetAside

T = TypeVar("T")
MODE = 0o600


@dataclass(frozen=True, slots=True)
class GenerationFile(Generic[T]):
    """A file at ``path`` whose text ``parse`` turns into a value, or raises CorruptCheckpoint for."""

    path: Path
    parse: Callable[[str], T]

    @property
    def previous(self) -> Path:
        return self.path.with_name(f".{self.path.name}.previous")

    @property
    def _temporary(self) -> Path:
        return self.path.with_name(f".{self.path.name}.tmp")

    @property
    def _link(self) -> Path:
        return self.path.with_name(f".{self.path.name}.previous.tmp")

    def load(self) -> tuple[T | None, list[FileSetAside]]:
        """The newest generation that can be believed; None when there is none. Raises DirectoryUnusable."""
        try:
            for leftover in (self._temporary, self._link):
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

    def save(self, text: str) -> None:
        """Put ``text`` on disk as the newest generation. Raises OSError; the old one is then untouched."""
        with self._cleaning_up():
            self._write(text.encode())
            self._keep_previous()
            self._temporary.replace(self.path)
        _sync_directory(self.path.parent)

    def double(self, text: str) -> None:
        """Put the newest generation, whose text this is, on disk a second time: damage to one file is then no loss.

        Raises OSError.
        """
        with self._cleaning_up():
            self._write(text.encode())
            self._temporary.replace(self.previous)
        _sync_directory(self.path.parent)

    @contextmanager
    def _cleaning_up(self) -> Iterator[None]:
        try:
            yield
        except OSError:
            with suppress(OSError):
                self._temporary.unlink(missing_ok=True)
            raise

    def _read(self, path: Path) -> tuple[T | None, str]:
        """(value, "") or (None, "") when there is no such file, or (None, problem)."""
        try:
            return self.parse(path.read_bytes().decode()), ""
        except FileNotFoundError:
            return None, ""
        except (CorruptCheckpoint, UnicodeDecodeError) as error:
            return None, str(error)

    def _write(self, data: bytes) -> None:
        file = os.open(self._temporary, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC, MODE)
        try:
            view = memoryview(data)
            while view:
                view = view[os.write(file, view) :]
            os.fsync(file)
        finally:
            os.close(file)

    def _keep_previous(self) -> None:
        """A second name for the old generation, put in place by a rename: at no moment is there none."""
        link = self._link
        link.unlink(missing_ok=True)
        try:
            _link_or_copy(self.path, link)
        except FileNotFoundError:
            return  # the first generation has none before it
        link.replace(self.previous)
        # To rename one of two names of the same file does nothing, and after a crash between this and the next rename
        # they are the same file.
        link.unlink(missing_ok=True)

    def _set_aside(self, *, replacement: bool) -> Path:
        """Give the bad file another name, and put the generation before in its place, if there is one.

        At no moment is there no file: a crash in between must not look like an empty start.
        """
        target = self._free_name()
        if not replacement:
            return self.path.rename(target)
        _link_or_copy(self.path, target)
        try:
            self._write(self.previous.read_bytes())  # a copy: what damages one of them next must not damage both
        except OSError:  # no room: then the same file, until there is
            self._temporary.unlink(missing_ok=True)
            self._temporary.hardlink_to(self.previous)
        self._temporary.replace(self.path)
        _sync_directory(self.path.parent)
        return target

    def _free_name(self) -> Path:
        base = self.path.name
        names = (f"{base}.corrupt" if n == 1 else f"{base}.corrupt-{n}" for n in range(1, 1_000_000))
        return next(one for name in names if not os.path.lexists(one := self.path.with_name(name)))


def _link_or_copy(source: Path, target: Path) -> None:
    """A second name for a file. Raises FileNotFoundError when there is none."""
    try:
        target.hardlink_to(source)
    except FileNotFoundError:
        raise
    except OSError:  # a file system without hard links
        target.write_bytes(source.read_bytes())


def _sync_directory(directory: Path) -> None:
    handle = os.open(directory, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)
