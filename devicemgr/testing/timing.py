"""How long the conformance checks wait."""

from __future__ import annotations

from dataclasses import dataclass

from ..arguments import CheckedFields, Count, Seconds


@dataclass(frozen=True, slots=True, kw_only=True)
class Timing(CheckedFields):
    """How long the checks wait, in seconds. ``restarts`` is a number of restarts, ``restarting`` the time for them."""

    patience: Seconds = 30.0  # until a plug-in has registered, again or for the first time
    prompt: Seconds = 5.0  # for what must come at once: options, the first list
    quiet_period: Seconds = 11.0  # long enough to see something twice that is done every five seconds
    restart_delay: Seconds = 5.0  # between the end of the manager and its next start
    termination_grace_period: Seconds = 10.0  # after SIGTERM
    restarts: Count = 50
    restarting: Seconds = 30.0
