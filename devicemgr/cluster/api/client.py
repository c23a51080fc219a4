"""The little of a Kubernetes client that is needed here: objects are JSON, as dictionaries.

httpcore2 runs on Trio by itself; it is an extra, since only this package needs it.
"""

from __future__ import annotations

import random
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from typing import TypeVar

import trio

from ...arguments import checked
from ...concurrency.exception_groups import collapse_exception_group
from ...errors import ApiError, ApiUnreachable
from ..objects.metadata import Object
from .connection import Connection
from .http import Http, Query, Request, open_http
from .reachability import Lost, Reachability, Reached
from .reflector import Change, Reflector, Synced
from .retries import Backoff, Failure, passes, retry_after_of
from .watch_events import Changed, Deleted

APPLY_PATCH = "application/apply-patch+yaml"
MERGE_PATCH = "application/merge-patch+json"
STRATEGIC_MERGE_PATCH = "application/strategic-merge-patch+json"

T = TypeVar("T")


class ApiClient:
    """Made by :func:`open_api_client`.

    Every method but :meth:`reflect` and :meth:`is_ready` raises ApiError when the API server refuses, and
    ApiUnreachable when nobody answers: then the request may have been carried out, or not. None repeats a request by
    itself: see :meth:`retrying`.
    """

    def __init__(self, http: Http, connection: Connection) -> None:
        self._http = http
        self.connection = connection

    @property
    def reachability(self) -> Reachability:
        """Whether the API server answers, as all requests of this client have found out."""
        return self._http.reachability

    async def is_ready(self) -> bool:
        """Does it answer, and say that it is ready? Raises nothing."""
        return await self._http.is_ready()

    async def get(self, path: str, **query: str) -> Object:
        """The object at ``path``, or whatever else is answered there."""
        return await self._http.fetch(Request("GET", path, query))

    async def list(self, path: str, **query: str) -> Object:
        """A collection as one list, however long it is."""
        return await self._http.fetch(Request("GET", path, query))

    async def create(self, collection: str, body: Object) -> Object:
        """The object as the API server has made it: 409 when one of its name is there."""
        return await self._http.fetch(Request("POST", collection, body=body))

    async def replace(self, path: str, body: Object) -> Object:
        """With the ``resourceVersion`` that was read: 409 when somebody was quicker."""
        return await self._http.fetch(Request("PUT", path, body=body))

    async def patch(self, path: str, body: Object, *, strategic: bool = False) -> Object:
        """What is None in ``body`` is removed; a list replaces the list that is there.

        With ``strategic``, lists that have a key in Kubernetes, as conditions have their type, are merged by it.
        """
        kind = STRATEGIC_MERGE_PATCH if strategic else MERGE_PATCH
        return await self._http.fetch(Request("PATCH", path, body=body, content_type=kind))

    async def apply(self, path: str, body: Object, *, manager: str = "devicemgr") -> Object:
        """Create it, or change what ``manager`` has applied before, by server-side apply; it wins every dispute."""
        query = {"fieldManager": manager, "force": "true"}
        return await self._http.fetch(Request("PATCH", path, query, body=body, content_type=APPLY_PATCH))

    async def delete(self, path: str, *, grace: int | None = None, uid: str | None = None) -> Object:
        """``grace``: seconds that a pod's containers have to end, if not those that the pod itself names. With ``uid``
        it is only this one that is deleted: 409 when another one has its name by now."""
        options: Object = {"apiVersion": "v1", "kind": "DeleteOptions"}
        if grace is not None:
            options["gracePeriodSeconds"] = grace
        if uid is not None:
            options["preconditions"] = {"uid": uid}
        return await self._http.fetch(Request("DELETE", path, body=options))

    async def retrying(
        self, call: Callable[[], Awaitable[T]], *, gives_up: Callable[[Failure], bool] = lambda _: False
    ) -> T:
        """What ``call``, which makes a request, returns as soon as the API server has carried it out.

        While nobody answers, or the server is too busy or not well (429, 5xx), it is repeated: after a pause that grows
        up to 30 s, or after the time that the server asks for. Any other ApiError is raised, and so is a failure that
        ``gives_up``. There is no limit: the caller sets one, with a cancel scope. A ``create`` whose answer was lost
        ends with 409 when it is repeated.
        """
        backoff = Backoff()
        while True:
            try:
                return await call()
            except (ApiError, ApiUnreachable) as failure:
                if not passes(failure) or gives_up(failure):
                    raise
                backoff = backoff.failed()
                asked = retry_after_of(failure)
            await trio.sleep(backoff.delay(random.random(), retry_after=asked))

    def reflect(self, collection: str, **query: str) -> AbstractAsyncContextManager[trio.MemoryReceiveChannel[Change]]:
        """The objects of a collection, from now on, as an async iterator that does not end.

        First comes :class:`Synced`, with all objects by their uids, and again whenever the server could not say what
        has changed meanwhile; after it :class:`Changed` and :class:`Deleted`. When the server cannot be asked, comes
        :class:`Lost`, once, and :class:`Reached` when it can again and goes on to. No failure of the peer is raised.
        """
        return self._reflect(collection, query)

    @asynccontextmanager
    async def _reflect(self, collection: str, query: Query) -> AsyncIterator[trio.MemoryReceiveChannel[Change]]:
        changes, received = trio.open_memory_channel[Change](0)
        reflector = Reflector(self._http, collection, query, changes)
        with changes, received, collapse_exception_group():
            async with trio.open_nursery() as nursery:
                # A task of its own: who left a loop over httpcore2's generators would leave them to the garbage
                # collector.
                nursery.start_soon(reflector.run)
                yield received
                nursery.cancel_scope.cancel()

    async def wait_until(self, path: str, holds: Callable[[Object | None], bool]) -> Object | None:
        """The object at ``path`` as soon as it is as wanted; None is one that is not there.

        It waits without limit, also while the API server is away: the caller sets one, with a cancel scope. Raises
        ApiError for a refusal.
        """
        collection, _, name = path.rpartition("/")
        async with self.reflect(collection, fieldSelector=f"metadata.name={name}") as changes:
            async for change in changes:
                match change:
                    case Synced(objects):
                        now = next(iter(objects.values()), None)
                    case Changed(found):
                        now = found
                    case Deleted():
                        now = None
                    case Lost(failure) if not passes(failure):
                        raise failure
                    case Lost() | Reached():
                        continue
                if holds(now):
                    return now
        raise AssertionError("it does not end")


@checked
@asynccontextmanager
async def open_api_client(connection: Connection) -> AsyncIterator[ApiClient]:
    """A client for as long as the block lasts, for one node or for many."""
    async with open_http(connection) as http:
        yield ApiClient(http, connection)
