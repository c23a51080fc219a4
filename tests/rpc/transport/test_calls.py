"""Calls from our channel to our server, over a real socket."""

from __future__ import annotations

import os
import socket
from collections import Counter
from contextlib import AsyncExitStack, asynccontextmanager
from pathlib import Path

import pytest
import trio
from grpclib import GRPCError, Status
from grpclib.metadata import Deadline
from hyperframe.frame import DataFrame, GoAwayFrame, HeadersFrame, PingFrame, RstStreamFrame
from trio.testing import wait_all_tasks_blocked

from devicemgr.errors import NoSuchPod, PluginUnavailable, QuotaExceeded
from devicemgr.rpc.deviceplugin.client import connect_plugin
from devicemgr.rpc.deviceplugin.list_policy import ListPolicy
from devicemgr.rpc.deviceplugin.methods import Deadlines
from devicemgr.rpc.stubs import v1beta1 as wire
from devicemgr.rpc.transport.channel import open_channel
from devicemgr.rpc.transport.limits import ConnectionLimits, PeerPolicy
from devicemgr.rpc.transport.server import open_server
from devicemgr.rpc.transport.server_call import StreamClosingMixin
from devicemgr.rpc.transport.unix_socket import Place
from tests.rpc.transport.made_up import (
    ANSWERS,
    BOTH,
    ODD_TEXT,
    REQUESTS,
    UNARY,
    Methods,
    Raw,
    Service,
    unary,
)
from tests.rpc.transport.raw_peer import ANSWER, greeted, message, raw_client, raw_server, request

SMALL = ConnectionLimits(stream_window=2**16, connection_window=2**17, outgoing=2**14)
BIG = b"0123456789abcdef" * 2**16


@pytest.fixture
def path(root_dir):
    return root_dir / "s.sock"


@asynccontextmanager
async def opened(path, service, *, limits=ConnectionLimits(), client_limits=ConnectionLimits(), **options):  # noqa: B008 - frozen
    async with open_server(path, [service], limits=limits, **options):
        async with open_channel(path, limits=client_limits) as channel:
            yield channel


async def collect(channel, name, *requests, cardinality=ANSWERS, **options):
    """Call ``/t.T/name`` with these requests, and return all answers."""

    async def send(stream):
        for data in requests:
            await stream.send_message(Raw(data))
        await stream.end()

    async with channel.request(f"/t.T/{name}", cardinality, Raw, Raw, **options) as stream:
        if len(requests) == 1:
            await send(stream)
            return [answer.data async for answer in stream]
        await stream.send_request()
        async with trio.open_nursery() as nursery:
            nursery.start_soon(send, stream)
            return [answer.data async for answer in stream]


# --- the four cardinalities ---


@pytest.mark.parametrize("limits", [ConnectionLimits(), SMALL], ids=["usual", "small windows"])
@pytest.mark.parametrize("size", [0, 1, 2**14 - 5, 2**14 - 4, 2**16, 2**20])
async def test_messages_arrive_as_they_were_sent(path, size, limits):
    data = BIG[:size]
    async with opened(path, Service(trio.Event), limits=limits, client_limits=limits) as channel:
        assert await unary(channel, "Echo", data) == data
        assert await collect(channel, "Each", data, data, cardinality=BOTH) == [data.upper()] * 2
        assert await collect(channel, "Join", data, data, cardinality=REQUESTS) == [data + b"," + data]
        assert [len(answer) for answer in await collect(channel, "Count", b"3 %d" % size)] == [1 + size] * 3


async def test_a_request_stream_may_be_empty(path):
    async with opened(path, Service(trio.Event)) as channel:
        async with channel.request("/t.T/Join", REQUESTS, Raw, Raw) as stream:
            await stream.send_request(end=True)
            assert (await stream.recv_message()).data == b""
        async with channel.request("/t.T/Each", BOTH, Raw, Raw) as stream:
            await stream.send_request()
            await stream.end()
            assert [answer async for answer in stream] == []


async def test_both_sides_talk_in_turns(path):
    async with opened(path, Service(trio.Event)) as channel:
        async with channel.request("/t.T/Each", BOTH, Raw, Raw) as stream:
            for data in (b"a", b"", b"c" * 10**6):
                await stream.send_message(Raw(data))
                assert (await stream.recv_message()).data == data.upper()
            await stream.end()
            assert await stream.recv_message() is None


class Plugin(StreamClosingMixin, wire.DevicePluginBase):
    def __init__(self, error=None):
        self.error = error
        self.streams = 0

    async def get_device_plugin_options(self, message):
        if self.error:
            raise self.error
        return wire.DevicePluginOptions(pre_start_required=True)

    async def list_and_watch(self, message):
        assert message == wire.Empty()
        self.streams += 1
        try:
            for number in range(3):
                yield wire.ListAndWatchResponse(devices=[wire.Device(id=f"d{number}")])
            await trio.sleep_forever()
        finally:
            self.streams -= 1


async def test_generated_stubs_and_services(path):
    plugin = Plugin()
    async with opened(path, plugin) as channel:
        stub = channel.stub(wire.DevicePluginStub)
        assert (await stub.get_device_plugin_options(wire.Empty())).pre_start_required
        with trio.CancelScope() as scope:
            found = []
            async for answer in stub.list_and_watch(wire.Empty()):
                found += [device.id for device in answer.devices]
                if len(found) == 3:
                    assert plugin.streams == 1
                    scope.cancel()
        assert found == ["d0", "d1", "d2"]
        await wait_all_tasks_blocked()
        assert plugin.streams == 0, "a streaming method is closed when its caller has gone"
        with pytest.raises(GRPCError) as caught:
            await stub.allocate(wire.AllocateRequest())
        assert caught.value.status is Status.UNIMPLEMENTED


async def test_a_unary_handler_may_read_its_request_like_a_stream(path):
    async def method(stream):
        data = [message.data async for message in stream]
        await stream.send_message(Raw(repr(data).encode()))

    async with opened(path, Methods(Echo=(UNARY, method))) as channel:
        assert await unary(channel, "Echo", b"one") == b"[b'one']"


# --- metadata and statuses ---


async def test_metadata_passes_both_ways(path):
    service = Service(trio.Event)
    sent = {"case": "x", "text": "~ !", "some-bin": bytes(range(256)), "empty-bin": b""}
    async with opened(path, service) as channel:
        async with channel.request("/t.T/Metadata", UNARY, Raw, Raw, metadata=sent) as stream:
            await stream.send_message(Raw(), end=True)
            await stream.recv_initial_metadata()
            assert dict(stream.initial_metadata) == {"first": "yes", "first-bin": bytes(range(256))}
            assert await stream.recv_message() == Raw()
            await stream.recv_trailing_metadata()
    assert list(stream.trailing_metadata.items()) == [("last", "a"), ("last", "b"), ("last-bin", b"\0")]
    assert dict(service.seen["x"][0]) == sent


async def test_initial_metadata_comes_before_the_answer(path):
    async def method(stream):
        await stream.send_initial_metadata(metadata={"first": "yes"})
        await trio.sleep_forever()

    async with opened(path, Methods(Wait=(ANSWERS, method))) as channel:
        async with channel.request("/t.T/Wait", ANSWERS, Raw, Raw) as stream:
            await stream.send_message(Raw())
            await stream.recv_initial_metadata()
            assert stream.initial_metadata["first"] == "yes"
            await stream.cancel()


@pytest.mark.parametrize("status", [status for status in Status if status is not Status.OK])
@pytest.mark.parametrize("text", ["", "plain", ODD_TEXT, "%", "%41", "\0\x7f"])
async def test_statuses_and_their_texts(path, status, text):
    async def method(stream):
        raise GRPCError(status, text)

    async with opened(path, Methods(Fail=(UNARY, method))) as channel:
        with pytest.raises(GRPCError) as caught:
            await unary(channel, "Fail")
    assert (caught.value.status, caught.value.message) == (status, text or None)


async def test_a_status_comes_after_the_messages_before_it(path):
    answers = []
    async with opened(path, Service(trio.Event)) as channel:
        async with channel.request("/t.T/FailLate", ANSWERS, Raw, Raw) as stream:
            await stream.send_message(Raw(b"2 0"))
            with pytest.raises(GRPCError) as caught:
                async for answer in stream:
                    answers.append(answer.data)
    assert answers == [b"0", b"1"]
    assert (caught.value.status, caught.value.message) == (Status.DATA_LOSS, ODD_TEXT)


@pytest.mark.parametrize(
    ("error", "status"),
    [
        (NoSuchPod("pod ö"), Status.UNKNOWN),
        (QuotaExceeded("later"), Status.RESOURCE_EXHAUSTED),
    ],
    ids=lambda value: type(value).__name__,
)
async def test_our_own_errors_are_answers(path, error, status):
    async with opened(path, Plugin(error)) as channel:
        with pytest.raises(GRPCError) as caught:
            await channel.stub(wire.DevicePluginStub).get_device_plugin_options(wire.Empty())
    assert (caught.value.status, caught.value.message) == (status, str(error))


async def test_a_long_text_does_not_cost_the_connection(path):
    async with opened(path, Plugin(NoSuchPod("ö" * 100_000))) as channel:
        stub = channel.stub(wire.DevicePluginStub)
        with pytest.raises(GRPCError) as caught:
            await stub.get_device_plugin_options(wire.Empty())
        assert caught.value.status is Status.UNKNOWN
        assert caught.value.message.startswith("ööö")
        with pytest.raises(GRPCError, match="ööö"):
            await stub.get_device_plugin_options(wire.Empty())


async def test_a_text_that_is_no_unicode_is_an_answer(path):
    """A file name that is not UTF-8, in an error's text."""
    async with opened(path, Plugin(NoSuchPod("file \udcff"))) as channel:
        with pytest.raises(GRPCError, match="file") as caught:
            await channel.stub(wire.DevicePluginStub).get_device_plugin_options(wire.Empty())
    assert caught.value.status is Status.UNKNOWN


async def test_a_service_of_another_version(path):
    """Plug-ins of 1.8 and 1.9 call deviceplugin.Registration."""
    async with opened(path, Service(trio.Event)) as channel:
        with pytest.raises(GRPCError, match="unknown service old.T; there is t.T") as caught:
            async with channel.request("/old.T/Echo", UNARY, Raw, Raw) as stream:
                await stream.send_message(Raw(b""), end=True)
                await stream.recv_message()
        assert caught.value.status is Status.UNIMPLEMENTED


async def test_the_status_for_an_unknown_service_lists_those_there_are(path):
    """All services, in the order of their names, and the beginning of the unknown one."""

    class Other:
        def __mapping__(self):
            return {"/a.A/X": None, "/a.A/Y": None}

    async with open_server(path, [Service(trio.Event), Other()]), open_channel(path) as channel:
        for name, reported in (("/old.T/Echo", "unknown service old.T"), ("/old", "unknown service ")):
            with pytest.raises(GRPCError) as caught:
                async with channel.request(name, UNARY, Raw, Raw) as stream:
                    await stream.send_message(Raw())
                    await stream.recv_message()
            assert caught.value.message == f"{reported}; there is a.A, t.T"
        with pytest.raises(GRPCError) as caught:
            await unary(channel, "x" * 300)
        assert caught.value.message == f"unknown method {'x' * 195} for service t.T"


async def test_an_unknown_method(path):
    async with opened(path, Service(trio.Event)) as channel:
        for data in (b"", BIG):
            with pytest.raises(GRPCError, match="unknown method Nothing for service t.T") as caught:
                await unary(channel, "Nothing", data)
            assert caught.value.status is Status.UNIMPLEMENTED
        assert await unary(channel, "Echo", b"goes on") == b"goes on"


class Bug(Exception):
    pass


async def test_a_bug_in_a_handler_leaves_the_server_as_itself_and_is_answered(path):
    async def method(stream):
        raise Bug

    async def call(path, task_status):
        async with open_channel(path) as channel:
            task_status.started()
            with pytest.raises(GRPCError, match="'the server failed; its log has the traceback'") as caught:
                await unary(channel, "Bug")
            assert caught.value.status is Status.INTERNAL

    async with trio.open_nursery() as nursery:
        with pytest.raises(Bug):
            async with open_server(path, [Methods(Bug=(UNARY, method))]):
                await nursery.start(call, path)
                await trio.sleep_forever()


async def test_a_request_that_cannot_be_decoded_is_its_senders_failure(path):
    async with opened(path, Plugin()) as channel:
        with pytest.raises(GRPCError, match="malformed AllocateRequest") as caught:
            async with channel.request("/v1beta1.DevicePlugin/Allocate", UNARY, Raw, Raw) as stream:
                await stream.send_message(Raw(b"\x0a\x05x"))
                await stream.recv_message()
    assert caught.value.status is Status.INTERNAL


async def test_a_unary_answer_without_a_message_is_a_failure(path):
    """A status of OK with nothing before it, from a faulty peer."""
    async with raw_server(path) as listener:
        async with open_channel(path) as channel, trio.open_nursery() as nursery:

            async def serve():
                async with greeted(listener) as peer:
                    for number, headers in ((1, [*ANSWER, ("grpc-status", "0")]), (3, ANSWER)):
                        await peer.frame_of(DataFrame, number)
                        frames = [peer.headers(number, headers, end=headers is not ANSWER)]
                        if headers is ANSWER:
                            frames.append(peer.headers(number, [("grpc-status", "0")], end=True))
                        await peer.send(*frames)
                    await peer.frames_until_end()

            nursery.start_soon(serve)
            for _ in range(2):
                with pytest.raises(GRPCError) as caught:
                    await channel.stub(wire.DevicePluginStub).get_device_plugin_options(wire.Empty())
                assert caught.value.status is Status.INTERNAL
            nursery.cancel_scope.cancel()


async def test_a_handler_that_answers_nothing_is_a_failure_for_its_caller(path):
    async def method(stream):
        return

    async with opened(path, Methods(Silent=(UNARY, method))) as channel:
        with pytest.raises(GRPCError):
            await unary(channel, "Silent")


@pytest.mark.parametrize("has_answer", [False, True])
async def test_a_handler_may_end_its_call_with_a_status_of_its_own_and_the_first_one_counts(path, has_answer):
    """With a text and metadata, with and without a message, whatever it does after that."""

    async def method(stream):
        await stream.recv_message()
        if has_answer:
            await stream.send_message(Raw(b"part"))
        await stream.send_trailing_metadata(status=Status.ABORTED, status_message="ça", metadata={"why": "because"})
        await stream.send_trailing_metadata()
        raise GRPCError(Status.INTERNAL, "too late")

    async with opened(path, Methods(Ends=(ANSWERS, method))) as channel:
        with pytest.raises(GRPCError, match="'ça'") as caught:
            async with channel.request("/t.T/Ends", ANSWERS, Raw, Raw) as stream:
                await stream.send_message(Raw())
                if has_answer:
                    assert await stream.recv_message() == Raw(b"part")
                await stream.recv_message()
        assert caught.value.status is Status.ABORTED
        assert stream.trailing_metadata["why"] == "because"


async def test_a_generated_stream_is_closed_as_soon_as_its_caller_has_gone(path):
    """Not by the garbage collector; and each of its messages is sent at once."""
    closed = trio.Event()

    class Watched(Plugin):
        async def list_and_watch(self, message):
            try:
                for number in range(1000):
                    yield wire.ListAndWatchResponse(devices=[wire.Device(id=f"d{number}")])
                    await trio.sleep(number)  # after the second one it is cancelled here
            finally:
                closed.set()

    async with opened(path, Watched()) as channel:
        async with channel.request(
            "/v1beta1.DevicePlugin/ListAndWatch", ANSWERS, wire.Empty, wire.ListAndWatchResponse
        ) as stream:
            await stream.send_message(wire.Empty())
            seen = [(await stream.recv_message()).devices[0].id for _ in range(2)]
            assert seen == ["d0", "d1"]
            assert not closed.is_set()
        with trio.fail_after(60):
            await closed.wait()


async def test_what_has_arrived_can_be_taken_without_waiting(path):
    async with opened(path, Service(trio.Event)) as channel:
        async with channel.request("/t.T/CountAndHang", ANSWERS, Raw, Raw) as stream:
            await stream.send_message(Raw(b"3 0"), end=True)
            assert await stream.recv_message() == Raw(b"0")
            await wait_all_tasks_blocked()
            assert [stream.recv_message_nowait() for _ in range(3)] == [Raw(b"1"), Raw(b"2"), None]


async def test_the_end_of_a_request_is_sent_once(path):
    """And nothing can be sent after it."""

    async def send(channel, *, end):
        async with channel.request("/t.T/Join", REQUESTS, Raw, Raw) as stream:
            await stream.end()  # there is nothing to be ended yet
            await stream.send_message(Raw(b"a"), end=end)
            for _ in range(2):
                await stream.end()
            return (await stream.recv_message()).data

    async with opened(path, Service(trio.Event)) as channel:
        assert [await send(channel, end=end) for end in (True, False)] == [b"a", b"a"]


# --- deadlines and cancelling ---


async def test_a_timeout_ends_the_call_on_both_ends(path, autojump_clock):
    service = Service(trio.Event)
    async with opened(path, service) as channel:
        began = trio.current_time()
        with pytest.raises(GRPCError) as caught:
            await unary(channel, "Hang", timeout=5, metadata={"case": "hang"})
        assert caught.value.status is Status.DEADLINE_EXCEEDED
        assert trio.current_time() - began == pytest.approx(5)
        await unary(channel, "Ended", b"hang")
    assert service.seen["hang"][1:] == ["deadline", "cancelled"]


async def test_a_server_keeps_to_the_deadline_by_itself(path, autojump_clock):
    """When the client does not."""
    service = Service(trio.Event)
    async with open_server(path, [service]):
        async with raw_client(path) as peer:
            headers = request("/t.T/Hang", ("grpc-timeout", "3S"), ("case", "hang"))
            await peer.send(peer.headers(1, headers), peer.data(1, message(b""), end=True))
            answer = await peer.frame_of(HeadersFrame)
            assert trio.current_time() == pytest.approx(3)
            assert ("grpc-status", "4") in answer.decoded
            assert service.seen["hang"][-1] == "cancelled"


async def test_a_client_keeps_to_the_deadline_by_itself(path, autojump_clock):
    """When the server sends nothing, or never stops sending."""
    async with raw_server(path) as listener:
        async with open_channel(path) as channel:
            with pytest.raises(GRPCError) as caught:
                await unary(channel, "Hang", timeout=3)
            assert caught.value.status is Status.DEADLINE_EXCEEDED
            assert trio.current_time() == pytest.approx(3)
            async with greeted(listener) as peer:
                assert ("grpc-timeout", "3000m") in (await peer.frame_of(HeadersFrame, 1)).decoded
                assert (await peer.frame_of(RstStreamFrame, 1)).error_code == 8


async def test_a_deadline_counts_also_while_messages_keep_coming(path, mock_clock):
    async with opened(path, Service(trio.Event)) as channel:
        async with channel.request("/t.T/CountAndHang", ANSWERS, Raw, Raw, timeout=1) as stream:
            await stream.send_message(Raw(b"9 0"))
            assert (await stream.recv_message()).data == b"0"
            await wait_all_tasks_blocked()
            mock_clock.jump(2)
            with pytest.raises(GRPCError) as caught:
                await stream.recv_message()
    assert caught.value.status is Status.DEADLINE_EXCEEDED


async def test_a_deadline_of_grpclib_will_do(path, autojump_clock):
    async with opened(path, Service(trio.Event)) as channel:
        with pytest.raises(GRPCError) as caught:
            await unary(channel, "Hang", deadline=Deadline.from_timeout(30))
        assert caught.value.status is Status.DEADLINE_EXCEEDED
        assert 0 < trio.current_time() <= 30
        assert await unary(channel, "Echo", b"ok", deadline=Deadline.from_timeout(30)) == b"ok"


@pytest.mark.parametrize(
    "value", ["", "5", "S", "-1S", "1.5S", "5 S", "9" * 400 + "S", "9" * 400 + "m", "9" * 5000 + "H"]
)
async def test_a_malformed_timeout_fails_its_call_only(path, value):
    async with open_server(path, [Service(trio.Event)]):
        async with raw_client(path) as peer:
            await peer.send(peer.headers(1, request("/t.T/Echo", ("grpc-timeout", value)), end=True))
            fields = dict((await peer.frame_of(HeadersFrame)).decoded)
            assert fields["grpc-status"] == str(Status.INTERNAL.value)


async def test_a_call_that_is_cancelled_cancels_its_handler(path):
    service = Service(trio.Event)
    async with opened(path, service) as channel:
        with trio.CancelScope() as scope:
            async with channel.request("/t.T/CountAndHang", ANSWERS, Raw, Raw, metadata={"case": "x"}) as stream:
                await stream.send_message(Raw(b"1 0"))
                await stream.recv_message()
                scope.cancel()
                await stream.recv_message()
        assert scope.cancelled_caught
        await unary(channel, "Ended", b"x")
    assert service.seen["x"][-1] == "cancelled"


async def test_a_cancelled_call_is_reset_on_the_wire(path):
    async with raw_server(path) as listener:
        async with open_channel(path) as channel:
            async with channel.request("/t.T/Hang", ANSWERS, Raw, Raw) as stream:
                await stream.send_message(Raw())
                await stream.cancel()
            async with greeted(listener) as peer:
                assert (await peer.frame_of(RstStreamFrame)).error_code == 8  # CANCEL


async def test_a_reset_is_not_answered_with_a_reset(path):
    """RFC 9113, 5.4.2."""
    service = Service(trio.Event)
    async with open_server(path, [service]):
        async with raw_client(path) as peer:
            await peer.send(peer.headers(1, request("/t.T/Hang", ("case", "x"))), peer.data(1, message(b"")))
            await wait_all_tasks_blocked()
            await peer.send(peer.reset(1))
            await wait_all_tasks_blocked()
            assert service.seen["x"][-1] == "cancelled"
            await peer.stream.send_eof()
            assert not [frame for frame in await peer.frames_until_end() if isinstance(frame, RstStreamFrame)]


async def test_a_server_that_resets_with_an_answer_complete_has_answered(path):
    """As grpclib and grpc-go do, when they have not read all of the request."""
    async with opened(path, Service(trio.Event), client_limits=SMALL) as channel:
        async with channel.request("/t.T/Early", REQUESTS, Raw, Raw) as stream:
            for _ in range(5):
                await stream.send_message(Raw(BIG))
            assert (await stream.recv_message()).data == b"enough"
        assert await unary(channel, "Echo", b"goes on") == b"goes on"


@pytest.mark.parametrize(
    ("code", "status"),
    [(0, "INTERNAL"), (2, "INTERNAL"), (7, "UNAVAILABLE"), (8, "CANCELLED"), (11, "RESOURCE_EXHAUSTED"),
     (12, "PERMISSION_DENIED"), (99, "INTERNAL")],
)  # fmt: skip
async def test_what_a_reset_means(path, code, status):
    async with raw_server(path) as listener:
        async with open_channel(path) as channel, trio.open_nursery() as nursery:

            async def serve():
                async with greeted(listener) as peer:
                    await peer.frame_of(DataFrame)
                    await peer.send(peer.reset(1, code))
                    await peer.frames_until_end()

            nursery.start_soon(serve)
            with pytest.raises(GRPCError) as caught:
                await unary(channel, "Echo")
            assert caught.value.status.name == status
            nursery.cancel_scope.cancel()


async def test_a_deadline_in_the_middle_of_a_message_is_a_deadline(path):
    """An incomplete message before a status that is not OK is not an error of its own."""
    async with raw_server(path) as listener:
        async with open_channel(path) as channel, trio.open_nursery() as nursery:

            async def serve():
                async with greeted(listener) as peer:
                    await peer.frame_of(DataFrame)
                    frames = peer.headers(1, ANSWER), peer.data(1, message(b"long")[:-1])
                    await peer.send(*frames, peer.headers(1, [("grpc-status", "4")], end=True))
                    await peer.frame_of(DataFrame)
                    frames = peer.headers(3, ANSWER), peer.data(3, message(b"long")[:-1])
                    await peer.send(*frames, peer.headers(3, [("grpc-status", "0")], end=True))
                    await peer.frames_until_end()

            nursery.start_soon(serve)
            for status in (Status.DEADLINE_EXCEEDED, Status.INTERNAL):
                with pytest.raises(GRPCError) as caught:
                    await unary(channel, "Echo")
                assert caught.value.status is status
            nursery.cancel_scope.cancel()


# --- how much at a time ---


async def test_a_hundred_calls_at_a_time(path):
    async with opened(path, Service(trio.Event)) as channel, trio.open_nursery() as nursery:

        async def call(number):
            data = b"%d" % number * number
            assert await unary(channel, "Echo", data) == data

        for number in range(100):
            nursery.start_soon(call, number)


async def test_calls_beyond_the_servers_limit_wait_for_their_turn(path):
    running, most = 0, 0

    async def method(stream):
        nonlocal running, most
        running += 1
        most = max(most, running)
        await stream.send_message(await stream.recv_message())
        await trio.lowlevel.checkpoint()
        running -= 1

    async with opened(path, Methods(Echo=(UNARY, method)), limits=ConnectionLimits(streams=3)) as channel:
        await unary(channel, "Echo")  # the server's settings have come
        async with trio.open_nursery() as nursery:
            for _ in range(50):
                nursery.start_soon(unary, channel, "Echo")
    assert most == 3


async def test_calls_wait_for_their_turn_also_before_the_servers_settings_arrive(path):
    async with opened(path, Service(trio.Event)) as channel, trio.open_nursery() as nursery:
        for _ in range(300):  # a hundred at a time
            nursery.start_soon(unary, channel, "Echo")


async def test_two_calls_that_begin_late_do_not_both_take_the_last_place(path):
    async with opened(path, Service(trio.Event), limits=ConnectionLimits(streams=1)) as channel:
        await unary(channel, "Echo")

        async def call():
            async with channel.request("/t.T/Echo", UNARY, Raw, Raw) as stream:
                await wait_all_tasks_blocked()
                await stream.send_message(Raw(b"x"))
                assert (await stream.recv_message()).data == b"x"

        async with trio.open_nursery() as nursery:
            nursery.start_soon(call)
            nursery.start_soon(call)
        assert await unary(channel, "Echo", b"goes on") == b"goes on"


async def test_a_call_waits_for_its_turn_until_its_deadline(path, autojump_clock):
    async with (
        opened(path, Service(trio.Event), limits=ConnectionLimits(streams=1)) as channel,
        trio.open_nursery() as nursery,
    ):
        await unary(channel, "Echo")
        nursery.start_soon(unary, channel, "Hang")
        await wait_all_tasks_blocked()
        began = trio.current_time()
        with pytest.raises(GRPCError) as caught:
            await unary(channel, "Echo", timeout=2)
        assert (caught.value.status, caught.value.message) == (Status.DEADLINE_EXCEEDED, "too many calls at a time")
        assert trio.current_time() - began == pytest.approx(2)
        nursery.cancel_scope.cancel()


async def test_a_server_that_takes_more_calls_than_it_first_said_gets_them(path):
    async with raw_server(path) as listener:
        async with open_channel(path) as channel, trio.open_nursery() as nursery:
            results = []

            async def call():
                results.append(await unary(channel, "Echo"))

            async def serve():
                async with greeted(listener, MAX_CONCURRENT_STREAMS=1) as peer:
                    await peer.frame_of(DataFrame, 1)
                    await wait_all_tasks_blocked()  # the second call waits
                    await peer.send(peer.settings(MAX_CONCURRENT_STREAMS=2))
                    await peer.frame_of(DataFrame, 3)
                    for number in (1, 3):
                        frames = peer.headers(number, ANSWER), peer.data(number, message(b""))
                        await peer.send(*frames, peer.headers(number, [("grpc-status", "0")], end=True))
                    await peer.frames_until_end()

            nursery.start_soon(serve)
            nursery.start_soon(call)
            await wait_all_tasks_blocked()
            nursery.start_soon(call)
            await wait_all_tasks_blocked()
            assert results == [b"", b""]
            nursery.cancel_scope.cancel()


async def test_a_call_too_many_is_refused(path):
    """By the server, when the client does not wait."""
    service = Service(trio.Event)
    async with open_server(path, [service], limits=ConnectionLimits(streams=2)):
        async with raw_client(path) as peer:
            for number in (1, 3, 5):
                await peer.send(peer.headers(number, request("/t.T/Echo")))
            refused = await peer.frame_of(RstStreamFrame)
            assert (refused.stream_id, refused.error_code) == (5, 7)
            await peer.send(peer.data(1, message(b"x"), end=True))
            await peer.frame_of(DataFrame, 1)
            await wait_all_tasks_blocked()
            await peer.send(peer.headers(7, request("/t.T/Echo")), peer.data(7, message(b"y"), end=True))
            assert (await peer.frame_of(DataFrame)).data == message(b"y")


async def test_many_streams_that_were_read_a_little_do_not_stop_each_other(path):
    """What is not acknowledged yet adds up over the streams."""
    limits = ConnectionLimits(streams=1000)
    go_on = trio.Event()

    async def method(stream):
        await stream.recv_message()
        await stream.send_message(Raw(BIG[:5000]))
        await go_on.wait()
        await stream.send_message(Raw(BIG[:5000]))

    async with opened(path, Methods(Two=(ANSWERS, method)), limits=limits, client_limits=limits) as channel:
        done = []

        async def call():
            async with channel.request("/t.T/Two", ANSWERS, Raw, Raw) as stream:
                await stream.send_message(Raw())
                assert len((await stream.recv_message()).data) == 5000
                done.append(1)
                if len(done) == 500:
                    go_on.set()
                assert len((await stream.recv_message()).data) == 5000

        async with trio.open_nursery() as nursery:
            for _ in range(500):
                nursery.start_soon(call)


async def test_a_client_holds_no_more_streams_than_its_window_is_for(path):
    """Otherwise 500 streams, each read a little, would use up the connection's window."""
    go_on, most = trio.Event(), Counter()

    async def method(stream):
        most["running"] += 1
        most["most"] = max(most["most"], most["running"])
        await stream.recv_message()
        await stream.send_message(Raw(BIG[:5000]))
        await go_on.wait()
        await stream.send_message(Raw(BIG[:5000]))
        most["running"] -= 1

    async with opened(path, Methods(Two=(ANSWERS, method)), limits=ConnectionLimits(streams=1000)) as channel:

        async def call():
            assert [len(data) for data in await collect(channel, "Two", b"")] == [5000, 5000]

        async with trio.open_nursery() as nursery:
            for _ in range(300):
                nursery.start_soon(call)
            await wait_all_tasks_blocked()
            go_on.set()
    assert most["most"] == 100


async def test_a_small_window_of_a_stream_in_a_large_one_of_the_connection(path):
    """What is not acknowledged yet counts for both windows."""
    limits = ConnectionLimits(stream_window=2**16, connection_window=2**26)
    async with opened(path, Service(trio.Event), limits=limits, client_limits=limits) as channel:
        assert len(await collect(channel, "Count", b"100 10000")) == 100
        assert len(await collect(channel, "Each", *[BIG[:10_000]] * 100, cardinality=BOTH)) == 100


@pytest.mark.parametrize("direction", ["answers", "requests"])
async def test_a_slow_reader_makes_its_peer_wait(path, direction):
    sent = 0

    async def send_for_ever(stream):
        nonlocal sent
        while True:
            await stream.send_message(Raw(BIG[:1000]))
            sent += 1000

    async def send_answers(stream):
        await stream.recv_message()
        await send_for_ever(stream)

    async def read_nothing(stream):
        await trio.sleep_forever()

    methods = Methods(Answers=(ANSWERS, send_answers), Requests=(REQUESTS, read_nothing))
    async with opened(path, methods, limits=SMALL, client_limits=SMALL) as channel, trio.open_nursery() as nursery:
        if direction == "answers":
            async with channel.request("/t.T/Answers", ANSWERS, Raw, Raw) as stream:
                await stream.send_message(Raw())
                await stream.recv_message()
                await wait_all_tasks_blocked()
                before = sent
                assert before <= 2**16 + 2**14 + 2**13
                for _ in range(50):
                    await stream.recv_message()
                await wait_all_tasks_blocked()
                assert before < sent <= before + 51_000
        else:
            async with channel.request("/t.T/Requests", REQUESTS, Raw, Raw) as stream:
                nursery.start_soon(send_for_ever, stream)
                await wait_all_tasks_blocked()
                assert sent <= 2**16 + 2**14
                nursery.cancel_scope.cancel()


async def test_a_peer_that_reads_nothing_fills_a_bounded_buffer(path):
    """Its windows are open, but the kernel's buffer is full."""
    sent = 0

    async def method(stream):
        nonlocal sent
        while True:
            await stream.send_message(Raw(BIG[:10_000]))
            sent += 10_000

    async with open_server(path, [Methods(Flood=(ANSWERS, method))], grace=0):
        async with raw_client(path) as peer:
            await peer.send(peer.settings(INITIAL_WINDOW_SIZE=2**30), peer.window(0, 2**30))
            await peer.send(peer.headers(1, request("/t.T/Flood"), end=True))
            await wait_all_tasks_blocked()
            assert 2**18 <= sent <= 2**18 + 2**20  # ours, and what kernels usually have


async def test_a_message_longer_than_the_limit(path):
    reported = []

    class Policy(PeerPolicy):
        def message_too_long(self, limit, size, maximum):
            reported.append((limit, size, maximum))

    limits, client_limits = (
        ConnectionLimits(message=1000, policy=Policy()),
        ConnectionLimits(message=3000, answer=2000, policy=Policy()),
    )
    async with opened(path, Service(trio.Event), limits=limits, client_limits=client_limits) as channel:
        for name, data, limit in (
            ("Echo", bytes(1001), ("message_size", 1001, 1000)),
            ("Count", b"1 3000", ("message_size", 3001, 3000)),
        ):
            with pytest.raises(GRPCError) as caught:
                await collect(channel, name, data)
            assert caught.value.status is Status.RESOURCE_EXHAUSTED
            assert reported.pop() == limit
        with pytest.raises(GRPCError, match="an answer of 2001 bytes; 2000 are the limit") as caught:
            await unary(channel, "Count", b"1 2000")
        assert reported == [("answer_size", 2001, 2000)]
        assert len(await unary(channel, "Echo", bytes(1000))) == 1000


async def test_an_answer_of_more_fields_than_the_limit(path):
    """Its bytes are few, but decoding them takes long. Only answers of unary calls are checked."""
    reported, device = [], b"\x0a\x00"  # an empty Device

    class Policy(PeerPolicy):
        def too_many_fields(self, limit):
            reported.append(limit)

    async def answer(stream):
        count = int((await stream.recv_message()).data)
        await stream.send_message(Raw(device * count))

    methods = Methods(One=(UNARY, answer), Many=(ANSWERS, answer))
    limits = ConnectionLimits(answer_fields=10, policy=Policy())
    async with opened(path, methods, client_limits=limits) as channel:

        async def devices(name, cardinality, count):
            async with channel.request(f"/t.T/{name}", cardinality, Raw, wire.ListAndWatchResponse) as stream:
                await stream.send_message(Raw(b"%d" % count))
                return len((await stream.recv_message()).devices)

        assert await devices("One", UNARY, 10) == 10
        assert await devices("Many", ANSWERS, 11) == 11
        assert reported == []
        with pytest.raises(GRPCError) as caught:
            await devices("One", UNARY, 11)
        assert (caught.value.status, caught.value.message) == (
            Status.RESOURCE_EXHAUSTED,
            "an answer of more than 10 fields",
        )
        assert reported == [10]


# --- the end of a connection ---


async def test_when_the_client_is_gone_its_handlers_are_cancelled(path):
    service = Service(trio.Event)
    async with open_server(path, [service]):
        async with open_channel(path) as channel, trio.open_nursery() as nursery:
            for number in range(5):
                nursery.start_soon(partial_hang, channel, f"c{number}")
            await wait_all_tasks_blocked()
            nursery.cancel_scope.cancel()
        async with open_channel(path) as channel:
            for number in range(5):
                await unary(channel, "Ended", b"c%d" % number)
    assert [service.seen[f"c{number}"][-1] for number in range(5)] == ["cancelled"] * 5


async def partial_hang(channel, case):
    await unary(channel, "Hang", metadata={"case": case})


async def test_when_the_process_is_gone_its_handlers_are_cancelled(path):
    """Its socket is just closed."""
    service = Service(trio.Event)
    async with open_server(path, [service]):
        async with raw_client(path) as peer:
            await peer.send(peer.headers(1, request("/t.T/Hang", ("case", "x")), end=False), peer.data(1, message(b"")))
            await wait_all_tasks_blocked()
            await peer.stream.aclose()
            async with open_channel(path) as channel:
                await unary(channel, "Ended", b"x")
    assert service.seen["x"][-1] == "cancelled"


@pytest.mark.parametrize("who", ["server", "channel"])
async def test_when_the_connection_is_gone_each_call_is_unavailable_and_nothing_reconnects(path, who):
    accepted = Counter()

    class Policy(PeerPolicy):
        def admit(self, peer):
            accepted["times"] += 1
            return True

    failures, reasons = [], set()

    async def call(channel, cardinality, name):
        with pytest.raises(GRPCError) as caught:
            async with channel.request(f"/t.T/{name}", cardinality, Raw, Raw) as stream:
                await stream.send_message(Raw(b"0 0"))
                async for _ in stream:
                    pass
        failures.append(caught.value.status)
        reasons.add(caught.value.message)

    async with open_server(path, [Service(trio.Event)], limits=ConnectionLimits(policy=Policy())) as server:
        async with open_channel(path) as channel, trio.open_nursery() as nursery:
            for _ in range(3):
                nursery.start_soon(call, channel, UNARY, "Hang")
                nursery.start_soon(call, channel, ANSWERS, "CountAndHang")
                nursery.start_soon(call, channel, BOTH, "Each")
            await wait_all_tasks_blocked()
            if who == "server":
                for connection in server._connections:
                    connection.close()
            else:
                channel.close()
            await wait_all_tasks_blocked()
            assert failures == [Status.UNAVAILABLE] * 9
            await call(channel, UNARY, "Echo")
            await call(channel, ANSWERS, "Count")
            assert failures == [Status.UNAVAILABLE] * 11
        assert accepted["times"] == 1
    assert reasons == {"the peer closed the connection" if who == "server" else "the connection was closed"}


async def test_an_answer_that_came_before_the_end_of_the_connection_counts(path):
    """The server has answered and exited. That nothing can be sent to it any more does not matter."""
    async with raw_server(path) as listener, open_channel(path) as channel, trio.open_nursery() as nursery:

        async def call():
            assert len(await collect(channel, "Echo", b"")) == 6

        nursery.start_soon(call)
        async with greeted(listener) as peer:
            await peer.frame_of(DataFrame)
            await wait_all_tasks_blocked()
            data = [peer.data(1, message(BIG[:10_000])) for _ in range(6)]  # more than one read
            end = peer.headers(1, [("grpc-status", "0")], end=True)
            frames = PingFrame(0), peer.headers(1, ANSWER), *data, end
            os.write(peer.stream.socket.fileno(), b"".join(frame.serialize() for frame in frames))
            peer.stream.socket.close()  # in the same breath


async def test_a_call_that_ends_within_the_grace_is_answered(path, autojump_clock):
    begun = trio.Event()

    async def method(stream):
        data = await stream.recv_message()
        begun.set()
        await trio.sleep(3)
        await stream.send_message(data)

    async with trio.open_nursery() as nursery:
        closing = trio.CancelScope()

        async def serve(task_status):
            async with open_server(path, [Methods(Slow=(UNARY, method))], grace=5):
                task_status.started()
                with closing:
                    await trio.sleep_forever()

        await nursery.start(serve)
        async with open_channel(path) as channel:

            async def call():
                assert await unary(channel, "Slow", BIG) == BIG

            async with trio.open_nursery() as calls:
                calls.start_soon(call)
                await begun.wait()
                closing.cancel()
                await wait_all_tasks_blocked()
                assert not path.exists()
                assert channel.is_going_away
                with pytest.raises(GRPCError) as caught:
                    await unary(channel, "Slow")
                assert caught.value.status is Status.UNAVAILABLE
    assert trio.current_time() == pytest.approx(3), "nobody waits longer than for the last answer"


@pytest.mark.parametrize(
    ("options", "shutdown_message"),
    [({}, "the server is shutting down"), ({"shutdown_message": "until Monday"}, "until Monday")],
)
async def test_a_call_that_does_not_end_within_the_grace_is_cancelled(path, autojump_clock, options, shutdown_message):
    service = Service(trio.Event)
    statuses = []
    async with trio.open_nursery() as nursery:
        async with open_server(path, [service], grace=5, **options):
            await nursery.start(_call_and_note, path, statuses)
            await wait_all_tasks_blocked()
        assert trio.current_time() == pytest.approx(5)
    assert statuses == [(Status.UNAVAILABLE, shutdown_message)]
    assert service.seen["x"][-1] == "cancelled"


async def _call_and_note(path, statuses, task_status):
    async with open_channel(path) as channel:
        task_status.started()
        with pytest.raises(GRPCError) as caught:
            await unary(channel, "Hang", metadata={"case": "x"})
        statuses.append((caught.value.status, caught.value.message))


async def test_a_grace_ends_as_soon_as_the_last_byte_is_sent(path, autojump_clock):
    """The answer is still in our buffer when its call has ended."""
    received = []

    async def read_late(peer):
        await trio.sleep(1)
        received.append(sum(len(frame.data) for frame in await peer.frames_until_end() if isinstance(frame, DataFrame)))

    async with trio.open_nursery() as nursery, AsyncExitStack() as stack:
        async with open_server(path, [Service(trio.Event)], grace=60) as server:
            peer = await stack.enter_async_context(raw_client(path))
            await peer.send(peer.settings(INITIAL_WINDOW_SIZE=2**20), peer.window(0, 2**20))
            await wait_all_tasks_blocked()
            (connection,) = server._connections
            connection._socket.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, 4096)
            await peer.send(peer.headers(1, request("/t.T/Count")), peer.data(1, message(b"1 200000"), end=True))
            await wait_all_tasks_blocked()
            assert connection.has_work
            nursery.start_soon(read_late, peer)
        assert trio.current_time() == pytest.approx(1)
        await wait_all_tasks_blocked()
    assert received == [200_006]


async def test_open_streams_go_on_when_the_server_is_going_away(path):
    statuses, answers = [], []

    async def call(channel):
        try:
            async with channel.request("/t.T/Count", ANSWERS, Raw, Raw) as stream:
                await stream.send_message(Raw())
                answers.extend([answer.data async for answer in stream])
            statuses.append(Status.OK)
        except GRPCError as error:
            statuses.append(error.status)

    async with raw_server(path) as listener, open_channel(path) as channel, trio.open_nursery() as nursery:
        nursery.start_soon(call, channel)
        async with greeted(listener) as peer:
            await peer.frame_of(DataFrame, 1)
            nursery.start_soon(call, channel)
            await peer.frame_of(DataFrame, 3)
            await peer.send(peer.goaway(1))
            await wait_all_tasks_blocked()
            assert statuses == [Status.UNAVAILABLE], "the newer one, which the server has not looked at"
            assert channel.is_going_away
            with pytest.raises(GRPCError, match="GOAWAY") as caught:
                await unary(channel, "Echo")
            assert caught.value.status is Status.UNAVAILABLE
            await peer.send(peer.headers(1, ANSWER), peer.data(1, message(b"still here")))
            await wait_all_tasks_blocked()
            await peer.send(peer.headers(1, [("grpc-status", "0")], end=True))
            await wait_all_tasks_blocked()
            assert statuses == [Status.UNAVAILABLE, Status.OK]
            assert answers == [b"still here"]


async def test_a_server_that_goes_away_says_which_streams_it_answers(path):
    async with trio.open_nursery() as nursery:

        async def serve(task_status):
            async with open_server(path, [Service(trio.Event)], grace=60):
                task_status.started()
                with closing:
                    await trio.sleep_forever()

        closing = trio.CancelScope()
        await nursery.start(serve)
        async with raw_client(path) as peer:
            await peer.send(peer.headers(1, request("/t.T/Echo")), peer.headers(3, request("/t.T/Echo")))
            await wait_all_tasks_blocked()
            closing.cancel()
            assert (await peer.frame_of(GoAwayFrame)).last_stream_id == 3
            await peer.send(peer.headers(5, request("/t.T/Echo")))
            assert (await peer.frame_of(RstStreamFrame)).stream_id == 5
            await peer.send(peer.data(1, message(b"x"), end=True), peer.data(3, message(b"y"), end=True))
            assert len([f for f in await peer.frames_until_end() if isinstance(f, DataFrame)]) == 2


async def test_the_plugin_client_dials_again_for_a_new_call_to_a_server_that_goes_away(path):
    calls, reports, dialled = [], [], Counter()

    async def watch(client):
        with pytest.raises(PluginUnavailable, match="closed"):
            await client.list_and_watch(reports.append)
        reports.append("ended")

    class Policy(ListPolicy):
        def admit(self, peer):
            dialled["times"] += 1
            return True

        def leave(self, peer):
            dialled["left"] += 1

    async with open_server(path, [Plugin()]) as server, trio.open_nursery() as nursery:
        place = Place(path.parent, Path(path.name))
        async with connect_plugin(
            place, "v.com/r", deadlines=Deadlines(), on_call=calls.append, policy=Policy()
        ) as client:
            assert (await client.get_options()).pre_start_required
            nursery.start_soon(watch, client)
            await wait_all_tasks_blocked()
            (first,) = server._connections
            first.go_away()
            await wait_all_tasks_blocked()
            for _ in range(2):
                assert (await client.get_options()).pre_start_required
            assert dialled == {"times": 3, "left": 2}
            assert first.lost is None, "the stream goes on where it is"
            client.disconnect()
            await wait_all_tasks_blocked()
            with pytest.raises(PluginUnavailable) as caught:
                await client.get_options()
            assert caught.value.status == "UNAVAILABLE"
    assert [call.outcome for call in calls] == ["OK"] * 3 + ["UNAVAILABLE"]
    assert reports[3:] == ["ended"]
    assert dialled == {"times": 3, "left": 3}
