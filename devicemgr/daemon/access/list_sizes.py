"""How much memory the lists of all plug-ins take together."""

from __future__ import annotations

from ...errors import PeerLimitExceeded

DEVICE_SIZE = 128
"""Bytes that a device takes in memory, about, however short its id is."""


class ListSizes:
    """The size of the last list of each resource, in bytes; ``limit`` is that of their sum."""

    def __init__(self, limit: int) -> None:
        self._limit = limit
        self._sizes: dict[str, int] = {}

    def hold(self, resource: str, size: int, devices: int) -> None:
        """The resource has another list now. Raises PeerLimitExceeded when all are too long together then."""
        size = max(size, DEVICE_SIZE * devices)
        others = sum(self._sizes.values()) - self._sizes.get(resource, 0)
        if others + size > self._limit:
            limit = f"{self._limit} are the limit (--peer-limit listed-size)"
            raise PeerLimitExceeded(
                f"a list of {size} bytes beside those of others, {others}; {limit}", limit="listed_size"
            )
        self._sizes[resource] = size

    def release(self, resource: str) -> None:
        """The resource was removed, and its list with it."""
        self._sizes.pop(resource, None)
