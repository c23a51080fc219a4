"""The measurement in short: that every pod runs, that each figure is there, and how they are printed."""

from __future__ import annotations

import json
import subprocess
import sys
from dataclasses import replace

import pytest
import trio

from devicemgr.cluster.control_plane.programs import COMPONENTS, SCHEDULER, find_programs
from devicemgr.errors import ProgramUnavailable
from tests.processes import HANGS

from .__main__ import lines
from .cluster import OURS
from .rows import HealthRow, PodsRow, quantile


def test_a_small_cluster_is_measured():
    try:
        trio.run(find_programs, [*COMPONENTS, SCHEDULER])
    except ProgramUnavailable as missing:
        pytest.skip(str(missing))
    options = {"--nodes": "3", "--pods": "20", "--flips": "4", "--idle": "0.5", "--output": "json"}
    command = [sys.executable, "-m", "tests.cluster.scale", *(word for option in options.items() for word in option)]
    done = subprocess.run(command, capture_output=True, text=True, timeout=HANGS, check=False)
    assert done.returncode == 0, done.stderr
    pods, apart, health = json.loads(done.stdout)
    assert (apart["nodes"], len(apart["until_running"]), apart["plugins_apart"]) == (3, 20, True)
    assert (pods["nodes"], pods["pods"], len(pods["until_running"])) == (3, 20, 20)
    assert {*pods["used"]} == {OURS, *COMPONENTS, SCHEDULER}
    assert pods["used"][OURS] > 0
    assert 0 < pods["memory"] <= pods["memory_with_pods"] * 1.1
    assert (health["nodes"], len(health["delays"])) == (3, 8)


def test_the_figures_are_two_tables_and_a_line():
    used = {OURS: 1.0, "etcd": 0.5, "kube-apiserver": 2.0, "kube-scheduler": 0.5}
    rows = [
        PodsRow(
            nodes=nodes,
            pods=8 * nodes,
            joined_after=2.0,
            memory=(50 + nodes) * 2**20,
            memory_with_pods=0,
            idle=0.0123,
            seconds=3.0,
            until_running=[0.1] * 98 + [0.2, 0.3],
            used=used,
        )
        for nodes in (1, 5)
    ]
    rows.append(replace(rows[-1], used={**used, OURS: 0.75}, plugins_apart=True))
    assert [*lines([*rows, HealthRow(nodes=5, delays=[0.007] * 4)])] == [
        "| nodes | joined after | memory | each further node | idle | pods | all Running after | bound → Running |",
        "|---|---|---|---|---|---|---|---|",
        "| 1 | 2.0 s | 51 MiB |  | 1.2% | 8 | 3.0 s | p50 100 ms, p99 300 ms |",
        "| 5 | 2.0 s | 55 MiB | 1.00 MiB | 1.2% | 40 | 3.0 s | p50 100 ms, p99 300 ms |",
        "",
        "| nodes | pods | ours | etcd | kube-apiserver | kube-scheduler | our share |",
        "|---|---|---|---|---|---|---|",
        "| 1 | 8 | 1.0 s | 0.5 s | 2.0 s | 0.5 s | 25% |",
        "| 5 | 40 | 1.0 s | 0.5 s | 2.0 s | 0.5 s | 25% |",
        "| 5, plug-ins apart | 40 | 0.8 s | 0.5 s | 2.0 s | 0.5 s | 20% |",
        "",
        "5 nodes, health of a device → allocatable at a watcher, 4 times: p50 7 ms, p99 7 ms.",
    ]


@pytest.mark.parametrize(
    ("values", "share", "found"),
    [([1.0], 0.99, 1.0), ([3.0, 1.0, 2.0], 0.5, 2.0), (range(100), 0.99, 99), (range(1000), 0.99, 990)],
)
def test_quantiles(values, share, found):
    assert quantile(values, share) == found
