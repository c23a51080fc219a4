"""The files of one manager under its root directory, and who owns them.

::

    ROOT/device-plugins/kubelet.sock       plug-ins register here
    ROOT/device-plugins/*.sock             the plug-ins' own sockets
    ROOT/device-plugins/kubelet_internal_checkpoint     who holds which devices, in the kubelet's format
    ROOT/plugins_registry/**/*.sock        plug-ins that the watcher discovers
    ROOT/pod-resources/kubelet.sock        monitoring agents ask here (PodResources)
    ROOT/devicemgr/admin.sock              the command line asks here
    ROOT/devicemgr/lock                    held by the one manager of this directory
"""

# Decision: the lock is an ``flock`` on a file of its own. The kernel releases it when the process ends, for whatever
# reason, so there is no stale lock to guess about. A kubelet does not know this lock, so a ``kubelet.sock`` that still
# accepts connections is respected as well: removing it would cut a running kubelet off from its plug-ins.

from __future__ import annotations

import errno
import fcntl
import os
import socket
import stat
from collections.abc import Iterator
from contextlib import ExitStack, closing, contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path

from ..errors import DirectoryInUse, DirectoryUnusable, RegistrationRefused
from ..events import DirectoryOpenToOthers, FileSetAside
from ..rpc.transport.unix_socket import MAX_PATH, Place, require_short, stale_temporary_sockets
from .shared_directory import is_own, kind_of, set_aside

KUBELET_ROOT = Path("/var/lib/kubelet")
"""The path of the root directory as plug-ins see it, in a container or a private view."""


@dataclass(frozen=True, slots=True)
class Layout:
    """The paths under ``root``. Members of ``group`` may connect to the sockets, and create others in ``plugins``."""

    root: Path
    group: int | None = None

    @property
    def plugins(self) -> Path:
        return self.root / "device-plugins"

    @property
    def registration_socket(self) -> Path:
        return self.plugins / "kubelet.sock"

    @property
    def plugins_registry(self) -> Path:
        return self.root / "plugins_registry"

    @property
    def pod_resources_socket(self) -> Path:
        return self.root / "pod-resources" / "kubelet.sock"

    @property
    def sockets(self) -> tuple[Path, ...]:
        return self.registration_socket, self.admin_socket, self.pod_resources_socket

    @property
    def directories(self) -> tuple[Path, ...]:
        """In the order in which they can be created."""
        return self.root, self.plugins, self.own, self.plugins_registry, self.pod_resources_socket.parent

    @property
    def own(self) -> Path:
        return self.root / "devicemgr"

    @property
    def admin_socket(self) -> Path:
        return self.own / "admin.sock"


class Directories:
    """The directories of a running manager, which are created again when they are lost. Made by
    :func:`acquire_directories`."""

    # Decision: a root that was deleted is created again at once; the kubelet does so with its next checkpoint.
    # One that was moved away is not: it may be about to return, or to be replaced. Where other users may write to the
    # directory above, they may have put one of their own there first: that one is not used.

    def __init__(self, layout: Layout) -> None:
        self.layout = layout
        self._root = self._open_root()

    def close(self) -> None:
        os.close(self._root)

    def make(self, directory: Path) -> None:
        """Create this one, if it does not exist. Raises OSError."""
        if not os.fstat(self._root).st_nlink:
            self.make_all()
        self._check_root()
        make_directory(self.layout, directory)

    def make_all(self) -> None:
        """Create all of them, and those above the root, even if the root was moved away. Raises OSError."""
        make_root(self.layout)
        self._check_root()
        make_directories(self.layout)
        root, self._root = self._root, self._open_root()
        os.close(root)

    def prepare(self) -> None:
        """Create what was lost while no incarnation served. Raises DirectoryUnusable."""
        with _usable():
            self.make_all()

    def _check_root(self) -> None:
        """Raises PermissionError if what is now at the root's path, even a link, belongs to another user."""
        root = self.layout.root
        with suppress(FileNotFoundError):
            found, before = root.stat(), os.fstat(self._root)
            if os.path.samestat(found, before):
                return
            for status in (root.lstat(), found):
                if not is_own(status) and status.st_uid != before.st_uid:
                    problem = f"it was lost, and what is there now belongs to user {status.st_uid}"
                    raise PermissionError(errno.EPERM, problem, os.fspath(root))

    def _open_root(self) -> int:
        return os.open(self.layout.root, os.O_PATH | os.O_DIRECTORY | os.O_CLOEXEC)


@contextmanager
def acquire_directories(layout: Layout) -> Iterator[Directories]:
    """Create the directories, and lock them for as long as the block lasts.

    Raises DirectoryInUse when another manager or a kubelet serves here, DirectoryUnusable for an error of the file
    system.
    """
    require_short(max(layout.sockets, key=lambda path: len(os.fsencode(path))))
    with ExitStack() as stack:
        with _usable():
            make_directories(layout)
            for directory in layout.directories[1:]:  # an existing root must let members of the group pass by itself
                _hand_over(layout, directory)
            lock = os.open(layout.own / "lock", os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW | os.O_CLOEXEC, 0o640)
            stack.callback(os.close, lock)
            directories = stack.enter_context(closing(Directories(layout)))
        _lock(lock, layout)
        yield directories


@contextmanager
def _usable() -> Iterator[None]:
    """Raises DirectoryUnusable for an OSError of the block."""
    try:
        yield
    except OSError as error:
        raise DirectoryUnusable(
            f"cannot use {error.filename}: {error.strerror}. "
            "Give --root-dir a directory that this user may write (and --allow-group one of this user's groups), "
            "or run with more rights"
        ) from error


def make_root(layout: Layout) -> None:
    """Create the root, and the directories above it, if they do not exist. Raises OSError."""
    for parent in reversed(layout.root.parents):
        if not parent.exists():
            parent.mkdir(mode=0o755, exist_ok=True)  # with parents=True the umask alone would decide the mode
    make_directory(layout, layout.root)


def make_directories(layout: Layout) -> None:
    """Create those that do not exist, and the directories above them. Raises OSError."""
    make_root(layout)
    for directory in layout.directories[1:]:
        make_directory(layout, directory)


def make_directory(layout: Layout, directory: Path) -> None:
    """Create it with mode 0750, if it does not exist. Raises OSError."""
    if os.path.isdir(directory):
        return
    try:
        directory.mkdir(mode=0o750)
    except FileExistsError:
        if not directory.is_dir():
            raise
    else:
        _hand_over(layout, directory)


def _hand_over(layout: Layout, directory: Path) -> None:
    """Give it to the group, whose members create sockets in the plug-ins' directory; each may remove only its own."""
    if layout.group is not None:
        os.chown(directory, -1, layout.group)
        directory.chmod(0o1770 if directory == layout.plugins else 0o750)


def check_permissions(layout: Layout) -> list[DirectoryOpenToOthers]:
    """The directories in which others can remove and replace our files. In a sticky one they cannot."""
    found = []
    for directory in layout.directories:
        status = directory.stat()
        mode = stat.S_IMODE(status.st_mode)
        if not is_own(status):
            found.append((directory, f"it belongs to user {status.st_uid}: chown it to this one or to root"))
        elif mode & (stat.S_IWGRP | stat.S_IWOTH) and not mode & stat.S_ISVTX:
            fix = f"chmod go-w {directory}, and let a group in with --allow-group"
            found.append((directory, f"its mode is {mode:04o}: others can replace our files in it; {fix}"))
    return [DirectoryOpenToOthers(path=str(directory), problem=problem) for directory, problem in found]


def _lock(lock: int, layout: Layout) -> None:
    try:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        owner = os.pread(lock, 32, 0).decode(errors="replace").strip()
        raise DirectoryInUse(
            f"another manager (process {owner or 'unknown'}) serves {layout.root}. "
            "Stop it, or give this one another --root-dir"
        ) from None
    if _may_be_a_kubelet(layout) and _accepts(layout.registration_socket):
        raise DirectoryInUse(
            f"somebody, perhaps a kubelet, accepts connections on {layout.registration_socket}. "
            "Stop it, or give this manager another --root-dir"
        )
    os.ftruncate(lock, 0)
    os.pwrite(lock, f"{os.getpid()}\n".encode(), 0)


def _may_be_a_kubelet(layout: Layout) -> bool:
    """A socket that a member of the group has created, or a link to another one, is no kubelet."""
    try:
        status = layout.registration_socket.lstat()
    except OSError:
        return False
    return layout.group is None or (stat.S_ISSOCK(status.st_mode) and is_own(status))


def _accepts(path: Path) -> bool:
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as probe:
        probe.setblocking(False)
        try:
            probe.connect(os.fspath(path))
        except BlockingIOError:  # its backlog is full
            return True
        except OSError:
            return False
        return True


def remove_stale_sockets(layout: Layout) -> list[Path]:
    """Remove every socket from the plug-ins' directory, and nothing else (REG-17). Of our own sockets, those of an
    earlier run are removed, with the temporary ones that it has left when it was killed.

    The socket of a running plug-in is removed, too: that is its sign to create a new one and register again. Returns
    what was removed; raises DirectoryUnusable.
    """
    removed, failures = [], []
    half_made = stale_temporary_sockets(layout.admin_socket) + stale_temporary_sockets(layout.pod_resources_socket)
    for path in [*_sockets_in(layout.plugins), layout.admin_socket, *half_made]:
        try:
            if not stat.S_ISSOCK(path.stat().st_mode):  # follows symbolic links
                continue
        except OSError:
            continue
        try:
            path.unlink()
            removed.append(path)
        except FileNotFoundError:  # its plug-in has just ended
            pass
        except OSError as error:
            failures.append(f"{path}: {error.strerror}")
    if failures:
        raise DirectoryUnusable(f"cannot remove stale sockets: {'; '.join(failures)}")
    return removed


def _sockets_in(directory: Path) -> list[Path]:
    """What may be a socket, or a link to one. The thousands of other files that may be there need no call of stat."""
    with os.scandir(directory) as entries:
        others = [
            one.path for one in entries if not (one.is_file(follow_symlinks=False) or one.is_dir(follow_symlinks=False))
        ]
    return list(map(Path, sorted(others)))


def clear_socket_paths(layout: Layout) -> list[FileSetAside]:
    """Set aside what is at the paths of our sockets and is no socket of ours, since a socket replaces nothing. Raises
    DirectoryUnusable."""
    set_aside_files = []
    for path in layout.sockets:
        try:
            if stat.S_ISSOCK((status := path.lstat()).st_mode) and is_own(status):
                continue  # of an earlier run: it is replaced
            moved_to = set_aside(path)
        except FileNotFoundError:
            continue
        except OSError as error:
            raise DirectoryUnusable(
                f"a socket is to be created at {path}, and what is there cannot be set aside: {error.strerror}. "
                "Move it away, or unmount it, and start again"
            ) from error
        problem = f"a socket is to be created there, and it is {kind_of(status)}"
        set_aside_files.append(FileSetAside(path=str(path), moved_to=str(moved_to), problem=problem, used=""))
    return set_aside_files


def checked_endpoint(directory: Path, endpoint: str) -> tuple[str, Place]:
    """The name and the place of a plug-in's socket, if the endpoint is a plain file name in ``directory`` (LIM-27).

    The text is joined to the directory and cleaned as Go does it (REG-3), so ``./x.sock`` is ``x.sock``. The socket
    need not exist yet (REG-7). Raises RegistrationRefused.
    """
    parent, name = os.path.split(os.path.normpath(f"{directory}/{endpoint}"))
    if "\0" in endpoint or parent != os.path.normpath(directory):
        raise _invalid(endpoint, f"it must be the plain file name of a socket in {directory}")
    path = directory / file_name(name)
    if len(os.fsencode(path)) > MAX_PATH:
        raise _invalid(
            endpoint,
            f"in {directory} its path would be longer than {MAX_PATH} bytes, "
            f"and it must be the plain file name of a socket in {directory}",
        )
    place = _place(directory, path, endpoint)
    if len(place.path.parts) != 1:
        raise _invalid(endpoint, f"it leads out of {directory}")
    try:
        with place.opened():
            pass
    except FileNotFoundError:
        pass  # it may still be created
    except OSError as error:
        raise RegistrationRefused(
            f"failed to dial device plugin: endpoint {endpoint!r} in {directory}: {error.strerror}", rule="LIM-27"
        ) from error
    return name, place


def endpoint_of_found(layout: Layout, found: Path, endpoint: str) -> Place:
    """Where a plug-in that was found serves: on the socket itself, or another one under the root directory (LIM-27).

    The plug-in may name it by the kubelet's path, as it sees the directory. Raises RegistrationRefused.
    """
    if endpoint and ("\0" in endpoint or not endpoint.startswith("/")):
        raise _invalid(endpoint, "it is not an absolute path")
    path = Path(file_name(endpoint)) if endpoint else found
    if path.is_relative_to(KUBELET_ROOT) and not path.is_relative_to(layout.root):
        path = layout.root / path.relative_to(KUBELET_ROOT)
    return _place(layout.root, path, endpoint or str(found))


def _place(directory: Path, path: Path, endpoint: str) -> Place:
    """Symbolic links are resolved here, once: one that is put there later is not followed."""
    try:
        real = directory.resolve()
        target = path.resolve()
    except (OSError, RuntimeError) as error:  # RuntimeError: a loop of symbolic links
        raise _invalid(endpoint, str(error)) from error
    if not target.is_relative_to(real):
        raise _invalid(endpoint, f"it leads out of {directory}")
    return Place(real, target.relative_to(real))


def file_name(name: str) -> str:
    """A file name that a plug-in has sent, in UTF-8, as this process would read it from a directory, in any locale."""
    return os.fsdecode(name.encode(errors="surrogateescape"))


def _invalid(endpoint: str, problem: str) -> RegistrationRefused:
    return RegistrationRefused(f"endpoint {endpoint[:100]!r} is invalid: {problem}", rule="LIM-27")
