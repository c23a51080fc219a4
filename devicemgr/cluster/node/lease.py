"""The Lease of a node: heartbeat, and the answer to "which of two agents of this name is the node?".

Another agent's Lease is taken when it has not been renewed for as long as it says, by our clock: clocks of two machines
differ, so the time in it is only compared with what it was before. An agent that could not renew its Lease for that
long has to expect that it was taken, so it admits no pods until it knows.

The Lease that this machine left behind when it was started again is taken at once: nobody else would renew it.
"""

from __future__ import annotations

import random
from collections.abc import Awaitable, Callable

import trio

from ...concurrency.condition_variable import ConditionVariable
from ...daemon.event_log import EventLog
from ...errors import ApiError
from ...events import NodeLeaseTaken, NodeStandsBy
from ..api.answers import CONFLICT, NOT_FOUND
from ..api.client import ApiClient
from ..api.retries import Backoff
from ..objects.lease import (
    DURATION,
    RENEW_PERIOD,
    duration_of,
    ended_with_a_reboot,
    holder_of,
    new_lease,
    renewal_of,
    renewed,
)
from ..objects.metadata import LEASES, Object, lease_path
from .refusals import Refusals

LOOK_PERIOD = 2.0
"""Seconds between two looks at the Lease of another agent; a node may not watch it."""


class NodeLease:
    """The Lease of one node; ``holder`` is who this agent is. A ``node_uid`` of None is a Node that is not there."""

    def __init__(
        self,
        api: ApiClient,
        log: EventLog,
        refusals: Refusals,
        *,
        name: str,
        holder: str,
        node_uid: Callable[[], str | None],
        clock: Callable[[], float],
    ) -> None:
        self._api = api
        self._log = log
        self._refusals = refusals
        self._name = name
        self._holder = holder
        self._clock = clock
        self._latest: Object | None = None
        self._valid_until = float("-inf")
        self._has_been_held = False
        self._is_unsure = False
        """Whether the last write has reached the API server is not known."""
        self._renewed = ConditionVariable()
        self._conflicts = Backoff()
        """Whoever was quicker may be so again and again."""
        self._node_uid = node_uid

    async def acquire(self) -> None:
        """Return as the holder. While another agent is, wait, and say so once."""
        seen: tuple[str, str] = ("", "")
        since = trio.current_time()
        while True:
            lease = await self._read()
            if lease is None:
                if await self._create():
                    break
                continue
            holder = holder_of(lease)
            if self._has_to_wait_for(holder):
                if seen != (holder, renewal_of(lease)):
                    if seen[0] != holder:
                        self._log.record([NodeStandsBy(node=self._name, holder=holder, seconds=duration_of(lease))])
                    seen, since = (holder, renewal_of(lease)), trio.current_time()
                if trio.current_time() < since + duration_of(lease):
                    await trio.sleep(LOOK_PERIOD * random.uniform(0.8, 1.0))
                    continue
            if await self._replace(lease):
                break
        self._log.record([NodeLeaseTaken(node=self._name, holder=self._holder)])

    def _has_to_wait_for(self, holder: str) -> bool:
        """Does it belong to another agent, which may run? One that has taken it from us does, whatever it says: copies
        of a virtual machine may have one name and one id."""
        if holder in ("", self._holder):
            return False
        return self._has_been_held or not ended_with_a_reboot(holder, self._holder)

    async def keep(self) -> None:
        """Renew it, until another agent has taken it."""
        while True:
            await trio.sleep(RENEW_PERIOD * random.uniform(0.96, 1.04))
            while not (self._latest is not None and await self._replace(self._latest)):
                lease = await self._read()
                if lease is None:
                    if await self._create():
                        break
                elif holder_of(lease) not in ("", self._holder):
                    self._valid_until = float("-inf")
                    return
                else:
                    self._latest = lease

    async def find_out(self) -> None:
        """At the end, when a write was cut short: is it held? Raises ApiError and ApiUnreachable."""
        if self._is_unsure:
            lease = await self._api.get(lease_path(self._name))
            if holder_of(lease) == self._holder:
                self._latest, self._valid_until = lease, trio.current_time() + DURATION

    async def release(self) -> None:
        """Give it back, so that the next agent of this name need not wait."""
        if self._latest is not None and self.is_held:
            await self._api.delete(lease_path(self._name), uid=self._latest["metadata"]["uid"])

    @property
    def is_held(self) -> bool:
        """It is certain that no other agent has taken it."""
        return trio.current_time() < self._valid_until

    async def wait_held(self) -> None:
        """Return when it is certain again."""
        await self._renewed.wait_until(lambda: self.is_held)

    async def _read(self) -> Object | None:
        try:
            return await self._refusals.persist(
                "read the node's Lease", lambda: self._api.get(lease_path(self._name)), but=[NOT_FOUND]
            )
        except ApiError as error:
            if error.code != NOT_FOUND:
                raise
            return None

    async def _create(self) -> bool:
        fresh = new_lease(self._name, self._holder, time=self._clock(), node_uid=self._node_uid())
        return await self._write("create the node's Lease", lambda: self._api.create(LEASES, fresh))

    async def _replace(self, lease: Object) -> bool:
        """False when somebody was quicker, or has deleted it."""

        async def call() -> Object:
            # As a repetition may be later, the time is that of each try.
            fresh = renewed(lease, self._holder, time=self._clock(), node_uid=self._node_uid())
            return await self._api.replace(lease_path(self._name), fresh)

        return await self._write("renew the node's Lease", call)

    async def _write(self, what: str, call: Callable[[], Awaitable[Object]]) -> bool:
        began = trio.current_time()

        async def timed() -> Object:
            nonlocal began
            began = trio.current_time()
            return await call()

        self._is_unsure = True
        try:
            self._latest = await self._refusals.persist(what, timed, but=[CONFLICT, NOT_FOUND])
        except ApiError as error:
            self._is_unsure = False
            if error.code not in (CONFLICT, NOT_FOUND):
                raise
            self._latest = None
            self._conflicts = self._conflicts.failed()
            await trio.sleep(self._conflicts.delay(random.random()))
            return False
        self._is_unsure = False
        self._conflicts = Backoff()
        self._valid_until = began + DURATION
        self._has_been_held = True
        self._renewed.notify()
        return True
