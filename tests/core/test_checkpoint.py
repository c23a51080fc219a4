"""The checkpoint's text: what goes in comes out, and what is damaged is never believed (CKPT-2…CKPT-9)."""

from __future__ import annotations

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from devicemgr.core.checkpoint import Checkpoint, Entry, canonical_text, checksum_of, parse_checkpoint, render
from devicemgr.core.node_state import NodeState, combine, parse_state, render_state
from devicemgr.errors import CorruptCheckpoint
from devicemgr.model import Container, ContainerKind, Owner, PluginOptions, Pod, RunOptions

texts = st.text(max_size=8)
ids = st.text(min_size=1, max_size=6)
nodes = st.none() | st.lists(st.integers(0, 70), min_size=1, max_size=3, unique=True).map(lambda n: tuple(sorted(n)))
entries = st.builds(
    Entry,
    owner=st.builds(Owner, texts, texts),
    resource=texts,
    devices=st.dictionaries(ids, nodes, max_size=4),
    answer=st.binary(max_size=20),
)
checkpoints = st.builds(
    Checkpoint,
    entries=st.lists(entries, max_size=4).map(tuple),
    registered=st.dictionaries(texts, st.lists(ids, max_size=4).map(tuple), max_size=3),
)


@given(checkpoints)
def test_what_is_written_is_read(checkpoint):
    """CC-098: devices may come back in another order, by their nodes."""
    read = parse_checkpoint(render(checkpoint))
    assert read.registered == checkpoint.registered
    assert [(e.owner, e.resource, dict(e.devices), e.answer) for e in read.entries] == [
        (e.owner, e.resource, dict(e.devices), e.answer) for e in checkpoint.entries
    ]


@given(checkpoints)
def test_the_fragments_make_the_text_that_the_reader_computes(checkpoint):
    """Two ways to the canonical text: by fragments when writing, from the JSON when reading."""
    file = json.loads(render(checkpoint))
    assert checksum_of(canonical_text(file["Data"])) == file["Checksum"]


SAMPLE = render(
    Checkpoint(
        entries=(Entry(owner=Owner("p", "c"), resource="v/r", devices={"d1": (0, 1), "d2": None}, answer=b"\x0a\x00"),),
        registered={"v/r": ("d1", "d2")},
    )
)


@pytest.mark.parametrize("cut", range(len(SAMPLE)))
def test_a_truncated_file_is_not_believed(cut):
    with pytest.raises(CorruptCheckpoint):
        parse_checkpoint(SAMPLE[:cut])


@pytest.mark.parametrize("place", range(len(SAMPLE)))
def test_a_flipped_bit_is_noticed(place):
    """Unless it changes nothing that counts: upper case in a JSON escape, or the name of a key nobody reads."""
    believed = parse_checkpoint(SAMPLE)
    for bit in range(8):
        damaged = bytearray(SAMPLE.encode())
        damaged[place] ^= 1 << bit
        try:
            assert parse_checkpoint(damaged.decode()) == believed
        except (CorruptCheckpoint, UnicodeDecodeError):
            continue


KEYS = st.sampled_from(["PodDeviceEntries", "RegisteredDevices", "DeviceIDs", "PodUID", "AllocResp", "0", "x"])
json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(KEYS, inner),
    max_leaves=12,
)


@given(json_values)
def test_any_json_with_the_right_checksum_is_a_checkpoint_or_a_clear_error(data):
    """Whoever can compute the checksum can write anything; the reader raises nothing else."""
    try:
        checksum = checksum_of(canonical_text(data))
    except CorruptCheckpoint:
        return
    assert parse_checkpoint(json.dumps({"Data": data, "Checksum": checksum}))


@pytest.mark.parametrize(
    ("data", "problem"),
    [
        ({"PodDeviceEntries": {}}, "a list is expected"),
        ({"PodDeviceEntries": ["x"]}, "an entry of PodDeviceEntries must be a JSON object"),
        ({"PodDeviceEntries": [{"PodUID": 3}]}, "PodUID must be a JSON string, not 3"),
        ({"PodDeviceEntries": [{"DeviceIDs": ["d"]}]}, "DeviceIDs must be a JSON object"),
        ({"PodDeviceEntries": [{"DeviceIDs": {"one": []}}]}, "'one', which is no NUMA node"),
        ({"PodDeviceEntries": [{"AllocResp": "%"}]}, "AllocResp is not base64"),
        ({"RegisteredDevices": {"r": [1]}}, "a device id must be a JSON string"),
        ([], "Data must be a JSON object"),
    ],
)
def test_an_error_names_what_is_wrong(data, problem):
    with pytest.raises(CorruptCheckpoint, match=problem):
        canonical_text(data)


def test_go_escapes_are_written_as_go_does():
    """CKPT-7."""
    text = render(Checkpoint(registered={"a": ('<&>"\\ \u2028ü',)}))
    assert r'["\u003c\u0026\u003e\"\\ \u2028ü"]' in text
    assert parse_checkpoint(text).registered == {"a": ('<&>"\\ \u2028ü',)}


# --- our own file beside it --------------------------------------------------------------------------

pods = st.builds(
    Pod,
    namespace=texts,
    name=texts,
    uid=texts,
    containers=st.lists(
        st.builds(
            Container, name=texts, kind=st.sampled_from(ContainerKind), limits=st.dictionaries(texts, st.integers(0, 9))
        ),
        max_size=2,
    ).map(tuple),
)
states = st.builds(
    NodeState,
    pods=st.lists(pods, max_size=3).map(tuple),
    options=st.dictionaries(texts, st.builds(PluginOptions, pre_start_required=st.booleans())),
    removed=st.lists(texts).map(tuple),
    boot_id=texts,
)


@given(states)
def test_the_state_is_read_as_it_was_written(state):
    assert parse_state(render_state(state)) == state


@pytest.mark.parametrize("text", ["", "{}", "[]", "3", '{"Data": {}, "Checksum": 1}', '{"Data": null}', "{" * 9999])
def test_a_state_that_is_none_is_a_clear_error(text):
    with pytest.raises(CorruptCheckpoint):
        parse_state(text)


def entry(uid, container="main", resource="v/r"):
    return Entry(owner=Owner(uid, container), resource=resource, devices={"d": None}, answer=b"")


def needing(uid, **limits):
    return Pod(name=uid, uid=uid, containers=(Container(name="main", limits={"v/r": 1} | limits),))


def combined(entries, pods, decode=lambda data: RunOptions()):
    return combine(Checkpoint(entries=tuple(entries)), NodeState(pods=tuple(pods)), decode)


def test_a_pod_without_all_its_devices_was_never_answered():
    """A crash between the two files; also what a fall-back to the generation before leaves out."""
    found = combined([entry("a"), entry("b")], [needing("a"), needing("b", **{"v/other": 1}), needing("c")])
    assert [pod.uid for pod in found.snapshot.pods] == ["a"]
    assert [owner.pod_uid for owner, _, _ in found.snapshot.assignments] == ["a"]
    assert [pod.uid for pod in found.lost] == ["b", "c"]


def test_entries_of_a_kubelet_become_pods_without_a_name():
    found = combined([entry("a"), entry("a", "second"), entry("b")], [needing("b")])
    assert [(pod.full_name, [c.name for c in pod.containers]) for pod in found.snapshot.pods] == [
        ("default/b", ["main"]),
        ("uid a", ["main", "second"]),
    ]


def test_an_entry_whose_answer_cannot_be_read_is_skipped():
    """CKPT-9."""
    found = combined([entry("a"), entry("b")], [], lambda data: None)
    assert (found.skipped, found.snapshot.pods, found.snapshot.assignments) == (2, (), ())
