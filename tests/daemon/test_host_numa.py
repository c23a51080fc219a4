"""The NUMA nodes of this machine, read from sysfs."""

from __future__ import annotations

import pytest

from devicemgr.core.topology.numa import Numa
from devicemgr.daemon.host_numa import read_numa


def test_numa_nodes_are_read_as_the_kernel_tells_them(tmp_path):
    """Distances stand in the order of the online nodes, which may have gaps."""
    for node, row in {0: "10 21 31", 2: "21 10 41", 5: "31 41 10"}.items():
        (tmp_path / f"node{node}").mkdir()
        (tmp_path / f"node{node}" / "distance").write_text(row + "\n")
    (tmp_path / "possible").write_text("0-7")
    numa = read_numa(tmp_path)
    assert numa.nodes == (0, 2, 5)
    assert numa.distances[2] == (21, 0, 10, 0, 0, 41)
    assert numa.average_distance(0b100101) == pytest.approx((30 + 2 * (21 + 31 + 41)) / 9)


def test_a_machine_that_does_not_tell_has_one_node(tmp_path):
    assert read_numa(tmp_path / "nothing").nodes == (0,)
    (tmp_path / "node3").mkdir()
    assert read_numa(tmp_path) == Numa(nodes=(3,), distances={3: ()})
