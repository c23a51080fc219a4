"""What the API server refuses although a node has to do it: reported once, and tried again.

Failures that pass are the client's (``ApiClient.retrying``). What is left is mostly a permission that is missing, or a
webhook that says no: somebody can change that while the node runs.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Collection
from typing import TypeVar

import trio

from ...daemon.event_log import EventLog
from ...errors import ApiError
from ...events import ApiRequestRefused
from ..api.client import ApiClient

T = TypeVar("T")

RETRY_PERIOD = 10.0
"""Seconds until something that was refused is tried again."""


class Refusals:
    def __init__(self, api: ApiClient, log: EventLog) -> None:
        self._api = api
        self._log = log
        self._told: dict[str, str] = {}
        self.ends_the_node = True
        """Until it has joined: whoever starts it wants to know at once."""

    async def persist(self, what: str, call: Callable[[], Awaitable[T]], *, but: Collection[int] = ()) -> T:
        """What ``call`` returns once it has succeeded. Raises ApiError with one of the codes in ``but``."""
        while True:
            try:
                answer = await self._api.retrying(call)
            except ApiError as error:
                if error.code in but or self.ends_the_node:
                    self._told.pop(what, None)
                    raise
                self.report(what, error)
            else:
                self._told.pop(what, None)
                return answer
            await trio.sleep(RETRY_PERIOD)

    def report(self, what: str, error: ApiError) -> None:
        """Once, until it succeeds or another answer comes."""
        if self._told.get(what) != str(error):
            self._told[what] = str(error)
            self._log.record([ApiRequestRefused(what=what, problem=str(error))])
