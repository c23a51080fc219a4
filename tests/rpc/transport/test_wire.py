"""What is sent, frame by frame and byte by byte, where it matters to a peer or to performance."""

from __future__ import annotations

import os
import socket

import pytest
import trio
from grpclib import GRPCError, Status
from h2.connection import H2Connection
from hyperframe.frame import (
    DataFrame,
    HeadersFrame,
    PingFrame,
    RstStreamFrame,
    SettingsFrame,
    WindowUpdateFrame,
)
from trio.testing import wait_all_tasks_blocked

from devicemgr.rpc.transport import connection as connection_module
from devicemgr.rpc.transport.channel import open_channel
from devicemgr.rpc.transport.limits import ConnectionLimits, PeerPolicy
from devicemgr.rpc.transport.server import open_server

from .made_up import ANSWERS, BOTH, REQUESTS, UNARY, Methods, Raw, Service, unary
from .raw_peer import ANSWER, PREFACE, RawPeer, greeted, message, raw_client, raw_server, request

SETTINGS = {
    SettingsFrame.HEADER_TABLE_SIZE: 2**12,
    SettingsFrame.ENABLE_PUSH: 0,
    SettingsFrame.MAX_CONCURRENT_STREAMS: 100,
    SettingsFrame.INITIAL_WINDOW_SIZE: 2**20,
    SettingsFrame.MAX_FRAME_SIZE: 2**14,
    SettingsFrame.MAX_HEADER_LIST_SIZE: 2**14,
    SettingsFrame.ENABLE_CONNECT_PROTOCOL: 0,
}


@pytest.fixture
def path(root_dir):
    return root_dir / "s.sock"


async def says_hello(peer):
    assert (await peer.frame_of(SettingsFrame)).settings == SETTINGS
    window = await peer.frame_of(WindowUpdateFrame)
    assert (window.stream_id, window.window_increment) == (0, 2**21 - 65535)


async def test_a_server_sends_its_settings_first(path):
    """Before the client has sent anything."""
    async with open_server(path, []), await trio.open_unix_socket(str(path)) as stream:
        with trio.fail_after(60):
            await says_hello(RawPeer(stream))


async def test_a_clients_first_bytes_are_its_settings_and_its_first_call(path):
    """In one write. The call is what Kubernetes' own client would send (API-10)."""
    async with raw_server(path) as listener, open_channel(path) as channel, trio.open_nursery() as nursery:
        sock, _ = await listener.accept()
        async with trio.SocketStream(sock) as stream:
            await wait_all_tasks_blocked()
            with pytest.raises(BlockingIOError):
                os.read(stream.socket.fileno(), 1)
            nursery.start_soon(unary, channel, "Echo", b"x")
            await wait_all_tasks_blocked()
            peer = RawPeer(stream)
            await peer.skip_preface()
            await says_hello(peer)
            headers = await peer.frame_of(HeadersFrame, 1)
            assert headers.decoded == [
                (":method", "POST"),
                (":scheme", "http"),
                (":path", "/t.T/Echo"),
                (":authority", "localhost"),
                ("te", "trailers"),
                ("content-type", "application/grpc"),
                ("user-agent", "devicemgr"),
            ]
            assert (await peer.frame_of(DataFrame, 1)).data == message(b"x")
            nursery.cancel_scope.cancel()


class Counted:
    """A socket that counts its writes."""

    def __init__(self, sock):
        self._sock = sock
        self.sizes = []

    def __getattr__(self, name):
        return getattr(self._sock, name)

    def send(self, data):
        self.sizes.append(self._sock.send(data))
        return self.sizes[-1]


async def test_a_call_is_one_write_and_so_is_its_answer(path):
    """Headers, message and status together: each write wakes the other process."""
    async with open_server(path, [Service(trio.Event)]) as server, open_channel(path) as channel:
        assert await unary(channel, "Echo", b"x") == b"x"
        await wait_all_tasks_blocked()
        (theirs,) = server._connections
        ends = [theirs, channel._connection]
        for end in ends:
            end._socket = Counted(end._socket)
        assert await unary(channel, "Echo", b"x") == b"x"
        assert [len(end._socket.sizes) for end in ends] == [1, 1]


async def test_each_message_of_a_stream_is_written_at_once(path):
    go_on = trio.Event()

    async def method(stream):
        await stream.recv_message()
        await stream.send_message(Raw(b"first"))
        await go_on.wait()

    async with open_server(path, [Methods(One=(ANSWERS, method))]), open_channel(path) as channel:
        async with channel.request("/t.T/One", ANSWERS, Raw, Raw) as stream:
            await stream.send_message(Raw())
            with trio.fail_after(60):
                assert (await stream.recv_message()).data == b"first"
            go_on.set()


async def test_bytes_to_be_sent_fill_the_buffer_and_the_window_and_no_more(path):
    """The peer takes 250 bytes, the buffer 100: the window is used up, and the buffer never exceeded."""
    limits = ConnectionLimits(outgoing=100)
    async with raw_server(path) as listener, open_channel(path, limits=limits) as channel:
        async with trio.open_nursery() as nursery:
            sock, _ = await listener.accept()
            async with trio.SocketStream(sock) as stream:
                peer = RawPeer(stream)
                await peer.send(peer.settings(INITIAL_WINDOW_SIZE=250))
                await wait_all_tasks_blocked()
                nursery.start_soon(unary, channel, "Echo", bytes(495))
                await wait_all_tasks_blocked()
                await peer.skip_preface()
                assert [len((await peer.frame_of(DataFrame, 1)).data) for _ in range(3)] == [100, 100, 50]
                for room, sizes in ((101, [100, 1]), (1, [1]), (148, [100, 48])):
                    await peer.send(peer.window(1, room), PingFrame(0))  # whatever comes behind the window
                    assert [len((await peer.frame_of(DataFrame, 1)).data) for _ in sizes] == sizes
                nursery.cancel_scope.cancel()


async def test_a_handler_that_answers_on_and_on_fills_no_more_than_the_buffer(path):
    """Also when a message is sent together with what follows it, as in the answer of a unary call."""

    async def method(stream):
        await stream.recv_message()
        for _ in range(9):
            await stream.send_message(Raw(bytes(995)))

    limits = ConnectionLimits(outgoing=2500)
    async with open_server(path, [Methods(On=(UNARY, method))], limits=limits) as server, raw_client(path) as peer:
        await peer.send(peer.headers(1, request("/t.T/On")))
        await wait_all_tasks_blocked()
        (ours,) = server._connections
        ours._socket = Counted(ours._socket)
        await peer.send(peer.data(1, message(b""), end=True))
        data = b""
        while len(data) < 9000:
            data += (await peer.frame_of(DataFrame, 1)).data
        assert data == message(bytes(995)) * 9
        assert max(ours._socket.sizes) < 2700, "and what the frames' heads take"


async def increments(peer, number, count):
    """The sizes of the next window updates of that stream, or of the connection."""
    return [(await peer.frame_of(WindowUpdateFrame, number)).window_increment for _ in range(count)]


SMALL = ConnectionLimits(stream_window=2**16, connection_window=2**17)
QUARTER = 2**14


def upload(peer, number, size):
    """A message that is so long on the wire, in frames of up to 16 kB."""
    data = message(bytes(size - 5))
    return [peer.data(number, data[at : at + 2**14]) for at in range(0, size, 2**14)]


@pytest.mark.parametrize("reads", ["before", "after"])
async def test_taken_bytes_are_acknowledged_exactly_at_a_quarter_of_a_window(path, reads):
    """A task that waits for a message takes its bytes as they arrive; otherwise they are taken when it is read."""
    read = trio.Event()

    async def method(stream):
        if reads == "after":
            await read.wait()
        await stream.recv_message()
        await trio.sleep_forever()

    async with open_server(path, [Methods(Up=(REQUESTS, method))], limits=SMALL, grace=0), raw_client(path) as peer:
        await peer.frame_of(WindowUpdateFrame, 0)  # the greeting
        await peer.send(*[peer.headers(number, request("/t.T/Up")) for number in (1, 3, 5)])
        await wait_all_tasks_blocked()
        await peer.send(*upload(peer, 1, QUARTER - 1))
        await wait_all_tasks_blocked()
        read.set()
        await wait_all_tasks_blocked()
        await peer.send(PingFrame(0))
        assert isinstance(await next_of_interest(peer), PingFrame), "one byte less is not worth a frame"
        await peer.send(*upload(peer, 3, QUARTER))
        assert await increments(peer, 3, 1) == [QUARTER]
        await peer.send(*upload(peer, 5, QUARTER))
        assert await increments(peer, 0, 1) == [3 * QUARTER - 1]


async def next_of_interest(peer):
    """The next frame that answers a ping or updates a window."""
    while True:
        frame = await peer.frame()
        if isinstance(frame, PingFrame | WindowUpdateFrame):
            return frame


async def test_untaken_bytes_are_acknowledged_exactly_when_their_call_has_ended(path):
    """Messages, padding, and the bytes of a refused call. A stream that has ended needs no window."""
    may_end = trio.Event()

    async def method(stream):
        await stream.recv_message()
        await may_end.wait()

    limits = ConnectionLimits(stream_window=2**16, connection_window=2**16, streams=1)
    async with open_server(path, [Methods(Up=(REQUESTS, method))], limits=limits, grace=0), raw_client(path) as peer:
        await peer.frame_of(WindowUpdateFrame, 0)  # the greeting
        await peer.send(
            peer.headers(1, request("/t.T/Up")),
            peer.data(1, message(b"") + message(bytes(4990))),  # one is taken, one is not
            DataFrame(1, data=bytes(89), pad_length=10, flags=["PADDED"]),
        )
        await wait_all_tasks_blocked()
        await peer.send(peer.headers(3, request("/t.T/Up")), peer.data(3, bytes(QUARTER - 5100)))
        assert (await peer.frame_of(RstStreamFrame, 3)).error_code == 7
        may_end.set()
        assert await increments(peer, 0, 1) == [QUARTER]


async def test_a_padded_message_is_acknowledged_with_its_padding(path):
    async def method(stream):
        await stream.recv_message()
        await trio.sleep_forever()

    async with open_server(path, [Methods(Up=(REQUESTS, method))], limits=SMALL, grace=0), raw_client(path) as peer:
        data = message(bytes(QUARTER - 5 - 200 - 1))
        await peer.send(
            peer.headers(1, request("/t.T/Up")),
            DataFrame(1, data=data[:10], pad_length=200, flags=["PADDED"]),  # and a byte for the length
            peer.data(1, data[10:]),
        )
        assert await increments(peer, 1, 1) == [QUARTER]


async def test_no_byte_is_acknowledged_twice(path):
    """Messages end within frames, so the beginning of the next one has arrived before a task waits for it."""

    async def method(stream):
        async for _ in stream:
            pass
        await trio.sleep_forever()

    async with open_server(path, [Methods(Up=(REQUESTS, method))], limits=SMALL, grace=0), raw_client(path) as peer:
        await peer.frame_of(WindowUpdateFrame, 0)
        await peer.send(peer.headers(1, request("/t.T/Up")))
        given = {0: 0, 1: 0}
        data = message(bytes(9995)) * 16
        for at in range(0, len(data), 16_000):
            await wait_all_tasks_blocked()
            await peer.send(peer.data(1, data[at : at + 16_000]), PingFrame(0))
            while isinstance(frame := await next_of_interest(peer), WindowUpdateFrame):
                given[frame.stream_id] += frame.window_increment
            for number, held_back in ((1, QUARTER), (0, 2 * QUARTER)):
                assert 0 <= at + 16_000 - given[number] < held_back + 16_000
        await peer.send(PingFrame(0))
        while isinstance(frame := await next_of_interest(peer), WindowUpdateFrame):
            given[frame.stream_id] += frame.window_increment
        assert 0 <= len(data) - given[1] < QUARTER
        assert 0 <= len(data) - given[0] < 2 * QUARTER


async def test_an_answer_that_comes_early_stops_the_request(path):
    """The peer gets a reset without an error (RFC 9113, 8.1), unless it has sent everything."""

    async def method(stream):
        await stream.recv_message()
        await stream.send_message(Raw(b"enough"))

    async with open_server(path, [Methods(Early=(REQUESTS, method))]), raw_client(path) as peer:
        await peer.send(peer.headers(1, request("/t.T/Early")), peer.data(1, message(b"")))
        assert (await peer.frame_of(DataFrame, 1)).data == message(b"enough")
        trailers = await peer.frame_of(HeadersFrame, 1)
        assert "END_STREAM" in trailers.flags
        assert (await peer.frame_of(RstStreamFrame)).error_code == 0
        await peer.send(peer.headers(3, request("/t.T/Early")), peer.data(3, message(b""), end=True))
        await wait_all_tasks_blocked()
        await peer.stream.send_eof()
        assert not [frame for frame in await peer.frames_until_end() if isinstance(frame, RstStreamFrame)]


async def test_a_client_does_not_answer_a_reset_with_a_reset(path):
    """RFC 9113, 5.4.2."""
    async with raw_server(path) as listener, open_channel(path) as channel, trio.open_nursery() as nursery:

        async def call():
            with pytest.raises(GRPCError):
                await unary(channel, "Echo")

        nursery.start_soon(call)
        async with greeted(listener) as peer:
            await peer.frame_of(DataFrame, 1)
            await peer.send(peer.reset(1))
            await wait_all_tasks_blocked()
            channel.close()
            assert not [frame for frame in await peer.frames_until_end() if isinstance(frame, RstStreamFrame)]


async def test_metadata_and_texts_pass_as_they_are(path):
    """Spaces around them, and a repeated name that HTTP may join: h2 changes nothing."""
    seen = []

    async def method(stream):
        seen.extend(stream.metadata.items())
        raise GRPCError(Status.ABORTED, "  why  ")

    async with open_server(path, [Methods(Fail=(UNARY, method))]), raw_client(path) as peer:
        cookies = [("cookie", "a=1"), ("cookie", "b=2"), ("spaced", " x ")]
        await peer.send(peer.headers(1, request("/t.T/Fail", *cookies), end=True))
        fields = dict((await peer.frame_of(HeadersFrame, 1)).decoded)
        assert fields["grpc-message"] == "  why  "
        assert seen == [*cookies]
    async with open_server(path, [Methods(Fail=(UNARY, method))]), open_channel(path) as channel:
        with pytest.raises(GRPCError) as caught:
            await unary(channel, "Fail", metadata={"spaced": " x "})
        assert caught.value.message == "  why  "
        assert seen[-1] == ("spaced", " x ")


# --- a socket that does odd things ---


class Odd(Counted):
    """Takes nothing when a test says so, though it was writable."""

    takes_nothing = 0

    def send(self, data):
        if self.takes_nothing:
            self.takes_nothing -= 1
            raise BlockingIOError
        return super().send(data)


async def test_a_socket_that_turns_out_not_to_be_writable_is_tried_again(path):
    async with open_server(path, [Service(trio.Event)]) as server, open_channel(path) as channel:
        assert await unary(channel, "Echo", b"x") == b"x"
        (theirs,) = server._connections
        theirs._socket = Odd(theirs._socket)
        theirs._socket.takes_nothing = 3
        with trio.fail_after(60):
            assert await unary(channel, "Echo", b"y") == b"y"
            assert await unary(channel, "Echo", b"z") == b"z"


async def test_a_broken_connection_is_reported_in_the_kernels_words(path):
    """A peer that exits with unread bytes resets the connection."""
    found = []

    async def call(channel):
        with pytest.raises(GRPCError) as caught:
            await unary(channel, "Echo")
        found.append((caught.value.status, caught.value.message))

    async with raw_server(path) as listener, open_channel(path) as channel, trio.open_nursery() as nursery:
        nursery.start_soon(call, channel)
        sock, _ = await listener.accept()
        await wait_all_tasks_blocked()
        sock.close()
        await wait_all_tasks_blocked()
    assert found == [(Status.UNAVAILABLE, "the connection was lost: [Errno 104] Connection reset by peer")]


async def test_a_librarys_error_about_nonsense_is_cut_at_200_characters(path, monkeypatch):
    reported = []

    class Policy(PeerPolicy):
        def unreadable(self, peer, problem):
            reported.append(problem)

    def raises(self, data):
        raise LookupError("x" * 1000)

    async with open_server(path, [], limits=ConnectionLimits(policy=Policy())), raw_client(path) as peer:
        await peer.frame_of(SettingsFrame)
        monkeypatch.setattr(H2Connection, "receive_data", raises)
        await peer.send(PingFrame(0))
        await peer.frames_until_end()
    assert reported == ["LookupError: " + "x" * 187]


@pytest.mark.parametrize(("exempt", "reads"), [(True, 1), (False, 1 + 86)])
async def test_the_first_read_of_a_peer_whose_time_counts_is_a_short_one(path, monkeypatch, exempt, reads):
    """What it has sent before it is accepted may take long. From an exempt peer everything is read at once."""
    sizes = []

    class Policy(PeerPolicy):
        quota_exempt = exempt

    def takes_long():
        takes_long.now += 1.0
        return takes_long.now

    receive = connection_module.Connection._receive

    def noted(self, data):
        sizes.append(len(data))
        receive(self, data)

    takes_long.now = 0.0
    monkeypatch.setattr(connection_module, "thread_time", takes_long)
    monkeypatch.setattr(connection_module.Connection, "_receive", noted)
    flood = PREFACE + SettingsFrame(0).serialize()
    flood += PingFrame(0, opaque_data=b"12345678", flags=["ACK"]).serialize() * 7082
    with socket.socket(socket.AF_UNIX) as sock:
        async with open_server(path, [], limits=ConnectionLimits(policy=Policy())) as server:
            sock.connect(str(path))
            sock.sendall(flood)
            while sum(sizes) < len(flood):
                await wait_all_tasks_blocked()
            assert server._connections
    assert len(sizes) == reads
    assert exempt or (sizes[0], max(sizes[1:])) == (2**15, 2**10)


# --- a call in its caller's hands ---


@pytest.mark.parametrize("what", ["send", "receive"])
async def test_a_loop_that_never_has_to_wait_can_be_cancelled(path, what):
    """There is room to send, and messages have arrived. Each step but the first is a checkpoint all the same."""
    async with open_server(path, [Service(trio.Event)]), open_channel(path) as channel:
        async with channel.request("/t.T/Each", BOTH, Raw, Raw) as stream:
            for _ in range(3):
                await stream.send_message(Raw(b"a"))
            await stream.recv_message()
            await wait_all_tasks_blocked()
            with trio.CancelScope() as scope:
                scope.cancel()
                await (stream.send_message(Raw(b"b")) if what == "send" else stream.recv_message())
            assert scope.cancelled_caught
            await stream.end()
            assert [answer.data async for answer in stream] == [b"A", b"A"]


async def test_a_call_that_was_cancelled_sends_nothing_more(path):
    """And that is no error for a task that still sends on it."""
    async with raw_server(path) as listener, open_channel(path) as channel:
        async with channel.request("/t.T/Each", BOTH, Raw, Raw) as stream:
            await stream.send_message(Raw(b"a"))
            await stream.cancel()
            await stream.send_message(Raw(b"b"))
            await stream.end()
        async with greeted(listener) as peer:
            assert (await peer.frame_of(DataFrame, 1)).data == message(b"a")
            assert (await peer.frame_of(RstStreamFrame, 1)).error_code == 8
            channel.close()
            assert not [frame for frame in await peer.frames_until_end() if isinstance(frame, DataFrame)]


async def test_receiving_before_anything_was_sent_is_a_bug(path):
    async with open_server(path, []), open_channel(path) as channel:
        async with channel.request("/t.T/Each", BOTH, Raw, Raw) as stream:
            with pytest.raises(AssertionError) as caught:
                await stream.recv_message()
    assert str(caught.value).splitlines()[0] == "nothing was sent"


async def test_metadata_is_none_before_it_arrives(path):
    seen = []

    async def method(stream):
        seen.append((stream.deadline, dict(stream.metadata)))
        await stream.send_message(await stream.recv_message())

    async with open_server(path, [Methods(Echo=(UNARY, method))]), open_channel(path) as channel:
        async with channel.request("/t.T/Echo", UNARY, Raw, Raw) as stream:
            assert (stream.initial_metadata, stream.trailing_metadata) == (None, None)
            assert channel.is_going_away is False
            await stream.send_message(Raw(b"x"))
            await stream.recv_message()
            assert (dict(stream.initial_metadata), stream.trailing_metadata) == ({}, None)
            await stream.recv_trailing_metadata()
            assert dict(stream.trailing_metadata) == {}
    assert seen == [(None, {})]


async def test_a_call_that_waits_for_its_turn_fails_when_the_server_goes_away(path):
    statuses = []

    async def call(channel):
        with pytest.raises(GRPCError) as caught:
            await unary(channel, "Echo")
        statuses.append((caught.value.status, caught.value.message))

    limits = ConnectionLimits(streams=1)
    async with raw_server(path) as listener, open_channel(path, limits=limits) as channel:
        async with trio.open_nursery() as nursery:
            nursery.start_soon(call, channel)
            async with greeted(listener) as peer:
                await peer.frame_of(DataFrame, 1)
                nursery.start_soon(call, channel)
                await wait_all_tasks_blocked()
                await peer.send(peer.goaway(1))
                await wait_all_tasks_blocked()
                assert statuses == [(Status.UNAVAILABLE, "the peer closed the connection to new calls (GOAWAY)")]
                await peer.send(peer.headers(1, [*ANSWER, ("grpc-status", "9")], end=True))
                await wait_all_tasks_blocked()
                assert statuses[1:] == [(Status.FAILED_PRECONDITION, None)]


async def test_what_is_received_is_not_formatted_for_a_log(path, monkeypatch):
    """h2 formats every frame for a log that nobody reads, and for a long list that takes a while."""

    def formatted(frame):
        raise AssertionError(frame.data)

    for kind in (DataFrame, HeadersFrame):
        monkeypatch.setattr(kind, "_body_repr", formatted)
    async with open_server(path, [Service(trio.Event)]), open_channel(path) as channel:
        assert await unary(channel, "Echo", b"x") == b"x"
