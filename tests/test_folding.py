"""Long lines on a terminal."""

from __future__ import annotations

import pytest

from devicemgr.folding import folded


@pytest.mark.parametrize(
    ("line", "parts"),
    [
        ("a line that fits", ["a line that fits"]),
        ("    12.000 s gpu.sock to manager", ["    12.000 s gpu.sock to", "        manager"]),
        ("        PreStartContainer(MIG-1/0)", ["        PreStartContainer(MI", "        G-1/0)"]),
        (" " * 60, [" " * 60]),
    ],
)
def test_a_long_line_goes_on_below_its_words(line, parts):
    assert folded(line, 28, indent=8) == parts


@pytest.mark.parametrize("columns", [None, 20])
def test_without_a_terminal_or_on_a_very_narrow_one_it_stays_as_it_is(columns):
    assert folded("word " * 20, columns, indent=8) == ["word " * 20]
