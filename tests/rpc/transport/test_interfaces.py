"""The interfaces of grpclib and betterproto2 that the transport relies on, in the minor versions they were read in.

The generated services and stubs run on our transport because of these interfaces, and only because of them.
"""

from __future__ import annotations

import inspect
import re
import tomllib
from importlib.metadata import version
from pathlib import Path

import betterproto2
import grpclib
import pytest
from betterproto2 import grpclib as betterproto2_grpclib
from grpclib import client, const, metadata, server
from grpclib.metadata import Deadline

from devicemgr.rpc.stubs import pluginregistration, v1, v1alpha1, v1beta1
from devicemgr.rpc.stubs.devicemgr import v1 as admin
from devicemgr.rpc.transport.channel import Call, Channel
from devicemgr.rpc.transport.server_call import ServerCall, StreamClosingMixin

ROOT = Path(__file__).parents[3]
STUBS = [pluginregistration, v1, v1alpha1, v1beta1, admin]


def parameters(function):
    """``name``, or ``name=`` where it has a default, with ``*`` before those that are given by name only."""
    found = []
    for parameter in inspect.signature(function).parameters.values():
        if parameter.kind is parameter.KEYWORD_ONLY and "*" not in found:
            found.append("*")
        found.append(parameter.name if parameter.default is parameter.empty else f"{parameter.name}=")
    return " ".join(found)


READ = {"grpclib": "0.4", "betterproto2": "0.10", "h2": "4"}
"""The version in which the interfaces were read: minor ones of what is before 1.0, where any may change anything."""
WHEN_IT_CHANGES = """
{name} {found} is not {read}, in which the interfaces below were read. To move to it:
1. read its changes: of grpclib the stream classes, Handler, metadata and timeouts; of betterproto2 what its compiler
   generates, and ServiceBase and ServiceStub; of h2 the events, and what it says of GOAWAY and of closed streams;
2. regenerate the stubs, and let the other tests of this file say which interface is another one now;
3. change the cap in pyproject.toml, and the version here."""


@pytest.mark.parametrize(("name", "read"), READ.items())
def test_only_the_versions_that_were_read_are_allowed(name, read):
    wanted = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["dependencies"]
    (allowed,) = [text for text in wanted if re.fullmatch(rf"{name}\b.*", text)]
    *major, last = map(int, read.split("."))
    cap = ".".join(map(str, [*major, last + 1]))
    assert re.fullmatch(rf"{name}>={re.escape(read)}(\.\d+)*,<{re.escape(cap)}", allowed), (
        f"pyproject.toml allows {allowed}: {WHEN_IT_CHANGES.format(name=name, found='as allowed there', read=read)}"
    )
    found = version(name)
    assert found.startswith(f"{read}."), WHEN_IT_CHANGES.format(name=name, found=found, read=read)


# --- grpclib: what is data ---


def test_a_handler_is_four_fields():
    assert const.Handler._fields == ("func", "cardinality", "request_type", "reply_type")


def test_a_cardinality_is_two_flags():
    assert {one.name: (one.client_streaming, one.server_streaming) for one in const.Cardinality} == {
        "UNARY_UNARY": (False, False),
        "UNARY_STREAM": (False, True),
        "STREAM_UNARY": (True, False),
        "STREAM_STREAM": (True, True),
    }


def test_statuses_have_the_numbers_of_grpc():
    names = (
        "OK CANCELLED UNKNOWN INVALID_ARGUMENT DEADLINE_EXCEEDED NOT_FOUND ALREADY_EXISTS PERMISSION_DENIED "
        "RESOURCE_EXHAUSTED FAILED_PRECONDITION ABORTED OUT_OF_RANGE UNIMPLEMENTED INTERNAL UNAVAILABLE DATA_LOSS "
        "UNAUTHENTICATED"
    )
    assert [(status.value, status.name) for status in const.Status] == list(enumerate(names.split()))
    assert grpclib.Status is const.Status


def test_a_grpcerror_has_a_status_and_perhaps_a_message():
    assert parameters(grpclib.GRPCError) == "status message= details="
    error = grpclib.GRPCError(grpclib.Status.ABORTED)
    assert (error.status, error.message) == (grpclib.Status.ABORTED, None)


@pytest.mark.parametrize(
    ("function", "expected"),
    [
        (metadata.decode_timeout, "value"),
        (metadata.encode_timeout, "timeout"),
        (metadata.encode_grpc_message, "message"),
        (metadata.decode_grpc_message, "value"),
        (metadata.encode_metadata, "metadata"),
        (metadata.decode_metadata, "headers"),
        (Deadline.from_timeout, "timeout"),
        (Deadline.time_remaining, "self"),
    ],
    ids=lambda value: getattr(value, "__name__", None),
)
def test_functions_of_grpclib_that_we_call(function, expected):
    assert parameters(function) == expected


def test_what_they_do():
    assert metadata.decode_timeout("2500m") == 2.5
    for wrong in ("", "5", "S", "-1S", "1.5S"):
        with pytest.raises(ValueError, match="Invalid timeout"):
            metadata.decode_timeout(wrong)
    assert metadata.decode_timeout(metadata.encode_timeout(3)) == 3
    assert metadata.encode_grpc_message("é%") == "%C3%A9%25"
    assert metadata.decode_grpc_message("%C3%A9%25 %") == "é% %"
    headers = [(":path", "/"), ("te", "trailers"), ("grpc-status", "0"), ("a", "1"), ("a", "2"), ("b-bin", "AP8")]
    assert list(metadata.decode_metadata(headers).items()) == [("a", "1"), ("a", "2"), ("b-bin", b"\0\xff")]
    assert list(metadata.encode_metadata({"a": "1", "b-bin": b"\0\xff"})) == [("a", "1"), ("b-bin", "AP8")]
    for wrong in ("é", "A"):
        with pytest.raises(ValueError, match="."):
            metadata.decode_metadata([("a-bin", wrong)])
    assert 0 < Deadline.from_timeout(5).time_remaining() <= 5


# --- grpclib: the methods that generated code calls, which ours have, too ---


@pytest.mark.parametrize("name", ["recv_message", "send_initial_metadata", "send_message", "cancel"])
def test_a_call_as_a_service_sees_it(name):
    assert parameters(getattr(ServerCall, name)) == parameters(getattr(server.Stream, name))


def test_its_trailing_metadata():
    theirs = inspect.signature(server.Stream.send_trailing_metadata).parameters
    ours = inspect.signature(ServerCall.send_trailing_metadata).parameters
    assert set(theirs) - set(ours) == {"status_details"}  # taken, and not sent
    for attribute in ("deadline", "metadata", "peer"):
        assert f"self.{attribute}" in inspect.getsource(server.Stream.__init__)
        assert f"self.{attribute}" in inspect.getsource(ServerCall.__init__)


METHODS = [
    "send_request",
    "send_message",
    "end",
    "cancel",
    "recv_initial_metadata",
    "recv_message",
    "recv_trailing_metadata",
]


@pytest.mark.parametrize("name", METHODS)
def test_a_call_as_a_caller_sees_it(name):
    assert parameters(getattr(Call, name)) == parameters(getattr(client.Stream, name))


def test_a_call_is_asked_for_in_the_same_way():
    expected = "self name cardinality request_type reply_type * timeout= deadline= metadata="
    assert parameters(client.Channel.request) == parameters(Channel.request) == expected


# --- betterproto2: what generated code does with it ---


class Recorder:
    """Stands in for a channel."""

    def __init__(self):
        self.calls = []

    def request(self, *args, **kwargs):
        self.calls.append((args, kwargs))
        return self

    async def __aenter__(self):
        return self

    async def __aexit__(self, *error):
        return None

    async def send_message(self, message, *, end=False):
        self.calls.append((message, end))

    async def recv_message(self):
        return "answer"

    def __aiter__(self):
        self.answers = iter(["first", "second"])
        return self

    async def __anext__(self):
        for answer in self.answers:
            return answer
        raise StopAsyncIteration


async def test_a_stub_asks_its_channel_in_this_way():
    channel, request = Recorder(), v1beta1.Empty()
    stub = v1beta1.DevicePluginStub(channel)
    assert await stub.get_device_plugin_options(request, timeout=5, metadata={"a": "b"}) == "answer"
    assert [answer async for answer in stub.list_and_watch(request)] == ["first", "second"]
    names = "/v1beta1.DevicePlugin/GetDevicePluginOptions", "/v1beta1.DevicePlugin/ListAndWatch"
    unary, streaming = const.Cardinality.UNARY_UNARY, const.Cardinality.UNARY_STREAM
    assert channel.calls == [
        (
            (names[0], unary, v1beta1.Empty, v1beta1.DevicePluginOptions),
            {"timeout": 5, "deadline": None, "metadata": {"a": "b"}},
        ),
        (request, True),
        (
            (names[1], streaming, v1beta1.Empty, v1beta1.ListAndWatchResponse),
            {"timeout": None, "deadline": None, "metadata": None},
        ),
        (request, True),
    ]


def test_a_stub_is_made_of_a_channel():
    assert parameters(betterproto2_grpclib.ServiceStub) == "channel * timeout= deadline= metadata="


async def test_a_service_answers_a_stream_through_one_method_of_its_base():
    """Which :class:`StreamClosingMixin` replaces: the generated handlers have to call it by this name, in this way."""
    name = "_call_rpc_handler_server_stream"
    theirs, ours = getattr(betterproto2_grpclib.ServiceBase, name), getattr(StreamClosingMixin, name)
    assert parameters(theirs) == parameters(ours) == "self handler stream request"
    called = []

    class Service(v1beta1.DevicePluginBase):
        async def _call_rpc_handler_server_stream(self, handler, stream, request):
            called.append((handler, stream, request))

    class Stream:
        async def recv_message(self):
            return "request"

    service, stream = Service(), Stream()
    await service.__mapping__()["/v1beta1.DevicePlugin/ListAndWatch"].func(stream)
    assert called == [(service.list_and_watch, stream, "request")]


@pytest.mark.parametrize("module", STUBS, ids=lambda module: module.__name__.split("stubs.")[1])
def test_a_generated_service_is_a_mapping_of_handlers(module):
    bases = [getattr(module, name) for name in module.__all__ if name.endswith("Base")]
    assert bases
    for base in bases:
        for path, handler in base().__mapping__().items():
            assert path.count("/") == 2
            assert type(handler) is const.Handler
            assert inspect.iscoroutinefunction(handler.func)
            assert handler.cardinality.client_streaming is False, "a stub would need asyncio for it"
            for message in (handler.request_type, handler.reply_type):
                assert issubclass(message, betterproto2.Message)
                assert message.FromString(message().SerializeToString()) == message()
