"""A message whose fields have other types than in the .proto file fails its call, and nothing else."""

from __future__ import annotations

import pytest
import trio
from grpclib import GRPCError, Status
from grpclib.const import Cardinality

from devicemgr import open_device_manager
from devicemgr.rpc.admin.service import AdminService
from devicemgr.rpc.deviceplugin.service import RegistrationService
from devicemgr.rpc.pod_resources.service import PodResourcesService, PodResourcesServiceV1Alpha1
from devicemgr.rpc.stubs.devicemgr import v1 as admin
from devicemgr.rpc.transport.channel import open_channel
from devicemgr.rpc.wire_format import EncodedMessage, RawMessage

SERVICES = {
    AdminService: "admin_socket",
    RegistrationService: "registration_socket",
    PodResourcesService: "pod_resources_socket",
    PodResourcesServiceV1Alpha1: "pod_resources_socket",
}
METHODS = [
    pytest.param(socket, name, handler, id=name)
    for kind, socket in SERVICES.items()
    for name, handler in kind.__mapping__(kind.__new__(kind)).items()
]
FIELDS = {0: b"\x05", 1: b"8 octets", 2: b"\x03abc", 5: b"four"}
"""A value of each wire type."""


def wrong_fields(kind):
    """For each field of this class, messages in which it has a wrong type."""
    for field in kind._betterproto.meta_by_field_name.values():
        own = {"string": 2, "message": 2, "map": 2, "double": 1}.get(field.proto_type, 0)
        for wire_type, value in FIELDS.items():
            if wire_type != own:
                yield bytes([field.number << 3 | wire_type]) + value


@pytest.mark.parametrize(("socket", "name", "handler"), METHODS)
async def test_a_field_of_another_type_fails_its_call(root_dir, autojump_clock, socket, name, handler):
    async with open_device_manager(root_dir) as manager:
        async with open_channel(getattr(manager.layout, socket)) as channel:
            for data in wrong_fields(handler.request_type):
                with pytest.raises(GRPCError) as caught, trio.fail_after(60):
                    async with channel.request(name, Cardinality.UNARY_UNARY, EncodedMessage, RawMessage) as call:
                        await call.send_message(EncodedMessage(data), end=True)
                        await call.recv_message()
                assert caught.value.status is Status.INTERNAL
                assert "malformed" in caught.value.message
        assert manager.capacity() == {}


async def test_an_invalid_pod_is_refused_before_the_manager_sees_it(root_dir, autojump_clock):
    """The command line refuses a manifest with such a pod, but a gRPC client can send it."""
    two = [
        admin.Container(name="main", limits={"vendor.com/gpu": 1}),
        admin.Container(name="main", limits={"b.com/c": 1}),
    ]
    message = admin.AdmitRequest(pod=admin.Pod(namespace="default", name="p", uid="p", containers=two))
    async with open_device_manager(root_dir) as manager, open_channel(manager.layout.admin_socket) as channel:
        with pytest.raises(GRPCError, match="more than one is called 'main'"):
            await channel.stub(admin.AdminStub).admit(message)
        assert manager.pods() == []
