"""Each story, played on the kubelet itself and on ours: the items that they differ in are those that it names, and what
only the kubelet as a whole shows."""

from __future__ import annotations

import pytest

from tests.oracle.play import play
from tests.oracle.stories import STORIES

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


@pytest.mark.timeout(300, func_only=True)
@pytest.mark.parametrize("story", PLAYED, ids=lambda story: story.title)
def test_the_sides_differ_only_in_what_the_story_says(story, kubelet, ours):
    differences = [as_a_whole(difference) for difference in play(story, kubelet, ours)]
    unknown = [str(difference) for difference in differences if difference.item is None]
    assert not unknown, "\n".join(unknown)
    assert {difference.item for difference in differences} == story.differs | AS_A_WHOLE.get(story.title, set())
