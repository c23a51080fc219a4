"""Each story, played on Kubernetes' own managers and on ours: the items that they differ in are those that it names."""

from __future__ import annotations

import pytest

from .play import play
from .stories import STORIES


def test_stories_have_titles_of_their_own():
    assert len({story.title for story in STORIES}) == len(STORIES)


@pytest.mark.parametrize("story", STORIES, ids=lambda story: story.title)
def test_the_sides_differ_only_in_what_the_story_says(story, go, ours):
    differences = play(story, go, ours)
    unknown = [str(difference) for difference in differences if difference.item is None]
    assert not unknown, "\n".join(unknown)
    assert {difference.item for difference in differences} == story.differs
