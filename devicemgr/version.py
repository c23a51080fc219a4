"""Which version this is, for whoever asks: Python programs, the command line, the metrics."""

from __future__ import annotations

from functools import cache


@cache
def installed_version() -> str:
    """As it was installed; ``unknown`` where it runs from a clone. Looked up only when asked for: that takes 20 ms."""
    from importlib.metadata import PackageNotFoundError, version

    try:
        return version(__package__)
    except PackageNotFoundError:
        return "unknown"
