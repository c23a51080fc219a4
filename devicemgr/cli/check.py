"""``check``: the conformance checks, run against a plug-in. Exit status: 0 all passed · 1 some failed · 2 not run."""

from __future__ import annotations

import signal
import time
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any

import click
import trio

from ..daemon.event_log import Sink
from ..daemon.trace import open_trace
from ..errors import BadInput, DeviceManagerError, unwrapped
from ..testing.check_options import CheckOptions, about
from ..testing.conformance import (
    Attached,
    Check,
    Command,
    Result,
    Subject,
    Verdict,
    open_bench,
    run_checks,
    select,
)
from ..testing.conformance.isolation import TARGET
from . import Seconds, root_of
from .check_report import checks_data, draw_checks, draw_explanation, draw_report, progress, report_data, write_junit


@dataclass(frozen=True, slots=True, kw_only=True)
class _Run:
    """One run as the command line wants it; without a ``root_dir`` in a temporary directory."""

    subject: Subject
    checks: Sequence[Check]
    resource: str | None
    options: CheckOptions
    root_dir: Path | None


def _check_options(command: Callable[..., None]) -> Callable[..., None]:
    """An option for each field of :class:`CheckOptions`."""
    for field in reversed(fields(CheckOptions)):
        told, kind = about(field), _KINDS[type(field.default)]
        option = click.option(
            f"--{field.name.replace('_', '-')}",
            **kind(told.least),
            default=field.default,
            metavar=told.metavar,
            help=told.help,
        )
        command = option(command)
    return command


def _listed(ctx: click.Context, param: click.Parameter, values: tuple[str, ...]) -> tuple[str, ...]:
    """Several options, and several names with commas between in each."""
    return tuple(name for value in values for name in value.split(",") if name)


_KINDS: dict[type, Callable[[int], dict[str, Any]]] = {
    bool: lambda least: {"is_flag": True},
    type(None): lambda least: {"type": str},
    tuple: lambda least: {"multiple": True, "callback": _listed},
    float: lambda least: {"type": Seconds(least, min_open=True), "show_default": True},
    int: lambda least: {"type": click.IntRange(least), "show_default": True},
}


@click.command("check")
@click.option(
    "--root-dir",
    type=click.Path(path_type=Path, file_okay=False),
    help="Where the private manager lives, or the one of --attach.  [default: a temporary directory]",
)
@click.argument("argv", metavar="-- COMMAND [ARG]…", nargs=-1, type=click.UNPROCESSED)
@click.option("--attach", metavar="RESOURCE", help="Check a plug-in that somebody else starts on --root-dir.")
@_check_options
@click.option("-o", "--output", type=click.Choice(["table", "json"]), default="table", show_default=True)
@click.option("--junit", type=click.Path(path_type=Path, dir_okay=False), help="Write a JUnit report to this file.")
@click.option("--trace", type=click.Path(path_type=Path, dir_okay=False), help="Write every event to this file.")
@click.option(
    "--plugin-log", type=click.Path(path_type=Path, dir_okay=False), help="Write the plug-in's output to this file."
)
@click.option("--list", "list_checks", is_flag=True, help="List the checks, and make none.")
@click.option("--explain", metavar="CHECK", help="Tell why a check exists and how plug-ins mend what it finds.")
@click.pass_context
def command(
    ctx: click.Context,
    /,
    root_dir: Path | None,
    argv: tuple[str, ...],
    attach: str | None,
    output: str,
    junit: Path | None,
    trace: Path | None,
    plugin_log: Path | None,
    list_checks: bool,
    explain: str | None,
    **how: Any,
) -> None:
    """Check a device plug-in: run COMMAND against a private manager, break things, and report.

    The command learns the directory of kubelet.sock by {dir} and {socket} in its arguments, by the environment
    variables DEVICE_PLUGIN_DIR and KUBELET_SOCKET, or with --isolate at the kubelet's own path.

    Exit status: 0 all passed, 1 some failed, 2 could not be run.
    """
    try:
        options = CheckOptions(**how)
        if list_checks:
            chosen = options.checks()
            click.echo(checks_data(chosen)) if output == "json" else draw_checks(chosen)
            return
        if explain is not None:
            draw_explanation(select([explain])[0])
            return
        if bool(argv) == bool(attach):
            raise click.UsageError("give either a command after -- or --attach RESOURCE")
        if attach and (options.isolate or options.resource or plugin_log):
            raise click.UsageError("--isolate, --resource and --plugin-log are about a COMMAND, not about --attach")
        for path in filter(None, (junit, plugin_log)):
            _check_writable(path)
        run = _Run(
            subject=(
                Attached(change=options.change)
                if attach
                else Command(argv, change=options.change, isolate=options.isolate)
            ),
            checks=options.checks(),
            resource=attach or options.resource,
            options=options,
            root_dir=root_of(root_dir) if attach else root_dir,
        )
        started = time.monotonic()
        results = _make(run, trace)
    except DeviceManagerError as error:
        click.echo(f"Error: {error}", err=True)
        ctx.exit(2)
    if results is None:
        click.echo("Error: a signal ended this; the plug-in was ended, too", err=True)
        ctx.exit(2)
    try:
        if junit is not None:
            write_junit(junit, results)
        if plugin_log is not None:
            plugin_log.write_text(run.subject.output, encoding="utf-8")
    except OSError as error:  # a disk that is full now; the verdict is still worth telling
        click.echo(f"Error: a report could not be written: {error}", err=True)
    if output == "json":
        click.echo(report_data(results))
    else:
        draw_report(results, seconds=time.monotonic() - started, output=run.subject.output)
        if (
            argv
            and not options.isolate
            and any(r.check == "registers" and r.verdict is Verdict.FAILED for r in results)
        ):
            click.echo(f"Does it look for kubelet.sock in {TARGET} whatever it is told? Then use --isolate.")
    ctx.exit(_exit_status(results))


def _exit_status(results: Sequence[Result]) -> int:
    """Nothing failed is no proof when nothing passed."""
    verdicts = {result.verdict for result in results}
    return 1 if Verdict.FAILED in verdicts else 0 if Verdict.PASSED in verdicts else 2


def _check_writable(path: Path) -> None:
    """Before the run, and not when its results are lost for it. Raises BadInput."""
    try:
        path.open("a").close()
    except OSError as error:
        raise BadInput(f"cannot be written: {error.strerror}", file=str(path)) from error


def _make(run: _Run, trace: Path | None) -> list[Result] | None:
    with ExitStack() as stack:
        sinks: list[Sink] = [] if trace is None else [stack.enter_context(open_trace(trace))]
        return trio.run(_run_checks, run, sinks)


async def _run_checks(run: _Run, sinks: Sequence[Sink]) -> list[Result] | None:
    """None when a signal ended it before its time: then too the plug-in is ended and everything tidied up."""
    results = None
    with trio.open_signal_receiver(signal.SIGTERM, signal.SIGHUP, signal.SIGINT) as signals, unwrapped():
        async with trio.open_nursery() as nursery:
            nursery.start_soon(_cancel_on, signals, nursery.cancel_scope)
            results = await _made(run, sinks)
            nursery.cancel_scope.cancel()
    return results


async def _cancel_on(signals: AsyncIterator[int], scope: trio.CancelScope) -> None:
    async for _ in signals:
        scope.cancel()


async def _made(run: _Run, sinks: Sequence[Sink]) -> list[Result]:
    async with open_bench(
        run.subject,
        resource=run.resource,
        timing=run.options.timing,
        numa=run.options.numa_nodes(),
        root_dir=run.root_dir,
        sinks=sinks,
    ) as bench:
        with progress(len(run.checks)) as on_result:
            return await run_checks(bench, run.checks, on_result)
