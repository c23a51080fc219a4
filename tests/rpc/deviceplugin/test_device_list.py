"""The incremental decoder against betterproto2's own parse: for any bytes, in any sequence."""

from __future__ import annotations

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from devicemgr.concurrency.steps import run_steps
from devicemgr.errors import RpcFailed
from devicemgr.model import Device
from devicemgr.peer_limits import PeerLimits
from devicemgr.rpc.deviceplugin import convert
from devicemgr.rpc.deviceplugin.device_list import MAX_FIELDS, MAX_TAILS, DeviceListDecoder
from devicemgr.rpc.messages import checked, parsed
from devicemgr.rpc.stubs import v1beta1 as wire

ids = st.text(max_size=4) | st.sampled_from(["a", "b", "gpu-1", "x" * 130])
devices = st.builds(
    Device,
    id=ids,
    health=st.sampled_from(["Healthy", "Unhealthy", "", "odd"]),
    numa_nodes=st.none() | st.lists(st.sampled_from([0, 1, -1, 2**40]), max_size=2).map(tuple),
)
lists = st.lists(devices, max_size=6)
# A field of any number and type; whole messages of such fields; fields after and before the ones that are known.
varints = st.integers(0, 2**64 - 1).map(lambda n: bytes(_varint(n)))
fields = st.builds(
    lambda number, value: bytes(_varint(number << 3 | value[0])) + value[1],
    st.integers(1, 5),
    st.one_of(
        varints.map(lambda v: (0, v)),
        st.binary(max_size=6).map(lambda b: (2, bytes(_varint(len(b))) + b)),
        st.binary(min_size=4, max_size=4).map(lambda b: (5, b)),
        st.binary(min_size=8, max_size=8).map(lambda b: (1, b)),
    ),
)
nested = st.lists(fields, max_size=4).map(b"".join)
entries = nested.map(lambda body: b"\x0a" + bytes(_varint(len(body))) + body)
messages = st.one_of(
    lists.map(lambda found: encoded(found)),
    st.lists(entries | fields, max_size=4).map(b"".join),
    st.binary(max_size=20),
)


def _varint(number):
    while number > 127:
        yield number & 127 | 128
        number >>= 7
    yield number


def encoded(found):
    return bytes(wire.ListAndWatchResponse(devices=[convert.device_to_wire(device) for device in found]))


def plainly(raw):
    """The devices, or that the bytes are refused."""
    try:
        return [checked(convert.device_from_wire, one) for one in parsed(wire.ListAndWatchResponse, raw).devices]
    except RpcFailed:
        return "refused"


def decoded(decoder, raw):
    try:
        return run_steps(decoder.decoding(raw))
    except RpcFailed:
        return "refused"


@given(st.lists(messages, min_size=1, max_size=5))
@example([b"\x0a\x03\x0a\x01a", b"\x0a\x05\x0a\x01a\x0a\x00"])  # a second id, which is empty, counts
@example([b"\x0a\x00"])
@example([b"\x0a\x83\x00\x0a\x01a"])  # a length in more bytes than it needs
def test_any_bytes_after_any_others_are_decoded_as_by_betterproto2(succession):
    decoder = DeviceListDecoder()
    for raw in succession:
        found = decoded(decoder, raw)
        assert (found if found == "refused" else found.devices) == plainly(raw)


@given(lists.map(lambda found: [d for d in found if d.id]), st.data())
def test_a_list_is_the_one_before_with_some_devices_removed_and_added(first, data):
    decoder = DeviceListDecoder()
    last = run_steps(decoder.decoding(encoded(first)))
    for _ in range(4):
        changed = data.draw(st.permutations(first) | st.just(first))
        at = data.draw(st.integers(0, len(changed)))
        changed = [*changed[:at], *data.draw(st.lists(devices.filter(lambda d: d.id), max_size=1)), *changed[at:]]
        found = run_steps(decoder.decoding(encoded(changed)))
        assert found.base is last.token
        assert found.devices == changed
        rest = list(last.devices)
        for device in found.removed:
            rest.remove(device)
        assert sorted(map(repr, [*rest, *found.added])) == sorted(map(repr, changed))
        last = found


@given(lists.filter(bool), st.data())
def test_a_list_that_is_truncated_within_an_entry_is_refused(found, data):
    """The kubelet ends the stream. A list that is cut between two entries is a valid, shorter one."""
    ends = {len(encoded(found[:count])) for count in range(len(found) + 1)}
    raw = encoded(found)
    cut = data.draw(st.integers(0, len(raw) - 1).filter(lambda at: at not in ends))
    decoder = DeviceListDecoder()
    run_steps(decoder.decoding(raw))
    for one in (decoder, DeviceListDecoder()):
        assert decoded(one, raw[:cut]) == "refused"


def test_only_the_change_in_the_middle_of_a_long_list_is_decoded():
    before = [Device(id=f"dev-{n}") for n in range(10_000)]
    decoder = DeviceListDecoder()
    run_steps(decoder.decoding(encoded(before)))
    after = [*before[:5000], Device(id="dev-5000", health="Unhealthy"), *before[5001:]]
    found = run_steps(decoder.decoding(encoded(after)))
    assert (found.removed, found.added) == (before[5000:5001], after[5000:5001])
    assert found.devices[4999] is run_steps(decoder.decoding(encoded(after))).devices[4999]


def test_ever_new_healths_do_not_fill_the_memory():
    decoder = DeviceListDecoder()
    for n in range(MAX_TAILS * 2):
        run_steps(decoder.decoding(encoded([Device(id="a", health=f"odd {n}")])))
    assert len(decoder._tails) <= MAX_TAILS


@pytest.mark.parametrize("size", [0, 1, 126, 127, 128, 129, 300, 20_000])
def test_entries_of_every_length(size):
    found = [Device(id="x" * size), Device(id="y" * size, numa_nodes=(1,))]
    assert run_steps(DeviceListDecoder().decoding(encoded(found))).devices == found


def test_one_device_of_an_unusual_shape_does_not_slow_down_the_others():
    """If every byte counted, the list would be above the limit."""
    found = [Device(id=""), *(Device(id=f"dev-{n}") for n in range(1000)), Device(id="")]
    decoder = DeviceListDecoder(PeerLimits(slow_size=100))
    assert run_steps(decoder.decoding(encoded(found))).devices == found
    with pytest.raises(RpcFailed, match="more bytes of an unusual shape than 100"):
        run_steps(decoder.decoding(encoded([Device(id="")] * 20)))


def test_a_device_with_very_many_fields_is_refused_before_it_is_decoded():
    for numbers, refused in ((range(MAX_FIELDS // 2 - 10), False), (range(MAX_FIELDS), True)):
        device = Device(id="a", numa_nodes=tuple(numbers))
        if refused:
            with pytest.raises(RpcFailed, match=f"more fields of one device than {MAX_FIELDS}"):
                run_steps(DeviceListDecoder().decoding(encoded([device])))
        else:
            assert run_steps(DeviceListDecoder().decoding(encoded([device]))).devices == [device]


def test_more_devices_than_allowed_are_refused_in_a_message_with_other_fields():
    decoder = DeviceListDecoder(PeerLimits(devices=3))
    other = b"\x12\x00"
    assert len(run_steps(decoder.decoding(other + encoded([Device(id="a")] * 3))).devices) == 3
    with pytest.raises(RpcFailed, match="more devices than 3"):
        run_steps(decoder.decoding(other + encoded([Device(id="a")] * 4)))


def test_the_slow_way_is_taken_in_small_steps():
    raw = encoded([Device(id="", numa_nodes=(n,)) for n in range(100)])
    assert len(list(DeviceListDecoder().decoding(raw))) >= 100
