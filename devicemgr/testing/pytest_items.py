"""``pytest --device-plugin "COMMAND"``: every conformance check as a test item."""

from __future__ import annotations

import shlex
from contextlib import ExitStack
from typing import Any

import pytest

from .conformance import CHECKS, Bench, Check, Command, Result, Verdict, open_bench, run_check
from .portal import Portal, open_portal


class Session:
    """One bench for all items; the plug-in is started by the first and ended with the session."""

    def __init__(self, config: pytest.Config) -> None:
        self._config = config
        self._stack = ExitStack()
        self._made: dict[str, Result] = {}
        self._opened: tuple[Portal, Bench] | None = None
        config.add_cleanup(self._stack.close)

    def result_of(self, check: Check) -> Result:
        portal, bench = self._open()
        result: Result = portal.call(run_check, bench, check, self._made)
        return result

    def _open(self) -> tuple[Portal, Bench]:
        if self._opened is None:
            option = self._config.getoption
            command = Command(
                shlex.split(option("--device-plugin")),
                change=option("--device-plugin-change"),
                isolate=option("--device-plugin-isolate"),
            )
            portal = self._stack.enter_context(open_portal())
            bench = portal.enter(open_bench(command, resource=option("--device-plugin-resource")))
            self._opened = portal, self._stack.enter_context(bench)
        return self._opened


class ConformanceFailure(Exception):
    """A check has failed; its text is the report."""


class ConformanceItem(pytest.Item):
    """One check."""

    def __init__(self, *, check: Check, session_of_checks: Session, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self._check = check
        self._session_of_checks = session_of_checks

    def runtest(self) -> None:
        result = self._session_of_checks.result_of(self._check)
        self.add_report_section("call", "evidence", result.evidence)
        match result.verdict:
            case Verdict.FAILED:
                raise ConformanceFailure(
                    f"{result.title}\n\n{result.evidence}\n\nRule: {result.rule}. Why, and how to mend it:\n\n"
                    f"{self._check.explanation}"
                )
            case Verdict.SKIPPED:
                pytest.skip(result.evidence)

    def repr_failure(self, excinfo: pytest.ExceptionInfo[BaseException], style: Any = None) -> Any:
        if isinstance(excinfo.value, ConformanceFailure):
            return str(excinfo.value)
        return super().repr_failure(excinfo, style)

    def reportinfo(self) -> tuple[Any, int | None, str]:
        return self.config.rootpath, None, f"device plug-in: {self._check.name}"


class ConformanceCollector(pytest.Collector):
    """All checks; its name begins their node ids: ``device-plugin::restart``."""

    def collect(self) -> list[pytest.Item]:
        checks = Session(self.config)
        return [
            ConformanceItem.from_parent(self, name=name, check=check, session_of_checks=checks)
            for name, check in CHECKS.items()
        ]


def conformance_items(session: pytest.Session) -> list[pytest.Item]:
    parent = ConformanceCollector.from_parent(session, name="device-plugin", nodeid="device-plugin")
    return list(session.genitems(parent))
