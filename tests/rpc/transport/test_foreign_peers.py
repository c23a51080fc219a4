"""Peers that are not ours, and that keep the rules of HTTP/2, or almost, or not."""

from __future__ import annotations

import itertools
import os
import socket

import pytest
import trio
from grpclib import GRPCError, Status
from grpclib.const import Cardinality
from grpclib.metadata import decode_grpc_message
from h2.errors import ErrorCodes
from hyperframe.frame import DataFrame, GoAwayFrame, HeadersFrame, PingFrame, RstStreamFrame, WindowUpdateFrame
from trio.testing import wait_all_tasks_blocked

from devicemgr.model import Peer
from devicemgr.rpc.transport import connection
from devicemgr.rpc.transport.channel import open_channel
from devicemgr.rpc.transport.limits import ConnectionLimits, PeerPolicy
from devicemgr.rpc.transport.server import open_server
from tests.rpc.transport.made_up import ANSWERS, ODD_TEXT, REQUESTS, UNARY, Methods, Raw, Service, unary
from tests.rpc.transport.raw_peer import ANSWER, RawPeer, greeted, message, raw_client, raw_server, request


@pytest.fixture
def path(root_dir):
    return root_dir / "s.sock"


@pytest.fixture
async def service(path):
    service = Service(trio.Event)
    async with open_server(path, [service], grace=0) as service.server:
        yield service


async def the_answer_to(path, *frames_of):
    """What a client of ours returns for these frames: the answer, or the status."""
    found = await the_outcome_of(path, *frames_of)
    return found.status if isinstance(found, GRPCError) else found


async def the_outcome_of(path, *frames_of):
    """The same, with the whole error."""
    found = []

    async def call(channel):
        try:
            found.append(await unary(channel, "Echo"))
        except GRPCError as error:
            found.append(error)

    async with raw_server(path) as listener, open_channel(path) as channel, trio.open_nursery() as nursery:
        nursery.start_soon(call, channel)
        async with greeted(listener) as peer:
            await peer.frame_of(DataFrame)
            await peer.send(*[make(peer) for make in frames_of])
            await wait_all_tasks_blocked()
            nursery.cancel_scope.cancel()
    return found[0] if found else None


OK = [("grpc-status", "0")]


@pytest.mark.parametrize(
    ("headers", "status"),
    [
        ([(":status", "404"), ("content-type", "text/html")], Status.UNIMPLEMENTED),
        ([(":status", "503")], Status.UNAVAILABLE),
        ([(":status", "401")], Status.UNAUTHENTICATED),
        ([(":status", "418")], Status.UNKNOWN),
        ([(":status", "200"), ("content-type", "text/html")], Status.UNKNOWN),
        ([(":status", "200")], Status.UNKNOWN),
        (ANSWER, Status.UNKNOWN),
        ([*ANSWER, ("grpc-status", "5")], Status.NOT_FOUND),
        ([*ANSWER, ("grpc-status", "17")], Status.UNKNOWN),
        ([*ANSWER, ("grpc-status", "x" * 5000)], Status.UNKNOWN),
        ([*ANSWER, ("grpc-status", "9" * 5000)], Status.UNKNOWN),
        ([*ANSWER, ("grpc-status", "-1")], Status.UNKNOWN),
        ([*ANSWER, ("grpc-status", "5"), ("a-bin", "A")], Status.INTERNAL),
        ([*ANSWER, ("grpc-status", "5"), ("grpc-message", "%FF%")], Status.NOT_FOUND),
    ],
)
async def test_answers_of_headers_only(path, headers, status):
    assert await the_answer_to(path, lambda peer: peer.headers(1, headers, end=True)) is status


def answered(*data, end=OK):
    """Frames of an answer with these bytes."""
    return (
        lambda peer: peer.headers(1, ANSWER),
        *(lambda peer, one=one: peer.data(1, one) for one in data),
        lambda peer: peer.headers(1, end, end=True),
    )


def headers_only(*headers):
    return (lambda peer: peer.headers(1, headers, end=True),)


UNREADABLE, INTERIM = "what the peer sent cannot be read: ", "informational responses"


@pytest.mark.parametrize(
    ("frames", "status", "text"),
    [
        (headers_only((":status", "400")), Status.INTERNAL, "HTTP status 400"),
        (headers_only((":status", "401")), Status.UNAUTHENTICATED, "HTTP status 401"),
        (headers_only((":status", "403")), Status.PERMISSION_DENIED, "HTTP status 403"),
        (headers_only((":status", "404")), Status.UNIMPLEMENTED, "HTTP status 404"),
        (headers_only((":status", "418")), Status.UNKNOWN, "HTTP status 418"),
        *((headers_only((":status", n)), Status.UNAVAILABLE, f"HTTP status {n}") for n in ("429", "502", "503", "504")),
        (
            headers_only((":status", "200"), ("content-type", "text/html")),
            Status.UNKNOWN,
            "the answer is no gRPC: content-type text/html",
        ),
        (headers_only((":status", "200")), Status.UNKNOWN, "the answer is no gRPC: content-type None"),
        (headers_only(*ANSWER), Status.UNKNOWN, "the call ended without a status"),
        (headers_only(*ANSWER, ("grpc-status", "17")), Status.UNKNOWN, "there is no status '17'"),
        (headers_only(*ANSWER, ("grpc-status", "x" * 60)), Status.UNKNOWN, f"there is no status '{'x' * 50}'"),
        (headers_only(*ANSWER, ("grpc-status", "5")), Status.NOT_FOUND, None),
        (headers_only(*ANSWER, ("grpc-status", "5"), ("grpc-message", "no%20")), Status.NOT_FOUND, "no "),
        (headers_only(*ANSWER, ("grpc-status", "0")), Status.INTERNAL, "the answer has no message"),
        (answered(), Status.INTERNAL, "the answer has no message"),
        (answered(message(b"abc")[:-1]), Status.INTERNAL, "the stream ended inside a message"),
        (answered(b"\0"), Status.INTERNAL, "the stream ended inside a message"),
        (answered(message(b"a"), message(b"b")), Status.INTERNAL, "the answer has more than one message"),
        (answered(message(b"a"), end=[("grpc-status", "8")]), Status.RESOURCE_EXHAUSTED, None),
        (answered(b"\x01" + bytes(4)), Status.UNIMPLEMENTED, "compressed messages are not supported"),
        ((lambda peer: peer.reset(1, 8),), Status.CANCELLED, "the peer ended the call"),
        ((lambda peer: peer.reset(1, 2),), Status.INTERNAL, "the peer ended the call"),
        *(
            ((lambda peer, make=make: make(peer),), Status.UNAVAILABLE, f"{UNREADABLE}ProtocolError: {problem}")
            for make, problem in (
                (lambda peer: peer.data(1, b"", end=True), "cannot receive data before headers"),
                (lambda peer: peer.headers(1, [(":status", "103")], end=True), f"Cannot set END_STREAM on {INTERIM}"),
            )
        ),
        (
            (lambda peer: peer.goaway(0),),
            Status.UNAVAILABLE,
            "the peer closed the connection to new calls (GOAWAY)",
        ),
    ],
)
async def test_a_malformed_answer_is_explained_to_the_caller(path, frames, status, text):
    error = await the_outcome_of(path, *frames)
    assert (error.status, error.message) == (status, text)


@pytest.mark.parametrize("at_end", [False, True])
async def test_metadata_that_cannot_be_decoded_is_explained_to_the_caller(path, at_end):
    odd = ("a-bin", "A")
    frames = answered(message(b"a"), end=[*OK, odd]) if at_end else headers_only(*ANSWER, *OK, odd)
    error = await the_outcome_of(path, *frames)
    assert error.status is Status.INTERNAL
    assert error.message.startswith("malformed metadata: ")


@pytest.mark.parametrize(
    ("headers", "data", "status", "text"),
    [
        ([(":method", "POST"), (":path", "/t.T/Echo")], b"", 13, "this is no gRPC request"),
        (request("")[:2] + request("")[3:], b"", 12, "unknown service ; there is t.T"),
        (request("/t.T/Echo"), b"", 13, "the request has no message"),
        (request("/t.T/Echo"), message(b"abc")[:-1], 13, "the stream ended inside a message"),
        (request("/t.T/Join"), message(b"a") + b"\0", 13, "the stream ended inside a message"),
        (request("/t.T/Echo"), b"\x01" + bytes(4), 12, "compressed messages are not supported"),
        (request("/t.T/No"), b"", 12, "unknown method No for service t.T"),
        (request("/u.T/Echo"), b"", 12, "unknown service u.T; there is t.T"),
        (request("/a/b/c"), b"", 12, "unknown service a/b; there is t.T"),
        (request("t.T/No"), b"", 12, "unknown method No for service t.T"),
        (request("/t.T/Echo", ("grpc-timeout", "soon")), b"", 13, "malformed headers: Invalid timeout: soon"),
        (request("/t.T/Hang", ("grpc-timeout", "1m")), message(b""), 4, "the call's deadline has passed"),
        (request("/t.T/Fail"), message(b""), 5, ODD_TEXT),
    ],
)
async def test_a_malformed_request_is_explained_to_the_client(path, service, headers, data, status, text):
    async with raw_client(path) as peer:
        await peer.send(peer.headers(1, headers), peer.data(1, data, end=True))
        frame = await peer.frame_of(HeadersFrame)
        while "grpc-status" not in dict(frame.decoded):
            frame = await peer.frame_of(HeadersFrame)
        fields = dict(frame.decoded)
        assert (fields["grpc-status"], decode_grpc_message(fields["grpc-message"])) == (str(status), text)
        assert fields.get(":status", "200") == "200"
        assert fields.get("content-type", "application/grpc") == "application/grpc"


async def test_an_answer_of_pieces(path):
    """A message in frames of one byte, and padded, with an interim answer before it."""
    data = message(b"abc")
    pieces = [lambda peer, byte=byte: peer.data(1, bytes([byte])) for byte in data]
    assert (
        await the_answer_to(
            path,
            lambda peer: peer.headers(1, [(":status", "103")]),
            lambda peer: peer.headers(1, ANSWER),
            lambda peer: PingFrame(0),
            *pieces,
            lambda peer: DataFrame(1, pad_length=9, flags=["PADDED"]),
            lambda peer: peer.headers(1, OK, end=True),
        )
        == b"abc"
    )


NONSENSE = [WindowUpdateFrame(0, window_increment=1).serialize()[:-4] + bytes(4), b"\xff" * 9, b"\0\0\4\7" + bytes(9)]
"""A window that grows by nothing, a frame that is too long, and a GOAWAY that is too short."""


class Bytes:
    def __init__(self, data):
        self.data = data

    def serialize(self):
        return self.data


@pytest.mark.parametrize("nonsense", NONSENSE)
async def test_an_answer_counts_though_nonsense_follows_in_the_same_read(path, nonsense):
    assert (
        await the_answer_to(
            path,
            lambda peer: peer.headers(1, ANSWER),
            lambda peer: peer.data(1, message(b"abc")),
            lambda peer: peer.headers(1, OK, end=True),
            lambda peer: Bytes(nonsense),
        )
        == b"abc"
    )


@pytest.mark.parametrize("nonsense", NONSENSE)
async def test_a_message_of_a_stream_counts_though_nonsense_follows_in_the_same_read(path, nonsense):
    found = []

    async def read(channel):
        with pytest.raises(GRPCError, match="cannot be read"):
            async with channel.request("/t.T/Numbers", Cardinality.UNARY_STREAM, Raw, Raw) as call:
                await call.send_message(Raw(b""), end=True)
                async for answer in call:
                    found.append(answer.data)

    async with raw_server(path) as listener, open_channel(path) as channel, trio.open_nursery() as nursery:
        nursery.start_soon(read, channel)
        async with greeted(listener) as peer:
            await peer.frame_of(DataFrame)
            await peer.send(peer.headers(1, ANSWER), peer.data(1, message(b"a") + message(b"b")), Bytes(nonsense))
    assert found == [b"a", b"b"]


@pytest.mark.parametrize(
    ("data", "status"),
    [
        (b"\x01\0\0\0\x01x", Status.UNIMPLEMENTED),  # compressed
        (b"\x01\0\0\0\xffx", Status.UNIMPLEMENTED),  # and not even complete
        (b"\0\xff\xff\xff\xff", Status.RESOURCE_EXHAUSTED),
        (b"\0\0\0\0\x05abc", Status.INTERNAL),
        (b"\0\0", Status.INTERNAL),
        (b"", Status.INTERNAL),
    ],
)
async def test_malformed_messages(path, data, status):
    frames = [
        lambda peer: peer.headers(1, ANSWER),
        lambda peer: peer.data(1, data),
        lambda peer: peer.headers(1, OK, end=True),
    ]
    assert await the_answer_to(path, *frames) is status


@pytest.mark.parametrize("size", [0, 4, 7])
async def test_a_goaway_too_short_ends_the_connection(path, size):
    class Short(PingFrame):
        def serialize(self):
            return size.to_bytes(3, "big") + b"\x07\0\0\0\0\0" + bytes(size)

    assert await the_answer_to(path, lambda peer: Short(0)) is Status.UNAVAILABLE


async def test_a_window_that_opens_late(path):
    """None at first; a part of the message for each update; and by new settings, which may also close it again."""
    async with raw_server(path) as listener, open_channel(path) as channel, trio.open_nursery() as nursery:
        nursery.start_soon(unary, channel, "Echo", bytes(100))
        sock, _ = await listener.accept()
        async with trio.SocketStream(sock) as stream:
            peer = RawPeer(stream)
            await peer.skip_preface()
            await peer.frame_of(DataFrame)  # sent before our settings have come
            await peer.send(peer.settings(INITIAL_WINDOW_SIZE=0))
            await wait_all_tasks_blocked()
            nursery.start_soon(unary, channel, "Echo", bytes(100))
            await peer.frame_of(HeadersFrame, 3)
            await wait_all_tasks_blocked()
            await peer.send(peer.window(3, 10))
            assert len((await peer.frame_of(DataFrame, 3)).data) == 10
            await peer.send(peer.settings(INITIAL_WINDOW_SIZE=50))
            assert len((await peer.frame_of(DataFrame, 3)).data) == 50
            await peer.send(peer.settings(INITIAL_WINDOW_SIZE=0))
            await peer.send(peer.window(3, 49))  # not more than is owed
            await wait_all_tasks_blocked()
            await peer.send(peer.window(3, 46))
            last = await peer.frame_of(DataFrame, 3)
            assert len(last.data) == 45
            assert "END_STREAM" in last.flags
            nursery.cancel_scope.cancel()


async def test_padding_is_acknowledged(path, service):
    """It uses up the windows, though it is never read."""
    async with raw_client(path) as peer:
        await peer.send(peer.headers(1, request("/t.T/Hang")), peer.data(1, message(b"")))
        padding = DataFrame(1, data=b"", pad_length=255, flags=["PADDED"])
        for _ in range(30):
            await peer.send(*[padding] * 100)
        assert (await peer.frame_of(WindowUpdateFrame, 1)).window_increment >= 2**18


async def test_unread_bytes_of_cancelled_calls_are_acknowledged(path, service):
    async with open_channel(path) as channel:
        for number in range(100):
            async with channel.request("/t.T/CountAndHang", ANSWERS, Raw, Raw) as stream:
                await stream.send_message(Raw(b"2 50000"))
                if number % 2:
                    await stream.recv_message()
                await wait_all_tasks_blocked()
        assert await unary(channel, "Echo", bytes(10**6)) == bytes(10**6)


async def test_unread_bytes_of_requests_are_acknowledged(path):
    async def answers_at_once(stream):
        await trio.lowlevel.checkpoint()
        await stream.send_message(Raw())

    async with open_server(path, [Methods(Early=(REQUESTS, answers_at_once))]), open_channel(path) as channel:
        for _ in range(100):
            async with channel.request("/t.T/Early", REQUESTS, Raw, Raw) as stream:
                for _ in range(3):
                    await stream.send_message(Raw(bytes(50_000)))
                await stream.recv_message()


async def test_a_peer_that_writes_and_does_not_read_is_not_read_either(path, service):
    limits = ConnectionLimits()
    async with raw_client(path) as peer:
        await wait_all_tasks_blocked()
        (connection,) = service.server._connections
        connection._socket.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, 4096)
        pings, blocked = PingFrame(0, opaque_data=b"12345678").serialize() * 1000, 0
        while blocked < 2:
            try:
                os.write(peer.stream.socket.fileno(), pings)
                blocked = 0
            except BlockingIOError:
                blocked += 1
            await wait_all_tasks_blocked()
        assert 4 * limits.outgoing <= len(connection._outgoing) <= 4 * limits.outgoing + 2**18
    await wait_all_tasks_blocked()
    assert not service.server._connections, "and when it is gone, that is noticed"


async def test_a_client_that_goes_away_may_end_its_calls(path, service):
    async with raw_client(path) as peer:
        await peer.send(peer.headers(1, request("/t.T/Echo")), peer.goaway(0), peer.headers(3, request("/t.T/Echo")))
        assert (await peer.frame_of(RstStreamFrame)).stream_id == 3
        await peer.send(peer.data(1, message(b"x"), end=True))
        assert (await peer.frame_of(DataFrame)).data == message(b"x")


@pytest.mark.parametrize(
    "headers",
    [
        [(":method", "GET"), (":path", "/t.T/Echo"), ("content-type", "application/grpc")],
        [(":method", "POST"), (":path", "/t.T/Echo"), ("content-type", "text/html")],
        [(":method", "POST"), (":path", "/t.T/Echo")],
        [("x", "y")],
        [],
        request("/t.T/Echo", ("a-bin", "A")),
        request("/t.T/Echo", ("a-bin", "é")),
    ],
)
async def test_malformed_requests_are_answered(path, service, headers):
    async with raw_client(path) as peer:
        await peer.send(peer.headers(1, headers, end=True))
        assert dict((await peer.frame_of(HeadersFrame)).decoded)["grpc-status"] == str(Status.INTERNAL.value)
        await peer.send(peer.headers(3, request("/t.T/Echo")), peer.data(3, message(b"x"), end=True))
        assert (await peer.frame_of(DataFrame, 3)).data == message(b"x")


async def test_a_call_of_ours_has_the_authority_localhost(path):
    """API-10."""
    async with raw_server(path) as listener, open_channel(path) as channel, trio.open_nursery() as nursery:
        nursery.start_soon(unary, channel, "Echo")
        async with greeted(listener) as peer:
            assert dict((await peer.frame_of(HeadersFrame)).decoded)[":authority"] == "localhost"
            nursery.cancel_scope.cancel()


async def test_the_path_of_the_socket_is_an_authority_too(path, service):
    """API-10: so the kubelet's watcher calls."""
    authority = str(path).replace("/", "%2F")
    headers = [(name, authority if name == ":authority" else value) for name, value in request("/t.T/Echo")]
    async with raw_client(path) as peer:
        await peer.send(peer.headers(1, headers), peer.data(1, message(b"x"), end=True))
        assert (await peer.frame_of(DataFrame)).data == message(b"x")


@pytest.mark.parametrize("data", [b"", message(b"whole")[:-1], message(b"one") + message(b"two")[:-1]])
async def test_requests_without_a_whole_message_are_answered(path, service, data):
    async with raw_client(path) as peer:
        await peer.send(peer.headers(1, request("/t.T/Join")), peer.data(1, data, end=True))
        status = str((Status.INTERNAL if data else Status.OK).value)
        frame = await peer.frame_of(HeadersFrame)
        while "grpc-status" not in dict(frame.decoded):
            frame = await peer.frame_of(HeadersFrame)
        assert dict(frame.decoded)["grpc-status"] == status


async def test_many_streams_that_are_reset_at_once_run_as_few_handlers_as_the_limit_says(path):
    """ "Rapid reset": a handler that is being cancelled still counts."""
    running, most = 0, 0
    stop = trio.Event()

    async def method(stream):
        nonlocal running, most
        running += 1
        most = max(most, running)
        try:
            await trio.sleep_forever()
        finally:
            with trio.CancelScope(shield=True):
                await stop.wait()
            running -= 1

    async with open_server(path, [Methods(Slow=(UNARY, method))], limits=ConnectionLimits(streams=10), grace=0):
        async with raw_client(path) as peer:
            for number in range(1, 400, 2):
                await peer.send(peer.headers(number, request("/t.T/Slow")))
                await wait_all_tasks_blocked()
                await peer.send(peer.reset(number))
            await wait_all_tasks_blocked()
            assert 10 <= most <= 20, "as many as there may be, and as many again that are ending"
            stop.set()
            await wait_all_tasks_blocked()
            assert running == 0
            await peer.send(peer.headers(401, request("/t.T/Slow")))
            await wait_all_tasks_blocked()
            assert running == 1, "and when they have ended, there is room again"


async def test_a_stream_that_is_reset_in_the_same_read_is_never_begun(path):
    begun = []

    async def method(stream):
        begun.append(stream)

    async with open_server(path, [Methods(Slow=(UNARY, method))], grace=0), raw_client(path) as peer:
        for number in range(1, 100, 2):
            await peer.send(peer.headers(number, request("/t.T/Slow")), peer.reset(number))
        await wait_all_tasks_blocked()
        assert begun == []


@pytest.mark.parametrize("where", ["initial", "trailing"])
async def test_metadata_of_ours_that_cannot_be_sent_is_a_bug_and_answered(path, where):
    async def method(stream):
        if where == "initial":
            await stream.send_initial_metadata(metadata={"no such key": "x"})
        await stream.send_trailing_metadata(metadata={"no such key": "x"})

    async with trio.open_nursery() as nursery:

        async def call(task_status):
            async with open_channel(path) as channel:
                task_status.started()
                with pytest.raises(GRPCError) as caught:
                    await unary(channel, "Bad")
                assert caught.value.status is Status.INTERNAL

        with pytest.raises(ValueError, match="Invalid metadata key"):
            async with open_server(path, [Methods(Bad=(UNARY, method))]):
                await nursery.start(call)
                await trio.sleep_forever()


async def test_a_handler_may_cancel_its_call(path):
    async def method(stream):
        await stream.cancel()

    async with open_server(path, [Methods(Cancel=(UNARY, method))]), open_channel(path) as channel:
        with pytest.raises(GRPCError) as caught:
            await unary(channel, "Cancel")
        assert caught.value.status is Status.CANCELLED


BAD_SETTINGS = b"\0\0\x01\x04\0\0\0\0\x00\0"  # of one byte
LONG_FRAME = (2**14 + 1).to_bytes(3) + bytes(6)


@pytest.mark.parametrize("nonsense", [BAD_SETTINGS, LONG_FRAME])
async def test_nonsense_is_answered_with_a_goaway(path, service, nonsense):
    async with raw_client(path) as peer:
        await peer.send(peer.headers(1, request("/t.T/Hang"), end=True))
        await wait_all_tasks_blocked()  # in the same read the request would not be begun
        await peer.stream.send_all(nonsense)
        frames = await peer.frames_until_end()
        goaways = [(frame.error_code, frame.last_stream_id) for frame in frames if isinstance(frame, GoAwayFrame)]
        assert goaways == [(6, 1)]  # FRAME_SIZE_ERROR


@pytest.mark.parametrize(
    ("nonsense", "problem"),
    [
        (LONG_FRAME, "FrameTooLong: a frame of 16385 bytes; 16384 are the limit"),
        (BAD_SETTINGS, "FrameDataMissingError: "),
    ],
)
async def test_what_cannot_be_read_is_reported_to_caller_and_policy(path, nonsense, problem):
    """The caller by its status, and the policy, which tells the log: the kind of the error, and its first words."""
    reported = []

    class Policy(PeerPolicy):
        def unreadable(self, peer, problem):
            reported.append((peer.pid, problem))

    async def call(channel):
        with pytest.raises(GRPCError) as caught:
            await unary(channel, "Echo")
        reported.append((caught.value.status, caught.value.message))

    limits = ConnectionLimits(policy=Policy())
    async with raw_server(path) as listener, open_channel(path, limits=limits) as channel:
        async with trio.open_nursery() as nursery:
            nursery.start_soon(call, channel)
            async with greeted(listener) as peer:
                await peer.frame_of(DataFrame)
                await peer.stream.send_all(nonsense)
                await wait_all_tasks_blocked()
                (pid, for_the_log), (status, for_the_caller) = reported
                assert (pid, status) == (os.getpid(), Status.UNAVAILABLE)
                assert for_the_log.startswith(problem)
                assert for_the_caller == f"what the peer sent cannot be read: {for_the_log}"
                with pytest.raises(GRPCError, match="cannot be read") as caught:
                    await unary(channel, "Echo")
                assert caught.value.status is Status.UNAVAILABLE, "the connection is lost for later calls as well"


async def test_a_server_sends_goaway_once_with_a_reason(path, service):
    async with raw_client(path) as peer:
        await peer.send(peer.headers(1, request("/t.T/Hang"), end=True))
        await wait_all_tasks_blocked()
        (ours,) = service.server._connections
        ours.go_away(ErrorCodes.ENHANCE_YOUR_CALM)
        ours.go_away()
        ours.close()
        ours.go_away()
        goaways = [frame for frame in await peer.frames_until_end() if isinstance(frame, GoAwayFrame)]
        assert [(frame.error_code, frame.last_stream_id) for frame in goaways] == [(11, 1)]


@pytest.mark.parametrize(("seconds", "fewest", "most"), [(0.0, 1, 20), (1.0, 80, 150)])
async def test_the_longer_a_read_takes_the_shorter_is_the_next_one(path, monkeypatch, seconds, fewest, most):
    """A flood of small frames takes the time of others, and one read is not interrupted."""
    charged = []

    class Policy(PeerPolicy):
        quota_exempt = False

        def charge(self, peer, seconds):
            charged.append(seconds)

    now = itertools.count()
    monkeypatch.setattr(connection, "thread_time", lambda: next(now) * seconds)
    async with (
        open_server(path, [Service(trio.Event)], limits=ConnectionLimits(policy=Policy())),
        raw_client(path) as peer,
    ):
        flood = PingFrame(0, opaque_data=b"12345678", flags=["ACK"])
        before = len(charged)
        await peer.send(*[flood] * 7000)  # 119,000 bytes
        await peer.send(peer.headers(1, request("/t.T/Echo")), peer.data(1, message(b"x"), end=True))
        assert (await peer.frame_of(DataFrame)).data == message(b"x")
    assert fewest <= len(charged) - before <= most


@pytest.mark.parametrize(
    ("seconds", "received", "size"),
    [
        (0.0, 1, connection.MAX_READ),
        (connection.READ_TIME, 50_000, 50_000),
        (connection.READ_TIME / 2, 50_000, 100_000),
        (1.0, 50_000, connection.MIN_READ),
        (1e-9, 50_000, connection.MAX_READ),
    ],
)
def test_the_length_of_a_read_follows_from_the_last_one(seconds, received, size):
    """At so many seconds for each byte, a read may take READ_TIME in all."""
    charged = []

    class Policy(PeerPolicy):
        def charge(self, peer, seconds):
            charged.append((peer, seconds))

    ours, theirs = socket.socketpair()
    with ours, theirs:
        peer = Peer(pid=8, uid=5, gids=frozenset())
        one = connection.Connection(ours, peer, ConnectionLimits(policy=Policy()))
        assert one._charge(seconds, received) == pytest.approx(size, abs=1)
        assert charged == [(peer, seconds)]
