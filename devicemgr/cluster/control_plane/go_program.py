"""Programs that are compiled where they run, from a Go module that has the versions of all it consists of."""

from __future__ import annotations

import hashlib
import os
import shutil
import subprocess
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from ...errors import ProgramUnavailable

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
        return _cache() / f"{self.module.name}-{KUBERNETES}-{digest.hexdigest()[:12]}"

    @property
    def is_built(self) -> bool:
        return self.path.exists()

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
        if path.exists():
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

    def remove_others(self) -> list[Path]:
        """Remove what has been built of other sources, and what a build that was killed has left; what was removed.

        A checkout of another version builds its own again.
        """
        finished = [one for one in _cache().glob(f"{self.module.name}-*") if one != self.path]
        left = [one for one in _cache().glob(f".{self.module.name}-*") if not Path("/proc", one.suffix[1:]).exists()]
        for one in (*finished, *left):
            one.unlink(missing_ok=True)
        return finished + left

    def _run(self, argv: Sequence[str], stale: Sequence[str], **streams: object) -> Iterator[BuildStep]:
        """Run it, and tell what it does from its standard error."""
        waiting = set(stale)
        said: list[str] = []
        with subprocess.Popen(
            ["nice", "-n", "10", *argv, "."],
            cwd=self.module,
            stdin=subprocess.DEVNULL,
            stderr=subprocess.PIPE,
            text=True,
            **streams,  # type: ignore[call-overload]
        ) as process:
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


_LINKED = ("-ldflags", _linker_flags())


@contextmanager
def _unfinished(path: Path) -> Iterator[Path]:
    """A name beside it, where nothing is left."""
    unfinished = path.with_name(f".{path.name}.{os.getpid()}")
    try:
        yield unfinished
    finally:
        unfinished.unlink(missing_ok=True)


def _cache() -> Path:
    return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "devicemgr"
