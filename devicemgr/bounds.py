"""How much a peer may ask of the manager.

The manager runs as root and talks to processes it must not trust. Whatever a peer can make grow or happen often has a
bound here; reaching one is an event (:class:`~devicemgr.events.BoundReached`) and a metric, never a crash, and
never somebody else's loss. The kubelet has a bound on the size of a message and no other (API-8).
"""

from __future__ import annotations

from dataclasses import dataclass

MESSAGE_SIZE = 16 * 1024 * 1024
"""Bytes. The kubelet stops at 4 MiB, about 50,000 devices (LIM-38)."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Bounds:
    """``message_size``: bytes of one message; a longer one ends its call before its bytes are taken.

    ``report_rate`` and ``report_burst``: lists a plug-in may send per second, and at once. Of what comes faster the
    newest counts, at that rate; the others are skipped unread.
    """

    message_size: int = MESSAGE_SIZE
    report_rate: float = 20.0
    report_burst: int = 50
