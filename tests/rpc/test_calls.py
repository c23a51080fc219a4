"""Making calls: reading streams, translating failures, and dialling."""

from __future__ import annotations

import errno
import tempfile
from pathlib import Path

import pytest
import trio
from grpclib import GRPCError, Status
from hypothesis import given, settings
from hypothesis import strategies as st
from trio.testing import MockClock, wait_all_tasks_blocked

from devicemgr.errors import PluginUnavailable, RpcFailed
from devicemgr.model import Peer
from devicemgr.rpc import calls
from devicemgr.rpc.calls import call, dial, read_stream, translate_grpc_errors
from devicemgr.rpc.deviceplugin.client import PluginClient, connect_plugin
from devicemgr.rpc.deviceplugin.list_policy import ListPolicy
from devicemgr.rpc.deviceplugin.methods import Deadlines
from devicemgr.rpc.stubs import v1beta1 as wire
from devicemgr.rpc.transport import unix_socket
from devicemgr.rpc.transport.channel import open_channel
from devicemgr.rpc.transport.limits import ConnectionLimits, PeerPolicy
from devicemgr.rpc.transport.server import open_server
from devicemgr.rpc.transport.unix_socket import Place, connect, listen
from tests.rpc.transport.made_up import ANSWERS, Methods, Raw

SMALL = ConnectionLimits(stream_window=2**16, connection_window=2**17, outgoing=2**14)


@pytest.fixture
def path(root_dir):
    return root_dir / "s.sock"


def numbers_sent(plan, *, status=Status.OK, size=1):
    """A service that sends numbers, from 1 on: so many, then a pause of so many seconds."""

    async def method(stream):
        number = 0
        for count, pause in plan:
            for _ in range(count):
                await stream.send_message(Raw(b"%*d" % (size, number := number + 1)))
            await trio.sleep(pause)
        if status is not Status.OK:
            raise GRPCError(status, "the end")

    return Methods(Numbers=(ANSWERS, method))


def read_numbers(channel, on_number, **options):
    return read_stream(channel, "/t.T/Numbers", Raw(), Raw, lambda message: on_number(int(message.data)), **options)


# --- read_stream ---


@given(
    st.lists(st.tuples(st.integers(0, 5), st.sampled_from([0, 0.5, 1, 3])), max_size=8),
    st.lists(st.sampled_from([0.0, 0.0, 0.4, 1.0, 2.5]), max_size=30),
    st.sampled_from([Status.OK, Status.ABORTED]),
)
@settings(max_examples=100, deadline=None)
def test_messages_come_in_order_and_the_last_one_always_and_skipped_ones_are_counted(plan, paces, status):
    """Against a list of what was sent; ``paces`` are the answers to "how many seconds too early?"."""
    sent = sum(count for count, _ in plan)
    handed, skipped, answers = [], [], list(paces)

    async def run():
        with tempfile.TemporaryDirectory(prefix="dm-") as directory:
            path = Path(directory) / "s.sock"
            async with open_server(path, [numbers_sent(plan, status=status)]), open_channel(path) as channel:
                await read_numbers(
                    channel,
                    handed.append,
                    pace=lambda: answers.pop() if answers else 0.0,
                    on_skipped=skipped.append,
                )

    if status is Status.OK:
        trio.run(run, clock=MockClock(autojump_threshold=0))
    else:
        with pytest.raises(RpcFailed, match="the end") as caught:
            trio.run(run, clock=MockClock(autojump_threshold=0))
        assert caught.value.status == "ABORTED"
    assert handed == sorted(set(handed))
    assert handed[-1:] == ([sent] if sent else [])
    assert len(handed) + sum(skipped) == sent
    assert all(skipped)
    if not any(paces):
        assert handed == list(range(1, sent + 1))


async def test_after_a_pause_messages_come_one_by_one_again(path, autojump_clock):
    handed, skipped = [], []
    answers = [0.0, 0.0, 0.0, 0.0, 0.0, 1.0]
    plan = [(10, 5), (1, 5), (1, 5), (3, 0)]
    async with open_server(path, [numbers_sent(plan)]), open_channel(path) as channel:
        await read_numbers(
            channel, handed.append, pace=lambda: answers.pop() if answers else 0, on_skipped=skipped.append
        )
    assert handed == [10, 11, 12, 13, 14, 15]
    assert skipped == [9]


async def test_nothing_is_read_during_a_pause_and_the_peer_waits(path, mock_clock):
    """The window limits what arrives during the pause; the rest comes after it."""
    handed, skipped = [], []
    answers = [1.0]
    limits = SMALL
    async with open_server(path, [numbers_sent([(1000, 0)], size=1000)], limits=limits):
        async with open_channel(path, limits=limits) as channel, trio.open_nursery() as nursery:

            async def read():
                await read_numbers(
                    channel, handed.append, pace=lambda: answers.pop() if answers else 0, on_skipped=skipped.append
                )

            nursery.start_soon(read)
            await wait_all_tasks_blocked()
            assert handed == []
            mock_clock.jump(1)
            await wait_all_tasks_blocked()
    assert 50 < handed[0] <= 2**16 // 1005 + 2
    assert skipped == [handed[0] - 1]
    assert handed == list(range(handed[0], 1001))


async def test_while_reading_is_paused_nothing_is_passed_on_or_lost(path):
    handed, event = [], trio.Event()
    holds = [event]
    async with open_server(path, [numbers_sent([(3, 0)])]), open_channel(path) as channel:
        async with trio.open_nursery() as nursery:

            async def read():
                await read_numbers(channel, handed.append, paused=lambda: holds[0] if holds else None)

            nursery.start_soon(read)
            await wait_all_tasks_blocked()
            assert handed == []
            second = trio.Event()
            holds[:] = [second]  # paused again as soon as the first pause ends
            event.set()
            await wait_all_tasks_blocked()
            assert handed == []
            holds.clear()
            second.set()
    assert handed == [1, 2, 3]


class Bug(Exception):
    pass


@pytest.mark.parametrize("error", [Bug("mine"), RpcFailed("a bad list", status="DATA_LOSS")])
async def test_what_on_message_raises_passes_through_and_ends_the_call(path, error):
    ended = trio.Event()

    async def method(stream):
        try:
            await stream.send_message(Raw(b"1"))
            await trio.sleep_forever()
        finally:
            ended.set()

    def refuse(number):
        raise error

    async with open_server(path, [Methods(Numbers=(ANSWERS, method))]), open_channel(path) as channel:
        with pytest.raises(type(error)) as caught:
            await read_numbers(channel, refuse)
        assert caught.value is error
        await ended.wait()


async def test_a_latest_message_that_is_too_long_ends_the_stream(path, autojump_clock):
    async def method(stream):
        await stream.send_message(Raw(b"1"))
        await stream.send_message(Raw(b"2" * 2000))
        await trio.sleep_forever()

    handed = []
    async with open_server(path, [Methods(Numbers=(ANSWERS, method))]):
        async with open_channel(path, limits=ConnectionLimits(message=1000)) as channel:
            with pytest.raises(RpcFailed, match="larger than the limit") as caught:
                await read_numbers(channel, handed.append, pace=lambda: 1.0)
    assert caught.value.status == "RESOURCE_EXHAUSTED"


async def test_a_lost_connection_fails_the_stream_after_the_messages_that_had_arrived(path):
    handed, event = [], trio.Event()
    async with open_server(path, [numbers_sent([(3, 1000)])]), open_channel(path) as channel:
        async with trio.open_nursery() as nursery:

            async def read():
                with pytest.raises(RpcFailed, match="closed") as caught:
                    await read_numbers(channel, handed.append, paused=lambda: None if event.is_set() else event)
                assert caught.value.status == "UNAVAILABLE"

            nursery.start_soon(read)
            await wait_all_tasks_blocked()
            channel.close()
            event.set()
    assert handed == [1, 2, 3]


# --- failures ---


@pytest.mark.parametrize(
    ("error", "text"),
    [
        (GRPCError(Status.NOT_FOUND, "no such thing"), "no such thing"),
        (GRPCError(Status.NOT_FOUND), "NOT_FOUND"),
        (GRPCError(Status.NOT_FOUND, ""), "NOT_FOUND"),
        (GRPCError(Status.NOT_FOUND, "x" * 5000), "x" * calls.MAX_STATUS_MESSAGE),
    ],
)
async def test_a_failed_call_raises_rpc_failed(error, text):
    async def method(request):
        raise error

    with pytest.raises(RpcFailed) as caught:
        await call(method, None)
    assert (str(caught.value), caught.value.status) == (text, "NOT_FOUND")
    assert caught.value.__cause__ is error


def test_other_errors_are_left_alone():
    with pytest.raises(Bug), translate_grpc_errors():
        raise Bug


async def test_a_status_ok_without_an_answer_is_plugin_unavailable(path):
    """A violation of gRPC by the plug-in, which must not look like a bug of the manager."""

    class Silent(wire.DevicePluginBase):
        def __mapping__(self):
            async def method(stream):
                await stream.recv_message()

            return {name: handler._replace(func=method) for name, handler in super().__mapping__().items()}

    async with open_server(path, [Silent()]):
        async with connect_plugin(
            Place(path.parent, Path(path.name)), "v.com/r", deadlines=Deadlines(), on_call=lambda finished: None
        ) as client:
            for method in (client.get_options, lambda: client.allocate([]), lambda: client.pre_start_container([])):
                with pytest.raises(PluginUnavailable) as caught:
                    await method()
                assert caught.value.status == "INTERNAL"


# --- dial ---


async def test_wait_for_ready_waits_for_a_socket_that_is_missing_or_refuses(path, autojump_clock):
    async with trio.open_nursery() as nursery:

        async def serve_later():
            await trio.sleep(3)
            listen(path).close()  # a file without a listener
            await trio.sleep(3)
            path.unlink()
            async with open_server(path, [numbers_sent([(1, 0)])]):
                await trio.sleep(10)

        nursery.start_soon(serve_later)
        handed = []
        async with dial(path) as channel:
            assert 6 <= trio.current_time() <= 6 + calls.MAX_DIAL_BACKOFF
            await read_numbers(channel, handed.append)
        assert handed == [1]


async def test_the_caller_of_wait_for_ready_sets_the_deadline(path, autojump_clock):
    with pytest.raises(trio.TooSlowError):
        with trio.fail_after(5):
            async with dial(path):
                pass
    assert trio.current_time() == pytest.approx(5)
    with pytest.raises(PluginUnavailable, match="no connection to .* within 5 s") as caught:
        async with connect_plugin(
            Place(path.parent, Path(path.name)), "r", deadlines=Deadlines(dial=5), on_call=lambda finished: None
        ):
            pass
    assert caught.value.status == "DEADLINE_EXCEEDED"
    assert trio.current_time() == pytest.approx(10)


async def test_without_wait_for_ready_dialling_fails_at_once(path):
    with pytest.raises(FileNotFoundError):
        async with dial(path, wait_for_ready=False):
            pass
    listen(path).close()
    with pytest.raises(ConnectionRefusedError):
        async with dial(path, wait_for_ready=False):
            pass


async def test_wait_for_ready_waits_for_a_full_queue(path, autojump_clock, monkeypatch):
    monkeypatch.setattr(unix_socket, "BACKLOG", 0)
    with listen(path) as listener, connect(path):
        with pytest.raises(ConnectionRefusedError):
            async with dial(path, wait_for_ready=False):
                pass
        async with trio.open_nursery() as nursery:

            async def accept_later():
                await trio.sleep(2)
                listener.accept()[0].close()

            nursery.start_soon(accept_later)
            async with dial(path):
                assert 2 <= trio.current_time() <= 3


async def test_a_path_that_is_too_long_fails_at_once(path):
    """With an OSError, or as RpcFailed with ``wait_for_ready``."""
    long = path.with_name("n" * 200)
    with pytest.raises(OSError, match="too long"):
        async with dial(long, wait_for_ready=False):
            pass
    with pytest.raises(RpcFailed, match="cannot connect") as caught:
        async with dial(long):
            pass
    assert caught.value.status == "UNAVAILABLE"


async def test_errors_of_the_block_are_not_errors_of_dialling(path):
    async with open_server(path, []):
        for error in (FileNotFoundError(errno.ENOENT, "another"), ConnectionRefusedError(), PermissionError()):
            with pytest.raises(type(error)) as caught:
                async with dial(path):
                    raise error
            assert caught.value is error


@pytest.mark.parametrize("wait_for_ready", [True, False])
async def test_the_policy_can_refuse_the_process_that_listens(path, wait_for_ready):
    class AdmitsNone(PeerPolicy):
        def admit(self, peer):
            return False

    async with open_server(path, []):
        with pytest.raises(RpcFailed, match="may not serve it") as caught:
            async with dial(path, wait_for_ready=wait_for_ready, limits=ConnectionLimits(policy=AdmitsNone())):
                pass
        assert caught.value.status == "PERMISSION_DENIED"


def at(path):
    return Place(path.parent, Path(path.name))


class GoingAway:
    """A channel whose server has said GOAWAY, and takes no more calls."""

    is_going_away = True

    def __init__(self, pid):
        self.peer = Peer(pid=pid, uid=0, gids=frozenset())


async def test_a_call_after_goaway_goes_to_the_same_process_or_fails(path):
    """Another process that listens there now has not registered; a new socket at the path is not used."""
    listen(path).close()
    with at(path).opened() as gone:
        path.unlink()
        async with open_server(path, []):
            with at(path).opened() as another:
                for file, why in (gone, ": Connection refused$"), (another, "$"):
                    client = PluginClient(GoingAway(pid=1), file, "r", Deadlines(), lambda call: None, ListPolicy())
                    with pytest.raises(PluginUnavailable, match="process 1 no longer serves its socket" + why):
                        await client.get_options()
