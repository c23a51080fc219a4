"""Every message, byte for byte, against the Google protobuf runtime on the same .proto files, both directions."""

from __future__ import annotations

import importlib
import subprocess
import sys
from pathlib import Path

import pytest
from grpclib import GRPCError
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from devicemgr.errors import RpcFailed
from devicemgr.model import RunOptions
from devicemgr.rpc.deviceplugin.convert import answer_from_bytes
from devicemgr.rpc.messages import parsed
from devicemgr.rpc.stubs import v1beta1 as wire
from devicemgr.rpc.transport.stream import decoded

ROOT = Path(__file__).parent.parent.parent
PROTO = ROOT / "proto"


def _descriptors():
    """The descriptors of our files, in a pool of their own: other files of the same name may be registered."""
    import tempfile

    from google.protobuf import descriptor_pb2, descriptor_pool

    with tempfile.TemporaryDirectory() as directory:
        out = Path(directory) / "all.binpb"
        protos = sorted(str(path.relative_to(PROTO)) for path in PROTO.rglob("*.proto"))
        command = [sys.executable, "-m", "grpc_tools.protoc", f"-I{PROTO}", f"--descriptor_set_out={out}", *protos]
        subprocess.run(command, check=True, capture_output=True)
        files = descriptor_pb2.FileDescriptorSet.FromString(out.read_bytes())
    pool = descriptor_pool.DescriptorPool()
    for file in files.file:
        pool.Add(file) if hasattr(pool, "Add") else pool.AddSerializedFile(file.SerializeToString())
    return [pool.FindFileByName(file.name) for file in files.file]


FILES = _descriptors()
MESSAGES = [message for file in FILES for message in file.message_types_by_name.values()]


def ours(descriptor):
    """Our class for a message: the stubs' class names differ in capitalisation only."""
    module = importlib.import_module(f"devicemgr.rpc.stubs.{descriptor.file.package}")
    return {name.lower(): getattr(module, name) for name in module.__all__}[descriptor.name.lower()]


def theirs(descriptor):
    from google.protobuf import message_factory

    return message_factory.GetMessageClass(descriptor)


SCALARS = {
    "bool": st.booleans(),
    "int32": st.integers(-(2**31), 2**31 - 1),
    "int64": st.integers(-(2**63), 2**63 - 1),
    "uint64": st.integers(0, 2**64 - 1),
    "double": st.floats(allow_nan=False).map(lambda number: number + 0.0),  # a zero has no sign here
    "string": st.text(max_size=12),
}
TYPE_NAMES = {1: "double", 8: "bool", 5: "int32", 3: "int64", 4: "uint64", 9: "string"}


def value_of(field, depth):
    if field.type == 14:  # enum
        return st.sampled_from([value.number for value in field.enum_type.values])
    if field.type == 11:
        return filled(field.message_type, depth + 1)
    return SCALARS[TYPE_NAMES[field.type]]


def filled(descriptor, depth=0):
    """A strategy for Google messages of this type, with one entry per map so that the order of bytes is fixed."""

    @st.composite
    def build(draw):
        message = theirs(descriptor)()
        for field in descriptor.fields:
            if depth > 3 or not draw(st.booleans()):
                continue
            target = getattr(message, field.name)
            if field.message_type is not None and field.message_type.GetOptions().map_entry:
                key = draw(SCALARS["string"])
                value = draw(value_of(field.message_type.fields_by_name["value"], depth))
                if field.message_type.fields_by_name["value"].type == 11:
                    target[key].CopyFrom(value)
                else:
                    target[key] = value
            elif field.is_repeated:
                target.extend(draw(st.lists(value_of(field, depth), max_size=3)))
            elif field.type == 11:
                target.CopyFrom(draw(value_of(field, depth)))
            else:
                setattr(message, field.name, draw(value_of(field, depth)))
        return message

    return build()


@pytest.mark.parametrize("descriptor", MESSAGES, ids=lambda descriptor: descriptor.full_name)
def test_both_runtimes_write_the_same_bytes_and_read_each_other(descriptor):
    """API-2."""

    @settings(max_examples=25, deadline=None, derandomize=True, suppress_health_check=list(HealthCheck))
    @given(filled(descriptor))
    def check(google):
        raw = google.SerializeToString(deterministic=True)
        mine = ours(descriptor).FromString(raw)
        assert mine.SerializeToString() == raw
        assert theirs(descriptor).FromString(mine.SerializeToString()) == google

    check()


@pytest.mark.parametrize("descriptor", MESSAGES, ids=lambda descriptor: descriptor.full_name)
def test_what_google_refuses_is_refused_here_too(descriptor):
    """A truncated or damaged message never becomes a shorter or an empty one."""
    from google.protobuf.message import DecodeError

    @settings(max_examples=100, deadline=None, derandomize=True, suppress_health_check=list(HealthCheck))
    @given(filled(descriptor).map(lambda message: message.SerializeToString()), st.data())
    def check(raw, data):
        start = data.draw(st.integers(0, len(raw)))
        end = data.draw(st.integers(start, len(raw)))
        damaged = raw[:start] + data.draw(st.binary(max_size=4)) + raw[end : data.draw(st.sampled_from([None, -1]))]
        try:
            theirs(descriptor).FromString(damaged)
        except DecodeError:
            with pytest.raises(RpcFailed, match="malformed"):
                parsed(ours(descriptor), damaged)
            with pytest.raises(GRPCError, match="malformed"):
                decoded(damaged, ours(descriptor))

    check()


@pytest.mark.parametrize(
    ("raw", "problem"),
    [
        (b"\xff\xff\xff", "unexpected end"),
        (b"\x0a", "unexpected end"),
        (b"\x0a\x02a", "unexpected end"),
        (b"\x0a\x05\x0a\x04abc", "unexpected end"),  # in an entry of a map
        (b"\x12\x04\x0a\x03ab", "unexpected end"),  # in a message inside
        (b"\x0d\x01\x02", "unexpected end"),
        (b"\x09\x01\x02", "unexpected end"),
        (b"\x02\x00", "invalid field number 0"),
        (b"\x80\x80\x80\x80\x80\x80\x01\x00", "invalid field number"),
        (b"\x0b\x0c", "invalid wire type 3"),
        (b"\x0f", "invalid wire type 7"),
        (b"\x08" + b"\xff" * 9 + b"\x02", "more than 64 bits"),
        (b"\x08" + b"\xff" * 10, "more than 64 bits"),
        (b"\x0a" + b"\xff" * 9 + b"\x01", "unexpected end"),
    ],
)
def test_a_malformed_answer(raw, problem):
    with pytest.raises(RpcFailed, match=problem):
        parsed(wire.ContainerAllocateResponse, raw)
    assert answer_from_bytes(raw) is None


def test_fields_of_another_version_are_ignored():
    raw = b"\x7a\x03new\x75abcd\x79abcdefgh\x78" + b"\xff" * 9 + b"\x01"
    assert answer_from_bytes(raw) == RunOptions()


def test_every_method_path_is_the_documented_one():
    """API-1, API-4, API-5."""
    paths = {
        f"/{service.full_name}/{method.name}"
        for file in FILES
        for service in file.services_by_name.values()
        for method in service.methods
    }
    assert {path for path in paths if not path.startswith("/devicemgr")} == {
        "/v1beta1.Registration/Register",
        "/v1beta1.DevicePlugin/GetDevicePluginOptions",
        "/v1beta1.DevicePlugin/ListAndWatch",
        "/v1beta1.DevicePlugin/GetPreferredAllocation",
        "/v1beta1.DevicePlugin/Allocate",
        "/v1beta1.DevicePlugin/PreStartContainer",
        "/pluginregistration.Registration/GetInfo",
        "/pluginregistration.Registration/NotifyRegistrationStatus",
        "/v1.PodResourcesLister/List",
        "/v1.PodResourcesLister/GetAllocatableResources",
        "/v1.PodResourcesLister/Get",
        "/v1alpha1.PodResourcesLister/List",
    }
