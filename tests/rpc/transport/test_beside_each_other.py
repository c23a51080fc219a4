"""How one stream, one call or a process that ends affects the other calls on its connection."""

from __future__ import annotations

import pytest
import trio
from grpclib import GRPCError, Status
from h2.errors import ErrorCodes
from hyperframe.frame import HeadersFrame
from trio.testing import wait_all_tasks_blocked

from devicemgr.model import Peer
from devicemgr.rpc.transport import connection as connection_module
from devicemgr.rpc.transport.channel import open_channel
from devicemgr.rpc.transport.limits import ConnectionLimits, PeerPolicy
from devicemgr.rpc.transport.server import ACCEPT_TIME, CALLER, Server, open_server

from .made_up import ANSWERS, UNARY, Methods, Raw, unary
from .raw_peer import greeted, raw_client, raw_server, request


@pytest.fixture
def path(root_dir):
    return root_dir / "s.sock"


async def flood(stream):
    await stream.recv_message()
    while True:
        await stream.send_message(Raw(bytes(50_000)))


@pytest.mark.parametrize("size", [1000, 30_000, 45_000, 60_000, 500_000])
async def test_an_unread_stream_does_not_block_other_calls(path, size):
    """Its window is half of the connection's; the other streams are acknowledged soon enough to go on."""

    async def answer(stream):
        await stream.recv_message()
        await stream.send_message(Raw(bytes(size)))

    service = Methods(Flood=(ANSWERS, flood), Answer=(UNARY, answer))
    async with open_server(path, [service], grace=0), open_channel(path) as channel:
        async with channel.request("/t.T/Flood", ANSWERS, Raw, Raw) as unread:
            await unread.send_message(Raw(), end=True)
            await unread.recv_message()
            for _ in range(5_000_000 // size if size > 10_000 else 200):
                with trio.fail_after(20):
                    async with channel.request("/t.T/Answer", UNARY, Raw, Raw) as call:
                        await call.send_message(Raw())
                        assert len((await call.recv_message()).data) == size


async def test_a_call_that_is_reset_in_the_same_read_is_ignored_when_there_are_too_many(path):
    """Both frames in one read: for h2 the stream is closed before its request is handled, and cannot be answered."""
    async with trio.open_nursery() as connections:
        async with trio.open_nursery() as handlers:
            server = Server(path, [Methods()], connections, handlers)
        connections.start_soon(server.serve)
        async with raw_client(path) as peer:
            for number in range(1, 20, 4):
                await peer.send(
                    peer.headers(number, request("/t.T/Any"), end=True),
                    peer.reset(number, ErrorCodes.CANCEL),
                    peer.headers(number + 2, request("/t.T/Any"), end=True),
                )
                frame = await peer.frame_of(HeadersFrame, number + 2)
                fields = dict(frame.decoded)
                assert (fields["grpc-status"], fields["grpc-message"]) == ("14", "the server is shutting down")
        connections.cancel_scope.cancel()


async def test_a_cancelled_call_makes_room_for_the_next(path):
    """However long its handler takes to end."""
    may_end = trio.Event()

    async def slow_to_end(stream):
        await stream.recv_message()
        try:
            await trio.sleep_forever()
        finally:
            with trio.CancelScope(shield=True):
                await may_end.wait()

    async def answer(stream):
        await stream.recv_message()
        await stream.send_message(Raw(b"here"))

    service = Methods(Slow=(UNARY, slow_to_end), Answer=(UNARY, answer))
    async with open_server(path, [service], limits=ConnectionLimits(streams=1), grace=0), open_channel(path) as channel:
        async with channel.request("/t.T/Slow", UNARY, Raw, Raw) as call:
            await call.send_message(Raw())
            await wait_all_tasks_blocked()
            await call.cancel()
        async with channel.request("/t.T/Answer", UNARY, Raw, Raw) as call:
            await call.send_message(Raw())
            assert (await call.recv_message()).data == b"here"
        may_end.set()


async def test_a_bug_in_a_policy_is_not_blamed_on_the_peer(path):
    class Full(PeerPolicy):
        async def begin_call(self, peer, method):
            raise OSError(28, "no space left on device")

    with pytest.raises(OSError, match="no space"):
        async with open_server(path, [Methods(Any=(UNARY, flood))], limits=ConnectionLimits(policy=Full()), grace=0):
            async with raw_client(path) as peer:
                await peer.send(peer.headers(1, request("/t.T/Any"), end=True))
                await trio.sleep_forever()


async def test_bytes_of_a_process_that_has_ended_are_not_read_while_it_owes_time(path, autojump_clock, monkeypatch):
    charged = []

    class Owing(PeerPolicy):
        quota_exempt = False

        def pause(self, peer: Peer) -> float:
            return 1.0

        def charge(self, peer: Peer, seconds: float) -> None:
            charged.append(seconds)

    monkeypatch.setattr(connection_module, "has_exited", lambda peer: True)
    async with open_server(path, [Methods()], limits=ConnectionLimits(policy=Owing())) as server, raw_client(path):
        await wait_all_tasks_blocked()
        await trio.sleep(3)
        assert not server._connections
        assert charged == [ACCEPT_TIME]


async def test_a_call_to_a_process_that_has_ended_and_owes_time_fails(path, monkeypatch):
    class Owing(PeerPolicy):
        def pause(self, peer: Peer) -> float:
            return 0.1

    found = []

    async def call(channel):
        with pytest.raises(GRPCError) as caught:
            await unary(channel, "Any")
        found.append((caught.value.status, caught.value.message))

    async with raw_server(path) as listener, open_channel(path, limits=ConnectionLimits(policy=Owing())) as channel:
        async with trio.open_nursery() as nursery:
            nursery.start_soon(call, channel)
            async with greeted(listener) as peer:
                await peer.frame_of(HeadersFrame, 1)
                monkeypatch.setattr(connection_module, "has_exited", lambda peer: True)
                await peer.frames_until_end()
    assert found == [(Status.UNAVAILABLE, "the peer's process has ended")]


async def test_a_handler_knows_whose_call_it_answers(path):
    """And no other task does."""
    callers = []

    async def method(stream):
        callers.append((CALLER.get(), stream.peer))
        await stream.send_message(await stream.recv_message())

    async with open_server(path, [Methods(Who=(UNARY, method))]), open_channel(path) as channel:
        await unary(channel, "Who")
        assert callers == [(channel.peer, channel.peer)]
        assert CALLER.get() is None


async def test_an_answer_that_comes_before_the_request_is_sent_ends_the_call(path):
    """The server reads no more of the request. Its status counts, and sending does not wait for a window."""
    refusal = [(":status", "200"), ("content-type", "application/grpc"), ("grpc-status", "13"), ("grpc-message", "no")]
    statuses = []

    async def call(channel):
        with pytest.raises(GRPCError, match="no") as caught:
            async with channel.request("/t.T/Any", UNARY, Raw, Raw) as stream:
                await stream.send_message(Raw(bytes(200_000)))
                await stream.recv_message()
        statuses.append(caught.value.status)

    async with raw_server(path) as listener, open_channel(path) as channel, trio.open_nursery() as nursery:
        nursery.start_soon(call, channel)
        async with greeted(listener) as peer:
            await peer.frame_of(HeadersFrame, 1)
            await peer.send(peer.headers(1, refusal, end=True))
            await wait_all_tasks_blocked()
            assert statuses == [Status.INTERNAL]
