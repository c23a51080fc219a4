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
from collections.abc import Mapping
from dataclasses import dataclass

import trio

from ...errors import ApiError, ApiUnreachable
from .answers import Object
from .http import Http, Query, Request
from .reachability import Lost, Reachability, Reached
from .retries import Backoff, is_expired
from .watch_events import Bookmark, Changed, Deleted, EventReader, version_of

CHUNK = 500
"""Objects in one answer, as kubectl and client-go ask for."""
SHORTEST_WATCH = 240.0
"""Seconds after which the server ends a watch, and up to half as many again, so that not all are made anew at once."""
SILENCE = 30.0
"""Seconds beyond that, after which a watch that has not ended is given up: its connection is open at our end only."""


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
        self._collection_is = Reachability()
        self._send = changes.send
        self._version = ""
        """After which a watch goes on; empty if the collection has to be listed."""

    async def run(self) -> None:
        backoff = Backoff()
        while True:
            began = trio.current_time()
            delay_asked = None
            try:
                if not self._version:
                    await self._list()
                    began = trio.current_time()
                await self._watch()
                failed = False
            except ApiError as failure:
                # A version that has expired is not a failure, unless it does so again and again.
                failed = True
                delay_asked = failure.retry_after
                if is_expired(failure) or not self._version:
                    self._version = ""
                await self._failed(failure)
            except ApiUnreachable as failure:
                failed = True
                await self._failed(failure)
            backoff = backoff.lasted(trio.current_time() - began)
            if failed or trio.current_time() - began < 1:
                backoff = backoff.failed()
            await trio.sleep(backoff.delay(random.random(), retry_after=delay_asked))

    async def _list(self) -> None:
        try:
            objects, version = await self._pages(str(CHUNK))
        except ApiError as failure:
            if not is_expired(failure):
                raise
            # It took longer than the server remembers. All at once is consistent by itself.
            objects, version = await self._pages("")
        await self._succeeded()
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
        events = EventReader()
        async with self._http.stream(Request("GET", self._collection, query), silence=seconds + SILENCE) as stream:
            await self._succeeded()
            async for data in stream:
                for event in events.feed(data):
                    if not isinstance(event, Bookmark):
                        await self._send(event)
                    self._version = version_of(event)

    async def _failed(self, failure: ApiError | ApiUnreachable) -> None:
        if isinstance(failure, ApiError) and is_expired(failure):
            return
        if lost := self._collection_is.failed(failure):
            await self._send(lost)

    async def _succeeded(self) -> None:
        if reached := self._collection_is.succeeded():
            await self._send(reached)
