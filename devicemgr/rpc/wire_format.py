"""Checks that bytes are a well-formed message. betterproto2 does not: it takes a truncated field for a shorter one.

So a list without its last bytes would be a list with a different device, and three arbitrary bytes would be an answer.
The kubelet refuses both, and ends the stream or fails the call. Nor does betterproto2 check that a known field has the
type that the .proto file gives it: an integer would end up where a string belongs. Here the bytes are scanned once
before they are decoded. Every field must end within its message, have a valid number and a valid wire type and, if it
is known, its own wire type; so must the fields of nested messages.
"""

from __future__ import annotations

import sys
from collections.abc import Iterator
from functools import cache
from typing import Any

import betterproto2

_VARINT, _FIXED_64, _BYTES, _FIXED_32 = 0, 1, 2, 5
_FIXED_SIZES = {_FIXED_64: 8, _FIXED_32: 4}
_TYPE_OF = {
    **dict.fromkeys(betterproto2.WIRE_VARINT_TYPES, _VARINT),
    **dict.fromkeys(betterproto2.WIRE_FIXED_64_TYPES, _FIXED_64),
    **dict.fromkeys(betterproto2.WIRE_LEN_DELIM_TYPES, _BYTES),
    **dict.fromkeys(betterproto2.WIRE_FIXED_32_TYPES, _FIXED_32),
}
_HIGHEST_NUMBER = 2**29 - 1
_LONGEST_VARINT = 10


class RawMessage:
    """In place of a generated message class: keeps the bytes as they are, if they are a message of ``kind``."""

    kind: type[Any] | None = None

    @staticmethod
    def FromString(data: bytes) -> bytes:
        return data


@cache
def raw_message(kind: type[Any]) -> type[RawMessage]:
    """A :class:`RawMessage` for messages of ``kind``."""
    return type(f"Raw{kind.__name__}", (RawMessage,), {"kind": kind})


def unicode_text(text: str) -> str:
    """The text as a message can carry it. A text with a file's name may not be valid Unicode: a name is any bytes."""
    return text.encode(errors="replace").decode()


class EncodedMessage:
    """In place of a message: one that is encoded already, perhaps for many calls."""

    def __init__(self, data: bytes) -> None:
        self._data = data

    def SerializeToString(self) -> bytes:
        return self._data


def field_of_bytes(number: int, body: bytes) -> bytes:
    """A length-delimited field (a string, or a message) with this number, which is below 16."""
    length, size = bytearray(), len(body)
    while size > 127:
        length.append(size & 127 | 128)
        size >>= 7
    length.append(size)
    return bytes((number << 3 | _BYTES,)) + length + body


class TooManyFields(ValueError):
    """Decoding them would take too long."""


def check_message(kind: type[Any], data: bytes, max_fields: int = sys.maxsize) -> None:
    """Raise ValueError unless the lengths and wire types in ``data`` fit this generated class, TooManyFields if it has
    more than ``max_fields``. Values are left to the decoder; data of other classes is not checked."""
    if hasattr(kind := getattr(kind, "kind", None) or kind, "_betterproto"):
        _check(kind, data, 0, len(data), max_fields)


def bodies(data: bytes, number: int) -> Iterator[bytes]:
    """The bytes of each field with this number, in order. Raises ValueError, also when one is not length-delimited."""
    for found, wire_type, start, end in _fields(data, 0, len(data)):
        if found == number:
            if wire_type != _BYTES:
                raise _other_type(found, wire_type)
            yield data[start:end]


def _check(kind: Any, data: bytes, start: int, end: int, room: int) -> int:
    """Check the fields between two offsets; returns how many more there may be."""
    known, inside = _types(kind), _message_fields(kind)
    for number, wire_type, begin, finish in _fields(data, start, end):
        if room <= 0:
            raise TooManyFields
        room -= 1
        if wire_type not in known.get(number, (wire_type,)):
            raise _other_type(number, wire_type)
        if wire_type == _BYTES and number in inside:
            room = _check(inside[number], data, begin, finish, room)
    return room


def _other_type(number: int, wire_type: int) -> ValueError:
    return ValueError(f"field {number} has the wrong wire type {wire_type}")


@cache
def _types(kind: Any) -> dict[int, tuple[int, ...]]:
    """By number, the wire types that a field may have. Repeated numbers may be packed into a length-delimited field."""
    return {
        one.number: (_TYPE_OF[one.proto_type], _BYTES) if one.repeated else (_TYPE_OF[one.proto_type],)
        for one in kind._betterproto.meta_by_field_name.values()
    }


@cache
def _message_fields(kind: Any) -> dict[int, type[Any]]:
    """By number, the classes of the fields that are messages, including entries of maps."""
    known = kind._betterproto
    classes = {number: known.cls_by_field[name] for number, name in known.field_name_by_number.items()}
    return {number: one for number, one in classes.items() if hasattr(one, "_betterproto")}


def _fields(data: bytes, at: int, end: int) -> Iterator[tuple[int, int, int, int]]:
    """Of each field: its number, its wire type, and where its value begins and ends. Raises ValueError."""
    while at < end:
        tag, at = _varint(data, at, end)
        number, wire_type = tag >> 3, tag & 7
        if not 0 < number <= _HIGHEST_NUMBER:
            raise ValueError(f"invalid field number {number}")
        start = at
        if wire_type == _VARINT:
            _, at = _varint(data, at, end)
        elif wire_type == _BYTES:
            length, start = _varint(data, at, end)
            at = start + length
        elif wire_type in _FIXED_SIZES:
            at += _FIXED_SIZES[wire_type]
        else:  # 3 and 4 are groups, which proto3 does not have; betterproto2 would add their fields to the message
            raise ValueError(f"invalid wire type {wire_type}")
        if at > end:
            raise ValueError("unexpected end of the message")
        yield number, wire_type, start, at


def _varint(data: bytes, at: int, end: int) -> tuple[int, int]:
    """A number, and where it ends. Raises ValueError."""
    value = 0
    for place in range(_LONGEST_VARINT):
        if at >= end:
            raise ValueError("unexpected end of the message")
        byte, at = data[at], at + 1
        value |= (byte & 127) << 7 * place
        if byte < 128:
            if value >> 64:
                break
            return value, at
    raise ValueError("a number of more than 64 bits")
