"""``python -m tests.oracle.kubelet --stories 50 --seed 1``: so many stories at random, played on the kubelet itself.

Each takes some ten seconds, so none is shrunk. Differences that are no items of the book are printed with their story,
which can be pasted into ``stories.py``.
"""

from __future__ import annotations

import argparse
import sys
import tempfile
from collections import Counter
from contextlib import closing
from pathlib import Path

import trio
from hypothesis import HealthCheck, Phase, assume, given, seed, settings

from devicemgr.cluster.control_plane.processes import open_control_plane
from devicemgr.cluster.control_plane.programs import find_programs
from devicemgr.daemon.threads.portal import open_portal
from tests.oracle.generate import stories
from tests.oracle.our_side import OurSide
from tests.oracle.play import play
from tests.oracle.side import Side
from tests.oracle.story import Story

from .known import as_a_whole
from .pods import NODE
from .programs import missing
from .side import KubeletSide, is_for_a_kubelet


class Run:
    def __init__(self, kubelet: Side, ours: Side):
        self._sides = (kubelet, ours)
        self.seen: Counter[str] = Counter()
        self.played = self.found = 0

    def play(self, number: int, count: int) -> None:
        @seed(number)
        @settings(
            max_examples=count,
            database=None,
            deadline=None,
            phases=[Phase.generate],
            suppress_health_check=list(HealthCheck),
        )
        @given(stories())
        def all_of_them(story: Story) -> None:
            assume(is_for_a_kubelet(story))
            self.played += 1
            differences = [as_a_whole(difference) for difference in play(story, *self._sides)]
            self.seen.update({one.item for one in differences if one.item})
            if unknown := [str(one) for one in differences if one.item is None]:
                self.found += 1
                print(f"--- story {self.played}:\n{story}", *unknown, sep="\n", flush=True)

        all_of_them()


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m tests.oracle.kubelet", description=__doc__)
    parser.add_argument("--stories", type=int, default=50, help="how many")
    parser.add_argument("--seed", type=int, default=1)
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="dm-") as directory, open_portal() as portal:
        if reason := missing(Path(directory)):
            parser.error(reason)
        opened = open_control_plane(Path(directory), trio.run(find_programs), nodes=[NODE])
        with (
            portal.enter(opened) as cluster,
            closing(KubeletSide(portal, cluster)) as kubelet,
            closing(OurSide()) as ours,
        ):
            run = Run(kubelet, ours)
            run.play(arguments.seed, arguments.stories)
    print(f"{run.played} stories, {run.found} with differences that are no item. Stories in which an item was seen:")
    for item, count in run.seen.most_common():
        print(f"{count:6}  {item}")
    return min(run.found, 1)


if __name__ == "__main__":
    sys.exit(main())
