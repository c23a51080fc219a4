"""All objects of a collection, and each change of them: list, then watch, then again.

::

             ┌───────────────────────────── the version has expired (410), or something was no event ──┐
             ▼                                                                                          │
    ──▶ list, in chunks ──Synced──▶ watch from its version ──Changed, Deleted──▶ ends, or is lost ──────┤
                                          ▲                                                             │
                                          └────────── from the last version that was seen ──────────────┘

A failure is never the end: after a pause that grows with each (:mod:`.retries`) it tries again.
"""

from __future__ import annotations

import random
from collections.abc import AsyncIterator, Iterable, Mapping
from dataclasses import dataclass

import trio

from ...concurrency.exception_groups import collapse_exception_group
from ...errors import ApiError, ApiUnreachable
from ..objects.metadata import Object
from .http import Http, Query, Request
from .reachability import Lost, Reachability, Reached
from .retries import LASTING, Backoff, Failure, concerns_one_request, is_expired, retry_after_of
from .watch_events import Bookmark, Changed, Deleted, Event, EventReader, NoEvent, WatchUseless, version_of

CHUNK = 500
"""Objects in one answer, as kubectl and client-go ask for."""
SHORTEST_WATCH = 240.0
"""Seconds after which the server ends a watch, and up to half as many again, so that not all begin again at once."""
SILENCE = 30.0
"""Seconds beyond that, after which a watch that has not ended is given up: its connection is open at our end only."""
STEADY = 2.0
"""Seconds after which a watch counts as one. If it does not get that old, the pause before the next one grows."""


@dataclass(frozen=True, slots=True)
class Synced:
    """These are all, by uid: what is not among them is not there any more. Comes first, and after each new list."""

    objects: Mapping[str, Object]


Change = Synced | Changed | Deleted | Lost | Reached


class Reflector:
    """One collection, sent to ``changes`` until cancelled."""

    def __init__(self, http: Http, collection: str, query: Query, changes: trio.MemorySendChannel[Change]) -> None:
        self._http = http
        self._collection = collection
        self._query = query
        self._send = changes.send
        self._reachability = Reachability()
        """Of this collection: one may be forbidden while others are not."""
        self._version = ""
        """After which a watch goes on; empty if the collection has to be listed."""
        self._watching_since: float | None = None

    async def run(self) -> None:
        """Until cancelled; what fails is tried again."""
        backoff, fails_since = Backoff(), 0.0
        while True:
            failure = await self._once()
            since = self._watching_since
            if since is not None and trio.current_time() - since >= STEADY:
                backoff = Backoff()
                if failure is None:
                    continue
            if failure is None:
                failure = WatchUseless(f"the watch of {self._collection} is ended as soon as it begins")
            if is_expired(failure) or isinstance(failure, NoEvent):
                self._version = ""
            if not backoff.failures:
                fails_since = trio.current_time()
            backoff = backoff.failed()
            if self._is_lost(failure, backoff.failures, trio.current_time() - fails_since):
                await self._lost(failure)
            await trio.sleep(backoff.delay(random.random(), retry_after=retry_after_of(failure)))

    def _is_lost(self, failure: Failure, failures: int, seconds: float) -> bool:
        """That a watch is lost, or its version, is nothing to speak of, if another one can be had."""
        if concerns_one_request(failure):
            return seconds >= LASTING
        return failures > 1 or (self._watching_since is None and not is_expired(failure))

    async def _once(self) -> Failure | None:
        """How it ended, if not well."""
        self._watching_since = None
        try:
            if not self._version:
                await self._list()
            await self._watch()
        except (ApiError, ApiUnreachable) as failure:
            return failure
        return None

    async def _list(self) -> None:
        try:
            objects, version = await self._pages(str(CHUNK))
        except ApiError as failure:
            if not is_expired(failure):
                raise
            # It took longer than the server remembers. All at once is consistent by itself.
            objects, version = await self._pages("")
        await self._send(Synced(objects))
        self._version = version

    async def _pages(self, limit: str) -> tuple[dict[str, Object], str]:
        objects: dict[str, Object] = {}
        query = {**self._query, **({"limit": limit} if limit else {})}
        while True:
            page = await self._http.fetch(Request("GET", self._collection, query))
            try:
                objects |= {one["metadata"]["uid"]: one for one in page["items"] or ()}
                version, rest = page["metadata"]["resourceVersion"], page["metadata"].get("continue")
            except (KeyError, TypeError, AttributeError):
                raise ApiUnreachable(f"{self._collection} has been answered with something that is no list") from None
            if not rest:
                return objects, version
            query["continue"] = rest

    async def _watch(self) -> None:
        """Until the server ends it."""
        seconds = SHORTEST_WATCH * (1 + random.random() / 2)
        query = {
            **self._query,
            "watch": "1",
            "allowWatchBookmarks": "true",
            "resourceVersion": self._version,
            "timeoutSeconds": f"{seconds:.0f}",
        }
        async with self._http.stream(Request("GET", self._collection, query), silence=seconds + SILENCE) as stream:
            self._watching_since = trio.current_time()
            if self._reachability.lost is None:
                await self._read(stream)
            else:
                with collapse_exception_group():
                    async with trio.open_nursery() as nursery:
                        nursery.start_soon(self._reached_when_steady)
                        await self._read(stream)
                        nursery.cancel_scope.cancel()

    async def _read(self, stream: AsyncIterator[bytes]) -> None:
        events = EventReader()
        failure: Failure | None = None
        with trio.CancelScope() as reading:
            async for data in stream:
                try:
                    await self._take(events.feed(data))
                # To leave the loop would leave httpcore2's own generators to the garbage collector. They end when they
                # are cancelled where they wait.
                except (ApiError, NoEvent) as found:
                    failure = found
                    reading.cancel()
                except trio.Cancelled:
                    continue
        if failure is not None:
            raise failure

    async def _take(self, events: Iterable[Event]) -> None:
        for event in events:
            if not isinstance(event, Bookmark):
                await self._send(event)
            self._version = version_of(event)

    async def _reached_when_steady(self) -> None:
        await trio.sleep(STEADY)
        if reached := self._reachability.succeeded():
            await self._send(reached)

    async def _lost(self, failure: Failure) -> None:
        if lost := self._reachability.failed(failure):
            await self._send(lost)
