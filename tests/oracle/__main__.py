"""``python -m tests.oracle --stories 2000 --seed 1``: so many stories at random.

Each difference that is no item of the book is printed as the smallest story that shows it, to be pasted into
``stories.py``; at the end, how often each item was seen. A story that could not be played to its end is printed as it
is, with the traceback.
"""

from __future__ import annotations

import argparse
import sys
import traceback
from collections import Counter
from contextlib import closing

from hypothesis import HealthCheck, Phase, given, seed, settings
from hypothesis.errors import Flaky

from .generate import stories
from .go_build import built
from .go_side import GoSide
from .our_side import OurSide
from .play import play
from .story import Story

BATCH = 50
"""Stories, of which the first difference is shrunk and reported; then the next ones begin."""
SHRINKING = 150
"""Stories that are played to find a smaller one."""


class Unknown(Exception):
    """The sides differ in what is no item of the book."""


class Run:
    def __init__(self, go: GoSide, ours: OurSide):
        self._sides = (go, ours)
        self.seen: Counter[str] = Counter()
        self.played = self.found = self.broken = 0

    def batch(self, number: int, count: int) -> None:
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
            self.played += not attempts
            try:
                differences = play(story, *self._sides)
            except Exception:  # of whatever kind, it must not cost the stories after this one
                if not attempts:
                    self.broken += 1
                    why = traceback.format_exc()
                    print(f"--- of batch {number}, not played to its end:\n{story}", why, sep="\n", flush=True)
                return
            if not attempts:
                self.seen.update({one.item for one in differences if one.item})
            if unknown := [str(one) for one in differences if one.item is None]:
                smallest.append((story, unknown))
                raise Unknown

        try:
            differ()
        except (Unknown, Flaky) as error:
            self.found += 1
            story, unknown = smallest[-1]
            always = "" if isinstance(error, Unknown) or attempts > SHRINKING else ", not each time"
            print(f"--- of batch {number}{always}:\n{story}", *unknown, sep="\n", flush=True)


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m tests.oracle", description=__doc__)
    parser.add_argument("--stories", type=int, default=2000, help="how many at least")
    parser.add_argument("--seed", type=int, default=1, help="of the first batch; the next ones count up")
    arguments = parser.parse_args()
    program = built()
    if program is None:
        parser.error("there is no go in PATH")
    with closing(GoSide(program)) as go, closing(OurSide()) as ours:
        run, number = Run(go, ours), arguments.seed
        while run.played < arguments.stories:
            run.batch(number, min(BATCH, arguments.stories - run.played))
            print(f"{run.played} stories", file=sys.stderr, flush=True)
            number += 1
    print(
        f"{run.played} stories, {run.found} differences that are no item, {run.broken} not played to their end. "
        "Stories in which an item was seen:"
    )
    for item, count in run.seen.most_common():
        print(f"{count:6}  {item}")
    return min(run.found + run.broken, 1)


if __name__ == "__main__":
    sys.exit(main())
