"""What all events have in common."""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass
from enum import StrEnum
from typing import Any, ClassVar


class Severity(StrEnum):
    """How loud the log is about an event, the least first."""

    DEBUG = "debug"
    INFO = "info"
    WARNING = "warning"


@dataclass(frozen=True, slots=True, kw_only=True)
class Event:
    """Base of all events. ``is_remembered`` says whether the log keeps it: what comes many times a second goes to
    the sinks only. A subclass that is worth a warning, or only worth debugging, says so in ``_severity``."""

    _severity: ClassVar[Severity] = Severity.INFO
    is_remembered: ClassVar[bool] = True

    @property
    def severity(self) -> Severity:
        return self._severity


def as_json(event: Event) -> dict[str, Any]:
    """The event as a JSON-ready dictionary; its kind stands first, under ``event``."""
    return {"event": type(event).__name__, **dataclasses.asdict(event)}
