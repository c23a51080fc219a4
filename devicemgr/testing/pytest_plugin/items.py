"""``pytest --device-plugin "COMMAND"``: every conformance check as a test item."""

from __future__ import annotations

import shlex
import shutil
import textwrap
import warnings
from contextlib import ExitStack
from typing import Any

import pytest

from ...core.conversation.text import LEGEND
from ...errors import DeviceManagerError
from ...printable import printable
from ..check_options import CheckOptions
from ..conformance import Bench, Check, Result, Verdict, open_bench, run_check
from ..portal import Portal, open_portal

_READABLE = 100
"""Longer lines of text are hard to read."""


class Session:
    """One bench for all items; the plug-in is started by the first and ended with the session."""

    def __init__(self, config: pytest.Config, argv: list[str], options: CheckOptions) -> None:
        self._argv = argv
        self._options = options
        self._stack = ExitStack()
        self._results: dict[str, Result] = {}
        self._opened: tuple[Portal, Bench] | None = None
        self._is_unusable = False
        config.add_cleanup(self._stack.close)

    def result_of(self, check: Check) -> Result:
        portal, bench = self._open()
        result: Result = portal.call(run_check, bench, check, self._results, strict=self._options.strict)
        return result

    def _open(self) -> tuple[Portal, Bench]:
        """Raises SubjectUnusable, once: the other items are skipped then."""
        if self._is_unusable:
            pytest.skip("the plug-in cannot be started")
        if self._opened is None:
            how = self._options
            command = how.command(self._argv)
            portal = self._stack.enter_context(open_portal())
            numa = how.numa_nodes()
            bench = open_bench(command, resource=how.resource, timing=how.timing, numa=numa, respawn=how.respawn)
            try:
                self._opened = portal, self._stack.enter_context(portal.enter(bench))
            except DeviceManagerError:
                self._is_unusable = True
                raise
        return self._opened


class ConformanceFailure(Exception):
    """A check has failed; its text is the report."""


class ConformanceWarning(UserWarning):
    """A check has a warning; its text is what was found."""


class ConformanceItem(pytest.Item):
    """One check. A warning is one of pytest's: the item passes, the summary has it, and ``-W error`` makes it fail."""

    def __init__(self, *, check: Check, session_of_checks: Session, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self._check = check
        self._session_of_checks = session_of_checks

    def runtest(self) -> None:
        result = self._session_of_checks.result_of(self._check)
        self.add_report_section("call", "evidence", printable(result.evidence))
        if result.conversation:
            self.add_report_section("call", "conversation", "\n".join((LEGEND, *result.conversation)))
        match result.verdict:
            case Verdict.FAILED:
                raise ConformanceFailure("\n\n".join(map(self._filled, self._check.report(result.evidence))))
            case Verdict.WARNING:
                title, remedy = self._check.title, self._check.remedy
                found = ConformanceWarning(f"{title}\nFound: {printable(result.evidence)}\n{remedy}")
                warnings.warn_explicit(found, None, filename=self.nodeid, lineno=0)  # shown there
            case Verdict.SKIPPED:
                pytest.skip(result.evidence)

    def _filled(self, paragraph: str) -> str:
        width = min(self.config.get_terminal_writer().fullwidth, _READABLE)
        return textwrap.fill(paragraph, width, break_on_hyphens=False)

    def repr_failure(self, excinfo: pytest.ExceptionInfo[BaseException], style: Any = None) -> Any:
        if isinstance(excinfo.value, ConformanceFailure | DeviceManagerError):
            return str(excinfo.value)
        return super().repr_failure(excinfo, style)

    def reportinfo(self) -> tuple[Any, int | None, str]:
        return self.config.rootpath, None, f"device plug-in: {self._check.name}"


class ConformanceCollector(pytest.Collector):
    """The selected checks; its name begins their node ids: ``device-plugin::restart``."""

    def __init__(self, *, argv: list[str], options: CheckOptions, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self._session_of_checks = Session(self.config, argv, options)
        self._checks = options.checks()

    def collect(self) -> list[pytest.Item]:
        return [
            ConformanceItem.from_parent(self, name=check.name, check=check, session_of_checks=self._session_of_checks)
            for check in self._checks
        ]


def conformance_items(session: pytest.Session, options: CheckOptions) -> list[pytest.Item]:
    """Raises UsageError for what is wrong before anything is started."""
    argv = _argv(session.config.getoption("--device-plugin"))
    try:
        parent = ConformanceCollector.from_parent(
            session, name="device-plugin", nodeid="device-plugin", argv=argv, options=options
        )
        options.numa_nodes()
    except DeviceManagerError as error:
        raise pytest.UsageError(str(error)) from error
    return list(session.genitems(parent))


def _argv(text: str) -> list[str]:
    try:
        argv = shlex.split(text)
    except ValueError as error:
        raise pytest.UsageError(f"--device-plugin {text!r} is no command: {error}") from error
    if not argv:
        raise pytest.UsageError("--device-plugin needs a command")
    if shutil.which(argv[0]) is None:
        raise pytest.UsageError(f"cannot start {argv[0]}: there is no such program, or it may not be executed")
    return argv
