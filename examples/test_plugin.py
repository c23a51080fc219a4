"""A device plug-in under test, with the fixtures that devicemgr brings: ``python -m pytest examples/test_plugin.py``.

Put your own program in the place of PLUGIN; ``{dir}`` becomes the directory that the kubelet would have.
"""

import sys
from pathlib import Path
from typing import Any

from devicemgr import BlockingManager
from devicemgr.testing import PluginProcessFactory

PLUGIN = [sys.executable, str(Path(__file__).with_name("plugin.py")), "{dir}"]
CARD = "vendor.com/card"


def pod(cards: int) -> dict[str, Any]:
    container = {"name": "main", "resources": {"limits": {CARD: cards}}}
    return {"kind": "Pod", "metadata": {"name": f"wants-{cards}"}, "spec": {"containers": [container]}}


def test_a_pod_gets_its_cards_and_a_second_one_what_is_left(
    device_manager_sync: BlockingManager, plugin_process: PluginProcessFactory
) -> None:
    with plugin_process(device_manager_sync, PLUGIN, CARD, capacity=4):
        first = device_manager_sync.admit(pod(3))
        (main,) = first.containers
        assert main.options.envs["CARDS"] == ",".join(main.devices[CARD])
        assert not device_manager_sync.admit(pod(2)).admitted


def test_it_comes_back_after_a_restart_of_the_kubelet(
    device_manager_sync: BlockingManager, plugin_process: PluginProcessFactory
) -> None:
    with plugin_process(device_manager_sync, PLUGIN, CARD, capacity=4):
        device_manager_sync.faults.restart()
        device_manager_sync.wait_for_resource(CARD, allocatable=4, timeout=30)
