"""The version of this package, for Python programs, the command line and the metrics."""

from __future__ import annotations

from functools import cache


@cache
def installed_version() -> str:
    """The installed version, or ``unknown`` in a clone. Looked up on demand: that takes 20 ms."""
    from importlib.metadata import PackageNotFoundError, version

    try:
        return version(__package__)
    except PackageNotFoundError:
        return "unknown"
