"""How many lists a plug-in may send, how long, and whose time it takes to read them: the interface to who decides.

The client asks it around each list, so that neither the client nor whoever wants the lists knows about quotas.
"""

from __future__ import annotations

from ...model import DeviceList
from ...peer_limits import PeerLimits
from ...steps import Steps
from ...turns import run_in_turns
from ..transport.limits import ConnectionLimits, PeerPolicy


class ListPolicy(PeerPolicy):
    """Decides about one plug-in. As it is here, every list is applied at once, however many there are.

    A refusal is a :class:`~devicemgr.errors.PeerLimitExceeded`, which ends the stream.
    """

    peer_limits = PeerLimits()

    @property
    def connection_limits(self) -> ConnectionLimits:
        return ConnectionLimits(policy=self)

    def next_list(self) -> float:
        """Seconds for which the next list must wait; then the latest that has arrived is the next one."""
        return 0.0

    def lists_skipped(self, count: int) -> None:
        """So many were not applied, because a later one arrived while they waited."""

    def hold_list(self, devices: DeviceList) -> None:
        """The list replaces the plug-in's last one in memory. Raises PeerLimitExceeded."""

    async def work_on_list(self, steps: Steps[None]) -> None:
        """Decode a list, and do with it what the client's caller wants."""
        await run_in_turns(steps)
