"""The programs of a control plane, from wherever they are: the directory of envtest, the PATH, or built here."""

from __future__ import annotations

import os
import re
import shutil
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from subprocess import DEVNULL

import trio

from ...errors import ProgramUnavailable
from .go_program import GoProgram

CONTROL_PLANE = GoProgram(Path(__file__).parent / "go_control_plane")
COMPONENTS = ("etcd", "kube-apiserver")
ASSETS = "KUBEBUILDER_ASSETS"
"""The variable by which envtest, and what is made with it, is told a directory of these programs."""


@dataclass(frozen=True, slots=True)
class Program:
    """How a component is started, and what it says its version is: ``3.7.0`` or ``1.37.2``."""

    argv: tuple[str, ...]
    version: str

    @property
    def minor(self) -> str:
        return ".".join(self.version.split(".")[:2])


async def find_programs(components: Sequence[str] = COMPONENTS) -> dict[str, Program]:
    """By component: of the directory that ``KUBEBUILDER_ASSETS`` names, or else of the PATH, or else as built here.

    Nothing is built: see :meth:`GoProgram.build`. Raises ProgramUnavailable.
    """
    found = {}
    for component in components:
        argv = next(_places(component), None)
        if argv is None:
            raise ProgramUnavailable(
                f"there is no {component}: neither in the directory of {ASSETS} nor in PATH, and none has been built"
            )
        found[component] = Program(argv, await _version(argv))
    return found


def _places(component: str) -> Iterator[tuple[str, ...]]:
    assets = os.environ.get(ASSETS)
    if assets and (inside := shutil.which(component, path=assets)):
        yield (inside,)
    if in_path := shutil.which(component):
        yield (in_path,)
    if CONTROL_PLANE.is_built:
        yield (str(CONTROL_PLANE.path), component)


async def _version(argv: Sequence[str]) -> str:
    """What it prints begins with ``etcd Version: 3.7.0`` or ``Kubernetes v1.37.2``. Raises ProgramUnavailable."""
    try:
        asked = partial(trio.run_process, [*argv, "--version"], stdin=DEVNULL, check=False)
        said = await asked(capture_stdout=True, capture_stderr=True)
    except OSError as error:
        raise ProgramUnavailable(f"{argv[0]} cannot be run: {error.strerror}") from error
    text = said.stdout.decode(errors="replace")
    number = re.match(r"(?:etcd Version: |Kubernetes v)(\d+\.\d+\.\d+)", text)
    if number is None:
        raise ProgramUnavailable(f"{' '.join(argv)} does not say which version it is: {text.strip()[:200]!r}")
    return number[1]
