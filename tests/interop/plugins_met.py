"""The plug-ins of the README's table that can be had everywhere: written for this project, or Kubernetes' own."""

from __future__ import annotations

import sys
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from .building import HERE, go_program, tonic_program, upstream_sample

GADGET = "interop.example/gadget"
Argv = tuple[str | Path, ...]
_PLACE = ("--directory", "{dir}", "--resource", GADGET, "--count", "4", "--pre-start", "--preferred")


@dataclass(frozen=True, kw_only=True)
class Met:
    """``name`` and ``learnt`` are what the table says. ``command`` makes the plug-in, if that has to be made, in a
    directory, and returns how it is started; it raises NotToBeHad. ``options`` are those of ``check``."""

    name: str
    command: Callable[[Path], Argv]
    options: tuple[str, ...] = ()
    learnt: str = ""


SIMULATED = Met(
    name="the simulated one (`tests/interop/simulated.yaml`)",
    command=lambda _: (
        *(sys.executable, "-m", "devicemgr", "plugin"),
        *("--root-dir", "{dir}/..", "--script", HERE / "simulated.yaml"),
    ),
    options=("--change", 'kill -HUP "$DEVICE_PLUGIN_PID"'),
)
GRPCIO = Met(
    name="`tests/interop/grpcio_plugin.py`, on grpcio",
    command=lambda _: (sys.executable, HERE / "grpcio_plugin.py", *_PLACE),
    learnt="it left its socket behind on SIGTERM, and missed the loss of its own socket, until the checks said so",
)
GO = Met(
    name="`tests/interop/go_plugin`, on grpc-go and `k8s.io/kubelet`",
    command=lambda directory: (go_program("go_plugin", directory), *_PLACE),
    learnt="the same",
)
TONIC = Met(
    name="`tests/interop/tonic_plugin`, in Rust on tonic",
    command=lambda directory: (tonic_program(directory), *_PLACE),
    learnt="the second of these",
)
SAMPLE = Met(
    name="Kubernetes' own sample (v1.37.2, `test/images/sample-device-plugin`)",
    command=lambda directory: (upstream_sample(directory),),
    options=("--isolate", "--patience", "15"),
    learnt="`socket-deleted`: it watches for a new kubelet.sock alone; and it waits ten seconds then, for which a node "
    "has no devices after each restart of its kubelet",
)
PEERS = {"grpcio": GRPCIO, "go": GO, "tonic": TONIC}
MET = (SIMULATED, *PEERS.values(), SAMPLE)
