"""Writing a file atomically: it is complete, or as it was before."""

from __future__ import annotations

import os
from pathlib import Path

from ...errors import BadInput


def write_atomically(path: Path, text: str) -> None:
    """Write to a temporary file beside it, and rename that. What is not a regular file, such as ``/dev/stdout``, is
    written to directly.

    Raises OSError.
    """
    if not _is_replaceable(path):
        path.write_text(text, encoding="utf-8")
        return
    target = path.resolve()  # a symbolic link stays one
    temporary = _temporary_name(target)
    try:
        temporary.write_text(text, encoding="utf-8")
        os.replace(temporary, target)
    finally:
        temporary.unlink(missing_ok=True)


def check_writable(path: Path) -> None:
    """To be called before the work, so that its results are not lost. Raises BadInput."""
    try:
        if not _is_replaceable(path):  # a pipe may have no reader yet
            return
        temporary = _temporary_name(path.resolve())
        temporary.touch(exist_ok=False)
        temporary.unlink()
    except OSError as error:
        raise BadInput(f"cannot be written: {error.strerror}", file=str(path)) from error


def _is_replaceable(path: Path) -> bool:
    is_of_the_system = {Path("/dev"), Path("/proc")} & set(path.absolute().parents)
    return not is_of_the_system and (path.is_file() or not path.exists())


def _temporary_name(target: Path) -> Path:
    return target.with_name(f".{target.name}.{os.getpid()}")
