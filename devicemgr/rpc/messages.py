"""A peer's messages, decoded and converted: a malformed one is the failure of its sender."""

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
    """``convert(message)``; a field of another type than the .proto file says is the sender's failure.

    betterproto2 takes what the bytes say: an integer where a text belongs, None for a group. Raises RpcFailed.
    """
    try:
        return convert(message)
    except (TypeError, ValueError, AttributeError) as error:
        raise RpcFailed(f"malformed {type(message).__name__}: {error}", status="INTERNAL") from error


def checked_request(convert: Callable[[M], V], message: M) -> V:
    """As :func:`checked`, of a request, which is answered with the reason. Raises Refused."""
    try:
        return checked(convert, message)
    except RpcFailed as error:
        raise Refused(str(error)) from error


def parsed(kind: type[P], data: bytes, max_fields: int = sys.maxsize) -> P:
    """``data`` as such a message. Raises RpcFailed: what a decoder raises is the sender's failure; and
    TooManyFields before it decodes more than so many."""
    try:
        check_message(kind, data, max_fields)
        return kind.parse(data)
    except TooManyFields:
        raise
    except Exception as error:
        raise RpcFailed(f"malformed {kind.__name__}: {error}", status="INTERNAL") from error


def text(value: object) -> str:
    """The same, when it is a text. Raises TypeError."""
    if not isinstance(value, str):
        raise TypeError(f"a text is expected, not {value!r}")
    return value


class _Message(Protocol):
    @classmethod
    def parse(cls: type[P], data: bytes) -> P: ...
