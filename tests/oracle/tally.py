"""What becomes of the stories of a run at random: how many were played, what they showed, and how often."""

from __future__ import annotations

import traceback
from collections import Counter
from collections.abc import Callable

from .compare import Difference
from .story import Story


class Tally:
    """``play`` plays a story, and says in what the sides differ."""

    def __init__(self, play: Callable[[Story], list[Difference]]):
        self._play = play
        self.seen: Counter[str] = Counter()
        """In how many stories each item was seen."""
        self.played = self.found = self.broken = 0

    def play(self, name: str, story: Story, *, counts: bool = True) -> list[str]:
        """The differences that are no item of the book.

        None of a story that could not be played to its end, which must not cost the stories after it: it is printed,
        with the traceback. Nothing is said of one that does not count.
        """
        self.played += counts
        try:
            differences = self._play(story)
        except Exception:  # of whatever kind
            if counts:
                self.broken += 1
                print(f"--- {name}, not played to its end:\n{story}", traceback.format_exc(), sep="\n", flush=True)
            return []
        if counts:
            self.seen.update({one.item for one in differences if one.item})
        return [str(one) for one in differences if one.item is None]

    def tell(self, name: str, story: Story, unknown: list[str]) -> None:
        """The story has shown differences that are no item."""
        self.found += 1
        print(f"--- {name}:\n{story}", *unknown, sep="\n", flush=True)

    def report(self) -> int:
        """Print the sums; returns the exit status."""
        print(
            f"{self.played} stories, {self.found} differences that are no item, {self.broken} not played to their end. "
            "Stories in which an item was seen:"
        )
        for item, count in self.seen.most_common():
            print(f"{count:6}  {item}")
        return min(self.found + self.broken, 1)
