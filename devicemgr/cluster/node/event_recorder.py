"""Events in the API: in order, and one for all repetitions.

They are for people, so none is worth a delay of anything else: they wait in a queue, and when that is full, because the
API server is away for long, the newest are dropped.
"""

from __future__ import annotations

import random
from collections import OrderedDict
from collections.abc import Callable
from contextlib import suppress
from functools import partial

import trio

from ...errors import ApiError
from ..api.answers import NOT_FOUND
from ..api.client import ApiClient
from ..api.retries import concerns_one_request
from ..objects.event import Remark, events_path, new_event, repeated
from ..objects.metadata import Object

QUEUE = 1000
REMEMBERED = 500
"""How many Events may still be counted up."""


class EventRecorder:
    """Writes the Events of one node."""

    def __init__(self, api: ApiClient, *, node: str, clock: Callable[[], float]) -> None:
        self._api = api
        self._node = node
        self._clock = clock
        self._send, self._receive = trio.open_memory_channel[tuple[float, Remark]](QUEUE)
        self._known: OrderedDict[Remark, Object] = OrderedDict()

    def say(self, remark: Remark) -> None:
        """Queue it, unless the queue is full."""
        with suppress(trio.WouldBlock):
            self._send.send_nowait((self._clock(), remark))

    async def run(self) -> None:
        """Write what is in the queue, until cancelled."""
        async for time, remark in self._receive:
            try:
                # While the server is away it waits. What is refused, as by a webhook, keeps no other one waiting.
                self._known[remark] = await self._api.retrying(
                    partial(self._tell, remark, time), gives_up=concerns_one_request
                )
            except ApiError:
                # Its namespace is about to end, or nobody may write Events here: whoever asks sees the pod's status.
                self._known.pop(remark, None)
            while len(self._known) > REMEMBERED:
                self._known.popitem(last=False)

    async def _tell(self, remark: Remark, time: float) -> Object:
        path = events_path(remark)
        if known := self._known.get(remark):
            try:
                return await self._api.patch(f"{path}/{known['metadata']['name']}", repeated(known, time=time))
            except ApiError as error:
                if error.code != NOT_FOUND:  # it has expired: Events are kept for an hour
                    raise
        suffix = f"{random.getrandbits(64):016x}"
        return await self._api.create(path, new_event(remark, node=self._node, time=time, suffix=suffix))
