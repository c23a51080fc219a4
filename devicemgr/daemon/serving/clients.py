"""Connections of anybody on the network, bounded in number.

Clients cannot be told apart reliably: on loopback all users of the machine have one address. So when there are too many
connections, one of the address that has most is closed: the one whose last request is the longest ago. A client that
sends its request at once is served, however many idle connections there are. A client that keeps opening connections
can keep others from what is served here, and from nothing else.
"""

from __future__ import annotations

import socket
from collections import Counter
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass, field

import trio

from ...concurrency.task_descriptions import describes_task
from ...errors import AddressUnusable
from ...rpc.transport.accepting import pause_after
from ..access.rate_limit import TokenBucket
from ..access.reports import PeerReports
from ..event_log import EventLog

_ACCEPT_RATE, _ACCEPT_BURST = 100.0, 1000
"""Connections a second, and in a burst. An idle connection costs so little that the limits can be high."""
_SEND_BUFFER = 2**17
"""Bytes of a response that the kernel buffers."""


async def open_listeners(host: str, port: int) -> list[trio.SocketListener]:
    """Bind; port 0 is any free port, and an empty host every address of the machine. Raises AddressUnusable."""
    try:
        listeners = await trio.open_tcp_listeners(port, host=host or None)
    except OSError as error:
        raise AddressUnusable(f"cannot serve on {host}:{port}: {error.strerror or error}") from error
    for listener in listeners:  # what is accepted inherits it
        listener.socket.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, _SEND_BUFFER)
    return listeners


@dataclass(eq=False, slots=True)
class Client:
    """A connection; it ends when ``scope`` is cancelled."""

    stream: trio.SocketStream
    address: str
    scope: trio.CancelScope = field(default_factory=trio.CancelScope)


class Clients:
    """At most ``limit`` connections to what is called ``what``. ``limit_name`` is that of the peer limit."""

    def __init__(self, limit: int, limit_name: str, what: str, log: EventLog) -> None:
        self._limit = limit
        self._limit_name = limit_name
        self._what = what
        self._accepts = TokenBucket(_ACCEPT_RATE, _ACCEPT_BURST)
        self._clients: dict[Client, None] = {}
        """Ordered by their last request, the oldest first."""
        self._reports = PeerReports(log)

    @describes_task(waits_for="its connections")
    async def serve(
        self, listeners: Sequence[trio.SocketListener], handle: Callable[[Client], Awaitable[None]]
    ) -> None:
        """Accept connections, and serve each in a task of its own, until cancelled."""
        async with trio.open_nursery() as nursery:
            for listener in listeners:
                nursery.start_soon(self._accept, listener, handle, nursery)

    def sent_request(self, client: Client) -> None:
        """The client is the last one to be closed when there are too many."""
        if client in self._clients:
            del self._clients[client]
            self._clients[client] = None

    @describes_task(name="accept on {self._what}", waits_for="a connection")
    async def _accept(
        self, listener: trio.SocketListener, handle: Callable[[Client], Awaitable[None]], nursery: trio.Nursery
    ) -> None:
        async with listener:
            while True:
                try:
                    sock, address = await listener.socket.accept()
                except OSError as error:
                    await trio.sleep(pause_after(error))
                    continue
                client = Client(trio.SocketStream(sock), address[0])
                self._make_room()
                self._clients[client] = None
                nursery.start_soon(self._handle, handle, client)
                await trio.sleep(self._accepts.reserve(now=trio.current_time()))

    @describes_task(name="connection to {self._what} from {client.address}")
    async def _handle(self, handle: Callable[[Client], Awaitable[None]], client: Client) -> None:
        try:
            async with client.stream:
                with client.scope:
                    if not client.scope.cancel_called:
                        await handle(client)
        finally:
            self._clients.pop(client, None)

    def _make_room(self) -> None:
        """Close an idle connection if there are too many."""
        if len(self._clients) < self._limit:
            return
        ((busiest, _),) = Counter(one.address for one in self._clients).most_common(1)
        oldest = next(one for one in self._clients if one.address == busiest)
        del self._clients[oldest]
        oldest.scope.cancel()
        consequence = f"the connection to {self._what} whose last request is the longest ago was closed"
        self._reports.limit_reached(self._limit_name, busiest, consequence)
