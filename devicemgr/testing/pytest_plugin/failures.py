"""What a failed test shows of our errors: the lines of the test, without the frames of the portal, Trio and threads.

This is so for errors that we raise on purpose only. Any other error is a bug, and is shown in full.
"""

from __future__ import annotations

import sysconfig
from collections.abc import Iterable
from pathlib import Path
from types import TracebackType

import pytest

from ...errors import DeviceManagerError

_OURS = str(Path(__file__).parent.parent.parent)
_OF_OTHERS = tuple(sysconfig.get_paths()[name] for name in ("stdlib", "purelib", "platlib"))


def without_internal_frames(excinfo: pytest.ExceptionInfo[BaseException]) -> pytest.ExceptionInfo[BaseException]:
    """The same exception, if it is one of ours or about a wrong argument of a call to us: with the frames of the test
    only, unwrapped from a Trio test's group, and without the errors that caused it, which its text already has."""
    error = excinfo.value
    while isinstance(error, BaseExceptionGroup) and len(error.exceptions) == 1:  # as pytest-trio raises it
        (error,) = error.exceptions
    frames = list(_frames(error.__traceback__))
    is_ours = isinstance(error, DeviceManagerError) or (
        isinstance(error, TypeError | ValueError) and bool(frames) and _file(frames[-1]).endswith("arguments.py")
    )
    kept = [frame for frame in frames if not _file(frame).startswith((_OURS, *_OF_OTHERS))]
    if not is_ours or not kept:
        return excinfo
    error.__cause__, error.__suppress_context__ = None, True
    return pytest.ExceptionInfo.from_exception(error.with_traceback(_chain(kept)))


def _frames(traceback: TracebackType | None) -> Iterable[TracebackType]:
    while traceback is not None:
        yield traceback
        traceback = traceback.tb_next


def _file(traceback: TracebackType) -> str:
    return traceback.tb_frame.f_code.co_filename


def _chain(frames: Iterable[TracebackType]) -> TracebackType | None:
    chained = None
    for one in reversed([*frames]):
        chained = TracebackType(chained, one.tb_frame, one.tb_lasti, one.tb_lineno)
    return chained
