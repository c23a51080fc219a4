"""Groups of errors, which nurseries raise, for callers who cannot see the nursery."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import trio

from ..errors import DeviceManagerError, ManagerClosed


@contextmanager
def collapse_exception_group() -> Iterator[None]:
    """Around a nursery the caller cannot see: a group of one error becomes that error.

    The group would only show our own nesting, and ``except DirectoryInUse`` would not match it. Cancellations that come
    together with errors are dropped: their scope is being left anyway. So is ManagerClosed, which only follows from
    another error. A group of several errors stays as it is.
    """
    try:
        yield
    except BaseExceptionGroup as group:
        error: BaseException = (
            group.split((trio.Cancelled, ManagerClosed))[1] or group.split(trio.Cancelled)[1] or group
        )
        while isinstance(error, BaseExceptionGroup) and len(error.exceptions) == 1:
            error = error.exceptions[0]
        if isinstance(error, BaseExceptionGroup):
            raise
        raise error from error.__cause__


@contextmanager
def first_of_many(kind: type[DeviceManagerError]) -> Iterator[None]:
    """Many tasks often fail for one reason, in the same moment: it is told once. A group with another error in it stays
    as it is."""
    try:
        yield
    except BaseExceptionGroup as group:
        errors, others = group.split(kind)
        if errors is None or others is not None:
            raise
        error: BaseException = errors
        while isinstance(error, BaseExceptionGroup):
            error = error.exceptions[0]
        raise error from None
