"""A hundred stories at random, always the same; ``python -m tests.oracle`` plays others."""

from __future__ import annotations

import pytest
from hypothesis import HealthCheck, Phase, given, settings

from .__main__ import play_batch
from .generate import stories
from .kubelet.__main__ import play_stories
from .play import play
from .story import (
    Admit,
    Answers,
    Flip,
    Handover,
    List,
    Look,
    Pod,
    Register,
    Restart,
    Story,
    format_devices,
    init,
    main,
    parse_devices,
    sidecar,
)
from .tally import Tally

NAMES = {
    one.__name__: one
    for one in (Admit, Answers, Flip, Handover, List, Look, Pod, Register, Restart, Story, init, main, sidecar)
}


@settings(
    max_examples=100,
    derandomize=True,
    database=None,
    phases=[Phase.generate],  # finding a smaller one takes minutes: python -m tests.oracle
    suppress_health_check=list(HealthCheck),
)
@given(story=stories())
def test_what_the_sides_differ_in_is_known(go, ours, story):
    unknown = [str(difference) for difference in play(story, go, ours) if difference.item is None]
    assert not unknown, "\n".join(unknown)


@pytest.mark.parametrize("at_random", [play_batch, play_stories])
def test_a_story_that_cannot_be_played_costs_no_other(at_random, capsys):
    played = []

    def play(story):
        played.append(story)
        assert len(played) != 2, "nobody answers"
        return []

    tally = Tally(play)
    at_random(tally, 1, 4)
    assert (tally.played, tally.found, tally.broken) == (4, 0, 1)
    said = capsys.readouterr().out
    assert f"{played[1]}" in said
    assert "AssertionError: nobody answers" in said
    assert tally.report() == 1


def test_a_story_is_printed_as_it_is_written():
    story = Story(
        "a story",
        Register("a", devices="d0@0,1 !d1 d2@"),
        Register("b", resource="nic", devices=None, prefers=True),
        Answers("a", allocate="error"),
        Admit(Pod("p", init(gpu=1), sidecar(), main(gpu=1, nic=2, claimed=("nic",)))),
        Flip("a", "d0", "d1"),
        Restart(Register("a"), List("a", "")),
        Look(),
        Handover(),
        numa=2,
        policy="restricted",
        differs={"LIM-7"},
    )
    assert repr(eval(repr(story), NAMES)) == repr(story)


def test_devices_are_words():
    text = "d0 d1@0 d2@0,1 d3@ !d4@1"
    assert format_devices(parse_devices(text)) == text
    assert [device.nodes for device in parse_devices(text)] == [None, (0,), (0, 1), (), (1,)]
