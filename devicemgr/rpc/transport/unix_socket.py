"""Unix sockets by name: one that listens before it can be seen, one that is really connected, and one that is known
for the same whatever its name."""

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
"""Of the sockets that we make."""
MAX_PATH = 107
"""Bytes in the path of a unix socket on Linux."""
Identity = tuple[int, int, int]
"""Device, inode and time of making of a socket's file: the inode alone is another one's as soon as it is free."""
Inode = tuple[int, int]
"""Device and inode of a file that is open: so it is not free, and its times are whatever its owner wants."""


def listen(path: Path, *, group: int | None = None, replace: bool = False) -> socket.socket:
    """A socket that listens on ``path``, with mode 0660 and ``group``. Raises OSError.

    It is bound under another name and gets its own when it listens: by a link, as if it had just been made, so that
    whoever watches for that may connect at once; or, with ``replace``, by a rename, and an old one gives way.
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
    """What :func:`listen` has left beside ``path`` if it was killed before it was through; what another process is
    doing at this moment looks the same."""
    temporary = re.compile(rf"\.[0-9a-f]{{{_temporary_name_size(path)}}}")
    return sorted(other for other in path.parent.glob(".*") if temporary.fullmatch(other.name) and identity(other))


def connect(path: str | os.PathLike[str]) -> socket.socket:
    """Connect at once. Raises OSError; ConnectionRefusedError also when so many wait there that one more cannot."""
    with closed_on_error(_unix_socket()) as sock:
        try:
            sock.connect(os.fspath(path))
        except BlockingIOError as error:  # not "in progress", which a unix socket never is
            raise ConnectionRefusedError(errno.ECONNREFUSED, "too many connections wait to be accepted") from error
        return sock


@dataclass(frozen=True, slots=True)
class SocketFile:
    """A socket that is there, for as long as ``descriptor`` is open: it can be connected to whatever is at its path by
    now, and no other one has its ``inode``. Its file belongs to the user ``owner``."""

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
    """Where somebody else's socket should be: a path relative to ``directory``.

    The directory is ours, but what is below it others may change at any time, so no part of ``path`` may be a link.
    """

    directory: Path
    path: Path

    def __str__(self) -> str:
        return str(self.directory / self.path)

    @contextmanager
    def opened(self) -> Iterator[SocketFile]:
        """The socket that is there now. Raises OSError; with ENOTSOCK when it is something else."""
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
    """Open what is in the directory, a link as such, and close that."""
    descriptor = os.open(name, os.O_PATH | os.O_NOFOLLOW | flags, dir_fd=directory)
    os.close(directory)
    return descriptor


def require_short(path: Path) -> None:
    """A unix socket's path is a field of fixed size in the kernel's interface; say so before bind or connect does.

    Raises DirectoryUnusable.
    """
    if (size := len(os.fsencode(path))) > MAX_PATH:
        raise DirectoryUnusable(
            f"{path.parent} is too long a path: its sockets would need {size} bytes, unix allows {MAX_PATH}. "
            "Give a shorter --root-dir, or, if it is a temporary directory, set TMPDIR to a shorter one"
        )


@contextmanager
def closed_on_error(sock: socket.socket) -> Iterator[socket.socket]:
    """The socket is kept only if the block ends well."""
    try:
        yield sock
    except BaseException:
        sock.close()
        raise


def identity(path: Path) -> Identity | None:
    """Which socket there is; None when there is none."""
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
    """Bind to a name that nobody expects, no longer than the path itself: that of a socket has at most 107 bytes."""
    size = _temporary_name_size(path)
    os.fchmod(listener.fileno(), MODE)  # the file will have no more than that, and the umask may take away of it
    while True:
        bound = path.with_name("." + secrets.token_hex(size)[:size])
        try:
            listener.bind(os.fspath(bound))
            return bound
        except OSError as error:
            if error.errno != errno.EADDRINUSE:
                raise


def _set_permissions(bound: Path, group: int | None) -> None:
    """By descriptor, since somebody may have put another file at the name by now. And not by a umask of the moment: it
    is the whole process's, and other threads make files. Raises OSError."""
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
