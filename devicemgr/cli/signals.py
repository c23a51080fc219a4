"""Which signals end a program of ours."""

from __future__ import annotations

import signal


def ending_signals() -> set[signal.Signals]:
    """SIGTERM, SIGINT, and SIGHUP: the terminal is gone. Under ``nohup`` the last one is ignored, and stays so."""
    hang_up = set() if signal.getsignal(signal.SIGHUP) is signal.SIG_IGN else {signal.SIGHUP}
    return {signal.SIGTERM, signal.SIGINT} | hang_up
