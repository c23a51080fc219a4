"""The command line: a file per verb, or a folder where one file is not enough; this one finds them.

Without a verb the daemon runs. Exit status: 0 done · 1 refused or failed · 2 bad usage or bad input · 3 no manager or
kubelet reachable · 4 the DevicePlugins gate is off · 141 the reader of a pipe went away.

``admit``        admits the pods of a manifest, and starts their containers
``check/``       runs the conformance checks against a plug-in
``checkpoint``   shows a kubelet's checkpoint
``cluster/``     a Kubernetes cluster on this machine
``demo/``        shows everything once, embedded
``events``       shows what happened
``explain``      explains why a pod got its devices, or none
``fault``        breaks something on purpose
``node/``        joins a cluster
``node_status``  shows what a kubelet would publish
``page``         serves the page of a trace
``plugin``       runs simulated plug-ins
``remove``       removes a pod that has ended
``retain``       removes all pods but those that still exist
``rule``         prints a rule of the book
``sequence``     shows who called whom
``status/``      shows the resources, and who holds what
``trace``        shows, plays or runs a recorded trace
``tree``         shows the running tasks, and what they wait for
``wait``         waits until a resource has its devices
``daemon/``      without a verb: the daemon
``terminal/``    the terminal, or what there is in its place
``shared/``      what several verbs share
"""

from __future__ import annotations

import importlib
import re
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import click
from click.core import ParameterSource

from ..errors import BadInput, DeviceManagerError, KubeletUnavailable, ManagerUnavailable, UnusableTopology
from ..printable import printable
from ..version import installed_version
from .shared.group import Group
from .shared.parameters import root_dir_option, root_of
from .shared.process_limits import too_few_threads_readable
from .terminal.standard_output import standard_output

_LONGEST_WORD = 300
"""Characters of a path, for example. Of a longer word the ends are shown."""
_IS_VERB = f"{__name__}.is_verb"
"""A key of click's context: whether the command line begins with a verb, and so has no options of the daemon."""
_VERBS = {
    "admit": "Admit the pods of a manifest and start their containers.",
    "check": "Check a device plug-in, in any language, without a cluster.",
    "checkpoint": "Read a kubelet_internal_checkpoint file.",
    "cluster": "Run a real Kubernetes cluster on this machine, with nodes of devicemgr.",
    "demo": "Watch everything once, in a temporary directory.",
    "events": "Show what happened, oldest first.",
    "explain": "Explain why a pod got its devices, or none.",
    "fault": "Break something on purpose, to see what a plug-in does.",
    "node": "Join a Kubernetes cluster, as one node or as many.",
    "node-status": "Show what the node publishes.",
    "page": "Serve the page of a recorded trace, for a browser.",
    "plugin": "Run a simulated device plug-in.",
    "remove": "Remove a pod: its devices are free at once.",
    "rule": "Print a rule of the kubelet by its id, such as ALLOC-7d.",
    "retain": "Keep the pods that still exist; remove all others.",
    "sequence": "Show who called whom, as text or as a sequence diagram.",
    "status": "Show the resources, and who holds which devices.",
    "trace": "Show, play or run a recorded trace.",
    "tree": "Show the running tasks, and what each waits for.",
    "wait": "Wait until a resource has a given number of devices.",
}


class _Verbs(Group):
    """Loads a verb's module, or the daemon's options, when they are used: they take time to import."""

    def parse_args(self, ctx: click.Context, args: list[str]) -> list[str]:
        ctx.meta[_IS_VERB] = bool(args) and args[0] in _VERBS
        return super().parse_args(ctx, args)

    def get_params(self, ctx: click.Context) -> list[click.Parameter]:
        params = super().get_params(ctx)
        if ctx.meta.get(_IS_VERB):
            return params
        from .daemon.options import settings_options

        *ours, version_option, help_option = params
        return [*ours, *settings_options(), version_option, help_option]

    def list_commands(self, ctx: click.Context) -> list[str]:
        return sorted(_VERBS)

    def get_command(self, ctx: click.Context, name: str) -> click.Command | None:
        if name not in _VERBS:
            return None
        command: click.Command = importlib.import_module(f"{__name__}.{name.replace('-', '_')}").command
        return command

    def short_helps(self, ctx: click.Context) -> list[tuple[str, str]]:
        return sorted(_VERBS.items())

    def make_context(self, *args: Any, **extra: Any) -> click.Context:
        with _errors_readable():
            return super().make_context(*args, **extra)

    def invoke(self, ctx: click.Context) -> object:
        try:
            with standard_output(ctx), _errors_readable(), too_few_threads_readable():
                return super().invoke(ctx)
        except DeviceManagerError as error:
            click.echo(f"Error: {_readable(str(error))}", err=True)
            ctx.exit(_exit_status(error))


@contextmanager
def _errors_readable() -> Iterator[None]:
    try:
        yield
    except click.ClickException as error:
        vars(error)["message"] = _readable(error.message)
        raise


def _readable(text: str) -> str:
    """Shorten long words of an error, and escape control characters: it may quote any input."""
    lines = "\n".join(map(printable, text.split("\n")))
    return re.sub(rf"\S{{{_LONGEST_WORD},}}", lambda word: f"{word[0][:80]}…{word[0][-40:]}", lines)


def _exit_status(error: DeviceManagerError) -> int:
    match error:
        case BadInput() | UnusableTopology():
            return 2
        case ManagerUnavailable() | KubeletUnavailable():
            return 3
        case _:
            return 1


def _print_version(context: click.Context, _: click.Parameter, asked: bool) -> None:
    if asked and not context.resilient_parsing:
        click.echo(f"{context.find_root().info_name}, version {installed_version()}")
        context.exit()


@click.group(cls=_Verbs, invoke_without_command=True, context_settings={"help_option_names": ["-h", "--help"]})
@root_dir_option
@click.option(
    "--config",
    type=click.Path(path_type=Path, exists=True),
    multiple=True,
    metavar="FILE",
    help="An OpenShift node-config.yaml, or a KubeletConfiguration as it is or inside another object; or a directory "
    "of drop-ins. Given several times, the later one counts.",
)
@click.option("--trace", type=click.Path(path_type=Path, dir_okay=False), help="Write every event to this file.")
@click.option("--log-format", type=click.Choice(["text", "json"]), default="text", show_default=True)
@click.option(
    "--log-level",
    type=click.Choice(["debug", "info", "warning"]),
    default="info",
    show_default=True,
    help="What is logged on standard error: this level and above.",
)
@click.option("-v", "--verbose", is_flag=True, help="The same as --log-level debug.")
@click.option(
    "--numa",
    metavar="NODES",
    help="The NUMA nodes, as 0,1 or 0-1 or with distances as 0=10,21;1=21,10.  [default: the machine's]",
)
@click.option(
    "--version",
    is_flag=True,
    expose_value=False,
    is_eager=True,
    callback=_print_version,
    help="Show the version and exit.",
)
@click.pass_context
def main(
    ctx: click.Context,
    /,
    root_dir: Path | None,
    config: tuple[Path, ...],
    trace: Path | None,
    log_format: str,
    log_level: str,
    verbose: bool,
    numa: str | None,
    **settings: Any,
) -> None:
    """The kubelet's Device Manager. Without a command, run the manager until SIGTERM, SIGINT or SIGHUP."""
    if ctx.invoked_subcommand is None:
        from .daemon.run import Options, run_daemon

        log_level = "debug" if verbose else log_level
        options = Options(
            config=config,
            numa=numa,
            states_version=ctx.get_parameter_source("kubernetes_version") is not ParameterSource.DEFAULT,
            trace=trace,
            log_format=log_format,
            log_level=log_level,
        )
        ctx.exit(run_daemon(options, root_dir=root_of(root_dir), **settings))
    _refuse_options_before(ctx, ctx.invoked_subcommand)


def _refuse_options_before(ctx: click.Context, verb: str) -> None:
    """Those of the daemon would have no effect there. Only the root directory is handed on."""
    for param in ctx.command.get_params(ctx):
        is_given = ctx.get_parameter_source(param.name or "") is ParameterSource.COMMANDLINE
        if is_given and param.name != "root_dir":
            option = max(param.opts, key=len)
            raise click.UsageError(f"{option} is an option of the daemon here; options of {verb} come after {verb}")
