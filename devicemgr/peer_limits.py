"""How much a peer may ask of the manager.

The manager runs as root and talks to processes it must not trust. What a peer can make grow or happen often has a
limit here; reaching one is an event (:class:`~devicemgr.events.PeerLimitReached`) and a metric, and never a crash. The
kubelet limits the size of a message and nothing else (API-8).

What callers of admin.sock ask for is not limited: they stand for the kubelet itself. And quotas are per process,
so somebody who may call and starts a thousand processes has a thousand.
"""

from __future__ import annotations

from dataclasses import asdict, dataclass

from .arguments import CheckedFields

KUBELET_MESSAGE = 4 * 1024 * 1024
"""Bytes. The kubelet dials plug-ins, and serves, with grpc-go's defaults: no longer message is received (API-8)."""
MESSAGE_SIZE = 4 * KUBELET_MESSAGE
"""Bytes. What agents of the PodResources API receive at most; the kubelet's own limit is about 50,000 devices (LIM-38).
All sizes below are derived from these two."""
SHORTEST_DEVICE = 16
"""Bytes of a healthy device with an id of three characters, in a list."""

_RANGES = {"report_rate": (1.0, 1e6), "registration_rate": (0.1, 1e6), "time_share": (0.01, 1.0)}
_RANGES["time_burst"] = (0.01, 3600.0)
_WITHIN = (
    ("message_size", "listed_size", "a list that may be sent could not be kept"),
    ("answer_size", "answers_size", "an answer that may be sent could not be kept"),
    ("id_length", "answer_size", "a device that is listed could not be preferred"),
)
"""Limits that contradict each other unless the first is at most the second."""


@dataclass(frozen=True, slots=True, kw_only=True)
class PeerLimits(CheckedFields):
    """Sizes in bytes, rates per second; a burst is how much of it may come at once.

    ======================  =========================================================================================
    ``message_size``        a longer message ends its call before its bytes are taken
    ``registration_size``   the same for what is sent to kubelet.sock and to the PodResources API
    ``answer_size``         of a plug-in's answer to one call
    ``answer_fields``       in it, which take 6 µs each; nothing else can happen meanwhile
    ``answers_size``        of all answers to Allocate for pods that are here, which stand in the checkpoint; one more
                            refuses its pod
    ``unread_size``         of answers that wait until one process reads them; one more call fails
    ``listed_size``         of all lists of all plug-ins; what is healthy in them stands in the checkpoint
    ``devices``             in one list; a longer one ends its stream
    ``slow_size``           of those devices of one list whose shape is unusual, and which are read the slow way; more
                            ends its stream
    ``id_length``           of a device; longer ones are left out of their list
    ``resources``           different names; one more is not registered
    ``report_rate``         lists of one plug-in; of what comes faster the newest counts
    ``time_share``          of the manager's time that one process may take with what it sends and, of the PodResources
                            API, asks, after a burst of ``time_burst`` seconds; then it must wait for a moment
    ``registration_rate``   calls of Register by one process; what comes faster must wait
    ``connections``         open ones of one process, to one of our sockets; one more is closed
    ``all_connections``     the same for all processes together
    ``scrapers``            open connections to /metrics; for one more, the one that has asked for nothing for the
                            longest time is closed. All of them together have one ``time_share``
    ======================  =========================================================================================
    """

    message_size: int = MESSAGE_SIZE
    registration_size: int = 16 * 1024
    answer_size: int = KUBELET_MESSAGE
    answer_fields: int = 2**16
    answers_size: int = 4 * KUBELET_MESSAGE
    unread_size: int = MESSAGE_SIZE
    listed_size: int = 2 * MESSAGE_SIZE
    devices: int = KUBELET_MESSAGE // SHORTEST_DEVICE
    slow_size: int = 256 * 1024
    id_length: int = 16 * 1024
    resources: int = 1000
    report_rate: float = 20.0
    report_burst: int = 50
    time_share: float = 0.02
    time_burst: float = 0.1
    registration_rate: float = 2.0
    registration_burst: int = 100
    connections: int = 128
    all_connections: int = 1000
    scrapers: int = 32

    def __post_init__(self) -> None:
        """Raises ValueError for what would let nothing through, is no number to reckon with, or contradicts itself."""
        CheckedFields.__post_init__(self)
        for name, value in asdict(self).items():
            low, high = _RANGES.get(name, (1, 2**31))
            if not low <= value <= high:
                raise ValueError(f"{name} must be from {low:g} to {high:g}, not {str(value)[:50]}")
        for smaller, larger, consequence in _WITHIN:
            if (low := getattr(self, smaller)) > (high := getattr(self, larger)):
                raise ValueError(f"{smaller} ({low}) must be at most {larger} ({high}): {consequence}; set both")
