"""The text of the checkpoint: it is read as it was written, and damage is always detected (CKPT-2…CKPT-9)."""

from __future__ import annotations

import json
from dataclasses import replace
from itertools import groupby

import pytest
from hypothesis import given
from hypothesis import strategies as st

from devicemgr.core.checkpoint.any_format import parse_any_checkpoint
from devicemgr.core.checkpoint.kubelet_format import (
    SECTION,
    Checkpoint,
    Entry,
    canonical_text,
    checksum_of,
    parse_checkpoint,
    render,
    stored_checksum,
)
from devicemgr.core.checkpoint.own_section import (
    OwnSection,
    SavedCheckpoint,
    load_snapshot,
    parse_section,
)
from devicemgr.core.devices.pod_devices import pod_request
from devicemgr.daemon.checkpoint.writer import parse_saved
from devicemgr.errors import CorruptCheckpoint
from devicemgr.model import Container, ContainerKind, Owner, PluginOptions, Pod, RunOptions
from tests.helpers import render_section

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
    """CC-098: devices may be in another order, by their nodes."""
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
def test_a_truncated_file_is_rejected(cut):
    with pytest.raises(CorruptCheckpoint):
        parse_checkpoint(SAMPLE[:cut])


@pytest.mark.parametrize("place", range(len(SAMPLE)))
def test_a_flipped_bit_is_noticed(place):
    """Unless it changes nothing that matters: upper case in a JSON escape, or the name of a key that is ignored."""
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
    """The checksum does not protect against a writer that computes it: no other error is raised."""
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
        ({"PodDeviceEntries": [{"DeviceIDs": {"one": []}}]}, "'one', which is not a NUMA node"),
        ({"PodDeviceEntries": [{"AllocResp": "%"}]}, "AllocResp is not base64"),
        ({"RegisteredDevices": {"r": [1]}}, "a device id must be a JSON string"),
        ([], "Data must be a JSON object"),
    ],
)
def test_an_error_names_what_is_wrong(data, problem):
    with pytest.raises(CorruptCheckpoint, match=problem):
        canonical_text(data)


def test_the_text_to_the_last_byte():
    """As a kubelet writes it, and as Go prints it for the checksum: numbers for nodes, nil for what is absent."""
    answer = b"\x0a\x00\xff"
    devices = {"d1": (10, 2), "d2": None, "d3": (2,), "d4": ()}
    one = Entry(owner=Owner("p", "c"), resource="v/r", devices=devices, answer=answer)
    two = Entry(owner=Owner("q", "<&>\u2028é"), resource="v/s", devices={}, answer=b"")
    text = render(Checkpoint(entries=(one, two), registered={"v/s": (), "v/r": ("d2", "d1")}), section='{"x":1}')
    data = (
        '{"PodDeviceEntries":[{"PodUID":"p","ContainerName":"c","ResourceName":"v/r",'
        '"DeviceIDs":{"-1":["d2","d4"],"10":["d1"],"2":["d1","d3"]},"AllocResp":"CgD/"},'
        '{"PodUID":"q","ContainerName":"\\u003c\\u0026\\u003e\\u2028é","ResourceName":"v/s",'
        '"DeviceIDs":{},"AllocResp":""}],"RegisteredDevices":{"v/r":["d2","d1"],"v/s":[]}}'
    )
    canonical = (
        "(checkpoint.checkpointData){PodDeviceEntries:([]checkpoint.PodDevicesEntry)["
        "{PodUID:(string)p ContainerName:(string)c ResourceName:(string)v/r "
        "DeviceIDs:(checkpoint.DevicesPerNUMA)map[-1:[d2 d4] 2:[d1 d3] 10:[d1]] AllocResp:([]uint8)[10 0 255]} "
        "{PodUID:(string)q ContainerName:(string)<&>\u2028é ResourceName:(string)v/s "
        "DeviceIDs:(checkpoint.DevicesPerNUMA)map[] AllocResp:([]uint8)[]}] "
        "RegisteredDevices:(map[string][]string)map[v/r:[d2 d1] v/s:[]]}"
    )
    assert canonical_text(json.loads(data)) == canonical
    assert text == f'{{"Data":{data},"Checksum":{checksum_of(canonical)},"DeviceManager":{{"x":1}}}}'
    read = parse_checkpoint(text)
    assert dict(read.entries[0].devices) == {"d2": None, "d4": None, "d1": (2, 10), "d3": (2,)}
    assert (read.entries[0].answer, read.entries[1].owner, read.section) == (answer, two.owner, {"x": 1})
    nothing = "(checkpoint.checkpointData){PodDeviceEntries:([]checkpoint.PodDevicesEntry)<nil> "
    assert canonical_text({}) == f"{nothing}RegisteredDevices:(map[string][]string)<nil>}}"
    assert canonical_text({"PodDeviceEntries": [None], "RegisteredDevices": {"r": None}}) == (
        "(checkpoint.checkpointData){PodDeviceEntries:([]checkpoint.PodDevicesEntry)[{PodUID:(string) "
        "ContainerName:(string) ResourceName:(string) DeviceIDs:(checkpoint.DevicesPerNUMA)<nil> "
        "AllocResp:([]uint8)<nil>}] RegisteredDevices:(map[string][]string)map[r:<nil>]}"
    )
    assert render(Checkpoint()).startswith('{"Data":{"PodDeviceEntries":null,"RegisteredDevices":{}},"Checksum":')


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        ("", "this is not JSON: Expecting value: line 1 column 1 (char 0)"),
        ('{"Data": NaN}', "this is not JSON: NaN is not a number"),
        ("[]", "the file must be a JSON object, not []"),
        ('{"Data": 3}', "Data must be a JSON object, not 3"),
        ('{"Data": {}, "Checksum": "1"}', "Checksum must be a number of 64 bits, not '1'"),
        ('{"Data": {}, "Checksum": true}', "Checksum must be a number of 64 bits, not True"),
        ('{"Data": {}, "Checksum": -1}', "Checksum must be a number of 64 bits, not -1"),
        (f'{{"Data": {{}}, "Checksum": {2**64}}}', f"Checksum must be a number of 64 bits, not {2**64}"),
        ('{"Data": {}, "Checksum": 1}', "the checksum is 1, but the content's is 1944006890"),
        ("{}", "the checksum is 0, but the content's is 1944006890"),
        (
            '{"Data": {}, "Checksum": 1944006890, "DeviceManageR": {"Checksum": 1}}',
            "there is a key 'DeviceManageR' instead of 'DeviceManager'",
        ),
        ('{"Data": {"PodDeviceEntries": {}}}', "a list is expected, not {}"),
        ('{"Data": {"PodDeviceEntries": [3]}}', "an entry of PodDeviceEntries must be a JSON object, not 3"),
        ('{"Data": {"PodDeviceEntries": [{"PodUID": 3}]}}', "PodUID must be a JSON string, not 3"),
        ('{"Data": {"PodDeviceEntries": [{"ContainerName": 3}]}}', "ContainerName must be a JSON string, not 3"),
        ('{"Data": {"PodDeviceEntries": [{"ResourceName": 3}]}}', "ResourceName must be a JSON string, not 3"),
        ('{"Data": {"PodDeviceEntries": [{"DeviceIDs": 3}]}}', "DeviceIDs must be a JSON object, not 3"),
        (
            '{"Data": {"PodDeviceEntries": [{"DeviceIDs": {"01": []}}]}}',
            "DeviceIDs has the key '01', which is not a NUMA node",
        ),
        (
            f'{{"Data": {{"PodDeviceEntries": [{{"DeviceIDs": {{"{2**63}": []}}}}]}}}}',
            f"DeviceIDs has the key '{2**63}', which is not a NUMA node",
        ),
        ('{"Data": {"PodDeviceEntries": [{"AllocResp": 3}]}}', "AllocResp must be a JSON string, not 3"),
        ('{"Data": {"RegisteredDevices": []}}', "RegisteredDevices must be a JSON object, not []"),
        ('{"Data": {"RegisteredDevices": {"r": [3]}}}', "a device id must be a JSON string, not 3"),
    ],
)
def test_the_whole_text_of_each_error(text, problem):
    with pytest.raises(CorruptCheckpoint) as caught:
        parse_checkpoint(text)
    assert str(caught.value) == problem


def test_the_largest_and_smallest_numbers_are_accepted():
    for node in (-(2**63), 2**63 - 1, 0):
        data = {"PodDeviceEntries": [{"DeviceIDs": {str(node): ["d"]}, "AllocResp": "Cg\nA=\r"}]}
        file = {"Data": data, "Checksum": checksum_of(canonical_text(data)), "Other": {"x": 1}}
        (entry,) = parse_checkpoint(json.dumps(file)).entries
        assert (dict(entry.devices), entry.answer) == ({"d": (node,)}, b"\x0a\x00")
    assert [stored_checksum({"Checksum": value}) for value in (0, 2**64 - 1)] == [0, 2**64 - 1]


def test_a_section_within_data_is_ignored():
    """Whatever its keys are."""
    assert parse_checkpoint('{"Data": {"Checksum": 5}, "Checksum": 1944006890}') == Checkpoint()


# --- older layouts -------------------------------------------------------------------------------------

OLD = {"PodDeviceEntries": [{"PodUID": "p", "ContainerName": "c", "ResourceName": "v/r", "DeviceIDs": ["d2", "d1"]}]}
OLD_TEXT = (
    "(checkpoint.checkpointData){PodDeviceEntries:([]checkpoint.PodDevicesEntry)[{PodUID:(string)p "
    "ContainerName:(string)c ResourceName:(string)v/r DeviceIDs:([]string)[d2 d1] AllocResp:([]uint8)<nil>}] "
    "RegisteredDevices:(map[string][]string)<nil>}"
)
"""What Go prints for it with the type names of 1.19; the checksum is computed of that."""


def test_devices_are_a_list_before_1_20():
    """CKPT-10."""
    found = parse_any_checkpoint(json.dumps({"Data": OLD, "Checksum": checksum_of(OLD_TEXT)}))
    assert (found.layout, found.checksum) == ("1.11 to 1.19", "ok")
    assert dict(found.checkpoint.entries[0].devices) == {"d2": None, "d1": None}
    with pytest.raises(CorruptCheckpoint, match="DeviceIDs must be a JSON object"):
        parse_checkpoint(json.dumps({"Data": OLD, "Checksum": checksum_of(OLD_TEXT)}))


def test_before_1_11_there_is_no_checksum():
    found = parse_any_checkpoint(json.dumps(OLD))
    assert (found.layout, found.checksum) == ("1.8 to 1.10", "none")
    assert dict(found.checkpoint.entries[0].devices) == {"d2": None, "d1": None}


def test_a_wrong_checksum_is_reported_with_the_content():
    found = parse_any_checkpoint(SAMPLE.replace('"Checksum":', '"Checksum":1'))
    assert (found.checksum, found.checkpoint) == ("wrong", parse_checkpoint(SAMPLE))
    assert found.problem.startswith("the checksum is 1")


@given(json_values)
def test_any_json_has_a_layout_or_is_a_clear_error(data):
    for value in (data, {"Data": data}):
        try:
            assert parse_any_checkpoint(json.dumps(value)).checkpoint is not None
        except CorruptCheckpoint:
            continue


@pytest.mark.parametrize(
    ("value", "problem"),
    [
        ({"policyName": "none"}, "it has neither Data nor PodDeviceEntries"),
        ([], "the file must be a JSON object"),
        ({"Data": {"PodDeviceEntries": [{"DeviceIDs": ["d"]}, {"DeviceIDs": {"0": ["d"]}}]}}, "a list is expected"),
    ],
)
def test_an_unknown_layout_is_a_clear_error(value, problem):
    with pytest.raises(CorruptCheckpoint, match=problem):
        parse_any_checkpoint(json.dumps(value))


def test_go_escapes_are_written_as_go_does():
    """CKPT-7."""
    text = render(Checkpoint(registered={"a": ('<&>"\\ \u2028ü',)}))
    assert r'["\u003c\u0026\u003e\"\\ \u2028ü"]' in text
    assert parse_checkpoint(text).registered == {"a": ('<&>"\\ \u2028ü',)}


# --- our own section -----------------------------------------------------------------------------------

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
        unique_by=lambda container: container.name,
    ).map(tuple),
)
states = st.builds(
    OwnSection,
    pods=st.lists(pods, max_size=3).map(tuple),
    options=st.dictionaries(texts, st.builds(PluginOptions, pre_start_required=st.booleans())),
    removed=st.lists(texts).map(tuple),
    unconfirmed=st.lists(texts).map(tuple),
    boot_id=texts,
)


@given(states)
def test_the_state_is_read_as_it_was_written(state):
    assert parse_section(json.loads(render_section(state))) == state


@pytest.mark.parametrize("section", ["", {}, [], 3, {"Data": {}, "Checksum": 1}, {"Data": None}, {"Data": {"Pods": 3}}])
def test_a_malformed_section_is_a_clear_error(section):
    with pytest.raises(CorruptCheckpoint):
        parse_section(section)


@given(checkpoints, states)
def test_a_section_does_not_change_what_a_kubelet_reads(checkpoint, state):
    plain, ours = json.loads(render(checkpoint)), json.loads(render(checkpoint, section=render_section(state)))
    assert plain == {key: ours[key] for key in ("Data", "Checksum")}


OURS = render(
    parse_checkpoint(SAMPLE), section=render_section(OwnSection(pods=(Pod(name="n", uid="p", containers=()),)))
)


@pytest.mark.parametrize("place", range(OURS.index(SECTION) - 1, len(OURS)))
def test_a_flipped_bit_in_the_section_is_noticed(place):
    """A changed pod name, or a section that is ignored, would be a silent loss."""
    believed = parse_saved(OURS)
    for bit in range(8):
        damaged = bytearray(OURS.encode())
        damaged[place] ^= 1 << bit
        try:
            assert parse_saved(damaged.decode()) == believed
        except (CorruptCheckpoint, UnicodeDecodeError):
            continue


def entry(uid, container="main", resource="v/r"):
    return Entry(owner=Owner(uid, container), resource=resource, devices={"d": None}, answer=b"")


def loaded(entries, pods=None, decode=lambda data: RunOptions()):
    section = None if pods is None else OwnSection(pods=tuple(pods))
    return load_snapshot(SavedCheckpoint(checkpoint=Checkpoint(entries=tuple(entries)), section=section), decode)


def test_entries_of_a_kubelet_become_pods_without_a_name():
    found = loaded([entry("a"), entry("a", "second"), entry("b")])
    assert [(pod.full_name, [c.name for c in pod.containers]) for pod in found.snapshot.pods] == [
        ("uid a", ["main", "second"]),
        ("uid b", ["main"]),
    ]


def test_what_containers_of_a_kubelets_pod_share_is_counted_once():
    """ALLOC-13: an init container and the main one hold the same device; the file does not say which is which."""
    shared = {"d0": None}
    entries = [
        Entry(owner=Owner("a", name), resource="v/r", devices=devices, answer=b"")
        for name, devices in [("setup", shared), ("main", shared | {"d1": None}), ("side", {"d2": None})]
    ]
    (pod,) = loaded(entries).snapshot.pods
    assert [(c.name, c.kind) for c in pod.containers] == [
        ("setup", ContainerKind.INIT),
        ("main", ContainerKind.MAIN),
        ("side", ContainerKind.MAIN),
    ]
    assert pod_request(pod.containers) == {"v/r": 3}
    (twins,) = loaded([*entries[:1], replace(entries[0], owner=Owner("a", "twin"))]).snapshot.pods
    assert pod_request(twins.containers) == {"v/r": 1}


def kinds(**containers):
    """The containers of a pod, made from what they hold: ``main="g0 n1"``."""
    entries = [
        Entry(owner=Owner("a", name), resource=f"v/{kind}", devices=dict.fromkeys(ids), answer=b"")
        for name, held in containers.items()
        for kind, ids in groupby(held.split(), key=lambda id: id[0])
    ]
    (pod,) = loaded(entries).snapshot.pods
    return {c.name: c.kind.value for c in pod.containers}


@pytest.mark.parametrize(
    ("containers", "init"),
    [
        ({"init": "g0 g1 n0", "main": "g0 n0 n1"}, ["init"]),
        ({"init": "g0 g1", "main": "g0 n0"}, ["init"]),
        ({"main": "g0 n0", "init": "g0"}, ["init"]),
        ({"init": "g0 g1 g2", "one": "g0 n0", "two": "g1 n1"}, ["init"]),
        ({"one": "g0 n0", "two": "g1 n1", "init": "g0 g1 g2"}, ["init"]),
        ({"sidecar": "g0", "init": "g1 g2", "main": "g1 n0"}, ["init"]),
        ({"first": "g0 g1", "second": "g0 n0", "main": "g1 n0 n1"}, ["first", "second"]),
        ({"one": "g0 n0", "two": "g1 n1"}, []),
        ({"one": "g0", "two": "n0"}, []),
    ],
)
def test_a_container_that_shares_a_device_of_any_resource_is_an_init_container(containers, init):
    """ALLOC-13: main containers and sidecars share no devices, whatever else an init container holds."""
    found = kinds(**containers)
    assert [name for name, kind in found.items() if kind == "init"] == init
    assert list(found)[: len(init)] == init, "and starts first"


def test_only_an_entry_whose_answer_cannot_be_read_is_skipped():
    """CKPT-9: its pod still holds its other devices."""
    known = Pod(name="a", uid="a", containers=(Container(name="main", limits={"v/r": 1, "v/bad": 1}),))
    entries = [entry("a"), Entry(owner=Owner("a", "main"), resource="v/bad", devices={"d": None}, answer=b"bad")]
    found = loaded(entries, [known], lambda data: None if data == b"bad" else RunOptions())
    assert (found.skipped, found.snapshot.pods) == (1, (known,))
    assert [resource for _, resource, _ in found.snapshot.assignments] == ["v/r"]
