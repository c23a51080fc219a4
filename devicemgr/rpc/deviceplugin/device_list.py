"""Decoding the lists of one ListAndWatch stream, each as the difference from the one before.

A list is always complete (API-2), so a plug-in with 10,000 devices sends 250 kB when one of them breaks. Decoding all
of it again with betterproto2 takes a quarter of a second. Three observations make that a matter of microseconds:

1. *The same bytes at the same place mean the same devices.* What two messages have in common at their beginning and at
   their end is found by comparing memory, and is not decoded again.
2. *A message can be split without decoding it*: it repeats field 1, a length, and that many bytes.
3. *What follows the id in a device repeats*: health and topology have a handful of different encodings. betterproto2
   decodes each of them once.

Any other encoding (an unknown field, an id that is not first) is left to betterproto2, device by device. So the result
is always what betterproto2 would give for a well-formed message (``wire_format``); a property test checks this for
arbitrary bytes. The slow way takes up to 2 µs per byte, so the number of bytes in one list that need it is limited
(``slow_size``), and so is the number of fields in one device (``MAX_FIELDS``), which is decoded in one step.

A long list is decoded in steps (``steps``), between which other tasks run.
"""

from __future__ import annotations

from bisect import bisect_left, bisect_right
from itertools import repeat

from ...concurrency.steps import CHUNK, Steps
from ...errors import PeerLimitExceeded, RpcFailed
from ...model import Device, DeviceList
from ...peer_limits import PeerLimits
from ..messages import checked, parsed
from ..stubs import v1beta1 as wire
from ..wire_format import TooManyFields, bodies
from . import convert

_FIELD_1 = 0x0A
"""Tag of field 1 with a length: an entry of a list, and the id of an entry."""
_STEP = 4096
MAX_TAILS = 1000
"""How many encodings of health and topology are remembered."""
MAX_FIELDS = 4096
"""In one device, at 6 µs each: twice as many as in a device on every possible NUMA node."""


# The __init__ of a frozen dataclass would be the most expensive step here: 10,000 devices take 6 ms with it, and 2 ms
# when their slots are filled directly. No other code sees a device before it is complete.
_NEW = object.__new__
_SET_ID, _SET_HEALTH, _SET_NODES = (getattr(Device, name).__set__ for name in ("id", "health", "numa_nodes"))


class _UnusualEncoding(Exception):
    """betterproto2 must decode this device, or the whole message."""


class DeviceListDecoder:
    """Decodes the messages of one stream in order, and remembers the last."""

    def __init__(self, peer_limits: PeerLimits = PeerLimits()) -> None:  # noqa: B008 - frozen
        self._max_devices = peer_limits.devices
        self._slow_size = peer_limits.slow_size
        self._slow_bytes = 0
        self._raw = b""
        self._starts = [0]  # where each entry begins, and where the last one ends
        self._list = DeviceList()
        self._tails: dict[bytes, tuple[str, tuple[int, ...] | None]] = {}

    def decoding(self, raw: bytes) -> Steps[DeviceList]:
        """Decode a list; duplicates are kept.

        Raises RpcFailed for malformed bytes, and PeerLimitExceeded for too many devices or too many bytes that only
        betterproto2 can decode.
        """
        self._slow_bytes = 0
        try:
            starts, found = yield from self._difference(raw)
        except _UnusualEncoding:
            self._raw, self._starts, self._list = b"", [0], DeviceList()  # nothing to compare the next one with
            devices = yield from self._decode_one_by_one(raw)
            return DeviceList(devices=devices, size=len(raw))
        self._raw, self._starts, self._list = raw, starts, found
        return found

    def _difference(self, raw: bytes) -> Steps[tuple[list[int], DeviceList]]:
        old, starts, devices = self._raw, self._starts, self._list.devices
        first = bisect_right(starts, _common_start(old, raw)) - 1  # entries before it are the same
        shift = len(raw) - len(old)
        # The common end; no byte may count as both beginning and end.
        same_end = min(_common_end(old, raw), len(old) - starts[first], len(raw) - starts[first])
        last = bisect_left(starts, len(old) - same_end)
        room = self._max_devices - first - (len(starts) - 1 - last)
        cuts, added = yield from self._entries(raw, starts[first], starts[last] + shift, room)
        rest = [start + shift for start in starts[last:]] if shift else starts[last:]
        return (
            starts[:first] + cuts + rest,
            DeviceList(
                devices=devices[:first] + added + devices[last:],
                size=len(raw),
                base=self._list.token,
                removed=devices[first:last],
                added=added,
            ),
        )

    def _entries(self, raw: bytes, at: int, end: int, room: int) -> Steps[tuple[list[int], list[Device]]]:
        """Decode the entries between two offsets, at most ``room``; returns where each begins, and the devices.

        Raises _UnusualEncoding, or PeerLimitExceeded when there are more.

        One flat loop: for 10,000 new devices, each function call in it costs a millisecond.
        """
        cuts, devices, tails = [], [], self._tails
        try:
            while at < end and room > 0:
                for _ in repeat(None, min(room, CHUNK)):
                    if at >= end:
                        break
                    cuts.append(at)
                    if raw[at] != _FIELD_1:
                        raise _UnusualEncoding
                    begin, at = (at + 2, at + 2 + raw[at + 1]) if raw[at + 1] < 128 else _body(raw, at)
                    try:
                        if raw[begin] != _FIELD_1:
                            raise _UnusualEncoding
                        length = raw[begin + 1]
                        id_begin, id_end = (begin + 2, begin + 2 + length) if length < 128 else _body(raw, begin)
                        if not id_end <= at <= end:
                            raise _UnusualEncoding
                        tail = raw[id_end:at]
                        if (known := tails.get(tail)) is None:
                            known = self._decoded(tail)
                            yield
                        health, nodes = known
                        device = _NEW(Device)
                        _SET_ID(device, raw[id_begin:id_end].decode())
                        _SET_HEALTH(device, health)
                        _SET_NODES(device, nodes)
                    except (_UnusualEncoding, IndexError, UnicodeDecodeError):
                        if at > end:
                            raise
                        device = self._decoded_whole(raw[begin:at])
                        yield
                    devices.append(device)
                room -= CHUNK
                yield
        except (IndexError, UnicodeDecodeError) as error:
            raise _UnusualEncoding from error
        if at < end:
            raise _limit_exceeded("more devices", self._max_devices, "devices")
        return cuts, devices

    def _decode_one_by_one(self, raw: bytes) -> Steps[list[Device]]:
        """The devices of a message with an unusual encoding."""
        devices: list[Device] = []
        try:
            for body in bodies(raw, 1):
                if len(devices) >= self._max_devices:
                    raise _limit_exceeded("more devices", self._max_devices, "devices")
                devices.append(self._decoded_whole(body))
                yield
        except ValueError as error:
            text = f"malformed {wire.ListAndWatchResponse.__name__}: {error}"
            raise RpcFailed(text, status="INTERNAL") from error
        return devices

    def _decoded(self, tail: bytes) -> tuple[str, tuple[int, ...] | None]:
        """Health and NUMA nodes of a device from what follows its id."""
        self._count_slow(tail)
        if len(self._tails) >= MAX_TAILS:
            self._tails.clear()
        found = self._tails[tail] = _decoded_tail(tail)
        return found

    def _decoded_whole(self, body: bytes) -> Device:
        self._count_slow(body)
        try:
            return checked(convert.device_from_wire, parsed(wire.Device, body, MAX_FIELDS))
        except TooManyFields:
            raise _limit_exceeded("more fields of one device", MAX_FIELDS, "slow_size") from None

    def _count_slow(self, data: bytes) -> None:
        self._slow_bytes += len(data)
        if self._slow_bytes > self._slow_size:
            raise _limit_exceeded("more bytes of an unusual shape", self._slow_size, "slow_size")


def _limit_exceeded(what: str, limit: int, peer_limit: str) -> PeerLimitExceeded:
    return PeerLimitExceeded(f"a list with {what} than {limit}", limit=peer_limit)


def _decoded_tail(tail: bytes) -> tuple[str, tuple[int, ...] | None]:
    try:
        message = parsed(wire.Device, b"\x0a\x01x" + tail, MAX_FIELDS)
        if message.id != "x":
            raise _UnusualEncoding  # a second id, which counts instead of the first
        device = convert.device_from_wire(message)
    except _UnusualEncoding:
        raise
    except Exception as error:  # the whole device will be refused, with the usual message
        raise _UnusualEncoding from error
    return device.health, device.numa_nodes


def _body(raw: bytes, start: int) -> tuple[int, int]:
    """Where the body of the field at ``start`` begins and ends; the field's tag has one byte.

    Raises _UnusualEncoding or IndexError.
    """
    length, at, bits = raw[start + 1], start + 2, 0
    if length > 127:
        length &= 127
        while True:
            byte, at, bits = raw[at], at + 1, bits + 7
            length |= (byte & 127) << bits
            if byte < 128:
                break
            if bits > 21:
                raise _UnusualEncoding
    return at, at + length


def _common_start(one: bytes, other: bytes) -> int:
    """How many bytes at the beginning are the same."""
    end, at = min(len(one), len(other)), 0
    while at < end and one[at : at + _STEP] == other[at : at + _STEP]:
        at += _STEP
    step = _STEP
    while step := step // 2:
        if one[at : at + step] == other[at : at + step]:
            at += step
    return min(at, end)


def _common_end(one: bytes, other: bytes) -> int:
    """How many bytes at the end are the same."""
    return _common_start(one[::-1], other[::-1])
