"""Each story, played on the kubelet itself and on ours: the items that they differ in are those that it names, and what
only the kubelet as a whole shows."""

from __future__ import annotations

import os
import signal
from contextlib import suppress
from pathlib import Path

import pytest

from tests.oracle.compare import MISSING, Difference
from tests.oracle.play import play
from tests.oracle.stories import STORIES
from tests.oracle.story import Admit, Answers, Look, Pod, Register, StartAgain, Story, main

from .known import as_a_whole
from .side import is_for_a_kubelet

AS_A_WHOLE = {
    "a plug-in that ended registers again, with other devices": {"PR-7"},
    "a device breaks before the newer plug-in has sent a list": {"PR-7"},
    "pods that ask for more than there is": {"PR-7"},
    "what a plug-in prefers": {"PR-7"},
    "a plug-in that fails Allocate": {"PR-7"},
    "an init container that leaves too few devices": {"PR-7"},
    "pods on two NUMA nodes: none, by container": {"PR-7"},
    "pods on two NUMA nodes: none, by pod": {"PR-7"},
    "pods on two NUMA nodes: best-effort, by container": {"MET-1", "PR-7"},
    "pods on two NUMA nodes: best-effort, by pod": {"MET-1", "PR-7"},
    "pods on two NUMA nodes: restricted, by container": {"MET-1", "PR-7"},
    "pods on two NUMA nodes: restricted, by pod": {"MET-1", "PR-7"},
    "pods on two NUMA nodes: single-numa-node, by container": {"MET-1", "PR-7"},
    "pods on two NUMA nodes: single-numa-node, by pod": {"MET-1", "PR-7"},
    "enough devices are free, but not on one NUMA node: best-effort": {"MET-1"},
    "enough devices are free, but not on one NUMA node: restricted": {"MET-1", "PR-7"},
    "a restart with pods that were aligned": {"MET-1"},
    "after a reboot the pods come before their plug-in, which stays away": {"PR-7"},
}


PLAYED = [story for story in STORIES if is_for_a_kubelet(story)]


def test_most_stories_are_for_a_kubelet():
    assert len(PLAYED) > 0.8 * len(STORIES)
    assert AS_A_WHOLE.keys() <= {story.title for story in PLAYED}


@pytest.mark.parametrize("story", PLAYED, ids=lambda story: story.title)
def test_the_sides_differ_only_in_what_the_story_says(story, kubelet, ours):
    differences = [as_a_whole(difference) for difference in play(story, kubelet, ours)]
    unknown = [str(difference) for difference in differences if difference.item is None]
    assert not unknown, "\n".join(unknown)
    assert {difference.item for difference in differences} == story.differs | AS_A_WHOLE.get(story.title, set())


def kill_kubelet(directory):
    """The one that works in this directory."""
    for one in Path("/proc").glob("[0-9]*"):
        with suppress(OSError):
            if f"--config={directory}/work/config.json" in (one / "cmdline").read_text().split("\0"):
                os.kill(int(one.name), signal.SIGKILL)


def test_a_kubelet_that_ends_is_a_difference_and_costs_no_other_story(kubelet, ours, monkeypatch):
    story = Story("", Register("a", devices="d0", prefers=True), Admit(Pod("p", main(gpu=1))))
    admit = kubelet.admit

    def crash(pods):
        kill_kubelet(kubelet.plugins.parents[1])
        return admit(pods)

    with monkeypatch.context() as patch:
        patch.setattr(kubelet, "admit", crash)
        (difference,) = play(story, kubelet, ours)
    assert (difference.number, difference.where, difference.ours) == (2, ("crash",), "goes on")
    assert "has ended with -9" in difference.judge
    assert play(story, kubelet, ours) == []


def test_a_start_that_fails_is_for_a_kubelet_only_at_the_end():
    first = (Register("a", devices="d0", prestart=True), Answers("a", start="error"), Admit(Pod("p", main(gpu=1))))
    assert not is_for_a_kubelet(Story("", *first))
    assert is_for_a_kubelet(Story("", *first[:2], Answers("a"), first[2]))
    assert is_for_a_kubelet(Story("", first[0], first[2], first[1], StartAgain("p")))
    assert not is_for_a_kubelet(Story("", first[0], first[2], first[1], StartAgain("p"), Look()))


def test_of_what_the_older_api_says_of_a_pod_only_all_of_it_is_known():
    where = ("result", "pod-resources", "v1alpha1", "p")
    judge = {"order": ["c0"], "containers": {"c0": {}}}
    assert as_a_whole(Difference(1, Look(), where, judge, MISSING)).item == "PR-7"
    assert as_a_whole(Difference(1, Look(), (*where, "order"), ["c0"], MISSING)).item is None
