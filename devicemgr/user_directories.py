"""Directories of the user, who may be one that nobody knows, without HOME, as in many containers."""

from __future__ import annotations

import os
from pathlib import Path


def home_directory() -> Path:
    """That of HOME or of the list of users; or else the root directory, as containers set it for unknown users."""
    found = Path(os.path.expanduser("~"))
    return found if found.is_absolute() else Path("/")


def cache_directory() -> Path:
    """Ours, which need not exist. By the XDG Base Directory Specification, where a relative path is ignored."""
    given = Path(os.environ.get("XDG_CACHE_HOME", ""))
    return (given if given.is_absolute() else home_directory() / ".cache") / "devicemgr"
