"""The programs of a control plane, from wherever they are: the directory of envtest, the PATH, or built here."""

from __future__ import annotations

import os
import re
import shutil
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from subprocess import DEVNULL
from types import MappingProxyType

import trio

from ...errors import ProgramUnavailable
from .go_program import GoProgram, in_use

CONTROL_PLANE = GoProgram(Path(__file__).parent / "go_control_plane")
COMPONENTS = ("etcd", "kube-apiserver")
SCHEDULER = "kube-scheduler"
CONTROLLERS = "kube-controller-manager"
KUBECTL = "kubectl"
VERSION_PATIENCE = 30.0
"""Seconds in which a program says which version it is, on however busy a machine."""
ASSETS = "KUBEBUILDER_ASSETS"
"""The variable by which envtest, and what is made with it, is told a directory of these programs."""
HOW_TO_BUILD = "To build all that a cluster needs: python -m devicemgr cluster build"

_ASKED = {KUBECTL: ("version", "--client")}
"""How a component is asked for its version, if not by ``--version``."""


@dataclass(frozen=True, slots=True)
class Program:
    """How a component is started, and what it says its version is: ``3.7.0`` or ``1.37.2``."""

    argv: tuple[str, ...]
    version: str

    @property
    def minor(self) -> str:
        return ".".join(self.version.split(".")[:2])

    @property
    def was_built_here(self) -> bool:
        return Path(self.argv[0]).parent == CONTROL_PLANE.path.parent

    def __str__(self) -> str:
        return f"{self.version} ({' '.join(self.argv)})"


async def find_programs(
    components: Sequence[str] = COMPONENTS, *, beside: Mapping[str, Program] = MappingProxyType({})
) -> dict[str, Program]:
    """By component: of the directory that ``KUBEBUILDER_ASSETS`` names, or else of the PATH, or else as built here.

    ``kube-apiserver``, which comes first, decides on the minor version of Kubernetes: a component of another one is
    passed over, and so is what does not say its version. It may be among those that have been found before, ``beside``.
    Nothing is built: see :meth:`GoProgram.build`. Raises ProgramUnavailable.
    """
    found: dict[str, Program] = {}
    for component in components:
        found[component] = await _find(component, {**beside, **found})
    return found


@contextmanager
def all_in_use(programs: Iterable[Program]) -> Iterator[None]:
    """Within, those that were built here stay, even if another version is built: they can be started again, and by
    their paths. Raises ProgramUnavailable."""
    with ExitStack() as stack:
        for path in {program.argv[0] for program in programs if program.was_built_here}:
            stack.enter_context(in_use(Path(path)))
        yield


async def _find(component: str, found: Mapping[str, Program]) -> Program:
    unfit = []
    for argv in _places(component):
        try:
            program = Program(argv, await _version(component, argv))
        except ProgramUnavailable as error:
            unfit.append(str(error))
            continue
        api_server = found.get("kube-apiserver")
        if api_server is None or _fits(component, program, api_server):
            return program
        unfit.append(f"{component} {program} does not fit kube-apiserver {api_server}, which is of another version")
    if not unfit:
        unfit.append(f"there is no {component}: neither in the directory of {ASSETS} nor in PATH, and none is built")
    raise ProgramUnavailable(f"{'; '.join(unfit)}. {HOW_TO_BUILD}")


def _fits(component: str, program: Program, api_server: Program) -> bool:
    """kubectl may be one minor version older or newer. Others might be older, but have not been tried together."""
    if component == KUBECTL:
        return abs(_number(program) - _number(api_server)) <= 1
    return component == "etcd" or program.minor == api_server.minor


def _number(program: Program) -> int:
    return int(program.minor.split(".")[1])


def _places(component: str) -> Iterator[tuple[str, ...]]:
    assets = os.environ.get(ASSETS)
    # Each may be relative to the working directory, and is run in another one.
    if assets and (inside := shutil.which(component, path=assets)):
        yield (os.path.abspath(inside),)
    if in_path := shutil.which(component):
        yield (os.path.abspath(in_path),)
    if CONTROL_PLANE.is_built:
        yield (str(CONTROL_PLANE.path), component)


async def _version(component: str, argv: Sequence[str]) -> str:
    """It prints ``etcd Version: 3.7.0``, ``Kubernetes v1.37.2`` or ``Client Version: v1.37.2``, then perhaps more.

    Raises ProgramUnavailable.
    """
    said = None
    try:
        asked = partial(trio.run_process, [*argv, *_ASKED.get(component, ("--version",))], stdin=DEVNULL, check=False)
        with trio.move_on_after(VERSION_PATIENCE):
            said = await asked(capture_stdout=True, capture_stderr=True)
    except OSError as error:
        raise ProgramUnavailable(f"{argv[0]} cannot be run: {error.strerror}") from error
    if said is None:
        raise ProgramUnavailable(f"{argv[0]} does not say within {VERSION_PATIENCE:g} s which version it is")
    text = said.stdout.decode(errors="replace")
    number = re.match(r"(?:etcd Version: |Kubernetes v|Client Version: v)(\d+\.\d+\.\d+)", text)
    if number is None:
        raise ProgramUnavailable(f"{' '.join(argv)} does not say which version it is: {text.strip()[:200]!r}")
    return number[1]
