"""``python -m tests.oracle.kubelet --stories 50 --seed 1``: so many stories at random, played on the kubelet itself.

Each takes some ten seconds, so none is shrunk. Differences that are no items of the book are printed with their story,
which can be pasted into ``stories.py``. A story that could not be played to its end is printed with the traceback.
"""

from __future__ import annotations

import argparse
import sys
import tempfile
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
from tests.oracle.story import Story
from tests.oracle.tally import Tally

from .known import as_a_whole
from .pods import NODE
from .programs import missing
from .side import KubeletSide, is_for_a_kubelet


def play_stories(tally: Tally, number: int, count: int) -> None:
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
        name = f"story {tally.played + 1}"
        if unknown := tally.play(name, story):
            tally.tell(name, story, unknown)
        print(f"{tally.played} stories", file=sys.stderr, flush=True)

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
            tally = Tally(lambda story: [as_a_whole(one) for one in play(story, kubelet, ours)])
            play_stories(tally, arguments.seed, arguments.stories)
    return tally.report()


if __name__ == "__main__":
    sys.exit(main())
