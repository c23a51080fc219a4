"""Unix sockets by path: one that listens before its path exists, and one that is known by its file, not its path."""

from __future__ import annotations

import errno
import os
import re
import secrets
import socket
import stat
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from ...errors import DirectoryUnusable

BACKLOG = 128
MODE = 0o660
"""Mode of the sockets that we make."""
MAX_PATH = 107
"""Bytes in the path of a unix socket on Linux."""
Identity = tuple[int, int, int]
"""Device, inode and modification time of a socket's file. An inode alone is reused when its file is removed."""
Inode = tuple[int, int]
"""Device and inode of an open file. They identify it, since an inode is not reused while its file is open."""


def listen(path: Path, *, group: int | None = None, replace: bool = False) -> socket.socket:
    """A socket that listens on ``path``, with mode 0660 and ``group``. Raises OSError.

    It is bound under a temporary name, and gets its own once it listens, so that a process that watches the directory
    can connect at once: by a link, or, with ``replace``, by a rename that replaces an old socket.
    """
    with closed_on_error(_unix_socket()) as listener:
        bound = _bind_temporary(listener, path)
        try:
            _set_permissions(bound, group)
            listener.listen(BACKLOG)
            if replace:
                bound.replace(path)
            else:
                _link(bound, path)
        finally:
            bound.unlink(missing_ok=True)
        return listener


def stale_temporary_sockets(path: Path) -> list[Path]:
    """Sockets that a killed :func:`listen` has left beside ``path``. One that another process is making at this moment
    looks the same."""
    temporary = re.compile(rf"\.[0-9a-f]{{{_temporary_name_size(path)}}}")
    return sorted(other for other in path.parent.glob(".*") if temporary.fullmatch(other.name) and identity(other))


def connect(path: str | os.PathLike[str]) -> socket.socket:
    """Connect at once. Raises OSError: ConnectionRefusedError also when the backlog of the listener is full."""
    with closed_on_error(_unix_socket()) as sock:
        try:
            sock.connect(os.fspath(path))
        except BlockingIOError as error:  # on a unix socket this never means "in progress"
            raise ConnectionRefusedError(errno.ECONNREFUSED, "too many connections wait to be accepted") from error
        return sock


@dataclass(frozen=True, slots=True)
class SocketFile:
    """A socket's file, held open by ``descriptor``: it can be connected to even when another file is at its path by
    now, and no other file has its ``inode``. It belongs to the user ``owner``."""

    path: Path
    inode: Inode
    owner: int
    descriptor: int

    def __fspath__(self) -> str:
        return f"/proc/self/fd/{self.descriptor}"

    def __str__(self) -> str:
        return str(self.path)


@dataclass(frozen=True, slots=True)
class Place:
    """Where a plug-in's socket should be: a path relative to ``directory``.

    The directory is ours, but others may change what is below it at any time, so no part of ``path`` may be a link.
    """

    directory: Path
    path: Path

    def __str__(self) -> str:
        return str(self.directory / self.path)

    @contextmanager
    def opened(self) -> Iterator[SocketFile]:
        """The socket that is there now. Raises OSError, with ENOTSOCK when it is another kind of file."""
        *parents, name = self.path.parts or (".",)
        descriptor = os.open(self.directory, os.O_PATH | os.O_DIRECTORY)
        try:
            for part in parents:
                descriptor = _step(descriptor, part, os.O_DIRECTORY)
            descriptor = _step(descriptor, name, 0)
            status = os.fstat(descriptor)
            if not stat.S_ISSOCK(status.st_mode):
                raise OSError(errno.ENOTSOCK, "it is not a socket", str(self))
            yield SocketFile(self.directory / self.path, (status.st_dev, status.st_ino), status.st_uid, descriptor)
        finally:
            os.close(descriptor)


def _step(directory: int, name: str, flags: int) -> int:
    """Open an entry of the directory without following links, and close the directory."""
    descriptor = os.open(name, os.O_PATH | os.O_NOFOLLOW | flags, dir_fd=directory)
    os.close(directory)
    return descriptor


def require_short(path: Path) -> None:
    """Raises DirectoryUnusable when the path is longer than a unix socket's can be."""
    if (size := len(os.fsencode(path))) > MAX_PATH:
        raise DirectoryUnusable(
            f"{path.parent} is too long a path: its sockets would need {size} bytes, unix allows {MAX_PATH}. "
            "Give a shorter --root-dir, or, if it is a temporary directory, set TMPDIR to a shorter one"
        )


@contextmanager
def closed_on_error(sock: socket.socket) -> Iterator[socket.socket]:
    """Close the socket if the block raises."""
    try:
        yield sock
    except BaseException:
        sock.close()
        raise


def identity(path: Path) -> Identity | None:
    """The identity of the socket at this path; None when there is none."""
    try:
        status = path.lstat()
    except OSError:
        return None
    return (status.st_dev, status.st_ino, status.st_mtime_ns) if stat.S_ISSOCK(status.st_mode) else None


def _unix_socket() -> socket.socket:
    return socket.socket(socket.AF_UNIX, socket.SOCK_STREAM | socket.SOCK_NONBLOCK)


def _temporary_name_size(path: Path) -> int:
    return max(len(os.fsencode(path.name)) - 1, 1)


def _bind_temporary(listener: socket.socket, path: Path) -> Path:
    """Bind to a random name, no longer than the path itself, which may have the maximum length."""
    size = _temporary_name_size(path)
    os.fchmod(listener.fileno(), MODE)  # the file gets no more than this mode, whatever the umask
    while True:
        bound = path.with_name("." + secrets.token_hex(size)[:size])
        try:
            listener.bind(os.fspath(bound))
            return bound
        except OSError as error:
            if error.errno != errno.EADDRINUSE:
                raise


def _set_permissions(bound: Path, group: int | None) -> None:
    """By descriptor, since there may be another file at the path by now. Not by changing the umask: that is the whole
    process's, and other threads make files. Raises OSError."""
    descriptor = os.open(bound, os.O_PATH | os.O_NOFOLLOW | os.O_CLOEXEC)
    try:
        status = os.fstat(descriptor)
        if not stat.S_ISSOCK(status.st_mode) or status.st_uid != os.geteuid():
            raise OSError(errno.EADDRINUSE, os.strerror(errno.EADDRINUSE), os.fspath(bound))
        opened = f"/proc/self/fd/{descriptor}"
        if group is not None:
            os.chown(opened, -1, group)
        os.chmod(opened, MODE)
    finally:
        os.close(descriptor)


def _link(bound: Path, path: Path) -> None:
    try:
        os.link(bound, path, follow_symlinks=False)
    except FileExistsError:
        raise OSError(errno.EADDRINUSE, os.strerror(errno.EADDRINUSE), os.fspath(path)) from None
    except OSError as error:
        if error.errno not in (errno.EPERM, errno.EOPNOTSUPP, errno.EMLINK):
            raise
        if os.path.lexists(path):
            raise OSError(errno.EADDRINUSE, os.strerror(errno.EADDRINUSE), os.fspath(path)) from None
        bound.rename(path)  # a file system without hard links
