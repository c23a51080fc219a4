"""When the process of a plug-in counts as down, and what is reported of one that has exited."""

from __future__ import annotations

import pytest
import trio

from devicemgr.testing.conformance.observation.diagnosis import exit_report, what_happened
from devicemgr.testing.conformance.observation.history import History
from devicemgr.testing.conformance.subject.lifecycle import Lifecycle, back_off


class Ended:
    """``seen`` are its answers, one after the other, to whether it runs."""

    def __init__(self, *seen, unexpected_exit="with exit status 1"):
        self._seen, self.unexpected_exit = iter(seen), unexpected_exit

    @property
    def is_running(self):
        return next(self._seen)


@pytest.mark.parametrize(
    ("subject", "is_respawned", "is_down"),
    [
        (Ended(True), True, False),
        (Ended(False, False), True, False),
        (Ended(False, True), True, False),  # the next one has just been forked
        (Ended(False, False, unexpected_exit=None), True, True),  # on our own request
        (Ended(False, False), False, True),
    ],
)
async def test_one_that_is_started_again_is_not_down(subject, is_respawned, is_down, tmp_path):
    lifecycle = Lifecycle(subject, tmp_path)
    lifecycle.is_respawned = is_respawned
    assert lifecycle.is_down == is_down


class DiesAtOnce:
    """``words`` are what each of its processes writes."""

    is_running = False
    unexpected_exit = "with exit status 1"

    def __init__(self, *words):
        self._words, self.output = iter(words), ""

    async def start(self, directory):
        self.output += next(self._words)


async def test_one_that_runs_is_quoted_without_having_exited(tmp_path):
    found = what_happened(History(None), Lifecycle(Runs(), tmp_path), since=trio.current_time())
    assert found == "it did not call Register within 0.0 s; it last wrote: no kubelet here"


class Runs:
    is_running = True
    unexpected_exit = None
    output = "no kubelet here\n"


async def test_the_last_output_is_that_of_the_last_process(tmp_path):
    lifecycle = Lifecycle(DiesAtOnce("panic: no hope\n", "in use\n", ""), tmp_path)
    reports = []
    for _ in range(3):
        await lifecycle.start()
        reports.append(exit_report(History(None), lifecycle))
    assert reports == [
        "the plug-in has ended, with exit status 1; its last output: panic: no hope",
        "the plug-in has ended, with exit status 1; its last output: in use",
        "the plug-in has ended, with exit status 1",
    ]


def test_the_back_off_is_that_of_a_kubelet():
    assert [back_off(times) for times in range(1, 9)] == [1, 10, 20, 40, 80, 160, 300, 300]
