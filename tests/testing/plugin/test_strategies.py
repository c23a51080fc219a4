"""GetPreferredAllocation as vendors' plug-ins answer it."""

from __future__ import annotations

import pytest

from devicemgr.testing.plugin.strategies import STRATEGIES, PreferredAllocationRequest

PLACES = {"a0": (0,), "b0": (1,), "a1": (0,), "b1": (1,), "b2": (1,), "n": None}


@pytest.mark.parametrize(
    ("strategy", "must", "size", "expected"),
    [
        ("first", [], 2, ["a0", "b0"]),
        ("first", ["b2"], 2, ["b2", "a0"]),
        ("last", [], 2, ["n", "b2"]),
        ("last", ["b2"], 2, ["b2", "n"]),
        ("packed", [], 1, ["n"]),  # the node with the fewest that are enough
        ("packed", [], 2, ["a0", "a1"]),
        ("packed", [], 3, ["b0", "b1", "b2"]),
        ("packed", [], 4, ["b0", "b1", "b2", "a0"]),  # no node has enough: from the largest
        ("packed", ["b0"], 2, ["b0", "b1"]),  # beside those that must be included, though node 0 would fit better
        ("packed", ["a0", "b0"], 3, ["a0", "b0", "a1"]),
        ("spread", [], 3, ["a0", "b0", "n"]),
        ("spread", [], 5, ["a0", "b0", "n", "a1", "b1"]),
        ("spread", ["a0"], 3, ["a0", "b0", "n"]),
    ],
)
def test_the_answer(strategy, must, size, expected):
    request = PreferredAllocationRequest(available=list(PLACES), must_include=must, size=size, nodes=PLACES)
    assert STRATEGIES[strategy](request) == expected


@pytest.mark.parametrize("strategy", STRATEGIES)
@pytest.mark.parametrize("size", range(7))
def test_every_answer_is_one_that_a_kubelet_takes(strategy, size):
    """ALLOC-7d: as many as asked for, all available, each once, with all that must be included."""
    must = ["b1", "n"][:size]
    answer = STRATEGIES[strategy](
        PreferredAllocationRequest(available=list(PLACES), must_include=must, size=size, nodes=PLACES)
    )
    assert len(answer) == len(set(answer)) == size
    assert set(must) <= set(answer) <= set(PLACES)
