"""How ids and lists are shown: short, and never so that two of them look the same."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from devicemgr.model import DeviceSpec, RunOptions
from devicemgr.testing.conformance.abbreviation import LONGEST, difference, first_few, shortened
from devicemgr.testing.conformance.checks.answers import first_difference, normalized

UUIDS = [f"GPU-8dcd427f-483b-b48f-d7e5-75fb19a52b{number:02}" for number in range(40)]


def test_a_long_id_is_cut_in_the_middle():
    assert shortened(["gpu-0", UUIDS[36]]) == ["gpu-0", "GPU-8dcd427f…5fb19a52b36"]
    assert first_few(["x" * LONGEST]) == "x" * LONGEST


def test_more_is_shown_of_ids_that_differ_in_the_middle():
    alike = ["a" * 30 + middle + "b" * 30 for middle in "xy"]
    assert shortened(alike) == alike
    assert shortened(alike[:1]) == ["a" * 12 + "…" + "b" * 11]
    assert shortened(alike[:1], among=alike) == alike[:1]


TEXTS = st.lists(st.text(alphabet="ab…", max_size=60), unique=True, max_size=8)


@given(TEXTS)
def test_no_two_look_the_same(texts):
    assert len(set(shortened(texts, longest=8))) == len(texts)


@given(TEXTS, TEXTS)
def test_neither_do_they_look_like_others_that_are_not_shown(texts, others):
    assert len({*shortened(texts, longest=8, among=others)}) == len(texts)
    assert not {*shortened(texts, longest=8, among=others)} & {text for text in others if text not in texts}


def test_a_long_list_is_its_first_items_and_a_count():
    assert first_few(range(7)) == "0, 1, 2, 3, 4 and 2 more"


@pytest.mark.parametrize(
    ("before", "after", "shown"),
    [
        (UUIDS, UUIDS[1:], "missing GPU-8dcd427f…5fb19a52b00; 39 the same"),
        (UUIDS[:2], UUIDS[1:3], "missing GPU-8dcd427f…5fb19a52b00; new GPU-8dcd427f…5fb19a52b02; 1 the same"),
        (UUIDS[:1], UUIDS[:1] * 2, "new GPU-8dcd427f…5fb19a52b00; 1 the same"),
        (["a", "b"], ["b", "a"], "2 the same"),
        ([], [f"new-{number}" for number in range(7)], "new new-0, new-1, new-2, new-3, new-4 and 2 more; 0 the same"),
    ],
)
def test_the_difference_of_two_lists(before, after, shown):
    assert difference(before, after) == shown


@pytest.mark.parametrize(
    ("one", "other", "shown"),
    [
        (
            {"envs": {"GPUS": ",".join(UUIDS)}},
            {"envs": {"GPUS": ",".join(UUIDS[2:])}},
            f"envs: GPUS: missing {UUIDS[0]}, {UUIDS[1]}; 38 the same",
        ),
        ({"envs": {"N": "1"}}, {"envs": {"N": "2"}}, "envs: N: missing 1; new 2; 0 the same"),
        ({"envs": {"A": "1"}}, {"envs": {"B": "1"}}, "envs: missing A=1; new B=1; 0 the same"),
        (
            {"device_specs": [DeviceSpec(container_path="/dev/a", host_path="/dev/b")]},
            {"device_specs": [DeviceSpec(container_path="/dev/a", host_path="/dev/b", permissions="r")]},
            "device_specs: missing /dev/b at /dev/a (rw); new /dev/b at /dev/a (r); 0 the same",
        ),
    ],
)
def test_the_difference_of_two_answers(one, other, shown):
    answers = [
        normalized(RunOptions(**{name: _frozen(value) for name, value in x.items()}), UUIDS) for x in (one, other)
    ]
    assert first_difference(*answers) == shown


def _frozen(value):
    return tuple(value) if isinstance(value, list) else value
