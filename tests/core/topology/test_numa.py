"""NUMA nodes and distances as text: the option ``--numa``."""

from __future__ import annotations

import pytest

from devicemgr.core.topology.numa import Numa, parse_nodes, parse_numa
from devicemgr.errors import UnusableTopology


def test_numa_nodes_can_be_stated():
    assert parse_numa("1,0") == parse_numa("0-1") == Numa(nodes=(0, 1))
    assert parse_numa("7,0-2,4-4").nodes == (0, 1, 2, 4, 7)
    assert parse_nodes("4-5,0,1") == [4, 5, 0, 1], "devices are dealt out in this order"
    assert parse_numa("0=10,21;4=21,10").distances == {0: (10, 0, 0, 0, 21), 4: (21, 0, 0, 0, 10)}


@pytest.mark.parametrize(
    "text", ["", "a", "0,", "-1", "1024", "0=10;1=10", "0=10,x", "0=10,21;1=21,10;x", "3-0", "0-", "0-1024", "0-1-2"]
)
def test_nodes_that_cannot_be_read_are_a_clear_error(text):
    with pytest.raises(UnusableTopology, match="write them as 0,1 or"):
        parse_numa(text)
