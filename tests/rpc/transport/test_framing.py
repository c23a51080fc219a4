"""GOAWAY is taken out of the bytes wherever it is, and wherever reads cut them."""

from __future__ import annotations

from itertools import pairwise

import pytest
from h2.config import H2Configuration
from h2.connection import H2Connection
from h2.errors import ErrorCodes
from hyperframe.frame import (
    DataFrame,
    Frame,
    GoAwayFrame,
    HeadersFrame,
    PingFrame,
    RstStreamFrame,
    SettingsFrame,
    WindowUpdateFrame,
)
from hypothesis import given, settings
from hypothesis import strategies as st

from devicemgr.rpc.transport.framing import FrameSplitter, FrameTooLong, GoAway, goaway_frame

PREFACE = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"

streams = st.integers(1, 2**31 - 1)
others = st.one_of(
    st.builds(lambda number, data: DataFrame(number, data=data), streams, st.binary(max_size=40)),
    st.builds(lambda number, data: HeadersFrame(number, data=data), streams, st.binary(max_size=40)),
    st.builds(lambda data: PingFrame(0, opaque_data=data), st.binary(min_size=8, max_size=8)),
    st.builds(lambda number: RstStreamFrame(number, error_code=8), streams),
    st.builds(lambda size: WindowUpdateFrame(0, window_increment=size), streams),
    st.just(SettingsFrame(0, settings={3: 7})),
).map(lambda frame: frame.serialize())
unknown = st.builds(
    lambda kind, flags, number, data: (
        len(data).to_bytes(3, "big") + bytes([kind, flags]) + number.to_bytes(4, "big") + data
    ),
    st.integers(10, 255),
    st.integers(0, 255),
    st.integers(0, 2**32 - 1),
    st.binary(max_size=300),
)
goaways = st.builds(
    lambda last, code, data: GoAwayFrame(0, last_stream_id=last, error_code=code, additional_data=data),
    st.integers(0, 2**31 - 1),
    st.integers(0, 13),
    st.binary(max_size=40),
)


def cut(data, cuts):
    """``data`` in pieces that end at these places; a read never returns nothing."""
    places = sorted({min(place, len(data)) for place in cuts} | {0, len(data)})
    return [data[a:b] for a, b in pairwise(places)]


def joined(parts):
    """Joins bytes that follow each other: where they are cut does not matter."""
    found = []
    for part in parts:
        if isinstance(part, bytes) and found and isinstance(found[-1], bytes):
            found[-1] += part
        else:
            found.append(part)
    return found


@given(
    st.booleans(),
    st.lists(st.one_of(others, unknown, goaways), max_size=12),
    st.lists(st.integers(0, 1000), max_size=30),
)
@settings(max_examples=300, deadline=None)
def test_the_pieces_do_not_depend_on_where_reads_are_cut(preface, frames, cuts):
    expected, data = [PREFACE] if preface else [], PREFACE if preface else b""
    for frame in frames:
        if isinstance(frame, Frame):
            expected.append(GoAway(frame.last_stream_id))
            data += frame.serialize()
        else:
            expected.append(frame)
            data += frame
    for pieces in ([data] if data else [], cut(data, cuts), cut(data, range(len(data)))):
        splitter = FrameSplitter(preface=preface)
        assert joined(part for piece in pieces for part in splitter.split(piece)) == joined(expected)


@given(st.binary(max_size=300), st.booleans(), st.lists(st.integers(0, 300), max_size=30))
@settings(max_examples=200, deadline=None)
def test_nonsense_is_passed_on_unchanged(data, preface, cuts):
    """Except what looks like a GOAWAY, or a frame that is too long. At most the beginning of a frame is kept."""

    def pieces_of(*chunks):
        splitter = FrameSplitter(preface=preface)
        try:
            return joined(part for chunk in chunks for part in splitter.split(chunk))
        except FrameTooLong:
            return "too long"

    whole = pieces_of(data)
    assert pieces_of(*cut(data, cuts)) == whole
    if b"\x07" not in data and whole != "too long":
        passed = b"".join(whole)
        assert data.startswith(passed)
        assert len(data) - len(passed) < 9


def test_a_payload_that_looks_like_a_goaway_is_data():
    data = DataFrame(1, data=goaway_frame(5, ErrorCodes.NO_ERROR)).serialize()
    assert list(FrameSplitter(preface=False).split(data)) == [data]


def test_a_goaway_of_a_wrong_size_is_left_to_h2():
    """Too short to be valid, which ends a connection."""
    for size in (0, 4, 7):
        data = size.to_bytes(3, "big") + b"\x07\0\0\0\0\0" + bytes(size)
        assert list(FrameSplitter(preface=False).split(data)) == [data]


@pytest.mark.parametrize("kind", [0, 1, 7, 200])
def test_a_frame_that_is_too_long_is_known_by_its_first_nine_bytes(kind):
    """h2 would wait for all of it, up to 16 MiB."""
    head = (2**14 + 1).to_bytes(3, "big") + bytes([kind]) + b"\0\0\0\0\0"
    splitter = FrameSplitter(preface=False)
    assert list(splitter.split(head[:8])) == []
    with pytest.raises(FrameTooLong, match="a frame of 16385 bytes"):
        list(splitter.split(head[8:]))


def test_our_goaway_is_read_by_h2_and_by_us():
    data = goaway_frame(7, ErrorCodes.ENHANCE_YOUR_CALM)
    assert list(FrameSplitter(preface=False).split(data)) == [GoAway(7)]
    client = H2Connection(H2Configuration(client_side=True))
    client.initiate_connection()
    (event,) = client.receive_data(SettingsFrame(0).serialize() + data)[1:]
    assert (event.last_stream_id, event.error_code) == (7, ErrorCodes.ENHANCE_YOUR_CALM)


@given(st.lists(st.integers(0, 3), max_size=20), st.lists(st.integers(0, 2000), max_size=30))
@settings(max_examples=100, deadline=None)
def test_h2_goes_on_after_goaways(steps, cuts):
    """A real conversation, with a GOAWAY before any frame: h2 sees the same events as without it."""
    client = H2Connection(H2Configuration(client_side=True))
    client.initiate_connection()
    data = client.data_to_send()
    goaway_at = 0
    for step in steps:
        number = client.get_next_available_stream_id()
        client.send_headers(number, [(":method", "POST"), (":scheme", "http"), (":path", "/"), (":authority", "a")])
        client.send_data(number, b"x" * step * 100, end_stream=True)
        with_goaway = goaway_frame(goaway_at, ErrorCodes.NO_ERROR) if step % 2 else b""
        data += client.data_to_send() + with_goaway
    server, splitter, found = H2Connection(H2Configuration(client_side=False)), FrameSplitter(preface=True), []
    server.initiate_connection()
    goaways = 0
    for piece in cut(data, cuts):
        for part in splitter.split(piece):
            if isinstance(part, GoAway):
                goaways += 1
            else:
                found += [type(event).__name__ for event in server.receive_data(part)]
    assert goaways == sum(step % 2 for step in steps)
    assert found.count("RequestReceived") == found.count("StreamEnded") == len(steps)
