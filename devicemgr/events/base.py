"""What all events have in common."""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass
from enum import StrEnum
from typing import Any, ClassVar


class Severity(StrEnum):
    """How severe an event is, in ascending order."""

    DEBUG = "debug"
    INFO = "info"
    WARNING = "warning"


@dataclass(frozen=True, slots=True, kw_only=True)
class Event:
    """Base of all events. The log keeps those with ``is_remembered``; events that come many times a second go to the
    sinks only. Subclasses that are warnings, or of interest for debugging only, set ``_severity``."""

    _severity: ClassVar[Severity] = Severity.INFO
    is_remembered: ClassVar[bool] = True

    @property
    def severity(self) -> Severity:
        return self._severity

    @classmethod
    def usual_severity(cls) -> Severity:
        """Where only the kind of an event is known, since a trace does not have all its fields."""
        return cls._severity


def as_json(event: Event) -> dict[str, Any]:
    """The event as a JSON-ready dictionary; its type comes first, under ``event``."""
    return {"event": type(event).__name__, **dataclasses.asdict(event)}
