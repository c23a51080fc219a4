"""Are these bytes a message at all? betterproto2 does not ask: it takes a field that is cut off for a shorter one.

So a list that lost its last bytes would be a list with another device, and three arbitrary bytes an answer. The kubelet
refuses both, and ends the stream or fails the call. Nor does it ask whether a field that it knows has the type that
the .proto says: a number becomes a text that is none. Here the bytes are walked once before they are decoded: every
field ends within its message, has a number and a type that there is, its own one if it is known, and so have the fields
of the messages inside.
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
    """Stands in for a generated message class: takes the bytes as they are, if they are a message of ``kind``."""

    kind: type[Any] | None = None

    @staticmethod
    def FromString(data: bytes) -> bytes:
        return data


@cache
def raw_message(kind: type[Any]) -> type[RawMessage]:
    """The class whose messages are the bytes of messages of ``kind``."""
    return type(f"Raw{kind.__name__}", (RawMessage,), {"kind": kind})


def unicode_text(text: str) -> str:
    """A text as it may stand in a message. What names a file may be no Unicode, since its name may be any bytes."""
    return text.encode(errors="replace").decode()


class EncodedMessage:
    """Stands in for a message that was encoded before, perhaps for many calls."""

    def __init__(self, data: bytes) -> None:
        self._data = data

    def SerializeToString(self) -> bytes:
        return self._data


def field_of_bytes(number: int, body: bytes) -> bytes:
    """A field of this number, below 16, with a length: a text, or a message."""
    length, size = bytearray(), len(body)
    while size > 127:
        length.append(size & 127 | 128)
        size >>= 7
    length.append(size)
    return bytes((number << 3 | _BYTES,)) + length + body


class TooManyFields(ValueError):
    """It would take too long to decode them."""


def check_message(kind: type[Any], data: bytes, max_fields: int = sys.maxsize) -> None:
    """Raises ValueError unless ``data`` is a message of this generated class as far as its lengths and types go; what
    the values are is left to the decoder. Other classes are not looked at. Raises TooManyFields, too."""
    if hasattr(kind := getattr(kind, "kind", None) or kind, "_betterproto"):
        _check(kind, data, 0, len(data), max_fields)


def bodies(data: bytes, number: int) -> Iterator[bytes]:
    """The bytes of each field of this number, in order. Raises ValueError, also when one has no length."""
    for found, wire_type, start, end in _fields(data, 0, len(data)):
        if found == number:
            if wire_type != _BYTES:
                raise _other_type(found, wire_type)
            yield data[start:end]


def _check(kind: Any, data: bytes, start: int, end: int, room: int) -> int:
    """How many more fields there may be after these."""
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
    return ValueError(f"field {number} has type {wire_type}, which is not its own")


@cache
def _types(kind: Any) -> dict[int, tuple[int, ...]]:
    """By number the types that a field may have. Repeated numbers may be packed into one field with a length."""
    return {
        one.number: (_TYPE_OF[one.proto_type], _BYTES) if one.repeated else (_TYPE_OF[one.proto_type],)
        for one in kind._betterproto.meta_by_field_name.values()
    }


@cache
def _message_fields(kind: Any) -> dict[int, type[Any]]:
    """By number the fields that are messages themselves, entries of maps among them."""
    known = kind._betterproto
    classes = {number: known.cls_by_field[name] for number, name in known.field_name_by_number.items()}
    return {number: one for number, one in classes.items() if hasattr(one, "_betterproto")}


def _fields(data: bytes, at: int, end: int) -> Iterator[tuple[int, int, int, int]]:
    """Number, type, and from where to where its value goes, of each field. Raises ValueError."""
    while at < end:
        tag, at = _varint(data, at, end)
        number, wire_type = tag >> 3, tag & 7
        if not 0 < number <= _HIGHEST_NUMBER:
            raise ValueError(f"there is no field {number}")
        start = at
        if wire_type == _VARINT:
            _, at = _varint(data, at, end)
        elif wire_type == _BYTES:
            length, start = _varint(data, at, end)
            at = start + length
        elif wire_type in _FIXED_SIZES:
            at += _FIXED_SIZES[wire_type]
        else:  # 3 and 4 are groups, which proto3 has not; betterproto2 would read their fields as the message's own
            raise ValueError(f"there is no type {wire_type} of a field")
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
