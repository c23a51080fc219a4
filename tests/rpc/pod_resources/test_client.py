"""Kubelets of every age and mood, asked for what their pods hold."""

from __future__ import annotations

import errno
import os
from pathlib import Path

import grpc
import pytest
import trio

from devicemgr import BadInput
from devicemgr.errors import KubeletUnavailable, PermissionDenied, RateLimited
from devicemgr.rpc.pod_resources.client import read_pod_resources
from devicemgr.rpc.stubs import v1 as wire
from devicemgr.rpc.stubs import v1alpha1 as old
from devicemgr.rpc.transport.unix_socket import listen
from tests.fake_kubelet import ALLOCATABLE, LIMITED, LIST, OLD_LIST, fake_kubelet

GPU = "vendor.com/gpu"
PODS = wire.ListPodResourcesResponse(
    pod_resources=[
        wire.PodResources(
            name="p",
            namespace="n",
            containers=[
                wire.ContainerResources(name="c", devices=[wire.ContainerDevices(resource_name=GPU, device_ids=["d0"])])
            ],
        )
    ]
)
DEVICES = wire.AllocatableResourcesResponse(
    devices=[wire.ContainerDevices(resource_name=GPU, device_ids=[id]) for id in ("d0", "d1")]
)
DISABLED = (grpc.StatusCode.UNKNOWN, "Pod Resources API GetAllocatableResources disabled")


@pytest.fixture
def socket(root_dir):
    return root_dir / "kubelet.sock"


def held(answer):
    return {
        (pod.namespace, pod.name, one.name): {name: [*ids] for name, ids in one.held.devices.items()}
        for pod in answer.pods
        for one in pod.containers
    }


HELD = {("n", "p", "c"): {GPU: ["d0"]}}


async def test_a_kubelet_of_today(socket):
    with fake_kubelet(socket, {LIST: PODS, ALLOCATABLE: DEVICES}) as kubelet:
        answer = await read_pod_resources(socket)
    assert (answer.api, held(answer), answer.reason) == ("v1", HELD, "")
    assert answer.allocatable.devices == {GPU: {"d0": (), "d1": ()}}
    assert kubelet.calls == {LIST: 1, ALLOCATABLE: 1}


@pytest.mark.parametrize(
    ("more", "reason"),
    [({}, "Method not found!"), ({ALLOCATABLE: DISABLED}, "Pod Resources API GetAllocatableResources disabled")],
    ids=["before 1.21", "gate off"],
)
async def test_a_kubelet_without_get_allocatable_resources(socket, more, reason):
    with fake_kubelet(socket, {LIST: PODS, **more}):
        answer = await read_pod_resources(socket)
    assert (answer.api, held(answer), answer.allocatable) == ("v1", HELD, None)
    assert answer.reason == f"the kubelet does not answer GetAllocatableResources: {reason}"


async def test_a_kubelet_with_v1alpha1_only(socket):
    devices = [old.ContainerDevices(resource_name=GPU, device_ids=["d0", "d0"])]
    pod = old.PodResources(name="p", namespace="n", containers=[old.ContainerResources(name="c", devices=devices)])
    with fake_kubelet(socket, {OLD_LIST: old.ListPodResourcesResponse(pod_resources=[pod])}) as kubelet:
        answer = await read_pod_resources(socket)
    assert (answer.api, held(answer), answer.allocatable) == ("v1alpha1", HELD, None)
    assert "v1alpha1 only" in answer.reason
    assert kubelet.calls == {OLD_LIST: 1}


async def test_the_rate_limit_is_waited_for_and_told_of_once(socket):
    told = []
    answers = {LIST: [LIMITED, LIMITED, PODS], ALLOCATABLE: [LIMITED, DEVICES]}
    with fake_kubelet(socket, answers) as kubelet:
        answer = await read_pod_resources(socket, on_rate_limit=lambda: told.append(1))
    assert (held(answer), len(told)) == (HELD, 1)
    assert kubelet.calls == {LIST: 3, ALLOCATABLE: 2}


@pytest.mark.parametrize("answers", [{LIST: LIMITED}, {LIST: PODS, ALLOCATABLE: LIMITED}], ids=["list", "allocatable"])
async def test_a_rate_limit_without_end_is_an_error(socket, mock_clock, answers):
    def jump():
        mock_clock.autojump_threshold = 0

    with fake_kubelet(socket, answers), pytest.raises(RateLimited, match="another one calls too often"):
        await read_pod_resources(socket, on_rate_limit=jump)


async def test_what_is_exhausted_may_be_something_else(socket):
    """A server of a language in which it may send no more than 4 MiB."""
    full = (grpc.StatusCode.RESOURCE_EXHAUSTED, "trying to send message larger than max")
    with fake_kubelet(socket, {LIST: full}), pytest.raises(KubeletUnavailable, match="ResourceExhausted desc = trying"):
        await read_pod_resources(socket)


async def test_an_answer_may_be_longer_than_clients_in_go_allow(socket):
    """They stop at 16 MiB."""
    ids = [f"{number:016000}" for number in range(1200)]
    entries = [wire.ContainerDevices(resource_name=GPU, device_ids=[id]) for id in ids]
    with fake_kubelet(socket, {LIST: PODS, ALLOCATABLE: wire.AllocatableResourcesResponse(devices=entries)}):
        answer = await read_pod_resources(socket)
    assert [*answer.allocatable.devices[GPU]] == ids


async def test_one_that_does_not_answer(socket, autojump_clock):
    with listen(socket), pytest.raises(KubeletUnavailable, match="does not answer within 15 s"):
        await read_pod_resources(socket)


@pytest.mark.parametrize(
    ("answers", "words"),
    [
        ({LIST: b"\x0a\x05abc"}, "malformed ListPodResourcesResponse"),
        ({LIST: b"\x0a\x02\x08\x01"}, "wrong wire type"),
        ({LIST: PODS, ALLOCATABLE: b"\xff"}, "malformed AllocatableResourcesResponse"),
        ({LIST: (grpc.StatusCode.UNKNOWN, "no pods yet")}, "code = Unknown desc = no pods yet"),
        ({LIST: PODS, ALLOCATABLE: (grpc.StatusCode.INTERNAL, "panic")}, "code = Internal desc = panic"),
        ({"/v1.Other/Method": b""}, "has no PodResources API"),
    ],
)
async def test_one_that_answers_wrongly(socket, answers, words):
    with fake_kubelet(socket, answers), pytest.raises(KubeletUnavailable, match=words):
        await read_pod_resources(socket)


async def test_a_server_that_is_none_of_grpc(socket):
    async def answer(stream):
        async with stream:
            await stream.send_all(b"HTTP/1.1 400 Bad Request\r\n\r\n")

    async with trio.open_nursery() as nursery:
        with listen(socket) as listener:
            accepting = trio.SocketListener(trio.socket.from_stdlib_socket(listener))
            nursery.start_soon(trio.serve_listeners, answer, [accepting])
            with pytest.raises(KubeletUnavailable, match="does not answer as one: rpc error: code = Unavailable"):
                await read_pod_resources(socket)
            nursery.cancel_scope.cancel()


async def test_what_is_refused_by_its_permissions(socket):
    with fake_kubelet(socket, {LIST: (grpc.StatusCode.PERMISSION_DENIED, "not you")}):
        with pytest.raises(PermissionDenied, match="not you"):
            await read_pod_resources(socket)


@pytest.mark.parametrize("error", [errno.EACCES, errno.EPERM])
async def test_a_directory_that_only_root_may_enter(socket, monkeypatch, error):
    def refuse(*arguments):
        raise OSError(error, os.strerror(error))

    monkeypatch.setattr(os, "open", refuse)
    with pytest.raises(PermissionDenied, match=f"user {os.geteuid()} may not reach .*: run this as root"):
        await read_pod_resources(socket)


async def test_no_socket(socket):
    with pytest.raises(KubeletUnavailable, match=r"No such file or directory. A kubelet has its socket below"):
        await read_pod_resources(socket)


async def test_a_file_in_its_place(socket):
    socket.touch()
    with pytest.raises(BadInput, match="it is no socket"):
        await read_pod_resources(socket)
    with pytest.raises(BadInput, match="it is no socket"):
        await read_pod_resources(socket.parent)


async def test_the_socket_of_a_kubelet_that_has_ended(socket):
    listen(socket).close()
    with pytest.raises(KubeletUnavailable, match="no kubelet serves"):
        await read_pod_resources(socket)


async def test_a_socket_behind_a_link_and_a_long_path(socket, root_dir):
    """As on MicroK8s, where /var/lib/kubelet is a link."""
    (root_dir / "link").symlink_to(root_dir)
    long = Path(root_dir, *["link"] * 25, socket.name)
    with fake_kubelet(socket, {LIST: PODS, ALLOCATABLE: DEVICES}):
        assert held(await read_pod_resources(long)) == HELD
