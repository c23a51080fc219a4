"""The options of a run of the checks, stated once: those of ``check`` and of pytest are derived from them.

pytest asks for options at every start, so importing this module must be cheap.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from ..arguments import CheckedFields
from .timing import Timing

if TYPE_CHECKING:
    from ..core.topology.numa import Numa
    from .conformance.check import Check
    from .conformance.subject.command import Command


@dataclass(frozen=True, slots=True)
class OptionSpec:
    """What a command line needs for its option. Seconds must be greater than ``least``, numbers not less."""

    help: str
    metavar: str | None = None
    least: int = 0


def _option(default: Any, help: str, metavar: str | None = None, *, least: int = 0) -> Any:
    return dataclasses.field(default=default, metadata={"spec": OptionSpec(help, metavar, least)})


_DEFAULTS = Timing()


@dataclass(frozen=True, slots=True, kw_only=True)
class CheckOptions(CheckedFields):
    """How a plug-in is checked. The default of a field gives its kind: False a flag, None a text, a tuple several
    names, a float seconds, an int a number; :func:`option_spec` gives the rest. Raises BadInput for a value that
    cannot be used.
    """

    resource: str | None = _option(None, "Which of the plug-in's resources.  [default: all]", "NAME")
    isolate: bool = _option(False, "Give the command a private view of /var/lib/kubelet.")
    bind: tuple[str, ...] = _option(
        (),
        "Fake hardware: let the command, and nobody else, see at PATH what is at HOST here. Repeatable.",
        "HOST:PATH",
    )
    kubeconfig: str | None = _option(
        None,
        "Give the command the API server of this file: its path as KUBECONFIG, and with --isolate the API server as a "
        "pod has it.",
        "FILE",
    )
    respawn: bool = _option(
        False, "Start the command again when it exits: after a second, then with a back-off, as a kubelet does."
    )
    alone: bool = _option(
        False, "Never run a second instance of the command in parallel: the hardware supports one process only."
    )
    change: str | None = _option(
        None,
        "A shell command that makes the plug-in report a change each time: break a device, and heal it the next time. "
        "It is run nine times or more, where check runs, with the plug-in's environment and DEVICE_PLUGIN_PID. "
        "Instances in parallel share the files that it changes.",
        "COMMAND",
    )
    numa: str | None = _option(None, "The NUMA nodes of the machine, as 0,1.  [default: the machine's]", "NODES")
    only: tuple[str, ...] = _option((), "Run this check only. Repeatable; or several, separated by commas.", "CHECK")
    skip: tuple[str, ...] = _option((), "Do not run this check. Repeatable; or several, separated by commas.", "CHECK")
    strict: bool = _option(False, "Treat warnings as failures.")
    patience: float = _option(
        _DEFAULTS.patience, "How long the plug-in may take to register, and to register again.", "SECONDS"
    )
    quiet_period: float = _option(
        _DEFAULTS.quiet_period, "How long to watch the plug-in while nothing changes.", "SECONDS"
    )
    restarts: int = _option(
        _DEFAULTS.restarts,
        "How many restarts of the manager the search for leaked descriptors may take.",
        "NUMBER",
        least=5,
    )

    def __post_init__(self) -> None:
        from ..errors import BadInput
        from ..resource_names import why_not_extended

        CheckedFields.__post_init__(self)
        if self.resource is not None and (problem := why_not_extended(self.resource)):
            raise BadInput(f"{self.resource!r}: {problem}", file="resource")
        for field in dataclasses.fields(self):
            value, least = getattr(self, field.name), option_spec(field).least
            if type(field.default) is float and not least < value < float("inf"):
                raise BadInput(f"{value} is not a number above {least}", file=field.name)
            if type(field.default) is int and value < least:
                raise BadInput(f"{value} is not {least} or more", file=field.name)
        if self.bind or self.kubeconfig is not None:
            from .conformance.subject.given_api_server import GivenApiServer
            from .conformance.subject.isolation import Bind

            binds = [Bind.parse(text) for text in self.bind]
            if self.kubeconfig is not None:
                GivenApiServer(self.kubeconfig, isolate=self.isolate, binds=binds)

    @property
    def timing(self) -> Timing:
        return Timing(patience=self.patience, quiet_period=self.quiet_period, restarts=self.restarts)

    def checks(self) -> list[Check]:
        """The selected checks. Raises BadInput for an unknown name."""
        from .conformance.checks.catalogue import select

        return select(self.only, self.skip)

    def command(self, argv: Sequence[str], *, adopt: bool = False) -> Command:
        """The program to be checked."""
        from .conformance.subject.command import Command

        return Command(
            argv,
            change=self.change,
            isolate=self.isolate,
            bind=self.bind,
            kubeconfig=self.kubeconfig,
            alone=self.alone,
            adopt=adopt,
        )

    def numa_nodes(self) -> Numa | None:
        """The NUMA nodes; None for those of the machine. Raises UnusableTopology."""
        from ..core.topology.numa import parse_numa

        return None if self.numa is None else parse_numa(self.numa)


def option_spec(field: dataclasses.Field[Any]) -> OptionSpec:
    """The specification of a field of :class:`CheckOptions`."""
    spec: OptionSpec = field.metadata["spec"]
    return spec
