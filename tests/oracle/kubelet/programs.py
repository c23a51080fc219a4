"""Where the programs are, and why they may not be here."""

from __future__ import annotations

import os
from pathlib import Path

import trio

from devicemgr.cluster.control_plane.go_program import KUBERNETES, GoProgram
from devicemgr.cluster.control_plane.programs import CONTROL_PLANE, Program, find_programs
from devicemgr.errors import DeviceManagerError
from devicemgr.testing.conformance.subject.isolation import Bind, require_allowed

KUBELET = GoProgram(Path(__file__).parent.parent / "go_kubelet")
_MINOR = ".".join(KUBERNETES.split(".")[:2])


def build() -> None:
    """Compile what the stories need and is not there: many minutes, the first time. Raises ProgramUnavailable."""
    for program in (CONTROL_PLANE, KUBELET):
        print(program.build())


def missing(directory: Path) -> str | None:
    """Why the kubelet cannot be a side here, or None. ``directory`` is an empty one, to try things with."""
    if not KUBELET.is_built:
        return f"{KUBELET.path} is not there: python -m tests.oracle.kubelet.build"
    if os.geteuid() != 0:
        return "a kubelet needs root"
    try:
        trio.run(require_allowed, [Bind(directory, Path("/var/lib/kubelet"))])
        programs = trio.run(find_programs)
    except DeviceManagerError as error:
        return str(error)
    return _unfit(programs)


def _unfit(programs: dict[str, Program]) -> str | None:
    """A kubelet must not be newer than its API server, and an older kubelet is none that we speak of."""
    api_server = programs["kube-apiserver"]
    if api_server.minor == _MINOR:
        return None
    return f"{api_server.argv[0]} is {api_server.version}, and the kubelet is {KUBERNETES}"
