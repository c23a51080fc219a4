"""What the bench makes of a plug-in that is not there at the moment."""

from __future__ import annotations

import pytest
import trio

from devicemgr import Numa
from devicemgr.daemon.layout import Layout
from devicemgr.testing.conformance import Timing
from devicemgr.testing.conformance.bench import Bench


class Ended:
    """``seen`` are its answers, one after the other, to whether it runs."""

    def __init__(self, *seen, unexpected_exit="with exit status 1"):
        self._seen, self.unexpected_exit = iter(seen), unexpected_exit

    @property
    def is_running(self):
        return next(self._seen)


@pytest.mark.parametrize(
    ("subject", "respawns", "is_down"),
    [
        (Ended(True), True, False),
        (Ended(False, False), True, False),
        (Ended(False, True), True, False),  # the next one has just been forked
        (Ended(False, False, unexpected_exit=None), True, True),  # on our own request
        (Ended(False, False), False, True),
    ],
)
async def test_one_that_is_started_again_is_not_down(subject, respawns, is_down, tmp_path):
    bench = Bench(subject, Layout(tmp_path), None, Timing(), Numa(nodes=(0,)), respawns=respawns)
    assert bench.is_down == is_down


class DiesAtOnce:
    """``words`` are what each of its processes writes."""

    is_running = False
    unexpected_exit = "with exit status 1"

    def __init__(self, *words):
        self._words, self.output = iter(words), ""

    async def start(self, directory):
        self.output += next(self._words)


async def test_one_that_runs_is_quoted_without_having_exited(tmp_path):
    bench = Bench(Runs(), Layout(tmp_path), None, Timing(), Numa(nodes=(0,)))
    told = bench.what_happened(since=trio.current_time())
    assert told == "it did not call Register within 0.0 s; it last wrote: no kubelet here"


class Runs:
    is_running = True
    unexpected_exit = None
    output = "no kubelet here\n"


async def test_the_last_output_is_that_of_the_last_process(tmp_path):
    bench = Bench(DiesAtOnce("panic: no hope\n", "in use\n", ""), Layout(tmp_path), None, Timing(), Numa(nodes=(0,)))
    told = []
    for _ in range(3):
        await bench.start()
        told.append(bench.exit_report())
    assert told == [
        "the plug-in has ended, with exit status 1; its last output: panic: no hope",
        "the plug-in has ended, with exit status 1; its last output: in use",
        "the plug-in has ended, with exit status 1",
    ]
