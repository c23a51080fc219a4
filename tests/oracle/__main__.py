"""``python -m tests.oracle --stories 2000 --seed 1``: so many stories at random.

Each difference that is no item of the book is printed as the smallest story that shows it, to be pasted into
``stories.py``; at the end, how often each item was seen. A story that could not be played to its end is printed as it
is, with the traceback.
"""

from __future__ import annotations

import argparse
import sys
from contextlib import closing

from hypothesis import HealthCheck, Phase, given, seed, settings
from hypothesis.errors import Flaky

from .generate import stories
from .go_build import built
from .go_side import GoSide
from .our_side import OurSide
from .play import play
from .story import Story
from .tally import Tally

BATCH = 50
"""Stories, of which the first difference is shrunk and reported; then the next ones begin."""
SHRINKING = 150
"""Stories that are played to find a smaller one."""


class Unknown(Exception):
    """The sides differ in what is no item of the book."""


def play_batch(tally: Tally, number: int, count: int) -> None:
    smallest: list[tuple[Story, list[str]]] = []
    attempts = 0

    @seed(number)
    @settings(
        max_examples=count,
        database=None,
        deadline=None,
        phases=[Phase.generate, Phase.shrink],
        suppress_health_check=list(HealthCheck),
        report_multiple_bugs=False,
        print_blob=False,
    )
    @given(stories())
    def differ(story: Story) -> None:
        nonlocal attempts
        attempts += bool(smallest)
        if attempts > SHRINKING:
            return
        if unknown := tally.play(f"of batch {number}", story, counts=not attempts):
            smallest.append((story, unknown))
            raise Unknown

    try:
        differ()
    except (Unknown, Flaky) as error:
        always = "" if isinstance(error, Unknown) or attempts > SHRINKING else ", not each time"
        tally.tell(f"of batch {number}{always}", *smallest[-1])


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m tests.oracle", description=__doc__)
    parser.add_argument("--stories", type=int, default=2000, help="how many at least")
    parser.add_argument("--seed", type=int, default=1, help="of the first batch; the next ones count up")
    arguments = parser.parse_args()
    program = built()
    if program is None:
        parser.error("there is no go in PATH")
    with closing(GoSide(program)) as go, closing(OurSide()) as ours:
        tally, number = Tally(lambda story: play(story, go, ours)), arguments.seed
        while tally.played < arguments.stories:
            play_batch(tally, number, min(BATCH, arguments.stories - tally.played))
            print(f"{tally.played} stories", file=sys.stderr, flush=True)
            number += 1
    return tally.report()


if __name__ == "__main__":
    sys.exit(main())
