"""One HTTP/2 connection over a unix socket: h2 driven by a reader and a writer.

::

    run
    ├─ reader    bytes → h2 → streams; waits for bytes, while the policy says so, and while the writer is far behind
    └─ writer    sends the bytes that the kernel did not take at once

Five rules make the rest of it simple:

1. *The nursery is the connection.* When :meth:`Connection.run` returns, no task, no stream and no descriptor is left.
2. *State changes synchronously.* A frame takes full effect before the next one is looked at, and each frame of ours
   is made in one call without a checkpoint. There are no locks.
3. *What ends a call does not wait*: trailers, resets, GOAWAY. Only messages do, in :class:`~.stream.Stream`. So a
   cancelled task can end its call without a shield.
4. *Every buffer has a limit.* Received bytes: the window, since they are acknowledged when they are taken. Bytes to be
   sent: ``ConnectionLimits.outgoing`` for messages. Answers to PING and SETTINGS are added to that. When they make it
   four times as much, the peer writes without reading, and nothing is read from it until it does.
5. *A peer's failure is a status, a bug is an exception.* The one call that parses the peer's bytes is wrapped, and
   nothing else is. (h2 reads ahead, so a request that is reset in the same read is ignored.)
"""

from __future__ import annotations

import socket
from collections.abc import Callable
from contextlib import suppress
from time import thread_time
from typing import Any

import h2.events as events
import trio
from grpclib import GRPCError, Status
from h2.config import H2Configuration
from h2.connection import H2Connection
from h2.errors import ErrorCodes
from h2.exceptions import ProtocolError
from h2.settings import SettingCodes, Settings
from trio.lowlevel import ParkingLot

from ...concurrency.task_descriptions import describes_task
from ...model import Peer
from .framing import FrameSplitter, FrameTooLong, GoAway, goaway_frame
from .limits import ConnectionLimits
from .peer_credentials import has_exited
from .stream import Headers, Stream

READ_TIME = 0.005
"""Seconds of CPU time that the bytes of one read should take at most: other tasks wait meanwhile."""
MIN_READ, INITIAL_READ, MAX_READ = 2**10, 2**15, 2**18
"""Bytes of one read. A frame of a few bytes takes as long as one of 16 kB, so each read is as long as the last one, or
shorter or longer by the time that took."""

_STATUS_OF_RESET = {
    ErrorCodes.CANCEL: Status.CANCELLED,
    ErrorCodes.REFUSED_STREAM: Status.UNAVAILABLE,
    ErrorCodes.ENHANCE_YOUR_CALM: Status.RESOURCE_EXHAUSTED,
    ErrorCodes.INADEQUATE_SECURITY: Status.PERMISSION_DENIED,
}


def _text_headers(headers: Any) -> Headers:
    """With ``header_encoding`` h2 decodes them to text; its annotations do not say so."""
    texts: Headers = headers
    return texts


class Connection:
    """On a server, ``on_request`` gets each stream that the peer opens. On a client it is None."""

    def __init__(
        self,
        sock: socket.socket,
        peer: Peer,
        limits: ConnectionLimits,
        on_request: Callable[[Stream], None] | None = None,
    ) -> None:
        self.peer = peer
        self.limits = limits
        self.is_going_away = False
        """One of both ends has sent GOAWAY: open streams go on, new ones are refused."""
        self.lost: str | None = None
        """Why nothing can be sent or received any more; None while the connection works."""
        self._status_when_lost = Status.UNAVAILABLE
        self.work_finished = ParkingLot()
        """Wakes the tasks that wait for a stream to end, or for bytes to be sent."""
        self._socket = sock
        self._policy = limits.policy
        self._on_request = on_request
        self._streams: dict[int, Stream] = {}
        self._reset_streams: set[Stream] = set()
        """Those that the peer has reset and whose handlers have not ended yet; at most as many again as ``streams``."""
        self._last_request = 0
        self._splitter = FrameSplitter(preface=on_request is not None)
        self._unacknowledged = 0
        """Bytes that were taken from all streams, and not acknowledged to the peer yet."""
        self._unflushed = 0
        self._outgoing = bytearray()
        self._has_outgoing = ParkingLot()
        self._outgoing_sent = ParkingLot()
        self._pings = self._answered_pings = 0
        self._ping_answered = ParkingLot()
        self._h2 = _h2_connection(limits, is_client=on_request is None)

    @describes_task(name="connection to process {self.peer.pid}")
    async def run(self) -> None:
        """Read and write until the connection ends."""
        if self._on_request is not None:
            self.flush()  # a client's first bytes go out together with its first call
        try:
            async with trio.open_nursery() as nursery:
                nursery.start_soon(self._write)
                await self._read()
                nursery.cancel_scope.cancel()
        finally:
            self.close()
            trio.lowlevel.notify_closing(self._socket)
            self._socket.close()

    def close(self) -> None:
        """End it now, even if it is in use; :meth:`run` returns soon."""
        self._lose("the connection was closed")

    def lose_silent(self, seconds: float) -> None:
        """End it because the peer has not answered for so long."""
        self._status_when_lost = Status.DEADLINE_EXCEEDED
        self._lose(f"nothing was heard for {seconds:g} s")

    async def ping(self) -> None:
        """Return when the peer has answered a PING. Raises GRPCError when the connection is lost."""
        self._pings += 1
        awaited = self._pings
        if self.lost is None:
            self._h2.ping(awaited.to_bytes(8, "big"))
            self.flush()
        while self._answered_pings < awaited:
            if self.lost is not None:
                raise GRPCError(self._status_when_lost, self.lost)
            await self._ping_answered.park()

    # --- streams ---

    @property
    def is_full(self) -> bool:
        """Whether a new stream must wait until another one ends."""
        most = min(self.limits.streams, self._h2.remote_settings.max_concurrent_streams)
        return self.lost is None and not self.is_going_away and len(self._streams) >= most

    @property
    def has_work(self) -> bool:
        """Whether there are streams, or bytes to be sent."""
        return self.lost is None and bool(self._streams or self._outgoing)

    def open_stream(self, headers: Headers, limit: int, *, end: bool = False) -> Stream:
        """Open a call, on a client. Its headers are sent with what follows. Raises GRPCError when it cannot."""
        if self.lost is not None or self.is_going_away:
            raise GRPCError(Status.UNAVAILABLE, self.lost or "the peer closed the connection to new calls (GOAWAY)")
        number = self._h2.get_next_available_stream_id()
        stream = self._streams[number] = Stream(self, number, limit)
        stream.send_headers(headers, end=end, flush=False)
        return stream

    def close_stream(self, stream: Stream, unread: int, reset: ErrorCodes | None) -> None:
        """Forget the stream, and acknowledge ``unread`` bytes of it that will not be taken."""
        self._reset_streams.discard(stream)
        if self._streams.pop(stream.number, None) is None or self.lost is not None:
            return
        if reset is not None:
            with suppress(ProtocolError):  # it is closed already
                self._h2.reset_stream(stream.number, reset)
        self._acknowledge_connection(unread)
        self.flush()
        self.work_finished.unpark_all()

    def acknowledge(self, stream: Stream, size: int) -> None:
        """So many bytes were taken, and the peer may send as many more. It hears of a quarter of the window at a time.

        h2 would wait for half of the window. Then one unread stream could block the others, since the window of the
        connection is only twice as large. So we count them ourselves.
        """
        stream.unacknowledged += size
        if stream.unacknowledged >= self.limits.stream_window // 4 and self.lost is None:
            size_of_frame, stream.unacknowledged = stream.unacknowledged, 0
            with suppress(ProtocolError):  # the peer has ended the stream already
                self._h2.increment_flow_control_window(size_of_frame, stream.number)
            self.flush()
        self._acknowledge_connection(size)

    def _acknowledge_connection(self, size: int) -> None:
        """The same for the connection as a whole."""
        self._unacknowledged += size
        if self._unacknowledged >= self.limits.connection_window // 4 and self.lost is None:
            size, self._unacknowledged = self._unacknowledged, 0
            self._h2.increment_flow_control_window(size)
            self.flush()

    def too_long_error(self, stream: Stream, size: int) -> GRPCError:
        """What to raise for a message of ``size`` bytes."""
        limit, text = "message_size", f"message of {size} bytes is larger than the limit of {stream.limit}"
        if stream.limit != self.limits.message:
            limit, text = "answer_size", f"an answer of {size} bytes; {stream.limit} are the limit"
        self._policy.message_too_long(limit, size, stream.limit)
        return GRPCError(Status.RESOURCE_EXHAUSTED, text)

    def too_many_fields_error(self) -> GRPCError:
        """What to raise for an answer with more fields than ``answer_fields``."""
        limit = self.limits.answer_fields
        self._policy.too_many_fields(limit)
        return GRPCError(Status.RESOURCE_EXHAUSTED, f"an answer of more than {limit} fields")

    # --- out: each of these makes a frame, and none of them waits. A stream that has failed calls none of them, and
    # when the connection is lost, all streams have failed. ---

    def send_headers(self, stream: Stream, headers: Headers, *, end: bool) -> None:
        self._h2.send_headers(stream.number, headers, end_stream=end)

    def send_data(self, stream: Stream, data: memoryview, *, end: bool) -> None:
        """At most :meth:`room_for` bytes."""
        step = self._h2.max_outbound_frame_size
        for at in range(0, len(data), step):
            is_last = at + step >= len(data)
            self._h2.send_data(stream.number, data[at : at + step], end_stream=end and is_last)
        self._unflushed += len(data)

    def end_stream(self, stream: Stream) -> None:
        self._h2.end_stream(stream.number)
        self.flush()

    def room_for(self, stream: Stream) -> int:
        """Bytes of a message that may be sent now: what the peer's window and our buffer have room for."""
        room = self.limits.outgoing - len(self._outgoing) - self._unflushed
        return min(self._h2.local_flow_control_window(stream.number), room)

    def go_away(self, code: ErrorCodes = ErrorCodes.NO_ERROR) -> None:
        """Refuse new streams; open ones go on."""
        if self.lost is None and not self.is_going_away:
            self.is_going_away = True
            self.flush(goaway_frame(self._last_request, code))

    def flush(self, more: bytes = b"") -> None:
        """Send what the kernel takes, and leave the rest to the writer."""
        self._unflushed = 0
        data = self._h2.data_to_send() + more
        if not data or self.lost is not None:
            return
        if not self._outgoing:
            try:
                data = data[self._socket.send(data) :]
            except BlockingIOError:
                pass
            except OSError:
                self._stop_sending()
                return
        if data:
            self._outgoing += data
            self._has_outgoing.unpark()

    @describes_task(name="writer", waits_for="bytes to send")
    async def _write(self) -> None:
        while True:
            while not self._outgoing:
                await self._has_outgoing.park()
            await trio.lowlevel.wait_writable(self._socket)
            try:
                sent = self._socket.send(self._outgoing[:MAX_READ])
            except BlockingIOError:
                continue
            except OSError:
                self._stop_sending()
                return
            del self._outgoing[:sent]
            self._outgoing_sent.unpark_all()
            self.work_finished.unpark_all()
            self._wake_senders()

    # --- in ---

    @describes_task(waits_for="bytes")
    async def _read(self) -> None:
        size = MAX_READ if self._policy.quota_exempt else INITIAL_READ
        while self.lost is None:
            await self._wait_for_bytes()
            if self.lost is not None:
                return
            try:
                data = self._socket.recv(size)
            except BlockingIOError:
                continue
            except OSError as error:
                self._lose(f"the connection was lost: {error}")
                return
            if not data:
                self._lose("the peer closed the connection")
            elif self._policy.quota_exempt:
                self._receive(data)
            else:
                began = thread_time()
                self._receive(data)
                size = self._charge(thread_time() - began, len(data))

    async def _wait_for_bytes(self) -> None:
        """Wait until bytes have arrived, the peer reads what we answer, and it owes no time for earlier bytes."""
        await trio.lowlevel.wait_readable(self._socket)
        while len(self._outgoing) >= 4 * self.limits.outgoing:
            await self._outgoing_sent.park()
        while self.lost is None and (pause := self._policy.pause(self.peer)) > 0:
            await trio.sleep(pause)
            if has_exited(self.peer):  # what it sent before is not worth the time, nor the descriptor
                self._lose("the peer's process has ended")

    def _charge(self, seconds: float, received: int) -> int:
        """Charge the peer for a read of ``received`` bytes. Returns the size of the next read."""
        self._policy.charge(self.peer, seconds)
        fitting = int(received * READ_TIME / seconds) if seconds > 0 else MAX_READ
        return min(max(fitting, MIN_READ), MAX_READ)

    def _receive(self, data: bytes) -> None:
        """Handle everything the bytes say. h2 has read all of them before its first event is handled, or all before an
        error. After an error nothing is sent any more, but what came before it is handled."""
        found, problem = self._parse(data)
        self.lost = self.lost or problem
        ended = {event.stream_id for event in found if isinstance(event, events.StreamReset)}
        may_send_more = False
        for event in found:
            if isinstance(event, GoAway):
                self._on_goaway(event.last_stream)
            elif isinstance(event, events.RequestReceived):
                self._on_request_received(event, is_reset=event.stream_id in ended)
            else:
                may_send_more |= isinstance(event, events.WindowUpdated | events.RemoteSettingsChanged)
                self._on_event(event)
        self.flush()
        if problem is not None:
            self._end(problem)
        if may_send_more:
            self._wake_senders()

    def _parse(self, data: bytes) -> tuple[list[events.Event | GoAway], str | None]:
        """The events, and why the bytes after them cannot be read."""
        found: list[events.Event | GoAway] = []
        try:
            for part in self._splitter.split(data):
                if isinstance(part, GoAway):
                    found.append(part)
                    continue
                try:
                    found += self._h2.receive_data(part)
                except Exception as error:  # whatever h2 raises for these bytes, their sender is to blame
                    return found, self._protocol_error(error)
        except FrameTooLong as error:
            return found, self._protocol_error(error, goaway_frame(self._last_request, ErrorCodes.FRAME_SIZE_ERROR))
        return found, None

    def _protocol_error(self, error: Exception, goaway: bytes = b"") -> str:
        problem = f"{type(error).__name__}: {error}"[:200]
        self._policy.unreadable(self.peer, problem)
        self.flush(goaway)  # for an error of its own, h2 has made a GOAWAY
        return f"what the peer sent cannot be read: {problem}"

    def _on_event(self, event: events.Event) -> None:
        stream = self._streams.get(getattr(event, "stream_id", 0))
        match event:
            case events.DataReceived():
                if stream is None:
                    self._acknowledge_connection(event.flow_controlled_length)
                    return
                if padding := event.flow_controlled_length - len(event.data):
                    self.acknowledge(stream, padding)
                if event.data:
                    stream.feed(event.data)
            case events.ResponseReceived() if stream:
                stream.begin(_text_headers(event.headers))
            case events.TrailersReceived() if stream:
                stream.trailers = _text_headers(event.headers)
            case events.StreamEnded() if stream:
                stream.end()
            case events.PingAckReceived(ping_data=data):
                self._answered_pings = max(self._answered_pings, int.from_bytes(data, "big"))
                self._ping_answered.unpark_all()
            case events.StreamReset() if stream:
                code: Any = event.error_code
                stream.fail(_STATUS_OF_RESET.get(code, Status.INTERNAL), "the peer ended the call")
                if self._on_request is not None:  # another stream may open, though this one's handler has yet to end
                    self.close_stream(stream, stream.unread_size, None)
                    self._reset_streams.add(stream)

    def _on_request_received(self, event: events.RequestReceived, *, is_reset: bool) -> None:
        self._last_request = event.stream_id
        if is_reset or self.lost is not None:
            return  # h2 has forgotten the stream, and the peer waits for no answer
        is_full = len(self._streams) >= self.limits.streams or len(self._reset_streams) > self.limits.streams
        if self.is_going_away or self._on_request is None or is_full:
            self._h2.reset_stream(event.stream_id, ErrorCodes.REFUSED_STREAM)
            return
        stream = Stream(self, event.stream_id, self.limits.message, _text_headers(event.headers))
        self._streams[event.stream_id] = stream
        self._on_request(stream)

    def _on_goaway(self, last_stream: int) -> None:
        """On a client, later calls than ``last_stream`` fail: the server has not seen them."""
        self.is_going_away = True
        if self._on_request is None:
            for number, stream in list(self._streams.items()):
                if number > last_stream:
                    stream.fail(Status.UNAVAILABLE, "the peer closed the connection to new calls (GOAWAY)")
        self.work_finished.unpark_all()

    def _wake_senders(self) -> None:
        for stream in self._streams.values():
            stream.may_send.unpark_all()
        self.work_finished.unpark_all()

    def _lose(self, reason: str) -> None:
        if self.lost is None:
            self.lost = reason
            self._end(reason)

    def _end(self, reason: str) -> None:
        """Fail every stream; the reader finds the end of the socket."""
        for stream in self._streams.values():
            stream.fail(self._status_when_lost, reason)
        self.work_finished.unpark_all()
        self._ping_answered.unpark_all()
        self._stop_sending()

    def _stop_sending(self) -> None:
        """The peer receives nothing any more. What it has sent can still be read."""
        self._outgoing.clear()
        self._outgoing_sent.unpark_all()
        self._socket.shutdown(socket.SHUT_RDWR)  # never fails for a unix socket


class _H2Connection(H2Connection):
    MAX_CLOSED_STREAMS = 1000  # closed streams that h2 remembers; its default, 65,536, takes 9 MB

    def _receive_frame(self, frame: Any) -> Any:
        """h2 formats each frame for a log that nobody keeps, with all its bytes in hexadecimal digits: of a long list
        that is a quarter of the time. Here the bytes are left out."""
        frame._body_repr = str
        return super()._receive_frame(frame)


def _h2_connection(limits: ConnectionLimits, *, is_client: bool) -> H2Connection:
    """h2 without its checks of headers, so that unusual headers get an answer instead of ending the connection.

    The peer is told the limit of streams, but h2 is not: it would end the connection for one stream too many.
    """
    configuration = H2Configuration(
        client_side=is_client,
        header_encoding="utf-8",
        validate_inbound_headers=False,
        validate_outbound_headers=False,
        normalize_inbound_headers=False,
        normalize_outbound_headers=False,
    )
    connection = _H2Connection(configuration)
    values = {
        SettingCodes.ENABLE_PUSH: 0,
        SettingCodes.MAX_CONCURRENT_STREAMS: limits.streams,
        SettingCodes.INITIAL_WINDOW_SIZE: limits.stream_window,
        SettingCodes.MAX_HEADER_LIST_SIZE: 2**14,
    }
    connection.local_settings = Settings(initial_values=values)
    connection.initiate_connection()
    del values[SettingCodes.MAX_CONCURRENT_STREAMS]
    connection.local_settings = Settings(initial_values=values)
    connection.increment_flow_control_window(limits.connection_window - 65535)
    return connection
