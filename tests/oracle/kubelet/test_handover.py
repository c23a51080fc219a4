"""One directory, one plug-in, fifty pods: from our manager to the kubelet and back, and no device moves."""

from __future__ import annotations

from typing import Any

from tests.oracle.our_side import OurSide
from tests.oracle.plugin import Plugin, register
from tests.oracle.pod_resources import ask_pod_resources
from tests.oracle.story import Pod, Register, Story, main

from .side import KubeletSide

FIFTY = [Pod(f"stays{number}", main(gpu=1), main(gpu=1)) for number in range(50)]
TEN = [Pod(f"goes{number}", main(gpu=1)) for number in range(10)]
DEVICES = " ".join(f"d{number}" for number in range(120))


class Node:
    """The two managers take turns on it."""

    def __init__(self, ours: OurSide, kubelet: KubeletSide) -> None:
        self.ours, self.kubelet = ours, kubelet
        self.plugin = Plugin(Register("a", devices=DEVICES))

    def register(self, side: OurSide | KubeletSide) -> None:
        """The manager has started: it has deleted the plug-in's socket, and waits for it."""
        socket = side.plugins / self.plugin.endpoint
        self.plugin.serve("node", socket)
        assert register(side.plugins / "kubelet.sock", self.plugin, "v1beta1") is None
        side.wait_listed(self.plugin.resource, socket)

    def flip_some(self, side: OurSide | KubeletSide) -> None:
        self.plugin.flip(("d3", "d50", "d119"))
        self.plugin.serving["node"].say()
        side.wait_listed(self.plugin.resource, side.plugins / self.plugin.endpoint)

    def come_and_go(self, side: OurSide | KubeletSide) -> None:
        """More pods, all at once, while devices break and mend."""
        self.flip_some(side)
        assert [one.refused for one in side.admit(TEN)] == [None] * len(TEN)
        self.flip_some(side)
        side.delete([pod.name for pod in TEN])

    def held(self, side: OurSide | KubeletSide) -> dict[str, Any]:
        listed = ask_pod_resources(side.plugins.parent / "pod-resources" / "kubelet.sock", [])["list"]
        return {pod.name: listed[pod.name]["containers"] for pod in FIFTY}


def test_fifty_pods_keep_their_devices_from_our_manager_to_the_kubelet_and_back(kubelet, ours, root_dir):
    node = Node(ours, kubelet)
    story = Story("a handover")
    kubelet.open(story, root_dir)
    try:
        kubelet.stop()

        ours.open(story, kubelet.plugins.parent)
        node.register(ours)
        assert [one.refused for one in ours.admit(FIFTY)] == [None] * len(FIFTY)
        node.come_and_go(ours)
        held = node.held(ours)
        devices = [id for pod in held.values() for one in pod.values() for ids in one.values() for id in ids]
        assert len(set(devices)) == len(devices) == 2 * len(FIFTY)
        ours.stop()

        kubelet.adopt(FIFTY)
        kubelet.start()
        node.register(kubelet)
        assert [one.refused for one in kubelet.readmit(start=False)] == [None] * len(FIFTY)
        assert node.held(kubelet) == held
        node.come_and_go(kubelet)
        assert node.held(kubelet) == held
        kubelet.stop()

        ours.start()
        node.register(ours)
        assert [one.refused for one in ours.readmit(start=False)] == [None] * len(FIFTY)
        node.come_and_go(ours)
        assert node.held(ours) == held
        ours.delete([pod.name for pod in FIFTY])
        assert ours.node()[node.plugin.resource] == (120, 120)
        assert ours.checkpoint()["entries"] == {}
        ours.stop()
    finally:
        node.plugin.kill()
        kubelet.leave()
