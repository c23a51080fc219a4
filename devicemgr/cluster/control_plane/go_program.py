"""Programs that are compiled where they run, from a Go module that has the versions of all it consists of."""

from __future__ import annotations

import fcntl
import hashlib
import os
import shutil
import subprocess
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import IO

from ...errors import ProgramUnavailable
from ...user_directories import cache_directory

KUBERNETES = "1.37.2"
"""The version of Kubernetes that our Go modules are made of. A test compares it with their go.mod."""
_VERSION = "k8s.io/component-base/version"
_DOWNLOADING = "go: downloading "


@dataclass(frozen=True, slots=True)
class BuildStep:
    """What ``go`` does now: ``downloading``, ``compiling`` or ``linking`` something."""

    does: str
    what: str
    done: int = 0
    """Packages that have been compiled, or are being."""
    total: int | None = None
    """Those that have to be: what ``go`` has compiled before is not among them. None as long as it is not known."""


@dataclass(frozen=True, slots=True)
class GoProgram:
    """The main package of ``module``, a directory."""

    module: Path

    @property
    def path(self) -> Path:
        """Where it is once it has been built: sources that differ in one byte are another program."""
        digest = hashlib.sha256()
        for source in sorted(self.module.iterdir()):
            digest.update(source.name.encode() + b"\0" + source.read_bytes() + b"\0")
        return cache_directory() / f"{self.module.name}-{KUBERNETES}-{digest.hexdigest()[:12]}"

    @property
    def is_built(self) -> bool:
        return os.path.exists(self.path)  # Path.exists raises PermissionError where this user may not look

    def build(self) -> Path:
        """The program, compiled if it is not there yet. Errors are those of :meth:`building`."""
        for _ in self.building():
            pass
        return self.path

    def building(self) -> Iterator[BuildStep]:
        """Compile it if it is not there yet: minutes of the processor and, the first time, of the network.

        It is there when the iterator ends. It yields to everything else on the machine. Raises ProgramUnavailable where
        there is no ``go``, where it fails, and where the cache cannot be written.
        """
        path = self.path
        if self.is_built:
            return
        go = shutil.which("go")
        if go is None:
            raise ProgramUnavailable(
                f"{self.module.name} is built with the go tool, and there is none in PATH: install Go, or put its bin "
                "directory into PATH"
            )
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise ProgramUnavailable(
                f"{self.module.name} cannot be kept in {path.parent}: {error.strerror}. XDG_CACHE_HOME is the "
                "directory of caches, if not ~/.cache"
            ) from error
        with _unfinished(path) as output, tempfile.TemporaryFile("w+") as listed:
            form = "{{if .Stale}}{{.ImportPath}}{{end}}"
            yield from self._run([go, "list", "-deps", "-f", form, *_LINKED], [], stdout=listed)
            listed.seek(0)
            stale = listed.read().split()
            yield from self._run([go, "build", "-v", *_LINKED, "-o", str(output)], stale)
            output.replace(path)

    def others(self) -> list[Path]:
        """What has been built of other sources."""
        return sorted(one for one in cache_directory().glob(f"{self.module.name}-*") if one != self.path)

    def remove_others(self) -> list[Path]:
        """Remove :meth:`others` but those :func:`in_use`, and what a build that was killed has left. Returns what was
        removed. A checkout of another version builds its own again.
        """
        unfinished = cache_directory().glob(f".{self.module.name}-*")
        left = [one for one in unfinished if not Path("/proc", one.suffix[1:]).exists()]
        return [one for one in (*self.others(), *left) if _remove(one)]

    def _run(self, argv: Sequence[str], stale: Sequence[str], stdout: IO[str] | None = None) -> Iterator[BuildStep]:
        """Run it, and tell what it does from its standard error."""
        waiting = set(stale)
        said: list[str] = []
        with subprocess.Popen(
            ["nice", "-n", "10", *argv, "."],
            cwd=self.module,
            env=os.environ | _FOR_HERE,
            stdin=subprocess.DEVNULL,
            stdout=stdout,
            stderr=subprocess.PIPE,
            text=True,
            errors="replace",
        ) as process:
            assert process.stderr is not None
            try:
                for line in map(str.rstrip, process.stderr):
                    if line.startswith(_DOWNLOADING):
                        yield BuildStep("downloading", line.removeprefix(_DOWNLOADING))
                    elif line in waiting:
                        waiting.discard(line)
                        does = "compiling" if waiting else "linking"  # the main package is the last one
                        yield BuildStep(does, line, len(stale) - len(waiting), len(stale))
                    else:
                        said.append(line)
            except BaseException:  # a signal, or nobody wants to know how it goes on
                process.terminate()
                raise
        if process.returncode:
            words = "\n".join(said)[-1000:]
            raise ProgramUnavailable(f"go cannot build {self.module.name}: {words}")


def _linker_flags() -> str:
    """Kubernetes' components say which version they are only if the linker tells them."""
    major, minor, _ = KUBERNETES.split(".")
    named = {"gitVersion": f"v{KUBERNETES}", "gitMajor": major, "gitMinor": minor}
    return " ".join(["-s", "-w", *(f"-X {_VERSION}.{name}={value}" for name, value in named.items())])


_LINKED = ("-mod=readonly", "-ldflags", _linker_flags())
_FOR_HERE = {"GOWORK": "off", "GO111MODULE": "on", "GOOS": "", "GOARCH": ""}
"""What whoever works on another module has in the environment, or in a go.work above this one, is not for us: we are
often installed inside of it."""


@contextmanager
def in_use(program: Path) -> Iterator[None]:
    """Within, :meth:`GoProgram.remove_others` leaves ``program`` where it is. Raises ProgramUnavailable.

    A lock says so, which the kernel releases should this process be killed.
    """
    try:
        held = program.open("rb")
    except OSError as error:
        raise ProgramUnavailable(f"{program}: {error.strerror}") from error
    with held:
        fcntl.flock(held, fcntl.LOCK_SH)
        if not os.fstat(held.fileno()).st_nlink:
            raise ProgramUnavailable(f"{program} has just been removed, since another version was built")
        yield


def _remove(program: Path) -> bool:
    """Not if somebody uses it."""
    try:
        with program.open("rb") as held:
            fcntl.flock(held, fcntl.LOCK_EX | fcntl.LOCK_NB)
            program.unlink()
    except (BlockingIOError, FileNotFoundError):
        return False
    return True


@contextmanager
def _unfinished(path: Path) -> Iterator[Path]:
    """A name beside it, where nothing is left."""
    unfinished = path.with_name(f".{path.name}.{os.getpid()}")
    try:
        yield unfinished
    finally:
        unfinished.unlink(missing_ok=True)
