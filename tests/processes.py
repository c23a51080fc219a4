"""A program that a test starts, and that does not outlive it."""

from __future__ import annotations

import subprocess
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from os import PathLike
from typing import Any

HANGS = 300.0
"""Seconds after which a program has hung, however busy the machine is; nothing waits for as long as that."""


@contextmanager
def running(command: Sequence[str | PathLike[str]], **options: Any) -> Iterator[subprocess.Popen[Any]]:
    """The program, with Popen's ``options``. If it still runs at the end of the block, it is killed.

    Popen's own ``with`` waits for it instead: a test that fails meanwhile would hang, and not say why.
    """
    with subprocess.Popen(command, **options) as program:
        try:
            yield program
        finally:
            program.kill()
