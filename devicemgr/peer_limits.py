"""How much a peer may ask of the manager.

The manager runs as root and talks to processes that it must not trust. Whatever a peer can make larger or more frequent
has a limit here. Reaching a limit is an event (:class:`~devicemgr.events.PeerLimitReached`) and counted in a metric.
The kubelet limits the size of a message and nothing else (API-8).

Two things are not limited: what callers of admin.sock ask for, since they act for the kubelet itself; and the number of
processes. Quotas are per process, so a user who may call and starts a thousand processes has a thousand.
"""

from __future__ import annotations

from dataclasses import asdict, dataclass

from .arguments import CheckedFields

KUBELET_MESSAGE = 4 * 1024 * 1024
"""Bytes of a message that the kubelet receives at most, as client and as server: grpc-go's default (API-8)."""
MESSAGE_SIZE = 4 * KUBELET_MESSAGE
"""Bytes that clients of the PodResources API receive at most, about 50,000 devices from the kubelet (LIM-38). All sizes
below are derived from these two."""
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
    """Sizes are in bytes, rates per second; a burst is how many, or how many seconds, may come at once.

    ======================  =========================================================================================
    ``message_size``        of one message; a longer one ends its call before it is received
    ``registration_size``   the same for messages to kubelet.sock and to the PodResources API
    ``answer_size``         of a plug-in's answer to one call
    ``answer_fields``       in that answer; each takes 6 µs to decode, during which nothing else can happen
    ``answers_size``        of all answers to Allocate for pods on this node, which are kept in the checkpoint; a pod
                            with one more is refused
    ``unread_size``         of answers that one process has not read yet; its next call fails
    ``listed_size``         of all lists of all plug-ins; the ids of healthy devices are kept in the checkpoint
    ``devices``             in one list; a longer list ends its stream
    ``slow_size``           of the devices of one list that are encoded in an unusual way, which takes longer to decode;
                            more of them end the stream
    ``id_length``           of a device id; devices with longer ones are left out of their list
    ``resources``           that are registered at the same time; one more is refused
    ``standbys``            plug-ins of one resource that stand by while a newer one serves; the oldest of more is
                            disconnected
    ``report_rate``         lists of one plug-in; when they arrive faster, only the latest is applied
    ``time_share``          of one CPU, for what one process sends and for its requests to the PodResources API, after
                            ``time_burst`` seconds of it; then nothing is read from the process for a while
    ``registration_rate``   calls of Register by one process; further ones wait
    ``connections``         of one process to one of our sockets; one more is closed
    ``all_connections``     the same for all processes together
    ``scrapers``            connections to /metrics; for one more, the one whose last request is the longest ago is
                            closed. All of them together have one ``time_share``
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
    standbys: int = 8
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
        """Raises ValueError for a limit that is not finite or out of range, and for limits that contradict others."""
        CheckedFields.__post_init__(self)
        for name, value in asdict(self).items():
            low, high = _RANGES.get(name, (1, 2**31))
            if not low <= value <= high:
                raise ValueError(f"{name} must be from {low:g} to {high:g}, not {str(value)[:50]}")
        for smaller, larger, consequence in _WITHIN:
            if (low := getattr(self, smaller)) > (high := getattr(self, larger)):
                raise ValueError(f"{smaller} ({low}) must be at most {larger} ({high}): {consequence}; set both")
