"""For tests of any project: simulated device plug-ins, real ones as processes, conformance checks, faults.

    async with open_simulated_plugin(directory, "vendor.com/gpu", devices=8) as plugin:
        await plugin.register()

Nothing here needs pytest. With pytest, the fixtures ``device_manager``, ``device_manager_sync``, ``simulated_plugin``,
``plugin_process``, ``kube_node`` and ``kube`` are there without an import (:mod:`.pytest_plugin`).

``plugin/``         plug-ins for a test: simulated, by script, as processes
``kube/``           a real cluster for tests
``pytest_plugin/``  fixtures, and ``pytest --device-plugin``
``conformance/``    the checks that a device plug-in has to pass
``scenario/``       steps in a file, and the events that they cause
``check_options``   the options of a run of the checks
``timing``          how long the checks wait
``portal``          proxies of what lives in a portal's program
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from ..lazy_names import lazy_getattr

if TYPE_CHECKING:
    from ..daemon.threads.portal import Portal, open_portal
    from ..rpc.pluginregistration import PluginInfo
    from .conformance.subject.command import Command, SubjectUnusable
    from .kube.cluster import KubeCluster, KubeNode
    from .kube.namespace import Kube
    from .plugin.process import open_plugin_process, open_registered_plugin
    from .plugin.script import CallRule, Script, Step, parse_scripts
    from .plugin.script_player import ScriptedCrash, ScriptedPlugin, open_scripted_plugin
    from .plugin.simulated import SimulatedPlugin, open_simulated_plugin
    from .portal import BlockingKube, BlockingKubeNode, BlockingPlugin, BlockingProcess
    from .pytest_plugin.fixtures import PluginProcessFactory, SimulatedPluginFactory

__all__ = [
    "BlockingKube",
    "BlockingKubeNode",
    "BlockingPlugin",
    "BlockingProcess",
    "CallRule",
    "Command",
    "Kube",
    "KubeCluster",
    "KubeNode",
    "PluginInfo",
    "PluginProcessFactory",
    "Portal",
    "Script",
    "ScriptedCrash",
    "ScriptedPlugin",
    "SimulatedPlugin",
    "SimulatedPluginFactory",
    "Step",
    "SubjectUnusable",
    "open_plugin_process",
    "open_portal",
    "open_registered_plugin",
    "open_scripted_plugin",
    "open_simulated_plugin",
    "parse_scripts",
]

# As in the package itself, since pytest imports this at every start.
_MODULES = {
    "..daemon.threads.portal": "Portal open_portal",
    "..rpc.pluginregistration": "PluginInfo",
    ".conformance.subject.command": "Command SubjectUnusable",
    ".plugin.process": "open_plugin_process open_registered_plugin",
    ".plugin.script": "CallRule Script Step parse_scripts",
    ".plugin.script_player": "ScriptedCrash ScriptedPlugin open_scripted_plugin",
    ".plugin.simulated": "SimulatedPlugin open_simulated_plugin",
    ".kube.cluster": "KubeCluster KubeNode",
    ".kube.namespace": "Kube",
    ".portal": "BlockingKube BlockingKubeNode BlockingPlugin BlockingProcess",
    ".pytest_plugin.fixtures": "PluginProcessFactory SimulatedPluginFactory",
}

if not TYPE_CHECKING:  # a type checker sees the names above, and no others
    __getattr__ = lazy_getattr(__name__, _MODULES)


def __dir__() -> list[str]:
    return __all__
