"""How wide the terminal is."""

from __future__ import annotations

import shutil
import sys


def columns() -> int | None:
    """Of the terminal that standard output is, as it is now; None if it is none."""
    if sys.stdout is None or not sys.stdout.isatty():
        return None
    return shutil.get_terminal_size().columns
