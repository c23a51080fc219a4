"""One run of the checks. Whatever ends it, the results up to then are kept."""

from __future__ import annotations

import signal
import time
from collections.abc import AsyncIterator, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path

import trio

from ...concurrency.exception_groups import collapse_exception_group
from ...daemon.event_log import Sink
from ...daemon.serving.trace import open_trace
from ...errors import DeviceManagerError
from ...testing.check_options import CheckOptions
from ...testing.conformance import Check, Observer, Result, Subject, Verdict, open_bench, report_of, run_checks
from ..shared.process_limits import too_few_threads_readable
from ..terminal.signals import termination_signals

BUG = 3
"""The exit status if devicemgr itself has failed: no verdict about the plug-in."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Run:
    """Without a ``root_dir`` it is a temporary directory."""

    subject: Subject
    checks: Sequence[Check]
    resource: str | None
    options: CheckOptions
    root_dir: Path | None
    trace: Path | None
    fail_fast: bool = False
    allow_skipped: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class Outcome:
    """The results of the selected checks; a ``signal`` or a ``bug`` of ours may have ended the run early."""

    results: Sequence[Result]
    seconds: float
    signal: signal.Signals | None = None
    bug: Exception | None = None
    allow_skipped: bool = False

    @property
    def without_verdict(self) -> int:
        """How many of the checks say nothing, for or against the plug-in."""
        return sum(result.verdict in (Verdict.SKIPPED, Verdict.NOT_RUN) for result in self.results)

    @property
    def has_verdicts(self) -> bool:
        return self.without_verdict < len(self.results)

    @property
    def is_proof(self) -> bool:
        """Were most checks run? A plug-in that passes only a few is not proved good."""
        return self.without_verdict * 2 <= len(self.results)

    @property
    def status(self) -> int:
        """The exit status. If nothing, or less than half, was run, it is no success that nothing failed."""
        if self.bug is not None:
            return BUG
        if self.signal is not None:
            return 128 + self.signal
        if any(result.verdict is Verdict.FAILED for result in self.results):
            return 1
        return 0 if self.has_verdicts and (self.is_proof or self.allow_skipped) else 2


@contextmanager
def second_signal_terminates() -> Iterator[None]:
    """Within the block, SIGINT acts as SIGTERM and SIGHUP do: it ends the program at once, unless a receiver is open.

    A KeyboardInterrupt could be raised anywhere, for example while a report is written.
    """
    if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
        yield
        return
    usual = signal.signal(signal.SIGINT, signal.SIG_DFL)
    try:
        yield
    finally:
        signal.signal(signal.SIGINT, usual)


def run_until_signal(run: Run, observer: Observer) -> Outcome:
    """Run the checks until a signal comes. Raises DeviceManagerError if they cannot be run."""
    started, results = time.monotonic(), dict[str, Result]()
    ended_by, bug, why_not = None, None, "a check before it failed (--fail-fast)"
    try:
        with too_few_threads_readable(), ExitStack() as stack:
            sinks = [] if run.trace is None else [stack.enter_context(open_trace(run.trace))]
            ended_by = trio.run(_until_signal, run, sinks, results, observer)
    except DeviceManagerError:
        raise
    except Exception as error:  # any: the results up to then are reported first
        bug, why_not = error, f"devicemgr failed: {type(error).__name__}"
    if ended_by is not None:
        why_not = f"interrupted by {ended_by.name}"
    report = report_of(run.checks, results, why_not=why_not)
    seconds = time.monotonic() - started
    return Outcome(results=report, seconds=seconds, signal=ended_by, bug=bug, allow_skipped=run.allow_skipped)


async def _until_signal(
    run: Run, sinks: Sequence[Sink], results: dict[str, Result], observer: Observer
) -> signal.Signals | None:
    """Returns the signal that ended the run early, if any. The plug-in is ended and everything is cleaned up in any
    case."""
    ended_by: list[signal.Signals] = []
    with trio.open_signal_receiver(*termination_signals()) as signals, collapse_exception_group():
        async with trio.open_nursery() as nursery:
            nursery.start_soon(_cancel_on, signals, ended_by, nursery.cancel_scope)
            await _run_on_bench(run, sinks, results, observer)
            nursery.cancel_scope.cancel()
    return ended_by[0] if ended_by else None


async def _cancel_on(signals: AsyncIterator[int], ended_by: list[signal.Signals], scope: trio.CancelScope) -> None:
    async for number in signals:
        ended_by.append(signal.Signals(number))
        for one in termination_signals():  # a second signal ends the program at once
            signal.signal(one, signal.SIG_DFL)
        scope.cancel()


async def _run_on_bench(run: Run, sinks: Sequence[Sink], results: dict[str, Result], observer: Observer) -> None:
    async with open_bench(
        run.subject,
        resource=run.resource,
        timing=run.options.timing,
        numa=run.options.numa_nodes(),
        root_dir=run.root_dir,
        sinks=sinks,
        respawn=run.options.respawn,
    ) as bench:
        await run_checks(
            bench, run.checks, results=results, observer=observer, fail_fast=run.fail_fast, strict=run.options.strict
        )
