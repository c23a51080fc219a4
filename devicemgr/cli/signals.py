"""Which signals end our programs."""

from __future__ import annotations

import signal


def termination_signals() -> set[signal.Signals]:
    """SIGTERM, SIGINT, and SIGHUP, which says that the terminal is gone. The last two are not among them if they are
    ignored at the start, as nohup does, and a shell for background jobs."""
    optional = {signal.SIGINT, signal.SIGHUP}
    return {signal.SIGTERM} | {one for one in optional if signal.getsignal(one) is not signal.SIG_IGN}
