"""The pytest plug-in: fixtures without an import, and ``pytest --device-plugin "COMMAND"``.

pytest loads this module at every start, so it imports nothing of ours before it is needed. The fixtures for Trio
tests exist where pytest-trio does.

``fixtures``  for ordinary tests, and what both kinds of tests use
``trio``      the fixture for Trio tests
``kube``      for tests in a real cluster
``no_trio``   what takes its place where pytest-trio is not installed
``items``     every conformance check as a test item
``failures``  what a failed test shows of our errors
"""

from __future__ import annotations

import sys
from collections.abc import Generator
from dataclasses import Field, fields
from typing import Any

import pytest

from ..check_options import CheckOptions, option_spec


def pytest_addoption(parser: pytest.Parser) -> None:
    """An option for each field of :class:`CheckOptions`, and a setting of that name in the configuration file."""
    group = parser.getgroup("devicemgr", "conformance checks of a device plug-in")
    actions: dict[type, dict[str, Any]] = {bool: {"action": "store_const", "const": True}, tuple: {"action": "append"}}
    types: dict[type, Any] = {bool: "bool", tuple: "args"}
    group.addoption("--device-plugin", metavar="COMMAND", help="run the conformance checks against this command")
    for field in fields(CheckOptions):
        spec, kind = option_spec(field), _kind(field)
        how: dict[str, Any] = actions.get(kind) or {"type": kind}
        if kind is not bool:
            how["metavar"] = spec.metavar
        group.addoption(_flag(field), default=None, help=spec.help, **how)
        parser.addini(_setting(field), spec.help, type=types.get(kind, "string"), default=None)


def _kind(field: Field[Any]) -> type:
    return str if field.default is None else type(field.default)


def _flag(field: Field[Any]) -> str:
    return f"--device-plugin-{field.name.replace('_', '-')}"


def _setting(field: Field[Any]) -> str:
    return _flag(field).removeprefix("--").replace("-", "_")


def check_options(config: pytest.Config) -> CheckOptions:
    """The options of the command line, or of the configuration file. Raises UsageError."""
    from ...errors import BadInput

    said: dict[str, Any] = {}
    for field in fields(CheckOptions):
        value, kind = config.getoption(_flag(field)), _kind(field)
        if value is None:
            value = config.getini(_setting(field)) or None
            try:
                value = kind(value) if value is not None and kind in (int, float) else value
            except ValueError:
                raise pytest.UsageError(f"{_setting(field)} = {value}: this is not a number") from None
        if value is not None:
            said[field.name] = _names(value) if kind is tuple else value
    try:
        return CheckOptions(**said)
    except BadInput as error:
        raise pytest.UsageError(f"--device-plugin-{error}") from error


def _names(values: list[str]) -> tuple[str, ...]:
    """Several values, each of which may be several names separated by commas."""
    return tuple(name for value in values for name in value.split(",") if name)


def pytest_configure(config: pytest.Config) -> None:
    config.addinivalue_line(
        "markers", "device_manager(**settings): settings of open_device_manager for the fixtures device_manager[_sync]"
    )
    has_trio = config.pluginmanager.hasplugin("trio")
    config.pluginmanager.import_plugin("devicemgr.testing.pytest_plugin.fixtures")
    config.pluginmanager.import_plugin("devicemgr.testing.pytest_plugin.kube")
    config.pluginmanager.import_plugin(f"devicemgr.testing.pytest_plugin.{'trio' if has_trio else 'no_trio'}")


@pytest.hookimpl(tryfirst=True)  # before -k and -m choose
def pytest_collection_modifyitems(session: pytest.Session, items: list[pytest.Item]) -> None:
    if session.config.getoption("--device-plugin") is not None:
        from .items import conformance_items

        items += conformance_items(session, check_options(session.config))


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(
    item: pytest.Item, call: pytest.CallInfo[None]
) -> Generator[None, pytest.TestReport, pytest.TestReport]:
    if call.excinfo is not None and "devicemgr.errors" in sys.modules:
        from .failures import without_internal_frames

        call.excinfo = without_internal_frames(call.excinfo)
    return (yield)
