"""A device plug-in in a real cluster: ``python -m pytest examples/test_kube.py``.

The cluster needs ``pip install 'devicemgr[cluster]'``, and once ``python -m devicemgr cluster build``; without its
programs these tests are skipped, with the reason.
"""

import sys
from pathlib import Path
from typing import Any

from devicemgr.testing import BlockingKube, BlockingKubeNode, PluginProcessFactory

PLUGIN = [sys.executable, str(Path(__file__).with_name("plugin.py")), "{dir}"]
CARD = "vendor.com/card"

POD = """
apiVersion: v1
kind: Pod
metadata: {name: training}
spec:
  containers:
  - name: main
    image: registry.k8s.io/pause
    resources: {limits: {vendor.com/card: 3}}
"""
DEPLOYMENT = """
apiVersion: apps/v1
kind: Deployment
metadata: {name: inference}
spec:
  replicas: 2
  selector: {matchLabels: {app: inference}}
  template:
    metadata: {labels: {app: inference}}
    spec:
      containers:
      - name: main
        image: registry.k8s.io/pause
        resources: {limits: {vendor.com/card: 1}}
"""


def test_a_pod_runs_with_its_cards(
    kube: BlockingKube, kube_node: BlockingKubeNode, plugin_process: PluginProcessFactory
) -> None:
    with plugin_process(kube_node.manager, PLUGIN, CARD, capacity=4):
        pod = kube.apply(POD)
        running = kube.wait_for_pod(pod, phase="Running", timeout=60)
        assert running["spec"]["nodeName"] == kube_node.name
        (cards,) = running["status"]["containerStatuses"][0]["allocatedResourcesStatus"]
        assert [one["health"] for one in cards["resources"]] == ["Healthy"] * 3


def test_of_a_deployment_as_many_run_as_there_are_cards(
    kube: BlockingKube, kube_node: BlockingKubeNode, plugin_process: PluginProcessFactory
) -> None:
    def one_is_available(deployment: dict[str, Any]) -> bool:
        available: int = deployment["status"].get("availableReplicas", 0)
        return available == 1

    with plugin_process(kube_node.manager, PLUGIN, CARD, capacity=4):
        kube.wait_for_pod(kube.apply(POD), timeout=60)
        deployment = kube.apply(DEPLOYMENT)
        kube.wait_for(deployment, one_is_available, timeout=60)
        kube.delete("training", grace=0)
        kube.wait_for(deployment, lambda now: bool(now["status"].get("availableReplicas") == 2), timeout=60)
