"""A failed call is quoted in messages as grpc-go prints it, as in the kubelet: people search logs for these texts."""

from __future__ import annotations

import pytest
from grpclib import GRPCError, Status

from devicemgr import Container, Pod
from devicemgr.errors import AllocationRefused, RegistrationRefused, RpcFailed, as_cause
from devicemgr.events import EndpointStopped
from devicemgr.model import PluginOptions
from devicemgr.rpc.deviceplugin.service import DevicePluginService

GPU = "vendor.com/gpu"
GO_NAMES = [
    "OK", "Canceled", "Unknown", "InvalidArgument", "DeadlineExceeded", "NotFound", "AlreadyExists",
    "PermissionDenied", "ResourceExhausted", "FailedPrecondition", "Aborted", "OutOfRange", "Unimplemented",
    "Internal", "Unavailable", "DataLoss", "Unauthenticated",
]  # fmt: skip
"""By number, from grpc-go's codes.Code.String()."""
BUSY = "rpc error: code = Aborted desc = the driver is busy"
WHOLE = PluginOptions(pre_start_required=True, get_preferred_allocation_available=True)


@pytest.mark.parametrize("status", list(Status))
def test_codes_are_called_as_in_go(status):
    error = RpcFailed("the text", status=status.name)
    assert as_cause(error) == f"rpc error: code = {GO_NAMES[status.value]} desc = the text"


def test_other_errors_have_no_code():
    """The kubelet raises these itself, without a call."""
    assert as_cause(AllocationRefused("endpoint a.sock has been stopped", rule="ALLOC-E9")).startswith("endpoint")


@pytest.mark.parametrize(
    ("method", "message"),
    [
        ("allocate", f"Pod was rejected: Allocate failed due to {BUSY}, which is unexpected"),
        (
            "get_preferred_allocation",
            "Pod was rejected: Allocate failed due to device plugin GetPreferredAllocation rpc failed with err: "
            f"{BUSY}, which is unexpected",
        ),
        ("pre_start_container", f"device plugin PreStartContainer rpc failed with err: {BUSY}"),
    ],
)
async def test_the_message_about_a_failed_call_has_its_code(manager, open_plugin, monkeypatch, method, message):
    """ALLOC-20, ALLOC-E9, ALLOC-E11, RUN-E1."""

    async def fail(self, message):
        raise GRPCError(Status.ABORTED, "the driver is busy")

    async with open_plugin(devices=4, options=WHOLE) as plugin:
        await plugin.register()
        await manager.wait_for_resource(GPU, allocatable=4)
        monkeypatch.setattr(DevicePluginService, method, fail)
        pod = Pod(name="p", uid="p", containers=(Container(name="main", limits={GPU: 1}),))
        assert (await manager.admit(pod)).message == message


async def test_a_refused_registration_and_the_end_of_a_stream_have_the_code(manager, open_plugin, monkeypatch):
    async def fail(self, message):
        raise GRPCError(Status.ABORTED, "the driver is busy")

    async def fail_at_once(self, message):
        raise GRPCError(Status.ABORTED, "the driver is busy")
        yield

    async with open_plugin() as plugin:
        with monkeypatch.context() as patch:
            patch.setattr(DevicePluginService, "get_device_plugin_options", fail)
            with pytest.raises(RegistrationRefused) as caught:
                await plugin.register()
            assert str(caught.value) == f"failed to get device plugin options: {BUSY}"
        monkeypatch.setattr(DevicePluginService, "list_and_watch", fail_at_once)
        await plugin.register()
        await manager.wait_for_resource(GPU, allocatable=0)
        (stopped,) = [one.event for one in manager.events() if isinstance(one.event, EndpointStopped)]
        assert stopped.reason == BUSY
