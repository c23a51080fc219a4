"""Serves the page of a manager, and ends with it."""

from __future__ import annotations

import ipaddress

import trio

from ...concurrency.task_descriptions import describes_task
from ...events import PageOpenToOthers
from ..event_log import EventLog, RecordedEvent
from ..manager import DeviceManager
from ..serving.clients import open_listeners
from .app import is_loopback, live_app, recorded_app
from .feed import Feed
from .http import HttpServer
from .recorded import Recording

LOOPBACK = "127.0.0.1"


class Site:
    """Counts events, which costs next to nothing, and serves the page."""

    def __init__(self) -> None:
        self._events = 0

    def count(self, recorded: RecordedEvent) -> None:
        """A sink of the manager's events."""
        self._events += 1

    @describes_task(name="page")
    async def serve(
        self,
        address: tuple[str, int],
        manager: DeviceManager,
        log: EventLog,
        *,
        token: str | None = None,
        task_status: trio.TaskStatus[str] = trio.TASK_STATUS_IGNORED,
    ) -> None:
        """Until cancelled; starts with the page's URL. With a ``token``, faults may be injected by who knows it. Raises
        AddressUnusable."""
        host, port = address
        listeners = await open_listeners(host or LOOPBACK, port)
        if not all(is_loopback(listener.socket.getsockname()[0]) for listener in listeners):
            log.record([PageOpenToOthers(address=host)])
        feed = Feed(manager.overview_steps, manager.task_tree, log, lambda: self._events)
        app = live_app(feed, host, manager.faults if token else None, token or "")
        async with trio.open_nursery() as nursery:
            nursery.start_soon(feed.keep)
            task_status.started(url_of(listeners[0]))
            await HttpServer(app, log).serve(listeners)


async def serve_recording(
    recording: Recording, address: tuple[str, int], *, task_status: trio.TaskStatus[str] = trio.TASK_STATUS_IGNORED
) -> None:
    """Serve the page of a trace until cancelled; starts with its URL. Raises AddressUnusable."""
    host, port = address
    listeners = await open_listeners(host or LOOPBACK, port)
    task_status.started(url_of(listeners[0]))
    all_of_it = 1.0  # the process has nothing else to do
    await HttpServer(recorded_app(recording, host), EventLog(), time_share=all_of_it).serve(listeners)


def url_of(listener: trio.SocketListener) -> str:
    """Where its page is."""
    host, port = listener.socket.getsockname()[:2]
    return f"http://[{host}]:{port}/" if ipaddress.ip_address(host).version == 6 else f"http://{host}:{port}/"
