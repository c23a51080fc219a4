"""The pytest plug-in: fixtures without an import, and ``pytest --device-plugin "COMMAND"``.

pytest loads this module at every start, so it imports nothing of ours before it is needed. The fixtures for Trio
tests exist where pytest-trio does.
"""

from __future__ import annotations

import pytest


def pytest_addoption(parser: pytest.Parser) -> None:
    group = parser.getgroup("devicemgr", "conformance checks of a device plug-in")
    group.addoption("--device-plugin", metavar="COMMAND", help="run the conformance checks against this command")
    group.addoption("--device-plugin-resource", metavar="NAME", help="which of its resources (the first)")
    group.addoption("--device-plugin-change", metavar="COMMAND", help="makes the plug-in report a change")
    group.addoption(
        "--device-plugin-isolate", action="store_true", help="a private view of /var/lib/kubelet/device-plugins"
    )


def pytest_configure(config: pytest.Config) -> None:
    config.addinivalue_line(
        "markers", "device_manager(**settings): settings of open_device_manager for the fixtures device_manager[_sync]"
    )
    has_trio = config.pluginmanager.hasplugin("trio")
    config.pluginmanager.import_plugin("devicemgr.testing.pytest_fixtures")
    config.pluginmanager.import_plugin(f"devicemgr.testing.pytest_{'trio' if has_trio else 'no_trio'}")


@pytest.hookimpl(tryfirst=True)  # before -k and -m choose
def pytest_collection_modifyitems(session: pytest.Session, items: list[pytest.Item]) -> None:
    if session.config.getoption("--device-plugin"):
        from .pytest_items import conformance_items

        items += conformance_items(session)
