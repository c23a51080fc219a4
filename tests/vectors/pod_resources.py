"""The groups about CPUs and memory in the PodResources API: what we answer, and what a client of a kubelet gets."""

from __future__ import annotations

import pytest

from devicemgr.core.views.pod_resources import PodResourcesEntry
from devicemgr.rpc.pod_resources.service import PodResourcesService
from devicemgr.rpc.stubs import v1
from tests.helpers import result_of

NO_RECORDS = "a record of CPUs or memory is another manager's: devicemgr manages devices only (API-5)"


class Api:
    """A pod with one container, which holds nothing."""

    async def list_pods(self):
        return (PodResourcesEntry("n", "p", (("c", ()),)),)


def our_answer():
    answer = result_of(PodResourcesService(Api()).list(v1.ListPodResourcesRequest()))
    (pod,) = v1.ListPodResourcesResponse.parse(answer.SerializeToString()).pod_resources
    return pod


def podresources_isolation(case):
    """D37-18, CC-165."""
    if case["container_has_record"]:
        pytest.skip(NO_RECORDS)
    assert case["expect"]["container_entry"] == "empty"
    pod = our_answer()
    assert [(one.cpu_ids, one.memory) for one in (*pod.containers, pod)] == [([], []), ([], [])]


def memory(blocks):
    return [
        v1.ContainerMemory(
            memory_type=one["memory_type"],
            size=one["size"],
            topology=v1.TopologyInfo(nodes=[v1.NumaNode(id=node) for node in one["numa"]]),
        )
        for one in blocks
    ]


def podresources_pod_level(case):
    """D37-17, CC-165: a client of a kubelet gets all of it; of ours, what there is without that gate, less the CPUs."""
    expect = case["expect"]
    answer = v1.ListPodResourcesResponse(
        pod_resources=[
            v1.PodResources(
                name="p",
                namespace="n",
                containers=[
                    v1.ContainerResources(name=name, cpu_ids=ids) for name, ids in expect["containers"].items()
                ],
                cpu_ids=expect["cpu_ids"],
                memory=memory(expect["memory"]),
            )
        ]
    )
    (pod,) = v1.ListPodResourcesResponse.parse(bytes(answer)).pod_resources
    assert (pod.cpu_ids, pod.memory) == (expect["cpu_ids"], memory(expect["memory"]))
    assert {one.name: one.cpu_ids for one in pod.containers} == expect["containers"]
    if not case["pod_level_resource_managers"]:
        assert (our_answer().cpu_ids, our_answer().memory) == (expect["cpu_ids"], expect["memory"])


def podresources_wire(case):
    """D37-17: the bytes of Go's messages, both ways."""
    value = dict(case["value"])
    value["memory"] = memory(
        {**one, "numa": [node["ID"] for node in one["topology"]["nodes"]]} for one in value["memory"]
    )
    message = v1.PodResources(**value)
    assert bytes(message).hex() == case["hex"]
    assert v1.PodResources.parse(bytes.fromhex(case["hex"])) == message


RUNNERS = (podresources_isolation, podresources_pod_level, podresources_wire)
