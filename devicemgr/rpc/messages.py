"""Decoding and converting a peer's messages; a malformed one is an error of its sender."""

from __future__ import annotations

import sys
from collections.abc import Callable
from typing import Protocol, TypeVar

from ..errors import Refused, RpcFailed
from .wire_format import TooManyFields, check_message

M = TypeVar("M")
P = TypeVar("P", bound="_Message")
V = TypeVar("V")


def checked(convert: Callable[[M], V], message: M) -> V:
    """``convert(message)``. Raises RpcFailed when a field has not the type that the .proto file gives it: betterproto2
    decodes an integer where a string belongs, and None for a group.
    """
    try:
        return convert(message)
    except (TypeError, ValueError, AttributeError) as error:
        raise RpcFailed(f"malformed {type(message).__name__}: {error}", status="INTERNAL") from error


def checked_request(convert: Callable[[M], V], message: M) -> V:
    """As :func:`checked`, for a request: raises Refused, so that the caller gets the reason."""
    try:
        return checked(convert, message)
    except RpcFailed as error:
        raise Refused(str(error)) from error


def parsed(kind: type[P], data: bytes, max_fields: int = sys.maxsize) -> P:
    """Decode ``data`` as a message of this class. Raises RpcFailed when it is malformed, and TooManyFields, before
    decoding, when it has more than ``max_fields`` fields."""
    try:
        check_message(kind, data, max_fields)
        return kind.parse(data)
    except TooManyFields:
        raise
    except Exception as error:
        raise RpcFailed(f"malformed {kind.__name__}: {error}", status="INTERNAL") from error


def text(value: object) -> str:
    """``value``, which must be a string. Raises TypeError."""
    if not isinstance(value, str):
        raise TypeError(f"expected a string, not {value!r}")
    return value


class _Message(Protocol):
    @classmethod
    def parse(cls: type[P], data: bytes) -> P: ...
