"""What a terminal shows while checks run, several at a time."""

from __future__ import annotations

from rich.progress import Progress

from devicemgr.cli.check.progress import LiveProgress
from devicemgr.testing.conformance import CHECKS, Result, Verdict


def test_running_checks_are_shown_and_counted_once():
    progress = Progress()
    now, shown = LiveProgress(progress, 4), []

    def show():
        shown.append(progress.tasks[0].description)

    for name in ("registers", "stream-silent", "restart"):
        now.begins(CHECKS[name])
        show()
        if name == "registers":
            now.ends(Result(check=name, title="", rule="", verdict=Verdict.PASSED, evidence=""))
    now.begins(CHECKS["stream-silent"])  # once more, alone
    show()
    now.ends(Result(check="stream-silent", title="", rule="", verdict=Verdict.PASSED, evidence=""))
    show()
    assert shown == [
        "1 of 4: registers",
        "2 of 4: stream-silent",
        "3 of 4: stream-silent, restart",
        "3 of 4: stream-silent, restart",
        "3 of 4: restart",
    ]
