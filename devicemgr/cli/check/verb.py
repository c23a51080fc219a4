"""``check``: run the conformance checks against a plug-in."""

from __future__ import annotations

import shlex
import traceback
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any

import click
from click.core import ParameterSource

from ...daemon.layout import KUBELET_ROOT
from ...errors import DeviceManagerError
from ...testing.check_options import CheckOptions, option_spec
from ...testing.conformance import Attached, Subject, Verdict, select
from ...testing.conformance.subject.api_server import api_server_error_in
from ..shared.atomic_files import check_writable, write_atomically
from ..shared.output import show
from ..shared.parameters import Directory, Number, Seconds, output_option, read_resource, root_of
from ..terminal.standard_output import discard, is_output_lost
from .config import config_option
from .github import report_to_github
from .last_failed import LastFailed
from .progress import open_progress
from .report import (
    checks_data,
    draw_checks,
    draw_explanation,
    draw_report,
    explanation_data,
    junit_text,
    report_data,
    rerun_hint,
)
from .run import BUG, Outcome, Run, run_until_signal, second_signal_terminates


def _check_options(command: Callable[..., None]) -> Callable[..., None]:
    """An option for each field of :class:`CheckOptions`."""
    for field in reversed(fields(CheckOptions)):
        spec, kind = option_spec(field), _KINDS[type(field.default)]
        option = click.option(
            f"--{field.name.replace('_', '-')}",
            **kind(spec.least),
            default=field.default,
            metavar=spec.metavar,
            help=spec.help,
        )
        command = option(command)
    return command


def _listed(ctx: click.Context, param: click.Parameter, values: tuple[str, ...]) -> tuple[str, ...]:
    """Several options, each of which may be several names separated by commas."""
    for value in values:
        if not value.strip(", "):
            raise click.BadParameter(f"{value!r} names nothing", ctx, param)
    return tuple(name for value in values for name in value.split(",") if name)


_KINDS: dict[type, Callable[[int], dict[str, Any]]] = {
    bool: lambda least: {"is_flag": True},
    type(None): lambda least: {"type": str},
    tuple: lambda least: {"multiple": True, "callback": _listed},
    float: lambda least: {"type": Seconds(least, min_open=True), "show_default": True},
    int: lambda least: {"type": Number(least), "show_default": True},
}


@click.command("check")
@click.option(
    "--root-dir",
    type=Directory(),
    help="Where the private manager lives.  [default: a temporary directory; with --attach, /var/lib/kubelet]",
)
@click.argument("argv", metavar="-- COMMAND [ARG]…", nargs=-1, type=click.UNPROCESSED)
@click.option(
    "--attach",
    callback=read_resource,
    metavar="RESOURCE",
    help="Check a plug-in that is started elsewhere, on --root-dir.",
)
@_check_options
@click.option("--fail-fast", is_flag=True, help="End with the first check that fails.")
@click.option("--last-failed", is_flag=True, help="Run only those checks that failed the last time; if none, all.")
@click.option(
    "--allow-skipped", is_flag=True, help="Exit with status 0 if nothing failed, even if most checks could not be run."
)
@output_option
@click.option("--show-output", is_flag=True, help="Show what the plug-in wrote, even if all checks passed.")
@click.option("--junit", type=click.Path(path_type=Path, dir_okay=False), help="Write a JUnit report to this file.")
@click.option("--trace", type=click.Path(path_type=Path, dir_okay=False), help="Write every event to this file.")
@click.option(
    "--plugin-log", type=click.Path(path_type=Path, dir_okay=False), help="Write the plug-in's output to this file."
)
@config_option
@click.option("--list", "list_checks", is_flag=True, help="List the checks, and run none.")
@click.option("--explain", metavar="CHECK", help="Explain why a check exists and how plug-ins fix what it finds.")
@click.option("--sequence", metavar="CHECK", help="Run this check, and show who said what meanwhile.")
@click.pass_context
def command(ctx: click.Context, /, **given: Any) -> None:
    """Check a device plug-in: run COMMAND against a private manager, break things, and report.

    The command learns the directory of kubelet.sock by {dir} and {socket} in its arguments, by the environment
    variables DEVICE_PLUGIN_DIR and KUBELET_SOCKET, or with --isolate at the kubelet's own path.

    \b
    Exit status:
      0      none failed
      1      some failed; with --strict also: some gave warnings
      2      it could not be run, or most checks could not be run
      3      devicemgr itself failed, which is a bug and no verdict
      128+n  ended by signal n
    With 3 and 128+n too, what was found until then is reported.
    """
    how = {field.name: given.pop(field.name) for field in fields(CheckOptions)}
    try:
        with second_signal_terminates():
            status = _execute(_CommandLine(options=CheckOptions(**how), **(given | _overridden_by_command_line(ctx))))
    except DeviceManagerError as error:
        click.echo(f"Error: {error}", err=True)
        status = 2
    except Exception as bug:  # any: status 1 would say that the plug-in has failed
        if isinstance(bug, click.ClickException) or is_output_lost(bug):
            raise
        _print_bug(bug)
        status = BUG
    ctx.exit(status)


def _overridden_by_command_line(ctx: click.Context) -> dict[str, Any]:
    """A command in the configuration file is ignored if the command line has --attach, and the other way round."""
    here = {name for name in ("argv", "attach") if ctx.get_parameter_source(name) is ParameterSource.COMMANDLINE}
    return {"attach": None} if here == {"argv"} else {"argv": ()} if here == {"attach"} else {}


@dataclass(frozen=True, slots=True, kw_only=True)
class _CommandLine:
    """The command line, as given."""

    options: CheckOptions
    argv: tuple[str, ...]
    attach: str | None
    root_dir: Path | None
    fail_fast: bool
    last_failed: bool
    allow_skipped: bool
    output: str
    show_output: bool
    junit: Path | None
    trace: Path | None
    plugin_log: Path | None
    list_checks: bool
    explain: str | None
    sequence: str | None


def _execute(args: _CommandLine) -> int:
    """Returns the exit status. Raises DeviceManagerError, UsageError."""
    if args.list_checks:
        chosen = args.options.checks()
        show(checks_data(chosen), args.output, lambda _: draw_checks(chosen))
        return 0
    if args.explain is not None:
        check = select([args.explain])[0]
        show(explanation_data(check), args.output, lambda _: draw_explanation(check))
        return 0
    _check_usage(args)
    remembered = LastFailed(args.attach or shlex.join(args.argv))
    run = _run_from(args, remembered)
    with open_progress(run.checks) as observer:
        outcome = run_until_signal(run, observer)
    remembered.remember(outcome.results)
    _write_reports(args, run, outcome)
    _print_report(args, run, outcome)
    return outcome.status


def _check_usage(args: _CommandLine) -> None:
    if bool(args.argv) == bool(args.attach):
        raise click.UsageError("give either a command after -- or --attach RESOURCE")
    options = args.options
    if args.sequence is not None and (options.only or options.skip or args.last_failed):
        raise click.UsageError("--sequence runs one check; --only, --skip and --last-failed choose others")
    view = options.isolate or options.bind or options.kubeconfig
    if args.attach and (view or options.resource or options.respawn or options.alone or args.plugin_log):
        raise click.UsageError(
            "--isolate, --bind, --kubeconfig, --resource, --respawn, --alone and --plugin-log are about a COMMAND, not "
            "about --attach"
        )
    written = [
        path.resolve() for path in (args.junit, args.trace, args.plugin_log) if path and not path.is_char_device()
    ]
    if len(set(written)) < len(written):
        raise click.UsageError("--junit, --trace and --plugin-log must each have a file of their own")
    for path in filter(None, (args.junit, args.plugin_log)):
        check_writable(path)


def _print_bug(bug: Exception) -> None:
    click.echo("".join(traceback.format_exception(bug)), err=True)
    click.echo(
        "This is a bug in devicemgr, and no verdict about the plug-in. Please report it: the lines above, the command, "
        "and the file of --trace.",
        err=True,
    )


def _run_from(args: _CommandLine, remembered: LastFailed) -> Run:
    options = args.options
    if args.attach:
        subject: Subject = Attached(change=options.change)
    else:
        subject = options.command(args.argv, adopt=True)
    checks = select([args.sequence]) if args.sequence is not None else options.checks()
    if args.last_failed and not (checks := remembered.among(checks)):
        click.echo("None of these checks is known to have failed the last time: all are run.", err=True)
        checks = options.checks()
    return Run(
        subject=subject,
        checks=checks,
        resource=args.attach or options.resource,
        options=options,
        root_dir=root_of(args.root_dir) if args.attach else args.root_dir,
        trace=args.trace,
        fail_fast=args.fail_fast,
        allow_skipped=args.allow_skipped,
    )


def _write_reports(args: _CommandLine, run: Run, outcome: Outcome) -> None:
    """Each report separately: if the disk is full, the verdict is still worth printing."""
    if (junit := args.junit) is not None:
        with _errors_on_stderr():
            write_atomically(junit, junit_text(outcome.results))
    if (log := args.plugin_log) is not None:
        with _errors_on_stderr():
            write_atomically(log, run.subject.output)
    with _errors_on_stderr():
        report_to_github(outcome.results)


def _print_report(args: _CommandLine, run: Run, outcome: Outcome) -> None:
    def draw(data: object) -> None:
        text, results = run.subject.output, outcome.results
        draw_report(
            results, seconds=outcome.seconds, output=text, all_output=args.show_output, sequence=args.sequence or ""
        )
        _advise(args, run, outcome)

    with _errors_on_stderr():
        try:
            show(report_data(outcome.results, sequence=args.sequence), args.output, draw)
        except OSError as error:  # the exit status is not affected
            discard()
            if not isinstance(error, BrokenPipeError):
                raise
    if outcome.bug is not None:
        _print_bug(outcome.bug)


@contextmanager
def _errors_on_stderr() -> Iterator[None]:
    """Print an error on standard error if a report cannot be written, and go on."""
    try:
        yield
    except OSError as error:
        with suppress(OSError):
            click.echo(f"Error: a report could not be written: {error}", err=True)


def _advise(args: _CommandLine, run: Run, outcome: Outcome) -> None:
    failed = {result.check for result in outcome.results if result.verdict is Verdict.FAILED}
    if args.argv and not args.options.isolate and failed & {"registers", "endpoint-name"}:
        click.echo(
            "Does it look for kubelet.sock, or make its own socket, in "
            f"{KUBELET_ROOT}/device-plugins whatever it is told? Then use --isolate."
        )
    asks = "registers" in failed and api_server_error_in(run.subject.output)
    if args.argv and asks and not args.options.kubeconfig:
        click.echo("Does it need an API server to start? Then use --kubeconfig.")
    if repeat := rerun_hint(outcome.results, patience=args.options.patience):
        click.echo(repeat)
    for advice in _missing_option_hints(args.options, bool(args.argv), outcome):
        click.echo(advice)
    if not outcome.is_proof:
        click.echo(_missing_verdicts_note(outcome))


def _missing_option_hints(options: CheckOptions, is_ours: bool, outcome: Outcome) -> Iterator[str]:
    """A hint for each option whose absence caused checks to be skipped."""
    missing = {"--change COMMAND": options.change is None, "--kubeconfig FILE": is_ours and options.kubeconfig is None}
    for option in (option for option, is_missing in missing.items() if is_missing):
        word = f"({option.partition(' ')[0]}"
        wanting = [r.check for r in outcome.results if r.verdict is Verdict.SKIPPED and word in r.evidence]
        if wanting:
            yield f"With {option} these could run as well: {', '.join(wanting)}."


def _missing_verdicts_note(outcome: Outcome) -> str:
    message = (
        f"{outcome.without_verdict} of {len(outcome.results)} checks were not run: this proves little about the plug-in"
    )
    if outcome.status != 2:
        return message
    return f"{message}, and is exit status 2" + " (--allow-skipped: 0)" * outcome.has_verdicts
