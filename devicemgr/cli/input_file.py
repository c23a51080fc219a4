"""A file named on the command line, or standard input: read as text, up to a limit."""

from __future__ import annotations

import codecs
import sys
from pathlib import Path

from ..errors import BadInput

LARGEST = 16 * 2**20
"""Bytes: five times what an API server accepts in one request. A device without an end is refused, too."""


def read_input(file: Path | str, *, largest: int = LARGEST) -> str:
    """The text of ``file``, or of standard input for ``-``: UTF-8, or UTF-16 with a byte order mark, which is what
    PowerShell's ``>`` writes. Raises BadInput.
    """
    name = display_name(file)
    try:
        if name == STDIN:
            raw = sys.stdin.buffer.read(largest + 1)
        else:
            with Path(file).open("rb") as opened:
                raw = opened.read(largest + 1)
        if len(raw) > largest:
            raise BadInput(f"cannot be read: it has more than {largest // 2**20} MiB", file=name)
        return raw.decode("utf-16" if raw[:2] in (codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE) else "utf-8-sig")
    except OSError as error:
        raise BadInput(f"cannot be read: {error.strerror or error}", file=name) from error
    except UnicodeDecodeError as error:
        line = raw.count(b"\n", 0, error.start) + 1
        raise BadInput(f"cannot be read: this is no UTF-8 text: {error}", file=name, line=line) from error


STDIN = "<stdin>"


def display_name(file: Path | str) -> str:
    return STDIN if str(file) == "-" else str(file)
