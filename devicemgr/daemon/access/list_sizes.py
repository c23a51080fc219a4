"""How much memory the lists of all plug-ins take together."""

from __future__ import annotations

from ...errors import PeerLimitExceeded

DEVICE_SIZE = 128
"""Bytes that a device takes in memory, approximately, even if its id is short."""


class ListSizes:
    """The size of each resource's latest list, in bytes. ``limit`` is that of their sum."""

    def __init__(self, limit: int) -> None:
        self._limit = limit
        self._sizes: dict[str, int] = {}

    def hold(self, resource: str, size: int, devices: int) -> None:
        """Count a resource's new list instead of its last one. Raises PeerLimitExceeded when the sum is too large."""
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
