"""Answers of the PodResources API are assembled from pieces: the bytes are those that betterproto2 would encode."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from devicemgr.core.views.pod_resources import DeviceOnNode, PodResourcesEntry
from devicemgr.rpc.pod_resources.service import PodResourcesService, PodResourcesServiceV1Alpha1
from devicemgr.rpc.stubs import v1, v1alpha1
from tests.helpers import result_of

texts = st.text(st.characters(exclude_categories=["Cs"]), max_size=5) | st.sampled_from(["x" * 128, "é" * 9000])
on_nodes = st.builds(DeviceOnNode, resource=texts, device=texts, node=st.none() | st.integers(0, 300))
devices = st.lists(on_nodes, max_size=4).map(tuple)
containers = st.lists(st.tuples(texts, devices), max_size=3).map(tuple)
pods = st.lists(st.builds(PodResourcesEntry, namespace=texts, name=texts, containers=containers), max_size=3).map(tuple)


class Api:
    """Answers with these values."""

    def __init__(self, pods=(), devices=()):
        self.pods, self.devices = pods, devices

    async def list_pods(self):
        return self.pods

    list_pods_v1alpha1 = list_pods

    async def allocatable(self):
        return self.devices

    async def get_pod(self, namespace, name):
        return self.pods[0]


def result(coroutine):
    """As it is encoded."""
    return result_of(coroutine).SerializeToString()


def plain_devices(version, held):
    return [
        version.ContainerDevices(
            resource_name=one.resource,
            device_ids=[one.device],
            **(
                {"topology": v1.TopologyInfo(nodes=[v1.NumaNode(id=one.node)])}
                if version is v1 and one.node is not None
                else {}
            ),
        )
        for one in held
    ]


def plain_pods(version, pods):
    return [
        version.PodResources(
            name=pod.name,
            namespace=pod.namespace,
            containers=[
                version.ContainerResources(name=name, devices=plain_devices(version, held))
                for name, held in pod.containers
            ],
        )
        for pod in pods
    ]


@given(pods, devices)
def test_the_bytes_are_those_of_the_messages(pods, devices):
    service, old = (kind(Api(pods, devices)) for kind in (PodResourcesService, PodResourcesServiceV1Alpha1))
    assert result(service.list(None)) == bytes(v1.ListPodResourcesResponse(pod_resources=plain_pods(v1, pods)))
    assert result(service.get_allocatable_resources(None)) == bytes(
        v1.AllocatableResourcesResponse(devices=plain_devices(v1, devices))
    )
    assert result(old.list(None)) == bytes(v1alpha1.ListPodResourcesResponse(pod_resources=plain_pods(v1alpha1, pods)))
    if pods:
        assert result(service.get(v1.GetPodResourcesRequest())) == bytes(
            v1.GetPodResourcesResponse(pod_resources=plain_pods(v1, pods)[0])
        )


def test_an_answer_is_encoded_once_for_the_same_object():
    one = DeviceOnNode("vendor.com/gpu", "d0", 0)
    api = Api((PodResourcesEntry("n", "p", (("c", (one,)),)),), (one,))
    service = PodResourcesService(api)
    questions = (service.list, service.get_allocatable_resources)
    first = [result(ask(None)) for ask in questions]
    assert all(result(ask(None)) is known for ask, known in zip(questions, first, strict=True))
    api.pods, api.devices = (), ()
    assert [result(ask(None)) for ask in questions] == [b"", b""]
