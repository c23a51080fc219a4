"""For tests of any project: stand-ins for device plug-ins, real ones as processes, conformance checks, faults.

    async with open_simulated_plugin(directory, "vendor.com/gpu", devices=8) as plugin:
        await plugin.register()

Nothing here needs pytest. With pytest, the fixtures ``device_manager``, ``device_manager_sync``, ``simulated_plugin``
and ``plugin_process`` are there without an import (:mod:`.pytest_plugin`).
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from ..daemon.portal import Portal, open_portal
    from .plugins import open_plugin_process, open_registered_plugin
    from .script import Script, parse_scripts
    from .script_player import ScriptedPlugin, open_scripted_plugin
    from .simulated_plugin import SimulatedPlugin, open_simulated_plugin

__all__ = [
    "Portal",
    "Script",
    "ScriptedPlugin",
    "SimulatedPlugin",
    "open_plugin_process",
    "open_portal",
    "open_registered_plugin",
    "open_scripted_plugin",
    "open_simulated_plugin",
    "parse_scripts",
]

# As in the package itself: pytest imports this at every start, whoever needs it or not.
_HOME = {
    "Portal": "portal",
    "open_portal": "portal",
    "Script": "script",
    "ScriptedPlugin": "script_player",
    "SimulatedPlugin": "simulated_plugin",
    "open_plugin_process": "plugins",
    "open_registered_plugin": "plugins",
    "open_scripted_plugin": "script_player",
    "open_simulated_plugin": "simulated_plugin",
    "parse_scripts": "script",
}


if not TYPE_CHECKING:  # a type checker sees the names above, and no others

    def __getattr__(name: str) -> Any:
        if name not in _HOME:
            raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
        return getattr(import_module(f".{_HOME[name]}", __name__), name)


def __dir__() -> list[str]:
    return __all__
