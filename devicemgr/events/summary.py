"""Devices and answers in short, for events that are kept and for views of them: bounded, whatever a peer sends."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from itertools import islice
from typing import Any

from ..model import DeviceId, PluginOptions, RunOptions

MOST_NAMED = 4
"""Of so many devices each is named; of more only their number is given."""
LONGEST_ID = 40
"""Characters of an id. Of a longer one the ends are shown."""
LONGEST = 300
"""Characters of any other text, for example an error's."""
MOST_VALUES = 8
"""Values of a list or a mapping."""


def devices_in_short(ids: Sequence[DeviceId]) -> str:
    """``dev-0, dev-1``, or ``100,000 devices``."""
    if len(ids) > MOST_NAMED:
        return f"{len(ids):,} devices"
    return ", ".join(shortened(id, LONGEST_ID) for id in ids) or "no devices"


def counts_in_short(capacity: int, allocatable: int) -> str:
    """Of a list: ``4 devices, 1 unhealthy``."""
    devices = counted(capacity, "device")
    return devices if allocatable == capacity else f"{devices}, {capacity - allocatable:,} unhealthy"


def options_in_short(options: PluginOptions) -> str:
    """The calls that a plug-in asks for, by the names of the options."""
    names = (name for name in ("pre_start_required", "get_preferred_allocation_available") if getattr(options, name))
    return ", ".join(names) or "no options"


def answer_in_short(options: RunOptions) -> str:
    """How much of each kind the runtime is to add: ``2 environment variables, 1 device node``."""
    kinds = {
        "environment variable": options.envs,
        "mount": options.mounts,
        "device node": options.device_specs,
        "annotation": options.annotations,
        "CDI device": options.cdi_devices,
    }
    return ", ".join(counted(len(values), kind) for kind, values in kinds.items() if values) or "nothing to add"


def counted(number: int, kind: str) -> str:
    return f"{number:,} {kind}{'s' * (number != 1)}"


def shortened(text: str, longest: int = LONGEST) -> str:
    """The text whole, or cut in the middle."""
    if len(text) <= longest:
        return text
    head = longest // 2
    return f"{text[:head]}…{text[head + 1 - longest :]}"


def values_in_short(value: Any, *, depth: int = 3) -> Any:
    """A field of an event as JSON-ready data: long texts are cut, and of many values there are the first ones, and how
    many more it has. That is not how many there are in all: an event may name only some itself."""
    match value:
        case str():
            return shortened(value)
        case Mapping() | list() | tuple() if not depth:
            return "…"
        case Mapping():
            some_keys = islice(value, MOST_VALUES)
            kept = {shortened(str(key)): values_in_short(value[key], depth=depth - 1) for key in some_keys}
            return kept if len(value) <= MOST_VALUES else {**kept, "…": f"{len(value) - MOST_VALUES:,} more"}
        case list() | tuple():
            some = [values_in_short(one, depth=depth - 1) for one in value[:MOST_VALUES]]
            return some if len(value) <= MOST_VALUES else [*some, f"… {len(value) - MOST_VALUES:,} more"]
        case _:
            return value
