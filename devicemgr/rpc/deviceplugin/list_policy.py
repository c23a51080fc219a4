"""The interface to the policy for a plug-in's lists: how many, how long, and who is charged for the time they take.

The client asks it about each list, so the code that applies lists need not know about limits.
"""

from __future__ import annotations

from ...concurrency.steps import Steps
from ...concurrency.turns import run_in_turns
from ...peer_limits import PeerLimits
from ..transport.limits import ConnectionLimits, PeerPolicy


class ListPolicy(PeerPolicy):
    """Decides about the lists of one plug-in. This base class allows every list, at once.

    A refusal is a :class:`~devicemgr.errors.PeerLimitExceeded`, which ends the stream.
    """

    peer_limits = PeerLimits()

    @property
    def connection_limits(self) -> ConnectionLimits:
        return ConnectionLimits(policy=self)

    def next_list(self) -> float:
        """Seconds for which the next list must wait. After that, the latest one that has arrived is the next."""
        return 0.0

    def lists_skipped(self, count: int) -> None:
        """``count`` lists were not applied, because a later one arrived while they waited."""

    async def work_on_list(self, steps: Steps[None]) -> None:
        """Do the steps of decoding a list and of applying it."""
        await run_in_turns(steps)
