"""A file named on the command line, or standard input: read as text, up to a limit."""

from __future__ import annotations

import codecs
import sys
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import BinaryIO

from ...errors import BadInput

LARGEST = 16 * 2**20
"""Bytes: five times what an API server accepts in one request. A device without an end is refused, too."""


def read_input(file: Path | str, *, largest: int = LARGEST) -> str:
    """The text of ``file``, or of standard input for ``-``: UTF-8, or UTF-16 with a byte order mark, which is what
    PowerShell's ``>`` writes. Raises BadInput.
    """
    name = display_name(file)
    with open_input(file) as opened, readable(name):
        raw = opened.read(largest + 1)
    if len(raw) > largest:
        raise BadInput(f"cannot be read: it has more than {largest // 2**20} MiB", file=name)
    try:
        return raw.decode("utf-16" if raw[:2] in (codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE) else "utf-8-sig")
    except UnicodeDecodeError as error:
        line = raw.count(b"\n", 0, error.start) + 1
        problem = f"cannot be read: this is not UTF-8 text ({error.reason}: {raw[error.start]:#04x})"
        raise BadInput(problem, file=name, line=line) from error


@contextmanager
def open_input(file: Path | str) -> Iterator[BinaryIO]:
    """The bytes of ``file``, or of standard input for ``-``. Raises BadInput if it cannot be opened."""
    if display_name(file) != STDIN:
        with ExitStack() as stack:
            with readable(display_name(file)):
                opened = stack.enter_context(Path(file).open("rb"))
            yield opened
    elif sys.stdin is None:  # as after <&-
        raise BadInput("cannot be read: it is closed", file=STDIN)
    else:
        yield sys.stdin.buffer


@contextmanager
def readable(name: str) -> Iterator[None]:
    """Around reads of an input of this name: an error of the system is BadInput."""
    try:
        yield
    except OSError as error:
        raise BadInput(f"cannot be read: {error.strerror or error}", file=name) from error


STDIN = "<stdin>"


def display_name(file: Path | str) -> str:
    return STDIN if str(file) == "-" else str(file)
