"""A file that is there as a whole or as it was before, whatever ends the program that writes it."""

from __future__ import annotations

import os
from pathlib import Path

from ..errors import BadInput


def write_atomically(path: Path, text: str) -> None:
    """Through a temporary file beside it; what is no file of its own, such as ``/dev/stdout``, is written to.

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
    """Before the work, and not when its results are lost for it. Raises BadInput."""
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
