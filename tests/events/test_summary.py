"""Devices and answers in short: bounded, whatever a peer sends."""

from __future__ import annotations

import pytest

from devicemgr.events.summary import (
    answer_in_short,
    counts_in_short,
    devices_in_short,
    options_in_short,
    shortened,
)
from devicemgr.model import DeviceSpec, Mount, PluginOptions, RunOptions


@pytest.mark.parametrize(
    ("ids", "short"),
    [
        ([], "no devices"),
        (["dev-0", "dev-1"], "dev-0, dev-1"),
        (["a", "b", "c", "d"], "a, b, c, d"),
        (["a", "b", "c", "d", "e"], "5 devices"),
        ([str(n) for n in range(100_000)], "100,000 devices"),
        (["x" * 1_000_000], "x" * 20 + "…" + "x" * 19),
    ],
    ids=["none", "two", "four", "five", "many", "long"],
)
def test_few_devices_are_named_and_many_are_counted(ids, short):
    assert devices_in_short(ids) == short


def test_a_list_is_its_counts():
    assert counts_in_short(1, 1) == "1 device"
    assert counts_in_short(100_000, 99_997) == "100,000 devices, 3 unhealthy"


def test_an_answer_is_how_much_of_each_kind():
    answer = RunOptions(
        envs={"A": "1"},
        mounts=(Mount(container_path="/a", host_path="/b"),) * 2,
        device_specs=(DeviceSpec(container_path="/a", host_path="/b"),),
    )
    assert answer_in_short(answer) == "1 environment variable, 2 mounts, 1 device node"
    assert answer_in_short(RunOptions()) == "nothing to add"


def test_options_are_those_that_are_set():
    assert options_in_short(PluginOptions()) == "no options"
    assert options_in_short(PluginOptions(pre_start_required=True)) == "pre_start_required"


def test_a_text_is_cut_in_the_middle():
    assert shortened("short") == "short"
    assert (len(shortened("a" * 500 + "b" * 500)), shortened("a" * 500 + "b" * 500)[-1]) == (300, "b")
